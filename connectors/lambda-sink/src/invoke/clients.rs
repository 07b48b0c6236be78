//! The clients of a process: sinks that call the same endpoint share one.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::SystemTime;

use super::Invoke;
use super::client::LambdaClient;
use super::credentials::CredentialsCache;
use super::http_client::HttpClient;
use crate::config::{CredentialsPlan, RoutePlan};

/// Hands out clients. Holds on to none that no sink uses, so there are never more than routes.
pub(crate) struct Clients {
    http: Arc<HttpClient>,
    clock: fn() -> SystemTime,
    known: Mutex<Vec<(CredentialsPlan, Weak<LambdaClient>)>>,
}

impl Clients {
    pub(crate) fn new(clock: fn() -> SystemTime) -> Self {
        Self {
            http: Arc::new(HttpClient::new()),
            clock,
            known: Mutex::new(Vec::new()),
        }
    }

    /// The client for a route: that of another route with the same endpoint, region and credentials, if one lives.
    pub(crate) fn client(&self, plan: &RoutePlan) -> Arc<dyn Invoke> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(_, client)| client.strong_count() > 0);
        let shared = known
            .iter()
            .filter(|(credentials, _)| *credentials == plan.credentials)
            .find_map(|(_, client)| {
                client
                    .upgrade()
                    .filter(|client| client.endpoint == plan.endpoint && client.region == plan.region)
            });
        if let Some(client) = shared {
            return client;
        }
        let client = Arc::new(LambdaClient {
            http: Arc::clone(&self.http),
            endpoint: plan.endpoint.clone(),
            region: plan.region.clone(),
            credentials: CredentialsCache::new(&plan.credentials, &plan.region, &self.http, self.clock),
            clock: self.clock,
        });
        known.push((plan.credentials.clone(), Arc::downgrade(&client)));
        client
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").finish_non_exhaustive()
    }
}
