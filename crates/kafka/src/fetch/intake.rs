//! One open reader, as the pool sees it: position, demand, and the one section that waits.

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;
use tokio::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::session::Shared;
use super::{FetchError, FetchedSection, StartPosition};
use crate::client::lock;
use crate::{AssignmentEpoch, FetchSettings, OffsetReset, OffsetSpec, TopicPartition};

/// Where to read next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    At(i64),
    /// To be asked from the leader.
    Unresolved(OffsetSpec),
}

/// One open reader. The reader takes from it, router and sessions put into it.
#[derive(Debug)]
pub(super) struct Intake {
    pub(super) partition: TopicPartition,
    pub(super) reset: OffsetReset,
    pub(super) settings: Arc<FetchSettings>,
    pub(super) epoch: AssignmentEpoch,
    /// Wakes the reader.
    pub(super) arrived: Notify,
    /// Wakes a route that waits after a failure.
    pub(super) retry: Notify,
    pub(super) closed: CancellationToken,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    /// Where the next fetch starts: behind the section that waits.
    pub(super) position: Position,
    /// Leader epoch of the record before the position; without it there is nothing to check the log against.
    pub(super) last_epoch: Option<i32>,
    /// Grows whenever answers on their way become stale.
    pub(super) ticket: u64,
    pub(super) topic_id: Option<Uuid>,
    /// The leader epoch whose log the position was checked against; −1 before the first, as the protocol writes it.
    pub(super) leader_epoch: i32,
    /// A replica nearby, and until when the leader's advice holds (KIP-392).
    pub(super) preferred: Option<(i32, Instant)>,
    /// Errors in a row; says how long the next route waits.
    pub(super) errors: u32,
    pub(super) ready: Option<Box<Ready>>,
    pub(super) failure: Option<FetchError>,
    pub(super) is_paused: bool,
    /// A section was thrown away for want of memory: fetch again only when the reader asks.
    pub(super) is_shelved: bool,
    /// Its data may be waiting at the broker: the next request for it need not wait for any.
    pub(super) is_urgent: bool,
    pub(super) watermarks: Option<(i64, i64)>,
    pub(super) home: Option<Home>,
}

/// The section that waits for the reader.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) section: FetchedSection,
    pub(super) since: Instant,
    /// Leader epoch of the record before the section.
    pub(super) epoch_before: Option<i32>,
}

/// The session that fetches for a reader.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) session: Arc<Shared>,
    /// The session was told already that something changed here, and has not looked yet.
    pub(super) is_noted: bool,
}

impl State {
    /// Where to fetch, if there is room for a section.
    pub(super) fn wants(&self) -> Option<i64> {
        let has_room = !self.is_paused && !self.is_shelved && self.ready.is_none() && self.failure.is_none();
        match self.position {
            Position::At(offset) if has_room => Some(offset),
            Position::At(_) | Position::Unresolved(_) => None,
        }
    }

    /// Goes on elsewhere; answers on their way count no more.
    pub(super) fn go_to(&mut self, position: Position, last_epoch: Option<i32>) {
        self.position = position;
        self.last_epoch = last_epoch;
        self.ticket += 1;
        self.is_urgent = true;
    }

    /// Throws the waiting section away: what the reader has not got is fetched again.
    pub(super) fn take_back(&mut self) {
        if let Some(ready) = self.ready.take()
            && self.position == Position::At(ready.section.next_offset())
        {
            self.go_to(Position::At(ready.section.start_offset()), ready.epoch_before);
        }
    }
}

impl Intake {
    pub(super) fn new(request: &super::PartitionRequest) -> Self {
        let (position, last_epoch) = match request.start {
            StartPosition::Offset(offset) => (Position::At(offset), None),
            StartPosition::Committed { offset, leader_epoch } => (Position::At(offset), leader_epoch),
            StartPosition::Earliest => (Position::Unresolved(OffsetSpec::Earliest), None),
            StartPosition::Latest => (Position::Unresolved(OffsetSpec::Latest), None),
        };
        Self {
            partition: TopicPartition::new(Arc::clone(&request.topic), request.partition),
            reset: request.reset,
            settings: Arc::clone(&request.settings),
            epoch: request.epoch,
            arrived: Notify::new(),
            retry: Notify::new(),
            closed: CancellationToken::new(),
            state: Mutex::new(State {
                position,
                last_epoch,
                ticket: 0,
                topic_id: request.topic_id,
                leader_epoch: -1,
                preferred: None,
                errors: 0,
                ready: None,
                failure: None,
                is_paused: false,
                is_shelved: false,
                is_urgent: true,
                watermarks: None,
                home: None,
            }),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// What the reader gets next, if it is there. Taking makes room.
    pub(super) fn take(&self) -> Option<Result<FetchedSection, FetchError>> {
        if let Some(failure) = self.take_failure() {
            return Some(Err(failure));
        }
        let mut state = self.state();
        let taken = if state.is_paused {
            None
        } else {
            state.ready.take().map(|ready| Ok(ready.section))
        };
        if taken.is_none() && !state.is_shelved {
            return None;
        }
        state.is_shelved = false;
        self.wake(state);
        taken
    }

    /// An error that waits for the reader. Taking it lets the route try again.
    pub(super) fn take_failure(&self) -> Option<FetchError> {
        let mut state = self.state();
        let failure = state.failure.take()?;
        state.is_shelved = false;
        self.retry.notify_one();
        self.wake(state);
        Some(failure)
    }

    /// Changes the state and tells the session.
    pub(super) fn update(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        self.wake(state);
    }

    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let Some(home) = &mut state.home else {
            return;
        };
        if !std::mem::replace(&mut home.is_noted, true) {
            let session = Arc::clone(&home.session);
            // The session looks at the state only after this.
            drop(state);
            session.changed(&self.partition);
        }
    }

    /// Hands an error to the reader.
    pub(super) fn fail(&self, failure: FetchError) {
        self.state().failure = Some(failure);
        self.arrived.notify_one();
    }

    /// Where the reader stands: at the waiting section, else where the next fetch starts.
    pub(super) fn position(&self) -> Option<i64> {
        let state = self.state();
        match (&state.ready, state.position) {
            (Some(ready), _) => Some(ready.section.start_offset()),
            (None, Position::At(offset)) => Some(offset),
            (None, Position::Unresolved(_)) => None,
        }
    }

    /// Lets a waiting section go of its response after a second, or when it is the last that needs it; and of its
    /// memory altogether when others starve for it. Whether one still waits.
    pub(super) fn sweep(&self, is_starving: bool) -> bool {
        const COPY_AFTER: Duration = Duration::from_secs(1);
        const SHELVE_AFTER: Duration = Duration::from_secs(5);
        let mut state = self.state();
        let Some(ready) = &mut state.ready else {
            return false;
        };
        if is_starving && ready.since.elapsed() >= SHELVE_AFTER {
            state.take_back();
            state.is_shelved = true;
            return false;
        }
        if ready.since.elapsed() >= COPY_AFTER || ready.section.is_mostly_alone() {
            ready.section.copy_out();
        }
        true
    }
}
