//! The local world: functions that run on this machine, a scripted stand-in for the Lambda Invoke API, and readers of the
//! payloads that reach it.
//!
//! **Owns** [`functions`] (the Invoke API over real handlers), [`FakeLambda`] (an HTTP server on loopback that answers as its script says and remembers who called), the
//! catalogue of the API's [`Exception`]s as they look on the wire, and [`payload`] (which records a payload carries).
//! **Does not know** Kafka, connectors, retries or settings; nothing of the product's own Lambda client is used, so
//! that the client never vouches for itself.
//! **Invariants:** every wait and every buffer has a bound; when a [`FakeLambda`] or [`functions::Functions`]
//! is gone, so are its tasks, sockets and processes.
//!
//! ```
//! use klamm_dev::{Answer, Exception, FakeLambda};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let lambda = FakeLambda::start().await?;
//! let orders = lambda.function("order-fn");
//! orders.script([Answer::exception(Exception::ServiceException), Answer::success("[]")]);
//! // … point a client at lambda.endpoint() …
//! assert_eq!(orders.counts().calls, 0);
//! lambda.shutdown().await;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod api;
pub mod functions;
mod lambda;
pub mod payload;

pub use api::{Exception, InvocationType, ThrottleReason};
pub use lambda::{
    Answer, Builder, Counts, Credentials, FakeLambda, Function, Gate, Invocation, Log, Outcome, Recorded, Recording,
    WaitError,
};
