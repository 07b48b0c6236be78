//! What a broker's answer to a batch means: one table.

use kafka_protocol::ResponseError;

use super::error::WriteOutcome;

/// What to do with a batch after its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The broker has it already, and does not say where.
    WrittenBefore,
    /// Send it again; the leader may have moved.
    Retry(WriteOutcome),
    /// Start the partition over in a new epoch (KIP-360).
    Bump,
    /// Send it in smaller batches.
    Split,
    /// It will not be written.
    Refuse(WriteOutcome),
    /// Another producer took over.
    Fenced,
}

/// How the batch stood when it was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// Whether all earlier batches of the partition have their outcome.
    pub(super) is_head: bool,
    pub(super) is_transactional: bool,
}

pub(super) fn verdict(code: ResponseError, standing: Standing) -> Verdict {
    use WriteOutcome::{NotWritten, Unknown};
    match code {
        ResponseError::DuplicateSequenceNumber => Verdict::WrittenBefore,
        ResponseError::MessageTooLarge | ResponseError::RecordListTooLarge => Verdict::Split,
        ResponseError::ProducerFenced => Verdict::Fenced,
        ResponseError::InvalidProducerEpoch if standing.is_transactional => Verdict::Fenced,
        ResponseError::OutOfOrderSequenceNumber
        | ResponseError::UnknownProducerId
        | ResponseError::InvalidProducerEpoch => match standing {
            // An earlier batch is not written yet, so this one cannot be in order.
            Standing { is_head: false, .. } => Verdict::Retry(NotWritten),
            // Its epoch belongs to the coordinator: the transaction is aborted.
            Standing {
                is_transactional: true, ..
            } => Verdict::Refuse(NotWritten),
            Standing { .. } => Verdict::Bump,
        },
        // The transaction before this one is still being completed.
        ResponseError::ConcurrentTransactions => Verdict::Retry(NotWritten),
        // The leader has it, and may keep or lose it.
        ResponseError::RequestTimedOut
        | ResponseError::NotEnoughReplicasAfterAppend
        | ResponseError::NetworkException => Verdict::Retry(Unknown),
        ResponseError::UnknownServerError => Verdict::Refuse(Unknown),
        code if code.is_retriable() => Verdict::Retry(NotWritten),
        _ => Verdict::Refuse(NotWritten),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_verdict() {
        use WriteOutcome::{NotWritten, Unknown};
        let head = Standing {
            is_head: true,
            is_transactional: false,
        };
        let behind = Standing { is_head: false, ..head };
        let transactional = Standing {
            is_transactional: true,
            ..head
        };
        let cases = [
            (
                ResponseError::NotLeaderOrFollower,
                head,
                Verdict::Retry(NotWritten),
                "the leader moved",
            ),
            (
                ResponseError::UnknownTopicOrPartition,
                head,
                Verdict::Retry(NotWritten),
                "metadata spread slowly",
            ),
            (
                ResponseError::NotEnoughReplicas,
                head,
                Verdict::Retry(NotWritten),
                "replicas come back",
            ),
            (
                ResponseError::NotEnoughReplicasAfterAppend,
                head,
                Verdict::Retry(Unknown),
                "the leader has it",
            ),
            (
                ResponseError::RequestTimedOut,
                head,
                Verdict::Retry(Unknown),
                "replicas did not confirm in time",
            ),
            (
                ResponseError::OutOfOrderSequenceNumber,
                behind,
                Verdict::Retry(NotWritten),
                "its predecessor failed",
            ),
            (
                ResponseError::OutOfOrderSequenceNumber,
                head,
                Verdict::Bump,
                "there is a gap",
            ),
            (
                ResponseError::UnknownProducerId,
                head,
                Verdict::Bump,
                "retention took the producer's state",
            ),
            (
                ResponseError::OutOfOrderSequenceNumber,
                transactional,
                Verdict::Refuse(NotWritten),
                "abort instead",
            ),
            (
                ResponseError::InvalidProducerEpoch,
                transactional,
                Verdict::Fenced,
                "the coordinator moved on",
            ),
            (
                ResponseError::ProducerFenced,
                transactional,
                Verdict::Fenced,
                "so it says",
            ),
            (
                ResponseError::DuplicateSequenceNumber,
                head,
                Verdict::WrittenBefore,
                "an attempt was not lost after all",
            ),
            (ResponseError::MessageTooLarge, head, Verdict::Split, "halves may fit"),
            (
                ResponseError::TopicAuthorizationFailed,
                head,
                Verdict::Refuse(NotWritten),
                "a person must grant it",
            ),
            (
                ResponseError::InvalidRecord,
                head,
                Verdict::Refuse(NotWritten),
                "no key in a compacted topic",
            ),
            (
                ResponseError::UnknownServerError,
                head,
                Verdict::Refuse(Unknown),
                "anything may have happened",
            ),
        ];
        for (code, standing, wanted, why) in cases {
            assert_eq!(verdict(code, standing), wanted, "{code:?}: {why}");
        }
    }
}
