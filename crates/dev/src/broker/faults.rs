//! Faults that tests ask for: what goes wrong, at which request, how often.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::ApiKey;

use super::lock;

/// Faults that may wait at once.
const MAX_FAULTS: usize = 1_000;

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Error(ResponseError),
    Delay(Duration),
    Disconnect,
    LoseAnswer,
}

/// A fault to be injected into requests of one kind.
///
/// ```
/// use klamm_dev::broker::{ApiKey, Fault, ResponseError};
///
/// let fault = Fault::error(ApiKey::Produce, ResponseError::NotLeaderOrFollower).times(3).on(2);
/// ```
#[derive(Clone, Debug)]
pub struct Fault {
    api: ApiKey,
    effect: Effect,
    node: Option<i32>,
    times: u32,
}

impl Fault {
    /// The request is not carried out, and answered with this code wherever its response has room for one.
    pub fn error(api: ApiKey, error: ResponseError) -> Self {
        Self::new(api, Effect::Error(error))
    }

    /// The request waits for so long before it is carried out.
    pub fn delay(api: ApiKey, delay: Duration) -> Self {
        Self::new(api, Effect::Delay(delay))
    }

    /// The connection is closed, and the request not carried out.
    pub fn disconnect(api: ApiKey) -> Self {
        Self::new(api, Effect::Disconnect)
    }

    /// The request is carried out, and the connection closed instead of an answer.
    pub fn lose_answer(api: ApiKey) -> Self {
        Self::new(api, Effect::LoseAnswer)
    }

    fn new(api: ApiKey, effect: Effect) -> Self {
        Self {
            api,
            effect,
            node: None,
            times: 1,
        }
    }

    /// So often, instead of once.
    pub fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    /// At this virtual broker only.
    pub fn on(mut self, node: i32) -> Self {
        self.node = Some(node);
        self
    }
}

/// What is to be done with one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Injected {
    pub(crate) delay: Option<Duration>,
    pub(crate) error: Option<ResponseError>,
    pub(crate) disconnects: bool,
    pub(crate) loses_answer: bool,
}

/// The faults that still wait for their request.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<VecDeque<Fault>>);

impl Faults {
    /// The oldest goes if there are too many.
    pub(crate) fn add(&self, fault: Fault) {
        let mut faults = lock(&self.0);
        if faults.len() >= MAX_FAULTS {
            faults.pop_front();
        }
        faults.push_back(fault);
    }

    pub(crate) fn clear(&self) {
        lock(&self.0).clear();
    }

    /// How many requests have still to meet one.
    pub(crate) fn left(&self) -> u64 {
        lock(&self.0).iter().map(|fault| u64::from(fault.times)).sum()
    }

    /// What meets this request: the first fault of each sort that waits for its kind.
    pub(crate) fn take(&self, node: i32, api: ApiKey) -> Injected {
        let mut injected = Injected::default();
        let mut faults = lock(&self.0);
        if faults.is_empty() {
            return injected;
        }
        for fault in faults.iter_mut() {
            if fault.api != api || fault.node.is_some_and(|only| only != node) || fault.times == 0 {
                continue;
            }
            let takes = match fault.effect {
                Effect::Error(error) if injected.error.is_none() => {
                    injected.error = Some(error);
                    true
                }
                Effect::Delay(delay) if injected.delay.is_none() => {
                    injected.delay = Some(delay);
                    true
                }
                Effect::Disconnect if !injected.disconnects => {
                    injected.disconnects = true;
                    true
                }
                Effect::LoseAnswer if !injected.loses_answer => {
                    injected.loses_answer = true;
                    true
                }
                Effect::Error(_) | Effect::Delay(_) | Effect::Disconnect | Effect::LoseAnswer => false,
            };
            if takes {
                fault.times -= 1;
            }
        }
        faults.retain(|fault| fault.times > 0);
        injected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_meets_as_many_requests_of_its_kind_as_it_says() {
        let faults = Faults::default();
        faults.add(
            Fault::error(ApiKey::Produce, ResponseError::NotLeaderOrFollower)
                .times(2)
                .on(1),
        );
        faults.add(Fault::delay(ApiKey::Produce, Duration::from_millis(5)));
        assert_eq!(faults.take(1, ApiKey::Fetch), Injected::default());
        let first = faults.take(1, ApiKey::Produce);
        assert_eq!(first.error, Some(ResponseError::NotLeaderOrFollower));
        assert_eq!(first.delay, Some(Duration::from_millis(5)));
        assert_eq!(faults.take(2, ApiKey::Produce), Injected::default(), "another node");
        assert!(faults.take(1, ApiKey::Produce).error.is_some());
        assert_eq!(faults.take(1, ApiKey::Produce), Injected::default(), "used up");
        assert_eq!(faults.left(), 0);
    }
}
