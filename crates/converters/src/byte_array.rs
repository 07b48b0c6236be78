//! `ByteArrayConverter`: the bytes as they are.

use std::sync::Arc;

use bytes::Bytes;
use klamm_connect_api::{
    ConfigDef, Converter, ConverterPlugin, DataError, Datum, DatumCodec, HeaderConverter, HeaderConverterPlugin,
    PluginKind, RawHeader, Rendering, Schema, SchemaAndValue, Value, json,
};

const CLASS: &str = "org.apache.kafka.connect.converters.ByteArrayConverter";

pub(crate) fn converter_plugin() -> ConverterPlugin {
    ConverterPlugin {
        info: crate::info(PluginKind::Converter, CLASS),
        config_def: || ConfigDef::new().key(crate::type_key()),
        create: |_, _| Ok(Arc::new(ByteArrayConverter::default())),
    }
}

pub(crate) fn header_converter_plugin() -> HeaderConverterPlugin {
    HeaderConverterPlugin {
        info: crate::info(PluginKind::HeaderConverter, CLASS),
        config_def: || ConfigDef::new().key(crate::type_key()),
        create: |_| Ok(Arc::new(ByteArrayConverter::default())),
    }
}

#[derive(Debug)]
struct ByteArrayConverter {
    codec: Arc<dyn DatumCodec>,
}

impl Default for ByteArrayConverter {
    fn default() -> Self {
        Self {
            codec: Arc::new(RawBytes),
        }
    }
}

impl ByteArrayConverter {
    fn datum(&self, bytes: Option<&Bytes>) -> Datum {
        match bytes {
            Some(bytes) => Datum::Encoded {
                bytes: bytes.clone(),
                codec: Arc::clone(&self.codec),
            },
            None => SchemaAndValue::new(Schema::optional_bytes(), Value::Null).into(),
        }
    }
}

impl Converter for ByteArrayConverter {
    fn to_connect(&self, _topic: &str, _headers: &[RawHeader], bytes: Option<&Bytes>) -> Result<Datum, DataError> {
        Ok(self.datum(bytes))
    }
}

impl HeaderConverter for ByteArrayConverter {
    fn to_connect_header(&self, _topic: &str, _key: &str, bytes: Option<&Bytes>) -> Result<Datum, DataError> {
        Ok(self.datum(bytes))
    }
}

#[derive(Debug)]
struct RawBytes;

impl DatumCodec for RawBytes {
    fn may_hold_null(&self) -> bool {
        false
    }

    fn decode(&self, bytes: &Bytes) -> Result<SchemaAndValue, DataError> {
        Ok(SchemaAndValue::new(
            Schema::optional_bytes(),
            Value::Bytes(bytes.clone()),
        ))
    }

    fn write_json(&self, bytes: &Bytes, _: Rendering, out: &mut Vec<u8>) -> Result<(), DataError> {
        json::write_base64(bytes, out);
        Ok(())
    }
}
