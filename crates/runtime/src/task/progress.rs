//! What a task writes beside a committed offset, so that whoever reads on from there sends no route again what it has:
//! `k1:` and the base64 of
//!
//! | bytes | what |
//! |---|---|
//! | 16 | id of the topic |
//! | 4 | leader epoch of the last record that was handed over, big endian |
//! | 8 | the offset that is committed, big endian |
//! | then for each route: 8 | its fingerprint |
//! | varint | number of ranges |
//! | 2 varints for each range | offsets between the end of the one before (the first: the committed offset) and its start; its length |
//!
//! It only ever saves calls: when it is missing, cut, damaged, of another topic, offset or configuration, or written
//! before the log was cut, records are delivered again.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use klamm_connect_api::RawConfig;
use klamm_connect_api::sink::{Route, RouteIndex};
use klamm_delivery::{Progress, RouteProgress};
use klamm_kafka::{Committed, Uuid};
use sha2::{Digest, Sha256};

const VERSION: &str = "k1:";
/// What a broker takes by default (`offset.metadata.max.bytes`).
const TEXT_BYTES: usize = 4_096;

/// Settings that change how and when records are sent, never which ones a route gets or what they hold.
const TUNING: [&str; 11] = [
    "admin.override.",
    "config.action.reload",
    "consumer.override.",
    "delivery.",
    "errors.",
    "name",
    "producer.override.",
    "reporter.",
    "results.",
    "task.",
    "tasks.max",
];

/// What a route is, for telling whether it is still the one that an earlier task sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fingerprint([u8; 8]);

/// The routes of a connector as its commits name them.
#[derive(Debug)]
pub(super) struct Fingerprints {
    of: Vec<(Option<RouteIndex>, Fingerprint)>,
}

impl Fingerprints {
    /// Of a connector with these settings, secrets masked: whoever reads the group's offsets can try out what made a
    /// fingerprint.
    pub(super) fn new(masked: &RawConfig, routes: &[Route]) -> Self {
        let is_tuning = |key: &str| {
            // A route's own settings are named as the connector's.
            let of_route = key.strip_prefix("routes.").and_then(|rest| rest.split_once('.'));
            let key = of_route.map_or(key, |(_alias, key)| key);
            TUNING.iter().any(|prefix| key.starts_with(prefix))
        };
        let mut common = Sha256::new();
        for (key, value) in masked.iter().filter(|(key, _)| !is_tuning(key)) {
            add(&mut common, key);
            add(&mut common, value);
        }
        let of = |route: Option<RouteIndex>, words: [&str; 2]| {
            let mut digest = common.clone();
            words.iter().for_each(|word| add(&mut digest, word));
            let mut fingerprint = [0; 8];
            fingerprint
                .iter_mut()
                .zip(digest.finalize())
                .for_each(|(to, byte)| *to = byte);
            (route, Fingerprint(fingerprint))
        };
        let routes = routes
            .iter()
            .enumerate()
            .map(|(index, route)| of(Some(RouteIndex(index)), [&route.name, &route.destination]));
        // Dead letters of records that had no route yet.
        Self {
            of: routes.chain([of(None, ["", ""])]).collect(),
        }
    }

    fn of(&self, route: Option<RouteIndex>) -> Option<Fingerprint> {
        self.of.iter().find(|(of, _)| *of == route).map(|(_, found)| *found)
    }

    /// `None` for the index if it is a route of another configuration.
    fn route(&self, fingerprint: Fingerprint) -> Option<Option<RouteIndex>> {
        self.of
            .iter()
            .find(|(_, of)| *of == fingerprint)
            .map(|(route, _)| *route)
    }
}

/// A length before each word, so that two lists never look alike.
fn add(digest: &mut Sha256, word: &str) {
    digest.update((word.len() as u64).to_be_bytes());
    digest.update(word);
}

/// Of which log a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LogPosition {
    pub(super) topic_id: Uuid,
    /// A record before the end of the progress that has a later one was written after the log was cut.
    pub(super) leader_epoch: i32,
    /// The committed offset.
    pub(super) offset: i64,
}

/// At most `most` characters; empty if there is nothing to say. What does not fit is left out, the latest ranges first.
pub(super) fn write(progress: &Progress, position: LogPosition, fingerprints: &Fingerprints, most: usize) -> String {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(position.topic_id.as_bytes());
    bytes.extend_from_slice(&position.leader_epoch.to_be_bytes());
    bytes.extend_from_slice(&position.offset.to_be_bytes());
    let head = bytes.len();
    let room = most.min(TEXT_BYTES).saturating_sub(VERSION.len()) / 4 * 3;
    let mut left = progress.routes.len();
    for route in &progress.routes {
        // An equal share of what is left, for each.
        let share = room.saturating_sub(bytes.len()) / left.max(1);
        left -= 1;
        let Some(Fingerprint(fingerprint)) = fingerprints.of(route.route) else {
            continue;
        };
        let (ranges, count) = ranges(
            &route.done,
            position.offset,
            share.saturating_sub(fingerprint.len() + 2),
        );
        if count > 0 {
            bytes.extend_from_slice(&fingerprint);
            put_varint(&mut bytes, count);
            bytes.extend_from_slice(&ranges);
        }
    }
    if bytes.len() == head {
        return String::new();
    }
    let mut text = VERSION.to_owned();
    BASE64.encode_string(&bytes, &mut text);
    text
}

/// The first of these ranges that fit into so many bytes, and how many they are.
fn ranges(done: &[Range<i64>], start: i64, most: usize) -> (Vec<u8>, u64) {
    let (mut bytes, mut count, mut end) = (Vec::new(), 0, start);
    for range in done {
        let before = bytes.len();
        let (Ok(gap), Ok(length)) = (
            u64::try_from(range.start.saturating_sub(end)),
            u64::try_from(range.end.saturating_sub(range.start)),
        ) else {
            break;
        };
        put_varint(&mut bytes, gap);
        put_varint(&mut bytes, length);
        if bytes.len() > most {
            bytes.truncate(before);
            break;
        }
        (count, end) = (count + 1, range.end);
    }
    (bytes, count)
}

/// What a group has committed for a partition of this topic says about the routes, and up to which leader epoch it
/// holds. `None` if it says nothing that can be used.
pub(super) fn read(
    committed: &Committed,
    topic_id: Option<Uuid>,
    fingerprints: &Fingerprints,
) -> Option<(Progress, i32)> {
    let text = committed.metadata.strip_prefix(VERSION)?;
    if committed.metadata.len() > TEXT_BYTES {
        return None;
    }
    let bytes = BASE64.decode(text).ok()?;
    let mut bytes = bytes.as_slice();
    let of = LogPosition {
        topic_id: Uuid::from_bytes(take(&mut bytes)?),
        leader_epoch: i32::from_be_bytes(take(&mut bytes)?),
        offset: i64::from_be_bytes(take(&mut bytes)?),
    };
    if Some(of.topic_id) != topic_id || of.offset != committed.offset || of.leader_epoch < 0 {
        return None;
    }
    let mut progress = Progress::default();
    while !bytes.is_empty() {
        let fingerprint = Fingerprint(take(&mut bytes)?);
        let count = take_varint(&mut bytes)?;
        let mut done = Vec::new();
        let mut end = of.offset;
        for _ in 0..count {
            let start = end.checked_add_unsigned(take_varint(&mut bytes)?)?;
            end = start.checked_add_unsigned(take_varint(&mut bytes)?)?;
            done.push(start..end);
        }
        if let Some(route) = fingerprints.route(fingerprint)
            && !done.is_empty()
        {
            progress.routes.push(RouteProgress { route, done });
        }
    }
    (!progress.routes.is_empty()).then_some((progress, of.leader_epoch))
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*taken)
}

/// LEB128, as in Kafka's records.
fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    loop {
        // Seven bits always fit.
        let low = u8::try_from(value & 0x7f).unwrap_or_default();
        value >>= 7;
        if value == 0 {
            return bytes.push(low);
        }
        bytes.push(low | 0x80);
    }
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let [byte] = take(bytes)?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Leader epoch of what a partition's reader has handed over, as its commits see it.
#[derive(Debug, Clone, Default)]
pub(super) struct HandedOver(Arc<Mutex<Option<(u64, i32)>>>);

impl HandedOver {
    /// So far, in this assignment. `None`: not known.
    pub(super) fn note(&self, assignment: u64, leader_epoch: Option<i32>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = leader_epoch.map(|epoch| (assignment, epoch));
    }

    /// Only of this assignment: the log of an earlier one may have been cut meanwhile.
    pub(super) fn leader_epoch(&self, assignment: u64) -> Option<i32> {
        let noted = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.filter(|(of, _)| *of == assignment).map(|(_, epoch)| epoch)
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "lists of ranges, some of one")]
mod tests {
    use std::time::Duration;

    use klamm_connect_api::delivery::{BatchScope, DeliverySettings, ErrorPolicy, Ordering, RetrySettings};
    use klamm_connect_api::sink::{LimitKey, LimitKeys};
    use proptest::prelude::*;

    use super::*;

    const TOPIC: Uuid = Uuid::from_u128(0x0123_4567_89ab_cdef_0011_2233_4455_6677);

    fn route(name: &str, destination: &str) -> Route {
        Route {
            name: name.into(),
            destination: destination.into(),
            resource: destination.into(),
            limits: LimitKeys {
                function: LimitKey::new("function"),
                account: LimitKey::new("account"),
            },
            delivery: DeliverySettings {
                ordering: Ordering::None,
                batch_records: 1,
                batch_bytes: 1_000,
                batch_scope: BatchScope::Partition,
                linger: Duration::ZERO,
                max_in_flight: 1,
                call_timeout: Duration::from_secs(1),
                bisect: true,
                record_max_age: None,
                error_policy: ErrorPolicy::Fail,
                is_required: true,
                retry: RetrySettings {
                    max_attempts: 1,
                    timeout: None,
                    backoff: Duration::ZERO,
                    backoff_max: Duration::ZERO,
                },
            },
        }
    }

    fn config(settings: &[(&str, &str)]) -> RawConfig {
        settings
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn fingerprints(settings: &[(&str, &str)]) -> Fingerprints {
        let routes = [route("orders", "order-fn"), route("audit", "audit-fn")];
        Fingerprints::new(&config(settings), &routes)
    }

    fn committed(offset: i64, metadata: String) -> Committed {
        Committed {
            offset,
            leader_epoch: Some(1),
            metadata,
        }
    }

    fn at(offset: i64) -> LogPosition {
        LogPosition {
            topic_id: TOPIC,
            leader_epoch: 4,
            offset,
        }
    }

    fn progress(routes: &[(Option<usize>, &[Range<i64>])]) -> Progress {
        Progress {
            routes: routes
                .iter()
                .map(|(route, done)| RouteProgress {
                    route: route.map(RouteIndex),
                    done: done.to_vec(),
                })
                .collect(),
        }
    }

    fn any_progress() -> impl Strategy<Value = Progress> {
        let ranges = |most| prop::collection::vec((0..i64::from(u32::MAX), 1..1_000_000_i64), 1..most);
        let lists = prop::collection::vec(prop_oneof![9 => ranges(50).boxed(), 1 => ranges(2_048).boxed()], 0..=3);
        lists.prop_map(|lists| {
            let routes = [Some(0), Some(1), None];
            let done = |gaps: Vec<(i64, i64)>| {
                let mut end = 1_000;
                gaps.into_iter()
                    .map(|(gap, length)| {
                        let start = end + gap + 1;
                        end = start + length;
                        start..end
                    })
                    .collect::<Vec<_>>()
            };
            let lists: Vec<_> = lists.into_iter().map(done).collect();
            let routes: Vec<_> = routes.into_iter().zip(lists.iter().map(Vec::as_slice)).collect();
            progress(&routes)
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_fits(progress in any_progress()) {
            let fingerprints = fingerprints(&[]);
            let text = write(&progress, at(1_000), &fingerprints, TEXT_BYTES);
            prop_assert!(text.len() <= TEXT_BYTES);
            let ranges: usize = progress.routes.iter().map(|route| route.done.len()).sum();
            match read(&committed(1_000, text.clone()), Some(TOPIC), &fingerprints) {
                None => prop_assert_eq!(ranges, 0),
                Some((read, epoch)) => {
                    prop_assert_eq!(epoch, 4);
                    prop_assert_eq!(read.routes.len(), progress.routes.len());
                    for (read, written) in read.routes.iter().zip(&progress.routes) {
                        prop_assert_eq!(read.route, written.route);
                        prop_assert!(written.done.starts_with(&read.done), "the first ones are kept");
                    }
                    let kept: usize = read.routes.iter().map(|route| route.done.len()).sum();
                    prop_assert!(kept == ranges || text.len() > TEXT_BYTES * 2 / 3 / progress.routes.len(), "{} of {}", kept, ranges);
                }
            }
        }

        #[test]
        fn damaged_text_is_never_a_panic(progress in any_progress(), at_byte in any::<prop::sample::Index>(), byte in any::<u8>(), noise in "k1:[A-Za-z0-9+/]{0,200}") {
            let fingerprints = fingerprints(&[]);
            let mut text = write(&progress, at(1_000), &fingerprints, TEXT_BYTES).into_bytes();
            if !text.is_empty() {
                let at_byte = at_byte.index(text.len());
                text[at_byte] = byte;
            }
            for text in [String::from_utf8_lossy(&text).into_owned(), noise] {
                if let Some((read, _)) = read(&committed(1_000, text), Some(TOPIC), &fingerprints) {
                    let ranges = read.routes.iter().flat_map(|route| &route.done);
                    prop_assert!(ranges.clone().all(|range| range.start >= 1_000));
                    prop_assert!(ranges.count() <= TEXT_BYTES);
                }
            }
        }
    }

    #[test]
    fn it_counts_for_this_topic_offset_and_configuration_only() {
        let settings = [
            ("transforms", "drop"),
            ("transforms.drop.type", "Filter"),
            ("delivery.batch.size", "20"),
            ("routes.audit.delivery.linger.ms", "5"),
        ];
        let changed = |key: &str, value: &str| {
            let mut changed = config(&settings);
            changed.insert(key.to_owned(), value.to_owned());
            let routes = [route("orders", "order-fn"), route("audit", "audit-fn")];
            Fingerprints::new(&changed, &routes)
        };
        let own = fingerprints(&settings);
        let all = progress(&[
            (Some(0), &[12..14, 20..21][..]),
            (Some(1), &[11..12]),
            (None, &[13..14]),
        ]);
        let text = write(&all, at(10), &own, TEXT_BYTES);
        let read_by = |offset, topic, by: &Fingerprints| read(&committed(offset, text.clone()), topic, by);
        assert_eq!(read_by(10, Some(TOPIC), &own), Some((all.clone(), 4)));
        assert_eq!(read_by(11, Some(TOPIC), &own), None);
        assert_eq!(read_by(10, Some(Uuid::from_u128(1)), &own), None);
        assert_eq!(read_by(10, None, &own), None);
        assert_eq!(write(&all, at(10), &own, 40), "");
        for (key, value) in [
            ("delivery.batch.size", "100"),
            ("routes.audit.delivery.linger.ms", "50"),
            ("consumer.override.fetch.min.bytes", "7"),
        ] {
            assert_eq!(
                read_by(10, Some(TOPIC), &changed(key, value)),
                Some((all.clone(), 4)),
                "{key}"
            );
        }
        for key in [
            "transforms.drop.type",
            "routes.delivery.topics",
            "transforms.delivery.type",
        ] {
            assert_eq!(read_by(10, Some(TOPIC), &changed(key, "Drop")), None, "{key}");
        }
        let routes = [route("audit", "audit-fn"), route("orders", "other-fn")];
        let moved = Fingerprints::new(&config(&settings), &routes);
        let moved_progress = progress(&[(Some(0), &[11..12][..]), (None, &[13..14])]);
        assert_eq!(
            read_by(10, Some(TOPIC), &moved),
            Some((moved_progress, 4)),
            "what is another route now is left out"
        );
    }

    #[test]
    fn the_epoch_of_an_earlier_assignment_is_not_told() {
        let handed_over = HandedOver::default();
        handed_over.note(7, Some(3));
        assert_eq!(handed_over.leader_epoch(7), Some(3));
        assert_eq!(handed_over.leader_epoch(6), None);
        handed_over.note(7, None);
        assert_eq!(handed_over.leader_epoch(7), None);
    }
}
