//! TLS, SASL and tokens: on a real broker with all its listeners, and on scripted servers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "test code"
)]

mod authorization;
mod exchange;
mod keystores;
mod listeners;
mod server;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use klamm_kafka::{ClientConfig, ConfigError, KafkaClient};
use support::{Broker, net, start};

/// Brokers of the cluster under test.
pub const BROKERS: u32 = 1;

/// The broker with all listeners. Logins and tokens end soon, so that every test lives through renewals.
fn broker() -> &'static Broker {
    static BROKER: OnceLock<Broker> = OnceLock::new();
    BROKER.get_or_init(|| {
        start(
            &["--auth"],
            &[("KAFKA_REAUTH_MS", "1500"), ("KAFKA_TOKEN_LIFETIME_S", "5")],
        )
    })
}

/// A file among the broker's certificates.
fn cert(name: &str) -> String {
    format!("{}/{name}", broker().variable("KAFKA_CERTS"))
}

fn properties<K: AsRef<str>, V: AsRef<str>>(pairs: &[(K, V)]) -> BTreeMap<String, String> {
    let owned = pairs
        .iter()
        .map(|(key, value)| (key.as_ref().to_owned(), value.as_ref().to_owned()));
    owned.collect()
}

fn parse<K: AsRef<str>, V: AsRef<str>>(pairs: &[(K, V)]) -> Result<ClientConfig, ConfigError> {
    let mut all = properties(pairs);
    all.entry("bootstrap.servers".to_owned())
        .or_insert_with(|| "localhost:1".to_owned());
    ClientConfig::from_properties(&all).map(|(config, unknown)| {
        assert!(unknown.is_empty(), "{unknown:?}");
        config
    })
}

fn client(config: ClientConfig) -> Arc<KafkaClient> {
    KafkaClient::new(config, net())
}
