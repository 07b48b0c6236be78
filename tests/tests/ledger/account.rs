//! What functions were given, offset by offset, in the order in which they were first given it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use klamm_dev::Answer;
use serde::Deserialize;

pub type Position = (i32, i64);

/// A record of the load, as it stands in a payload of Confluent's format.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Given {
    pub partition: i32,
    pub offset: i64,
    pub value: Load,
}

/// Value of a record of the load.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Load {
    pub key: u64,
    /// The function fails with it, whenever it comes.
    #[serde(default)]
    pub poison: bool,
}

/// All records of a call.
pub fn records(body: &[u8]) -> Vec<Given> {
    #[derive(Deserialize)]
    struct Element {
        payload: Given,
    }
    let elements: Vec<Element> = serde_json::from_slice(body).unwrap();
    elements.into_iter().map(|element| element.payload).collect()
}

/// Shared by the function's script and the test.
#[derive(Debug, Default)]
pub struct Account(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// How often each record was accepted.
    accepted: BTreeMap<Position, u32>,
    /// The largest offset of each key that was accepted.
    newest: HashMap<(i32, u64), i64>,
    disorders: Vec<String>,
    /// Records of calls whose answer came after the caller had gone.
    too_late: u64,
}

/// The sum of it.
#[derive(Debug, Clone, Copy)]
pub struct Totals {
    pub accepted: usize,
    pub duplicates: u64,
    pub too_late: u64,
}

impl Account {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The function has done its work for these records, whether or not the answer arrives.
    pub fn accept(&self, records: &[Given], is_too_late: bool) {
        let mut state = self.state();
        for record in records {
            let position = (record.partition, record.offset);
            let times = state.accepted.entry(position).or_default();
            *times += 1;
            if *times == 1 {
                let newest = state.newest.entry((record.partition, record.value.key)).or_insert(-1);
                let before = std::mem::replace(newest, record.offset.max(*newest));
                if before > record.offset {
                    let what = format!("{position:?} of key {} came after {before}", record.value.key);
                    state.disorders.push(what);
                }
            }
        }
        if is_too_late {
            state.too_late += records.len() as u64;
        }
    }

    pub fn totals(&self) -> Totals {
        let state = self.state();
        Totals {
            accepted: state.accepted.len(),
            duplicates: state.accepted.values().map(|times| u64::from(*times) - 1).sum(),
            too_late: state.too_late,
        }
    }

    /// How many records were accepted.
    pub fn accepted(&self) -> usize {
        self.state().accepted.len()
    }

    /// Offsets below these ends that no function has accepted.
    pub fn missing(&self, ends: &[i64]) -> BTreeSet<Position> {
        let state = self.state();
        let all = (0..)
            .zip(ends)
            .flat_map(|(partition, end)| (0..*end).map(move |offset| (partition, offset)));
        all.filter(|position| !state.accepted.contains_key(position)).collect()
    }

    /// Records of a key that were first accepted after a later one.
    pub fn disorders(&self) -> Vec<String> {
        self.state().disorders.clone()
    }
}

/// Shares of faults in percent, spread by a hash of the call's number, so that a run can be repeated.
pub fn fault(call: u64, late: std::time::Duration) -> Option<(Answer, bool)> {
    use klamm_dev::{Exception, ThrottleReason};
    let spread = (call.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % 100;
    let throttled = ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded;
    Some(match spread {
        0..5 => (Answer::throttled(throttled, None), false),
        5..7 => (Answer::exception(Exception::ServiceException), false),
        7..9 => (Answer::function_error("ValueError", "by chance"), false),
        9 => (Answer::reset(), false),
        // The function runs on and succeeds, but the caller has gone.
        10 => (Answer::success("null").after(late), true),
        _ => return None,
    })
}
