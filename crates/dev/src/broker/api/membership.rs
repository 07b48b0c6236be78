//! Members of groups by the classic protocol.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
    SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::super::groups::classic::{Identity, Join, Joined, NotJoined, Sync, Synced};
use super::super::wire::text;
use super::Call;

/// Since this version a member that joins first gets its id (KIP-394).
const ID_FIRST: i16 = 4;
/// Since this version many members leave at once.
const MANY_LEAVE: i16 = 3;
/// Since this version a leader may be told that nothing is to be assigned (KIP-814).
const SKIPS_ASSIGNMENT: i16 = 9;

fn millis(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

fn optional(text: Option<&StrBytes>) -> Option<String> {
    text.map(|text| text.to_string())
}

pub(super) async fn join(call: &Call<'_>, request: JoinGroupRequest) -> JoinGroupResponse {
    let group = request.group_id.to_string();
    let prefix = request.group_instance_id.as_deref().unwrap_or(&call.client.id);
    let session_timeout = millis(request.session_timeout_ms);
    let join = Join {
        client: call.client.clone(),
        new_member_id: format!("{prefix}-{}", call.cluster.random_uuid()),
        member_id: request.member_id.to_string(),
        instance_id: optional(request.group_instance_id.as_ref()),
        session_timeout,
        // Before version 1 there was one time-out for both.
        rebalance_timeout: if call.version == 0 {
            session_timeout
        } else {
            millis(request.rebalance_timeout_ms)
        },
        protocol_type: request.protocol_type.to_string(),
        protocols: request
            .protocols
            .into_iter()
            // Copied, as it stays for long and would keep the whole request.
            .map(|protocol| (protocol.name.to_string(), Bytes::copy_from_slice(&protocol.metadata)))
            .collect(),
        takes_id_first: call.version >= ID_FIRST,
        takes_skipped_assignment: call.version >= SKIPS_ASSIGNMENT,
    };
    let member_id = join.member_id.clone();
    let answer = match call.check_coordinator(&group) {
        Ok(()) => call.cluster.groups.join(&group, join).await,
        Err(error) => Err(NotJoined { error, member_id }),
    };
    match answer {
        Ok(joined) => joined_response(call, joined),
        Err(NotJoined { error, member_id }) => JoinGroupResponse::default()
            .with_error_code(error.code())
            .with_generation_id(-1)
            // Null is not known before version 7.
            .with_protocol_name(Some(StrBytes::new()))
            .with_member_id(text(&member_id)),
    }
}

fn joined_response(call: &Call<'_>, joined: Joined) -> JoinGroupResponse {
    let members = joined.members.into_iter().map(|(id, instance_id, metadata)| {
        JoinGroupResponseMember::default()
            .with_member_id(text(&id))
            .with_group_instance_id(if call.version >= 5 {
                instance_id.as_deref().map(text)
            } else {
                None
            })
            .with_metadata(metadata)
    });
    let response = JoinGroupResponse::default()
        .with_generation_id(joined.generation)
        .with_protocol_name(Some(text(&joined.protocol)))
        .with_leader(text(&joined.leader))
        .with_member_id(text(&joined.member_id))
        .with_members(members.collect());
    let response = if call.version >= 7 {
        response.with_protocol_type(Some(text(&joined.protocol_type)))
    } else {
        response
    };
    if call.version >= SKIPS_ASSIGNMENT {
        response.with_skip_assignment(joined.skips_assignment)
    } else {
        response
    }
}

pub(super) async fn sync(call: &Call<'_>, request: SyncGroupRequest) -> SyncGroupResponse {
    let group = request.group_id.to_string();
    let assignments = request.assignments.into_iter();
    let sync = Sync {
        member_id: request.member_id.to_string(),
        instance_id: optional(request.group_instance_id.as_ref()),
        generation: request.generation_id,
        protocol_type: optional(request.protocol_type.as_ref()),
        protocol: optional(request.protocol_name.as_ref()),
        assignments: assignments
            .map(|of| (of.member_id.to_string(), Bytes::copy_from_slice(&of.assignment)))
            .collect(),
    };
    let answer = match call.check_coordinator(&group) {
        Ok(()) => call.cluster.groups.sync(&group, sync).await,
        Err(error) => Err(error),
    };
    let response = SyncGroupResponse::default().with_error_code(super::code_of(&answer));
    match answer {
        Ok(Synced {
            protocol_type,
            protocol,
            assignment,
        }) => {
            let response = response.with_assignment(assignment);
            if call.version >= 5 {
                response
                    .with_protocol_type(Some(text(&protocol_type)))
                    .with_protocol_name(Some(text(&protocol)))
            } else {
                response
            }
        }
        Err(_) => response,
    }
}

pub(super) async fn heartbeat(call: &Call<'_>, request: HeartbeatRequest) -> HeartbeatResponse {
    let identity = Identity {
        member_id: &request.member_id,
        instance_id: request.group_instance_id.as_deref(),
    };
    let group = request.group_id.as_str();
    let heard = call
        .check_coordinator(group)
        .and_then(|()| call.cluster.groups.heartbeat(group, identity, request.generation_id));
    HeartbeatResponse::default().with_error_code(super::code_of(&heard))
}

pub(super) async fn leave(call: &Call<'_>, request: LeaveGroupRequest) -> LeaveGroupResponse {
    let group = request.group_id.as_str();
    if let Err(code) = call.check_coordinator(group) {
        return LeaveGroupResponse::default().with_error_code(code.code());
    }
    let leave = |member_id: &str, instance_id: Option<&str>| {
        let identity = Identity { member_id, instance_id };
        call.cluster.groups.leave(group, identity)
    };
    if call.version < MANY_LEAVE {
        return LeaveGroupResponse::default().with_error_code(super::code_of(&leave(&request.member_id, None)));
    }
    let members = request.members.into_iter().map(|member| {
        let left = leave(&member.member_id, member.group_instance_id.as_deref());
        MemberResponse::default()
            .with_error_code(super::code_of(&left))
            .with_member_id(member.member_id)
            .with_group_instance_id(member.group_instance_id)
    });
    LeaveGroupResponse::default().with_members(members.collect())
}
