//! `BooleanConverter` and the converters of numbers: a fixed number of bytes, big endian.

use std::sync::Arc;

use bytes::Bytes;
use klamm_connect_api::{
    ConfigDef, Converter, ConverterPlugin, DataError, DataErrorKind, Datum, HeaderConverter, HeaderConverterPlugin,
    PluginInfo, PluginKind, RawHeader, Schema, SchemaAndValue, SchemaRef, Value,
};

/// What one of these converters reads.
#[derive(Debug)]
struct Primitive {
    name: &'static str,
    schema: fn() -> SchemaRef,
    /// None if the bytes are not as many as they have to be, or hold no value of the type.
    read: fn(&[u8]) -> Option<Value>,
    wanted: &'static str,
}

const BOOLEAN: Primitive = Primitive {
    name: "boolean",
    schema: Schema::optional_boolean,
    read: |bytes| match bytes {
        [0] => Some(Value::Boolean(false)),
        [1] => Some(Value::Boolean(true)),
        _ => None,
    },
    wanted: "one byte, 0 or 1",
};
const SHORT: Primitive = Primitive {
    name: "short",
    schema: Schema::optional_int16,
    read: |bytes| Some(Value::Int16(i16::from_be_bytes(bytes.try_into().ok()?))),
    wanted: "2 bytes",
};
const INTEGER: Primitive = Primitive {
    name: "integer",
    schema: Schema::optional_int32,
    read: |bytes| Some(Value::Int32(i32::from_be_bytes(bytes.try_into().ok()?))),
    wanted: "4 bytes",
};
const LONG: Primitive = Primitive {
    name: "long",
    schema: Schema::optional_int64,
    read: |bytes| Some(Value::Int64(i64::from_be_bytes(bytes.try_into().ok()?))),
    wanted: "8 bytes",
};
const FLOAT: Primitive = Primitive {
    name: "float",
    schema: Schema::optional_float32,
    read: |bytes| Some(Value::Float32(f32::from_be_bytes(bytes.try_into().ok()?))),
    wanted: "4 bytes",
};
const DOUBLE: Primitive = Primitive {
    name: "double",
    schema: Schema::optional_float64,
    read: |bytes| Some(Value::Float64(f64::from_be_bytes(bytes.try_into().ok()?))),
    wanted: "8 bytes",
};

const BOOLEAN_CLASS: &str = "org.apache.kafka.connect.converters.BooleanConverter";
const SHORT_CLASS: &str = "org.apache.kafka.connect.converters.ShortConverter";
const INTEGER_CLASS: &str = "org.apache.kafka.connect.converters.IntegerConverter";
const LONG_CLASS: &str = "org.apache.kafka.connect.converters.LongConverter";
const FLOAT_CLASS: &str = "org.apache.kafka.connect.converters.FloatConverter";
const DOUBLE_CLASS: &str = "org.apache.kafka.connect.converters.DoubleConverter";

fn config_def() -> ConfigDef {
    ConfigDef::new().key(crate::type_key())
}

fn info(kind: PluginKind, class: &'static str) -> PluginInfo {
    crate::info(kind, class)
}

pub(crate) fn converter_plugins() -> [ConverterPlugin; 6] {
    let plugin = |class, create| ConverterPlugin {
        info: info(PluginKind::Converter, class),
        config_def,
        create,
    };
    [
        plugin(BOOLEAN_CLASS, |_, _| Ok(Arc::new(PrimitiveConverter(&BOOLEAN)))),
        plugin(DOUBLE_CLASS, |_, _| Ok(Arc::new(PrimitiveConverter(&DOUBLE)))),
        plugin(FLOAT_CLASS, |_, _| Ok(Arc::new(PrimitiveConverter(&FLOAT)))),
        plugin(INTEGER_CLASS, |_, _| Ok(Arc::new(PrimitiveConverter(&INTEGER)))),
        plugin(LONG_CLASS, |_, _| Ok(Arc::new(PrimitiveConverter(&LONG)))),
        plugin(SHORT_CLASS, |_, _| Ok(Arc::new(PrimitiveConverter(&SHORT)))),
    ]
}

pub(crate) fn header_converter_plugins() -> [HeaderConverterPlugin; 6] {
    let plugin = |class, create| HeaderConverterPlugin {
        info: info(PluginKind::HeaderConverter, class),
        config_def,
        create,
    };
    [
        plugin(BOOLEAN_CLASS, |_| Ok(Arc::new(PrimitiveConverter(&BOOLEAN)))),
        plugin(DOUBLE_CLASS, |_| Ok(Arc::new(PrimitiveConverter(&DOUBLE)))),
        plugin(FLOAT_CLASS, |_| Ok(Arc::new(PrimitiveConverter(&FLOAT)))),
        plugin(INTEGER_CLASS, |_| Ok(Arc::new(PrimitiveConverter(&INTEGER)))),
        plugin(LONG_CLASS, |_| Ok(Arc::new(PrimitiveConverter(&LONG)))),
        plugin(SHORT_CLASS, |_| Ok(Arc::new(PrimitiveConverter(&SHORT)))),
    ]
}

#[derive(Debug)]
struct PrimitiveConverter(&'static Primitive);

impl PrimitiveConverter {
    fn datum(&self, bytes: Option<&Bytes>) -> Result<Datum, DataError> {
        let Primitive {
            name,
            schema,
            read,
            wanted,
        } = self.0;
        let value = match bytes {
            None => Value::Null,
            Some(bytes) => read(bytes).ok_or_else(|| {
                let message = format!("{} bytes where a {name} takes {wanted}", bytes.len());
                DataError::new(DataErrorKind::Serialization, message)
            })?,
        };
        Ok(SchemaAndValue::new(schema(), value).into())
    }
}

impl Converter for PrimitiveConverter {
    fn to_connect(&self, _topic: &str, _headers: &[RawHeader], bytes: Option<&Bytes>) -> Result<Datum, DataError> {
        self.datum(bytes)
    }
}

impl HeaderConverter for PrimitiveConverter {
    fn to_connect_header(&self, _topic: &str, _key: &str, bytes: Option<&Bytes>) -> Result<Datum, DataError> {
        self.datum(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_bytes_as_the_type_has_and_no_others() {
        for (primitive, len) in [
            (&BOOLEAN, 1),
            (&SHORT, 2),
            (&INTEGER, 4),
            (&LONG, 8),
            (&FLOAT, 4),
            (&DOUBLE, 8),
        ] {
            for given in 0..10_usize {
                let converter = PrimitiveConverter(primitive);
                let converted = converter.datum(Some(&Bytes::from(vec![0; given])));
                assert_eq!(converted.is_ok(), given == len, "{} of {given} bytes", primitive.name);
            }
        }
        let error = PrimitiveConverter(&BOOLEAN)
            .datum(Some(&Bytes::from_static(&[2])))
            .unwrap_err();
        assert_eq!(error.to_string(), "1 bytes where a boolean takes one byte, 0 or 1");
    }
}
