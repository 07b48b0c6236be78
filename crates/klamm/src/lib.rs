//! Klamm runs Kafka Connect-style sink connectors without a JVM; its main connector invokes AWS Lambda functions.
//!
//! This crate is the binary `klamm` and the facade for services that run a worker of their own:
//!
//! ```no_run
//! # async fn service() -> Result<(), klamm::StartError> {
//! // A worker beside your own code: same settings, same connector JSON as the `klamm` binary.
//! let worker = klamm::Worker::builder()
//!     .property("bootstrap.servers", "localhost:9092")
//!     .property("state.dir", "/var/lib/orders/klamm")
//!     .connector(
//!         "orders",
//!         [
//!             ("connector.class", "AwsLambdaSink"),
//!             ("topics", "orders"),
//!             ("aws.lambda.function.name", "order-fn"),
//!             ("aws.lambda.region", "eu-central-1"),
//!         ],
//!     )
//!     .start()
//!     .await?;
//!
//! // The herder is the REST API without HTTP.
//! println!("{:?}", worker.herder().status("orders"));
//!
//! // Finishes what is in flight, commits, leaves the consumer groups.
//! worker.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! **Owns** which plugins ship, the command line, and how worker and REST API start and end together.
//! **Does not know** how records travel: that is `klamm-runtime` and below.
#![forbid(unsafe_code)]

mod files;
mod worker;

pub use files::{ConnectorFile, FileError, properties_of_environment, read_properties};
pub use klamm_lambda_sink::Environment;
pub use klamm_runtime::{
    Herder, HerderError, HerderErrorKind, LogBook, LogLevel, LogLevels, LogLine, MASK, Outcome, Plugins, Preview,
    PreviewRecord, SubmittedConfig, TargetState, WorkerConfig,
};
pub use worker::{StartError, Worker, WorkerBuilder, plugins, plugins_in};
