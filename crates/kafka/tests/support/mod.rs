//! A real broker for the tests of one binary, and small tools around it.

#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod encode;
pub mod fairness;
pub mod follower;
pub mod raw;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use klamm_kafka::{
    AssignmentEpoch, ByteBudget, ClientConfig, ConsumedRecord, FetchPool, FetchSettings, FetchedSection, KafkaClient,
    OffsetReset, PartitionReader, PartitionRequest, StartPosition,
};
use rskafka::client::partition::{Compression, UnknownTopicHandling};
use rskafka::record::Record;

/// A wait in these tests is for a state; this only ends a test that would hang.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A broker that ends with the test binary.
#[derive(Debug)]
pub struct Broker {
    dir: PathBuf,
    pub bootstrap: String,
    /// What `up` printed.
    env: String,
    /// Takes the broker down when this process ends, however it ends: its standard input closes.
    _watchdog: Child,
}

fn testbed() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/testbed/kafka")
}

/// Broker settings (`key=value`) of this test binary; to be filled before the broker is first asked for.
pub static SETTINGS: OnceLock<Vec<String>> = OnceLock::new();

/// Settings with which the cluster soon does without a broker that is gone.
pub fn soon_fenced() {
    let settings = ["broker.session.timeout.ms=2500", "broker.heartbeat.interval.ms=500"];
    SETTINGS.get_or_init(|| settings.map(str::to_owned).into());
}

/// The one broker of this test binary.
pub fn broker() -> &'static Broker {
    static BROKER: OnceLock<Broker> = OnceLock::new();
    BROKER.get_or_init(|| {
        let settings = SETTINGS.get().into_iter().flatten();
        let args: Vec<&str> = settings.flat_map(|setting| ["--set", setting]).collect();
        start(&args, &[])
    })
}

/// A broker with more arguments to `up` and variables of its environment.
pub fn start(args: &[&str], variables: &[(&str, &str)]) -> Broker {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("kafka-{}", std::process::id()));
    let watchdog = Command::new("sh")
        .arg("-c")
        .arg("trap '' INT TERM HUP; read -r _; exec \"$0\" down --dir \"$1\"")
        .arg(testbed())
        .arg(&dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let up = Command::new(testbed())
        .args(["up", "--brokers", &crate::BROKERS.to_string(), "--dir"])
        .arg(&dir)
        .args(args)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
    let env = String::from_utf8(up.stdout).unwrap();
    let bootstrap = env
        .lines()
        .find_map(|line| line.strip_prefix("KAFKA_BOOTSTRAP='"))
        .unwrap();
    Broker {
        dir,
        bootstrap: bootstrap.trim_end_matches('\'').to_owned(),
        env: env.clone(),
        _watchdog: watchdog,
    }
}

impl Broker {
    /// A variable that `up` printed.
    pub fn variable(&self, name: &str) -> &str {
        let line = self
            .env
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix("='"));
        line.unwrap_or_else(|| panic!("no {name} in {}", self.env))
            .trim_end_matches('\'')
    }

    /// Runs a command of the testbed, such as `kill 1`.
    pub fn run(&self, args: &[&str]) -> String {
        let out = Command::new(testbed())
            .args(&args[..1])
            .args(&args[1..])
            .arg("--dir")
            .arg(&self.dir)
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
        String::from_utf8(out.stdout).unwrap()
    }
}

/// The runtime for sockets and heartbeats: one thread, as in a worker.
pub fn net() -> tokio::runtime::Handle {
    static NET: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    let runtime = NET.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("net")
            .enable_all()
            .build()
            .unwrap()
    });
    runtime.handle().clone()
}

/// A name that no other test uses.
pub fn unique(stem: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{stem}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub fn client() -> Arc<KafkaClient> {
    let mut config = ClientConfig::new(broker().bootstrap.split(','));
    config.metadata_max_age = Duration::from_millis(500);
    KafkaClient::new(config, net())
}

pub fn pool(client: &Arc<KafkaClient>) -> FetchPool {
    FetchPool::new(Arc::clone(client), Arc::new(ByteBudget::new(64 * 1024 * 1024)))
}

/// A request for partition 0 of `topic` from `start`.
pub fn from(topic: &str, start: StartPosition) -> PartitionRequest {
    PartitionRequest {
        topic: topic.into(),
        topic_id: None,
        partition: 0,
        start,
        reset: OffsetReset::Earliest,
        settings: Arc::new(FetchSettings::default()),
        epoch: AssignmentEpoch::next(),
    }
}

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "what the broker does with a record depends on its age"
    )]
    let now = std::time::SystemTime::now();
    i64::try_from(now.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

pub async fn next(reader: &mut PartitionReader) -> FetchedSection {
    tokio::time::timeout(PATIENCE, reader.next())
        .await
        .expect("a section comes")
        .unwrap()
}

/// Reads until the position is `end`; all records on the way.
pub async fn read_to(reader: &mut PartitionReader, end: i64) -> Vec<ConsumedRecord> {
    let mut records = Vec::new();
    loop {
        let section = next(reader).await;
        records.extend(section.records().map(Result::unwrap));
        if section.next_offset() >= end {
            return records;
        }
    }
}

pub fn offsets(records: &[ConsumedRecord]) -> Vec<i64> {
    records.iter().map(|record| record.offset).collect()
}

/// rskafka: the independent client that writes.
pub async fn producer() -> rskafka::client::Client {
    rskafka::client::ClientBuilder::new(broker().bootstrap.split(',').map(str::to_owned).collect())
        .build()
        .await
        .unwrap()
}

pub fn record(value: impl Into<Vec<u8>>) -> Record {
    use rskafka::chrono::{TimeZone, Utc};
    Record {
        key: None,
        value: Some(value.into()),
        headers: BTreeMap::new(),
        timestamp: Utc.timestamp_millis_opt(1_700_000_000_123).unwrap(),
    }
}

pub async fn produce(topic: &str, partition: i32, records: Vec<Record>) {
    produce_with(topic, partition, records, Compression::NoCompression).await;
}

pub async fn produce_with(topic: &str, partition: i32, records: Vec<Record>, compression: Compression) {
    let client = producer().await;
    let partition = client
        .partition_client(topic, partition, UnknownTopicHandling::Retry)
        .await
        .unwrap();
    partition.produce(records, compression).await.unwrap();
}
