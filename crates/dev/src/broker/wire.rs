//! From a frame to a request, and from a response to a frame.
//!
//! The generated decoders reserve room for as many elements as an array claims before they read one, so a few damaged
//! bytes could ask for more memory than there is. [`Wary`] is the buffer that they read from instead.

use bytes::{Buf, BufMut as _, Bytes, BytesMut, TryGetError};
use kafka_protocol::messages::{ApiKey, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::buf::{ByteBuf, NotEnoughBytesError};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};

/// A frame that cannot be answered: the connection is closed, as brokers do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unanswerable {
    #[error("a frame of {0} bytes is too short for the header of a request")]
    Short(usize),
    #[error("api {0} is not known here")]
    UnknownApi(i16),
    #[error("{api:?} is not served in version {version}")]
    Version { api: ApiKey, version: i16 },
    #[error("{api:?} version {version} cannot be read: {reason}")]
    Malformed { api: ApiKey, version: i16, reason: String },
    #[error("the answer of {api:?} version {version} cannot be written: {reason}")]
    Answer { api: ApiKey, version: i16, reason: String },
}

/// What a frame begins with.
#[derive(Debug)]
pub(crate) struct Envelope {
    pub(crate) api: ApiKey,
    pub(crate) version: i16,
    pub(crate) correlation_id: i32,
    pub(crate) client_id: String,
    pub(crate) body: Bytes,
}

impl Envelope {
    pub(crate) fn parse(frame: Bytes) -> Result<Self, Unanswerable> {
        let mut peek = frame.as_ref();
        let (Ok(key), Ok(version), Ok(correlation_id)) = (peek.try_get_i16(), peek.try_get_i16(), peek.try_get_i32())
        else {
            return Err(Unanswerable::Short(frame.len()));
        };
        let api = ApiKey::try_from(key).map_err(|()| Unanswerable::UnknownApi(key))?;
        let malformed = |reason: String| Unanswerable::Malformed { api, version, reason };
        // A client that is newer than this broker asks for its versions in a header that all versions share.
        let header_version = match api {
            ApiKey::ApiVersions if version > 4 => 1,
            _ => api.request_header_version(version),
        };
        let (header, body) =
            decode_wary(&frame, |buf| RequestHeader::decode(buf, header_version)).map_err(malformed)?;
        Ok(Self {
            api,
            version,
            correlation_id,
            client_id: header.client_id.map(|id| id.to_string()).unwrap_or_default(),
            body,
        })
    }
}

/// Decodes the body of a request.
pub(crate) fn decode<R: Decodable>(body: &Bytes, api: ApiKey, version: i16) -> Result<R, Unanswerable> {
    decode_wary(body, |buf| R::decode(buf, version))
        .map(|(request, _)| request)
        .map_err(|reason| Unanswerable::Malformed { api, version, reason })
}

/// A response with its length and header in front.
pub(crate) fn encode<R: Encodable + HeaderVersion>(
    response: &R,
    envelope: &Envelope,
) -> Result<BytesMut, Unanswerable> {
    let (api, version) = (envelope.api, envelope.version);
    let failed = |reason: String| Unanswerable::Answer { api, version, reason };
    let header = ResponseHeader::default().with_correlation_id(envelope.correlation_id);
    let size = response.compute_size(version).map_err(|err| failed(err.to_string()))?;
    let mut out = BytesMut::with_capacity(size.saturating_add(16));
    out.put_i32(0);
    header
        .encode(&mut out, R::header_version(version))
        .and_then(|()| response.encode(&mut out, version))
        .map_err(|err| failed(err.to_string()))?;
    let length = i32::try_from(out.len().saturating_sub(4)).map_err(|err| failed(err.to_string()))?;
    if let Some(prefix) = out.first_chunk_mut() {
        *prefix = length.to_be_bytes();
    }
    Ok(out)
}

/// Text of ours in a message.
pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A count in a message, which never comes near the bound of its type.
pub(crate) fn count(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// Numbers that are larger than what is left cannot be the length of anything. They are first replaced by one that every
/// length refuses: if that decodes, they were plain data such as time-outs, and are read as they are.
fn decode_wary<T, E: std::fmt::Display>(
    bytes: &Bytes,
    decode: impl Fn(&mut Wary) -> Result<T, E>,
) -> Result<(T, Bytes), String> {
    let run = |trusts_numbers| {
        let mut buf = Wary {
            rest: bytes.clone(),
            trusts_numbers,
            replaced: false,
        };
        decode(&mut buf)
            .map(|message| (message, buf))
            .map_err(|err| err.to_string().trim_end().to_owned())
    };
    let (message, buf) = run(false)?;
    if !buf.replaced {
        return Ok((message, buf.rest));
    }
    run(true).map(|(message, buf)| (message, buf.rest))
}

/// Lengths up to this one are let through whatever is left: they reserve little.
const FEW: usize = 64;

#[derive(Debug)]
struct Wary {
    rest: Bytes,
    trusts_numbers: bool,
    replaced: bool,
}

impl Wary {
    fn is_possible_length(&self, number: usize) -> bool {
        number <= self.rest.len().max(FEW)
    }
}

impl Buf for Wary {
    fn remaining(&self) -> usize {
        self.rest.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.rest
    }

    fn advance(&mut self, count: usize) {
        self.rest.advance(count);
    }

    /// Plain numbers, and lengths before the flexible versions (KIP-482).
    fn try_get_i32(&mut self) -> Result<i32, TryGetError> {
        // −1 would be null; the decoders refuse −2 as a length.
        const NO_LENGTH: i32 = -2;
        let number = self.rest.try_get_i32()?;
        if self.trusts_numbers || usize::try_from(number).is_ok_and(|number| self.is_possible_length(number)) {
            return Ok(number);
        }
        if number < 0 {
            return Ok(number);
        }
        self.replaced = true;
        Ok(NO_LENGTH)
    }

    /// Byte by byte the varints of the flexible versions: all of them lengths, or numbers or names of tagged fields.
    fn try_get_u8(&mut self) -> Result<u8, TryGetError> {
        let byte = self.rest.try_get_u8()?;
        // The start of a varint of two or more bytes, seen from any of its bytes: what follows can only add to it.
        if byte >= 0x80 {
            let mut value = usize::from(byte & 0x7f);
            for (place, next) in (1_u32..5).zip(self.rest.iter()) {
                value |= usize::from(next & 0x7f) << (7 * place);
                if *next < 0x80 {
                    break;
                }
            }
            // A length carries plus one.
            if !self.is_possible_length(value.saturating_sub(1)) {
                return Err(TryGetError {
                    requested: value,
                    available: self.rest.len(),
                });
            }
        }
        Ok(byte)
    }
}

impl ByteBuf for Wary {
    fn peek_bytes(&mut self, range: std::ops::Range<usize>) -> Bytes {
        self.rest.slice(range)
    }

    fn get_bytes(&mut self, size: usize) -> Bytes {
        self.rest.split_to(size)
    }

    fn try_get_bytes(&mut self, size: usize) -> Result<Bytes, NotEnoughBytesError> {
        if size > self.rest.len() {
            return Err(NotEnoughBytesError);
        }
        Ok(self.get_bytes(size))
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
    use kafka_protocol::messages::{FetchRequest, MetadataRequest, ProduceRequest};
    use kafka_protocol::protocol::Message;

    use super::*;

    fn encoded<R: Encodable>(request: &R, version: i16) -> Bytes {
        let mut out = BytesMut::new();
        request.encode(&mut out, version).unwrap();
        out.freeze()
    }

    #[test]
    fn numbers_that_are_larger_than_what_is_left_come_through() {
        for version in 4..=12 {
            let partition = FetchPartition::default()
                .with_partition(i32::MAX)
                .with_partition_max_bytes(i32::MAX);
            let topic = FetchTopic::default()
                .with_topic(text("t").into())
                .with_partitions(vec![partition; 300]);
            let mut request = FetchRequest::default()
                .with_max_wait_ms(i32::MAX)
                .with_min_bytes(1_000_000)
                .with_max_bytes(i32::MAX)
                .with_topics(vec![topic]);
            if version >= 7 {
                request = request.with_session_id(i32::MAX).with_session_epoch(77_777_777);
            }
            let decoded: FetchRequest = decode(&encoded(&request, version), ApiKey::Fetch, version).unwrap();
            assert_eq!(decoded, request, "version {version}");
        }
    }

    #[test]
    fn an_array_that_claims_more_than_there_can_be_is_refused_before_it_takes_memory() {
        // Where the topics of a Metadata request are counted.
        let cases = [
            (1, i32::MAX.to_be_bytes().to_vec()),
            (9, vec![0xff, 0xff, 0xff, 0xff, 0x0f]),
        ];
        for (version, claim) in cases {
            let mut bytes = claim;
            bytes.extend([0; 40]);
            let refused = decode::<MetadataRequest>(&bytes.into(), ApiKey::Metadata, version);
            assert!(
                matches!(refused, Err(Unanswerable::Malformed { .. })),
                "version {version}: {refused:?}"
            );
        }
    }

    #[test]
    fn a_header_that_is_cut_is_refused_wherever_it_is_cut() {
        for version in [ProduceRequest::VERSIONS.min, ProduceRequest::VERSIONS.max] {
            let header = RequestHeader::default()
                .with_request_api_key(ApiKey::Produce as i16)
                .with_request_api_version(version)
                .with_correlation_id(7)
                .with_client_id(Some(text("client")));
            let mut out = BytesMut::new();
            kafka_protocol::protocol::encode_request_header_into_buffer(&mut out, &header).unwrap();
            let whole = Envelope::parse(out.clone().freeze()).unwrap();
            assert_eq!((whole.correlation_id, whole.client_id.as_str()), (7, "client"));
            for length in 0..out.len() {
                assert!(
                    Envelope::parse(out.clone().freeze().slice(..length)).is_err(),
                    "{length} bytes"
                );
            }
        }
    }
}
