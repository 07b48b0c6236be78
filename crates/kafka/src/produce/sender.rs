//! The task behind a producer: collects batches, sends what is ready, sorts the answers.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use kafka_protocol::ResponseError;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::error::WriteOutcome;
use super::exchange::{Answer, Answered, Exchange, JoinBy};
use super::identity;
use super::lane::{Identity, Lane, ORDINAL_SPAN, Settled, Waiter};
use super::verdict::{Standing, Verdict, verdict};
use super::{ProduceError, ProduceRecord};
use crate::backoff::Backoff;
use crate::connection::Connection;
use crate::error::code_of;
use crate::{KafkaClient, KafkaError, ProducerConfig, TopicPartition};

/// Commands that are taken at once, between two looks at what is ready.
const COMMANDS_AT_ONCE: usize = 256;
/// One request without a batch is never built, so its header does not count against `max.request.size`.
type Requests = BTreeMap<i32, (usize, Vec<(usize, super::lane::Sending)>)>;
type Asking = Pin<Box<dyn Future<Output = Result<Identity, KafkaError>> + Send>>;

/// What the handle asks of the task.
#[derive(Debug)]
pub(super) enum Command {
    /// Write this record.
    Record(Box<Enqueued>),
    /// Send everything at once, and tell when all of it has its outcome.
    Flush(oneshot::Sender<()>),
    /// Drop what is not in flight, and tell when nothing is.
    Abandon(oneshot::Sender<()>),
    /// Write under this identity from now on; nothing is enqueued.
    Identify(Identity, JoinBy),
}

/// A record whose place and room are settled.
#[derive(Debug)]
pub(super) struct Enqueued {
    pub(super) record: ProduceRecord,
    pub(super) partition: i32,
    pub(super) room: OwnedSemaphorePermit,
    pub(super) waiter: Waiter,
}

#[derive(Debug, Default)]
struct Node {
    in_flight: usize,
    /// The connection of the last request, for the next to follow on.
    last: Option<oneshot::Receiver<Connection>>,
}

pub(super) struct Sender {
    client: Arc<KafkaClient>,
    config: Arc<ProducerConfig>,
    commands: mpsc::Receiver<Command>,
    lanes: Vec<Lane>,
    index: HashMap<TopicPartition, usize>,
    /// Lanes that are not idle, each once.
    active: VecDeque<usize>,
    nodes: HashMap<i32, Node>,
    exchanges: FuturesUnordered<Pin<Box<dyn Future<Output = Answered> + Send>>>,
    identity: Option<Identity>,
    asking: Option<Asking>,
    join_by: JoinBy,
    ordinals: u64,
    /// Who waits for all batches below an ordinal.
    flushes: Vec<(u64, oneshot::Sender<()>)>,
    next_refresh: Option<Instant>,
}

enum Event {
    Commands(usize),
    Answered(Answered),
    Identified(Result<Identity, KafkaError>),
    /// Metadata changed, or it is time for something.
    Look,
    Stop,
}

impl Sender {
    pub(super) fn new(
        client: Arc<KafkaClient>,
        config: Arc<ProducerConfig>,
        commands: mpsc::Receiver<Command>,
    ) -> Self {
        Self {
            client,
            config,
            commands,
            lanes: Vec::new(),
            index: HashMap::new(),
            active: VecDeque::new(),
            nodes: HashMap::new(),
            exchanges: FuturesUnordered::new(),
            identity: None,
            asking: None,
            join_by: JoinBy::default(),
            ordinals: 0,
            flushes: Vec::new(),
            next_refresh: None,
        }
    }

    /// Runs until the handle is dropped and everything has its outcome, or the client is shut down.
    pub(super) async fn run(mut self) {
        let stop = self.client.stop().clone();
        let mut changes = self.client.metadata().changes();
        let mut commands = Vec::with_capacity(COMMANDS_AT_ONCE);
        let mut is_open = true;
        while is_open || !self.active.is_empty() {
            let now = Instant::now();
            if !is_open {
                self.seal_all();
            }
            self.pump(now);
            let wake = self.wake(now);
            let event = tokio::select! {
                () = stop.cancelled() => Event::Stop,
                taken = self.commands.recv_many(&mut commands, COMMANDS_AT_ONCE), if is_open => Event::Commands(taken),
                Some(answered) = self.exchanges.next() => Event::Answered(answered),
                identified = async {
                    match &mut self.asking {
                        Some(asking) => asking.await,
                        None => std::future::pending().await,
                    }
                } => Event::Identified(identified),
                Ok(()) = changes.changed() => Event::Look,
                () = async {
                    match wake {
                        Some(wake) => sleep_until(wake).await,
                        None => std::future::pending().await,
                    }
                } => Event::Look,
            };
            match event {
                Event::Commands(0) => is_open = false,
                Event::Commands(_) => commands.drain(..).for_each(|command| self.obey(command)),
                Event::Answered(answered) => self.answered(answered),
                Event::Identified(result) => self.identified(result),
                Event::Look => {}
                Event::Stop => {
                    for lane in &mut self.lanes {
                        lane.fail_all(&mut self.ordinals, |_, outcome| ProduceError::Closed { outcome });
                    }
                    return;
                }
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Record(enqueued) => {
                let Enqueued {
                    record,
                    partition,
                    room,
                    waiter,
                } = *enqueued;
                let at = self.lane(TopicPartition::new(Arc::clone(&record.topic), partition));
                let Some(lane) = self.lanes.get_mut(at) else { return };
                if lane.is_idle() && !self.active.contains(&at) {
                    self.active.push_back(at);
                }
                lane.push(&record, waiter, room, &mut self.ordinals, &self.config);
            }
            Command::Flush(done) => {
                self.seal_all();
                self.flushes.push((self.ordinals.saturating_add(ORDINAL_SPAN), done));
            }
            Command::Abandon(done) => {
                for lane in &mut self.lanes {
                    lane.fail_queued(&mut self.ordinals, |_, outcome| ProduceError::Closed { outcome });
                }
                self.flushes.push((self.ordinals.saturating_add(ORDINAL_SPAN), done));
            }
            Command::Identify(identity, join_by) => {
                self.join_by = join_by;
                self.identity = Some(identity);
                self.lanes.iter_mut().for_each(|lane| lane.identify(identity));
            }
        }
    }

    fn lane(&mut self, partition: TopicPartition) -> usize {
        let (client, lanes) = (&self.client, &mut self.lanes);
        *self.index.entry(partition).or_insert_with_key(|partition| {
            let config = client.config();
            let backoff = Backoff::new(config.retry_backoff, config.retry_backoff_max);
            lanes.push(Lane::new(partition.clone(), backoff));
            lanes.len().saturating_sub(1)
        })
    }

    fn seal_all(&mut self) {
        for at in &self.active {
            if let Some(lane) = self.lanes.get_mut(*at) {
                lane.seal(&mut self.ordinals);
            }
        }
    }

    /// Sends whatever may be sent.
    fn pump(&mut self, now: Instant) {
        for at in &self.active {
            if let Some(lane) = self.lanes.get_mut(*at) {
                lane.expire(now, &self.config);
                lane.seal_due(now, &mut self.ordinals);
            }
        }
        self.identify_lanes();
        loop {
            let requests = self.requests(now);
            if requests.is_empty() {
                break;
            }
            for (node, (_, sendings)) in requests {
                self.launch(node, sendings);
            }
        }
        let lanes = &self.lanes;
        self.active
            .retain(|at| lanes.get(*at).is_some_and(|lane| !lane.is_idle()));
        let oldest = self.active.iter().filter_map(|at| lanes.get(*at)?.oldest()).min();
        for (_, done) in self
            .flushes
            .extract_if(.., |(bound, _)| oldest.is_none_or(|oldest| oldest >= *bound))
        {
            done.send(()).unwrap_or_default(); // whoever asked may have stopped waiting
        }
    }

    /// Gives lanes that need one a producer id, or asks for it.
    fn identify_lanes(&mut self) {
        if !self.config.idempotence {
            return;
        }
        let (lanes, identity) = (&mut self.lanes, self.identity);
        let mut is_missing = false;
        for at in &self.active {
            if let Some(lane) = lanes.get_mut(*at).filter(|lane| lane.needs_identity()) {
                match identity.filter(|identity| lane.accepts(*identity)) {
                    Some(identity) => lane.identify(identity),
                    None => is_missing = true,
                }
            }
        }
        // A transactional producer gets its identity from the coordinator, before the first record.
        if is_missing && self.asking.is_none() && self.config.transactional_id.is_none() {
            self.asking = Some(Box::pin(identity::producer_id(Arc::clone(&self.client))));
        }
    }

    fn identified(&mut self, result: Result<Identity, KafkaError>) {
        self.asking = None;
        match result {
            Ok(identity) => self.identity = Some(identity),
            Err(source) => {
                for at in &self.active {
                    if let Some(lane) = self.lanes.get_mut(*at) {
                        lane.fail_queued(&mut self.ordinals, |_, outcome| ProduceError::Coordinator {
                            what: "asking for a producer id (`enable.idempotence`)".to_owned(),
                            outcome,
                            source: source.clone(),
                        });
                    }
                }
            }
        }
    }

    /// One batch for each partition that may send now, by broker. Every lane gets its turn first at some time.
    fn requests(&mut self, now: Instant) -> Requests {
        let mut requests = Requests::new();
        let mut is_leaderless = false;
        for at in &self.active {
            let Some(lane) = self.lanes.get_mut(*at) else { continue };
            let Some(bytes) = lane.ready(now, &self.config) else {
                continue;
            };
            let Some(leader) = self.client.metadata().leader(lane.partition()) else {
                is_leaderless = true;
                continue;
            };
            let in_flight = self.nodes.get(&leader.node).map_or(0, |node| node.in_flight);
            if in_flight >= self.config.max_in_flight {
                continue;
            }
            let (total, sendings) = requests.entry(leader.node).or_default();
            // A batch of one large record goes alone.
            let sum = total.saturating_add(bytes);
            if sum > self.config.max_request_size && !sendings.is_empty() {
                continue;
            }
            if let Some(sending) = lane.take(&self.config) {
                *total = sum;
                sendings.push((*at, sending));
            }
        }
        self.active.rotate_left(usize::from(!self.active.is_empty()));
        if is_leaderless && self.next_refresh.is_none_or(|at| at <= now) {
            self.client.request_refresh();
            self.next_refresh = Some(now + self.client.config().retry_backoff);
        }
        requests
    }

    fn launch(&mut self, node: i32, sendings: Vec<(usize, super::lane::Sending)>) {
        let state = self.nodes.entry(node).or_default();
        // Only a request that is still under way can be overtaken.
        let turn = state.last.take().filter(|_| state.in_flight > 0);
        state.in_flight = state.in_flight.saturating_add(1);
        let (begun, last) = oneshot::channel();
        state.last = Some(last);
        let exchange = Exchange {
            client: Arc::clone(&self.client),
            config: Arc::clone(&self.config),
            node,
            join_by: self.join_by,
            sendings,
            turn,
            begun,
        };
        self.exchanges.push(Box::pin(exchange.run()));
    }

    fn answered(&mut self, answered: Answered) {
        if let Some(node) = self.nodes.get_mut(&answered.node) {
            node.in_flight = node.in_flight.saturating_sub(1);
        }
        let mut must_refresh = false;
        for (at, ordinal, answer) in answered.answers {
            let Some(lane) = self.lanes.get_mut(at) else { continue };
            let standing = Standing {
                is_head: lane.is_head(ordinal),
                is_transactional: self.config.transactional_id.is_some(),
            };
            let refused = |what, operation, resource, code| self.client.refused(what, operation, resource, code);
            let settled = settle(answer, standing, lane.partition(), &self.config, refused);
            must_refresh |= matches!(settled, Settled::Retry { .. });
            lane.settle(ordinal, settled, &self.config);
        }
        if must_refresh {
            self.client.request_refresh();
        }
    }

    /// When to look again though nothing happened.
    fn wake(&self, now: Instant) -> Option<Instant> {
        let lanes = self.active.iter().filter_map(|at| self.lanes.get(*at)?.wake(now));
        lanes.chain(self.next_refresh.filter(|at| *at > now)).min()
    }
}

/// `refused` is [`KafkaClient::refused`].
pub(super) fn settle(
    answer: Answer,
    standing: Standing,
    partition: &TopicPartition,
    config: &ProducerConfig,
    refused: impl FnOnce(String, &'static str, String, ResponseError) -> KafkaError,
) -> Settled {
    let answer = match answer {
        Answer::Broker(answer) => answer,
        Answer::Failed { failure, outcome } if failure.is_retriable() => return Settled::Retry { failure, outcome },
        Answer::Failed { failure, outcome } => return Settled::Refused { failure, outcome },
    };
    let Some(code) = code_of(answer.error_code) else {
        return Settled::Written {
            base_offset: Some(answer.base_offset).filter(|offset| *offset >= 0),
            append_time: Some(answer.log_append_time_ms).filter(|time| *time >= 0),
        };
    };
    let (operation, resource) = match (code, &config.transactional_id) {
        (ResponseError::ClusterAuthorizationFailed, _) => ("IDEMPOTENT_WRITE", "the cluster".to_owned()),
        (ResponseError::TransactionalIdAuthorizationFailed, Some(id)) => ("WRITE", format!("transactional id `{id}`")),
        _ => ("WRITE", format!("topic `{}`", partition.topic)),
    };
    let failure = refused(describe(partition, &answer), operation, resource, code);
    match (verdict(code, standing), &config.transactional_id) {
        (Verdict::WrittenBefore, _) => Settled::Written {
            base_offset: None,
            append_time: None,
        },
        (Verdict::Retry(outcome), _) => Settled::Retry { failure, outcome },
        (Verdict::Bump, _) => Settled::Bump { failure },
        (Verdict::Split, _) => Settled::Split { failure },
        (Verdict::Fenced, Some(id)) => Settled::Failed(ProduceError::Fenced {
            transactional_id: Arc::clone(id),
        }),
        (Verdict::Refuse(outcome), _) => Settled::Refused { failure, outcome },
        (Verdict::Fenced, None) => Settled::Refused {
            failure,
            outcome: WriteOutcome::NotWritten,
        },
    }
}

/// What was asked, with what the broker said about it.
fn describe(
    partition: &TopicPartition,
    answer: &kafka_protocol::messages::produce_response::PartitionProduceResponse,
) -> String {
    let mut what = format!("writing to {partition}");
    let record_errors = answer.record_errors.iter();
    let details = record_errors.filter_map(|error| error.batch_index_error_message.as_ref());
    if let Some(detail) = details.chain(&answer.error_message).next() {
        what.push_str(" (");
        what.push_str(detail);
        what.push(')');
    }
    what
}
