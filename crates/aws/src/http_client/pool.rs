//! Connections that nobody uses now. There are never more than there were requests at once within the last minute.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use http::Uri;
use http::uri::{Authority, Scheme};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::connection::Connection;

/// Connections that are not used for this long are closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Where a connection leads to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Server(Scheme, Authority);

impl Server {
    pub(super) fn of(uri: &Uri) -> Option<Self> {
        Some(Self(uri.scheme()?.clone(), uri.authority()?.clone()))
    }
}

#[derive(Default)]
pub(super) struct Pool(Mutex<State>);

#[derive(Default)]
struct State {
    /// Those used last are last.
    idle: HashMap<Server, Vec<Idle>>,
    /// The task that closes what is idle for long; it ends when nothing is.
    closer: JoinSet<()>,
    has_closer: bool,
}

struct Idle {
    since: Instant,
    connection: Box<Connection>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl Pool {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that was used last: it is the least likely to be closed by the other side.
    pub(super) fn take(&self, server: &Server) -> Option<Box<Connection>> {
        let last = self.state().idle.get_mut(server)?.pop();
        last.map(|idle| idle.connection)
    }

    pub(super) fn put(self: &Arc<Self>, server: Server, connection: Box<Connection>) {
        let since = Instant::now();
        let mut state = self.state();
        state.idle.entry(server).or_default().push(Idle { since, connection });
        if !state.has_closer {
            state.has_closer = true;
            // The last one has ended, or is about to.
            while state.closer.try_join_next().is_some() {}
            state.closer.spawn(close_idle(Arc::downgrade(self)));
        }
    }

    /// Closes what was idle for long. Answers with when to come again, or with none when nothing is left: then the next
    /// connection brings a new closer.
    fn close_idle(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut state = self.state();
        let mut closed = Vec::new();
        state.idle.retain(|_, idle| {
            let expired = idle.partition_point(|idle| idle.since + IDLE_TIMEOUT <= now);
            closed.extend(idle.drain(..expired));
            !idle.is_empty()
        });
        let oldest = state.idle.values().filter_map(|idle| idle.first());
        let next = oldest.map(|oldest| oldest.since + IDLE_TIMEOUT).min();
        state.has_closer = next.is_some();
        drop(state);
        // Closing is a call into the kernel for each, so not under the lock.
        drop(closed);
        next
    }
}

async fn close_idle(pool: Weak<Pool>) {
    while let Some(next) = pool.upgrade().and_then(|pool| pool.close_idle()) {
        sleep_until(next).await;
    }
}
