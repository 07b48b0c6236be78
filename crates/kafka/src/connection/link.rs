//! A connection that comes back: dialled when needed, again after it broke, with backoff.

use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

use super::{Connection, Dialer};
use crate::KafkaError;
use crate::backoff::Backoff;

/// A place for one connection. Users share it and the requests they send over it.
#[derive(Debug)]
pub(crate) struct Link {
    dialer: Dialer,
    // Held across the dialling on purpose: whoever else needs the connection waits for this attempt instead of
    // starting another.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    open: Option<(Arc<str>, Connection)>,
    backoff: Backoff,
    not_before: Option<Instant>,
}

impl Link {
    pub(crate) fn new(dialer: Dialer) -> Self {
        let backoff = Backoff::new(dialer.config.reconnect_backoff, dialer.config.reconnect_backoff_max);
        Self {
            dialer,
            state: Mutex::new(State {
                open: None,
                backoff,
                not_before: None,
            }),
        }
    }

    /// The open connection to `address`, else a new one after the current backoff.
    ///
    /// # Errors
    /// When this one attempt fails; the next call waits longer.
    ///
    /// # Cancel safety
    /// Safe: an attempt that nobody waits for is closed, and counts as one that failed.
    pub(crate) async fn get(&self, address: &Arc<str>) -> Result<Connection, KafkaError> {
        let mut state = self.state.lock().await;
        match &state.open {
            Some((to, connection)) if to == address && !connection.is_closed() => return Ok(connection.clone()),
            _ => state.open = None,
        }
        if let Some(not_before) = state.not_before {
            sleep_until(not_before).await;
        }
        let wait = state.backoff.next();
        // Also after an attempt that is given up half-way.
        state.not_before = Some(Instant::now() + wait);
        match self.dialer.dial(Arc::clone(address)).await {
            Ok(connection) => {
                state.backoff.reset();
                // A broker that accepts and hangs up at once must not be dialled in a tight loop either.
                state.not_before = Some(Instant::now() + self.dialer.config.reconnect_backoff);
                state.open = Some((Arc::clone(address), connection.clone()));
                Ok(connection)
            }
            Err(err) => {
                state.not_before = Some(Instant::now() + wait);
                Err(err)
            }
        }
    }
}
