//! Events: calls that nobody waits for, with their queue and their retries.
//!
//! As in Lambda, a function error is tried again twice, an event that waits longer than its greatest age is given up, and
//! nothing promises an order.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::environment::Request;
use super::function::{Function, Version};
use super::happening::{CallOutcome, Happening};
use super::runner::{Attempt, Runner};
use crate::api::InvocationType;

/// A place in the queue.
#[derive(Debug)]
pub(super) struct Place {
    _count: OwnedSemaphorePermit,
    _bytes: Option<OwnedSemaphorePermit>,
}

impl Place {
    /// A place for a payload of this size, unless the queue is full.
    pub(super) fn take(runner: &Runner, bytes: usize) -> Option<Self> {
        let count = Arc::clone(&runner.queue).try_acquire_owned().ok()?;
        let bytes = u32::try_from(bytes).ok()?;
        Some(Self {
            _bytes: Some(Arc::clone(&runner.queue_bytes).try_acquire_many_owned(bytes).ok()?),
            _count: count,
        })
    }
}

/// Brings an event to its function, or gives it up.
pub(super) async fn deliver(
    runner: Arc<Runner>,
    function: Arc<Function>,
    version: Arc<Version>,
    request: Request,
    place: Place,
) {
    let result = attempts(&runner, &function, &version, &request).await;
    drop(place);
    if let Err(reason) = result {
        runner.watcher.tell(&Happening::EventDropped {
            function: Arc::clone(&function.name),
            request_id: request.request_id,
            reason,
        });
    }
}

async fn attempts(
    runner: &Arc<Runner>,
    function: &Function,
    version: &Arc<Version>,
    request: &Request,
) -> Result<(), &'static str> {
    if function.is_switched_off() {
        return Err("its reserved concurrency is 0");
    }
    let too_old = Instant::now() + function.config.event_max_age;
    let mut delay = function.config.event_retry_delay;
    for number in 1.. {
        // First come, first served, for events among themselves.
        let slots = async {
            let of_events = Arc::clone(&function.event_slots).acquire_owned().await.ok();
            let of_all = Arc::clone(&function.slots).acquire_owned().await.ok();
            (of_events, of_all)
        };
        let hold = tokio::time::timeout_at(too_old, slots)
            .await
            .map_err(|_elapsed| "it is older than its greatest age")?;
        let attempt = Attempt {
            invocation_type: InvocationType::Event,
            number,
        };
        let ended = runner.run(version, request.clone(), attempt, hold).await;
        match ended.map(|ended| ended.outcome) {
            Ok(CallOutcome::Success(_)) => return Ok(()),
            Ok(CallOutcome::FunctionError(_)) => {}
            // Everything ends.
            Err(_) => return Ok(()),
        }
        if number > function.config.event_retries {
            break;
        }
        if Instant::now() + delay >= too_old {
            return Err("it is older than its greatest age");
        }
        runner.watcher.tell(&Happening::EventRetry {
            function: Arc::clone(&function.name),
            request_id: Arc::clone(&request.request_id),
            attempt: number + 1,
            delay,
        });
        tokio::time::sleep(delay).await;
        delay *= 2;
    }
    Err("its function failed and no attempt is left")
}
