//! `JsonConverter`: JSON text, plain or in an envelope of schema and payload.
//!
//! `blocks` checks text that is passed on, `scan` reads tokens, `schemaless` makes Connect data of plain JSON, `schema`
//! reads the envelope's schema and `typed` its payload.

mod blocks;
mod cache;
pub(crate) mod scan;
mod schema;
mod schemaless;
mod typed;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use klamm_connect_api::config::Validator;
use klamm_connect_api::{
    ConfigDef, ConfigError, ConfigErrors, ConfigKey, ConfigType, Converter, ConverterPlugin, DataError, DataErrorKind,
    Datum, DatumCodec, HeaderConverter, HeaderConverterPlugin, Importance, ParsedConfig, PluginKind, RawHeader,
    Rendering, SchemaAndValue, SchemaRef, Value, json,
};

use self::cache::SchemaCache;
use self::scan::{Kind, Scanner};
use self::typed::NullWithDefault;
pub(crate) use self::typed::whole;
use crate::charset::Charset;

const CLASS: &str = "org.apache.kafka.connect.json.JsonConverter";
const SCHEMAS_ENABLE: &str = "schemas.enable";
const SCHEMAS_CACHE_SIZE: &str = "schemas.cache.size";
const DECIMAL_FORMAT: &str = "decimal.format";
const REPLACE_NULL: &str = "replace.null.with.default";
const SCHEMA_CONTENT: &str = "schema.content";

pub(crate) fn converter_plugin() -> ConverterPlugin {
    ConverterPlugin {
        info: crate::info(PluginKind::Converter, CLASS),
        config_def,
        create: |config, _| Ok(Arc::new(JsonConverter::try_new(config)?)),
    }
}

pub(crate) fn header_converter_plugin() -> HeaderConverterPlugin {
    HeaderConverterPlugin {
        info: crate::info(PluginKind::HeaderConverter, CLASS),
        config_def,
        create: |config| Ok(Arc::new(JsonConverter::try_new(config)?)),
    }
}

fn config_def() -> ConfigDef {
    let key =
        |name, config_type, importance, documentation| ConfigKey::new(name, config_type, importance, documentation);
    ConfigDef::new()
        .key(crate::type_key())
        .key(
            key(
                SCHEMAS_ENABLE,
                ConfigType::Boolean,
                Importance::High,
                "Whether each text is an envelope {\"schema\": ..., \"payload\": ...}. Set to false for plain JSON.",
            )
            .default("true"),
        )
        .key(
            key(
                SCHEMAS_CACHE_SIZE,
                ConfigType::Int,
                Importance::High,
                "How many schemas of envelopes are kept in memory.",
            )
            .default("1000")
            .validator(Validator::at_least(0)),
        )
        .key(
            key(
                DECIMAL_FORMAT,
                ConfigType::String,
                Importance::Low,
                "How Decimals are written, BASE64 or NUMERIC; both are read. A sink only reads.",
            )
            .default("BASE64")
            .validator(Validator::one_of(&["BASE64", "NUMERIC"])),
        )
        .key(
            key(
                REPLACE_NULL,
                ConfigType::Boolean,
                Importance::Low,
                "Whether null in a field that has a default is read as the default.",
            )
            .default("true"),
        )
        .key(
            key(
                SCHEMA_CONTENT,
                ConfigType::String,
                Importance::High,
                "The schema of all texts, in the JSON form of an envelope's schema. The texts are then payloads \
                 without envelope.",
            )
            .optional(),
        )
}

#[derive(Debug)]
struct JsonConverter {
    mode: Mode,
    plain: Arc<dyn DatumCodec>,
    lenient: Arc<dyn DatumCodec>,
    null_with_default: NullWithDefault,
}

#[derive(Debug)]
enum Mode {
    /// `schemas.enable=false`
    Plain,
    /// `schemas.enable=true`
    Envelope(SchemaCache),
    /// `schemas.enable=true` with `schema.content`; the text `null` there is no schema at all.
    Payload(Option<SchemaRef>),
}

impl JsonConverter {
    fn try_new(config: &ParsedConfig) -> Result<Self, ConfigErrors> {
        let null_with_default = match config.bool(REPLACE_NULL) {
            Some(false) => NullWithDefault::Null,
            _ => NullWithDefault::Default,
        };
        let content = config.str(SCHEMA_CONTENT).filter(|text| !text.is_empty());
        let mode = match (config.bool(SCHEMAS_ENABLE), content) {
            (Some(false), _) => Mode::Plain,
            (_, Some(content)) => Mode::Payload(schema::parse(content, null_with_default).map_err(|error| {
                ConfigError::new(SCHEMA_CONTENT, format!("not the JSON form of a schema: {error}"))
            })?),
            (_, None) => Mode::Envelope(SchemaCache::new(config.usize(SCHEMAS_CACHE_SIZE).unwrap_or(1000))),
        };
        Ok(Self {
            mode,
            plain: Arc::new(PlainJson { span: None }),
            lenient: Arc::new(LenientJson),
            null_with_default,
        })
    }

    fn datum(&self, bytes: Option<&Bytes>) -> Result<Datum, DataError> {
        let Some(bytes) = bytes else {
            return Ok(Datum::NULL);
        };
        match &self.mode {
            Mode::Plain => self.plain(bytes),
            Mode::Envelope(cache) => {
                let text = text(bytes)?;
                let envelope = Envelope::read(&text)?;
                let schema = cache.get(envelope.schema, |text| schema::parse(text, self.null_with_default))?;
                self.payload(schema.as_ref(), envelope.payload)
            }
            Mode::Payload(schema) => self.payload(schema.as_ref(), &text(bytes)?),
        }
    }

    /// Checks the text once and leaves it encoded. Duplicate names and numbers beyond 64 bits are only resolved when
    /// somebody decodes it.
    fn plain(&self, bytes: &Bytes) -> Result<Datum, DataError> {
        if let Some(span) = blocks::document(bytes) {
            return Ok(self.checked(bytes, span));
        }
        let text = text(bytes)?;
        let mut scanner = Scanner::new(&text);
        if scanner.is_at_end() {
            return Ok(Datum::NULL);
        }
        if scanner.kind()? == Kind::Null {
            scanner.null()?;
            return Ok(Datum::NULL);
        }
        let start = scanner.at();
        scanner.skip()?;
        let span = start..scanner.at();
        let is_as_received = matches!(text, Cow::Borrowed(text) if text.len() == bytes.len());
        if is_as_received && scanner.is_strict() {
            return Ok(self.checked(bytes, span));
        }
        Ok(Datum::Encoded {
            bytes: bytes.clone(),
            codec: Arc::clone(&self.lenient),
        })
    }

    /// Strict JSON that has been checked, in a span of the bytes.
    fn checked(&self, bytes: &Bytes, span: Range<usize>) -> Datum {
        let codec = if span == (0..bytes.len()) {
            Arc::clone(&self.plain)
        } else {
            Arc::new(PlainJson { span: Some(span) })
        };
        Datum::Encoded {
            bytes: bytes.clone(),
            codec,
        }
    }

    fn payload(&self, schema: Option<&SchemaRef>, text: &str) -> Result<Datum, DataError> {
        let mut scanner = Scanner::new(text);
        let value = match schema {
            Some(schema) => typed::read(schema, &mut scanner, self.null_with_default)?,
            None => schemaless::read(&mut scanner)?,
        };
        let schema = schema.map(SchemaRef::clone);
        Ok(SchemaAndValue { schema, value }.into())
    }
}

impl Converter for JsonConverter {
    fn to_connect(&self, _topic: &str, _headers: &[RawHeader], bytes: Option<&Bytes>) -> Result<Datum, DataError> {
        self.datum(bytes)
    }
}

impl HeaderConverter for JsonConverter {
    fn to_connect_header(&self, _topic: &str, _key: &str, bytes: Option<&Bytes>) -> Result<Datum, DataError> {
        self.datum(bytes)
    }
}

/// The text of the bytes: UTF-8, or UTF-16 as Jackson recognises it; without its byte order mark.
pub(crate) fn text(bytes: &[u8]) -> Result<Cow<'_, str>, DataError> {
    let text = match bytes {
        [0xfe, 0xff, ..] | [0xff, 0xfe, ..] => Charset::Utf16.decode(bytes),
        // The first character of a JSON text is in ASCII.
        [0, 1..=255, ..] => Charset::Utf16Be.decode(bytes),
        [1..=255, 0, ..] => Charset::Utf16Le.decode(bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => Cow::Borrowed(utf8(rest)?),
        _ => Cow::Borrowed(utf8(bytes)?),
    };
    Ok(text)
}

fn utf8(bytes: &[u8]) -> Result<&str, DataError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let message = format!("not JSON: the bytes are not UTF-8 at byte {}", error.valid_up_to());
        DataError::new(DataErrorKind::Serialization, message)
    })
}

/// A JSON text as schemaless data: for formats whose schemas are JSON. Unlike `serde_json` it takes any depth that
/// converters take, and keeps the order of members.
pub(crate) fn parse_text(text: &str) -> Result<Value, DataError> {
    schemaless::read(&mut Scanner::new(text))
}

/// A JSON text as schemaless data, as `JsonConverter` with `schemas.enable=false` reads it, but for what follows the
/// value: only blanks may.
///
/// # Errors
/// A text that is no JSON, with the place.
///
/// ```
/// let value = klamm_converters::parse_json(r#"{"a": [1, 2.5]}"#).unwrap();
/// assert!(matches!(value, klamm_connect_api::Value::Map(_)));
/// assert!(klamm_converters::parse_json("1 2").is_err());
/// ```
pub fn parse_json(text: &str) -> Result<Value, DataError> {
    let mut scanner = Scanner::new(text);
    let value = schemaless::read(&mut scanner)?;
    if scanner.is_at_end() {
        Ok(value)
    } else {
        let message = format!("not JSON: there is more text after the value, at byte {}", scanner.at());
        Err(DataError::new(DataErrorKind::Serialization, message))
    }
}

/// The texts of an envelope's two members.
struct Envelope<'a> {
    schema: &'a str,
    payload: &'a str,
}

impl<'a> Envelope<'a> {
    fn read(text: &'a str) -> Result<Self, DataError> {
        let no_envelope = || {
            DataError::data(
                "JsonConverter with schemas.enable=true takes an object with the fields `schema` and `payload` and no \
                 others; for plain JSON set schemas.enable=false on the converter",
            )
        };
        let mut scanner = Scanner::new(text);
        if scanner.is_at_end() || scanner.kind()? != Kind::Object {
            return Err(no_envelope());
        }
        let (mut schema, mut payload) = (None, None);
        scanner.enter_object()?;
        let mut is_first = true;
        while let Some(name) = scanner.next_member(is_first)? {
            is_first = false;
            scanner.blank();
            let start = scanner.at();
            scanner.skip()?;
            match &*name {
                "schema" => schema = Some(scanner.text_from(start)),
                "payload" => payload = Some(scanner.text_from(start)),
                _ => return Err(no_envelope()),
            }
        }
        match (schema, payload) {
            (Some(schema), Some(payload)) => Ok(Self { schema, payload }),
            _ => Err(no_envelope()),
        }
    }
}

/// Strict JSON that has been checked: all of the bytes, or a part of them.
#[derive(Debug)]
struct PlainJson {
    span: Option<Range<usize>>,
}

impl PlainJson {
    fn json<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        match &self.span {
            None => bytes,
            Some(span) => bytes.get(span.clone()).unwrap_or_default(),
        }
    }
}

impl DatumCodec for PlainJson {
    fn may_hold_null(&self) -> bool {
        false
    }

    fn decode(&self, bytes: &Bytes) -> Result<SchemaAndValue, DataError> {
        let value = schemaless::read(&mut Scanner::new(utf8(self.json(bytes))?))?;
        Ok(SchemaAndValue::schemaless(value))
    }

    fn write_json(&self, bytes: &Bytes, _: Rendering, out: &mut Vec<u8>) -> Result<(), DataError> {
        out.extend_from_slice(self.json(bytes));
        Ok(())
    }
}

/// What Jackson takes for JSON although it is not: leading zeros, a byte order mark, UTF-16. It is written as JSON
/// from its value.
#[derive(Debug)]
struct LenientJson;

impl DatumCodec for LenientJson {
    fn may_hold_null(&self) -> bool {
        false
    }

    fn decode(&self, bytes: &Bytes) -> Result<SchemaAndValue, DataError> {
        let value = schemaless::read(&mut Scanner::new(&text(bytes)?))?;
        Ok(SchemaAndValue::schemaless(value))
    }

    fn write_json(&self, bytes: &Bytes, rendering: Rendering, out: &mut Vec<u8>) -> Result<(), DataError> {
        json::write(&self.decode(bytes)?, rendering, out)
    }
}

#[cfg(test)]
mod tests;
