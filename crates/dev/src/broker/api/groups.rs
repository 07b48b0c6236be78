//! Groups as administrators see them.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse, ListGroupsRequest,
    ListGroupsResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::super::groups::classic::{ClassicGroup, Phase};
use super::super::groups::{Group, Membership};
use super::super::wire::text;
use super::Call;

/// READ, DELETE, DESCRIBE: nobody is forbidden anything.
pub(super) const GROUP_OPERATIONS: i32 = 0b1_0100_1000;
/// Since this version an unknown group is an error and not a dead one.
const UNKNOWN_IS_ERROR: i16 = 6;

fn state_of(group: &ClassicGroup) -> &'static str {
    match group.phase() {
        Phase::Empty => "Empty",
        Phase::Preparing { .. } => "PreparingRebalance",
        Phase::Completing { .. } => "CompletingRebalance",
        Phase::Stable => "Stable",
    }
}

pub(super) async fn describe(call: &Call<'_>, request: DescribeGroupsRequest) -> DescribeGroupsResponse {
    let groups = request.groups.into_iter().map(|id| {
        let shown = call.check_coordinator(&id).and_then(|()| {
            let show = |group: &Group| match &group.membership {
                Membership::Classic(group) => Some(described(group)),
                Membership::Consumer(_) => None,
            };
            let shown = call.cluster.groups.with(&id, show).flatten();
            shown.ok_or(ResponseError::GroupIdNotFound)
        });
        let group = match shown {
            Ok(group) => group,
            Err(ResponseError::GroupIdNotFound) if call.version < UNKNOWN_IS_ERROR => {
                DescribedGroup::default().with_group_state(text("Dead"))
            }
            Err(code) => {
                let group = DescribedGroup::default()
                    .with_error_code(code.code())
                    .with_group_state(text("Dead"));
                if call.version >= UNKNOWN_IS_ERROR {
                    group.with_error_message(Some(text(&format!("Group {} not found.", id.as_str()))))
                } else {
                    group
                }
            }
        };
        let group = group.with_group_id(id);
        if request.include_authorized_operations {
            group.with_authorized_operations(GROUP_OPERATIONS)
        } else {
            group
        }
    });
    DescribeGroupsResponse::default().with_groups(groups.collect())
}

fn described(group: &ClassicGroup) -> DescribedGroup {
    let is_stable = group.phase() == Phase::Stable;
    let members = group.members().iter().map(|(id, member)| {
        let described = DescribedGroupMember::default()
            .with_member_id(text(id))
            .with_group_instance_id(member.instance_id.as_deref().map(text))
            .with_client_id(text(&member.client.id))
            .with_client_host(text(&member.client.host));
        if is_stable {
            described
                .with_member_metadata(member.metadata(&group.protocol))
                .with_member_assignment(member.assignment.clone())
        } else {
            described
        }
    });
    DescribedGroup::default()
        .with_group_state(text(state_of(group)))
        .with_protocol_type(text(&group.protocol_type))
        .with_protocol_data(if is_stable {
            text(&group.protocol)
        } else {
            StrBytes::new()
        })
        .with_members(members.collect())
}

pub(super) async fn list(call: &Call<'_>, request: ListGroupsRequest) -> ListGroupsResponse {
    if let Err(code) = call.check_fault() {
        return ListGroupsResponse::default().with_error_code(code.code());
    }
    let passes = |filter: &[StrBytes], value: &str| {
        filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(value))
    };
    let mut groups = Vec::new();
    call.cluster.groups.for_each(|id, group| {
        // Every node lists what it coordinates.
        if call.cluster.check_coordinator(id, call.node).is_err() {
            return;
        }
        let (state, group_type, protocol_type) = match &group.membership {
            Membership::Classic(group) => (state_of(group), "classic", group.protocol_type.as_str()),
            Membership::Consumer(group) => (group.state(), "consumer", "consumer"),
        };
        if passes(&request.states_filter, state) && passes(&request.types_filter, group_type) {
            groups.push(
                ListedGroup::default()
                    .with_group_id(text(id).into())
                    .with_protocol_type(text(protocol_type))
                    .with_group_state(text(state))
                    .with_group_type(text(group_type)),
            );
        }
    });
    ListGroupsResponse::default().with_groups(groups)
}

pub(super) async fn delete(call: &Call<'_>, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let results = request.groups_names.into_iter().map(|id| {
        let deleted = call
            .check_coordinator(&id)
            .and_then(|()| call.cluster.groups.delete(&id));
        DeletableGroupResult::default()
            .with_error_code(super::code_of(&deleted))
            .with_group_id(id)
    });
    DeleteGroupsResponse::default().with_results(results.collect())
}
