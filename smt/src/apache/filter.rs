//! `Filter`: drops every record it is applied to; a predicate says to which.

use std::sync::Arc;

use klamm_connect_api::{ConfigDef, DataError, Record, Transform, TransformPlugin};

use crate::part::plugin;

pub(super) fn transform() -> TransformPlugin {
    plugin("org.apache.kafka.connect.transforms.Filter", ConfigDef::new, |_| {
        Ok(Arc::new(Filter))
    })
}

#[derive(Debug)]
struct Filter;

impl Transform for Filter {
    fn apply(&self, _record: Record) -> Result<Option<Record>, DataError> {
        Ok(None)
    }
}
