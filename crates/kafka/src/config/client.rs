//! How to reach a cluster.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::properties::{ConfigError, Properties, UnknownKey, invalid, unknown_keys};
use crate::SecurityConfig;

/// How to reach a cluster; names, meanings and defaults are those of Kafka's clients.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientConfig {
    /// `bootstrap.servers`: `host:port` of some brokers, at least one.
    pub bootstrap_servers: Vec<Arc<str>>,
    /// `client.id`: what brokers show in logs and quotas. Default `klamm`.
    pub client_id: Arc<str>,
    /// `request.timeout.ms` (30,000): how long a broker may take for an answer.
    pub request_timeout: Duration,
    /// `default.api.timeout.ms` (60,000): how long the public calls of the client go on trying.
    pub api_timeout: Duration,
    /// `reconnect.backoff.ms` (50): wait before the second attempt to reach a broker; doubles.
    pub reconnect_backoff: Duration,
    /// `reconnect.backoff.max.ms` (1,000): the longest of these waits.
    pub reconnect_backoff_max: Duration,
    /// `retry.backoff.ms` (100): wait before a failed request is sent again; doubles.
    pub retry_backoff: Duration,
    /// `retry.backoff.max.ms` (1,000): the longest of these waits.
    pub retry_backoff_max: Duration,
    /// `metadata.max.age.ms` (300,000): how old the known topics and leaders may get.
    pub metadata_max_age: Duration,
    /// `connections.max.idle.ms` (540,000): unused connections are closed after this.
    pub connections_max_idle: Duration,
    /// `socket.connection.setup.timeout.ms` (10,000): how long each step of a connection attempt may take: TCP, TLS,
    /// agreeing on versions, each message of the login.
    pub connection_setup_timeout: Duration,
    /// `security.protocol`, `ssl.*`, `sasl.*`: who we are, and whom we trust.
    pub security: SecurityConfig,
}

impl ClientConfig {
    /// The defaults, for the given `host:port` addresses.
    pub fn new(bootstrap_servers: impl IntoIterator<Item = impl Into<Arc<str>>>) -> Self {
        Self {
            bootstrap_servers: bootstrap_servers.into_iter().map(Into::into).collect(),
            client_id: Arc::from("klamm"),
            request_timeout: Duration::from_secs(30),
            api_timeout: Duration::from_secs(60),
            reconnect_backoff: Duration::from_millis(50),
            reconnect_backoff_max: Duration::from_secs(1),
            retry_backoff: Duration::from_millis(100),
            retry_backoff_max: Duration::from_secs(1),
            metadata_max_age: Duration::from_secs(300),
            connections_max_idle: Duration::from_secs(540),
            connection_setup_timeout: Duration::from_secs(10),
            security: SecurityConfig::default(),
        }
    }

    /// Whether a property says where the cluster is or how to get in, so that a client with another value of it needs
    /// connections of its own.
    pub fn is_connection_key(key: &str) -> bool {
        key == "bootstrap.servers"
            || ["security.", "sasl.", "ssl."]
                .iter()
                .any(|prefix| key.starts_with(prefix))
    }

    /// Whether a property says who the client is and nothing else: what Connect's
    /// `PrincipalConnectorClientConfigOverridePolicy` (KIP-458) leaves to connectors.
    pub fn is_principal_key(key: &str) -> bool {
        matches!(key, "sasl.jaas.config" | "sasl.mechanism" | "security.protocol")
    }

    /// Reads the settings, and tells which keys nobody reads. Opens the files that `ssl.*` names, so it may take some
    /// milliseconds.
    ///
    /// # Errors
    /// The first key whose value is not accepted, or a missing `bootstrap.servers`.
    pub fn from_properties(properties: &BTreeMap<String, String>) -> Result<(Self, Vec<UnknownKey>), ConfigError> {
        let p = Properties(properties);
        let servers = p.text("bootstrap.servers").ok_or_else(|| ConfigError::Missing {
            key: "bootstrap.servers".to_owned(),
            accepted: "give `host:port` of at least one broker, comma-separated".to_owned(),
        })?;
        let config = Self {
            bootstrap_servers: parse_servers(servers)?,
            client_id: p.text("client.id").unwrap_or("klamm").into(),
            request_timeout: p.millis("request.timeout.ms", 30_000, 1)?,
            api_timeout: p.millis("default.api.timeout.ms", 60_000, 1)?,
            reconnect_backoff: p.millis("reconnect.backoff.ms", 50, 0)?,
            reconnect_backoff_max: p.millis("reconnect.backoff.max.ms", 1_000, 0)?,
            retry_backoff: p.millis("retry.backoff.ms", 100, 0)?,
            retry_backoff_max: p.millis("retry.backoff.max.ms", 1_000, 0)?,
            metadata_max_age: p.millis("metadata.max.age.ms", 300_000, 100)?,
            connections_max_idle: p.millis("connections.max.idle.ms", 540_000, 1_000)?,
            connection_setup_timeout: p.millis("socket.connection.setup.timeout.ms", 10_000, 1)?,
            security: SecurityConfig::from_properties(&p)?,
        };
        Ok((config, unknown_keys(properties)))
    }
}

/// `host:port,host:port`; IPv6 addresses stand in brackets, and a listener name in front (`PLAINTEXT://`) is allowed.
fn parse_servers(servers: &str) -> Result<Vec<Arc<str>>, ConfigError> {
    let parsed: Vec<Arc<str>> = servers
        .split(',')
        .map(str::trim)
        .filter(|server| !server.is_empty())
        .map(|server| {
            let address = server.split_once("://").map_or(server, |(_, address)| address);
            let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
            match port.map(|(_, port)| port.parse::<u16>()) {
                Some(Ok(port)) if port > 0 => Ok(Arc::from(address)),
                _ => Err(invalid("bootstrap.servers", server, "each address is `host:port`")),
            }
        })
        .collect::<Result<_, _>>()?;
    if parsed.is_empty() {
        return Err(invalid(
            "bootstrap.servers",
            servers,
            "give `host:port` of at least one broker",
        ));
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<(ClientConfig, Vec<UnknownKey>), ConfigError> {
        ClientConfig::from_properties(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn wrong_values_are_refused_with_key_value_and_what_is_accepted() {
        let cases: &[(&[(&str, &str)], &str)] = &[
            (
                &[],
                "`bootstrap.servers` is missing: give `host:port` of at least one broker, comma-separated",
            ),
            (
                &[("bootstrap.servers", "kafka")],
                "`bootstrap.servers=kafka` is not valid: each address is `host:port`",
            ),
            (
                &[("bootstrap.servers", "k:0")],
                "`bootstrap.servers=k:0` is not valid: each address is `host:port`",
            ),
            (
                &[("bootstrap.servers", "k:1"), ("security.protocol", "TLS")],
                "`security.protocol=TLS` is not valid: accepted: `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT`, `SASL_SSL`",
            ),
            (
                &[("bootstrap.servers", "k:1"), ("request.timeout.ms", "soon")],
                "`request.timeout.ms=soon` is not valid: milliseconds from 1 to 2147483647",
            ),
        ];
        for (pairs, wanted) in cases {
            assert_eq!(parse(pairs).unwrap_err().to_string(), *wanted, "{pairs:?}");
        }
    }

    #[test]
    fn addresses_are_split_and_ignored_keys_are_told_apart() {
        let (config, unknown) = parse(&[
            ("bootstrap.servers", "PLAINTEXT://a:9092, [::1]:9093,"),
            ("group.id", "a consumer key is no unknown key"),
            ("key.deserializer", "x"),
            ("metrics.num.samples", "3"),
            ("metrcs", "3"),
        ])
        .unwrap();
        assert_eq!(config.bootstrap_servers, [Arc::from("a:9092"), Arc::from("[::1]:9093")]);
        let told: Vec<_> = unknown.iter().map(|u| (u.key.as_str(), u.java_only)).collect();
        assert_eq!(
            told,
            [
                ("key.deserializer", true),
                ("metrcs", false),
                ("metrics.num.samples", true)
            ]
        );
    }
}
