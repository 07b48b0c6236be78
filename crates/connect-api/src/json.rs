//! Connect data as JSON text, the way Connect's `JsonConverter` with `schemas.enable=false` writes it.

use crate::datum::SchemaAndValue;
use crate::error::DataError;

/// Appends the value as JSON text. On an error `out` may hold a part of the text; the caller cuts it off.
///
/// # Errors
/// A value that has no JSON form, such as an instant without a schema.
pub fn write(_data: &SchemaAndValue, _out: &mut Vec<u8>) -> Result<(), DataError> {
    Err(DataError::data("not written yet"))
}
