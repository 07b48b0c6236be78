//! Sink tasks: a member of the connector's consumer group with its partitions and its delivery engine.

mod access;
mod commits;
mod counters;
mod letters;
mod partition;
pub(crate) mod pipeline;
mod progress;
mod tally;
mod view;
mod waits;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use klamm_connect_api::sink::{PreflightError, Sink};
use klamm_connect_api::{BoxFuture, RawConfig, TopicPartition};
use klamm_delivery::{
    Engine, EngineConfig, EngineEvent, Letters, MemoryBudget, PartitionLimits, WorkerLimits, WorkerMemory,
};
use klamm_kafka::{
    Assigned, ClusterHealth, GroupEvent, GroupEvents, GroupMember, KafkaClient, MemberPhase, MemberState,
    PartitionRequest, RevokeAck, StartPosition,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tracing::{debug, error, info, warn};

use crate::clusters::{Cluster, Clusters};
use crate::config::{ConnectorConfig, WorkerConfig, mask};
use crate::herder::{InstanceStatus, State, TaskControl, TaskPlan, TaskReport, TaskSpec, Tasks};
use crate::plugins::Plugins;
use crate::state_dir::{MemberRecord, StateDir};
use access::{Access, Membership};
use commits::{Commits, Tracked};
use counters::Counters;
use letters::LetterBox;
use partition::{Partition, Settled};
use pipeline::Pipeline;
use progress::{Fingerprints, HandedOver};
use view::View;
use waits::Waits;

/// How long members of the last life may take to leave before a task joins without waiting for them.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for the commit when partitions are given up in a rebalance.
const REVOKE_COMMIT: Duration = Duration::from_secs(2);
/// Longest wait for the last commit of a task that ends.
const FINAL_COMMIT: Duration = Duration::from_secs(3);
/// How often a task looks again at what it waits for.
const LOOK: Duration = Duration::from_secs(1);
/// Longest wait for the answer to leaving the group.
const FINAL_LEAVE: Duration = Duration::from_millis(1_500);

/// Runs sink tasks: what all tasks of a worker share.
#[derive(Debug)]
pub(crate) struct SinkTasks {
    shared: Arc<Shared>,
    plugins: Plugins,
}

#[derive(Debug)]
struct Shared {
    worker: WorkerConfig,
    clusters: Arc<Clusters>,
    /// Encoded records of all tasks.
    memory: Arc<WorkerMemory>,
    /// How many calls destinations take, from all tasks.
    limits: Arc<WorkerLimits>,
    state_dir: Option<Arc<StateDir>>,
}

impl SinkTasks {
    pub(crate) fn new(
        worker: WorkerConfig,
        plugins: Plugins,
        clusters: Arc<Clusters>,
        memory: Arc<WorkerMemory>,
        state_dir: Option<Arc<StateDir>>,
    ) -> Self {
        let limits = Arc::new(WorkerLimits::new(worker.limits));
        Self {
            shared: Arc::new(Shared {
                worker,
                clusters,
                memory,
                limits,
                state_dir,
            }),
            plugins,
        }
    }
}

impl Tasks for SinkTasks {
    fn plan(&self, connector: &str, config: &RawConfig) -> Result<TaskPlan, String> {
        let config = ConnectorConfig::parse(config, &self.shared.worker, &self.plugins)?;
        for line in &config.warnings {
            warn!(connector, "{line}");
        }
        Ok(TaskPlan {
            tasks: config.tasks_max,
            version: config.sink.info().version,
            restart: config.restart,
        })
    }

    fn run(
        &self,
        spec: TaskSpec,
        control: watch::Receiver<TaskControl>,
        report: TaskReport,
    ) -> BoxFuture<'static, Result<(), String>> {
        let shared = Arc::clone(&self.shared);
        let config = ConnectorConfig::parse(&spec.config, &self.shared.worker, &self.plugins);
        let masked = mask(&spec.config, &self.plugins);
        Box::pin(async move {
            SinkTask::start(shared, spec, Arc::new(config?), &masked, control, report)
                .await?
                .run()
                .await
        })
    }
}

/// One task. Its loop never waits for a function: delivery does that on its own.
struct SinkTask {
    shared: Arc<Shared>,
    cluster: Arc<Cluster>,
    spec: TaskSpec,
    config: Arc<ConnectorConfig>,
    sink: Arc<dyn Sink>,
    report: TaskReport,
    control: watch::Receiver<TaskControl>,

    member: Arc<GroupMember>,
    group: GroupEvents,
    /// The member as `state.dir` knows it.
    noted: Option<MemberRecord>,

    engine: Engine,
    delivery: mpsc::Receiver<EngineEvent>,
    /// The engine's own tasks.
    engine_tasks: JoinSet<()>,

    partitions: HashMap<TopicPartition, AbortHandle>,
    actors: JoinSet<PartitionEnd>,
    /// Partitions that ended while the task waited for others to end.
    ended: VecDeque<Result<PartitionEnd, JoinError>>,
    paused: watch::Sender<bool>,
    commits: Commits,
    fingerprints: Arc<Fingerprints>,
    counters: Arc<Counters>,
    view: Arc<View>,
    waits: Waits,
    letters: Option<Arc<LetterBox>>,
    /// Sees to it that the topics are there that letters go to.
    opening: JoinSet<Result<(), String>>,
    /// Trace of a task none of whose functions can be used; it probes and comes back by itself.
    unusable: Option<String>,
    kafka: watch::Receiver<ClusterHealth>,
    /// Whether Kafka can be reached and lets the task in.
    access: Access,
    membership: Membership,
    /// How many destinations take nothing now.
    outages: watch::Receiver<usize>,
    /// What is shown says that a destination is slowed down, or could say it soon.
    is_slowed_down: bool,
    /// Ticks while something is waited for: only what lasts is shown.
    look: Interval,
    rng: StdRng,
}

type PartitionEnd = (TopicPartition, Result<(), String>);

/// Everything that can wake a task.
enum Event {
    Group(Option<GroupEvent>),
    Delivery(Option<EngineEvent>),
    PartitionEnded(Result<PartitionEnd, JoinError>),
    CommitDue,
    /// Something that is waited for, or that lasts, may be worth telling, or is over.
    Look,
    /// The topics that letters go to are there, or one is refused.
    Letters(Result<Result<(), String>, JoinError>),
    /// The cluster came, went, or refused again.
    Kafka,
    Control(TaskControl),
}

/// Writes to the log what the sink learns from its destinations. It fails nothing: the engine waits for a destination that
/// takes nothing, and sees when it does.
async fn tell_of_preflight(config: Arc<ConnectorConfig>, spec: TaskSpec) {
    for PreflightError { error, .. } in config.preflight(&spec.connector, spec.task, &spec.config).await {
        let connector = &*spec.connector;
        warn!(
            connector,
            setting = error.key,
            error = error.message,
            "a destination may not take deliveries"
        );
    }
}

/// How a task ends.
enum End {
    /// As wished.
    Stopped,
    /// With this trace.
    Failed(String),
}

impl SinkTask {
    async fn start(
        shared: Arc<Shared>,
        spec: TaskSpec,
        config: Arc<ConnectorConfig>,
        masked: &RawConfig,
        mut control: watch::Receiver<TaskControl>,
        report: TaskReport,
    ) -> Result<Self, String> {
        let context = config.sink_context(&spec.connector, spec.task, &spec.config);
        let sink = config.sink.open(context).map_err(|errors| errors.to_string())?;
        let mut rng = StdRng::from_os_rng();
        let waits = Waits::new();
        let letters = config.letters.keeps_anything().then(|| {
            Arc::new(LetterBox::new(
                &config.letters,
                &config.client.bootstrap_servers,
                sink.routes(),
                &shared.clusters,
                (Arc::clone(&spec.connector), spec.task),
                &waits,
                &mut rng,
            ))
        });
        let mut opening = JoinSet::new();
        if let Some(letters) = &letters {
            let letters = Arc::clone(letters);
            opening.spawn(async move { letters.open().await });
        }
        let engine_config = EngineConfig {
            connector: Arc::clone(&spec.connector),
            task: spec.task,
            limits: PartitionLimits {
                buffer_records: shared.worker.partition_buffer_records,
                buffer_bytes: shared.worker.partition_buffer_bytes,
                window_records: shared.worker.partition_window_records,
            },
            worker_limits: Arc::clone(&shared.limits),
            seed: rng.random(),
            wall_clock: Arc::new(crate::wall_clock::now_ms),
            reports_skipped: letters.as_ref().is_some_and(|letters| letters.reports_skipped()),
            letters: letters.clone().map(|letters| letters as Arc<dyn Letters>),
        };
        let mut engine_tasks = JoinSet::new();
        let memory: Arc<dyn MemoryBudget> = Arc::<WorkerMemory>::clone(&shared.memory);
        let (engine, delivery) = Engine::start(engine_config, Arc::clone(&sink), memory, &mut engine_tasks);
        if spec.task == 0 {
            engine_tasks.spawn(tell_of_preflight(Arc::clone(&config), spec.clone()));
        }

        let mut consumer = config.consumer.clone();
        let of_task = |id: Arc<str>| Arc::from(format!("{id}-{}", spec.task));
        consumer.client_id = consumer.client_id.map(of_task);
        // Members of one instance id would put each other out of the group.
        consumer.group_instance_id = consumer.group_instance_id.map(of_task);
        let cluster = shared.clusters.of(&config.client);
        tokio::select! {
            () = leave_behind(&cluster.client, shared.state_dir.as_deref(), &consumer.group_id) => {}
            () = stop_wished(&mut control) => {}
        }
        let (member, group) = GroupMember::join(&cluster.client, consumer, config.subscription.clone());
        let fingerprints = Arc::new(Fingerprints::new(masked, sink.routes()));
        let counters = Arc::<Counters>::default();
        let commits = Commits::new(
            shared.worker.commit_interval,
            Arc::clone(&fingerprints),
            Arc::clone(&counters),
        );
        let view = Arc::new(View::new(
            engine.monitor(),
            Arc::clone(&sink),
            Arc::clone(&counters),
            Arc::clone(&cluster.client),
            config.consumer.fetch.isolation_level,
        ));
        report.shows(Arc::<View>::clone(&view));
        let kafka = cluster.client.health();
        let outages = engine.outages();
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            shared,
            cluster,
            spec,
            config,
            sink,
            report,
            control,
            member: Arc::new(member),
            group,
            noted: None,
            engine,
            delivery,
            engine_tasks,
            partitions: HashMap::new(),
            actors: JoinSet::new(),
            ended: VecDeque::new(),
            paused: watch::Sender::new(false),
            commits,
            fingerprints,
            counters,
            view,
            waits,
            letters,
            opening,
            unusable: None,
            kafka,
            access: Access::Fine,
            membership: Membership::default(),
            outages,
            is_slowed_down: false,
            look,
            rng,
        })
    }

    async fn run(mut self) -> Result<(), String> {
        let end = loop {
            let event = self.next_event().await;
            let end = match event {
                Event::Group(Some(event)) => self.group_event(event).await,
                Event::Group(None) => Some(End::Failed(format!(
                    "the member of consumer group {} ended: {}",
                    self.member.group_id(),
                    self.member.state().detail
                ))),
                Event::Delivery(Some(event)) => self.delivery_event(event),
                Event::Delivery(None) => Some(End::Failed("the delivery engine ended".to_owned())),
                Event::PartitionEnded(end) => self.partition_ended(end),
                Event::CommitDue => {
                    self.commits.start(&self.member, &self.engine);
                    None
                }
                Event::Look => {
                    self.show();
                    None
                }
                Event::Letters(opened) => match opened {
                    Ok(opened) => opened.err().map(End::Failed),
                    Err(_) => Some(End::Failed(format!("making topics {}", crate::PANICKED))),
                },
                Event::Kafka => {
                    self.kafka_health();
                    None
                }
                Event::Control(control) => self.control(control),
            };
            if let Some(end) = end {
                break end;
            }
        };
        self.end(end).await
    }

    async fn next_event(&mut self) -> Event {
        let control = *self.control.borrow_and_update();
        if control == TaskControl::Stop || (control == TaskControl::Pause) != *self.paused.borrow() {
            return Event::Control(control);
        }
        if let Some(end) = self.ended.pop_front() {
            return Event::PartitionEnded(end);
        }
        tokio::select! {
            // A task whose herder is gone stops.
            changed = self.control.changed() => {
                Event::Control(changed.map_or(TaskControl::Stop, |()| *self.control.borrow_and_update()))
            }
            event = self.group.recv() => Event::Group(event),
            event = self.delivery.recv() => Event::Delivery(event),
            Some(end) = self.actors.join_next() => Event::PartitionEnded(end),
            () = self.commits.due(&self.engine) => Event::CommitDue,
            () = self.waits.changed() => Event::Look,
            Ok(()) = self.outages.changed() => Event::Look,
            _ = self.look.tick(), if self.is_worth_a_look() => Event::Look,
            Some(opened) = self.opening.join_next() => Event::Letters(opened),
            Ok(()) = self.kafka.changed() => Event::Kafka,
        }
    }

    fn control(&mut self, control: TaskControl) -> Option<End> {
        let is_paused = match control {
            TaskControl::Stop => return Some(End::Stopped),
            TaskControl::Pause => true,
            TaskControl::Run => false,
        };
        if self
            .paused
            .send_if_modified(|paused| std::mem::replace(paused, is_paused) != is_paused)
        {
            let state = if is_paused { "paused" } else { "resumed" };
            info!(connector = %self.spec.connector, task = self.spec.task, state, "task paused or resumed");
            self.show();
        }
        None
    }

    /// Whether what is shown changes with time alone.
    fn is_worth_a_look(&self) -> bool {
        self.membership.waits() || *self.outages.borrow() > 0 || self.is_slowed_down || self.engine.is_slowed_down()
    }

    /// Shows the task as what it is now.
    fn show(&mut self) {
        self.is_slowed_down = self.engine.is_slowed_down();
        let (refused, away) = match &self.access {
            Access::Refused(error) => (Some(error), None),
            Access::Waiting(reason) => (None, Some(reason.clone())),
            Access::Fine => (None, None),
        };
        self.report.set(match refused.or(self.unusable.as_ref()) {
            _ if *self.paused.borrow() => InstanceStatus::of(State::Paused),
            Some(trace) => InstanceStatus::failed(trace.clone()),
            None => {
                let waits = [
                    away,
                    self.membership.text(),
                    self.waits.text(),
                    access::destinations(&self.engine.status()),
                ];
                let waits: Vec<String> = waits.into_iter().flatten().collect();
                let text = (!waits.is_empty()).then(|| waits.join("; "));
                self.view.waits(waits);
                InstanceStatus::running(text)
            }
        });
    }

    /// Shows what stands between the task and Kafka; FAILED only if a person must change something.
    fn kafka_health(&mut self) {
        let access = Access::from(&*self.kafka.borrow_and_update());
        if access == self.access {
            return;
        }
        let (connector, task) = (&self.spec.connector, self.spec.task);
        match (&access, &self.access) {
            (Access::Refused(error), _) => {
                error!(%connector, task, error, "task failed, it is trying and comes back by itself");
            }
            (_, Access::Refused(_)) => info!(%connector, task, "kafka refuses no more, task runs again"),
            _ => {}
        }
        self.access = access;
        self.show();
    }

    async fn group_event(&mut self, event: GroupEvent) -> Option<End> {
        match event {
            GroupEvent::Assign { partitions } => partitions.into_iter().find_map(|assigned| self.assign(assigned)),
            GroupEvent::Revoke { partitions, ack } => {
                self.revoke(&partitions.iter().map(own).collect::<Vec<_>>(), ack).await;
                None
            }
            GroupEvent::Lost { partitions } => {
                let partitions: Vec<TopicPartition> = partitions.iter().map(own).collect();
                warn!(connector = %self.spec.connector, task = self.spec.task, ?partitions, "partitions lost: records in flight will be delivered again by their new owner");
                self.stop_actors(&partitions).await;
                self.commits.forget(&partitions);
                self.view.forget(&partitions);
                self.engine.lost(partitions).await;
                None
            }
            GroupEvent::State(state) => self.member_state(state),
        }
    }

    fn member_state(&mut self, state: MemberState) -> Option<End> {
        debug!(connector = %self.spec.connector, task = self.spec.task, phase = ?state.phase, detail = state.detail, "group member");
        if let (Some(dir), Some(member_id)) = (&self.shared.state_dir, &state.member_id) {
            let record = MemberRecord {
                group: self.member.group_id().to_string(),
                member_id: member_id.to_string(),
            };
            if self.noted.as_ref() != Some(&record) {
                dir.joined(record.clone());
                if let Some(before) = self.noted.replace(record) {
                    dir.left(&before);
                }
            }
        }
        let waited = self.membership.waits();
        self.membership.note(&state);
        if waited && !self.membership.waits() {
            self.show();
        }
        (state.phase == MemberPhase::Fenced).then_some(End::Failed(state.detail))
    }

    fn assign(&mut self, assigned: Assigned) -> Option<End> {
        let topic_partition = TopicPartition::new(Arc::clone(&assigned.topic), assigned.partition);
        let epoch = assigned.epoch.get();
        let start = match &assigned.committed {
            Some(committed) => StartPosition::Committed {
                offset: committed.offset,
                leader_epoch: committed.leader_epoch,
            },
            None => match self.config.consumer.offset_reset {
                klamm_kafka::OffsetReset::Earliest => StartPosition::Earliest,
                klamm_kafka::OffsetReset::Latest => StartPosition::Latest,
                klamm_kafka::OffsetReset::None => {
                    return Some(End::Failed(format!(
                        "group {} has no committed offset of {topic_partition}, and `auto.offset.reset=none` names no other \
                     start: commit one, or set it to `earliest` or `latest`",
                        self.member.group_id()
                    )));
                }
            },
        };
        info!(connector = %self.spec.connector, task = self.spec.task, partition = %topic_partition, ?start, "partition assigned");
        let reader = self.cluster.pool.open(PartitionRequest {
            topic: assigned.topic,
            topic_id: assigned.topic_id,
            partition: assigned.partition,
            start,
            reset: self.config.consumer.offset_reset,
            settings: Arc::clone(&self.config.consumer.fetch),
            epoch: assigned.epoch,
        });
        let handed_over = HandedOver::default();
        let tracked = Tracked {
            epochs: reader.leader_epochs(),
            topic_id: assigned.topic_id,
            handed_over: handed_over.clone(),
        };
        self.commits.track(topic_partition.clone(), tracked);
        self.view.reads(topic_partition.clone(), reader.log_end());
        let settled = assigned.committed.as_ref().and_then(|committed| {
            let (progress, leader_epoch) = progress::read(committed, assigned.topic_id, &self.fingerprints)?;
            Some(Settled::new(committed.offset, progress, leader_epoch))
        });
        let pipeline = Pipeline::new(
            Arc::clone(&self.config),
            Arc::clone(&self.sink),
            topic_partition.clone(),
            Arc::clone(&self.counters),
            self.letters.clone(),
            self.report.active_topic(topic_partition.topic()),
        );
        let partition = Partition {
            topic_partition: topic_partition.clone(),
            reader,
            pipeline,
            counted_to: i64::MIN,
            engine: self.engine.clone(),
            epoch,
            connector: Arc::clone(&self.spec.connector),
            task: self.spec.task,
            paused: self.paused.subscribe(),
            wait: self.waits.of(&topic_partition),
            settled,
            handed_over,
            leader_epoch: None,
            rng: StdRng::seed_from_u64(self.rng.random()),
        };
        let key = topic_partition.clone();
        let actor = self.actors.spawn(async move { (key, partition.run().await) });
        self.partitions.insert(topic_partition, actor);
        None
    }

    /// Intake stops, what is in flight is finished, the commit goes out, then the partitions are handed over. A stop that
    /// is wished for meanwhile leaves what is in flight only the time that a stop has. Partitions that stay go on, and so do
    /// their commits.
    async fn revoke(&mut self, partitions: &[TopicPartition], ack: RevokeAck) {
        debug!(connector = %self.spec.connector, task = self.spec.task, ?partitions, "partitions are being revoked");
        self.stop_actors(partitions).await;
        let done = {
            let mut revoke = std::pin::pin!(self.engine.revoke(partitions.to_vec(), self.revoke_timeout()));
            loop {
                tokio::select! {
                    done = &mut revoke => break done,
                    () = stop_wished(&mut self.control) => {
                        // The offsets of other partitions stay to be asked for when the task ends.
                        drop(self.engine.shutdown(self.shared.worker.shutdown_timeout).await);
                        break revoke.await;
                    }
                    () = self.commits.due(&self.engine) => self.commits.start(&self.member, &self.engine),
                }
            }
        };
        self.commits.now(&self.member, &self.engine, done).await;
        self.commits.forget(partitions);
        self.view.forget(partitions);
        ack.done();
        info!(connector = %self.spec.connector, task = self.spec.task, ?partitions, "partitions revoked");
    }

    /// The longest call and a second more, as long as the commit can still go out in time.
    fn revoke_timeout(&self) -> Duration {
        let calls = self.sink.routes().iter().map(|route| route.delivery.call_timeout).max();
        let limit = self.config.consumer.revoke_timeout().saturating_sub(REVOKE_COMMIT);
        (calls.unwrap_or_default() + Duration::from_secs(1)).min(limit)
    }

    /// Ends the readers of these partitions. Afterwards nothing more of them reaches delivery.
    async fn stop_actors(&mut self, partitions: &[TopicPartition]) {
        let actors: Vec<AbortHandle> = partitions
            .iter()
            .filter_map(|partition| self.partitions.remove(partition))
            .collect();
        actors.iter().for_each(AbortHandle::abort);
        // An abort takes effect at the actor's next await: until then it may hand over records.
        while actors.iter().any(|actor| !actor.is_finished()) {
            match self.actors.join_next().await {
                Some(end) => self.ended.push_back(end),
                None => break,
            }
        }
    }

    fn partition_ended(&mut self, end: Result<PartitionEnd, JoinError>) -> Option<End> {
        match end {
            Ok((_, Ok(()))) => None,
            // It was revoked meanwhile: whoever owns it now will meet the same record.
            Ok((partition, Err(_))) if !self.partitions.contains_key(&partition) => None,
            Ok((_, Err(trace))) => Some(End::Failed(trace)),
            Err(error) if error.is_cancelled() => None,
            Err(_) => Some(End::Failed(format!("a converter or transform {}", crate::PANICKED))),
        }
    }

    fn delivery_event(&mut self, event: EngineEvent) -> Option<End> {
        match event {
            EngineEvent::Failed(failure) => Some(End::Failed(failure.to_string())),
            // The task shows FAILED and goes on probing: it shows RUNNING again when a probe succeeds.
            EngineEvent::AllRoutesUnusable { route, failure } => {
                let trace = format!("no function can be used, route `{route}`: {failure}");
                error!(connector = %self.spec.connector, task = self.spec.task, error = trace, "task failed, it is probing and comes back by itself");
                self.unusable = Some(trace);
                self.show();
                None
            }
            EngineEvent::Usable { route } => {
                info!(connector = %self.spec.connector, task = self.spec.task, %route, "a probe succeeded, task runs again");
                self.unusable = None;
                self.show();
                None
            }
            event => {
                debug!(?event, "unknown event of delivery");
                None
            }
        }
    }

    async fn end(mut self, end: End) -> Result<(), String> {
        let result = match end {
            End::Stopped => Ok(()),
            End::Failed(trace) => {
                // Shown before what is in flight is waited for.
                self.report.set(InstanceStatus::failed(trace.clone()));
                Err(trace)
            }
        };
        let partitions: Vec<TopicPartition> = self.partitions.keys().cloned().collect();
        self.stop_actors(&partitions).await;
        // A failed engine only waits for the calls that are out; else what was handed over is delivered.
        let done = self.engine.shutdown(self.shared.worker.shutdown_timeout).await;
        let connector = &self.spec.connector;
        let task = self.spec.task;
        if timeout(FINAL_COMMIT, self.commits.now(&self.member, &self.engine, done))
            .await
            .is_err()
        {
            warn!(%connector, task, "last commit not acknowledged in time: records may be delivered again");
        }
        // Without a commit under way this is the last reference; else dropping it leaves in the background.
        if let Some(member) = Arc::into_inner(self.member) {
            if timeout(FINAL_LEAVE, member.leave()).await.is_err() {
                warn!(%connector, task, "consumer group not left in time, the session must expire");
            } else if let (Some(dir), Some(member)) = (&self.shared.state_dir, &self.noted) {
                dir.left(member);
            }
        }
        self.engine_tasks.shutdown().await;
        let (read, filtered, skipped) = self.counters.totals();
        let delivery = self.engine.status();
        let by_routes: u64 = delivery.routes.iter().map(|route| route.dead_lettered_records).sum();
        let dead_lettered = delivery.dead_lettered_records + by_routes;
        info!(%connector, task, read, filtered, skipped, dead_lettered, "task ended");
        result
    }
}

/// Lets the group's members of the last life leave, which a kill -9 left behind: they would hold their partitions until
/// their sessions expire.
async fn leave_behind(client: &KafkaClient, state_dir: Option<&StateDir>, group: &str) {
    let left_behind = state_dir.map(|dir| dir.take_left_behind(group)).unwrap_or_default();
    let leaving = async {
        for MemberRecord { group, member_id } in left_behind {
            match client.leave_stale_member(&group, &member_id).await {
                Ok(()) => info!(group, member_id, "a member of the last run left its group"),
                Err(error) => {
                    warn!(group, member_id, error = %crate::chain(&error), "a member of the last run did not leave, its session must expire");
                }
            }
        }
    };
    if timeout(LEAVE_TIMEOUT, leaving).await.is_err() {
        let timeout_ms = LEAVE_TIMEOUT.as_millis();
        warn!(
            group,
            timeout_ms, "members of the last run did not leave in time, their sessions must expire"
        );
    }
}

/// Resolves when the task is to stop.
async fn stop_wished(control: &mut watch::Receiver<TaskControl>) {
    // An error means that the herder is gone, which is a wish to stop, too.
    drop(control.wait_for(|control| *control == TaskControl::Stop).await);
}

fn own(partition: &klamm_kafka::TopicPartition) -> TopicPartition {
    TopicPartition::new(Arc::clone(&partition.topic), partition.partition)
}
