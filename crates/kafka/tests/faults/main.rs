//! Three brokers that fail in every way: records reach a group member once and in order, again only what it had not
//! committed.
//!
//! The short form runs with all tests; `make soak-kafka` repeats the faults, longer ones, for `KLAMM_SOAK_SECONDS`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    clippy::print_stdout,
    reason = "test code, which tells how the faults went"
)]

#[path = "../support/mod.rs"]
mod support;

mod consumer;
mod faults;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use klamm_kafka::{ClientConfig, KafkaClient};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;

use consumer::Consumer;
use faults::Fault;
use support::{broker, net, raw};
use writer::Writer;

/// Brokers of the cluster under test.
pub const BROKERS: u32 = 3;
/// Partitions of the topic; each has a replica on every broker.
pub const PARTITIONS: i32 = 6;
pub const TOPIC: &str = "records";
pub const GROUP: &str = "readers";

/// A client that notices soon what happens to the cluster.
pub fn client() -> Arc<KafkaClient> {
    let mut config = ClientConfig::new(broker().bootstrap.split(','));
    config.request_timeout = Duration::from_secs(3);
    config.metadata_max_age = Duration::from_secs(2);
    KafkaClient::new(config, net())
}

/// Runs faults under load, one after the other; every record counts in the end.
async fn survive(faults: impl IntoIterator<Item = Fault>) {
    support::soon_fenced();
    raw::create_topic(TOPIC, PARTITIONS, &[]);
    let writer = Writer::start();
    let mut consumer = Consumer::start();
    consumer.read_more(500).await;
    for fault in faults {
        let began = Instant::now();
        // The consumer goes on while the fault is made, which blocks.
        let mut making = tokio::task::spawn_blocking(move || fault.make());
        let repair = loop {
            tokio::select! {
                made = &mut making => break made.unwrap(),
                () = consumer.step() => {}
            }
        };
        let read = consumer.read();
        if fault.leaves_some() {
            consumer.read_some_of_each().await;
        }
        let meanwhile = consumer.read() - read;
        let mut repairing = tokio::task::spawn_blocking(repair);
        loop {
            tokio::select! {
                repaired = &mut repairing => break repaired.unwrap(),
                () = consumer.step() => {}
            }
        }
        consumer.read_some_of_each().await;
        let (read, again) = (consumer.read(), consumer.read_again());
        println!(
            "{fault:?}: {} ms, {meanwhile} records amid it; {read} read so far, {again} of them again",
            began.elapsed().as_millis()
        );
    }
    let written = writer.stop().await;
    consumer.finish(&written).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_is_survived() {
    survive([
        Fault::KillCoordinator,
        Fault::RollingRestart,
        Fault::LeadersMove,
        Fault::Stall,
        Fault::StallCoordinator,
        Fault::Outage(Duration::from_secs(1)),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes KLAMM_SOAK_SECONDS: make soak-kafka"]
async fn soak() {
    let seconds = std::env::var("KLAMM_SOAK_SECONDS").map_or(600, |seconds| seconds.parse().unwrap());
    let seed: u64 =
        std::env::var("KLAMM_SOAK_SEED").map_or_else(|_| StdRng::from_os_rng().random(), |seed| seed.parse().unwrap());
    println!("faults for {seconds} s, KLAMM_SOAK_SEED={seed}");
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut rng = StdRng::seed_from_u64(seed);
    let mut first = Some(Fault::Outage(Duration::from_secs(45)));
    let faults = std::iter::from_fn(|| {
        let next = match rng.random_range(0..6) {
            0 => Fault::KillCoordinator,
            1 => Fault::RollingRestart,
            2 => Fault::LeadersMove,
            3 => Fault::Stall,
            4 => Fault::StallCoordinator,
            _ => Fault::Outage(Duration::from_secs(rng.random_range(1..60))),
        };
        first.take().or_else(|| (Instant::now() < end).then_some(next))
    });
    survive(faults).await;
}
