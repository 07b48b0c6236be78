//! The settings of topics: names, defaults and what they take, in one table; and what of them is acted on.

use std::collections::BTreeMap;

use super::log::{CompactionRules, Timestamps};

/// What a value must be.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Bool,
    Int { min: i32 },
    Long { min: i64 },
    Ratio,
    OneOf(&'static [&'static str]),
    ListOf(&'static [&'static str]),
    Text,
}

/// A setting of topics.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Definition {
    pub(crate) name: &'static str,
    pub(crate) default: &'static str,
    kind: Kind,
}

impl Definition {
    /// As in DescribeConfigs.
    pub(crate) fn wire_type(&self) -> i8 {
        match self.kind {
            Kind::Bool => 1,
            Kind::Text | Kind::OneOf(_) => 2,
            Kind::Int { .. } => 3,
            Kind::Long { .. } => 5,
            Kind::Ratio => 6,
            Kind::ListOf(_) => 7,
        }
    }

    pub(crate) fn is_list(&self) -> bool {
        matches!(self.kind, Kind::ListOf(_))
    }

    fn takes(&self, value: &str) -> bool {
        match self.kind {
            Kind::Bool => value == "true" || value == "false",
            Kind::Int { min } => value.parse::<i32>().is_ok_and(|number| number >= min),
            Kind::Long { min } => value.parse::<i64>().is_ok_and(|number| number >= min),
            Kind::Ratio => value.parse::<f64>().is_ok_and(|ratio| (0.0..=1.0).contains(&ratio)),
            Kind::OneOf(options) => options.contains(&value),
            Kind::ListOf(options) => items(value).all(|item| options.contains(&item)),
            Kind::Text => true,
        }
    }
}

const RETENTION_BYTES: &str = "retention.bytes";

/// Kafka's settings of topics with Kafka's defaults. Those that [`TopicConfigs`] has no method for are kept and shown,
/// and change nothing.
pub(crate) const DEFINITIONS: &[Definition] = &[
    of("cleanup.policy", "delete", Kind::ListOf(&["compact", "delete"])),
    of(
        "compression.type",
        "producer",
        Kind::OneOf(&["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"]),
    ),
    of("delete.retention.ms", "86400000", Kind::Long { min: 0 }),
    of("file.delete.delay.ms", "60000", Kind::Long { min: 0 }),
    of("flush.messages", "9223372036854775807", Kind::Long { min: 1 }),
    of("flush.ms", "9223372036854775807", Kind::Long { min: 0 }),
    of("follower.replication.throttled.replicas", "", Kind::Text),
    of("index.interval.bytes", "4096", Kind::Int { min: 0 }),
    of("leader.replication.throttled.replicas", "", Kind::Text),
    of("max.compaction.lag.ms", "9223372036854775807", Kind::Long { min: 1 }),
    of("max.message.bytes", "1048588", Kind::Int { min: 0 }),
    of("message.timestamp.after.max.ms", "3600000", Kind::Long { min: 0 }),
    of(
        "message.timestamp.before.max.ms",
        "9223372036854775807",
        Kind::Long { min: 0 },
    ),
    of(
        "message.timestamp.type",
        "CreateTime",
        Kind::OneOf(&["CreateTime", "LogAppendTime"]),
    ),
    of("min.cleanable.dirty.ratio", "0.5", Kind::Ratio),
    of("min.compaction.lag.ms", "0", Kind::Long { min: 0 }),
    of("min.insync.replicas", "1", Kind::Int { min: 1 }),
    of("preallocate", "false", Kind::Bool),
    of(RETENTION_BYTES, "-1", Kind::Long { min: -1 }),
    of("retention.ms", "604800000", Kind::Long { min: -1 }),
    of("segment.bytes", "1073741824", Kind::Int { min: 14 }),
    of("segment.index.bytes", "10485760", Kind::Int { min: 4 }),
    of("segment.jitter.ms", "0", Kind::Long { min: 0 }),
    of("segment.ms", "604800000", Kind::Long { min: 1 }),
    of("unclean.leader.election.enable", "false", Kind::Bool),
];

const fn of(name: &'static str, default: &'static str, kind: Kind) -> Definition {
    Definition { name, default, kind }
}

pub(crate) fn definition(name: &str) -> Option<&'static Definition> {
    DEFINITIONS.iter().find(|definition| definition.name == name)
}

/// Items of a list setting.
pub(crate) fn items(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// What is set of a topic; the rest has its default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TopicConfigs(BTreeMap<String, String>);

impl TopicConfigs {
    /// # Errors
    /// The name is not known, or the value not taken; the text says which.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let definition = definition(name).ok_or_else(|| format!("Unknown topic config name: {name}"))?;
        if !definition.takes(value) {
            return Err(format!("Invalid value {value} for configuration {name}"));
        }
        self.0.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn explicit(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn all_explicit(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    fn value(&self, name: &'static str) -> &str {
        let default = || definition(name).map_or("", |definition| definition.default);
        self.explicit(name).unwrap_or_else(default)
    }

    fn number(&self, name: &'static str) -> i64 {
        self.value(name).parse().unwrap_or(i64::MAX)
    }

    pub(crate) fn is_compacted(&self) -> bool {
        items(self.value("cleanup.policy")).any(|policy| policy == "compact")
    }

    /// Whether old records may go.
    pub(crate) fn is_deleted(&self) -> bool {
        items(self.value("cleanup.policy")).any(|policy| policy == "delete")
    }

    pub(crate) fn timestamps(&self) -> Timestamps {
        match self.value("message.timestamp.type") {
            "LogAppendTime" => Timestamps::Append,
            _ => Timestamps::Create,
        }
    }

    pub(crate) fn max_message_bytes(&self) -> usize {
        usize::try_from(self.number("max.message.bytes")).unwrap_or(usize::MAX)
    }

    pub(crate) fn min_insync_replicas(&self) -> usize {
        usize::try_from(self.number("min.insync.replicas")).unwrap_or(usize::MAX)
    }

    /// Bytes that a partition may hold; `None`: as many as the broker allows its topic.
    pub(crate) fn retention_bytes(&self) -> Option<u64> {
        u64::try_from(self.number(RETENTION_BYTES)).ok()
    }

    pub(crate) fn retention_ms(&self) -> Option<i64> {
        Some(self.number("retention.ms")).filter(|ms| *ms >= 0)
    }

    pub(crate) fn compaction(&self) -> CompactionRules {
        CompactionRules {
            min_dirty_ratio: self.value("min.cleanable.dirty.ratio").parse().unwrap_or(0.5),
            min_lag_ms: self.number("min.compaction.lag.ms"),
            max_lag_ms: self.number("max.compaction.lag.ms"),
            delete_retention_ms: self.number("delete.retention.ms"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_taken() {
        for definition in DEFINITIONS {
            assert!(definition.takes(definition.default), "{}", definition.name);
        }
    }

    #[test]
    fn values_are_checked_by_their_kind() {
        let cases = [
            ("retention.ms", "-1", true),
            ("retention.ms", "-2", false),
            ("retention.ms", "soon", false),
            ("cleanup.policy", "compact, delete", true),
            ("cleanup.policy", "burn", false),
            ("min.cleanable.dirty.ratio", "1.5", false),
            ("message.timestamp.type", "LogAppendTime", true),
            ("preallocate", "yes", false),
            ("no.such.setting", "1", false),
        ];
        for (name, value, taken) in cases {
            assert_eq!(
                TopicConfigs::default().set(name, value).is_ok(),
                taken,
                "{name}={value}"
            );
        }
    }
}
