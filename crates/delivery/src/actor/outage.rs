//! What the breaker of a route means for the others: its status, its log lines, and what waited for it.

use std::sync::Arc;
use std::time::Duration;

use klamm_connect_api::sink::Failure;
use tracing::{info, warn};

use super::Actor;
use crate::breaker::{CallNumber, Open};
use crate::engine::UNUSABLE_FOR;
use crate::event::EngineEvent;
use crate::retry;
use crate::route::{Cause, OUTAGE_LOG, RouteState};
use crate::status::Outage;

/// A throttle that has let nothing pass for so long is no passing peak.
const LASTING: Duration = Duration::from_secs(30);

impl Actor {
    /// A call failed because of the destination. Says whether its breaker is open now.
    pub(super) fn note_outage(
        &mut self,
        route: usize,
        call: CallNumber,
        why: Outage,
        after: Option<Duration>,
        failure: &Failure,
    ) -> bool {
        let state = &mut self.routes[route];
        let was_open = state.breaker.is_open();
        let (settings, rng) = (&state.settings.retry, &mut self.rng);
        let backoff = |probes| retry::delay(settings, probes, after, rng);
        if !state.breaker.fail(call, self.next_call, why, backoff, self.now) {
            return false;
        }
        if let Some(Open { why, since, .. }) = state.breaker.open() {
            self.shared.routes[route].set_outage(Some((why.clone(), *since, failure.clone())));
        }
        if !was_open {
            self.shared.outages.send_modify(|outages| *outages += 1);
        }
        self.tell_of_outage(route);
        if self.is_all_unusable() {
            if !self.is_unusable_announced {
                self.all_unusable_at.get_or_insert(self.now + UNUSABLE_FOR);
            }
        } else {
            self.all_unusable_at = None;
            // What stands against it now may pass.
            if std::mem::take(&mut self.is_unusable_announced) {
                let route = Arc::clone(&self.routes[route].name);
                self.tell(EngineEvent::Usable { route });
            }
        }
        true
    }

    /// Nothing that has to be delivered can be.
    fn is_all_unusable(&self) -> bool {
        let is_usable = |route: &RouteState| route.settings.is_required && !route.breaker.is_unusable();
        self.routes.iter().any(|route| route.settings.is_required) && !self.routes.iter().any(is_usable)
    }

    /// A throttle that lasts and lets no call pass is shown as what it most likely is.
    pub(super) fn lasting_throttle(&self, route: usize, failure: Failure, lasting: Option<&'static str>) -> Failure {
        let has_lasted = self.routes[route]
            .breaker
            .open()
            .is_some_and(|open| matches!(open.why, Outage::Throttled(_)) && open.since + LASTING <= self.now);
        match lasting.filter(|_| has_lasted) {
            Some(lasting) => Failure {
                message: format!("{lasting}; {}", failure.message).into(),
                ..failure
            },
            None => failure,
        }
    }

    /// Writes the line about an outage if it is time for one: at its start and again while it lasts.
    pub(super) fn tell_of_outage(&mut self, route: usize) {
        let state = &mut self.routes[route];
        let Some(Open { why, since, .. }) = state.breaker.open() else {
            return;
        };
        if state.outage_told.is_some_and(|last| self.now < last + OUTAGE_LOG) {
            return;
        }
        let Some(failure) = self.shared.routes[route].failure() else {
            return;
        };
        let (connector, task) = (&*self.config.connector, self.config.task);
        let waited_ms = millis(self.now.saturating_duration_since(*since));
        warn!(
            connector,
            task,
            route = &*state.name,
            destination = &*state.destination,
            error = %failure,
            state = why.name(),
            waited_ms,
            "{}",
            if state.settings.is_required {
                "the destination takes nothing now, delivery to it waits"
            } else {
                "the destination takes nothing now, its records are skipped"
            }
        );
        state.outage_told = Some(self.now);
        state.is_outage_told = true;
    }

    /// The destination has run: what waits for it goes as soon as the limits let it.
    pub(super) fn recover(&mut self, route: usize) {
        let state = &mut self.routes[route];
        let Some(Open { why, since, .. }) = state.breaker.succeed() else {
            return;
        };
        self.shared.outages.send_modify(|outages| *outages -= 1);
        let mut waited: Vec<_> = state
            .waiting
            .extract_if(.., |_, waiting| waiting.cause == Cause::Destination)
            .map(|((_, number), waiting)| (number, waiting.part))
            .collect();
        waited.sort_unstable_by_key(|(number, _)| *number);
        state.ready.extend(waited.into_iter().map(|(_, mut part)| {
            part.delays = 0;
            part
        }));
        if std::mem::take(&mut state.is_outage_told) {
            let (connector, task) = (&*self.config.connector, self.config.task);
            let waited_ms = millis(self.now.saturating_duration_since(since));
            info!(
                connector,
                task,
                route = &*state.name,
                state = why.name(),
                waited_ms,
                "the destination takes calls again"
            );
        }
        let name = Arc::clone(&state.name);
        self.shared.routes[route].set_outage(None);
        self.all_unusable_at = None;
        if std::mem::take(&mut self.is_unusable_announced) {
            self.tell(EngineEvent::Usable { route: name });
        }
    }

    pub(super) fn announce_unusable(&mut self) {
        self.all_unusable_at = None;
        let since = |route: &usize| self.routes[*route].breaker.open().map(|open| open.since);
        let longest = (0..self.routes.len())
            .filter(|route| self.routes[*route].settings.is_required && since(route).is_some())
            .min_by_key(since);
        if let Some(route) = longest
            && let Some(failure) = self.shared.routes[route].failure()
        {
            self.is_unusable_announced = true;
            let route = Arc::clone(&self.routes[route].name);
            self.tell(EngineEvent::AllRoutesUnusable { route, failure });
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
