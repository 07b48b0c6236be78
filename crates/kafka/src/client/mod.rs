//! A cluster as a whole: who leads what, who coordinates whom, and requests to the right broker.
//!
//! **Owns** the shared connections, the metadata and its refreshing. **Does not know** sessions or memberships.
//! **Invariants:** nothing here fails because Kafka is away, it waits; older metadata never replaces newer.

mod coordinator;
mod epochs;
mod health;
mod metadata;
mod offsets;
mod parking;
mod refresh;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use kafka_protocol::ResponseError;
use kafka_protocol::protocol::Request;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection::{Dialer, FRAME_SLACK_BYTES, Link};
use crate::error::is_denial;
use crate::security::Security;
use crate::{ClientConfig, KafkaError};

pub(crate) use coordinator::{CoordinatorOf, group_id};
pub(crate) use epochs::EpochEnd;
pub use health::ClusterHealth;
pub(crate) use health::chain;
pub use metadata::TopicInfo;
pub(crate) use metadata::{Leader, Metadata, host_port};
pub(crate) use offsets::CommittedOffsets;
pub(crate) use offsets::topic_name;
pub(crate) use refresh::TopicInterest;

/// How long a broker may keep silent before a question that any broker can answer goes to the next as well.
const SILENCE: Duration = Duration::from_secs(1);

/// The shortest wait between two attempts.
const LEAST_BACKOFF: Duration = Duration::from_millis(10);

/// Shared connections by address and purpose.
type Links = HashMap<(Arc<str>, Purpose), Arc<Link>>;

/// What a shared connection is for. A broker answers one request per connection at a time, so purposes do not mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    /// Metadata, FindCoordinator, ListOffsets and administration.
    Admin,
    /// OffsetCommit, which waits for replicas, OffsetFetch, LeaveGroup.
    Coordinator,
    /// Heartbeats of either protocol: sessions run on while others wait.
    Heartbeats,
    /// Produce, whose requests follow each other in the order of their sequence numbers.
    Produce,
}

/// A Kafka cluster. Made once per worker and cluster, and shared.
///
/// Connects when it is first needed, and again whenever a connection broke. All sockets and timers live on the runtime
/// given to [`KafkaClient::new`]; its methods may be awaited on any runtime with time enabled.
#[derive(Debug)]
pub struct KafkaClient {
    config: Arc<ClientConfig>,
    dialer: Dialer,
    links: Mutex<Links>,
    parking: parking::Parking,
    coordinators: coordinator::Coordinators,
    metadata: Metadata,
    refresh: refresh::Refresh,
    health: watch::Sender<ClusterHealth>,
}

impl KafkaClient {
    /// A client of the cluster that `config` names. Never fails and does not connect yet.
    pub fn new(mut config: ClientConfig, net: tokio::runtime::Handle) -> Arc<Self> {
        // Kafka's clients take 0, too, and then try again without a pause.
        for wait in [
            &mut config.retry_backoff,
            &mut config.retry_backoff_max,
            &mut config.reconnect_backoff,
            &mut config.reconnect_backoff_max,
        ] {
            *wait = (*wait).max(LEAST_BACKOFF);
        }
        let config = Arc::new(config);
        let client = Arc::new(Self {
            dialer: Dialer {
                security: Arc::new(Security::new(&config.security)),
                config: Arc::clone(&config),
                net: net.clone(),
                tasks: TaskTracker::new(),
                stop: CancellationToken::new(),
                max_frame: FRAME_SLACK_BYTES,
            },
            config,
            links: Mutex::default(),
            parking: parking::Parking::default(),
            coordinators: coordinator::Coordinators::default(),
            metadata: Metadata::default(),
            refresh: refresh::Refresh::default(),
            health: watch::Sender::new(ClusterHealth::Idle),
        });
        // The task holds the client weakly between rounds, so a forgotten client ends it too.
        client.spawn(refresh::run(Arc::downgrade(&client), client.dialer.stop.clone()));
        client
    }

    /// The settings.
    pub fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// Whether the cluster can be reached; changes as it comes and goes.
    pub fn health(&self) -> watch::Receiver<ClusterHealth> {
        self.health.subscribe()
    }

    /// Id of the cluster, once it has been reached.
    pub fn cluster_id(&self) -> Option<Arc<str>> {
        self.metadata.cluster_id()
    }

    /// What the cluster knows about `topic`, asked now; `None` if there is no such topic.
    ///
    /// # Errors
    /// [`KafkaError::ShutDown`], or a time-out after `default.api.timeout.ms` without any broker.
    pub async fn topic(&self, topic: &str) -> Result<Option<TopicInfo>, KafkaError> {
        let name: Arc<str> = topic.into();
        let _interest = self.interest([Arc::clone(&name)]);
        self.within(self.refreshed(), "Metadata").await??;
        Ok(self.metadata.topic(&name))
    }

    /// All topics of the cluster, asked now, by name.
    ///
    /// # Errors
    /// As [`KafkaClient::topic`].
    pub async fn topics(&self) -> Result<Vec<TopicInfo>, KafkaError> {
        let _interest = self.interest_in_all();
        self.within(self.refreshed(), "Metadata").await??;
        Ok(self.metadata.topics().to_vec())
    }

    /// Closes every connection and waits until all tasks of the client have ended.
    ///
    /// Members should have left and readers been dropped before: they end with the client.
    pub async fn shutdown(&self) {
        self.dialer.stop.cancel();
        self.dialer.tasks.close();
        self.dialer.tasks.wait().await;
    }

    /// Runs a task of the client on the net runtime; it must end when [`KafkaClient::stop`] is cancelled.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.dialer.tasks.spawn_on(task, &self.dialer.net);
    }

    /// Whether [`KafkaClient::shutdown`] was called, so that nothing of this client goes on.
    pub fn is_shut_down(&self) -> bool {
        self.stop().is_cancelled()
    }

    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.dialer.stop
    }

    pub(crate) fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// A connection of its own for one user, whose largest answer is `max_bytes` and what goes with it.
    pub(crate) fn own_link(&self, max_bytes: usize) -> Link {
        let mut dialer = self.dialer.clone();
        dialer.max_frame = dialer.max_frame.saturating_add(max_bytes);
        Link::new(dialer)
    }

    pub(crate) fn link(&self, address: &Arc<str>, purpose: Purpose) -> Arc<Link> {
        let mut links = lock(&self.links);
        let link = links.entry((Arc::clone(address), purpose));
        Arc::clone(link.or_insert_with(|| Arc::new(Link::new(self.dialer.clone()))))
    }

    /// One attempt at `address` over the shared connection of that purpose.
    pub(crate) async fn request_at<R: Request>(
        &self,
        address: &Arc<str>,
        purpose: Purpose,
        request: &R,
    ) -> Result<R::Response, KafkaError> {
        let connection = self.link(address, purpose).get(address).await?;
        connection.request(request, self.config.request_timeout).await
    }

    /// One attempt at broker `node`.
    pub(crate) async fn request_to<R: Request>(&self, node: i32, request: &R) -> Result<R::Response, KafkaError> {
        let address = self.metadata.broker(node).ok_or(KafkaError::UnknownBroker(node))?;
        self.request_at(&address, Purpose::Admin, request).await
    }

    /// One attempt at each broker that is known, until one answers. For questions only: while a broker keeps silent the
    /// next is asked as well, so that one which hangs does not hold everything up for `request.timeout.ms`.
    pub(crate) async fn request_any<R: Request>(&self, request: &R) -> Result<R::Response, KafkaError> {
        let mut candidates = self.metadata.candidates(&self.config.bootstrap_servers).into_iter();
        let mut attempts = FuturesUnordered::new();
        let mut last = KafkaError::ShutDown;
        loop {
            if let Some(address) = candidates.next() {
                attempts.push(async move {
                    let response = self.request_at(&address, Purpose::Admin, request).await;
                    (address, response)
                });
            } else if attempts.is_empty() {
                return Err(last);
            }
            let has_more = candidates.len() > 0;
            tokio::select! {
                () = self.dialer.stop.cancelled() => return Err(KafkaError::ShutDown),
                Some((address, response)) = attempts.next() => match response {
                    Ok(response) => {
                        self.metadata.answered(address);
                        return Ok(response);
                    }
                    Err(err) => last = err,
                },
                () = tokio::time::sleep(SILENCE), if has_more => {}
            }
        }
    }

    /// The error for a code that a broker answered. When it denies a permission: who lacks `operation` on `resource`;
    /// else what was asked.
    pub(crate) fn refused(
        &self,
        what: impl Into<String>,
        operation: &'static str,
        resource: impl Into<Arc<str>>,
        code: ResponseError,
    ) -> KafkaError {
        if !is_denial(code) {
            return KafkaError::broker(what, code);
        }
        let (principal, mechanism) = self.dialer.security.principal();
        KafkaError::Authorization {
            principal: Box::new(principal),
            mechanism,
            operation,
            resource: resource.into(),
            code,
        }
    }

    /// Why `topic` is not in the metadata, if that is for the want of a permission.
    pub(crate) fn denied(&self, topic: &str) -> Option<KafkaError> {
        let resource = format!("topic `{topic}`");
        let what = format!("asking for metadata of {resource}");
        let code = ResponseError::TopicAuthorizationFailed;
        let is_denied = self.metadata.is_denied(topic);
        is_denied.then(|| self.refused(what, "DESCRIBE", resource, code))
    }

    /// Bounds a public call by `default.api.timeout.ms`.
    pub(crate) async fn within<T>(&self, work: impl Future<Output = T>, api: &'static str) -> Result<T, KafkaError> {
        tokio::time::timeout(self.config.api_timeout, work)
            .await
            .map_err(|_| KafkaError::TimedOut {
                address: self.config.bootstrap_servers.join(",").into(),
                api,
                after: self.config.api_timeout,
            })
    }
}

impl Drop for KafkaClient {
    fn drop(&mut self) {
        // For a client that nobody shut down: its tasks hold it only while they have something to do.
        self.dialer.stop.cancel();
    }
}

/// A panic while a lock is held leaves plain data behind, which is still consistent: every critical section is a few
/// lines that assign whole values.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
