//! The AWS Lambda sink: invokes functions with the records of topics.
//!
//! **Owns** the connector's settings and what they mean, the routes of a record, the payload formats, the signed HTTP
//! request, and the verdict on every answer that the Invoke API can give.
//! **Does not know** Kafka, converters, timers, retries, batches or offsets: the delivery engine decides when to send and
//! what follows from a [`Verdict`](klamm_connect_api::sink::Verdict).
//! **Invariants:** a call is sent once and never retried in here; a payload, key, header value, credential or a
//! function's answer never reaches a log or an error text.
//!
//! The way of a record: `route` → `envelope` (→ `claim`) → `invoke` → `verdict` with `answer` and `results`; `config` says how for each
//! route.
#![forbid(unsafe_code)]

mod answer;
mod batch;
mod claim;
mod config;
mod connector;
mod envelope;
mod invoke;
mod preflight;
mod results;
mod route;
mod sink;
mod template;
mod usage;
mod verdict;

pub use connector::LambdaSinkConnector;
pub use klamm_aws::Environment;
