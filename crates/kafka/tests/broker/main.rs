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

mod fetch;
mod formats;
mod group;
mod offsets;
