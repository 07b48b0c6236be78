//! `DropHeaders`: removes headers by name.

use std::sync::Arc;

use klamm_connect_api::{ConfigDef, DataError, Importance, Record, Transform, TransformPlugin};

use crate::part::{distinct_names, names_key, plugin};

const HEADERS: &str = "headers";

pub(super) fn transform() -> TransformPlugin {
    plugin(
        "org.apache.kafka.connect.transforms.DropHeaders",
        || {
            ConfigDef::new().key(names_key(
                HEADERS,
                Importance::High,
                "The names of the headers to be removed.",
            ))
        },
        |config| Ok(Arc::new(DropHeaders(distinct_names(config, HEADERS)?.to_vec()))),
    )
}

#[derive(Debug)]
struct DropHeaders(Vec<String>);

impl Transform for DropHeaders {
    fn apply(&self, mut record: Record) -> Result<Option<Record>, DataError> {
        for name in &self.0 {
            record.headers.remove(name);
        }
        Ok(Some(record))
    }
}
