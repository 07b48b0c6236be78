use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::DataError;
use crate::json;
use crate::rendering::Rendering;
use crate::schema::SchemaRef;
use crate::value::Value;

/// A value with its schema; no schema means schemaless data.
#[derive(Debug, Clone, PartialEq)]
pub struct SchemaAndValue {
    /// Describes the value, if anything does.
    pub schema: Option<SchemaRef>,
    /// The value.
    pub value: Value,
}

impl SchemaAndValue {
    /// Null without a schema: what converters make of absent bytes.
    pub const NULL: Self = Self {
        schema: None,
        value: Value::Null,
    };

    /// A value with a schema.
    #[must_use]
    pub fn new(schema: SchemaRef, value: Value) -> Self {
        Self {
            schema: Some(schema),
            value,
        }
    }

    /// A value without a schema.
    #[must_use]
    pub fn schemaless(value: Value) -> Self {
        Self { schema: None, value }
    }
}

/// Which schema of a registry bytes were written with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaMetadata {
    /// `AVRO`, `PROTOBUF` or `JSON`.
    pub data_format: &'static str,
    /// The registry's identifier of the schema: a number, or a UUID.
    pub schema_id: Arc<str>,
}

/// Reads the wire form of one format. A converter hands it out with every datum that it leaves encoded.
pub trait DatumCodec: Send + Sync + fmt::Debug {
    /// The value that the bytes hold.
    ///
    /// # Errors
    /// If the bytes do not hold a value of this format.
    fn decode(&self, bytes: &Bytes) -> Result<SchemaAndValue, DataError>;

    /// Appends the value as JSON text: the same bytes that [`json::write`] makes of the decoded value.
    /// On an error `out` may hold a part of the text; the caller cuts it off.
    ///
    /// # Errors
    /// If the bytes do not hold a value of this format, or it has no JSON form.
    fn write_json(&self, bytes: &Bytes, rendering: Rendering, out: &mut Vec<u8>) -> Result<(), DataError>;

    /// Whether bytes may hold null, so that one has to decode them to know. A format whose converter finds its nulls
    /// before it leaves a datum encoded answers no.
    fn may_hold_null(&self) -> bool {
        true
    }

    /// Whether the bytes can be read without a schema that stands elsewhere, so that a payload may carry them as they
    /// are.
    fn is_self_contained(&self) -> bool {
        true
    }

    /// The schema that the bytes were written with, if a registry has it.
    fn schema_metadata(&self) -> Option<&SchemaMetadata> {
        None
    }
}

/// A key or a value: decoded, or still in its wire form and decoded by the first one who asks.
///
/// A record that no transform touches goes from wire bytes to payload bytes without values in between.
#[derive(Debug, Clone)]
pub enum Datum {
    /// A value that was decoded or made by a transform.
    Decoded(SchemaAndValue),
    /// Bytes of the wire, checked by their converter as far as it needs to promise that
    /// [`DatumCodec::decode`] succeeds wherever that is cheap.
    Encoded {
        /// The bytes; never the wire's null, which is [`Datum::NULL`].
        bytes: Bytes,
        /// What reads them.
        codec: Arc<dyn DatumCodec>,
    },
}

impl Datum {
    /// Null without a schema.
    pub const NULL: Self = Self::Decoded(SchemaAndValue::NULL);

    /// The value, decoded if need be.
    ///
    /// # Errors
    /// If the bytes cannot be decoded: to be reported with the stage and class of their converter.
    pub fn decode(&self) -> Result<SchemaAndValue, DataError> {
        match self {
            Self::Decoded(data) => Ok(data.clone()),
            Self::Encoded { bytes, codec } => codec.decode(bytes),
        }
    }

    /// Decodes in place, so that the work is done once however often the value is asked for.
    ///
    /// # Errors
    /// As [`Datum::decode`].
    pub fn decoded(&mut self) -> Result<&mut SchemaAndValue, DataError> {
        if let Self::Encoded { bytes, codec } = self {
            *self = Self::Decoded(codec.decode(bytes)?);
        }
        match self {
            Self::Decoded(data) => Ok(data),
            Self::Encoded { .. } => unreachable!("replaced by its decoded form above"),
        }
    }

    /// Appends the value as JSON text. On an error `out` may hold a part of the text; the caller cuts it off.
    ///
    /// # Errors
    /// If the bytes cannot be decoded, or the value has no JSON form.
    pub fn write_json(&self, rendering: Rendering, out: &mut Vec<u8>) -> Result<(), DataError> {
        match self {
            Self::Decoded(data) => json::write(data, rendering, out),
            Self::Encoded { bytes, codec } => codec.write_json(bytes, rendering, out),
        }
    }

    /// Whether the value is null; decodes in place only if the format leaves that open.
    ///
    /// # Errors
    /// As [`Datum::decode`].
    pub fn is_null(&mut self) -> Result<bool, DataError> {
        match self {
            Self::Encoded { codec, .. } if !codec.may_hold_null() => Ok(false),
            _ => Ok(self.decoded()?.value.is_null()),
        }
    }

    /// Whether this is known to be null without decoding anything: true for every tombstone of the wire.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Decoded(SchemaAndValue { value: Value::Null, .. }))
    }
}

impl From<SchemaAndValue> for Datum {
    fn from(data: SchemaAndValue) -> Self {
        Self::Decoded(data)
    }
}
