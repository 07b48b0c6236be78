//! Converters between the bytes of the wire and Connect data.
//!
//! **Owns** what JSON, JSON Schema, Avro, Protobuf, strings, numbers, raw bytes and Connect's header literals mean, under the class
//! names and settings of Kafka Connect and of Confluent's converters.
//! **Does not know** Kafka, transforms or destinations.
//! **Invariants:** no bytes of the wire lead to a panic or to unbounded recursion; errors never repeat the payload; a
//! JSON text that is left encoded is strict JSON, so it can go into a payload as it is.
#![forbid(unsafe_code)]

mod avro;
mod byte_array;
mod charset;
mod failure;
mod json;
mod json_schema;
mod json_text;
mod primitive;
mod protobuf;
mod registry;
mod simple_header;
mod string;

use klamm_connect_api::config::Validator;
use klamm_connect_api::{
    ConfigKey, ConfigType, ConverterPlugin, HeaderConverterPlugin, Importance, PluginInfo, PluginKind,
};

pub use charset::Charset;
pub use json::parse_json;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The converters of keys and values.
#[must_use]
pub fn converters() -> Vec<ConverterPlugin> {
    let mut plugins = vec![
        avro::converter_plugin(),
        avro::glue_converter_plugin(),
        byte_array::converter_plugin(),
        json::converter_plugin(),
        json_schema::converter_plugin(),
        json_schema::glue_converter_plugin(),
        protobuf::converter_plugin(),
        protobuf::glue_converter_plugin(),
        string::converter_plugin(),
    ];
    plugins.extend(primitive::converter_plugins());
    plugins
}

/// The converters of header values: [`converters`] in that role, and `SimpleHeaderConverter`, which is the default.
#[must_use]
pub fn header_converters() -> Vec<HeaderConverterPlugin> {
    let mut plugins = vec![
        byte_array::header_converter_plugin(),
        json::header_converter_plugin(),
        simple_header::header_converter_plugin(),
        string::header_converter_plugin(),
    ];
    plugins.extend(primitive::header_converter_plugins());
    plugins
}

fn info(kind: PluginKind, class: &'static str) -> PluginInfo {
    PluginInfo {
        kind,
        class,
        aliases: &[],
        version: VERSION,
    }
}

/// The setting with which Connect tells a converter its role; here the role is an argument and the setting is only
/// checked.
fn type_key() -> ConfigKey {
    ConfigKey::new(
        "converter.type",
        ConfigType::String,
        Importance::Low,
        "How this converter is used: key, value or header.",
    )
    .optional()
    .validator(Validator::new(|text| match text {
        "key" | "value" | "header" => Ok(()),
        _ => Err("String must be one of: key, value, header".to_owned()),
    }))
}
