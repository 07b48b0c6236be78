//! The transforms of Apache Kafka Connect (`org.apache.kafka.connect.transforms`).

mod cast;
mod drop_headers;
mod extract_field;
mod filter;
mod flatten;
mod header_from;
mod hoist_field;
mod insert_field;
mod insert_header;
mod mask_field;
mod regex_router;
mod replace_field;
mod set_schema_metadata;
mod timestamp_converter;
mod timestamp_router;
mod value_to_key;

use klamm_connect_api::TransformPlugin;

use crate::part::key_and_value;

/// Both variants of a transform of Apache Kafka Connect.
macro_rules! variants {
    ($transform:ty, $name:literal) => {
        key_and_value::<$transform>(
            concat!("org.apache.kafka.connect.transforms.", $name, "$Key"),
            concat!("org.apache.kafka.connect.transforms.", $name, "$Value"),
        )
    };
}

pub(crate) fn transforms() -> Vec<TransformPlugin> {
    let single = [
        drop_headers::transform(),
        filter::transform(),
        insert_header::transform(),
        regex_router::transform(),
        timestamp_router::transform(),
        value_to_key::transform(),
    ];
    let double = [
        variants!(cast::Cast, "Cast"),
        variants!(extract_field::ExtractField, "ExtractField"),
        variants!(flatten::Flatten, "Flatten"),
        variants!(header_from::HeaderFrom, "HeaderFrom"),
        variants!(hoist_field::HoistField, "HoistField"),
        variants!(insert_field::InsertField, "InsertField"),
        variants!(mask_field::MaskField, "MaskField"),
        variants!(replace_field::ReplaceField, "ReplaceField"),
        variants!(set_schema_metadata::SetSchemaMetadata, "SetSchemaMetadata"),
        variants!(timestamp_converter::TimestampConverter, "TimestampConverter"),
    ];
    single.into_iter().chain(double.into_iter().flatten()).collect()
}
