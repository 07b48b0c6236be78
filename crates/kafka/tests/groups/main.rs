//! Membership by every protocol against a real Apache Kafka, alone and next to members of other clients.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "test code"
)]

#[path = "../support/mod.rs"]
mod support;

/// Brokers of the cluster under test.
pub const BROKERS: u32 = 1;

/// To be called first by every test: the broker asks for heartbeats more often than every 5 s.
pub fn fast_broker() {
    let interval = [
        "group.consumer.min.heartbeat.interval.ms",
        "group.consumer.heartbeat.interval.ms",
    ];
    support::SETTINGS.get_or_init(|| interval.map(|key| format!("{key}=200")).into());
}

mod classic;
mod coordinated;
mod interop;
mod made_again;
mod many;
mod server_assigned;
