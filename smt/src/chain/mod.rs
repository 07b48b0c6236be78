//! The stages that a connector's `transforms` name, in order.

mod evaluate;

use std::fmt;
use std::sync::Arc;

use klamm_connect_api::{
    ConfigErrors, DataError, Predicate, PredicatePlugin, RawConfig, Record, Transform, TransformPlugin,
};

pub use self::evaluate::{ChainEvaluation, ChainKey, chain_config_def, evaluate};

/// The transforms of a connector. Cheap to clone; partitions share it.
#[derive(Debug, Clone, Default)]
pub struct Chain {
    stages: Arc<[Stage]>,
}

/// One transform with the condition it runs under.
#[derive(Debug)]
pub struct Stage {
    alias: Arc<str>,
    class: &'static str,
    transform: Arc<dyn Transform>,
    condition: Option<Condition>,
}

#[derive(Debug)]
struct Condition {
    /// Alias of the predicate in `predicates`.
    alias: Arc<str>,
    predicate: Arc<dyn Predicate>,
    negate: bool,
}

/// What a stage did with a record, for whoever looks on.
#[derive(Debug)]
pub enum StageOutcome<'a> {
    /// The predicate kept the transform from running.
    Skipped,
    /// The transform ran, and this is the record now; none if it dropped it.
    Applied(Option<&'a Record>),
}

/// A record behind a stage.
enum Passed {
    Skipped(Record),
    Applied(Option<Record>),
}

/// A stage failed for a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageError {
    /// Alias of the transform in `transforms`.
    pub alias: Arc<str>,
    /// Class of the transform, also if its predicate failed: what Connect names as the executing class.
    pub class: &'static str,
    /// What went wrong.
    pub error: DataError,
}

impl StageError {
    /// The error with the transform's alias in front, for whoever names the class elsewhere.
    #[must_use]
    pub fn into_error(self) -> DataError {
        self.error.at(&format!("transform `{}`", self.alias))
    }
}

impl fmt::Display for StageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "transform `{}` ({}): {}", self.alias, self.class, self.error)
    }
}

impl std::error::Error for StageError {}

impl Stage {
    /// Alias of the transform in `transforms`.
    #[must_use]
    pub fn alias(&self) -> &str {
        &self.alias
    }

    /// Class of the transform.
    #[must_use]
    pub fn class(&self) -> &'static str {
        self.class
    }

    /// Alias of the predicate in `predicates`, and whether its answer is negated; none for a stage that always runs.
    #[must_use]
    pub fn condition(&self) -> Option<(&str, bool)> {
        let condition = self.condition.as_ref()?;
        Some((&condition.alias, condition.negate))
    }

    fn apply(&self, mut record: Record) -> Result<Passed, DataError> {
        if let Some(condition) = &self.condition {
            let holds = condition.predicate.test(&mut record);
            let holds = holds.map_err(|error| error.at(&format!("predicate `{}`", condition.alias)))?;
            if holds == condition.negate {
                return Ok(Passed::Skipped(record));
            }
        }
        self.transform.apply(record).map(Passed::Applied)
    }
}

impl Chain {
    /// The chain that the configuration of a connector names.
    ///
    /// # Errors
    /// Everything that is wrong with `transforms`, `predicates` and what belongs to them, with full keys.
    pub fn build(
        raw: &RawConfig,
        transforms: &[TransformPlugin],
        predicates: &[PredicatePlugin],
    ) -> Result<Self, ConfigErrors> {
        evaluate(raw, transforms, predicates).into_chain()
    }

    /// The stages in order.
    #[must_use]
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// The record as the last stage leaves it; none if a stage dropped it: its offset still advances.
    ///
    /// # Errors
    /// The first stage that failed; later ones have not seen the record.
    pub fn apply(&self, record: Record) -> Result<Option<Record>, StageError> {
        self.apply_observed(record, |_, _| {})
    }

    /// As [`Chain::apply`], with every stage that did not fail shown to `observe`.
    ///
    /// # Errors
    /// As [`Chain::apply`].
    pub fn apply_observed(
        &self,
        mut record: Record,
        mut observe: impl FnMut(&Stage, StageOutcome<'_>),
    ) -> Result<Option<Record>, StageError> {
        for stage in &*self.stages {
            match stage.apply(record) {
                Ok(Passed::Skipped(same)) => {
                    observe(stage, StageOutcome::Skipped);
                    record = same;
                }
                Ok(Passed::Applied(changed)) => {
                    observe(stage, StageOutcome::Applied(changed.as_ref()));
                    match changed {
                        Some(changed) => record = changed,
                        None => return Ok(None),
                    }
                }
                Err(error) => {
                    return Err(StageError {
                        alias: Arc::clone(&stage.alias),
                        class: stage.class,
                        error,
                    });
                }
            }
        }
        Ok(Some(record))
    }
}

#[cfg(test)]
mod tests;
