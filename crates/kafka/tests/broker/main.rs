//! The client against a real Apache Kafka, with data that other writers made.

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

mod fetch;
mod formats;
mod group;
mod offsets;
