//! Offsets of logs: by time, by epoch, and where they begin.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use kafka_protocol::messages::{
    DeleteRecordsRequest, DeleteRecordsResponse, ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse, TopicName,
};

use super::super::cluster::TopicRef;
use super::super::log::{Found, Isolation};
use super::Call;

/// What ListOffsets calls times that are none.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
/// Of what is on this machine: all of it.
const EARLIEST_LOCAL: i64 = -4;
/// Of what was moved to other storage: nothing.
const LATEST_TIERED: i64 = -5;

/// Since this version ListOffsets tells the epoch of what it finds (KIP-320).
const KNOWS_EPOCHS: i16 = 4;

fn known(epoch: i32) -> Option<i32> {
    Some(epoch).filter(|epoch| *epoch >= 0)
}

fn named(name: &TopicName) -> TopicRef {
    TopicRef::Name(name.to_string())
}

pub(super) async fn list(call: &Call<'_>, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let isolation = Isolation::of_level(request.isolation_level);
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let epoch = known(asked.current_leader_epoch);
            let found = find(
                call,
                &named(&topic.name),
                asked.partition_index,
                epoch,
                asked.timestamp,
                isolation,
            );
            let answer = ListOffsetsPartitionResponse::default()
                .with_partition_index(asked.partition_index)
                .with_timestamp(-1)
                .with_offset(-1)
                .with_leader_epoch(-1);
            match found {
                Ok(None) => answer,
                Ok(Some(found)) => answer
                    .with_offset(found.offset)
                    .with_timestamp(found.timestamp_ms)
                    .with_leader_epoch(if call.version >= KNOWS_EPOCHS {
                        found.leader_epoch
                    } else {
                        -1
                    }),
                Err(code) => answer.with_error_code(code.code()),
            }
        });
        let partitions = partitions.collect();
        ListOffsetsTopicResponse::default()
            .with_name(topic.name)
            .with_partitions(partitions)
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

fn find(
    call: &Call<'_>,
    topic: &TopicRef,
    index: i32,
    known_epoch: Option<i32>,
    timestamp: i64,
    isolation: Isolation,
) -> Result<Option<Found>, ResponseError> {
    call.check_fault()?;
    let (_, partition) = call.cluster.find_partition(topic, index)?;
    let state = partition.led_by(call.node, known_epoch)?;
    let log = &state.log;
    let at = |offset| Found {
        offset,
        timestamp_ms: -1,
        leader_epoch: log.epoch_of(offset),
    };
    Ok(match timestamp {
        LATEST if isolation == Isolation::Committed => Some(at(log.last_stable_offset())),
        LATEST => Some(at(log.end_offset())),
        EARLIEST | EARLIEST_LOCAL => Some(at(log.start_offset())),
        MAX_TIMESTAMP => log.find_max_timestamp(),
        LATEST_TIERED => None,
        timestamp if timestamp < 0 => return Err(ResponseError::UnsupportedForMessageFormat),
        timestamp => log.find_time(timestamp, isolation),
    })
}

pub(super) async fn epoch_end(call: &Call<'_>, request: OffsetForLeaderEpochRequest) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let end = call
                .check_fault()
                .and_then(|()| call.cluster.find_partition(&named(&topic.topic), asked.partition))
                .and_then(|(_, partition)| {
                    let state = partition.led_by(call.node, known(asked.current_leader_epoch))?;
                    Ok(state.log.epoch_end(asked.leader_epoch))
                });
            let answer = EpochEndOffset::default()
                .with_partition(asked.partition)
                .with_leader_epoch(-1)
                .with_end_offset(-1);
            match end {
                Ok(None) => answer,
                Ok(Some((epoch, end))) => answer.with_leader_epoch(epoch).with_end_offset(end),
                Err(code) => answer.with_error_code(code.code()),
            }
        });
        let partitions = partitions.collect();
        OffsetForLeaderTopicResult::default()
            .with_topic(topic.topic)
            .with_partitions(partitions)
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}

pub(super) async fn delete_records(call: &Call<'_>, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    /// Everything that is there.
    const HIGH_WATERMARK: i64 = -1;
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let deleted = call
                .check_fault()
                .and_then(|()| call.cluster.find_partition(&named(&topic.name), asked.partition_index))
                .and_then(|(_, partition)| {
                    drop(partition.led_by(call.node, None)?);
                    partition.maintain(|log| {
                        let before = match asked.offset {
                            HIGH_WATERMARK => log.end_offset(),
                            offset if offset < 0 => return Err(ResponseError::OffsetOutOfRange),
                            offset => offset,
                        };
                        log.delete_before(before)?;
                        Ok(log.start_offset())
                    })
                });
            DeleteRecordsPartitionResult::default()
                .with_partition_index(asked.partition_index)
                .with_error_code(super::code_of(&deleted))
                .with_low_watermark(deleted.unwrap_or(-1))
        });
        let partitions = partitions.collect();
        DeleteRecordsTopicResult::default()
            .with_name(topic.name)
            .with_partitions(partitions)
    });
    DeleteRecordsResponse::default().with_topics(topics.collect())
}
