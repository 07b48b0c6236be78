//! The cluster as a whole.

use std::sync::Arc;

use kafka_protocol::messages::MetadataRequest;

use super::arc;
use crate::client::host_port;
use crate::{KafkaClient, KafkaError};

/// A broker that is alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerInfo {
    /// Its id (`node.id`).
    pub id: i32,
    /// Host of the listener that this client uses.
    pub host: Arc<str>,
    /// Port of that listener.
    pub port: i32,
    /// `broker.rack`, if set.
    pub rack: Option<Arc<str>>,
}

impl BrokerInfo {
    /// `host:port`
    pub(super) fn address(&self) -> Arc<str> {
        host_port(&self.host, self.port)
    }
}

/// The cluster and its brokers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterInfo {
    /// Id of the cluster; brokers before 0.10.1 have none.
    pub cluster_id: Option<Arc<str>>,
    /// Id of the controller; in KRaft clusters any broker that takes requests for it.
    pub controller: Option<i32>,
    /// The brokers, by id.
    pub brokers: Vec<BrokerInfo>,
}

impl ClusterInfo {
    /// The broker with that id.
    pub fn broker(&self, id: i32) -> Option<&BrokerInfo> {
        self.brokers.iter().find(|broker| broker.id == id)
    }
}

impl KafkaClient {
    /// The cluster's id, controller and brokers, asked now. Needs Metadata version 2 for the id (Kafka 0.10.1).
    ///
    /// # Errors
    /// `default.api.timeout.ms` without any broker.
    pub async fn describe_cluster(&self) -> Result<ClusterInfo, KafkaError> {
        let answers = self
            .for_each("Metadata", vec![()], |_| async {
                Ok(vec![((), self.cluster_once().await)])
            })
            .await?;
        let answer = answers.into_iter().next().map(|(_, answer)| answer);
        answer.unwrap_or(Err(KafkaError::ShutDown))
    }

    /// One attempt.
    pub(super) async fn cluster_once(&self) -> Result<ClusterInfo, KafkaError> {
        let request = MetadataRequest::default()
            .with_topics(Some(Vec::new()))
            .with_allow_auto_topic_creation(false);
        let response = self.request_any(&request).await?;
        let mut brokers: Vec<_> = response
            .brokers
            .iter()
            .map(|broker| BrokerInfo {
                id: broker.node_id.0,
                host: arc(&broker.host),
                port: broker.port,
                rack: broker.rack.as_ref().map(arc),
            })
            .collect();
        brokers.sort_by_key(|broker| broker.id);
        Ok(ClusterInfo {
            cluster_id: response.cluster_id.as_ref().map(arc),
            controller: Some(response.controller_id.0).filter(|id| *id >= 0),
            brokers,
        })
    }
}
