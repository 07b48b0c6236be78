//! What is counted of the records that are handed over.

use klamm_delivery::Delivery;

/// The fates of the records of a chunk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) read: u64,
    /// Dropped by a transform or by the routes, as configured.
    pub(crate) filtered: u64,
    /// Failed and skipped, as tolerated.
    pub(crate) skipped: u64,
}

impl Tally {
    /// What is to be counted of a chunk: its records from `counted_to` on. `skipped` are the offsets of those that failed.
    pub(crate) fn of(deliveries: &[Delivery], skipped: &[i64], counted_to: i64) -> Self {
        let mut tally = Self::default();
        for delivery in deliveries
            .iter()
            .filter(|delivery| delivery.origin.offset >= counted_to)
        {
            tally.read += 1;
            tally.filtered += u64::from(delivery.routes.is_empty() && delivery.dead_letter.is_none());
        }
        for _ in skipped.iter().filter(|offset| **offset >= counted_to) {
            tally.skipped += 1;
            tally.filtered = tally.filtered.saturating_sub(1);
        }
        tally
    }
}

#[cfg(test)]
mod tests {
    use klamm_connect_api::sink::RouteIndex;
    use klamm_connect_api::{Origin, TopicPartition};
    use klamm_delivery::Destinations;

    use super::super::counters::Counters;
    use super::*;

    /// Every third record is filtered, and so is every one that is skipped as far as delivery knows.
    fn deliveries(offsets: std::ops::Range<i64>, skipped: &[i64]) -> Vec<Delivery> {
        let delivery = |offset: i64| Delivery {
            origin: Origin {
                topic_partition: TopicPartition::new("t", 0),
                offset,
            },
            timestamp: None,
            key_hash: None,
            routes: if offset % 3 == 0 || skipped.contains(&offset) {
                Destinations::new()
            } else {
                Destinations::from_iter([(RouteIndex(0), Vec::new().into())])
            },
            original: None,
            dead_letter: None,
        };
        offsets.map(delivery).collect()
    }

    // A partition that stood still gave back what waited there, and all of that was counted again when it was read again.
    #[test]
    fn what_is_read_again_is_counted_once() {
        let counters = Counters::default();
        let mut counted_to = i64::MIN;
        // 0 to 5, then back to 4, twice.
        for (offsets, skipped) in [(0..6, vec![1, 5]), (4..8, vec![5]), (4..10, vec![5, 8])] {
            let chunk = deliveries(offsets.clone(), &skipped);
            counters.add(Tally::of(&chunk, &skipped, counted_to));
            counted_to = counted_to.max(offsets.end);
        }
        assert_eq!(
            counters.totals(),
            (10, 4, 3),
            "of 0 to 9: 0, 3, 6, 9 are filtered, 1, 5, 8 skipped"
        );
    }
}
