//! Three brokers: leaders and replicas, near and far, slow and gone.

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

mod leaders;
mod replicas;
mod slow;
mod truncation;

use std::sync::OnceLock;

use tokio::sync::{Mutex, MutexGuard};

/// Brokers of the cluster under test.
pub const BROKERS: u32 = 3;

/// Tests of this binary take down brokers, so one runs at a time, on a cluster that it makes whole before.
pub async fn alone() -> MutexGuard<'static, ()> {
    static CLUSTER: OnceLock<Mutex<()>> = OnceLock::new();
    let turn = CLUSTER.get_or_init(Mutex::default).lock().await;
    support::soon_fenced();
    for node in 1..=BROKERS {
        support::broker().run(&["start", &node.to_string()]);
    }
    turn
}
