//! Administration: topics, configs, groups, records, the cluster.
//!
//! Every call goes to the broker it belongs to (the controller, the coordinator of each group, the leader of each
//! partition, all), tries again for up to `default.api.timeout.ms` where that may help, and answers for each item. An error names the
//! operation as Kafka's ACLs do, and the resource: "ALTER on topic `orders`".

mod cluster;
mod configs;
mod describe_groups;
mod group_offsets;
mod groups;
mod records;
mod topics;

use std::sync::Arc;

use futures_util::StreamExt;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::{Request, StrBytes};

use crate::backoff::Backoff;
use crate::client::Purpose;
use crate::{KafkaClient, KafkaError};

pub use cluster::{BrokerInfo, ClusterInfo};
pub use configs::{ConfigChange, ConfigEntry, ConfigResource, ConfigSource};
pub use describe_groups::{GroupDescription, MemberDescription};
pub use group_offsets::PartitionLag;
pub use groups::{GroupType, ListedGroup};
pub use records::DeleteUpTo;
pub use topics::{CreatedTopic, Existing, NewTopic, Submission};

/// What came of each item, in the order in which they were asked for.
pub type PerItem<K, T> = Vec<(K, Result<T, KafkaError>)>;

/// Groups that are asked about at the same time.
const GROUPS_AT_ONCE: usize = 16;
/// How long the controller may work on a request before it answers that it is still at it.
const CONTROLLER_TIMEOUT_MS: i32 = 15_000;

impl KafkaClient {
    /// Asks about `items` until none of the answers is a passing failure, or time is up.
    async fn for_each<K, T, Asked>(
        &self,
        api: &'static str,
        items: Vec<K>,
        mut ask: impl FnMut(Vec<K>) -> Asked,
    ) -> Result<PerItem<K, T>, KafkaError>
    where
        K: Clone + PartialEq,
        Asked: Future<Output = Result<PerItem<K, T>, KafkaError>>,
    {
        let mut found: PerItem<K, T> = Vec::with_capacity(items.len());
        let mut left = items.clone();
        let mut last: Option<KafkaError> = None;
        let mut backoff = Backoff::new(self.config().retry_backoff, self.config().retry_backoff_max);
        let attempts = async {
            loop {
                match ask(left.clone()).await {
                    Ok(answers) => {
                        let (passing, settled): (Vec<_>, Vec<_>) = answers
                            .into_iter()
                            .partition(|(_, result)| result.as_ref().err().is_some_and(is_passing));
                        left.retain(|item| !settled.iter().any(|(answered, _)| answered == item));
                        found.extend(settled);
                        last = passing.into_iter().find_map(|(_, result)| result.err());
                    }
                    Err(err) if is_passing(&err) => last = Some(err),
                    Err(err) => return Err(err),
                }
                if left.is_empty() {
                    return Ok(());
                }
                tokio::time::sleep(backoff.next()).await;
            }
        };
        match self.within(attempts, api).await {
            Ok(done) => done?,
            // Time is up: what is left fails with what was last heard.
            Err(timed_out) => {
                let err = last.unwrap_or(timed_out);
                found.extend(left.into_iter().map(|item| (item, Err(err.clone()))));
            }
        }
        found.sort_by_key(|(item, _)| items.iter().position(|asked| asked == item));
        Ok(found)
    }

    /// [`KafkaClient::for_each`] for groups: each at its own coordinator, some at once.
    async fn for_each_group<T, Asked>(
        &self,
        api: &'static str,
        groups: &[Arc<str>],
        ask: impl Fn(Arc<str>) -> Asked,
    ) -> Result<PerItem<Arc<str>, T>, KafkaError>
    where
        Asked: Future<Output = Result<T, KafkaError>>,
    {
        let ask = &ask;
        self.for_each(api, groups.to_vec(), |left: Vec<Arc<str>>| async move {
            let asking = left.into_iter().map(|group| async move {
                let answer = ask(Arc::clone(&group)).await;
                (group, answer)
            });
            Ok(futures_util::stream::iter(asking)
                .buffered(GROUPS_AT_ONCE)
                .collect()
                .await)
        })
        .await
    }

    /// An error of the broker: operation, resource, its own words, its code.
    fn refused_saying(
        &self,
        operation: &'static str,
        resource: &str,
        message: Option<&StrBytes>,
        code: ResponseError,
    ) -> KafkaError {
        // The configs of a broker are the cluster's to the authorizer.
        let is_cluster = code == ResponseError::ClusterAuthorizationFailed;
        let resource = if is_cluster { "the cluster" } else { resource };
        let mut what = format!("{operation} on {resource}");
        if let Some(message) = message.filter(|message| !message.is_empty()) {
            what.push_str(" (");
            what.push_str(message);
            what.push(')');
        }
        self.refused(what, operation, resource, code)
    }

    /// One attempt at the controller. Brokers in KRaft mode forward to it; before, only it could answer.
    async fn request_controller<R: Request>(&self, request: &R) -> Result<R::Response, KafkaError> {
        self.request_controller_by(|_| request).await
    }

    /// [`KafkaClient::request_controller`] with a request that depends on the negotiated version.
    async fn request_controller_by<'a, R: Request + 'a>(
        &self,
        request: impl FnOnce(i16) -> &'a R,
    ) -> Result<R::Response, KafkaError> {
        let cluster = self.cluster_once().await?;
        // Without one for the moment, any broker says so.
        let controller = cluster.controller.and_then(|id| cluster.broker(id));
        let broker = controller
            .or(cluster.brokers.first())
            .ok_or(KafkaError::UnknownBroker(-1))?;
        let address = broker.address();
        let connection = self.link(&address, Purpose::Admin).get(&address).await?;
        let version = connection.version::<R>(i16::MAX)?;
        connection
            .request_version(request(version), version, self.config().request_timeout)
            .await
    }
}

/// Whether the same request may succeed in a moment. What does not exist is an answer here, unlike for readers, who
/// wait for it.
fn is_passing(err: &KafkaError) -> bool {
    match err.code() {
        Some(ResponseError::UnknownTopicOrPartition | ResponseError::UnknownTopicId) => false,
        _ => err.is_retriable(),
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

fn arc(text: &StrBytes) -> Arc<str> {
    text.as_str().into()
}
