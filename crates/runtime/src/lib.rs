//! The runtime of a worker: from a connector's configuration to running tasks.
//!
//! **Owns** [`Worker`], [`Herder`], the config log, the life of connectors and tasks, conversion and transform errors,
//! the plugin registry, `state.dir`.
//! **Does not know** HTTP, any destination, any format: those come as [`Plugins`].
//! **Invariants:** every record in the config log was valid when it was written; what happens to one connector stops no
//! other; a panic in a plugin fails its task only.
#![forbid(unsafe_code)]

mod clusters;
mod config;
mod config_log;
mod dead_letters;
mod herder;
mod live_checks;
mod log_book;
mod log_levels;
mod observation;
mod offsets;
mod plugins;
mod preview;
mod state_dir;
mod task;
mod wall_clock;
mod worker;

pub use config::{
    AdminListeners, Advertised, Authentication, ClientAuth, KeystoreFile, Listener, ListenerTls, MASK, Providers,
    RestConfig, RestLimits, Scheme, Store, SubmittedConfig, ValidatedKey, Validation, WorkerConfig,
    connector_config_def, worker_config_def,
};
pub use config_log::{
    Appended, ConfigLog, ConfigLogError, ConfigRecord, FileConfigLog, LogPosition, MemoryConfigLog, Restart,
    TargetState,
};
pub use dead_letters::{
    DeadLetter, DeadLetterPartition, DeadLetterQueues, DeadLetterTopic, DeadLetters, DeadLettersError, LetterError,
    Peek, Redrive, RedriveState, RedriveStatus,
};
pub use herder::{
    ActiveTopic, ActiveTopics, ConnectorInfo, ConnectorStatus, GroupOf, Herder, HerderError, HerderErrorKind,
    InstanceStatus, NewOffset, OffsetChange, Offsets, OffsetsError, PartitionOffset, Put, RestartPolicy, State,
    TaskControl, TaskPlan, TaskReport, TaskSpec, Tasks,
};
pub use klamm_delivery::{Distribution, LastFailure, LimitStatus, LimitThrottled, RouteHealth, RouteStatus};
pub use live_checks::{LiveCheck, LiveChecks};
pub use log_book::{LogBook, LogLine};
pub use log_levels::{LogLevel, LogLevels, Logger};
pub use observation::{
    ConnectorObservation, LastError, MemoryUse, PartitionSnapshot, RecordCounts, RouteSnapshot, TaskObservation,
    TaskSnapshot, TaskView, WorkerSnapshot,
};
pub use plugins::Plugins;
pub use preview::{Failure, Observer, Outcome, Part, Preview, PreviewRecord, Step, StepsJson, Story, describe};
pub use state_dir::StateDirError;
pub use worker::{StartError, Worker};

/// What is said of a panic behind its subject. Its own words may quote a record or a configuration, so they stay where
/// Rust writes them.
pub(crate) const PANICKED: &str = "panicked, and standard error says where; please report this";

/// An error and its sources on one line, for a status or a log line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(Some(error), |error| error.source());
    sources.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
