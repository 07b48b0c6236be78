//! Groups: listing and deleting.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use kafka_protocol::messages::{DeleteGroupsRequest, ListGroupsRequest, ListGroupsResponse};

use super::{PerItem, arc};
use crate::client::{Purpose, group_id};
use crate::error::code_of;
use crate::{KafkaClient, KafkaError};

/// The kind of a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GroupType {
    /// The protocol in which members share out partitions themselves.
    Classic,
    /// KIP-848: the broker shares them out.
    Consumer,
    /// KIP-932: share groups.
    Share,
    /// KIP-1071: groups of Kafka Streams.
    Streams,
    /// One that this client does not know.
    Other(Arc<str>),
}

impl GroupType {
    fn parse(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "" => None,
            "classic" => Some(Self::Classic),
            "consumer" => Some(Self::Consumer),
            "share" => Some(Self::Share),
            "streams" => Some(Self::Streams),
            _ => Some(Self::Other(name.into())),
        }
    }
}

impl fmt::Display for GroupType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Classic => "classic",
            Self::Consumer => "consumer",
            Self::Share => "share",
            Self::Streams => "streams",
            Self::Other(name) => name,
        })
    }
}

/// A group as its coordinator lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    /// Its name.
    pub group_id: Arc<str>,
    /// What its members agree on: `consumer` for consumers, `connect` for Connect workers; empty for a group that only
    /// has offsets.
    pub protocol_type: Arc<str>,
    /// Kafka's word for its state, such as `Stable` or `Empty`; brokers before 2.6 do not tell.
    pub state: Option<Arc<str>>,
    /// Its kind; brokers before 3.8 do not tell.
    pub group_type: Option<GroupType>,
}

impl KafkaClient {
    /// All groups of the cluster that the principal may see, by name: every broker is asked for those that it
    /// coordinates.
    ///
    /// # Errors
    /// The first broker that refuses, or that does not answer within `default.api.timeout.ms`.
    pub async fn list_groups(&self) -> Result<Vec<ListedGroup>, KafkaError> {
        let mut groups = BTreeMap::new();
        let cluster = self.describe_cluster().await?;
        let nodes = cluster.brokers.iter().map(|broker| broker.id).collect();
        let answers = self
            .for_each("ListGroups", nodes, |left: Vec<i32>| {
                let cluster = &cluster;
                async move {
                    let mut answers = Vec::with_capacity(left.len());
                    for node in left {
                        let address = cluster.broker(node).map(super::BrokerInfo::address);
                        let listed = match &address {
                            Some(address) => self.list_groups_at(address).await,
                            None => Err(KafkaError::UnknownBroker(node)),
                        };
                        answers.push((node, listed));
                    }
                    Ok(answers)
                }
            })
            .await?;
        for (_, listed) in answers {
            for group in listed?.groups {
                let listed = ListedGroup {
                    group_id: arc(&group.group_id),
                    protocol_type: arc(&group.protocol_type),
                    state: Some(&group.group_state).filter(|state| !state.is_empty()).map(arc),
                    group_type: GroupType::parse(&group.group_type),
                };
                groups.insert(Arc::clone(&listed.group_id), listed);
            }
        }
        Ok(groups.into_values().collect())
    }

    /// Deletes groups with their offsets; only groups without members can be.
    ///
    /// # Errors
    /// When nothing could be asked; each group has its own result, [`KafkaError::GroupNotEmpty`] while it has members.
    pub async fn delete_groups(&self, groups: &[Arc<str>]) -> Result<PerItem<Arc<str>, ()>, KafkaError> {
        let answers = self
            .for_each_group("DeleteGroups", groups, |group| async move {
                let request = DeleteGroupsRequest::default().with_groups_names(vec![group_id(&group)]);
                let response = self.request_coordinator(&group, &request).await?;
                let Some(code) = response.results.first().and_then(|answer| code_of(answer.error_code)) else {
                    return Ok(());
                };
                self.coordinator_answered(&group, code);
                Err(self.refused_saying("DELETE", &format!("group `{group}`"), None, code))
            })
            .await?;
        let mut explained = PerItem::with_capacity(answers.len());
        for (group, answer) in answers {
            let answer = match answer {
                Err(err) => Err(self.explain_members(&group, err).await),
                Ok(()) => Ok(()),
            };
            explained.push((group, answer));
        }
        Ok(explained)
    }

    /// One attempt at one broker.
    async fn list_groups_at(&self, address: &Arc<str>) -> Result<ListGroupsResponse, KafkaError> {
        let response = self
            .request_at(address, Purpose::Admin, &ListGroupsRequest::default())
            .await?;
        match code_of(response.error_code) {
            Some(code) => Err(self.refused_saying("DESCRIBE", "the cluster's groups", None, code)),
            None => Ok(response),
        }
    }
}
