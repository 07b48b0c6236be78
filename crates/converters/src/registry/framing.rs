//! How a record names its schema: in a prefix of its bytes, or in a header; with AWS Glue in a header of its bytes.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::io::Read as _;

use bytes::Bytes;
use flate2::read::ZlibDecoder;
use klamm_connect_api::{ConverterRole, DataError, DataErrorKind, RawHeader};
use klamm_schema_registry::SchemaId;
use uuid::Uuid;

const MAGIC_ID: u8 = 0;
const MAGIC_GUID: u8 = 1;
/// AWS Glue's version of its header, which is followed by a byte for the compression and the id of a schema version.
const GLUE_VERSION: u8 = 3;
const GLUE_PLAIN: u8 = 0;
const GLUE_ZLIB: u8 = 5;
/// Longest payload that is inflated: more than a call of a function takes, and no bomb.
const MAX_INFLATED: usize = 16 * 1024 * 1024;

/// The header that names the schema, if the bytes do not.
pub(crate) fn header_name(role: ConverterRole) -> &'static [u8] {
    match role {
        ConverterRole::Key => b"__key_schema_id",
        ConverterRole::Value | ConverterRole::Header => b"__value_schema_id",
    }
}

/// A record's schema, and where its parts are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Framed {
    pub(crate) id: SchemaId,
    /// What follows the id in the header: message indexes of Protobuf. None if the id stands in the bytes.
    pub(crate) header_rest: Option<Bytes>,
    /// The bytes after the prefix.
    pub(crate) payload: Bytes,
    /// Whether the payload is still compressed, with zlib.
    is_compressed: bool,
}

impl Framed {
    /// With its payload as it was before it was compressed, if it was.
    pub(crate) fn inflated(mut self) -> Result<Self, DataError> {
        if self.is_compressed {
            self.payload = inflate(&self.payload)?;
            self.is_compressed = false;
        }
        Ok(self)
    }
}

/// Where a record's schema is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IdPlace {
    /// In a header, or else in front of the bytes.
    Dual,
    /// In front of the bytes.
    Prefix,
    /// In a header.
    Header,
    /// Nowhere: all records have this schema, and nothing stands in front of their bytes.
    Fixed(SchemaId),
}

/// Message indexes of Protobuf that name the first message.
const FIRST_MESSAGE: &[u8] = &[0];

/// Takes the schema's id off. The last header of that name counts; a null one is as good as none.
pub(crate) fn split(
    id_place: IdPlace,
    header: &[u8],
    headers: &[RawHeader],
    bytes: &Bytes,
) -> Result<Framed, DataError> {
    if let IdPlace::Fixed(id) = id_place {
        return Ok(Framed {
            id,
            header_rest: Some(Bytes::from_static(FIRST_MESSAGE)),
            payload: bytes.clone(),
            is_compressed: false,
        });
    }
    let headers = if id_place == IdPlace::Prefix { &[] } else { headers };
    let named = headers
        .iter()
        .rev()
        .find(|(name, _)| name.as_ref() == header)
        .and_then(|(_, value)| value.as_ref());
    if let Some(value) = named {
        let (id, rest) = read_id(value).ok_or_else(|| {
            let header = String::from_utf8_lossy(header);
            malformed(format!(
                "header `{header}` of {} bytes names no schema: it takes 1 and a GUID, or 0 and an id",
                value.len()
            ))
        })?;
        return Ok(Framed {
            id,
            header_rest: Some(rest),
            payload: bytes.clone(),
            is_compressed: false,
        });
    }
    if id_place == IdPlace::Header {
        let header = String::from_utf8_lossy(header);
        return Err(malformed(format!("no header `{header}` names the record's schema")));
    }
    let (id, payload) = read_id(bytes).ok_or_else(|| match bytes.first() {
        None => malformed("empty bytes where a schema registry's prefix is expected".to_owned()),
        Some(&(MAGIC_ID | MAGIC_GUID)) => malformed(format!("{} bytes are too short for a schema's id", bytes.len())),
        Some(magic) => malformed(format!(
            "unknown magic byte {magic}: the record was not written with a schema registry's serializer; use the \
             converter of its format, such as JsonConverter or StringConverter"
        )),
    })?;
    Ok(Framed {
        id,
        header_rest: None,
        payload,
        is_compressed: false,
    })
}

/// Whether the bytes begin as AWS Glue's serializers begin theirs.
pub(crate) fn is_of_glue(bytes: &Bytes) -> bool {
    bytes.first() == Some(&GLUE_VERSION)
}

/// Takes AWS Glue's header off.
pub(crate) fn split_glue(bytes: &Bytes) -> Result<Framed, DataError> {
    let is_compressed = match bytes.get(..2) {
        Some([GLUE_VERSION, GLUE_PLAIN]) => false,
        Some([GLUE_VERSION, GLUE_ZLIB]) => true,
        Some([GLUE_VERSION, compression]) => {
            return Err(malformed(format!(
                "unknown compression byte {compression} in AWS Glue's header"
            )));
        }
        _ => {
            let first = match bytes.first() {
                Some(first) => format!("first byte {first}"),
                None => "empty bytes".to_owned(),
            };
            return Err(malformed(format!(
                "{first} where AWS Glue's header has {GLUE_VERSION}: the record was not written with AWS Glue's \
                 serializer; use the converter of its format, or set `secondaryDeserializer` if it was written with \
                 Confluent's"
            )));
        }
    };
    let header = bytes.get(2..).and_then(|rest| rest.first_chunk::<16>());
    let Some(id) = header else {
        return Err(malformed(format!(
            "{} bytes are too short for AWS Glue's header",
            bytes.len()
        )));
    };
    Ok(Framed {
        id: SchemaId::VersionId(Uuid::from_bytes(*id)),
        header_rest: None,
        payload: bytes.slice(18..),
        is_compressed,
    })
}

fn inflate(payload: &[u8]) -> Result<Bytes, DataError> {
    let mut inflated = Vec::new();
    let limit = u64::try_from(MAX_INFLATED).unwrap_or(u64::MAX).saturating_add(1);
    ZlibDecoder::new(payload)
        .take(limit)
        .read_to_end(&mut inflated)
        .map_err(|error| {
            malformed(format!(
                "the payload is not compressed with zlib, as its header says: {error}"
            ))
        })?;
    if inflated.len() > MAX_INFLATED {
        return Err(malformed(format!(
            "the payload has more than {MAX_INFLATED} bytes without its compression"
        )));
    }
    Ok(Bytes::from(inflated))
}

fn malformed(message: String) -> DataError {
    DataError::new(DataErrorKind::Serialization, message)
}

fn read_id(bytes: &Bytes) -> Option<(SchemaId, Bytes)> {
    let (magic, rest) = bytes.split_first()?;
    match *magic {
        MAGIC_ID => {
            let id = rest.first_chunk::<4>()?;
            Some((SchemaId::Id(i32::from_be_bytes(*id)), bytes.slice(5..)))
        }
        MAGIC_GUID => {
            let guid = rest.first_chunk::<16>()?;
            Some((SchemaId::Guid(Uuid::from_bytes(*guid)), bytes.slice(17..)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &[u8] = b"__value_schema_id";

    fn header(name: &'static [u8], value: Option<&'static [u8]>) -> RawHeader {
        (Bytes::from_static(name), value.map(Bytes::from_static))
    }

    #[test]
    fn ids_stand_in_the_prefix_or_in_the_last_header() {
        let guid = SchemaId::Guid(Uuid::from_u128(7));
        let in_header: &[u8] = &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 42];
        let plain = Bytes::from_static(&[0, 0, 0, 1, 2, 9]);
        type Case<'a> = (&'a [RawHeader], SchemaId, &'a [u8], &'a str);
        let cases: [Case<'_>; 5] = [
            (&[], SchemaId::Id(258), &[9], "prefix"),
            (
                &[header(HEADER, None)],
                SchemaId::Id(258),
                &[9],
                "a null header is absent",
            ),
            (
                &[header(b"__key_schema_id", Some(in_header))],
                SchemaId::Id(258),
                &[9],
                "the key's header is not the value's",
            ),
            (
                &[header(HEADER, Some(b"")), header(HEADER, Some(in_header))],
                guid,
                &plain,
                "the last header counts, the bytes have no prefix then",
            ),
            (
                &[header(HEADER, Some(&[0, 0, 0, 0, 5]))],
                SchemaId::Id(5),
                &plain,
                "an id in the header",
            ),
        ];
        for (headers, id, payload, why) in cases {
            let framed = split(IdPlace::Dual, HEADER, headers, &plain).unwrap();
            assert_eq!((framed.id, framed.payload.as_ref()), (id, payload), "{why}");
        }
        let framed = split(IdPlace::Dual, HEADER, &[header(HEADER, Some(in_header))], &plain).unwrap();
        assert_eq!(framed.header_rest.as_deref(), Some(&[42][..]));
    }

    fn glue(compression: u8, payload: &[u8]) -> Bytes {
        Bytes::from([&[3, compression][..], &[7; 16], payload].concat())
    }

    fn deflated(payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut encoder = flate2::read::ZlibEncoder::new(payload, flate2::Compression::best());
        encoder.read_to_end(&mut out).unwrap();
        out
    }

    #[test]
    fn glues_header_names_a_version_and_says_whether_zlib_was_used() {
        let id = SchemaId::VersionId(Uuid::from_bytes([7; 16]));
        let longest = vec![b'x'; MAX_INFLATED];
        let cases: [(Bytes, &[u8]); 4] = [
            (glue(0, b"abc"), b"abc"),
            (glue(0, b""), b""),
            (glue(5, &deflated(b"abc")), b"abc"),
            (glue(5, &deflated(&longest)), &longest),
        ];
        for (bytes, wanted) in cases {
            let framed = split_glue(&bytes).unwrap().inflated().unwrap();
            assert_eq!(framed.id, id);
            assert!(framed.payload == wanted);
        }
    }

    #[test]
    fn what_is_none_of_glues_says_so_and_a_bomb_stays_small() {
        let bomb = deflated(&vec![0; MAX_INFLATED + 1]);
        let mut cut_off = deflated(b"abcabcabc");
        cut_off.truncate(5);
        assert!(bomb.len() < 20_000);
        let cases = [
            (Bytes::new(), "empty bytes where AWS Glue's header has 3"),
            (Bytes::from_static(&[0, 0, 0, 0, 1]), "first byte 0 where"),
            (Bytes::from_static(&[3]), "first byte 3"),
            (Bytes::from_static(&[3, 0, 1]), "3 bytes are too short"),
            (glue(4, b"abc"), "unknown compression byte 4"),
            (glue(5, b"abc"), "not compressed with zlib"),
            (glue(5, &cut_off), "not compressed with zlib"),
            (glue(5, &bomb), "more than 16777216 bytes"),
        ];
        for (bytes, wanted) in cases {
            let error = split_glue(&bytes).and_then(Framed::inflated).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn what_names_no_schema_says_so() {
        let cases: [(&[RawHeader], &'static [u8], &str); 5] = [
            (&[], b"", "empty bytes"),
            (&[], b"{\"a\":1}", "unknown magic byte 123"),
            (&[], &[0, 0, 0, 1], "4 bytes are too short"),
            (&[], &[1, 0], "2 bytes are too short"),
            (
                &[header(HEADER, Some(b""))],
                &[0, 0, 0, 0, 1],
                "of 0 bytes names no schema",
            ),
        ];
        for (headers, bytes, wanted) in cases {
            let error = split(IdPlace::Dual, HEADER, headers, &Bytes::from_static(bytes))
                .unwrap_err()
                .to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
