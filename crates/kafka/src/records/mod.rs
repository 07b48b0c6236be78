//! Record batches, read in place: keys, values and headers are slices of the response (or of the batch decompressed
//! once).
//!
//! **Owns** the format of KIP-98 batches ("magic" 2), its codecs, and the rules of `read_committed`.
//! **Invariant:** no input makes it panic, nor allocate more than [`MAX_BATCH_BYTES`] at a time.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod batch;
mod compression;
mod cursor;
mod decode;
mod encode;

use bytes::Bytes;

use crate::TopicPartition;

pub(crate) use batch::{batch_epochs, is_damaged, scan};
pub use compression::MAX_BATCH_BYTES;
pub use decode::{AbortedTransaction, Records};
pub(crate) use encode::{BATCH_OVERHEAD_BYTES, PlainRecords, RecordsBuilder, Stamp, max_encoded_len};

/// A record as the broker holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumedRecord {
    /// Position in the partition.
    pub offset: i64,
    /// Milliseconds since 1970; −1 when the producer set none.
    pub timestamp: i64,
    /// Whose clock it was.
    pub timestamp_type: TimestampType,
    /// The key, any bytes.
    pub key: Option<Bytes>,
    /// The value, any bytes; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// In order, duplicates kept. Keys should be UTF-8, but nothing enforces it.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
    /// Epoch of the leader that appended it, if known.
    pub leader_epoch: Option<i32>,
}

impl ConsumedRecord {
    /// A copy of its own: the record itself is a part of the whole answer that it came with.
    #[must_use]
    pub fn detached(&self) -> Self {
        let copy = |bytes: &Bytes| Bytes::copy_from_slice(bytes);
        Self {
            key: self.key.as_ref().map(copy),
            value: self.value.as_ref().map(copy),
            headers: self
                .headers
                .iter()
                .map(|(key, value)| (copy(key), value.as_ref().map(copy)))
                .collect(),
            ..*self
        }
    }
}

/// Whose clock a record's timestamp comes from (`message.timestamp.type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// The broker's, when it appended the batch.
    LogAppendTime,
}

/// Bytes of a partition that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record batch at {partition}@{offset} cannot be read: {reason}")]
pub struct DecodeError {
    /// Where the bytes come from.
    pub partition: TopicPartition,
    /// The first offset that is unreadable; reading may go on behind the batch.
    pub offset: i64,
    /// What is wrong.
    #[source]
    pub reason: DecodeReason,
}

/// What is wrong with a batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeReason {
    /// The checksum does not fit the bytes.
    #[error("CRC-32C is {actual:#010x} where {stored:#010x} is stored: the batch is damaged")]
    Crc {
        /// In the batch.
        stored: u32,
        /// Of the batch.
        actual: u32,
    },
    /// An old or future format.
    #[error("record format {0}; only format 2 (Kafka 0.11 and later) can be read")]
    Magic(i8),
    /// A codec number that Kafka does not define.
    #[error("compression codec {0} is unknown")]
    Codec(i16),
    /// The compressed bytes are not valid.
    #[error("{codec} data is damaged: {detail}")]
    Decompress {
        /// Name of the codec.
        codec: &'static str,
        /// What the codec said.
        detail: String,
    },
    /// More than this client is willing to hold for one batch.
    #[error("{codec} data expands beyond {MAX_BATCH_BYTES} bytes")]
    TooLarge {
        /// Name of the codec.
        codec: &'static str,
    },
    /// A length or count that does not fit the bytes.
    #[error("{0}")]
    Malformed(&'static str),
}

#[cfg(test)]
mod tests;
