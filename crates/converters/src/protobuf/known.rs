//! The files that every Protobuf schema may import without registering them, as far as their messages and enums go.

macro_rules! files {
    ($($name:literal => $file:literal;)*) => {
        /// The text of the file that is imported by this name, if it is one of them.
        pub(super) fn text(name: &str) -> Option<&'static str> {
            match name {
                $($name => Some(include_str!(concat!("known/", $file))),)*
                _ => None,
            }
        }

        #[cfg(test)]
        pub(super) const NAMES: &[&str] = &[$($name),*];
    };
}

files! {
    "additionalTypes/decimal.proto" => "aws_decimal.proto";
    "confluent/meta.proto" => "confluent_meta.proto";
    "confluent/type/decimal.proto" => "confluent_decimal.proto";
    "google/protobuf/any.proto" => "any.proto";
    "google/protobuf/api.proto" => "api.proto";
    "google/protobuf/duration.proto" => "duration.proto";
    "google/protobuf/empty.proto" => "empty.proto";
    "google/protobuf/field_mask.proto" => "field_mask.proto";
    "google/protobuf/source_context.proto" => "source_context.proto";
    "google/protobuf/struct.proto" => "struct.proto";
    "google/protobuf/timestamp.proto" => "timestamp.proto";
    "google/protobuf/type.proto" => "type.proto";
    "google/protobuf/wrappers.proto" => "wrappers.proto";
    "google/type/calendar_period.proto" => "type_calendar_period.proto";
    "google/type/color.proto" => "type_color.proto";
    "google/type/date.proto" => "type_date.proto";
    "google/type/datetime.proto" => "type_datetime.proto";
    "google/type/dayofweek.proto" => "type_dayofweek.proto";
    "google/type/expr.proto" => "type_expr.proto";
    "google/type/fraction.proto" => "type_fraction.proto";
    "google/type/interval.proto" => "type_interval.proto";
    "google/type/latlng.proto" => "type_latlng.proto";
    "google/type/money.proto" => "type_money.proto";
    "google/type/month.proto" => "type_month.proto";
    "google/type/phone_number.proto" => "type_phone_number.proto";
    "google/type/postal_address.proto" => "type_postal_address.proto";
    "google/type/quaternion.proto" => "type_quaternion.proto";
    "google/type/timeofday.proto" => "type_timeofday.proto";
}
