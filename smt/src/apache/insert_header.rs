//! `InsertHeader`: adds a header with a fixed value.

use std::sync::Arc;

use klamm_connect_api::{
    ConfigDef, ConfigKey, ConfigType, DataError, Importance, Record, SchemaAndValue, Transform, TransformPlugin,
};
use klamm_java_compat::literal;

use crate::part::plugin;

const HEADER: &str = "header";
const LITERAL: &str = "value.literal";

pub(super) fn transform() -> TransformPlugin {
    plugin(
        "org.apache.kafka.connect.transforms.InsertHeader",
        config_def,
        |config| {
            Ok(Arc::new(InsertHeader {
                name: config.str(HEADER).unwrap_or_default().into(),
                value: literal::parse(config.str(LITERAL).unwrap_or_default()),
            }))
        },
    )
}

fn config_def() -> ConfigDef {
    let text = |name, documentation| ConfigKey::new(name, ConfigType::String, Importance::High, documentation);
    ConfigDef::new().key(text(HEADER, "The name of the header.")).key(text(
        LITERAL,
        "The value, as a literal: `5` is a number, `true` a boolean, `2024-05-01` a date, `[1,2]` an array; what is \
             nothing else is text.",
    ))
}

#[derive(Debug)]
struct InsertHeader {
    name: Arc<str>,
    value: SchemaAndValue,
}

impl Transform for InsertHeader {
    fn apply(&self, mut record: Record) -> Result<Option<Record>, DataError> {
        record.headers.add(Arc::clone(&self.name), self.value.clone());
        Ok(Some(record))
    }
}
