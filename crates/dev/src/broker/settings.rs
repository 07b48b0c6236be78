//! How a broker is started.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

/// Settings of a [`Broker`](super::Broker).
///
/// ```
/// use klamm_dev::broker::Settings;
///
/// let settings = Settings { brokers: 3, ..Settings::default() };
/// assert_eq!(settings.topic_bytes, 64 * 1024 * 1024);
/// ```
#[derive(Clone, Debug)]
pub struct Settings {
    /// Virtual brokers, each with a port of its own.
    pub brokers: u16,
    /// Where they listen, and what they tell clients.
    pub host: IpAddr,
    /// Ports in the order of the brokers; those that are missing, or 0, are free ones.
    pub ports: Vec<u16>,
    /// Whether a topic that is asked for is made (`auto.create.topics.enable`).
    pub auto_create_topics: bool,
    /// Partitions of a topic that does not say (`num.partitions`).
    pub default_partitions: i32,
    /// Where topics, records, committed offsets and producer ids are kept; `None`: in memory only.
    pub data_dir: Option<PathBuf>,
    /// The most that a topic holds, unless it sets `retention.bytes`: its oldest records go first.
    pub topic_bytes: u64,
    /// The most that all topics hold together. Topics that are only compacted lose nothing: beyond this bound,
    /// nothing more can be written.
    pub total_bytes: u64,
    /// The largest request (`socket.request.max.bytes`).
    pub max_request_bytes: usize,
    /// Requests that are being read or answered may take this much together; others wait.
    pub in_flight_bytes: usize,
    /// Connections per virtual broker; further ones wait until one ends.
    pub max_connections: usize,
    /// How long the first member of a group waits for others (`group.initial.rebalance.delay.ms`).
    pub initial_rebalance_delay: Duration,
    /// The shortest session that a member may ask for (`group.min.session.timeout.ms`).
    pub min_session_timeout: Duration,
    /// How often members by KIP-848 are told to report (`group.consumer.heartbeat.interval.ms`).
    pub consumer_heartbeat_interval: Duration,
    /// After which silence they are given up (`group.consumer.session.timeout.ms`).
    pub consumer_session_timeout: Duration,
    /// How often old records, idle producers and overdue transactions are looked for.
    pub maintenance_interval: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            brokers: 1,
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            ports: Vec::new(),
            auto_create_topics: true,
            default_partitions: 1,
            data_dir: None,
            topic_bytes: 64 * 1024 * 1024,
            total_bytes: 512 * 1024 * 1024,
            max_request_bytes: 100 * 1024 * 1024,
            in_flight_bytes: 256 * 1024 * 1024,
            max_connections: 1024,
            initial_rebalance_delay: Duration::ZERO,
            min_session_timeout: Duration::from_secs(1),
            consumer_heartbeat_interval: Duration::from_secs(5),
            consumer_session_timeout: Duration::from_secs(45),
            maintenance_interval: Duration::from_secs(1),
        }
    }
}
