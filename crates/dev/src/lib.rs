//! The local world: an in-memory Kafka broker, functions that run on this machine, the file that describes such a world,
//! a scripted stand-in for the Lambda Invoke API, and readers of the payloads that reach functions.
//!
//! **Owns** [`broker`] (virtual brokers of one cluster, with faults on demand), [`functions`] (the Invoke API over real
//! handlers), [`world`] (the dev file), [`FakeLambda`] (an HTTP server on loopback that answers as its script says and
//! remembers who called), the catalogue of the API's [`Exception`]s as they look on the wire, and [`payload`] (which
//! records a payload carries).
//! **Does not know** connectors, retries or settings; nothing of the product's own clients of Kafka and Lambda is used,
//! so that none vouches for itself.
//! **Invariants:** every wait and every buffer has a bound; when a [`FakeLambda`], a [`broker::Broker`] or
//! [`functions::Functions`] is gone, so are its tasks, sockets and processes.
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
pub mod broker;
pub mod functions;
mod lambda;
pub mod payload;
pub mod world;

pub use api::{Exception, InvocationType, ThrottleReason};
pub use lambda::{
    Answer, Builder, Counts, Credentials, FakeLambda, Function, Gate, Invocation, Log, Outcome, Recorded, Recording,
    WaitError,
};
