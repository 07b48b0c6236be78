//! When a destination takes no calls, and when it takes them again.

use std::sync::Arc;
use std::time::Duration;

use klamm_connect_api::sink::Failure;
use tracing::{info, warn};

use super::Actor;
use crate::engine::UNUSABLE_FOR;
use crate::event::EngineEvent;
use crate::route::{Cause, OUTAGE_LOG};
use crate::status::Outage;

impl Actor {
    /// The destination takes no calls.
    pub(super) fn begin_outage(&mut self, route: usize, outage: Outage, failure: &Failure) {
        let state = &mut self.routes[route];
        let same = |other: &Outage| std::mem::discriminant(other) == std::mem::discriminant(&outage);
        let since = match &state.outage {
            Some((before, since)) if same(before) => *since,
            _ => self.now,
        };
        self.shared.routes[route].set_outage(Some((outage.clone(), since, failure.clone())));
        if state.outage.replace((outage, since)).is_none() {
            self.shared.outages.send_modify(|outages| *outages += 1);
        }
        self.tell_of_outage(route);
        if self.routes.iter().all(crate::route::RouteState::is_unusable) {
            if !self.is_unusable_announced {
                self.all_unusable_at.get_or_insert(self.now + UNUSABLE_FOR);
            }
        } else {
            self.all_unusable_at = None;
        }
    }

    /// Writes the line about an outage if it is time for one: at its start and again while it lasts.
    pub(super) fn tell_of_outage(&mut self, route: usize) {
        let state = &mut self.routes[route];
        let Some((outage, since)) = &state.outage else { return };
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
            state = outage.name(),
            waited_ms,
            "the destination takes nothing now, delivery to it waits"
        );
        state.outage_told = Some(self.now);
        state.is_outage_told = true;
    }

    /// The destination has run: what waits for it goes at once.
    pub(super) fn recover(&mut self, route: usize) {
        let state = &mut self.routes[route];
        let Some((outage, since)) = state.outage.take() else {
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
                state = outage.name(),
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
        let since = |route: &usize| self.routes[*route].outage.as_ref().map(|(_, since)| *since);
        let longest = (0..self.routes.len())
            .filter(|route| since(route).is_some())
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
