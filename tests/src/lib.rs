//! The harness of the end-to-end tests: real servers, the real `klamm` binary, and independent clients of both.
//!
//! **Owns** the life of what a test starts. Nothing outlives the test process, also when that is killed: see [`process`].
//! **Does not know** the product's crates: what it checks, it checks from outside, with clients that are not ours.
//! **Invariant:** every wait has a bound and says what it waited for.
//!
//! A server that cannot start fails the test. Only with `KLAMM_TEST_SKIP_REAL=1` the test is skipped instead, with a
//! line `SKIPPED: …` on standard error.
//!
//! ```no_run
//! # async fn test() -> anyhow::Result<()> {
//! use klamm_tests::{kafka::Broker, produce::Producer, worker::Worker};
//!
//! let Some(kafka) = Broker::shared() else { return Ok(()) };
//! let lambda = klamm_dev::FakeLambda::start().await?;
//! let producer = Producer::connect(kafka.bootstrap()).await?;
//! producer.create_topic("orders", 3).await?;
//! let worker = Worker::builder(kafka.bootstrap()).start().await?;
//! worker.rest().put("/connectors/c/config", &serde_json::json!({ /* … */ })).await?.expect(201)?;
//! producer.produce_json("orders", 3, 0..100, Default::default()).await?;
//! lambda.wait_for("all records", |log| log.total().accepted >= 3).await?;
//! worker.terminate().await?;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

pub mod account;
pub mod clients;
pub mod connector;
pub mod kafka;
pub mod lambda_emulator;
pub mod process;
pub mod produce;
pub mod rest;
pub mod wait;
pub mod worker;
