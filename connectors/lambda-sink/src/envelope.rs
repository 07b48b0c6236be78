//! Records -> payload, a file a format.

mod array;
mod claim;
mod cloud_events;
mod compress;
mod confluent;
mod esm;
mod java_text;
mod json_schema;
mod nordstrom;
mod raw;
#[cfg(test)]
mod tests;
mod trace;

use klamm_connect_api::sink::{EncodeError, Encoded, PayloadBuilder};
use klamm_connect_api::{Datum, Record};

use self::array::ArrayBuilder;
pub(crate) use self::claim::{Content, Reference, content, encode_reference};
pub(crate) use self::compress::compress;
pub(crate) use self::trace::{split_trace, traced, with_trace};
use crate::config::{Compression, EventFormat, Packing, PayloadPlan};

/// Encodes a record.
///
/// # Errors
/// A datum that cannot be decoded or has no JSON form.
pub(crate) fn encode(plan: &PayloadPlan, record: &Record) -> Result<Encoded, EncodeError> {
    let rendering = plan.rendering;
    match &plan.format {
        EventFormat::Confluent(schemaless) => confluent::encode(*schemaless, rendering, record),
        EventFormat::Esm { .. } => esm::encode(rendering, record),
        EventFormat::Nordstrom(formatter) => nordstrom::encode(*formatter, rendering, record),
        EventFormat::Raw => raw::encode(rendering, record),
        EventFormat::CloudEvents(attributes) => cloud_events::encode(attributes, rendering, record, None),
    }
}

/// A builder of payloads, before they are compressed. The bootstrap servers are those of the cluster that the records come
/// from.
pub(crate) fn payload_builder(plan: &PayloadPlan, bootstrap_servers: &str) -> Box<dyn PayloadBuilder> {
    let builder: Box<dyn PayloadBuilder> = match &plan.format {
        EventFormat::Confluent(_) => Box::new(ArrayBuilder::new(Packing::Array)),
        EventFormat::Esm { source_arn } => Box::new(esm::Builder::new(source_arn.as_deref(), bootstrap_servers)),
        EventFormat::Nordstrom(_) | EventFormat::Raw | EventFormat::CloudEvents(_) => {
            Box::new(ArrayBuilder::new(plan.packing))
        }
    };
    match plan.compression {
        Compression::None => builder,
        Compression::Gzip => Box::new(compress::Bounded::new(builder)),
    }
}

/// Bytes that a datum will probably take as JSON, so that the common record is written without growing the buffer.
fn size_hint(datum: &Datum) -> usize {
    match datum {
        Datum::Encoded { bytes, .. } => bytes.len(),
        Datum::Decoded(data) if data.value.is_null() => 4,
        Datum::Decoded(_) => 128,
    }
}

fn write_integer(number: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}
