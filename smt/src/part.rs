//! What transforms of keys and of values have in common.

use std::sync::Arc;

use klamm_connect_api::config::Validator;
use klamm_connect_api::{
    ConfigDef, ConfigError, ConfigErrors, ConfigKey, ConfigType, DataError, Datum, Importance, ParsedConfig,
    PluginInfo, PluginKind, Record, Schema, SchemaBuilder, Struct, Transform, TransformPlugin, Value,
};

use crate::VERSION;

/// Which half of a record a transform works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The `$Key` variant.
    Key,
    /// The `$Value` variant.
    Value,
}

/// A transform that exists for keys and for values.
pub(crate) trait PartTransform: Transform + Sized + 'static {
    /// Its settings.
    fn config_def() -> ConfigDef;

    /// Makes one.
    ///
    /// # Errors
    /// Settings that only together turn out wrong.
    fn try_new(part: Part, config: &ParsedConfig) -> Result<Self, ConfigErrors>;
}

/// Both variants of a transform, under their class names.
pub(crate) fn key_and_value<T: PartTransform>(key: &'static str, value: &'static str) -> [TransformPlugin; 2] {
    [
        plugin(key, T::config_def, |config| {
            Ok(Arc::new(T::try_new(Part::Key, config)?))
        }),
        plugin(value, T::config_def, |config| {
            Ok(Arc::new(T::try_new(Part::Value, config)?))
        }),
    ]
}

pub(crate) fn plugin(
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

impl Part {
    pub(crate) fn of(self, record: &mut Record) -> &mut Datum {
        match self {
            Self::Key => &mut record.key,
            Self::Value => &mut record.value,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Value => "value",
        }
    }

    /// The error of a transform that takes maps and structs.
    pub(crate) fn neither_map_nor_struct(self, has_schema: bool, value: &Value) -> DataError {
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

/// What becomes of null in a field that has a default, in every field that is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nulls {
    /// The default stands in.
    Replaced,
    /// They stay.
    Kept,
}

/// The setting that many transforms share.
const REPLACE_NULL: &str = "replace.null.with.default";

impl Nulls {
    pub(crate) fn key() -> ConfigKey {
        ConfigKey::new(
            REPLACE_NULL,
            ConfigType::Boolean,
            Importance::Medium,
            "Whether null in a field that has a default is replaced by the default, in every field that is copied.",
        )
        .default("true")
    }

    pub(crate) fn of(config: &ParsedConfig) -> Self {
        match config.bool(REPLACE_NULL) {
            Some(false) => Self::Kept,
            _ => Self::Replaced,
        }
    }
}

/// The value at `index` of a struct as a transform copies it.
///
/// # Errors
/// Null in a required field whose default does not stand in, which Connect's `Struct.put` refuses.
pub(crate) fn copied(source: &Struct, index: usize, nulls: Nulls) -> Result<Value, DataError> {
    let (Some(field), Some(value)) = (source.schema().fields().get(index), source.values().get(index)) else {
        return Err(DataError::data(format!("the struct has no field {index}")));
    };
    if !value.is_null() {
        return Ok(value.clone());
    }
    match field.schema.default() {
        Some(default) if nulls == Nulls::Replaced => Ok(default.clone()),
        _ if field.schema.is_optional() => Ok(Value::Null),
        _ => Err(DataError::data(format!("field `{}` is required and null", field.name))),
    }
}

/// A struct schema with the name, version, doc and parameters of `source` and none of its fields.
pub(crate) fn basics(source: &Schema) -> SchemaBuilder {
    Schema::structure().basics_of(source)
}

/// A list whose elements may not be empty.
pub(crate) fn names_key(name: &str, importance: Importance, documentation: &str) -> ConfigKey {
    ConfigKey::new(name, ConfigType::List, importance, documentation).validator(Validator::new(|item| match item {
        "" => Err("values must not be empty".to_owned()),
        _ => Ok(()),
    }))
}

/// A list of at least one element, each once.
///
/// # Errors
/// An empty list, an element that stands twice.
pub(crate) fn distinct_names<'a>(config: &'a ParsedConfig, key: &str) -> Result<&'a [String], ConfigErrors> {
    let names = non_empty_list(config, key)?;
    no_duplicates(names, key)?;
    Ok(names)
}

/// A list of at least one element.
///
/// # Errors
/// An empty list.
pub(crate) fn non_empty_list<'a>(config: &'a ParsedConfig, key: &str) -> Result<&'a [String], ConfigErrors> {
    match config.list(key) {
        [] => Err(ConfigError::new(
            key,
            format!("Configuration '{key}' must not be empty: name at least one"),
        )
        .into()),
        names => Ok(names),
    }
}

/// # Errors
/// An element that stands twice.
pub(crate) fn no_duplicates(names: &[String], key: &str) -> Result<(), ConfigErrors> {
    let twice = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name));
    match twice {
        Some((_, name)) => {
            let message = format!("Configuration '{key}' values must not be duplicated: `{name}` stands twice");
            Err(ConfigError::new(key, message).into())
        }
        None => Ok(()),
    }
}
