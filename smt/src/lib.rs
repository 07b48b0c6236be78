//! Single message transforms and predicates, under the class names and settings of Kafka Connect, and the chain that
//! runs them.
//!
//! **Owns** what each transform and predicate does, and how `transforms.*` and `predicates.*` of a connector become a
//! [`Chain`].
//! **Does not know** Kafka, formats, sinks or what happens to a record that fails.
//! **Invariants:** a stage sees the record as the stage before it left it; a dropped or failed record reaches no later
//! stage; a transform never changes a record's origin.
#![forbid(unsafe_code)]

mod apache;
mod chain;
mod community;
mod confluent;
mod debezium;
mod field_path;
mod fields;
mod json_path;
mod klamm;
mod part;
mod predicates;
mod schema_cache;
mod wall_clock;

use klamm_connect_api::TransformPlugin;

pub use chain::{Chain, ChainEvaluation, ChainKey, Stage, StageError, StageOutcome, chain_config_def, evaluate};
pub use predicates::predicates;

/// The predicate `EventPattern`, for a sink that filters by patterns of its own.
#[must_use]
pub fn event_pattern() -> klamm_connect_api::PredicatePlugin {
    klamm::predicate()
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The transforms, as they can be named in `transforms.<alias>.type`, by class name.
#[must_use]
pub fn transforms() -> Vec<TransformPlugin> {
    let mut transforms = apache::transforms();
    transforms.extend(community::transforms());
    transforms.extend(confluent::transforms());
    transforms.extend(debezium::transforms());
    transforms.extend(klamm::transforms());
    transforms.sort_by_key(|plugin| plugin.info.class);
    transforms
}
