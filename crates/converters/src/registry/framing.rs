//! How a record names its schema: in a prefix of its bytes, or in a header.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use bytes::Bytes;
use klamm_connect_api::{ConverterRole, DataError, DataErrorKind, RawHeader};
use klamm_schema_registry::SchemaId;
use uuid::Uuid;

const MAGIC_ID: u8 = 0;
const MAGIC_GUID: u8 = 1;

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
    })
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
