//! A lane against a model of a broker that checks sequence numbers as Kafka does, over a connection that breaks.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use proptest::prelude::*;
use tokio::sync::Semaphore;

use super::*;
use crate::IsolationLevel;
use crate::produce::exchange::Answer;
use crate::produce::sender::settle;
use crate::produce::verdict::Standing;
use crate::records::Records;
use crate::{Compression, ProducerConfig};

/// Batches that a broker remembers of a producer.
const REMEMBERED: usize = 5;

/// First and next sequence number of a batch, and its offset.
type Written = (i32, i32, i64);

#[derive(Default)]
struct Broker {
    log: Vec<u32>,
    /// Epoch and last batches of the producer.
    known: Option<(i16, VecDeque<Written>)>,
}

impl Broker {
    fn append(&mut self, sending: &Sending) -> PartitionProduceResponse {
        let refused = |code: ResponseError| PartitionProduceResponse::default().with_error_code(code.code());
        let stamp = sending.stamp.unwrap();
        let next = sequence_after(stamp.sequence, sending.records.count());
        if let Some((epoch, batches)) = &self.known {
            if stamp.epoch < *epoch {
                return refused(ResponseError::InvalidProducerEpoch);
            }
            let before = batches
                .iter()
                .find(|(first, after, _)| (*first, *after) == (stamp.sequence, next));
            if let Some((_, _, offset)) = before.filter(|_| stamp.epoch == *epoch) {
                return PartitionProduceResponse::default().with_base_offset(*offset);
            }
            let expected = if stamp.epoch > *epoch {
                0
            } else {
                batches.back().unwrap().1
            };
            if stamp.sequence != expected {
                return refused(ResponseError::OutOfOrderSequenceNumber);
            }
        }
        // A producer that is not known may begin with any sequence number.
        let offset = i64::try_from(self.log.len()).unwrap();
        let batch = sending.records.encode(Compression::None, sending.stamp).unwrap();
        let records = Records::new(
            sending.partition.clone(),
            batch,
            0,
            IsolationLevel::ReadUncommitted,
            &[],
            true,
        );
        for record in records {
            let value: [u8; 4] = record.unwrap().value.unwrap().as_ref().try_into().unwrap();
            self.log.push(u32::from_be_bytes(value));
        }
        match &mut self.known {
            Some((epoch, batches)) if *epoch == stamp.epoch => {
                batches.push_back((stamp.sequence, next, offset));
                if batches.len() > REMEMBERED {
                    batches.pop_front();
                }
            }
            known => *known = Some((stamp.epoch, VecDeque::from([(stamp.sequence, next, offset)]))),
        }
        PartitionProduceResponse::default().with_base_offset(offset)
    }
}

struct Run {
    lane: Lane,
    config: ProducerConfig,
    room: Arc<Semaphore>,
    ordinals: u64,
    broker: Broker,
    /// On the way to the broker.
    wire: VecDeque<Sending>,
    /// On the way back.
    answers: VecDeque<(u64, PartitionProduceResponse)>,
    outcomes: Vec<oneshot::Receiver<Result<RecordMetadata, ProduceError>>>,
}

impl Run {
    fn new() -> Self {
        let backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(2));
        let mut lane = Lane::new(TopicPartition::new("t", 0), backoff);
        lane.identify(Identity {
            producer_id: 7,
            epoch: 0,
        });
        Self {
            lane,
            config: ProducerConfig {
                // Three records a batch.
                batch_size: 94,
                ..ProducerConfig::default()
            },
            room: Arc::new(Semaphore::new(1_000_000)),
            ordinals: 0,
            broker: Broker::default(),
            wire: VecDeque::new(),
            answers: VecDeque::new(),
            outcomes: Vec::new(),
        }
    }

    fn push(&mut self) {
        self.push_while(Wanted::Always);
    }

    fn push_while(&mut self, wanted: Wanted) {
        let mut record = ProduceRecord::new("t");
        let number = u32::try_from(self.outcomes.len()).unwrap();
        record.value = Some(Bytes::copy_from_slice(&number.to_be_bytes()));
        let (done, outcome) = oneshot::channel();
        let waiter = Waiter {
            timestamp: 5,
            wanted,
            done,
        };
        let room = Arc::clone(&self.room).try_acquire_many_owned(11).unwrap();
        self.lane.push(&record, waiter, room, &mut self.ordinals, &self.config);
        self.outcomes.push(outcome);
    }

    fn take(&mut self) -> bool {
        // Backoff is over by then.
        let later = Instant::now() + Duration::from_secs(10);
        if self.lane.ready(later, &self.config).is_none() {
            return false;
        }
        self.wire.push_back(self.lane.take(&self.config).unwrap());
        true
    }

    fn process(&mut self) -> bool {
        let Some(sending) = self.wire.pop_front() else {
            return false;
        };
        let answer = self.broker.append(&sending);
        self.answers.push_back((sending.ordinal, answer));
        true
    }

    /// The leader moved, replicas are missing, and so on.
    fn refuse(&mut self, code: ResponseError) {
        if let Some(sending) = self.wire.pop_front() {
            let answer = PartitionProduceResponse::default().with_error_code(code.code());
            self.answers.push_back((sending.ordinal, answer));
        }
    }

    fn settle(&mut self, ordinal: u64, answer: Answer) {
        let standing = Standing {
            is_head: self.lane.is_head(ordinal),
            is_transactional: false,
        };
        let refused = |what, _, _, code| KafkaError::broker(what, code);
        let settled = settle(answer, standing, &self.lane.partition, &self.config, refused);
        self.lane.settle(ordinal, settled, &self.config);
    }

    fn answer(&mut self) -> bool {
        let Some((ordinal, answer)) = self.answers.pop_front() else {
            return false;
        };
        self.settle(ordinal, Answer::Broker(answer));
        true
    }

    /// The broker may have got the first few requests, but no answer comes back any more.
    fn disconnect(&mut self, arrived: usize) {
        let mut lost: Vec<_> = self.answers.drain(..).map(|(ordinal, _)| ordinal).collect();
        for (place, sending) in self.wire.drain(..).enumerate() {
            if place < arrived {
                self.broker.append(&sending);
            }
            lost.push(sending.ordinal);
        }
        for ordinal in lost {
            let failure = KafkaError::Disconnected {
                address: "h:1".into(),
                reason: "test".into(),
            };
            let outcome = WriteOutcome::Unknown;
            self.settle(ordinal, Answer::Failed { failure, outcome });
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Push => self.push(),
            Step::Take => drop(self.take()),
            Step::Process => drop(self.process()),
            Step::Answer => drop(self.answer()),
            Step::Refuse => self.refuse(ResponseError::NotEnoughReplicas),
            Step::TooLarge => self.refuse(ResponseError::MessageTooLarge),
            Step::Disconnect(arrived) => self.disconnect(arrived),
        }
    }

    /// From now on nothing goes wrong.
    fn finish(&mut self) {
        self.lane.seal(&mut self.ordinals);
        for _ in 0..100_000 {
            if self.lane.is_idle() {
                return;
            }
            while self.take() {}
            while self.process() {}
            while self.answer() {}
        }
        panic!("it never ends: {:?}", self.lane);
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Push,
    Take,
    Process,
    Answer,
    Refuse,
    /// Only for batches of several records: the lane gives up on one alone.
    TooLarge,
    Disconnect(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::Push),
        6 => Just(Step::Take),
        5 => Just(Step::Process),
        5 => Just(Step::Answer),
        1 => Just(Step::Refuse),
        1 => (0..6_usize).prop_map(Step::Disconnect),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_record_is_in_the_log_once_and_in_order(steps in proptest::collection::vec(any_step(), 0..200)) {
        let mut run = Run::new();
        for step in steps {
            run.step(step);
        }
        run.finish();
        let count = u32::try_from(run.outcomes.len()).unwrap();
        prop_assert_eq!(&run.broker.log, &(0..count).collect::<Vec<_>>());
        for (number, mut outcome) in (0..).zip(run.outcomes) {
            prop_assert_eq!(outcome.try_recv().unwrap().unwrap().offset, Some(number));
        }
        prop_assert_eq!(run.room.available_permits(), 1_000_000, "all room is given back");
    }
}

fn run_of(steps: &[Step]) -> Run {
    let mut run = Run::new();
    steps.iter().for_each(|step| run.step(*step));
    run
}

#[test]
fn a_split_batch_keeps_its_place_and_its_sequence() {
    use Step::{Answer, Process, Push, Take, TooLarge};
    // The first batch makes the lane known, so that the next two go out together.
    let mut run = run_of(&[Push, Push, Push, Take, Process, Answer]);
    (0..6).for_each(|_| run.push());
    for step in [Take, Take, TooLarge, Process, Answer, Answer] {
        run.step(step);
    }
    run.finish();
    assert_eq!(run.broker.log, (0..9).collect::<Vec<_>>());
    assert_eq!(run.broker.known.unwrap().0, 0, "without a new epoch");
}

#[test]
fn a_broker_that_lost_track_gets_a_new_epoch() {
    use Step::{Answer, Process, Push, Take};
    let mut run = run_of(&[
        Push, Push, Push, Take, Process, Answer, Push, Push, Push, Take, Process, Answer,
    ]);
    // An unclean election lost the second batch, which was acknowledged.
    run.broker.log.truncate(3);
    run.broker.known.as_mut().unwrap().1.pop_back();
    (0..6).for_each(|_| run.push());
    run.finish();
    assert_eq!(run.broker.log, [0, 1, 2, 6, 7, 8, 9, 10, 11]);
    assert_eq!(run.broker.known.unwrap().0, 1);
}

#[test]
fn only_one_batch_is_in_flight_until_the_broker_knows_the_producer() {
    let mut run = Run::new();
    (0..30).for_each(|_| run.push());
    assert!(
        run.take() && !run.take(),
        "it would take any sequence number for the first"
    );
    assert!(run.process() && run.answer());
    let in_flight = std::iter::from_fn(|| run.take().then_some(())).count();
    assert_eq!(in_flight, 5);
}

#[test]
fn what_may_be_written_already_goes_alone() {
    use Step::{Answer, Disconnect, Process, Push, Take};
    let mut run = run_of(&[
        Push,
        Push,
        Push,
        Take,
        Process,
        Answer,
        Push,
        Push,
        Push,
        Take,
        Disconnect(1),
    ]);
    (0..30).for_each(|_| run.push());
    assert!(run.take());
    assert!(!run.take(), "five batches later the broker would not know it again");
    assert!(run.process() && run.answer());
    assert!(run.take() && run.take(), "once it is settled, others go together");
    run.finish();
    assert_eq!(run.broker.log, (0..36).collect::<Vec<_>>());
}

#[test]
fn what_nobody_waits_for_any_more_is_not_sent() {
    use Step::{Answer, Disconnect, Process, Push, Take};
    let mut run = run_of(&[Push, Push, Push, Take, Process, Answer]);
    (0..6).for_each(|_| run.push_while(Wanted::WhileAwaited));
    // One of the two batches was tried before.
    run.step(Take);
    run.step(Disconnect(0));
    run.push_while(Wanted::WhileAwaited);
    run.push();
    run.push();
    drop(run.outcomes.split_off(3));
    run.lane.expire(Instant::now(), &run.config);
    run.finish();
    assert_eq!(
        run.broker.log,
        [0, 1, 2, 9, 10, 11],
        "others of its batch are waited for"
    );
    assert_eq!(run.room.available_permits(), 1_000_000, "all room is given back");
}

#[test]
fn time_that_is_up_tells_what_is_known() {
    let mut run = Run::new();
    (0..7).for_each(|_| run.push());
    assert!(run.take());
    let later = Instant::now() + run.config.delivery_timeout;
    run.lane.expire(later, &run.config);
    let outcomes: Vec<_> = run
        .outcomes
        .iter_mut()
        .filter_map(|outcome| outcome.try_recv().ok())
        .map(|outcome| outcome.unwrap_err().outcome())
        .collect();
    let (sent, queued) = (WriteOutcome::Unknown, WriteOutcome::NotWritten);
    assert_eq!(
        outcomes,
        [sent, sent, sent, queued, queued, queued],
        "the last is not sealed yet"
    );
    run.finish();
    assert_eq!(run.broker.log, [0, 1, 2, 6], "what was in flight arrived");
}
