//! The logical types that Connect lays over its base types, known by schema name
//! (`org.apache.kafka.connect.data.*`).

use crate::schema::{Schema, SchemaBuilder, SchemaRef, SchemaType};

/// Arbitrary-precision number: BYTES holding the big-endian two's complement of the unscaled value.
pub const DECIMAL: &str = "org.apache.kafka.connect.data.Decimal";
/// Calendar date: INT32 days since 1970-01-01.
pub const DATE: &str = "org.apache.kafka.connect.data.Date";
/// Time of day: INT32 milliseconds since midnight.
pub const TIME: &str = "org.apache.kafka.connect.data.Time";
/// Point in time: INT64 milliseconds since the epoch, UTC.
pub const TIMESTAMP: &str = "org.apache.kafka.connect.data.Timestamp";
/// Schema parameter of [`DECIMAL`] that holds the number of decimal places.
pub const SCALE: &str = "scale";

/// Which logical type a schema has, decided by its name alone, as in Connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logical {
    /// [`DECIMAL`]
    Decimal,
    /// [`DATE`]
    Date,
    /// [`TIME`]
    Time,
    /// [`TIMESTAMP`]
    Timestamp,
}

impl Logical {
    /// The logical type of `schema`, if it has one.
    #[must_use]
    pub fn of(schema: &Schema) -> Option<Self> {
        match schema.name()? {
            DECIMAL => Some(Self::Decimal),
            DATE => Some(Self::Date),
            TIME => Some(Self::Time),
            TIMESTAMP => Some(Self::Timestamp),
            _ => None,
        }
    }
}

/// A builder for a Decimal schema with `scale` decimal places.
#[must_use]
pub fn decimal(scale: i32) -> SchemaBuilder {
    Schema::builder(SchemaType::Bytes)
        .name(DECIMAL)
        .version(1)
        .parameter(SCALE, scale.to_string())
}

/// A builder for a Date schema.
#[must_use]
pub fn date() -> SchemaBuilder {
    Schema::builder(SchemaType::Int32).name(DATE).version(1)
}

/// A builder for a Time schema.
#[must_use]
pub fn time() -> SchemaBuilder {
    Schema::builder(SchemaType::Int32).name(TIME).version(1)
}

/// A builder for a Timestamp schema.
#[must_use]
pub fn timestamp() -> SchemaBuilder {
    Schema::builder(SchemaType::Int64).name(TIMESTAMP).version(1)
}

/// The scale of a Decimal schema, if the parameter is there and a number.
#[must_use]
pub fn decimal_scale(schema: &SchemaRef) -> Option<i32> {
    schema.parameters().get(SCALE)?.trim().parse().ok()
}
