//! Produce.

use bytes::{Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_response::{LeaderIdAndEpoch, PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};

use super::super::batch::{Header, Invalid, has_valid_crc};
use super::super::clock::now_ms;
use super::super::cluster::TopicRef;
use super::super::configs::TopicConfigs;
use super::super::log::Appended;
use super::super::records;
use super::super::transactions::Producer;
use super::super::wire::text;
use super::Call;

/// Since this version a write makes its partition part of the transaction (KIP-890).
const ADDS_PARTITIONS: i16 = 12;

/// Since this version a broker that does not lead says who does.
const TELLS_LEADER: i16 = 10;

/// Why a partition was not written to, and what is said of it.
type Refusal = (ResponseError, Option<String>);

pub(super) async fn produce(call: &Call<'_>, request: ProduceRequest) -> ProduceResponse {
    if request.acks == 0 {
        call.stay_silent();
    }
    let now_ms = now_ms();
    let transactional_id = request.transactional_id.as_ref().map(|id| id.to_string());
    let mut responses = Vec::with_capacity(request.topic_data.len());
    for topic in request.topic_data {
        let reference = TopicRef::of(&topic.name, topic.topic_id);
        let partitions = topic.partition_data.into_iter().map(|data| {
            let appended = if (-1..=1).contains(&request.acks) {
                let records = data.records.unwrap_or_default();
                append(
                    call,
                    &reference,
                    data.index,
                    &records,
                    transactional_id.as_deref(),
                    now_ms,
                )
            } else {
                Err((ResponseError::InvalidRequiredAcks, None))
            };
            answer(call, &reference, data.index, appended)
        });
        let partitions = partitions.collect();
        responses.push(
            TopicProduceResponse::default()
                .with_name(topic.name)
                .with_topic_id(topic.topic_id)
                .with_partition_responses(partitions),
        );
    }
    ProduceResponse::default().with_responses(responses)
}

fn append(
    call: &Call<'_>,
    topic: &TopicRef,
    index: i32,
    records: &Bytes,
    transactional_id: Option<&str>,
    now_ms: i64,
) -> Result<(Appended, i64), Refusal> {
    let plain = |code| (code, None);
    call.check_fault().map_err(plain)?;
    let (topic, partition) = call.cluster.find_partition(topic, index).map_err(plain)?;
    let configs = topic.configs();
    let header = check(records, &configs)?;
    let live = call.cluster.live_nodes();
    let in_sync = partition
        .replicas
        .iter()
        .filter(|replica| live.iter().any(|node| node.id == **replica));
    if in_sync.count() < configs.min_insync_replicas() {
        return Err(plain(ResponseError::NotEnoughReplicas));
    }
    call.cluster.reclaim(&topic).map_err(plain)?;
    let write = || partition.append(call.node, BytesMut::from(records.as_ref()), header, &configs, now_ms);
    let appended = match transactional_id {
        None if header.is_transactional() => return Err(plain(ResponseError::InvalidTxnState)),
        Some(id) if header.is_transactional() => {
            let producer = Producer {
                id: header.producer_id,
                epoch: header.producer_epoch,
            };
            let of = (topic.name.clone(), index);
            let adds = call.version >= ADDS_PARTITIONS;
            call.cluster
                .transactions
                .within(id, producer, (&of, &partition), adds, now_ms, write)
        }
        _ => write(),
    };
    let appended = appended.map_err(plain)?;
    // What is over the bounds now goes; only a topic that loses nothing is refused, by the check above.
    call.cluster.reclaim(&topic).ok();
    Ok(appended)
}

/// Nothing of a batch is believed.
fn check(batch: &[u8], configs: &TopicConfigs) -> Result<Header, Refusal> {
    let refused = |code: ResponseError, reason: &str| (code, Some(reason.to_owned()));
    let header = Header::parse(batch).map_err(|invalid| {
        let code = match invalid {
            Invalid::Magic(_) => ResponseError::UnsupportedForMessageFormat,
            Invalid::Short | Invalid::Crc | Invalid::Records | Invalid::Codec(_) | Invalid::Decompress => {
                ResponseError::CorruptMessage
            }
        };
        (code, Some(invalid.to_string()))
    })?;
    if header.size != batch.len() {
        return Err(refused(
            ResponseError::InvalidRecord,
            "produce requests are only allowed to contain exactly one record batch per partition",
        ));
    }
    if batch.len() > configs.max_message_bytes() {
        let reason = format!(
            "a batch of {} bytes exceeds the topic's max.message.bytes of {}",
            batch.len(),
            configs.max_message_bytes()
        );
        return Err((ResponseError::MessageTooLarge, Some(reason)));
    }
    if !has_valid_crc(batch) {
        return Err((ResponseError::CorruptMessage, Some(Invalid::Crc.to_string())));
    }
    if header.is_control() {
        return Err(refused(
            ResponseError::InvalidRecord,
            "clients cannot write control batches",
        ));
    }
    if header.records < 1 || header.last_offset_delta != header.records - 1 {
        return Err(refused(
            ResponseError::InvalidRecord,
            "the last offset of a batch does not match its count of records",
        ));
    }
    if header.codec() > 4 {
        return Err(refused(ResponseError::InvalidRecord, "the codec is not known"));
    }
    let is_idempotent = header.producer_id >= 0;
    if is_idempotent && (header.producer_epoch < 0 || header.base_sequence < 0)
        || header.is_transactional() && !is_idempotent
    {
        return Err(refused(
            ResponseError::InvalidRecord,
            "a producer id needs an epoch and a sequence, a transaction a producer id",
        ));
    }
    if configs.is_compacted() {
        check_keys(batch, &header)?;
    }
    Ok(header)
}

/// Compaction goes by the key.
fn check_keys(batch: &[u8], header: &Header) -> Result<(), Refusal> {
    let corrupt = |invalid: Invalid| (ResponseError::CorruptMessage, Some(invalid.to_string()));
    let body = records::expand(batch, header).map_err(corrupt)?;
    let mut all_have_keys = true;
    records::for_each(&body, header, |record| {
        all_have_keys &= record.key.is_some();
        all_have_keys
    })
    .map_err(corrupt)?;
    if all_have_keys {
        Ok(())
    } else {
        let reason = "a compacted topic takes no record without a key".to_owned();
        Err((ResponseError::InvalidRecord, Some(reason)))
    }
}

fn answer(
    call: &Call<'_>,
    topic: &TopicRef,
    index: i32,
    appended: Result<(Appended, i64), Refusal>,
) -> PartitionProduceResponse {
    let answer = PartitionProduceResponse::default().with_index(index);
    match appended {
        Ok((appended, log_start_offset)) => answer
            .with_base_offset(appended.base_offset)
            .with_log_append_time_ms(appended.log_append_time_ms.unwrap_or(-1))
            .with_log_start_offset(log_start_offset),
        Err((code, reason)) => {
            let answer = answer
                .with_error_code(code.code())
                .with_error_message(reason.as_deref().map(text))
                .with_base_offset(-1)
                .with_log_append_time_ms(-1)
                .with_log_start_offset(-1);
            // Who leads instead saves the client a question (KIP-951).
            match (code, call.cluster.find_partition(topic, index)) {
                (ResponseError::NotLeaderOrFollower, Ok((_, partition))) if call.version >= TELLS_LEADER => {
                    let state = partition.lock();
                    answer.with_current_leader(
                        LeaderIdAndEpoch::default()
                            .with_leader_id(state.leader.unwrap_or(-1).into())
                            .with_leader_epoch(state.leader_epoch),
                    )
                }
                _ => answer,
            }
        }
    }
}
