//! Which topics a member wants.

use std::collections::BTreeSet;
use std::sync::Arc;

use fancy_regex::Regex;

use crate::{KafkaClient, KafkaError, TopicInfo};

/// Which topics a member wants: names, or a pattern over names.
#[derive(Clone, Debug)]
pub struct Subscription {
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Topics(BTreeSet<Arc<str>>),
    Pattern(Arc<Regex>),
}

/// A pattern that is no regular expression.
#[derive(Clone, Debug, thiserror::Error)]
#[error("`{pattern}` is not a valid regular expression: {reason}")]
pub struct SubscriptionError {
    /// The pattern as given.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Subscription {
    /// These topics; they need not exist yet.
    pub fn topics(topics: impl IntoIterator<Item = impl Into<Arc<str>>>) -> Self {
        Self {
            kind: Kind::Topics(topics.into_iter().map(Into::into).collect()),
        }
    }

    /// All topics whose whole name matches (`topics.regex`), now and later; Kafka's internal topics never match.
    ///
    /// # Errors
    /// A pattern that is no regular expression.
    pub fn pattern(pattern: &str) -> Result<Self, SubscriptionError> {
        // As Java's `matches`: the whole name, whatever alternatives the pattern has. On its own first: with parentheses
        // around it `a)|(b` would be a pattern, and match more.
        let regex = Regex::new(pattern).and_then(|_| Regex::new(&format!("^(?:{pattern})$")));
        let regex = regex.map_err(|err| SubscriptionError {
            pattern: pattern.to_owned(),
            reason: err.to_string(),
        })?;
        Ok(Self {
            kind: Kind::Pattern(Arc::new(regex)),
        })
    }

    /// The topics, unless a pattern stands for them.
    pub fn names(&self) -> Option<&BTreeSet<Arc<str>>> {
        match &self.kind {
            Kind::Topics(topics) => Some(topics),
            Kind::Pattern(_) => None,
        }
    }

    /// Whether it would take a topic of this name.
    pub fn includes(&self, topic: &str) -> bool {
        match &self.kind {
            Kind::Topics(topics) => topics.contains(topic),
            Kind::Pattern(regex) => regex.is_match(topic).unwrap_or(false),
        }
    }

    /// Keeps what the subscription is about in the metadata.
    pub(super) fn interest(&self, client: &KafkaClient) -> crate::client::TopicInterest {
        match &self.kind {
            Kind::Topics(topics) => client.interest(topics.iter().cloned()),
            Kind::Pattern(_) => client.interest_in_all(),
        }
    }

    /// The topics to subscribe to, given those that exist.
    pub(super) fn resolve(&self, existing: &[TopicInfo]) -> BTreeSet<Arc<str>> {
        match &self.kind {
            Kind::Topics(topics) => topics.clone(),
            Kind::Pattern(regex) => existing
                .iter()
                // A pattern that runs out of backtracking matches nothing; Java's would run for ever.
                .filter(|topic| !topic.is_internal && regex.is_match(&topic.name).unwrap_or(false))
                .map(|topic| Arc::clone(&topic.name))
                .collect(),
        }
    }

    /// Why a topic that is wanted by its name is not in the metadata, if that is for the want of a permission.
    pub(super) fn denied(&self, client: &KafkaClient) -> Option<KafkaError> {
        match &self.kind {
            Kind::Topics(topics) => topics.iter().find_map(|topic| client.denied(topic)),
            // Kafka lists only what may be seen.
            Kind::Pattern(_) => None,
        }
    }

    /// The topics that are wanted but do not exist; for a pattern that matches nothing, the pattern.
    pub(super) fn missing(&self, existing: &[TopicInfo]) -> Vec<String> {
        match &self.kind {
            Kind::Topics(topics) => topics
                .iter()
                .filter(|topic| !existing.iter().any(|known| known.name == **topic))
                .map(|topic| format!("`{topic}`"))
                .collect(),
            Kind::Pattern(regex) if self.resolve(existing).is_empty() => vec![format!("any like `{regex}`")],
            Kind::Pattern(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_names_and_no_internal_topics() {
        let topic = |name: &str, is_internal| TopicInfo {
            name: name.into(),
            id: None,
            partitions: 1,
            is_internal,
        };
        let existing = [
            topic("a", false),
            topic("ab", false),
            topic("b1", false),
            topic("__b", true),
        ];
        let cases: &[(&str, &[&str], &str)] = &[
            ("a|b1", &["a", "b1"], "alternatives are anchored too"),
            ("a.*", &["a", "ab"], "a prefix"),
            (".*", &["a", "ab", "b1"], "internal topics never"),
            ("(?!a).*", &["b1"], "look-ahead, as Java has it"),
            ("x", &[], "nothing"),
        ];
        for (pattern, wanted, why) in cases {
            let found = Subscription::pattern(pattern).unwrap().resolve(&existing);
            assert_eq!(found.iter().map(|name| &**name).collect::<Vec<_>>(), *wanted, "{why}");
        }
        let err = Subscription::pattern("(").unwrap_err().to_string();
        assert!(err.starts_with("`(` is not a valid regular expression: "), "{err}");
    }
}
