//! `SetNull` and `MakeTombstone`: a key or value becomes null, without a schema.

use std::sync::Arc;

use klamm_connect_api::{ConfigDef, ConfigErrors, DataError, Datum, ParsedConfig, Record, Transform, TransformPlugin};

use crate::part::{Part, PartTransform, plugin};

/// Aiven's name for it, of the value.
pub(super) fn make_tombstone() -> TransformPlugin {
    plugin(
        "io.aiven.kafka.connect.transforms.MakeTombstone",
        ConfigDef::new,
        |_| Ok(Arc::new(SetNull(Part::Value))),
    )
}

#[derive(Debug)]
pub(super) struct SetNull(Part);

impl PartTransform for SetNull {
    fn config_def() -> ConfigDef {
        ConfigDef::new()
    }

    fn try_new(part: Part, _: &ParsedConfig) -> Result<Self, ConfigErrors> {
        Ok(Self(part))
    }
}

impl Transform for SetNull {
    fn apply(&self, mut record: Record) -> Result<Option<Record>, DataError> {
        *self.0.of(&mut record) = Datum::NULL;
        Ok(Some(record))
    }
}
