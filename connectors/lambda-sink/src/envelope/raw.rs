//! The values themselves, as JSON.

use klamm_connect_api::sink::{EncodeError, Encoded};
use klamm_connect_api::{Record, Rendering};

use super::size_hint;

pub(super) fn encode(rendering: Rendering, record: &Record) -> Result<Encoded, EncodeError> {
    let mut out = Vec::with_capacity(size_hint(&record.value));
    record
        .value
        .write_json(rendering, &mut out)
        .map_err(EncodeError::Value)?;
    Ok(out.into())
}
