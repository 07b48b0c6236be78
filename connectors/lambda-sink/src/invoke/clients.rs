//! The clients of a process: sinks that call the same endpoint share one.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::SystemTime;

use klamm_aws::{CredentialsCache, CredentialsPlan, HttpClient, ObjectStore, Signer};

use super::Invoke;
use super::client::LambdaClient;
use crate::claim::{self, ClaimPlan};
use crate::config::RoutePlan;

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

    /// The store of a route's claim check.
    pub(crate) fn store(&self, plan: &RoutePlan, claim: &ClaimPlan) -> ObjectStore {
        ObjectStore::new(&claim.place, &plan.credentials, &self.http, self.clock, claim::KEYS)
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
            signer: Signer::lambda(&plan.region),
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

#[cfg(test)]
mod tests {
    use klamm_aws::Environment;
    use klamm_connect_api::RawConfig;

    use super::*;
    use crate::config::{Plan, definition};

    type Pairs<'a> = &'a [(&'a str, &'a str)];

    fn routes(entries: Pairs<'_>) -> Vec<RoutePlan> {
        let mut raw: RawConfig = [
            ("routes", "a"),
            ("routes.a.topics", "t"),
            ("routes.a.function", "f"),
            ("aws.lambda.region", "eu-west-1"),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
        raw.extend(
            entries
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
        );
        let parsed = definition(&raw).parse(&raw).unwrap();
        let environment = Environment::new([("", ""); 0], || SystemTime::UNIX_EPOCH);
        Plan::try_new(&raw, &parsed, &environment).unwrap().routes
    }

    #[test]
    fn routes_share_a_client_only_if_endpoint_region_and_credentials_agree() {
        let clients = Clients::new(|| SystemTime::UNIX_EPOCH);
        let first = clients.client(&routes(&[])[0]);
        let cases: [(Pairs<'_>, bool, &str); 4] = [
            (&[("routes.a.function", "g")], true, "another function"),
            (&[("aws.lambda.region", "eu-west-2")], false, "another region"),
            (&[("aws.lambda.endpoint", "http://e")], false, "another endpoint"),
            (
                &[("aws.access.key.id", "a"), ("aws.secret.access.key", "b")],
                false,
                "other credentials",
            ),
        ];
        for (entries, shared, why) in cases {
            let other = clients.client(&routes(entries)[0]);
            assert_eq!(Arc::ptr_eq(&first, &other), shared, "{why}");
        }
    }

    #[test]
    fn a_client_that_no_sink_uses_is_forgotten() {
        let clients = Clients::new(|| SystemTime::UNIX_EPOCH);
        for _ in 0..10 {
            let _client = clients.client(&routes(&[])[0]);
        }
        assert_eq!(clients.known.lock().unwrap().len(), 1);
    }
}
