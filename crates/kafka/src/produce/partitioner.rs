//! Which partition a record goes to, as Kafka's default partitioner has it.

use std::collections::HashMap;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Partition of a key among `partitions` (at least 1): murmur2, made positive, modulo.
pub(super) fn partition_of(key: &[u8], partitions: i32) -> i32 {
    (murmur2(key) & 0x7fff_ffff)
        .cast_signed()
        .checked_rem(partitions)
        .unwrap_or(0)
}

/// Murmur2 with Kafka's seed (`org.apache.kafka.common.utils.Utils.murmur2`).
fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    // Java's lengths are int32, and the hash takes the low 32 bits.
    let length = u32::try_from(data.len() & 0xffff_ffff).unwrap_or_default();
    let (words, rest) = data.as_chunks::<4>();
    let mut hash = words.iter().fold(SEED ^ length, |hash, word| {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash.wrapping_mul(M) ^ k.wrapping_mul(M)
    });
    for (shift, byte) in [0, 8, 16].into_iter().zip(rest) {
        hash ^= u32::from(*byte) << shift;
    }
    if !rest.is_empty() {
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// Partitions for records without a key: one until it has a batch's worth of bytes, then another at random (KIP-794),
/// so that batches fill.
#[derive(Debug)]
pub(super) struct Sticky {
    batch_size: usize,
    rng: StdRng,
    topics: HashMap<Arc<str>, (i32, usize)>,
}

impl Sticky {
    pub(super) fn new(batch_size: usize) -> Self {
        Self {
            batch_size,
            rng: StdRng::from_os_rng(),
            topics: HashMap::new(),
        }
    }

    /// The partition for a record of `bytes` bytes.
    pub(super) fn choose(&mut self, topic: &Arc<str>, bytes: usize, partitions: i32) -> i32 {
        let known = self
            .topics
            .get_mut(topic)
            .filter(|(partition, _)| *partition < partitions);
        if let Some((partition, filled)) = known
            && *filled < self.batch_size.max(1)
        {
            *filled = filled.saturating_add(bytes);
            return *partition;
        }
        let partition = self.rng.random_range(0..partitions.max(1));
        self.topics.insert(Arc::clone(topic), (partition, bytes));
        partition
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_hash_as_in_kafka() {
        // The vectors of Kafka's own UtilsTest.testMurmur2.
        let cases: [(&[u8], i32); 7] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
            (b"", 275_646_681),
        ];
        for (key, wanted) in cases {
            assert_eq!(murmur2(key).cast_signed(), wanted, "{}", String::from_utf8_lossy(key));
        }
        assert_eq!(partition_of(b"foobar", 10), (-790_332_482_i32 & 0x7fff_ffff) % 10);
    }

    #[test]
    fn records_without_a_key_stay_until_a_batch_is_full() {
        let topic: Arc<str> = "t".into();
        let mut sticky = Sticky::new(100);
        let mut runs = Vec::new();
        for _ in 0..400 {
            let partition = sticky.choose(&topic, 10, 8);
            match runs.last_mut() {
                Some((last, length)) if *last == partition => *length += 1,
                _ => runs.push((partition, 1)),
            }
        }
        assert!(runs.iter().all(|(_, length)| length % 10 == 0), "{runs:?}");
        assert!(runs.len() > 10, "it moves on: {runs:?}");
        assert_eq!(sticky.choose(&topic, 10, 1), 0, "partitions may become fewer");
    }
}
