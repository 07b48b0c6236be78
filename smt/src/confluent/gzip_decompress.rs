//! `GzipDecompress`: unpacks bytes.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use klamm_connect_api::{ConfigDef, ConfigErrors, DataError, ParsedConfig, Record, Transform, Value};

use crate::part::{Part, PartTransform};

/// What a record may unpack to, at most: far more than anything that can be sent on.
const LIMIT_BYTES: u64 = 64 << 20;

#[derive(Debug)]
pub(super) struct GzipDecompress(Part);

impl PartTransform for GzipDecompress {
    fn config_def() -> ConfigDef {
        ConfigDef::new()
    }

    fn try_new(part: Part, _config: &ParsedConfig) -> Result<Self, ConfigErrors> {
        Ok(Self(part))
    }
}

impl Transform for GzipDecompress {
    fn apply(&self, mut record: Record) -> Result<Option<Record>, DataError> {
        let data = self.0.of(&mut record).decoded()?;
        match &data.value {
            Value::Null => {}
            Value::Bytes(packed) => {
                let mut bytes = Vec::new();
                let read = MultiGzDecoder::new(&packed[..])
                    .take(LIMIT_BYTES + 1)
                    .read_to_end(&mut bytes);
                if let Err(error) = read {
                    let message = format!("the {} cannot be unpacked: {error}", self.0.name());
                    return Err(DataError::data(message));
                }
                if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > LIMIT_BYTES {
                    let message = format!("the {} unpacks to more than {LIMIT_BYTES} bytes", self.0.name());
                    return Err(DataError::data(message));
                }
                data.value = Value::Bytes(bytes.into());
            }
            other => {
                let message = format!("the {} has to be bytes, and is: {}", self.0.name(), other.type_name());
                return Err(DataError::data(message));
            }
        }
        Ok(Some(record))
    }
}
