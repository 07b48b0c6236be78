//! Members of groups by KIP-848, and the groups as administrators see them.

use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::consumer_group_describe_response::{
    Assignment as DescribedAssignment, DescribedGroup, Member as DescribedMember,
    TopicPartitions as DescribedPartitions,
};
use kafka_protocol::messages::consumer_group_heartbeat_response::{
    Assignment as AnsweredAssignment, TopicPartitions as AnsweredPartitions,
};
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
};
use uuid::Uuid;

use super::super::cluster::Cluster;
use super::super::groups::consumer::{Assignment, Beat, ConsumerGroup, Topics};
use super::super::groups::{Group, Membership};
use super::super::wire::text;
use super::Call;
use super::groups::GROUP_OPERATIONS;

/// Since this version clients choose their ids.
const CHOOSES_ID: i16 = 1;

impl Topics for Cluster {
    fn version(&self) -> u64 {
        self.groups.topics_version()
    }

    fn names(&self) -> Vec<String> {
        let topics = self.topics();
        let own = topics.iter().filter(|topic| !topic.is_internal());
        own.map(|topic| topic.name.clone()).collect()
    }

    fn partitions_of(&self, name: &str) -> Option<(Uuid, i32)> {
        let topic = self.topic(name)?;
        Some((topic.id, super::super::wire::count(topic.partition_count())))
    }
}

pub(super) async fn heartbeat(
    call: &Call<'_>,
    request: ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    let group = request.group_id.as_str();
    let chosen = request.member_id.to_string();
    let member_id = if chosen.is_empty() && call.version < CHOOSES_ID && request.member_epoch == 0 {
        call.cluster.random_uuid().to_string()
    } else {
        chosen
    };
    let beat = Beat {
        client: call.client.clone(),
        member_id,
        epoch: request.member_epoch,
        instance_id: request.instance_id.as_ref().map(|id| id.to_string()),
        rack: request.rack_id.as_ref().map(|rack| rack.to_string()),
        rebalance_timeout: u64::try_from(request.rebalance_timeout_ms)
            .ok()
            .map(Duration::from_millis),
        topics: request
            .subscribed_topic_names
            .as_ref()
            .map(|names| names.iter().map(|name| name.to_string()).collect()),
        regex: request.subscribed_topic_regex.as_ref().map(|regex| regex.to_string()),
        assignor: request.server_assignor.as_ref().map(|name| name.to_string()),
        owned: request.topic_partitions.as_ref().map(|owned| {
            let owned = owned.iter();
            owned
                .map(|of| (of.topic_id, of.partitions.iter().copied().collect()))
                .collect()
        }),
    };
    let answer = call
        .check_coordinator(group)
        .map_err(|code| (code, code.to_string()))
        .and_then(|()| call.cluster.groups.consumer_heartbeat(group, beat, call.cluster));
    let interval = call.cluster.settings.consumer_heartbeat_interval;
    let response = ConsumerGroupHeartbeatResponse::default()
        .with_heartbeat_interval_ms(i32::try_from(interval.as_millis()).unwrap_or(i32::MAX));
    match answer {
        Ok(answer) => response
            .with_member_id(Some(text(&answer.member_id)))
            .with_member_epoch(answer.epoch)
            .with_assignment(answer.assignment.map(|assignment| {
                let all = assignment.into_iter().map(|(topic, partitions)| {
                    AnsweredPartitions::default()
                        .with_topic_id(topic)
                        .with_partitions(partitions.into_iter().collect())
                });
                AnsweredAssignment::default().with_topic_partitions(all.collect())
            })),
        Err((code, reason)) => response
            .with_error_code(code.code())
            .with_error_message(Some(text(&reason))),
    }
}

pub(super) async fn describe(call: &Call<'_>, request: ConsumerGroupDescribeRequest) -> ConsumerGroupDescribeResponse {
    let groups = request.group_ids.into_iter().map(|id| {
        let shown = call.check_coordinator(&id).and_then(|()| {
            let show = |group: &Group| match &group.membership {
                Membership::Consumer(group) => Some(described(call, group)),
                Membership::Classic(_) => None,
            };
            let shown = call.cluster.groups.with(&id, show).flatten();
            shown.ok_or(ResponseError::GroupIdNotFound)
        });
        let group = match shown {
            Ok(group) => group,
            Err(code) => {
                let reason = format!("Group {} is not a consumer group, or not known.", id.as_str());
                DescribedGroup::default()
                    .with_error_code(code.code())
                    .with_error_message(Some(text(&reason)))
            }
        };
        let group = group.with_group_id(id);
        if request.include_authorized_operations {
            group.with_authorized_operations(GROUP_OPERATIONS)
        } else {
            group
        }
    });
    ConsumerGroupDescribeResponse::default().with_groups(groups.collect())
}

fn described(call: &Call<'_>, group: &ConsumerGroup) -> DescribedGroup {
    let members = group.members().iter().map(|(id, member)| {
        let names = member.topics.iter().map(|name| text(name).into());
        let described = DescribedMember::default()
            .with_member_id(text(id))
            .with_instance_id(member.instance_id.as_deref().map(text))
            .with_rack_id(member.rack.as_deref().map(text))
            .with_member_epoch(member.epoch)
            .with_client_id(text(&member.client.id))
            .with_client_host(text(&member.client.host))
            .with_subscribed_topic_names(names.collect())
            .with_subscribed_topic_regex(member.regex.as_deref().map(text))
            .with_assignment(described_assignment(call, &member.assigned))
            .with_target_assignment(described_assignment(call, &group.target_of(id)));
        // By KIP-848, where a member of the classic protocol would be 0.
        if call.version >= 1 {
            described.with_member_type(1)
        } else {
            described
        }
    });
    DescribedGroup::default()
        .with_group_state(text(group.state()))
        .with_group_epoch(group.epoch)
        .with_assignment_epoch(group.target_epoch)
        .with_assignor_name(text(group.assignor().name()))
        .with_members(members.collect())
}

fn described_assignment(call: &Call<'_>, assignment: &Assignment) -> DescribedAssignment {
    let all = assignment.iter().filter_map(|(id, partitions)| {
        let topic = call.cluster.topic_by_id(*id)?;
        let described = DescribedPartitions::default()
            .with_topic_id(*id)
            .with_topic_name(text(&topic.name).into())
            .with_partitions(partitions.iter().copied().collect());
        Some(described)
    });
    DescribedAssignment::default().with_topic_partitions(all.collect())
}
