//! Which leader epoch a record was written in, for the commit of the offset behind it (KIP-320).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::StartPosition;
use crate::client::lock;

/// Epochs kept; more leader changes than this between a record's return and its commit leave the oldest unknown.
const KEPT: usize = 64;

/// Leader epochs of the records that a reader returned. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct LeaderEpochs {
    /// First offset of each run of records that were written in one epoch.
    runs: Arc<Mutex<VecDeque<(i64, i32)>>>,
}

impl LeaderEpochs {
    pub(super) fn starting(start: StartPosition) -> Self {
        let epochs = Self::default();
        if let StartPosition::Committed {
            offset,
            leader_epoch: Some(epoch),
        } = start
        {
            // Until a record is done, the same offset may be committed again.
            epochs.note(offset.saturating_sub(1), epoch);
        }
        epochs
    }

    /// The epoch to commit with `offset`: that of the last record before it. `None` if it is not known.
    pub fn before(&self, offset: i64) -> Option<i32> {
        let runs = lock(&self.runs);
        runs.iter()
            .rev()
            .find(|(first, _)| *first < offset)
            .map(|(_, epoch)| *epoch)
    }

    /// Records from `first` on were written in `epoch`.
    pub(super) fn note(&self, first: i64, epoch: i32) {
        let mut runs = lock(&self.runs);
        if runs.back().is_some_and(|(at, last)| *at <= first && *last == epoch) {
            return;
        }
        // What was read before a seek back or a truncation is read again.
        while runs.pop_back_if(|(at, _)| *at >= first).is_some() {}
        if runs.back().is_some_and(|(_, last)| *last == epoch) {
            return;
        }
        if runs.len() == KEPT {
            runs.pop_front();
        }
        runs.push_back((first, epoch));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_carries_the_epoch_of_the_record_before_it() {
        let epochs = LeaderEpochs::starting(StartPosition::Committed {
            offset: 10,
            leader_epoch: Some(3),
        });
        let cases = [
            // note (first offset, epoch), then (commit, wanted), why
            (None, &[(10, Some(3)), (9, None)][..], "as it was committed before"),
            (Some((10, 3)), &[(11, Some(3)), (10, Some(3))], "the same epoch goes on"),
            (
                Some((20, 5)),
                &[(20, Some(3)), (21, Some(5)), (99, Some(5))],
                "a new leader",
            ),
            (Some((30, 5)), &[(31, Some(5)), (20, Some(3))], "no new run"),
            (
                Some((15, 7)),
                &[(15, Some(3)), (16, Some(7)), (21, Some(7))],
                "what was read behind a truncation counts no more",
            ),
        ];
        for (noted, wanted, why) in cases {
            if let Some((first, epoch)) = noted {
                epochs.note(first, epoch);
            }
            for (offset, epoch) in wanted {
                assert_eq!(epochs.before(*offset), *epoch, "commit of {offset}: {why}");
            }
        }
        for epoch in 100..1_000 {
            epochs.note(i64::from(epoch), epoch);
        }
        assert_eq!(lock(&epochs.runs).len(), KEPT);
        assert_eq!(epochs.before(1_000), Some(999));
    }
}
