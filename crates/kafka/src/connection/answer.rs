//! From the bytes of an answer to a message, without trusting its lengths.
//!
//! The generated decoders reserve room for as many elements as an array claims before they have read one. A few damaged
//! bytes could so ask for more memory than the machine has, which ends the process. Every answer is therefore decoded
//! from a [`Wary`] buffer, which never hands out a length that cannot be true.
//! **Invariant:** no answer makes decoding panic, nor reserve more than a fixed multiple of its own size.

use bytes::{Buf, Bytes, TryGetError};
use kafka_protocol::messages::ResponseHeader;
use kafka_protocol::protocol::buf::{ByteBuf, NotEnoughBytesError};
use kafka_protocol::protocol::{Decodable, HeaderVersion, Request};

/// An array may not claim more elements than this, nor more than there are bytes left. The largest honest arrays list
/// the partitions of a topic, or the topics or groups of a cluster.
const MAX_ELEMENTS: usize = 1 << 18;
/// Lengths up to this one are always let through: they reserve a few KiB. It is also above the numbers of all tagged
/// fields that the decoders know, so that a shortened number never means one of them.
const FEW: usize = 128;

/// Decodes header and body of an answer to `R`.
pub(crate) fn decode<R: Request>(answer: &Bytes, version: i16) -> Result<R::Response, String> {
    decode_wary(answer, |buf| {
        let header = ResponseHeader::decode(buf, R::Response::header_version(version));
        header
            .and_then(|_| R::Response::decode(buf, version))
            .map_err(|err| err.to_string())
    })
}

/// What a decoder reads next depends on lengths alone. So numbers that can be no length are first replaced by one that
/// every length refuses: if that decodes, they were plain data, and are read as they are.
fn decode_wary<T>(answer: &Bytes, decode: impl Fn(&mut Wary) -> Result<T, String>) -> Result<T, String> {
    let run = |doubt: Doubt| {
        let mut buf = Wary::new(answer.clone(), doubt);
        let decoded = decode(&mut buf);
        let at = buf.at();
        match decoded {
            Err(reason) => Err(match buf.replaced {
                Some((claimed, end)) if end == at => {
                    let left = answer.len() - at;
                    format!("a length of {claimed} before byte {at}, where {left} bytes are left")
                }
                _ => format!("{} at byte {at} of {}", reason.trim_end(), answer.len()),
            }),
            // Honest answers end where their fields do; an array that was shortened leaves elements behind.
            Ok(_) if buf.has_short_array && buf.has_remaining() => Err(format!(
                "an array of more than {MAX_ELEMENTS} elements before byte {at}"
            )),
            Ok(message) => Ok((message, buf)),
        }
    };
    let (message, first) = run(Doubt::Unknown)?;
    if first.replaced.is_none() && first.suspects.is_empty() {
        return Ok(message);
    }
    if !first.suspects.is_empty() {
        let (_, second) = run(Doubt::NoLength(first.suspects))?;
        if !second.suspects.is_empty() {
            return Err("its lengths contradict each other".to_owned());
        }
    }
    run(Doubt::None).map(|(message, _)| message)
}

/// How numbers are met that are too large for an array.
#[derive(Debug)]
enum Doubt {
    /// Nothing is known yet.
    Unknown,
    /// The numbers at these positions are refused if they are lengths after all.
    NoLength(Vec<usize>),
    /// All of them are plain data.
    None,
}

/// A buffer that never hands out the length of an array that cannot be true.
///
/// Lengths of strings and bytes are told from those of arrays by what is read next; they reserve nothing, so the only
/// bound on them is what is left.
#[derive(Debug)]
struct Wary {
    rest: Bytes,
    total: usize,
    doubt: Doubt,
    /// A number that was read last and handed out smaller than it is.
    shortened: Option<Shortened>,
    /// Bytes of a varint that are still to be read.
    varint: Varint,
    /// Positions of numbers that were shortened and are no length of bytes.
    suspects: Vec<usize>,
    /// The last number that was replaced, and where it ends.
    replaced: Option<(usize, usize)>,
    has_short_array: bool,
}

#[derive(Clone, Copy, Debug)]
struct Shortened {
    /// Where it stands if it has 32 bits and may be plain data; varints are all lengths or names of tagged fields.
    int_at: Option<usize>,
    claimed: usize,
    handed: usize,
}

#[derive(Clone, Copy, Debug)]
enum Varint {
    /// These many more bytes as they are.
    AsIs(u8),
    /// Its last `left` bytes, which carry `value` instead of what they say.
    Instead { value: usize, left: u8, then: Shortened },
}

impl Wary {
    fn new(answer: Bytes, doubt: Doubt) -> Self {
        Self {
            total: answer.len(),
            rest: answer,
            doubt,
            shortened: None,
            varint: Varint::AsIs(0),
            suspects: Vec::new(),
            replaced: None,
            has_short_array: false,
        }
    }

    fn at(&self) -> usize {
        self.total - self.rest.len()
    }

    /// Whatever is read now is not the bytes that the shortened number might have been the length of.
    fn settle(&mut self) {
        if let Some(shortened) = self.shortened.take() {
            match shortened.int_at {
                Some(at) => self.suspects.push(at),
                None => self.has_short_array = true,
            }
        }
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
        self.settle();
        self.varint = Varint::AsIs(0);
        self.rest.advance(count);
    }

    /// Plain numbers, and the lengths of arrays and bytes before the flexible versions (KIP-482).
    fn try_get_i32(&mut self) -> Result<i32, TryGetError> {
        // −1 would be null; the decoders refuse −2 as a length.
        const NO_LENGTH: i32 = -2;
        self.settle();
        self.varint = Varint::AsIs(0);
        let at = self.at();
        let number = self.rest.try_get_i32()?;
        let limit = limit(self.rest.len());
        let Some(claimed) = usize::try_from(number).ok().filter(|claimed| *claimed > limit) else {
            return Ok(number);
        };
        match &self.doubt {
            Doubt::None => Ok(number),
            _ if claimed > self.rest.len() => {
                self.replaced = Some((claimed, at + 4));
                Ok(NO_LENGTH)
            }
            Doubt::NoLength(positions) if positions.contains(&at) => Ok(NO_LENGTH),
            Doubt::NoLength(_) | Doubt::Unknown => {
                self.shortened = Some(Shortened {
                    int_at: Some(at),
                    claimed,
                    handed: limit,
                });
                Ok(i32::try_from(limit).unwrap_or(NO_LENGTH))
            }
        }
    }

    /// Booleans, and byte by byte the varints of the flexible versions: all of them lengths, numbers of tagged fields,
    /// or their names. Shortened ones stay so: no name of such a field is of interest.
    fn try_get_u8(&mut self) -> Result<u8, TryGetError> {
        self.settle();
        let byte = self.rest.try_get_u8()?;
        match self.varint {
            Varint::AsIs(0) => {}
            Varint::AsIs(left) => {
                self.varint = Varint::AsIs(left - 1);
                return Ok(byte);
            }
            Varint::Instead { value, left, then } => return Ok(self.hand_out(value, left, then)),
        }
        let Some((claimed, left)) = varint(byte, &self.rest) else {
            return Ok(byte);
        };
        let limit = limit(self.rest.len().saturating_sub(usize::from(left)));
        if claimed <= limit {
            self.varint = Varint::AsIs(left);
            return Ok(byte);
        }
        let then = Shortened {
            int_at: None,
            claimed,
            handed: limit,
        };
        Ok(self.hand_out(limit, left + 1, then))
    }
}

impl ByteBuf for Wary {
    fn peek_bytes(&mut self, range: std::ops::Range<usize>) -> Bytes {
        self.rest.slice(range)
    }

    fn get_bytes(&mut self, size: usize) -> Bytes {
        self.settle();
        self.varint = Varint::AsIs(0);
        self.rest.split_to(size)
    }

    /// Strings and bytes, right behind their length (which varints carry plus one).
    fn try_get_bytes(&mut self, size: usize) -> Result<Bytes, NotEnoughBytesError> {
        let size = match self.shortened {
            Some(length) if size == length.handed || size + 1 == length.handed => {
                self.shortened = None;
                length.claimed - (length.handed - size)
            }
            _ => size,
        };
        if size > self.rest.len() {
            return Err(NotEnoughBytesError);
        }
        Ok(self.get_bytes(size))
    }
}

/// The largest length that an array may have if `left` bytes follow: an element takes at least one.
fn limit(left: usize) -> usize {
    left.saturating_add(1).clamp(FEW, MAX_ELEMENTS)
}

/// Value of the varint that begins with `first`, and how many bytes of `rest` belong to it; `None` if it is one byte or
/// is cut off.
fn varint(first: u8, rest: &[u8]) -> Option<(usize, u8)> {
    if first < 0x80 {
        return None;
    }
    let mut value = usize::from(first & 0x7f);
    for (left, byte) in (1_u8..5).zip(rest) {
        value |= usize::from(byte & 0x7f) << (7 * u32::from(left));
        if *byte < 0x80 {
            return Some((value, left));
        }
    }
    // The decoders stop after five bytes whatever the fifth says, so it must never be handed out as it is.
    (rest.len() >= 4).then_some((usize::MAX, 4))
}

impl Wary {
    /// The next of the last `left` bytes of a varint that stands for `value`, as long as the real one.
    fn hand_out(&mut self, value: usize, left: u8, then: Shortened) -> u8 {
        let low = u8::try_from(value & 0x7f).unwrap_or(0);
        if left <= 1 {
            self.varint = Varint::AsIs(0);
            self.shortened = Some(then);
            return low;
        }
        self.varint = Varint::Instead {
            value: value >> 7,
            left: left - 1,
            then,
        };
        low | 0x80
    }
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut, BytesMut};
    use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
    use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
    use kafka_protocol::messages::{FetchRequest, FetchResponse, MetadataRequest, MetadataResponse};
    use kafka_protocol::protocol::{Encodable, Message as _};

    use super::*;

    fn encoded<R: Request>(response: &R::Response, version: i16) -> Bytes {
        let mut out = BytesMut::new();
        let header = ResponseHeader::default();
        header.encode(&mut out, R::Response::header_version(version)).unwrap();
        response.encode(&mut out, version).unwrap();
        out.freeze()
    }

    #[test]
    fn large_numbers_and_long_bytes_come_through_in_every_version() {
        // Session ids are any 32 bits; the records are longer than any array may be; ids of brokers are large in some
        // clouds; the end of the answer leaves little room for any of them.
        for (session, node, bytes) in [
            (i32::MAX, 1_000_000, 300_000),
            (300_000, 300_001, 1_000_000),
            (-5, 129, 0),
        ] {
            let data = |index: i32| {
                PartitionData::default()
                    .with_partition_index(index)
                    .with_preferred_read_replica(node.into())
                    .with_records(Some(Bytes::from(vec![0xff; bytes])))
            };
            let topic = FetchableTopicResponse::default().with_partitions(vec![data(0), data(i32::MAX), data(299_999)]);
            for version in 11..=17 {
                let mut response = FetchResponse::default()
                    .with_session_id(session)
                    .with_responses(vec![topic.clone()]);
                if version >= 12 {
                    response = response.with_unknown_tagged_field(10_000, Bytes::from_static(b"a vendor's own"));
                }
                let decoded = decode::<FetchRequest>(&encoded::<FetchRequest>(&response, version), version);
                let mut decoded = decoded.unwrap_or_else(|err| panic!("version {version}: {err}"));
                decoded.unknown_tagged_fields.clear();
                response.unknown_tagged_fields.clear();
                assert_eq!(decoded, response, "version {version}");
            }
        }
    }

    #[test]
    fn an_array_that_claims_more_than_there_can_be_is_refused() {
        let topics = vec![MetadataResponseTopic::default(); 20];
        for version in MetadataRequest::VERSIONS.min..=MetadataRequest::VERSIONS.max {
            let mut topics = topics.clone();
            if version < 12 {
                for topic in &mut topics {
                    topic.name = Some(Default::default());
                }
            }
            let response = MetadataResponse::default().with_topics(topics);
            let honest = encoded::<MetadataRequest>(&response, version);
            assert_eq!(
                decode::<MetadataRequest>(&honest, version).unwrap(),
                response,
                "version {version}"
            );
            // Wherever a number of 32 bits may stand: it becomes the length of an array, or of bytes, or stays a number.
            for at in 0..honest.len() - 4 {
                for claim in [i32::MAX, 1 << 18, 500] {
                    let mut hostile = honest.to_vec();
                    hostile[at..at + 4].copy_from_slice(&claim.to_be_bytes());
                    drop(decode::<MetadataRequest>(&hostile.into(), version));
                }
                let mut hostile = honest[..at].to_vec();
                hostile.extend([0xff, 0xff, 0xff, 0xff, 0x0f]);
                hostile.extend(&honest[at..]);
                drop(decode::<MetadataRequest>(&hostile.into(), version));
            }
        }
        let mut brokers = BytesMut::new();
        brokers.put_slice(&[0; 8]); // correlation id, throttle time
        brokers.put_i32(i32::MAX);
        let reason = decode::<MetadataRequest>(&brokers.freeze(), 8).unwrap_err();
        assert_eq!(reason, "a length of 2147483647 before byte 12, where 0 bytes are left");
    }

    #[test]
    fn an_array_longer_than_any_is_refused_even_if_its_bytes_are_there() {
        // Version 8 has no varints, version 12 has nothing else. An element of `topics` takes some bytes, all zero.
        for (version, count) in [(8, vec![0, 0x10, 0, 0]), (12, vec![0x81, 0x80, 0x40])] {
            let mut answer = BytesMut::new();
            answer.put_slice(&[0; 4]); // correlation id
            if version == 12 {
                answer.put_u8(0); // no tagged fields in the header
            }
            answer.put_i32(0); // throttle time
            answer.put_slice(&count); // brokers: 1,048,576 of them
            answer.put_slice(&vec![0x01; 16 << 20]);
            let refused = decode::<MetadataRequest>(&answer.freeze(), version);
            refused.unwrap_err();
        }
    }
}
