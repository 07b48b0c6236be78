//! What a group is doing and who its members are, whichever protocol it speaks.

use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, DescribeGroupsRequest, ShareGroupDescribeRequest, consumer_group_describe_response,
    describe_groups_response, share_group_describe_response,
};
use kafka_protocol::protocol::StrBytes;

use super::{GroupType, PerItem, arc};
use crate::client::{Purpose, group_id};
use crate::connection::Connection;
use crate::error::code_of;
use crate::group::decode_assignment;
use crate::{KafkaClient, KafkaError, TopicPartition};

/// A group as its coordinator describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// Its name.
    pub group_id: Arc<str>,
    /// Its kind.
    pub group_type: GroupType,
    /// What its members agree on: `consumer`, `share`, `connect`; empty for a group that only has offsets.
    pub protocol_type: Arc<str>,
    /// Kafka's word for its state, such as `Stable`, `Empty`, `PreparingRebalance`, `Assigning`.
    pub state: Arc<str>,
    /// How partitions are shared out: `range`, `uniform`, and so on; `None` while nobody is there.
    pub assignor: Option<Arc<str>>,
    /// Epoch of the group (KIP-848, KIP-932).
    pub epoch: Option<i32>,
    /// Address of its coordinator.
    pub coordinator: Arc<str>,
    /// Its members, by id.
    pub members: Vec<MemberDescription>,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberDescription {
    /// Its id.
    pub member_id: Arc<str>,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<Arc<str>>,
    /// Its `client.id`.
    pub client_id: Arc<str>,
    /// Where it connects from, as `/10.0.0.7`.
    pub host: Arc<str>,
    /// Its epoch (KIP-848, KIP-932).
    pub epoch: Option<i32>,
    /// Its partitions, sorted; `None` for a protocol that this client cannot read.
    pub assignment: Option<Vec<TopicPartition>>,
}

impl KafkaClient {
    /// Describes groups of any kind, each at its coordinator. One that does not exist gives
    /// [`ResponseError::GroupIdNotFound`].
    ///
    /// Kafka 0.10 knows classic groups; ConsumerGroupDescribe came with 3.7, ShareGroupDescribe with 4.1.
    ///
    /// # Errors
    /// When nothing could be asked; each group has its own result.
    pub async fn describe_groups(
        &self,
        groups: &[Arc<str>],
    ) -> Result<PerItem<Arc<str>, GroupDescription>, KafkaError> {
        self.for_each_group("DescribeGroups", groups, |group| async move {
            self.describe_group_once(&group).await
        })
        .await
    }

    /// One attempt.
    pub(super) async fn describe_group_once(&self, group: &Arc<str>) -> Result<GroupDescription, KafkaError> {
        let address = self.coordinator(group).await?;
        let result = self.describe_group_at(&address, group).await;
        self.check_coordinator(group, result)
    }

    async fn describe_group_at(&self, address: &Arc<str>, group: &Arc<str>) -> Result<GroupDescription, KafkaError> {
        let connection = self.link(address, Purpose::Admin).get(address).await?;
        let asking = Asking {
            client: self,
            connection,
            timeout: self.config().request_timeout,
            address,
            group,
        };
        // Each kind answers "not found" for the others; the classic protocol knows least, so its word counts last.
        let found = match asking.consumer().await? {
            Some(found) => Some(found),
            None => match asking.classic().await? {
                Some(found) => Some(found),
                None => asking.share().await?,
            },
        };
        found.ok_or_else(|| asking.refused(None, ResponseError::GroupIdNotFound))
    }
}

/// One group at one coordinator.
struct Asking<'a> {
    client: &'a KafkaClient,
    connection: Connection,
    timeout: std::time::Duration,
    address: &'a Arc<str>,
    group: &'a Arc<str>,
}

impl Asking<'_> {
    fn refused(&self, message: Option<&StrBytes>, code: ResponseError) -> KafkaError {
        let resource = match code {
            // KIP-848: a group is shown to those who may know all of its topics.
            ResponseError::TopicAuthorizationFailed => format!("the topics of group `{}`", self.group),
            _ => format!("group `{}`", self.group),
        };
        self.client.refused_saying("DESCRIBE", &resource, message, code)
    }

    /// Whether the group is of the kind that was asked for.
    fn is_found(&self, error_code: i16, message: Option<&StrBytes>) -> Result<bool, KafkaError> {
        match code_of(error_code) {
            None => Ok(true),
            // The second one where the feature is switched off.
            Some(ResponseError::GroupIdNotFound | ResponseError::UnsupportedVersion) => Ok(false),
            Some(code) => Err(self.refused(message, code)),
        }
    }

    fn description(
        &self,
        group_type: GroupType,
        protocol_type: &str,
        state: &StrBytes,
        assignor: &StrBytes,
        epoch: Option<i32>,
        mut members: Vec<MemberDescription>,
    ) -> GroupDescription {
        members.sort_by(|a, b| a.member_id.cmp(&b.member_id));
        GroupDescription {
            group_id: Arc::clone(self.group),
            group_type,
            protocol_type: protocol_type.into(),
            state: arc(state),
            assignor: Some(assignor).filter(|assignor| !assignor.is_empty()).map(arc),
            epoch,
            coordinator: Arc::clone(self.address),
            members,
        }
    }

    async fn consumer(&self) -> Result<Option<GroupDescription>, KafkaError> {
        let Ok(version) = self.connection.version::<ConsumerGroupDescribeRequest>(i16::MAX) else {
            return Ok(None);
        };
        let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group_id(self.group)]);
        let response = self.connection.request_version(&request, version, self.timeout).await?;
        let Some(group) = response.groups.first() else {
            return Ok(None);
        };
        if !self.is_found(group.error_code, group.error_message.as_ref())? {
            return Ok(None);
        }
        let member = |member: &consumer_group_describe_response::Member| MemberDescription {
            member_id: arc(&member.member_id),
            instance_id: member.instance_id.as_ref().map(arc),
            client_id: arc(&member.client_id),
            host: arc(&member.client_host),
            epoch: Some(member.member_epoch),
            assignment: Some(sorted(
                member
                    .assignment
                    .topic_partitions
                    .iter()
                    .map(|topic| (topic.topic_name.as_str(), &*topic.partitions)),
            )),
        };
        Ok(Some(self.description(
            GroupType::Consumer,
            "consumer",
            &group.group_state,
            &group.assignor_name,
            Some(group.group_epoch),
            group.members.iter().map(member).collect(),
        )))
    }

    async fn classic(&self) -> Result<Option<GroupDescription>, KafkaError> {
        let request = DescribeGroupsRequest::default().with_groups(vec![group_id(self.group)]);
        let response = self.connection.request(&request, self.timeout).await?;
        let Some(group) = response.groups.first() else {
            return Ok(None);
        };
        // Before version 6 a group that does not exist is a dead one.
        if !self.is_found(group.error_code, group.error_message.as_ref())? || group.group_state.as_str() == "Dead" {
            return Ok(None);
        }
        let is_readable = group.protocol_type.as_str() == "consumer";
        let member = |member: &describe_groups_response::DescribedGroupMember| MemberDescription {
            member_id: arc(&member.member_id),
            instance_id: member.group_instance_id.as_ref().map(arc),
            client_id: arc(&member.client_id),
            host: arc(&member.client_host),
            epoch: None,
            assignment: is_readable
                .then(|| decode_assignment(&member.member_assignment).ok())
                .flatten()
                .map(|partitions| partitions.into_iter().collect()),
        };
        Ok(Some(self.description(
            GroupType::Classic,
            &group.protocol_type,
            &group.group_state,
            &group.protocol_data,
            None,
            group.members.iter().map(member).collect(),
        )))
    }

    async fn share(&self) -> Result<Option<GroupDescription>, KafkaError> {
        let Ok(version) = self.connection.version::<ShareGroupDescribeRequest>(i16::MAX) else {
            return Ok(None);
        };
        let request = ShareGroupDescribeRequest::default().with_group_ids(vec![group_id(self.group)]);
        let response = self.connection.request_version(&request, version, self.timeout).await?;
        let Some(group) = response.groups.first() else {
            return Ok(None);
        };
        if !self.is_found(group.error_code, group.error_message.as_ref())? {
            return Ok(None);
        }
        let member = |member: &share_group_describe_response::Member| MemberDescription {
            member_id: arc(&member.member_id),
            instance_id: None,
            client_id: arc(&member.client_id),
            host: arc(&member.client_host),
            epoch: Some(member.member_epoch),
            assignment: Some(sorted(
                member
                    .assignment
                    .topic_partitions
                    .iter()
                    .map(|topic| (topic.topic_name.as_str(), &*topic.partitions)),
            )),
        };
        Ok(Some(self.description(
            GroupType::Share,
            "share",
            &group.group_state,
            &group.assignor_name,
            Some(group.group_epoch),
            group.members.iter().map(member).collect(),
        )))
    }
}

fn sorted<'a>(topics: impl Iterator<Item = (&'a str, &'a [i32])>) -> Vec<TopicPartition> {
    let mut partitions = Vec::new();
    for (topic, indexes) in topics {
        let topic: Arc<str> = topic.into();
        partitions.extend(
            indexes
                .iter()
                .map(|index| TopicPartition::new(Arc::clone(&topic), *index)),
        );
    }
    partitions.sort();
    partitions
}
