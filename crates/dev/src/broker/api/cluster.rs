//! Who is there, and who coordinates what.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{
    DescribeClusterRequest, DescribeClusterResponse, FindCoordinatorRequest, FindCoordinatorResponse,
};

use super::super::cluster::Node;
use super::super::wire::text;
use super::Call;
use super::metadata::CLUSTER_OPERATIONS;

/// Since this version one request asks for many keys.
const MANY_KEYS: i16 = 4;

pub(super) async fn find_coordinator(call: &Call<'_>, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
    let host = text(&call.cluster.settings.host.to_string());
    let found = |key: &str| -> Result<Node, ResponseError> {
        /// Of share groups, which are not served.
        const MAX_KEY_TYPE: i8 = 1;
        call.check_fault()?;
        if !(0..=MAX_KEY_TYPE).contains(&request.key_type) {
            return Err(ResponseError::InvalidRequest);
        }
        call.cluster
            .coordinator(key)
            .ok_or(ResponseError::CoordinatorNotAvailable)
    };
    let message = |code: ResponseError| Some(text(&code.to_string()));
    if call.version < MANY_KEYS {
        let response = FindCoordinatorResponse::default();
        return match found(&request.key) {
            Ok(node) => response
                .with_node_id(node.id.into())
                .with_host(host)
                .with_port(i32::from(node.port)),
            Err(code) => response
                .with_error_code(code.code())
                .with_error_message(message(code))
                .with_node_id((-1).into())
                .with_port(-1),
        };
    }
    let coordinators = request.coordinator_keys.iter().map(|key| {
        let coordinator = Coordinator::default().with_key(key.clone());
        match found(key) {
            Ok(node) => coordinator
                .with_node_id(node.id.into())
                .with_host(host.clone())
                .with_port(i32::from(node.port)),
            Err(code) => coordinator
                .with_error_code(code.code())
                .with_error_message(message(code))
                .with_node_id((-1).into())
                .with_port(-1),
        }
    });
    FindCoordinatorResponse::default().with_coordinators(coordinators.collect())
}

pub(super) async fn describe(call: &Call<'_>, request: DescribeClusterRequest) -> DescribeClusterResponse {
    let nodes = call.cluster.nodes().into_iter();
    let brokers = nodes
        .filter(|node| node.is_up || request.include_fenced_brokers)
        .map(|node| {
            DescribeClusterBroker::default()
                .with_broker_id(node.id.into())
                .with_host(text(&call.cluster.settings.host.to_string()))
                .with_port(i32::from(node.port))
                .with_rack(Some(text(&node.rack())))
                .with_is_fenced(!node.is_up)
        });
    let mut response = DescribeClusterResponse::default()
        .with_error_code(super::code_of(&call.check_fault()))
        .with_endpoint_type(1)
        .with_cluster_id(text(&call.cluster.id))
        .with_controller_id(call.cluster.controller().into())
        .with_brokers(brokers.collect());
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    response
}
