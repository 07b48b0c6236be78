//! Every answer that the client reads, in every version: the generated decoders themselves make valid ones, by reading
//! from dice.

use bytes::{Buf, Bytes, BytesMut, TryGetError};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, AlterConfigsRequest, ApiVersionsRequest,
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, CreatePartitionsRequest, CreateTopicsRequest,
    DeleteGroupsRequest, DeleteRecordsRequest, DeleteTopicsRequest, DescribeClusterRequest, DescribeConfigsRequest,
    DescribeGroupsRequest, EndTxnRequest, FetchRequest, FindCoordinatorRequest, HeartbeatRequest,
    IncrementalAlterConfigsRequest, InitProducerIdRequest, JoinGroupRequest, LeaveGroupRequest, ListGroupsRequest,
    ListOffsetsRequest, MetadataRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest,
    OffsetForLeaderEpochRequest, ProduceRequest, ResponseHeader, SaslAuthenticateRequest, SaslHandshakeRequest,
    SyncGroupRequest,
};
use kafka_protocol::protocol::buf::ByteBuf;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request};
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use crate::connection::answer::decode;

struct Answer {
    key: i16,
    min: i16,
    max: i16,
    valid: fn(i16, &mut StdRng) -> Option<Bytes>,
    decode: fn(&Bytes, i16) -> Result<(), String>,
}

const fn of<R: Request>() -> Answer {
    Answer {
        key: R::KEY,
        min: R::VERSIONS.min,
        max: R::VERSIONS.max,
        valid: throw::<R>,
        decode: |answer, version| {
            decode::<R>(answer, version).map(drop).inspect_err(|reason| {
                let has_place = reason.contains(" byte ") || reason.contains("contradict");
                assert!(has_place, "an error says where: {reason}");
            })
        },
    }
}

static ANSWERS: [Answer; 33] = [
    of::<AddOffsetsToTxnRequest>(),
    of::<AddPartitionsToTxnRequest>(),
    of::<AlterConfigsRequest>(),
    of::<ApiVersionsRequest>(),
    of::<ConsumerGroupDescribeRequest>(),
    of::<ConsumerGroupHeartbeatRequest>(),
    of::<CreatePartitionsRequest>(),
    of::<CreateTopicsRequest>(),
    of::<DeleteGroupsRequest>(),
    of::<DeleteRecordsRequest>(),
    of::<DeleteTopicsRequest>(),
    of::<DescribeClusterRequest>(),
    of::<DescribeConfigsRequest>(),
    of::<DescribeGroupsRequest>(),
    of::<EndTxnRequest>(),
    of::<FetchRequest>(),
    of::<FindCoordinatorRequest>(),
    of::<HeartbeatRequest>(),
    of::<IncrementalAlterConfigsRequest>(),
    of::<InitProducerIdRequest>(),
    of::<JoinGroupRequest>(),
    of::<LeaveGroupRequest>(),
    of::<ListGroupsRequest>(),
    of::<ListOffsetsRequest>(),
    of::<MetadataRequest>(),
    of::<OffsetCommitRequest>(),
    of::<OffsetDeleteRequest>(),
    of::<OffsetFetchRequest>(),
    of::<OffsetForLeaderEpochRequest>(),
    of::<ProduceRequest>(),
    of::<SaslAuthenticateRequest>(),
    of::<SaslHandshakeRequest>(),
    of::<SyncGroupRequest>(),
];

/// An input names the API and its version, and goes on with the answer.
pub(super) fn valid(rng: &mut StdRng) -> Vec<u8> {
    loop {
        let answer = ANSWERS.choose(rng).unwrap();
        let version = rng.random_range(answer.min..=answer.max);
        if let Some(body) = (answer.valid)(version, rng) {
            let mut input = Vec::new();
            input.extend(answer.key.to_be_bytes());
            input.extend(version.to_be_bytes());
            input.extend(body);
            return input;
        }
    }
}

pub(super) fn read(input: &Bytes) -> Result<usize, String> {
    let mut body = input.clone();
    let (Ok(key), Ok(version)) = (body.try_get_i16(), body.try_get_i16()) else {
        return Ok(0);
    };
    match ANSWERS.iter().find(|answer| answer.key == key) {
        Some(answer) if (answer.min..=answer.max).contains(&version) => (answer.decode)(&body, version).map(|()| 1),
        _ => Ok(0),
    }
}

/// Header and body of a random answer to `R`.
fn throw<R: Request>(version: i16, rng: &mut StdRng) -> Option<Bytes> {
    let mut dice = Dice { rng, left: 200 };
    let message = R::Response::decode(&mut dice, version).ok()?;
    let mut out = BytesMut::new();
    let header = ResponseHeader::default().with_correlation_id(7);
    header.encode(&mut out, R::Response::header_version(version)).ok()?;
    message.encode(&mut out, version).ok()?;
    Some(out.freeze())
}

/// A buffer whose every read is a throw of dice, small numbers throughout since any may be a length. What a decoder makes
/// of it is a message.
struct Dice<'a> {
    rng: &'a mut StdRng,
    /// Reads until lengths become empty ones.
    left: usize,
}

impl Dice<'_> {
    fn roll(&mut self, empty: u8, sides: &[u8]) -> u8 {
        self.left = self.left.saturating_sub(1);
        match self.left {
            0 => empty,
            _ => *sides.choose(self.rng).unwrap(),
        }
    }
}

impl Buf for Dice<'_> {
    fn remaining(&self) -> usize {
        usize::MAX
    }

    fn chunk(&self) -> &[u8] {
        &[0; 16]
    }

    fn advance(&mut self, _count: usize) {}

    /// Lengths plus one, where 0 is null; booleans; numbers of tagged fields.
    fn try_get_u8(&mut self) -> Result<u8, TryGetError> {
        Ok(self.roll(1, &[0, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3]))
    }

    fn try_get_i8(&mut self) -> Result<i8, TryGetError> {
        Ok(self.roll(0, &[0, 1]).cast_signed())
    }

    fn try_get_i16(&mut self) -> Result<i16, TryGetError> {
        Ok(i16::from(self.roll(0, &[0, 1, 2, 3])))
    }

    fn try_get_i32(&mut self) -> Result<i32, TryGetError> {
        Ok(i32::from(self.roll(0, &[0, 1, 2, 3])))
    }

    fn try_get_i64(&mut self) -> Result<i64, TryGetError> {
        Ok(self.rng.random_range(-1..i64::MAX))
    }

    fn try_copy_to_slice(&mut self, target: &mut [u8]) -> Result<(), TryGetError> {
        self.rng.fill(target);
        Ok(())
    }
}

impl ByteBuf for Dice<'_> {
    fn peek_bytes(&mut self, range: std::ops::Range<usize>) -> Bytes {
        Bytes::from(vec![b'p'; range.len()])
    }

    fn get_bytes(&mut self, size: usize) -> Bytes {
        Bytes::from(vec![b'x'; size])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzzing::seeded;

    #[test]
    fn a_wary_decoder_reads_what_a_trusting_one_does() {
        fn compare<R: Request<Response: PartialEq>>(rng: &mut StdRng) {
            for version in R::VERSIONS.min..=R::VERSIONS.max {
                let thrown = (0..1_000).find_map(|_| throw::<R>(version, rng));
                let bytes = thrown.expect("dice make a message soon");
                let mut trusting = bytes.clone();
                ResponseHeader::decode(&mut trusting, R::Response::header_version(version)).unwrap();
                let trusting = R::Response::decode(&mut trusting, version).unwrap();
                let wary = decode::<R>(&bytes, version).unwrap();
                assert!(wary == trusting, "API {} version {version}: {bytes:02x?}", R::KEY);
            }
        }
        let rng = &mut seeded(1);
        for _ in 0..50 {
            compare::<FetchRequest>(rng);
            compare::<MetadataRequest>(rng);
            compare::<JoinGroupRequest>(rng);
            compare::<OffsetFetchRequest>(rng);
            compare::<ApiVersionsRequest>(rng);
            compare::<DescribeGroupsRequest>(rng);
        }
    }
}
