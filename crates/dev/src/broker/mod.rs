//! An in-memory Kafka broker for development and tests.
//!
//! One process plays one or several brokers of a cluster, each with a port of its own. All of them serve the same logs:
//! nothing is replicated, so the high watermark is the end of the log, and any replica can lead at once. The protocol
//! is that of the generated messages of `kafka-protocol`; record batches are kept as the bytes that arrived. None of the
//! product's Kafka client is used, so that the client never vouches for itself.
//!
//! ```text
//! server      listeners and connections, a task each; ended by their node, nodes by the broker
//! wire        frame -> request, response -> frame; nothing that a client claims is believed
//! api/        one function a request: what it asks for, in terms of the following
//! cluster     nodes, topics, leaders, bounds of memory        partition   a log behind its lock, and who waits for it
//! log/        batches, producers, transactions, epochs        sessions    incremental fetches
//! groups/     two state machines without clock or socket      transactions, faults, storage
//! ```
//! **Who owns what.** A log is reached under its partition's lock only, groups under the coordinator's, transactions
//! under theirs; no lock is held across an await. They are taken in the order transactions, groups, topics, partition.
//! Time drives two tasks: one for the groups' deadlines, one that looks for old records and overdue transactions.
//! **Invariant:** memory has bounds: logs by [`Settings::topic_bytes`] and [`Settings::total_bytes`], requests by
//! [`Settings::in_flight_bytes`], connections, sessions, groups, members, producers and waiting faults by counts.
//!
//! ```
//! use klamm_dev::broker::{ApiKey, Broker, Fault, ResponseError, Settings};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let broker = Broker::start(Settings { brokers: 3, ..Settings::default() }).await?;
//! broker.create_topic("orders", 6)?;
//! broker.inject(Fault::error(ApiKey::Produce, ResponseError::NotLeaderOrFollower).times(2));
//! // … point clients at broker.bootstrap() …
//! broker.kill(2).await?;
//! broker.restart(2).await?;
//! broker.stop().await?;
//! # Ok(())
//! # }
//! ```

mod api;
mod batch;
mod clock;
mod cluster;
mod configs;
mod faults;
mod groups;
mod log;
mod partition;
mod records;
mod server;
mod sessions;
mod settings;
mod storage;
mod transactions;
mod wire;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub use kafka_protocol::ResponseError;
pub use kafka_protocol::messages::ApiKey;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tracing::{info, warn};

use cluster::{Cluster, NewTopic, TopicRef};
use configs::TopicConfigs;
pub use faults::Fault;
use server::NodeServer;
pub use settings::Settings;

/// Why something could not be done with a broker.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// A port is taken, or the host is not this machine's.
    #[error("cannot listen on {address}: choose another port, or 0 for a free one")]
    Listen {
        /// Where it should have listened.
        address: SocketAddr,
        /// What the operating system says.
        #[source]
        source: std::io::Error,
    },
    /// The data directory cannot be read or written.
    #[error("cannot use the data directory")]
    Data(#[source] std::io::Error),
    /// There is no such virtual broker.
    #[error("there is no broker {0}: they are counted from 1")]
    NoSuchBroker(i32),
    /// There is no such topic or partition.
    #[error("there is no partition {partition} of topic `{topic}`")]
    NoSuchPartition {
        /// The topic that was asked for.
        topic: String,
        /// Its partition.
        partition: i32,
    },
    /// What a client would have been told.
    #[error("the broker refuses: {code}: {reason}")]
    Refused {
        /// The code of the answer.
        code: ResponseError,
        /// The text of the answer.
        reason: String,
    },
}

/// A running broker. Dropping it ends its tasks and closes its sockets at once.
#[derive(Debug)]
pub struct Broker {
    cluster: Arc<Cluster>,
    nodes: tokio::sync::Mutex<Vec<Option<NodeServer>>>,
    addresses: Vec<SocketAddr>,
    background: JoinSet<()>,
}

impl Broker {
    /// Starts all virtual brokers on the current runtime.
    ///
    /// # Errors
    /// A port is taken, or the data directory cannot be read.
    pub async fn start(settings: Settings) -> Result<Self, BrokerError> {
        let mut listeners = Vec::new();
        let mut addresses = Vec::new();
        for at in 0..usize::from(settings.brokers.max(1)) {
            let port = settings.ports.get(at).copied().unwrap_or(0);
            let (listener, address) = listen(SocketAddr::new(settings.host, port)).await?;
            listeners.push(listener);
            addresses.push(address);
        }
        let ports: Vec<u16> = addresses.iter().map(SocketAddr::port).collect();
        let cluster = Arc::new(Cluster::open(settings, &ports).map_err(BrokerError::Data)?);
        let mut nodes = Vec::new();
        for (id, listener) in (1..).zip(listeners) {
            nodes.push(Some(NodeServer::start(id, listener, Arc::clone(&cluster))));
        }
        let mut background = JoinSet::new();
        let of_groups = Arc::clone(&cluster);
        background.spawn(async move { of_groups.groups.run().await });
        background.spawn(maintain(Arc::clone(&cluster)));
        let broker = Self {
            cluster,
            nodes: tokio::sync::Mutex::new(nodes),
            addresses,
            background,
        };
        info!(
            bootstrap = broker.bootstrap(),
            "development broker: nothing is replicated or synced to disk, old records go early; not for production"
        );
        Ok(broker)
    }

    /// `bootstrap.servers` of the cluster.
    pub fn bootstrap(&self) -> String {
        let all: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        all.join(",")
    }

    /// Where each virtual broker listens, in the order of their ids, which begin with 1.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Makes a topic with the default settings.
    ///
    /// # Errors
    /// As a client would be told: it exists, or its name or number of partitions is not taken.
    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<(), BrokerError> {
        self.create_topic_with(name, partitions, &[])
    }

    /// Makes a topic with settings such as `("cleanup.policy", "compact")`.
    ///
    /// # Errors
    /// As for [`Broker::create_topic`]; or a setting is not taken.
    pub fn create_topic_with(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) -> Result<(), BrokerError> {
        let refused = |(code, reason)| BrokerError::Refused { code, reason };
        let mut configs = TopicConfigs::default();
        for (name, value) in settings {
            let set = configs.set(name, value);
            set.map_err(|reason| refused((ResponseError::InvalidConfig, reason)))?;
        }
        let new = NewTopic {
            name: name.to_owned(),
            partitions,
            replication_factor: -1,
            configs,
        };
        self.cluster.create_topic(&new).map(drop).map_err(refused)
    }

    /// Bytes of all records that are kept.
    pub fn stored_bytes(&self) -> u64 {
        self.cluster.total_bytes()
    }

    // === faults ===

    /// Lets something go wrong with the requests that the fault names.
    pub fn inject(&self, fault: Fault) {
        self.cluster.faults.add(fault);
    }

    /// Takes back the faults that met no request yet.
    pub fn clear_faults(&self) {
        self.cluster.faults.clear();
    }

    /// How many requests have still to meet a fault.
    pub fn faults_left(&self) -> u64 {
        self.cluster.faults.left()
    }

    /// The virtual broker that leads a partition, if any does.
    ///
    /// # Errors
    /// There is no such partition.
    pub fn leader(&self, topic: &str, partition: i32) -> Result<Option<i32>, BrokerError> {
        Ok(self.partition(topic, partition)?.lock().leader)
    }

    /// Gives a partition to another leader, in a new epoch.
    ///
    /// # Errors
    /// There is no such partition or broker.
    pub fn move_leader(&self, topic: &str, partition: i32, to: i32) -> Result<(), BrokerError> {
        let live = self.cluster.live_nodes();
        if !live.iter().any(|node| node.id == to) {
            return Err(BrokerError::NoSuchBroker(to));
        }
        self.partition(topic, partition)?.lead(Some(to));
        Ok(())
    }

    /// Takes records from `offset` on away, and begins a new leader epoch, as after an unclean election.
    ///
    /// # Errors
    /// There is no such partition.
    pub fn truncate(&self, topic: &str, partition: i32, offset: i64) -> Result<(), BrokerError> {
        self.partition(topic, partition)?.truncate(offset, clock::now_ms());
        Ok(())
    }

    /// Ends a virtual broker: its connections break, its port is closed, and others lead what it led if they may.
    ///
    /// # Errors
    /// There is no such broker.
    pub async fn kill(&self, node: i32) -> Result<(), BrokerError> {
        let server = slot(&mut self.nodes.lock().await, node)?.take();
        if let Some(server) = server {
            self.cluster.set_up(node, false);
            server.stop().await;
        }
        Ok(())
    }

    /// Starts a virtual broker again on its port, after [`Broker::kill`].
    ///
    /// # Errors
    /// There is no such broker, or its port was taken meanwhile.
    pub async fn restart(&self, node: i32) -> Result<(), BrokerError> {
        let mut nodes = self.nodes.lock().await;
        let slot = slot(&mut nodes, node)?;
        if slot.is_some() {
            return Ok(());
        }
        let at = usize::try_from(node - 1).ok();
        let address = at
            .and_then(|at| self.addresses.get(at))
            .ok_or(BrokerError::NoSuchBroker(node))?;
        let (listener, _) = listen(*address).await?;
        *slot = Some(NodeServer::start(node, listener, Arc::clone(&self.cluster)));
        self.cluster.set_up(node, true);
        Ok(())
    }

    fn partition(&self, topic: &str, partition: i32) -> Result<Arc<partition::Partition>, BrokerError> {
        let found = self
            .cluster
            .find_partition(&TopicRef::Name(topic.to_owned()), partition);
        found
            .map(|(_, partition)| partition)
            .map_err(|_| BrokerError::NoSuchPartition {
                topic: topic.to_owned(),
                partition,
            })
    }

    /// Ends all virtual brokers and waits for their tasks; what is to be kept is in the data directory then.
    ///
    /// # Errors
    /// The data directory cannot be written.
    pub async fn stop(mut self) -> Result<(), BrokerError> {
        for server in self.nodes.lock().await.iter_mut().filter_map(Option::take) {
            server.stop().await;
        }
        self.background.shutdown().await;
        self.cluster.save_coordinators().map_err(BrokerError::Data)
    }
}

fn slot(nodes: &mut [Option<NodeServer>], node: i32) -> Result<&mut Option<NodeServer>, BrokerError> {
    let at = node.checked_sub(1).and_then(|at| usize::try_from(at).ok());
    at.and_then(|at| nodes.get_mut(at))
        .ok_or(BrokerError::NoSuchBroker(node))
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), BrokerError> {
    let failed = |source| BrokerError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Looks for what time has made due, until it is dropped. Off the sockets' threads, as compaction takes its time.
async fn maintain(cluster: Arc<Cluster>) {
    loop {
        tokio::time::sleep(cluster.settings.maintenance_interval).await;
        let cluster = Arc::clone(&cluster);
        let work = tokio::task::spawn_blocking(move || {
            let now_ms = clock::now_ms();
            cluster.transactions.abort_overdue(&cluster, now_ms);
            cluster.maintain(now_ms);
            if let Err(err) = cluster.save_coordinators() {
                warn!(error = %err, "cannot write to the data directory");
            }
        });
        if let Err(err) = work.await {
            warn!(error = %err, "the broker's maintenance failed");
        }
    }
}

// A panic under a lock would be a bug of ours, and whatever it left is still what clients are to see.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
