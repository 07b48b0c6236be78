//! Requests to the coordinator of a transactional id.

use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, ApiVersionsRequest, EndTxnRequest, InitProducerIdRequest, ProducerId,
};
use kafka_protocol::protocol::StrBytes;
use tokio::time::{Instant, sleep};

use super::ProduceError;
use super::error::WriteOutcome;
use super::exchange::{JoinBy, transactional};
use super::lane::Identity;
use crate::backoff::Backoff;
use crate::client::{CoordinatorOf, Purpose, topic_name};
use crate::connection::Connection;
use crate::error::code_of;
use crate::{KafkaClient, KafkaError, ProducerConfig, TopicPartition};

/// Since this version a producer tells its epoch and gets the next, so that it need not fence itself (KIP-360).
const INIT_WITH_EPOCH: i16 = 3;
/// The last version of AddPartitionsToTxn that clients use; later ones are for brokers.
const ADD_PARTITIONS: i16 = 3;
/// Since this version every end of a transaction gives the next epoch (KIP-890).
const END_WITH_EPOCH: i16 = 5;
/// The last version that does not.
const END_TV1: i16 = 4;

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Commit,
    Abort,
}

/// The coordinator of one transactional id.
#[derive(Debug)]
pub(super) struct TransactionCoordinator {
    client: Arc<KafkaClient>,
    config: Arc<ProducerConfig>,
    id: Arc<str>,
    address: Option<Arc<str>>,
}

/// One request; retried as a whole.
enum Call<'a> {
    Init(Option<Identity>),
    Add(Identity, &'a TopicPartition),
    End(Identity, End, JoinBy),
}

/// What comes back.
enum Reply {
    Identity(Identity),
    Done,
}

impl TransactionCoordinator {
    pub(super) fn new(client: Arc<KafkaClient>, config: Arc<ProducerConfig>, id: Arc<str>) -> Self {
        Self {
            client,
            config,
            id,
            address: None,
        }
    }

    /// The id and epoch to write under, with every earlier owner fenced and its open transaction aborted. With
    /// `current`, the epoch after that, unless somebody else took over.
    pub(super) async fn init(&mut self, current: Option<Identity>) -> Result<Identity, ProduceError> {
        match self.call(&Call::Init(current)).await? {
            Reply::Identity(identity) => Ok(identity),
            Reply::Done => Err(self.failed("InitProducerId", KafkaError::ShutDown, WriteOutcome::NotWritten)),
        }
    }

    /// Makes a partition part of the open transaction.
    pub(super) async fn add(&mut self, identity: Identity, partition: &TopicPartition) -> Result<(), ProduceError> {
        self.call(&Call::Add(identity, partition)).await.map(drop)
    }

    /// Ends the open transaction. The identity for the next, if it is another.
    pub(super) async fn end(
        &mut self,
        identity: Identity,
        end: End,
        join_by: JoinBy,
    ) -> Result<Option<Identity>, ProduceError> {
        Ok(match self.call(&Call::End(identity, end, join_by)).await? {
            Reply::Identity(identity) => Some(identity),
            Reply::Done => None,
        })
    }

    /// Whether the cluster has `transaction.version` 2 switched on, and the coordinator speaks it.
    pub(super) async fn join_by(&mut self) -> Result<JoinBy, ProduceError> {
        let mut backoff = self.backoff();
        let deadline = Instant::now() + self.config.max_block;
        loop {
            match self.features_once().await {
                Ok(join_by) => return Ok(join_by),
                Err(err) if err.is_retriable() && Instant::now() < deadline => sleep(backoff.next()).await,
                Err(err) => return Err(self.failed("asking for features", err, WriteOutcome::NotWritten)),
            }
        }
    }

    async fn features_once(&mut self) -> Result<JoinBy, KafkaError> {
        let connection = self.connection().await?;
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("klamm"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        // Features came with version 3; older brokers want an empty request.
        let has_features = connection
            .version::<ApiVersionsRequest>(i16::MAX)
            .is_ok_and(|version| version >= 3);
        let knows_end = connection
            .version::<EndTxnRequest>(i16::MAX)
            .is_ok_and(|version| version >= END_WITH_EPOCH);
        if !has_features || !knows_end {
            return Ok(JoinBy::Asking);
        }
        let response = connection.request(&request, self.config.request_timeout).await?;
        let mut features = response.finalized_features.iter();
        let is_on =
            features.any(|feature| feature.name.as_str() == "transaction.version" && feature.max_version_level >= 2);
        Ok(if is_on { JoinBy::Writing } else { JoinBy::Asking })
    }

    async fn connection(&mut self) -> Result<Connection, KafkaError> {
        let address = match &self.address {
            Some(address) => Arc::clone(address),
            None => {
                let found = self
                    .client
                    .find_coordinator(CoordinatorOf::Transactions, &self.id)
                    .await?;
                Arc::clone(self.address.insert(found))
            }
        };
        // Not where heartbeats go: the coordinator may take its time while it completes a transaction.
        let connection = self.client.link(&address, Purpose::Admin).get(&address).await;
        if connection.is_err() {
            self.address = None;
        }
        connection
    }

    fn backoff(&self) -> Backoff {
        let config = self.client.config();
        Backoff::new(config.retry_backoff, config.retry_backoff_max)
    }

    /// Asks until it is done, up to `max.block.ms`.
    async fn call(&mut self, call: &Call<'_>) -> Result<Reply, ProduceError> {
        let mut backoff = self.backoff();
        let deadline = Instant::now() + self.config.max_block;
        // Whether an attempt may have been carried out.
        let mut outcome = WriteOutcome::NotWritten;
        loop {
            let err = match self.once(call).await {
                Ok(reply) => return Ok(reply),
                Err(err) => err,
            };
            match err.code() {
                Some(ResponseError::ProducerFenced | ResponseError::InvalidProducerEpoch) => {
                    return Err(ProduceError::Fenced {
                        transactional_id: Arc::clone(&self.id),
                    });
                }
                Some(ResponseError::NotCoordinator | ResponseError::CoordinatorNotAvailable) => self.address = None,
                Some(_) => {}
                None => {
                    self.address = None;
                    if !matches!(err, KafkaError::Connect { .. }) {
                        outcome = WriteOutcome::Unknown;
                    }
                }
            }
            // The transaction before this one, ours or a fenced producer's, is still being completed.
            let may_pass = err.is_retriable() || err.code() == Some(ResponseError::ConcurrentTransactions);
            let wait = backoff.next();
            if !may_pass || Instant::now() + wait >= deadline {
                let what = match call {
                    Call::Init(_) => "InitProducerId",
                    Call::Add(..) => "AddPartitionsToTxn",
                    Call::End(_, End::Commit, _) => "committing the transaction",
                    Call::End(_, End::Abort, _) => "aborting the transaction",
                };
                // Only a commit leaves records in doubt.
                let outcome = match call {
                    Call::End(_, End::Commit, _) => outcome,
                    Call::Init(_) | Call::Add(..) | Call::End(_, End::Abort, _) => WriteOutcome::NotWritten,
                };
                return Err(self.failed(what, err, outcome));
            }
            tokio::select! {
                () = self.client.stop().cancelled() => return Err(ProduceError::Closed { outcome }),
                () = sleep(wait) => {}
            }
        }
    }

    fn failed(&self, what: &str, source: KafkaError, outcome: WriteOutcome) -> ProduceError {
        ProduceError::Coordinator {
            what: format!("{what} of `transactional.id={}`", self.id),
            outcome,
            source,
        }
    }

    async fn once(&mut self, call: &Call<'_>) -> Result<Reply, KafkaError> {
        let connection = self.connection().await?;
        let timeout = self.config.request_timeout;
        let refused = |code| {
            let resource = format!("transactional id `{}`", self.id);
            self.client.refused(resource.clone(), "WRITE", resource, code)
        };
        let id = transactional(&self.id);
        match call {
            Call::Init(current) => {
                let version = connection.version::<InitProducerIdRequest>(i16::MAX)?;
                let timeout_ms = i32::try_from(self.config.transaction_timeout.as_millis()).unwrap_or(i32::MAX);
                let current = current.filter(|_| version >= INIT_WITH_EPOCH);
                let request = InitProducerIdRequest::default()
                    .with_transactional_id(Some(id))
                    .with_transaction_timeout_ms(timeout_ms)
                    .with_producer_id(ProducerId(current.map_or(-1, |current| current.producer_id)))
                    .with_producer_epoch(current.map_or(-1, |current| current.epoch));
                let response = connection.request_version(&request, version, timeout).await?;
                code_of(response.error_code).map_or_else(
                    || {
                        Ok(Reply::Identity(Identity {
                            producer_id: response.producer_id.0,
                            epoch: response.producer_epoch,
                        }))
                    },
                    |code| Err(refused(code)),
                )
            }
            Call::Add(identity, partition) => {
                let version = connection.version::<AddPartitionsToTxnRequest>(ADD_PARTITIONS)?;
                let topic = AddPartitionsToTxnTopic::default()
                    .with_name(topic_name(&partition.topic))
                    .with_partitions(vec![partition.partition]);
                let request = AddPartitionsToTxnRequest::default()
                    .with_v3_and_below_transactional_id(id)
                    .with_v3_and_below_producer_id(ProducerId(identity.producer_id))
                    .with_v3_and_below_producer_epoch(identity.epoch)
                    .with_v3_and_below_topics(vec![topic]);
                let response = connection.request_version(&request, version, timeout).await?;
                let mut answers = response
                    .results_by_topic_v3_and_below
                    .iter()
                    .flat_map(|topic| &topic.results_by_partition);
                match answers.find_map(|answer| code_of(answer.partition_error_code)) {
                    None => Ok(Reply::Done),
                    Some(code @ ResponseError::TopicAuthorizationFailed) => {
                        let resource = format!("topic `{}`", partition.topic);
                        Err(self.client.refused(resource.clone(), "WRITE", resource, code))
                    }
                    Some(code) => Err(refused(code)),
                }
            }
            Call::End(identity, end, join_by) => {
                let version = connection.version::<EndTxnRequest>(match join_by {
                    JoinBy::Asking => END_TV1,
                    JoinBy::Writing => END_WITH_EPOCH,
                })?;
                let request = EndTxnRequest::default()
                    .with_transactional_id(id)
                    .with_producer_id(ProducerId(identity.producer_id))
                    .with_producer_epoch(identity.epoch)
                    .with_committed(*end == End::Commit);
                let response = connection.request_version(&request, version, timeout).await?;
                match code_of(response.error_code) {
                    Some(code) => Err(refused(code)),
                    None if version >= END_WITH_EPOCH && response.producer_id.0 >= 0 => Ok(Reply::Identity(Identity {
                        producer_id: response.producer_id.0,
                        epoch: response.producer_epoch,
                    })),
                    None => Ok(Reply::Done),
                }
            }
        }
    }
}
