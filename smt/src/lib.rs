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
mod predicates;
mod schema_cache;

pub use apache::transforms;
pub use chain::{Chain, ChainEvaluation, ChainKey, Stage, StageError, chain_config_def, evaluate};
pub use predicates::predicates;

const VERSION: &str = env!("CARGO_PKG_VERSION");
