//! Groups that members of librdkafka and of Java share with ours.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use klamm_kafka::{Assignor, ConsumerConfig, GroupProtocol, Subscription};
use tokio::sync::watch;

use crate::support::follower::{Follower, config};
use crate::support::{PATIENCE, broker, client, produce, raw, record, unique};

const PARTITIONS: i32 = 6;

/// Prints what it holds after each change; leaves when its input ends.
const LIBRDKAFKA: &str = r#"
import json, os, sys, threading
from confluent_kafka import Consumer
settings = json.loads(sys.argv[1])
cooperative = settings.get("partition.assignment.strategy") == "cooperative-sticky" or "group.protocol" in settings
consumer = Consumer(settings)
held = set()
def show():
    print(json.dumps(sorted(held)), flush=True)
def assigned(consumer, partitions):
    held.update(p.partition for p in partitions)
    consumer.incremental_assign(partitions) if cooperative else consumer.assign(partitions)
    show()
def revoked(consumer, partitions):
    held.difference_update(p.partition for p in partitions)
    consumer.incremental_unassign(partitions) if cooperative else consumer.unassign()
    show()
consumer.subscribe([sys.argv[2]], on_assign=assigned, on_revoke=revoked)
over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
while not over.is_set():
    consumer.poll(0.05)
consumer.close()
"#;

fn testbed(name: &str) -> Command {
    Command::new(
        PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/testbed")
            .join(name),
    )
}

/// Another client's process, and the partitions that its output names.
struct Other {
    process: Child,
    partitions: watch::Receiver<BTreeSet<i32>>,
}

impl Other {
    /// `read` makes of a line what the process has then, given what it had.
    fn start(command: &mut Command, read: impl Fn(&str, &BTreeSet<i32>) -> BTreeSet<i32> + Send + 'static) -> Self {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = piped.spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (sender, partitions) = watch::channel(BTreeSet::new());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let now = read(&line, &sender.borrow());
                sender.send_replace(now);
            }
        });
        Self { process, partitions }
    }

    fn librdkafka(group: &str, topic: &str, settings: &str) -> Self {
        let bootstrap = &broker().bootstrap;
        let settings = format!(r#"{{"bootstrap.servers": "{bootstrap}", "group.id": "{group}", {settings}}}"#);
        let mut command = testbed("clients");
        let read = |line: &str, _: &BTreeSet<i32>| {
            let numbers = line.trim_matches(['[', ']']).split(',').map(str::trim);
            numbers
                .filter(|number| !number.is_empty())
                .map(|number| number.parse().unwrap())
                .collect()
        };
        Self::start(command.args(["python", "-c", LIBRDKAFKA, &settings, topic]), read)
    }

    /// Java's console consumer, which ends after `records` records: it tells its partitions by what it reads.
    fn java(group: &str, topic: &str, records: usize, properties: &[&str]) -> Self {
        let mut command = testbed("kafka");
        command.args(["console-consumer", "--bootstrap-server", &broker().bootstrap]);
        command.args([
            "--group",
            group,
            "--topic",
            topic,
            "--max-messages",
            &records.to_string(),
        ]);
        command.args(["--formatter-property", "print.partition=true", "--from-beginning"]);
        for property in properties {
            command.args(["--command-property", property]);
        }
        Self::start(&mut command, |line, seen| {
            let number = line.strip_prefix("Partition:").and_then(|line| line.split('\t').next());
            let mut seen = seen.clone();
            seen.insert(number.unwrap_or_else(|| panic!("{line}")).parse().unwrap());
            seen
        })
    }

    /// Both change until they hold everything together, and each has some.
    async fn until_shared(&mut self, ours: &mut Follower) {
        let all: BTreeSet<i32> = (0..PARTITIONS).collect();
        let shared = async {
            loop {
                let (own, other) = (ours.partitions(), self.partitions.borrow_and_update().clone());
                if own.len() == 3 && other.len() == 3 && &own | &other == all {
                    return;
                }
                tokio::select! {
                    () = ours.step() => {}
                    changed = self.partitions.changed() => changed.expect("the other client runs"),
                }
            }
        };
        let shared = tokio::time::timeout(PATIENCE, shared).await;
        assert!(
            shared.is_ok(),
            "{:?} and {:?}, {:?}",
            ours.names(),
            self.partitions.borrow(),
            ours.state
        );
    }

    /// Lets it leave.
    fn end(mut self) {
        drop(self.process.stdin.take());
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // For a test that failed; else it has ended.
        drop(self.process.stdin.take());
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Theirs first, so that theirs leads; then ours alone, and theirs again, so that ours leads.
async fn with_librdkafka(ours: impl Fn(&str) -> ConsumerConfig, theirs: &str) {
    crate::fast_broker();
    let (topic, group) = (unique("rdkafka"), unique("group"));
    raw::create_topic(&topic, PARTITIONS, &[]);
    let client = client();
    let mut other = Other::librdkafka(&group, &topic, theirs);
    let has_all = other.partitions.wait_for(|held| held.len() == 6);
    drop(
        tokio::time::timeout(PATIENCE, has_all)
            .await
            .expect("librdkafka has all")
            .unwrap(),
    );
    let mut member = Follower::join_as(&client, ours(&group), Subscription::topics([topic.as_str()]));
    other.until_shared(&mut member).await;
    other.end();
    member.until_holds(6).await;
    let mut other = Other::librdkafka(&group, &topic, theirs);
    other.until_shared(&mut member).await;
    other.end();
    member.until_holds(6).await;
    client.shutdown().await;
}

/// Java joins ours, and reads what ours does not hold; it leaves, and ours has all.
async fn with_java(ours: impl Fn(&str) -> ConsumerConfig, theirs: &[&str]) {
    crate::fast_broker();
    let (topic, group) = (unique("java"), unique("group"));
    raw::create_topic(&topic, PARTITIONS, &[]);
    let client = client();
    let mut member = Follower::join_as(&client, ours(&group), Subscription::topics([topic.as_str()]));
    member.until_holds(6).await;
    let mut other = Other::java(&group, &topic, 3, theirs);
    member.until_holds(3).await;
    for partition in 0..PARTITIONS {
        produce(&topic, partition, vec![record("r")]).await;
    }
    other.until_shared(&mut member).await;
    other.end();
    member.until_holds(6).await;
    client.shutdown().await;
}

fn classic(assignors: &'static [Assignor]) -> impl Fn(&str) -> ConsumerConfig {
    move |group| ConsumerConfig {
        protocol: GroupProtocol::Classic {
            assignors: assignors.to_vec(),
        },
        ..config(group)
    }
}

fn server_assigned(group: &str) -> ConsumerConfig {
    ConsumerConfig {
        protocol: GroupProtocol::Consumer { remote_assignor: None },
        ..config(group)
    }
}

const FAST: &str = r#""heartbeat.interval.ms": 100, "auto.offset.reset": "earliest""#;

#[tokio::test]
async fn librdkafka_by_range() {
    let theirs = format!(r#"{FAST}, "partition.assignment.strategy": "range""#);
    with_librdkafka(classic(&[Assignor::CooperativeSticky, Assignor::Range]), &theirs).await;
}

#[tokio::test]
async fn librdkafka_by_cooperative_sticky() {
    let theirs = format!(r#"{FAST}, "partition.assignment.strategy": "cooperative-sticky""#);
    with_librdkafka(classic(&[Assignor::CooperativeSticky]), &theirs).await;
}

#[tokio::test]
async fn librdkafka_by_the_broker() {
    let theirs = r#""group.protocol": "consumer", "auto.offset.reset": "earliest""#;
    with_librdkafka(server_assigned, theirs).await;
}

#[tokio::test]
async fn java_with_its_defaults() {
    let ours = classic(&[Assignor::Range, Assignor::CooperativeSticky]);
    with_java(ours, &["heartbeat.interval.ms=100"]).await;
}

#[tokio::test]
async fn java_by_cooperative_sticky() {
    let strategy = "partition.assignment.strategy=org.apache.kafka.clients.consumer.CooperativeStickyAssignor";
    with_java(
        classic(&[Assignor::CooperativeSticky]),
        &["heartbeat.interval.ms=100", strategy],
    )
    .await;
}

#[tokio::test]
async fn java_by_the_broker() {
    with_java(server_assigned, &["group.protocol=consumer"]).await;
}
