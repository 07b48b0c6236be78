//! Writing to a real Apache Kafka, and administering it; other clients check what was written.

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

mod admin;
mod produce;
mod transactions;
