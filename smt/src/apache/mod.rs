//! The transforms of Apache Kafka Connect (`org.apache.kafka.connect.transforms`).

mod filter;
mod insert_field;
mod regex_router;
mod replace_field;

use klamm_connect_api::{
    ConfigDef, ConfigErrors, ConfigKey, ConfigType, DataError, Datum, Importance, ParsedConfig, PluginInfo, PluginKind,
    Record, Schema, Struct, Transform, TransformPlugin, Value,
};
use std::sync::Arc;

use crate::VERSION;

/// The setting that many transforms share.
const REPLACE_NULL: &str = "replace.null.with.default";

/// The transforms, as they can be named in `transforms.<alias>.type`.
#[must_use]
pub fn transforms() -> Vec<TransformPlugin> {
    vec![
        filter::plugin(),
        insert_field::plugin_for_keys(),
        insert_field::plugin_for_values(),
        regex_router::plugin(),
        replace_field::plugin_for_keys(),
        replace_field::plugin_for_values(),
    ]
}

fn plugin(
    class: &'static str,
    config_def: fn() -> ConfigDef,
    create: fn(&ParsedConfig) -> Result<Arc<dyn Transform>, ConfigErrors>,
) -> TransformPlugin {
    TransformPlugin {
        info: PluginInfo {
            kind: PluginKind::Transformation,
            class,
            aliases: &[],
            version: VERSION,
        },
        config_def,
        create,
    }
}

fn replace_null_key() -> ConfigKey {
    ConfigKey::new(
        REPLACE_NULL,
        ConfigType::Boolean,
        Importance::Medium,
        "Whether null in a field that has a default is replaced by the default, in every field that is copied.",
    )
    .default("true")
}

/// Which half of a record a transform works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// The `$Key` variant.
    Key,
    /// The `$Value` variant.
    Value,
}

impl Part {
    fn of(self, record: &mut Record) -> &mut Datum {
        match self {
            Self::Key => &mut record.key,
            Self::Value => &mut record.value,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Value => "value",
        }
    }

    /// The error of a transform that takes maps and structs.
    fn neither_map_nor_struct(self, has_schema: bool, value: &Value) -> DataError {
        let wanted = if has_schema {
            "a struct, as it has a schema"
        } else {
            "a map, as it has no schema"
        };
        DataError::data(format!(
            "the {} has to be {wanted}, and is: {}",
            self.name(),
            value.type_name()
        ))
    }
}

/// The value at `index` of a struct as a transform copies it.
///
/// # Errors
/// Null in a required field whose default does not stand in, which Connect's `Struct.put` refuses.
fn copied(source: &Struct, index: usize, replace_null: bool) -> Result<Value, DataError> {
    let field = &source.schema().fields()[index];
    let value = &source.values()[index];
    if !value.is_null() {
        return Ok(value.clone());
    }
    match field.schema.default() {
        Some(default) if replace_null => Ok(default.clone()),
        _ if field.schema.is_optional() => Ok(Value::Null),
        _ => Err(DataError::data(format!("field `{}` is required and null", field.name))),
    }
}

/// A struct schema with the name, version, doc and parameters of `source` and none of its fields.
fn basics(source: &Schema) -> klamm_connect_api::SchemaBuilder {
    Schema::structure().basics_of(source)
}
