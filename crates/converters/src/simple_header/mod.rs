//! `SimpleHeaderConverter`: header values as literals, such as `5`, `true`, `2024-05-01` or `["a","b"]`.

use std::sync::Arc;

use bytes::Bytes;
use klamm_connect_api::{
    ConfigDef, DataError, Datum, DatumCodec, HeaderConverter, HeaderConverterPlugin, PluginKind, Rendering,
    SchemaAndValue, json,
};
use klamm_java_compat::literal;

use crate::charset;

const CLASS: &str = "org.apache.kafka.connect.storage.SimpleHeaderConverter";

pub(crate) fn header_converter_plugin() -> HeaderConverterPlugin {
    HeaderConverterPlugin {
        info: crate::info(PluginKind::HeaderConverter, CLASS),
        config_def: || ConfigDef::new().key(crate::type_key()),
        create: |_| {
            Ok(Arc::new(SimpleHeaderConverter {
                codec: Arc::new(Literal),
            }))
        },
    }
}

#[derive(Debug)]
struct SimpleHeaderConverter {
    codec: Arc<dyn DatumCodec>,
}

impl HeaderConverter for SimpleHeaderConverter {
    fn to_connect_header(&self, _topic: &str, _key: &str, bytes: Option<&Bytes>) -> Result<Datum, DataError> {
        Ok(match bytes {
            Some(bytes) => Datum::Encoded {
                bytes: bytes.clone(),
                codec: Arc::clone(&self.codec),
            },
            None => Datum::NULL,
        })
    }
}

/// Any text is a literal: what is nothing else is a string.
#[derive(Debug)]
struct Literal;

impl DatumCodec for Literal {
    fn decode(&self, bytes: &Bytes) -> Result<SchemaAndValue, DataError> {
        Ok(literal::parse(&charset::utf8(bytes)))
    }

    fn write_json(&self, bytes: &Bytes, rendering: Rendering, out: &mut Vec<u8>) -> Result<(), DataError> {
        json::write(&self.decode(bytes)?, rendering, out)
    }
}

#[cfg(test)]
mod tests;
