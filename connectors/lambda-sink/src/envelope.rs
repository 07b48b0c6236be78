//! Records -> payload, a file a format.

mod confluent;
mod esm;
#[cfg(test)]
mod tests;

use klamm_connect_api::sink::{Call, EncodeError, Encoded, PayloadBuilder};
use klamm_connect_api::{Record, Rendering};

use crate::config::EventFormat;
pub(crate) use esm::PartialAnswer;

/// Encodes a record in a format.
///
/// # Errors
/// A datum that cannot be decoded or has no JSON form.
pub(crate) fn encode(format: &EventFormat, rendering: Rendering, record: &Record) -> Result<Encoded, EncodeError> {
    match format {
        EventFormat::Confluent(schemaless) => confluent::encode(*schemaless, rendering, record),
        EventFormat::Esm { .. } => esm::encode(rendering, record),
    }
}

/// A builder of the format's payloads.
pub(crate) fn payload_builder(format: &EventFormat) -> Box<dyn PayloadBuilder> {
    match format {
        EventFormat::Confluent(_) => Box::new(confluent::Builder::new()),
        EventFormat::Esm {
            source_arn,
            bootstrap_servers,
        } => Box::new(esm::Builder::new(source_arn.as_deref(), bootstrap_servers)),
    }
}

/// What the function's answer says about single records; none for a format whose answers are not read.
pub(crate) fn partial_answer(format: &EventFormat, call: &Call, body: &[u8]) -> Option<PartialAnswer> {
    match format {
        EventFormat::Confluent(_) => None,
        EventFormat::Esm { .. } => Some(esm::partial_answer(call, body)),
    }
}

fn write_integer(number: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}
