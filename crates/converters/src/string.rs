//! `StringConverter`: the bytes as text of a charset.

use std::sync::Arc;

use bytes::Bytes;
use klamm_connect_api::config::Validator;
use klamm_connect_api::{
    ConfigDef, ConfigKey, ConfigType, Converter, ConverterPlugin, ConverterRole, DataError, Datum, DatumCodec,
    HeaderConverter, HeaderConverterPlugin, Importance, ParsedConfig, PluginKind, RawHeader, Rendering, Schema,
    SchemaAndValue, Value, json,
};

use crate::charset::Charset;

const CLASS: &str = "org.apache.kafka.connect.storage.StringConverter";
const ENCODING: &str = "converter.encoding";
/// Settings of Kafka's own deserializer, which Connect hands the converter's settings down to; they win.
const KEY_ENCODING: &str = "key.deserializer.encoding";
const VALUE_ENCODING: &str = "value.deserializer.encoding";

pub(crate) fn converter_plugin() -> ConverterPlugin {
    ConverterPlugin {
        info: crate::info(PluginKind::Converter, CLASS),
        config_def,
        create: |config, role| Ok(Arc::new(StringConverter::new(config, role))),
    }
}

pub(crate) fn header_converter_plugin() -> HeaderConverterPlugin {
    HeaderConverterPlugin {
        info: crate::info(PluginKind::HeaderConverter, CLASS),
        config_def,
        create: |config| Ok(Arc::new(StringConverter::new(config, ConverterRole::Header))),
    }
}

fn config_def() -> ConfigDef {
    let encoding = |name, documentation: &str| {
        ConfigKey::new(name, ConfigType::String, Importance::High, documentation)
            .validator(Validator::new(Charset::check))
    };
    ConfigDef::new()
        .key(crate::type_key())
        .key(encoding(ENCODING, "The charset of the text, by its Java name.").default("UTF-8"))
        .key(encoding(KEY_ENCODING, "The charset of keys; stands above `converter.encoding`.").optional())
        .key(
            encoding(
                VALUE_ENCODING,
                "The charset of values and headers; stands above `converter.encoding`.",
            )
            .optional(),
        )
}

#[derive(Debug)]
struct StringConverter {
    codec: Arc<dyn DatumCodec>,
}

impl StringConverter {
    fn new(config: &ParsedConfig, role: ConverterRole) -> Self {
        let of_role = match role {
            ConverterRole::Key => KEY_ENCODING,
            ConverterRole::Value | ConverterRole::Header => VALUE_ENCODING,
        };
        let charset = config
            .str(of_role)
            .or_else(|| config.str(ENCODING))
            .and_then(Charset::of)
            .unwrap_or(Charset::Utf8);
        Self {
            codec: Arc::new(Text(charset)),
        }
    }

    fn datum(&self, bytes: Option<&Bytes>) -> Datum {
        match bytes {
            Some(bytes) => Datum::Encoded {
                bytes: bytes.clone(),
                codec: Arc::clone(&self.codec),
            },
            None => SchemaAndValue::new(Schema::optional_string(), Value::Null).into(),
        }
    }
}

impl Converter for StringConverter {
    fn to_connect(&self, _topic: &str, _headers: &[RawHeader], bytes: Option<&Bytes>) -> Result<Datum, DataError> {
        Ok(self.datum(bytes))
    }
}

impl HeaderConverter for StringConverter {
    fn to_connect_header(&self, _topic: &str, _key: &str, bytes: Option<&Bytes>) -> Result<Datum, DataError> {
        Ok(self.datum(bytes))
    }
}

#[derive(Debug)]
struct Text(Charset);

impl DatumCodec for Text {
    fn may_hold_null(&self) -> bool {
        false
    }

    fn decode(&self, bytes: &Bytes) -> Result<SchemaAndValue, DataError> {
        Ok(SchemaAndValue::new(
            Schema::optional_string(),
            Value::from(&*self.0.decode(bytes)),
        ))
    }

    fn write_json(&self, bytes: &Bytes, _: Rendering, out: &mut Vec<u8>) -> Result<(), DataError> {
        json::write_string(&self.0.decode(bytes), out);
        Ok(())
    }
}
