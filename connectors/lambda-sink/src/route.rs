//! Record -> destinations: which routes take a record.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use klamm_connect_api::sink::{EncodeError, RouteError, RouteIndex};
use klamm_connect_api::{Datum, Predicate, Record, Rendering};
use klamm_java_compat::Pattern;
use sha2::{Digest as _, Sha256};
use tracing::warn;

use crate::config::{FunctionTemplate, Share, Topics};

/// Knows the routes of every topic.
#[derive(Debug, Default)]
pub(crate) struct Router {
    routes: Vec<Gate>,
    everywhere: Vec<RouteIndex>,
    named: HashMap<String, Vec<RouteIndex>>,
    matching: Vec<(Pattern, RouteIndex)>,
}

/// A predicate, and the answer that it has to give.
#[derive(Debug)]
pub(crate) struct Condition {
    pub(crate) predicate: Arc<dyn Predicate>,
    pub(crate) wanted: bool,
}

/// What a record of a route's topics has to pass.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    pub(crate) conditions: Vec<Condition>,
    /// Set for a route that takes nothing from the others by failing.
    pub(crate) shadow: Option<Shadow>,
    pub(crate) share: Option<Share>,
    /// Makes the function's name of the topic.
    pub(crate) by_topic: Option<Box<FunctionTemplate>>,
}

/// A route that is not required. A record that its conditions cannot look at passes it by.
#[derive(Debug, Default)]
pub(crate) struct Shadow {
    route: String,
    unreadable: AtomicU64,
}

impl Shadow {
    pub(crate) fn new(route: &str) -> Self {
        Self {
            route: route.to_owned(),
            unreadable: AtomicU64::new(0),
        }
    }

    /// A line at the first such record, and whenever there are twice as many.
    fn pass_by(&self, record: &Record, error: &RouteError) {
        let records = self.unreadable.fetch_add(1, Relaxed) + 1;
        if records.is_power_of_two() {
            let (route, record) = (&*self.route, record.origin());
            warn!(route, %record, records, %error, "records that its conditions cannot look at pass a shadow by");
        }
    }
}

impl Router {
    /// A router over the routes' topics and gates, in the order of the routes.
    pub(crate) fn new(routes: impl IntoIterator<Item = (Topics, Gate)>) -> Self {
        let mut router = Self::default();
        for (index, (topics, gate)) in routes.into_iter().enumerate() {
            let index = RouteIndex(index);
            router.routes.push(gate);
            match topics {
                Topics::All => router.everywhere.push(index),
                Topics::Matching { pattern, .. } => router.matching.push((*pattern, index)),
                Topics::Named(topics) => {
                    for topic in topics {
                        let routes = router.named.entry(topic).or_default();
                        if routes.last() != Some(&index) {
                            routes.push(index);
                        }
                    }
                }
            }
        }
        router
    }

    /// Appends the routes of a record. A record that none of its topic's routes wants is filtered on purpose. Says whether
    /// there are any for its topic: a route that makes the function's name of the topic takes only those with a function
    /// that it allows.
    ///
    /// # Errors
    /// A condition of a required route that cannot look at the record, or a topic that no route takes and of whose name a
    /// function is made that is not allowed.
    pub(crate) fn routes(&self, record: &Record, routes: &mut Vec<RouteIndex>) -> Result<bool, RouteError> {
        let topic = &*record.topic;
        let named = self.named.get(topic).map_or(&[][..], Vec::as_slice);
        let matching = self.matching.iter().filter(|(pattern, _)| matches(pattern, topic));
        let candidates = self
            .everywhere
            .iter()
            .chain(named)
            .chain(matching.map(|(_, index)| index));
        let mut has_any = false;
        let mut disallowed = None;
        let mut look = Look {
            record,
            decoded: None,
            hash: None,
        };
        for index in candidates {
            let passes = match self.routes.get(index.0) {
                Some(gate) => {
                    if let Err(why) = gate.function_of(record) {
                        disallowed.get_or_insert(why);
                        continue;
                    }
                    match (gate.passes(&mut look), &gate.shadow) {
                        (Err(error), Some(shadow)) if !error.is_not_ready() => {
                            shadow.pass_by(record, &error);
                            false
                        }
                        (passes, _) => passes?,
                    }
                }
                None => true,
            };
            has_any = true;
            if passes {
                routes.push(*index);
            }
        }
        match disallowed {
            Some(why) if !has_any => Err(RouteError::NoRoute(why)),
            _ => Ok(has_any),
        }
    }
}

/// A record that gates look at, with what one of them found out for the others.
struct Look<'a> {
    record: &'a Record,
    /// What conditions decode. A copy, so that the payload is made from the record's own bytes.
    decoded: Option<Record>,
    hash: Option<u64>,
}

impl Gate {
    /// Whether there is a function for the record's topic.
    fn function_of(&self, record: &Record) -> Result<(), String> {
        let Some(template) = &self.by_topic else {
            return Ok(());
        };
        let topic = record.origin().topic_partition.topic();
        match template.of(topic) {
            Ok(_) => Ok(()),
            Err(why) => Err(format!("topic `{topic}` has no function: {why}")),
        }
    }

    fn passes(&self, look: &mut Look<'_>) -> Result<bool, RouteError> {
        let record = look.record;
        for Condition { predicate, wanted } in &self.conditions {
            let decoded = look.decoded.get_or_insert_with(|| record.clone());
            let holds = predicate.test(decoded).map_err(|error| {
                // A condition fails where it looks at a part that cannot be read; most look at the value.
                match record.key.decode() {
                    Err(of_key) => EncodeError::Key(of_key),
                    Ok(_) => EncodeError::Value(error),
                }
            })?;
            if holds != *wanted {
                return Ok(false);
            }
        }
        if let Some(Share { range, of }) = &self.share {
            let hash = match look.hash {
                Some(hash) => hash,
                None => *look.hash.insert(key_hash(record).map_err(EncodeError::Key)?),
            };
            if !range.contains(&(hash % of)) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A hash of the record's key that stays the same through restarts and versions. A record without a key has no order to
/// keep: where it stands decides.
fn key_hash(record: &Record) -> Result<u64, klamm_connect_api::DataError> {
    let mut hasher = Sha256::new();
    match &record.key {
        Datum::Encoded { bytes, .. } => hasher.update(bytes),
        Datum::Decoded(data) if data.value.is_null() => {
            let origin = record.origin();
            hasher.update(origin.topic_partition.topic());
            hasher.update(origin.topic_partition.partition().to_be_bytes());
            hasher.update(origin.offset.to_be_bytes());
        }
        key @ Datum::Decoded(_) => {
            let mut json = Vec::new();
            key.write_json(Rendering::Connect, &mut json)?;
            hasher.update(&json);
        }
    }
    let digest: [u8; 32] = hasher.finalize().into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    Ok(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
}

/// As for a subscription: a pattern that takes too many steps on a name does not match it.
pub(crate) fn matches(pattern: &Pattern, topic: &str) -> bool {
    pattern.matches(topic).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use klamm_connect_api::{DataError, DatumCodec, Origin, SchemaAndValue, TopicPartition, Value};

    use super::*;

    fn named(topics: &[&str]) -> Topics {
        Topics::Named(topics.iter().map(|&topic| topic.to_owned()).collect())
    }

    fn matching(text: &str) -> Topics {
        Topics::Matching {
            text: text.to_owned(),
            pattern: Box::new(Pattern::try_new(text).unwrap()),
        }
    }

    fn record(topic: &str, offset: i64, key: Option<&str>) -> Record {
        let origin = Origin {
            topic_partition: TopicPartition::new(topic, 0),
            offset,
        };
        let key = key.map_or(Datum::NULL, |key| {
            SchemaAndValue::schemaless(Value::String(key.into())).into()
        });
        Record::new(origin, key, Datum::NULL)
    }

    /// Whether the offset is even; an offset below zero cannot be looked at.
    #[derive(Debug)]
    struct Even;

    impl Predicate for Even {
        fn test(&self, record: &mut Record) -> Result<bool, DataError> {
            match record.origin().offset {
                offset if offset < 0 => Err(DataError::data("unreadable")),
                offset => Ok(offset % 2 == 0),
            }
        }
    }

    fn routes(router: &Router, record: &Record) -> Result<(bool, Vec<usize>), RouteError> {
        let mut routes = Vec::new();
        let has_any = router.routes(record, &mut routes)?;
        Ok((has_any, routes.iter().map(|route| route.0).collect()))
    }

    #[test]
    fn a_topic_goes_to_every_route_that_takes_it_and_to_no_other() {
        let topics = [
            named(&["orders", "refunds", "orders"]),
            named(&["orders"]),
            matching("(?!pay-).*s"),
        ];
        let router = Router::new(topics.map(|topics| (topics, Gate::default())));
        let cases: [(&str, &[usize], &str); 5] = [
            ("orders", &[0, 1, 2], "fan-out, a repeated name counts once"),
            ("refunds", &[0, 2], "several topics to one function"),
            ("payments", &[2], "by pattern"),
            ("pay-slips", &[], "a look-ahead, as `topics.regex` takes it"),
            ("audit", &[], "nobody"),
        ];
        for (topic, wanted, why) in cases {
            let found = routes(&router, &record(topic, 0, None)).unwrap();
            assert_eq!(found, (!wanted.is_empty(), wanted.to_vec()), "{why}");
        }
    }

    #[test]
    fn a_route_takes_the_records_that_its_conditions_let_through() {
        let gate = |wanted| Gate {
            conditions: vec![Condition {
                predicate: Arc::new(Even),
                wanted,
            }],
            ..Gate::default()
        };
        let router = Router::new([
            (named(&["orders"]), gate(true)),
            (named(&["orders", "odd"]), gate(false)),
        ]);
        assert_eq!(routes(&router, &record("orders", 4, None)), Ok((true, vec![0])));
        assert_eq!(
            routes(&router, &record("orders", 5, None)),
            Ok((true, vec![1])),
            "negated"
        );
        assert_eq!(
            routes(&router, &record("odd", 4, None)),
            Ok((true, vec![])),
            "filtered, which is not the same as unknown"
        );
        assert!(matches!(
            routes(&router, &record("orders", -1, None)),
            Err(RouteError::Encode(EncodeError::Value(_)))
        ));
    }

    #[test]
    fn a_shadow_that_cannot_look_at_a_record_takes_it_from_nobody() {
        let gate = |conditions: Vec<Condition>| Gate {
            conditions,
            shadow: Some(Shadow::new("shadow")),
            ..Gate::default()
        };
        let even = || Condition {
            predicate: Arc::new(Even),
            wanted: true,
        };
        let router = Router::new([
            (named(&["orders"]), gate(vec![even()])),
            (named(&["orders"]), Gate::default()),
        ]);
        assert_eq!(routes(&router, &record("orders", -1, None)), Ok((true, vec![1])));
        assert_eq!(routes(&router, &record("orders", 2, None)), Ok((true, vec![0, 1])));
        let not_ready = Condition {
            predicate: Arc::new(NotReady),
            wanted: true,
        };
        let router = Router::new([(named(&["orders"]), gate(vec![not_ready]))]);
        assert!(
            routes(&router, &record("orders", 2, None)).is_err(),
            "it can be looked at when its schema has come"
        );
    }

    /// Waits for something.
    #[derive(Debug)]
    struct NotReady;

    impl Predicate for NotReady {
        fn test(&self, _: &mut Record) -> Result<bool, DataError> {
            Err(DataError::new(klamm_connect_api::DataErrorKind::NotReady, "a schema"))
        }
    }

    /// Decodes the value, as most predicates do.
    #[derive(Debug)]
    struct Decodes;

    impl Predicate for Decodes {
        fn test(&self, record: &mut Record) -> Result<bool, DataError> {
            record.value.decoded().map(|_| true)
        }
    }

    #[derive(Debug)]
    struct Text;

    impl DatumCodec for Text {
        fn decode(&self, bytes: &Bytes) -> Result<SchemaAndValue, DataError> {
            let text = std::str::from_utf8(bytes).map_err(|_| DataError::data("no text"))?;
            Ok(SchemaAndValue::schemaless(Value::String(text.into())))
        }

        fn write_json(&self, bytes: &Bytes, rendering: Rendering, out: &mut Vec<u8>) -> Result<(), DataError> {
            klamm_connect_api::json::write(&self.decode(bytes)?, rendering, out)
        }
    }

    // A filter on the value decoded it, and the payload was then made of the value in place of the record's bytes.
    #[test]
    fn a_condition_that_looks_at_the_value_leaves_the_record_as_it_is() {
        let conditions = vec![Condition {
            predicate: Arc::new(Decodes),
            wanted: true,
        }];
        let gate = Gate {
            conditions,
            ..Gate::default()
        };
        let router = Router::new([(named(&["t"]), gate)]);
        let mut record = record("t", 0, None);
        record.value = Datum::Encoded {
            bytes: Bytes::from_static(b"x"),
            codec: Arc::new(Text),
        };
        assert_eq!(routes(&router, &record), Ok((true, vec![0])));
        assert!(matches!(record.value, Datum::Encoded { .. }));
    }

    #[test]
    fn functions_share_records_by_weight_and_a_key_stays_with_one() {
        let share = |range| Gate {
            share: Some(Share { range, of: 10 }),
            ..Gate::default()
        };
        let router = Router::new([(named(&["t"]), share(0..9)), (named(&["t"]), share(9..10))]);
        let mut taken = [0, 0];
        for key in 0..2_000 {
            let key = format!("key-{key}");
            let first = routes(&router, &record("t", 1, Some(&key))).unwrap().1;
            let second = routes(&router, &record("t", 2, Some(&key))).unwrap().1;
            assert_eq!(first, second, "{key} stays");
            let [route] = first.as_slice() else {
                panic!("exactly one function gets {key}: {first:?}")
            };
            taken[*route] += 1;
        }
        assert!((150..=250).contains(&taken[1]), "about a tenth: {taken:?}");
        let without_key = (0..2_000).filter(|offset| {
            let routes = routes(&router, &record("t", *offset, None)).unwrap().1;
            routes == [1]
        });
        let without_key = without_key.count();
        assert!((150..=250).contains(&without_key), "about a tenth: {without_key}");
        // What the hash is may not change from one version to the next: keys would move to another function.
        assert_eq!(
            key_hash(&record("t", 1, Some("key"))).unwrap(),
            13_889_588_278_533_109_548
        );
    }
}
