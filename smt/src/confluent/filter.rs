//! `Filter`: keeps or drops records by a JSONPath condition on their key or value.

use klamm_connect_api::config::Validator;
use klamm_connect_api::{
    ConfigDef, ConfigError, ConfigErrors, ConfigKey, ConfigType, DataError, Importance, ParsedConfig, Record, Transform,
};

use crate::json_path::{JsonPath, Selection, Stop};
use crate::part::{Part, PartTransform};

const CONDITION: &str = "filter.condition";
const TYPE: &str = "filter.type";
const MISSING: &str = "missing.or.null.behavior";

#[derive(Debug)]
pub(super) struct Filter {
    part: Part,
    condition: JsonPath,
    /// What becomes of records that match; the others go the other way.
    matching: Fate,
    /// What becomes of records in which there is nothing at the path.
    missing: Option<Fate>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    Dropped,
}

impl Fate {
    fn parse(text: Option<&str>) -> Option<Self> {
        match text {
            Some(text) if text.eq_ignore_ascii_case("include") => Some(Self::Kept),
            Some(text) if text.eq_ignore_ascii_case("exclude") => Some(Self::Dropped),
            _ => None,
        }
    }
}

impl PartTransform for Filter {
    fn config_def() -> ConfigDef {
        ConfigDef::new()
            .key(
                ConfigKey::new(
                    CONDITION,
                    ConfigType::String,
                    Importance::High,
                    "A path in the dialect of Jayway's JsonPath, such as `$[?(@.state == 'paid' && @.total > 100)]`. A \
                     record matches if the path selects anything but null; a filter `[?(…)]` on an object tests the \
                     object itself.",
                )
                .validator(Validator::new(|path| JsonPath::parse(path).map(|_| ()))),
            )
            .key(
                ConfigKey::new(
                    TYPE,
                    ConfigType::String,
                    Importance::High,
                    "`include` keeps the records that match and drops the others, `exclude` drops those that match.",
                )
                .validator(Validator::one_of(&["include", "exclude"])),
            )
            .key(
                ConfigKey::new(
                    MISSING,
                    ConfigType::String,
                    Importance::Medium,
                    "What happens to a record in which there is nothing, or null, at the path: it is kept (`include`), \
                     dropped (`exclude`), or an error (`fail`). Fields that are missing within a filter `[?(…)]` only do \
                     not match.",
                )
                .default("fail")
                .validator(Validator::one_of(&["fail", "include", "exclude"])),
            )
    }

    fn try_new(part: Part, config: &ParsedConfig) -> Result<Self, ConfigErrors> {
        let condition = JsonPath::parse(config.str(CONDITION).unwrap_or_default())
            .map_err(|message| ConfigError::new(CONDITION, message))?;
        Ok(Self {
            part,
            condition,
            matching: Fate::parse(config.str(TYPE)).unwrap_or(Fate::Kept),
            missing: Fate::parse(config.str(MISSING)),
        })
    }
}

impl Filter {
    /// The record's fate; the reason if there is nothing at the path.
    fn fate(&self, record: &mut Record) -> Result<Result<Fate, String>, DataError> {
        let value = &self.part.of(record).decoded()?.value;
        if value.is_null() {
            return Ok(Err(format!("the {} is null", self.part.name())));
        }
        let place = || format!("`{}` of the {}", self.condition, self.part.name());
        let matches = match self.condition.select(value) {
            Ok(Selection::One(found)) if found.is_null() => return Ok(Err(format!("{} is null", place()))),
            Ok(Selection::One(_)) => true,
            Ok(Selection::Many(found)) => !found.is_empty(),
            Err(stop @ (Stop::NotFound | Stop::Unfit(_))) => return Ok(Err(format!("{}: {stop}", place()))),
            Err(Stop::Failed(why)) => return Err(DataError::data(format!("{}: {why}", place()))),
        };
        Ok(Ok(match (matches, self.matching) {
            (true, fate) => fate,
            (false, Fate::Kept) => Fate::Dropped,
            (false, Fate::Dropped) => Fate::Kept,
        }))
    }
}

impl Transform for Filter {
    fn apply(&self, mut record: Record) -> Result<Option<Record>, DataError> {
        let fate = match (self.fate(&mut record)?, self.missing) {
            (Ok(fate), _) | (Err(_), Some(fate)) => fate,
            (Err(why), None) => {
                let message = format!("{why}; `{MISSING}` says what else to do than to fail");
                return Err(DataError::data(message));
            }
        };
        Ok((fate == Fate::Kept).then_some(record))
    }
}
