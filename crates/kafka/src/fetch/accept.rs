//! One partition's part of an answer: records for the reader, or what to do about an error.

use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_response::PartitionData;
use tokio::time::Instant;

use super::intake::{Intake, Position, Ready, State};
use super::section::Response;
use super::{FetchError, FetchedSection, Remedy, remedy};
use crate::client::Leader;
use crate::error::code_of;
use crate::records::{AbortedTransaction, is_damaged, scan};
use crate::{IsolationLevel, KafkaClient, OffsetReset, OffsetSpec};

/// What came of it.
pub(super) enum Accepted {
    Section,
    /// No records this time, or an error that the reader was told.
    Nothing,
    /// The position changed meanwhile.
    Stale,
    /// To be routed again; perhaps the broker knows the leader.
    Moved(Option<Leader>),
}

/// What the parts of one answer have in common.
pub(super) struct Source<'a> {
    /// The broker that answered.
    pub(super) node: i32,
    pub(super) reservation: &'a mut super::Reservation,
    pub(super) share: &'a Arc<Response>,
    /// How long a leader's advice to read from a replica holds: `metadata.max.age.ms`, as in Kafka's consumer.
    pub(super) advice_holds: Duration,
}

/// Takes one partition's part of an answer that was asked for with `ticket` and `offset`.
pub(super) fn accept(
    client: &KafkaClient,
    intake: &Arc<Intake>,
    ticket: u64,
    offset: i64,
    data: PartitionData,
    source: &mut Source<'_>,
) -> Accepted {
    let mut state = intake.state();
    let is_asked = state.ticket == ticket && state.position == Position::At(offset);
    if !is_asked || intake.closed.is_cancelled() || state.ready.is_some() {
        return Accepted::Stale;
    }
    if let Some(code) = code_of(data.error_code) {
        return refused(client, intake, state, offset, code, &data);
    }
    state.watermarks = Some((data.high_watermark, data.last_stable_offset));
    let records = data.records.unwrap_or_default();
    let Some(found) = scan(&records) else {
        if data.preferred_read_replica.0 >= 0 {
            // The leader sends nothing but the advice to read elsewhere. Errors stay counted, so that a replica that
            // cannot serve what the leader says it can is not asked in a tight loop.
            state.preferred = Some((data.preferred_read_replica.0, Instant::now() + source.advice_holds));
            return Accepted::Moved(None);
        }
        if is_damaged(&records) {
            let partition = intake.partition.clone();
            let reason = "a batch has a length below one".to_owned();
            state.failure = Some(FetchError::Corrupt {
                partition,
                offset,
                reason,
            });
            intake.arrived.notify_one();
            return Accepted::Nothing;
        }
        // Nothing, or an incomplete batch: the response was full with other partitions' records.
        state.errors = 0;
        return Accepted::Nothing;
    };
    state.errors = 0;
    let aborted = data.aborted_transactions.unwrap_or_default();
    let section = FetchedSection {
        partition: intake.partition.clone(),
        epoch: intake.epoch,
        node: source.node,
        high_watermark: data.high_watermark,
        last_stable_offset: data.last_stable_offset,
        log_start_offset: data.log_start_offset,
        start_offset: offset,
        next_offset: found.next_offset.max(offset),
        last_epoch: found.leader_epoch,
        reservation: source.reservation.split(found.bytes),
        share: Some(source.share.share(found.bytes)),
        records: records.slice(..found.bytes),
        aborted: aborted
            .iter()
            .map(|transaction| AbortedTransaction {
                producer_id: transaction.producer_id.0,
                first_offset: transaction.first_offset,
            })
            .collect(),
        isolation: intake.settings.isolation_level,
        check_crcs: intake.settings.check_crcs,
    };
    let end = match intake.settings.isolation_level {
        IsolationLevel::ReadUncommitted => data.high_watermark,
        IsolationLevel::ReadCommitted => data.last_stable_offset,
    };
    state.position = Position::At(section.next_offset);
    state.is_urgent = section.next_offset < end;
    let epoch_before = std::mem::replace(&mut state.last_epoch, section.last_epoch);
    state.ready = Some(Box::new(Ready {
        section,
        since: Instant::now(),
        epoch_before,
    }));
    drop(state);
    intake.arrived.notify_one();
    Accepted::Section
}

/// The broker refuses this partition.
fn refused(
    client: &KafkaClient,
    intake: &Intake,
    mut state: MutexGuard<'_, State>,
    offset: i64,
    code: ResponseError,
    data: &PartitionData,
) -> Accepted {
    let partition = intake.partition.clone();
    match remedy(code) {
        Remedy::Reroute => {
            let leader = Leader {
                node: data.current_leader.leader_id.0,
                epoch: data.current_leader.leader_epoch,
            };
            state.errors = state.errors.saturating_add(1);
            state.preferred = None;
            tracing::debug!(%partition, offset, ?code, "fetch refused, finding the leader again");
            Accepted::Moved(Some(leader).filter(|leader| leader.node >= 0))
        }
        Remedy::Reset => {
            // A follower may lag behind or have deleted more: only the leader's word counts.
            if state.preferred.take().is_some() {
                state.errors = state.errors.saturating_add(1);
                return Accepted::Moved(None);
            }
            let spec = match intake.reset {
                OffsetReset::Earliest => OffsetSpec::Earliest,
                OffsetReset::Latest => OffsetSpec::Latest,
                OffsetReset::None => {
                    state.failure = Some(FetchError::OffsetOutOfRange { partition, offset });
                    intake.arrived.notify_one();
                    return Accepted::Nothing;
                }
            };
            tracing::warn!(%partition, offset, reset = ?intake.reset, "offset is out of range");
            state.go_to(Position::Unresolved(spec), None);
            Accepted::Moved(None)
        }
        Remedy::Tell => {
            state.failure = Some(match code {
                ResponseError::TopicAuthorizationFailed => {
                    let topic = Arc::clone(&partition.topic);
                    let (what, resource) = (format!("reading {partition}"), format!("topic `{topic}`"));
                    let source = client.refused(what, "READ", resource, code);
                    FetchError::TopicAuthorization { topic, source }
                }
                code => FetchError::Corrupt {
                    partition,
                    offset,
                    reason: format!("the broker answers {code:?}"),
                },
            });
            intake.arrived.notify_one();
            Accepted::Nothing
        }
    }
}
