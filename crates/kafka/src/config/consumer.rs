//! How to read: group membership and fetching.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::properties::{ConfigError, Properties, UnknownKey, invalid, unknown_keys};

/// `isolation.level`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum IsolationLevel {
    /// Everything up to the high watermark.
    #[default]
    ReadUncommitted,
    /// Only records of committed transactions, up to the last stable offset.
    ReadCommitted,
}

/// `auto.offset.reset`: where to go when there is no committed offset, or it no longer exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OffsetReset {
    /// To the oldest record; the default of Connect's sinks.
    #[default]
    Earliest,
    /// To the end.
    Latest,
    /// Nowhere: it is an error that a person decides about.
    None,
}

/// `partition.assignment.strategy`: how the leader of a classic group shares partitions out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignor {
    /// `range`: each topic's partitions in runs, members in order.
    Range,
    /// `roundrobin`: all partitions in order, one to each member in turn.
    RoundRobin,
    /// `cooperative-sticky`: even, and everybody keeps what he has where that is possible; what moves is given up by
    /// its owner first, what stays goes on meanwhile (KIP-429).
    CooperativeSticky,
}

impl Assignor {
    /// Its name between the members of a group.
    pub fn name(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
            Self::CooperativeSticky => "cooperative-sticky",
        }
    }

    /// By its short name, or as Java names the class.
    fn parse(name: &str) -> Option<Self> {
        let all = [
            (Self::Range, "RangeAssignor"),
            (Self::RoundRobin, "RoundRobinAssignor"),
            (Self::CooperativeSticky, "CooperativeStickyAssignor"),
        ];
        let class = name.strip_prefix("org.apache.kafka.clients.consumer.").unwrap_or(name);
        all.into_iter()
            .find(|(assignor, java)| name == assignor.name() || class == *java)
            .map(|(assignor, _)| assignor)
    }
}

/// `group.protocol`: who shares the partitions out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupProtocol {
    /// `classic`: a member that leads the others, by one of these assignors, in order of preference. The group takes
    /// the one that all its members offer.
    ///
    /// Partitions that stay are kept through a rebalance if every assignor offered is cooperative (KIP-429): with
    /// `range,cooperative-sticky` all are given up.
    Classic {
        /// `partition.assignment.strategy` (`cooperative-sticky`).
        assignors: Vec<Assignor>,
    },
    /// `consumer`: the broker (KIP-848), which also sets time-outs and intervals. Needs Kafka 4.0.
    Consumer {
        /// `group.remote.assignor`: the broker's assignor; the group's, or the broker's first, if none is named.
        remote_assignor: Option<Arc<str>>,
    },
}

impl Default for GroupProtocol {
    fn default() -> Self {
        Self::Classic {
            assignors: vec![Assignor::CooperativeSticky],
        }
    }
}

/// What the broker is told with each fetch; readers with equal settings share sessions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FetchSettings {
    /// `isolation.level`.
    pub isolation_level: IsolationLevel,
    /// `client.rack`: read from a replica in this rack where the brokers allow it.
    pub client_rack: Option<Arc<str>>,
    /// `fetch.min.bytes` (1): a fetch waits until this much is there, or `max_wait` has passed.
    pub min_bytes: i32,
    /// `fetch.max.bytes` (8 MiB): bound of one response; a single larger record still comes through.
    pub max_bytes: i32,
    /// `fetch.max.wait.ms` (500).
    pub max_wait: Duration,
    /// `max.partition.fetch.bytes` (1 MiB): one partition's share of a response; a larger record still comes through.
    pub max_partition_bytes: i32,
    /// `check.crcs` (true): whether each batch's CRC-32C is verified.
    pub check_crcs: bool,
}

impl Default for FetchSettings {
    fn default() -> Self {
        Self {
            isolation_level: IsolationLevel::default(),
            client_rack: None,
            min_bytes: 1,
            max_bytes: 8 * 1024 * 1024,
            max_wait: Duration::from_millis(500),
            max_partition_bytes: 1024 * 1024,
            check_crcs: true,
        }
    }
}

/// A member of a consumer group and how it reads; names and meanings are those of Kafka's consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerConfig {
    /// `group.id`.
    pub group_id: Arc<str>,
    /// `client.id`, if set.
    pub client_id: Option<Arc<str>>,
    /// `group.instance.id`: a name that survives restarts makes the member static (KIP-345).
    pub group_instance_id: Option<Arc<str>>,
    /// `session.timeout.ms` (15,000): the coordinator drops a member that is silent for so long.
    pub session_timeout: Duration,
    /// `heartbeat.interval.ms` (3,000).
    pub heartbeat_interval: Duration,
    /// `max.poll.interval.ms` (300,000): the rebalance time-out, and nothing else here.
    pub rebalance_timeout: Duration,
    /// `group.protocol` and its assignors.
    pub protocol: GroupProtocol,
    /// `auto.offset.reset` (`earliest`, as Connect sets it).
    pub offset_reset: OffsetReset,
    /// How to fetch.
    pub fetch: Arc<FetchSettings>,
}

impl ConsumerConfig {
    /// The defaults, for group `group_id`.
    pub fn new(group_id: impl Into<Arc<str>>) -> Self {
        Self {
            group_id: group_id.into(),
            client_id: None,
            group_instance_id: None,
            session_timeout: Duration::from_secs(15),
            heartbeat_interval: Duration::from_secs(3),
            rebalance_timeout: Duration::from_secs(300),
            protocol: GroupProtocol::default(),
            offset_reset: OffsetReset::default(),
            fetch: Arc::new(FetchSettings::default()),
        }
    }

    /// How long partitions may take to be given up in a rebalance before they count as lost: what is left of
    /// `max.poll.interval.ms` once the join has its time to arrive.
    pub fn revoke_timeout(&self) -> Duration {
        // The coordinator's clock started up to a heartbeat ago.
        let left = self.rebalance_timeout.saturating_sub(2 * self.heartbeat_interval);
        left.max(self.rebalance_timeout / 2)
    }

    /// Reads the settings, and tells which keys nobody reads.
    ///
    /// # Errors
    /// The first key whose value is not accepted, or a missing `group.id`.
    pub fn from_properties(properties: &BTreeMap<String, String>) -> Result<(Self, Vec<UnknownKey>), ConfigError> {
        let p = Properties(properties);
        let group_id = p.text("group.id").ok_or_else(|| ConfigError::Missing {
            key: "group.id".to_owned(),
            accepted: "give the name of the consumer group".to_owned(),
        })?;
        let config = Self {
            group_id: group_id.into(),
            client_id: p.text("client.id").map(Into::into),
            group_instance_id: p.text("group.instance.id").map(Into::into),
            session_timeout: p.millis("session.timeout.ms", 15_000, 1)?,
            heartbeat_interval: p.millis("heartbeat.interval.ms", 3_000, 1)?,
            rebalance_timeout: p.millis("max.poll.interval.ms", 300_000, 1)?,
            protocol: protocol(&p)?,
            offset_reset: p.choice(
                "auto.offset.reset",
                &[
                    ("earliest", OffsetReset::Earliest),
                    ("latest", OffsetReset::Latest),
                    ("none", OffsetReset::None),
                ],
                OffsetReset::Earliest,
            )?,
            fetch: Arc::new(FetchSettings {
                isolation_level: p.choice(
                    "isolation.level",
                    &[
                        ("read_uncommitted", IsolationLevel::ReadUncommitted),
                        ("read_committed", IsolationLevel::ReadCommitted),
                    ],
                    IsolationLevel::ReadUncommitted,
                )?,
                client_rack: p.text("client.rack").map(Into::into),
                min_bytes: p.int("fetch.min.bytes", 1, 0)?,
                max_bytes: p.int("fetch.max.bytes", 8 * 1024 * 1024, 1)?,
                max_wait: p.millis("fetch.max.wait.ms", 500, 0)?,
                max_partition_bytes: p.int("max.partition.fetch.bytes", 1024 * 1024, 1)?,
                check_crcs: p.boolean("check.crcs", true)?,
            }),
        };
        if config.heartbeat_interval >= config.session_timeout {
            return Err(invalid(
                "heartbeat.interval.ms",
                &config.heartbeat_interval.as_millis().to_string(),
                format!("below `session.timeout.ms` ({})", config.session_timeout.as_millis()),
            ));
        }
        Ok((config, unknown_keys(properties)))
    }
}

const STRATEGY: &str = "partition.assignment.strategy";

fn protocol(p: &Properties<'_>) -> Result<GroupProtocol, ConfigError> {
    if p.choice("group.protocol", &[("classic", false), ("consumer", true)], false)? {
        // As Kafka's consumer has it: the broker decides about these.
        for key in [STRATEGY, "session.timeout.ms", "heartbeat.interval.ms"] {
            if let Some(value) = p.text(key) {
                return Err(invalid(
                    key,
                    value,
                    "cannot be set with `group.protocol=consumer`, where the broker sets it: remove it",
                ));
            }
        }
        return Ok(GroupProtocol::Consumer {
            remote_assignor: p.text("group.remote.assignor").map(Into::into),
        });
    }
    if let Some(value) = p.text("group.remote.assignor") {
        return Err(invalid(
            "group.remote.assignor",
            value,
            "cannot be set with `group.protocol=classic`: use `partition.assignment.strategy`, or \
             `group.protocol=consumer`",
        ));
    }
    let Some(value) = p.text(STRATEGY) else {
        return Ok(GroupProtocol::default());
    };
    let mut assignors = Vec::new();
    for name in value.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let assignor = Assignor::parse(name).ok_or_else(|| {
            invalid(
                STRATEGY,
                value,
                "accepted: `cooperative-sticky`, `range`, `roundrobin`, or several in order of preference (also as \
                 Java's class names); instead of `sticky` use `cooperative-sticky`",
            )
        })?;
        if assignors.contains(&assignor) {
            return Err(invalid(STRATEGY, value, "each assignor once"));
        }
        assignors.push(assignor);
    }
    if assignors.is_empty() {
        return Err(invalid(STRATEGY, value, "name an assignor"));
    }
    Ok(GroupProtocol::Classic { assignors })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<ConsumerConfig, ConfigError> {
        let mut properties = BTreeMap::from([("group.id".to_owned(), "g".to_owned())]);
        properties.extend(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        ConsumerConfig::from_properties(&properties).map(|(config, _)| config)
    }

    #[test]
    fn nothing_set_gives_the_documented_defaults() {
        assert_eq!(parse(&[]).unwrap(), ConsumerConfig::new("g"));
    }

    #[test]
    fn wrong_values_are_refused_with_what_is_accepted() {
        let cases = [
            (
                ("isolation.level", "dirty"),
                "`isolation.level=dirty` is not valid: accepted: `read_uncommitted`, `read_committed`",
            ),
            (
                ("partition.assignment.strategy", "range,sticky"),
                "`partition.assignment.strategy=range,sticky` is not valid: accepted: `cooperative-sticky`, `range`, \
                 `roundrobin`, or several in order of preference (also as Java's class names); instead of `sticky` \
                 use `cooperative-sticky`",
            ),
            (
                ("partition.assignment.strategy", "range,RangeAssignor"),
                "`partition.assignment.strategy=range,RangeAssignor` is not valid: each assignor once",
            ),
            (
                ("group.protocol", "share"),
                "`group.protocol=share` is not valid: accepted: `classic`, `consumer`",
            ),
            (
                ("group.remote.assignor", "uniform"),
                "`group.remote.assignor=uniform` is not valid: cannot be set with `group.protocol=classic`: use \
                 `partition.assignment.strategy`, or `group.protocol=consumer`",
            ),
            (
                ("heartbeat.interval.ms", "15000"),
                "`heartbeat.interval.ms=15000` is not valid: below `session.timeout.ms` (15000)",
            ),
            (
                ("fetch.max.bytes", "-1"),
                "`fetch.max.bytes=-1` is not valid: a whole number from 1 to 2147483647",
            ),
            (
                ("check.crcs", "yes"),
                "`check.crcs=yes` is not valid: `true` or `false`",
            ),
        ];
        for (pair, wanted) in cases {
            assert_eq!(parse(&[pair]).unwrap_err().to_string(), wanted, "{pair:?}");
        }
    }

    #[test]
    fn assignors_come_in_order_of_preference_and_under_javas_names() {
        let strategy = |value| parse(&[("partition.assignment.strategy", value)]).unwrap().protocol;
        let wanted = |assignors: &[Assignor]| GroupProtocol::Classic {
            assignors: assignors.to_vec(),
        };
        let java = "org.apache.kafka.clients.consumer.RangeAssignor, \
                    org.apache.kafka.clients.consumer.CooperativeStickyAssignor";
        assert_eq!(strategy(java), wanted(&[Assignor::Range, Assignor::CooperativeSticky]));
        assert_eq!(
            strategy("roundrobin,range"),
            wanted(&[Assignor::RoundRobin, Assignor::Range])
        );
    }

    #[test]
    fn the_consumer_protocol_refuses_what_the_broker_decides() {
        let consumer = ("group.protocol", "CONSUMER");
        let config = parse(&[consumer, ("group.remote.assignor", "range")]).unwrap();
        let remote_assignor = Some("range".into());
        assert_eq!(config.protocol, GroupProtocol::Consumer { remote_assignor });
        for (key, value) in [
            ("session.timeout.ms", "1000"),
            ("heartbeat.interval.ms", "100"),
            ("partition.assignment.strategy", "range"),
        ] {
            let wanted = format!(
                "`{key}={value}` is not valid: cannot be set with `group.protocol=consumer`, where the broker sets it: \
                 remove it"
            );
            assert_eq!(parse(&[consumer, (key, value)]).unwrap_err().to_string(), wanted);
        }
    }
}
