//! Bytes that no Kafka sends: to the decoders directly, and from a server that misbehaves.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "test code"
)]

#[path = "../support/alloc.rs"]
mod alloc;
mod answers;
mod decoders;
#[path = "../support/encode.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod encode;
mod members;
mod records;
mod server;
