//! Whether a route's destination is called at all.
//!
//! Closed => Open: a call failed that was sent after another one had failed, and none succeeded meanwhile; at once if
//! the destination cannot be used. One failure alone is not an outage: a limit that adapts meets throttles all the time.
//! Open => Closed: any call succeeded. While it is open only probes go, one at a time, each at most [`PROBE`] after the
//! one before.

use std::time::Duration;

use tokio::time::Instant;

use crate::status::Outage;

/// At least one probe in this time while the destination is throttled or unreachable.
pub(crate) const PROBE: Duration = Duration::from_secs(5);
/// One probe in this time while it is unusable.
const SLOW_PROBE: Duration = Duration::from_secs(30);

/// Number of a call, in the order in which they are sent.
pub(crate) type CallNumber = u64;

/// The breaker of one route.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    /// After a failure that no success followed yet: calls from this one on were sent after it.
    failing_from: Option<CallNumber>,
    open: Option<Open>,
}

/// An outage.
#[derive(Debug, Clone)]
pub(crate) struct Open {
    pub(crate) why: Outage,
    pub(crate) since: Instant,
    /// The probe that is out.
    probe: Option<CallNumber>,
    probed_at: Instant,
    /// When the last probe's backoff ends; none while one is out.
    retry_at: Option<Instant>,
    failed_probes: u32,
}

impl Open {
    fn probe_at(&self) -> Instant {
        match self.why {
            Outage::Throttled(_) | Outage::Unreachable => {
                let latest = self.probed_at + PROBE;
                self.retry_at.map_or(latest, |retry_at| retry_at.min(latest))
            }
            Outage::Unusable => self.probed_at + SLOW_PROBE,
        }
    }
}

impl Breaker {
    pub(crate) fn open(&self) -> Option<&Open> {
        self.open.as_ref()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    pub(crate) fn is_unusable(&self) -> bool {
        matches!(
            self.open,
            Some(Open {
                why: Outage::Unusable,
                ..
            })
        )
    }

    /// When the next probe may go; none while it is closed.
    pub(crate) fn probe_at(&self) -> Option<Instant> {
        self.open.as_ref().map(Open::probe_at)
    }

    /// A call was sent; while it is open this is a probe.
    pub(crate) fn sent(&mut self, call: CallNumber, now: Instant) {
        if let Some(open) = &mut self.open {
            open.probe = Some(call);
            open.probed_at = now;
            open.retry_at = None;
        }
    }

    /// A call failed because of the destination. `next` is the number of the next call that will be sent, `backoff`
    /// the delay after so many probes that failed. Says whether it is open now.
    pub(crate) fn fail(
        &mut self,
        call: CallNumber,
        next: CallNumber,
        why: Outage,
        backoff: impl FnOnce(u32) -> Duration,
        now: Instant,
    ) -> bool {
        let Some(open) = &mut self.open else {
            let is_repeated = self.failing_from.is_some_and(|from| call >= from);
            if !is_repeated && !matches!(why, Outage::Unusable) {
                self.failing_from.get_or_insert(next);
                return false;
            }
            self.open = Some(Open {
                why,
                since: now,
                probe: None,
                probed_at: now,
                retry_at: Some(now + backoff(0)),
                failed_probes: 0,
            });
            return true;
        };
        if std::mem::discriminant(&open.why) != std::mem::discriminant(&why) {
            open.since = now;
        }
        open.why = why;
        if open.probe.take_if(|probe| *probe == call).is_some() {
            open.failed_probes = open.failed_probes.saturating_add(1);
            open.retry_at = Some(now + backoff(open.failed_probes));
        }
        true
    }

    /// A probe took all the time that a call has: the next one goes an interval after its end.
    pub(crate) fn rest(&mut self, now: Instant) {
        if let Some(open) = &mut self.open {
            open.probed_at = now;
            open.retry_at = None;
        }
    }

    /// A call succeeded. Answers with the outage that it ended.
    pub(crate) fn succeed(&mut self) -> Option<Open> {
        self.failing_from = None;
        self.open.take()
    }
}

#[cfg(test)]
mod tests {
    use klamm_connect_api::sink::ThrottleScope;

    use super::*;

    const THROTTLED: Outage = Outage::Throttled(ThrottleScope::Function);

    #[tokio::test(start_paused = true)]
    async fn it_opens_when_a_call_after_a_failure_fails_too() {
        let now = Instant::now();
        let fail = |breaker: &mut Breaker, call, next| breaker.fail(call, next, THROTTLED, |_| PROBE, now);
        let mut breaker = Breaker::default();
        assert!(!fail(&mut breaker, 3, 10), "one of many");
        assert!(!fail(&mut breaker, 9, 10), "they were all sent before");
        assert!(breaker.succeed().is_none());
        assert!(!fail(&mut breaker, 10, 12), "a success lies between");
        assert!(fail(&mut breaker, 12, 13), "sent after a failure, and failed");
        assert!(breaker.is_open() && !breaker.is_unusable());
        assert!(breaker.succeed().is_some());
        assert!(!breaker.is_open());
        assert!(breaker.fail(13, 14, Outage::Unusable, |_| PROBE, now), "at once");
        assert!(breaker.is_unusable());
    }

    #[tokio::test(start_paused = true)]
    async fn probes_back_off_up_to_their_interval() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let backoff = |probes: u32| Duration::from_millis(1_000) * (probes + 1);
        let mut breaker = Breaker::default();
        breaker.fail(0, 1, THROTTLED, backoff, start);
        breaker.fail(1, 2, THROTTLED, backoff, start);
        assert_eq!(breaker.probe_at(), Some(at(1_000)));
        breaker.sent(2, at(1_000));
        assert_eq!(
            breaker.probe_at(),
            Some(at(6_000)),
            "the next one though this one has no answer"
        );
        breaker.fail(0, 3, THROTTLED, backoff, at(1_200));
        assert_eq!(breaker.probe_at(), Some(at(6_000)), "an old call is no probe");
        breaker.fail(2, 3, THROTTLED, backoff, at(1_500));
        assert_eq!(breaker.probe_at(), Some(at(3_500)), "the second delay");
        breaker.sent(3, at(3_500));
        breaker.fail(3, 4, Outage::Unreachable, |_| Duration::from_secs(300), at(3_600));
        assert_eq!(breaker.probe_at(), Some(at(8_500)), "never later than the interval");
        assert_eq!(
            breaker.open().map(|open| open.since),
            Some(at(3_600)),
            "it is another outage"
        );
        breaker.sent(4, at(8_500));
        breaker.fail(4, 5, Outage::Unusable, backoff, at(8_600));
        assert_eq!(breaker.probe_at(), Some(at(38_500)), "slowly");
    }
}
