//! What is wrong with routes that are right one by one, and what would have no effect.

use klamm_connect_api::delivery::{BatchScope, DeliverySettings, ErrorPolicy, Ordering};
use klamm_connect_api::{ConfigError, Rendering};

use super::super::keys::{aliases, route_key_names, topic_regex};
use super::super::{EventFormat, InvocationType, cloud_events};
use super::{Callee, Destination, Planner, RoutePlan, Share, Topics};
use crate::claim;

/// Settings that mean nothing without another one.
struct Dependent {
    keys: &'static [&'static str],
    /// For people.
    needs: &'static str,
    /// The value that says what happens anyway.
    idle: &'static str,
    is_given: fn(&RoutePlan) -> bool,
}

const SYNC: &str = "aws.lambda.invocation.type=sync";
const DEPENDENTS: &[Dependent] = &[
    Dependent {
        keys: &Rendering::NATURAL_KEYS,
        needs: "payload.rendering=natural",
        idle: "",
        is_given: |route| route.payload.rendering != Rendering::Connect,
    },
    Dependent {
        keys: &cloud_events::KEYS,
        needs: "event.format=cloudevents",
        idle: "",
        is_given: |route| matches!(route.payload.format, EventFormat::CloudEvents(_)),
    },
    Dependent {
        keys: &[
            "payload.formatter.class",
            "payload.formatter.key.schema.visibility",
            "payload.formatter.value.schema.visibility",
        ],
        needs: "event.format=nordstrom",
        idle: "",
        is_given: |route| matches!(route.payload.format, EventFormat::Nordstrom(_)),
    },
    Dependent {
        keys: &["esm.event.source.arn"],
        needs: "event.format=esm",
        idle: "",
        is_given: |route| matches!(route.payload.format, EventFormat::Esm { .. }),
    },
    Dependent {
        keys: &[claim::KEYS.region, claim::KEYS.endpoint, claim::MIN_BYTES],
        needs: claim::KEYS.destination,
        idle: "",
        is_given: |route| route.claim_check.is_some(),
    },
    Dependent {
        keys: &["response.format"],
        needs: SYNC,
        idle: "ignore",
        is_given: |route| route.invocation == InvocationType::Sync,
    },
    Dependent {
        keys: &["aws.lambda.client.context"],
        needs: SYNC,
        idle: "false",
        is_given: |route| route.invocation == InvocationType::Sync,
    },
];

impl RoutePlan {
    /// The setting that names its topics.
    fn topics_key(&self) -> String {
        let name = match self.topics {
            Topics::All | Topics::Named(_) => "topics",
            Topics::Matching { .. } => "topics.regex",
        };
        format!("{}{name}", self.prefix)
    }
}

impl Topics {
    /// A topic that both take, in words: one that is named or consumed, or all that a regular expression stands for; or one
    /// that they and the connector's `topics.regex` make up.
    fn shared_with(&self, other: &Self, consumed: &[&str], regex: Option<&Self>) -> Option<String> {
        if let (Self::Matching { text: one, .. }, Self::Matching { text: other, .. }) = (self, other)
            && one == other
        {
            return Some(format!("topics that match `{one}`"));
        }
        let named = |topics: &Self| match topics {
            Self::Named(names) => names.clone(),
            Self::All | Self::Matching { .. } => Vec::new(),
        };
        let candidates = consumed.iter().map(|topic| (*topic).to_owned());
        let mut candidates = candidates.chain(named(self)).chain(named(other));
        let is_shared = |topic: &String| !topic.is_empty() && self.take(topic) && other.take(topic);
        if let Some(topic) = candidates.find(is_shared) {
            return Some(format!("topic `{topic}`"));
        }
        let regex = regex?;
        let mut examples = [self, other, regex].into_iter().flat_map(|topics| match topics {
            Self::Matching { text, .. } => examples(text),
            Self::All | Self::Named(_) => Vec::new(),
        });
        let shared = examples.find(|topic| regex.take(topic) && is_shared(topic));
        shared.map(|topic| format!("topics such as `{topic}`"))
    }
}

/// Names that a plain regular expression may match: who uses them sees to it that it does. None for one with groups or
/// counts.
fn examples(pattern: &str) -> Vec<String> {
    let example = |branch: &str| {
        let mut name = String::new();
        let mut rest = branch.chars();
        while let Some(c) = rest.next() {
            match c {
                '(' | ')' | '{' | '}' => return None,
                '^' | '$' | '?' | '*' | '+' => {}
                '.' => name.push('x'),
                '\\' => name.push(match rest.next()? {
                    'd' => '0',
                    'w' => 'x',
                    escaped => escaped,
                }),
                '[' => {
                    name.push(rest.next().filter(|first| !matches!(first, '^' | '\\'))?);
                    rest.find(|c| *c == ']')?;
                }
                literal => name.push(literal),
            }
        }
        Some(name)
    };
    pattern.split('|').filter_map(example).collect()
}

impl Planner<'_> {
    /// A key under `routes.` that no route reads would be a setting lost in silence.
    pub(super) fn check_stray_route_keys(&mut self) {
        let aliases = aliases(self.raw);
        let names = route_key_names();
        for key in self.raw.keys() {
            let Some(rest) = key.strip_prefix("routes.") else {
                continue;
            };
            let (alias, name) = rest.split_once('.').unwrap_or((rest, ""));
            if !aliases.iter().any(|known| known == alias) {
                self.errors.push(ConfigError::new(
                    key,
                    format!("`routes` does not list `{alias}`: add it there, or leave this out"),
                ));
            } else if !names.iter().any(|known| known == name) {
                self.errors.push(ConfigError::new(
                    key,
                    format!(
                        "no setting of a route is called `{name}`: accepted are {}",
                        names.join(", ")
                    ),
                ));
            }
        }
    }

    /// Every topic that is consumed has a route. A transform may rename topics, so with transforms only records tell.
    pub(super) fn check_topics(&mut self, destinations: &[Destination<'_>], key: &str) {
        if self.is_set("transforms") || !self.errors.is_empty() || destinations.is_empty() {
            return;
        }
        let topics = self.raw.get("topics").map_or("", String::as_str);
        for topic in topics.split(',').map(str::trim).filter(|topic| !topic.is_empty()) {
            if !destinations.iter().any(|destination| destination.topics.take(topic)) {
                self.errors.push(ConfigError::new(
                    key,
                    format!("topic `{topic}` of `topics` has no function: give it one, or take it out of `topics`"),
                ));
            }
        }
    }

    /// Two routes that take a topic's records to one function would double every record. With conditions on the records
    /// they may be meant to share them.
    pub(super) fn check_doubles(&mut self, routes: &[RoutePlan]) {
        let topics: Vec<&str> = self
            .raw
            .get("topics")
            .map_or("", String::as_str)
            .split(',')
            .map(str::trim)
            .collect();
        let regex = self.raw.get("topics.regex").map_or("", |text| text.trim());
        let regex = match topic_regex(regex) {
            Ok(pattern) if !regex.is_empty() => Some(Topics::Matching {
                text: regex.to_owned(),
                pattern: Box::new(pattern),
            }),
            _ => None,
        };
        for (index, route) in routes.iter().enumerate() {
            for earlier in routes.iter().take(index) {
                let is_same = route.function == earlier.function
                    && route.region == earlier.region
                    && route.endpoint == earlier.endpoint
                    && route.context.tenant_id == earlier.context.tenant_id;
                let is_open = [route, earlier]
                    .iter()
                    .all(|route| route.filter.is_empty() && route.share.is_none());
                if !is_same || !is_open || route.prefix == earlier.prefix {
                    continue;
                }
                if let Some(topic) = route.topics.shared_with(&earlier.topics, &topics, regex.as_ref()) {
                    self.errors.push(ConfigError::new(
                        route.topics_key(),
                        format!(
                            "route `{}` takes {topic} to the same function: every record would arrive twice. Change one of \
                             them, or give both a `predicate` or `pattern`",
                            earlier.name
                        ),
                    ));
                }
            }
        }
    }

    /// A setting that only something else gives a meaning is refused where no route has that.
    pub(super) fn check_effects(&mut self, routes: &[RoutePlan]) {
        for Dependent {
            keys,
            needs,
            idle,
            is_given,
        } in DEPENDENTS
        {
            for key in *keys {
                let of_routes = routes.iter().filter(|route| !route.prefix.is_empty());
                let without_effect: Vec<String> = of_routes
                    .filter(|route| !is_given(route))
                    .map(|route| route.prefix.clone() + key)
                    .chain((!routes.iter().any(is_given)).then(|| (*key).to_owned()))
                    .filter(|key| {
                        let value = self.raw.get(key).map_or("", |value| value.trim());
                        !value.is_empty() && !value.eq_ignore_ascii_case(idle)
                    })
                    .collect();
                for key in without_effect {
                    self.error(
                        key,
                        format!("has no effect without `{needs}`: set that, or leave this out"),
                    );
                }
            }
        }
    }

    /// A shadow gives up at once, unless its route says otherwise.
    pub(super) fn make_shadow(&mut self, prefix: &str, delivery: &mut DeliverySettings) {
        delivery.is_required = false;
        let policy_key = format!("{prefix}{}", ErrorPolicy::KEY);
        if !self.is_set(&policy_key) {
            delivery.error_policy = ErrorPolicy::Log;
        } else if delivery.error_policy == ErrorPolicy::Fail {
            self.error_once(
                &policy_key,
                format!("`{prefix}required=false` means that failures hold no offsets: set `log`, `ignore` or `dlq`"),
            );
        }
        if !self.is_set(&format!("{prefix}delivery.retry.max.attempts")) {
            delivery.retry.max_attempts = 1;
        }
        if !self.is_set(&format!("{prefix}delivery.bisect")) {
            delivery.bisect = false;
        }
    }

    /// Functions that share a partition's records cannot keep its order, and a function for each topic needs batches of
    /// one topic.
    pub(super) fn check_order(
        &mut self,
        function: &Callee,
        share: Option<&Share>,
        delivery: &DeliverySettings,
        prefix: &str,
        function_key: &str,
    ) {
        if share.is_some() && delivery.ordering == Ordering::Partition {
            self.error_once(
                function_key,
                format!(
                    "several functions share the records of a partition, which then have no order: set \
                     `{prefix}delivery.ordering` to `key`, which keeps the order of each key, or to `none`"
                ),
            );
        }
        if matches!(function, Callee::ByTopic(_)) && delivery.batch_scope == BatchScope::Route {
            self.error_once(
                function_key,
                "a function for each topic needs calls that hold one topic: leave `delivery.batch.scope=route` out"
                    .to_owned(),
            );
        }
    }
}
