//! The development broker, as the product's own client and as hostile bytes meet it. Other clients: `tests/tests/dev_broker.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "test code"
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use klamm_dev::broker::{ApiKey, Broker, Fault, ResponseError, Settings};
use klamm_kafka::{
    Assigned, AssignmentEpoch, ByteBudget, ClientConfig, Compression, ConsumedRecord, ConsumerConfig, FetchPool,
    FetchSettings, GroupEvent, GroupEvents, GroupMember, GroupProtocol, IsolationLevel, KafkaClient, OffsetReset,
    OffsetToCommit, PartitionReader, PartitionRequest, ProduceRecord, Producer, ProducerConfig, StartPosition,
    Subscription, TransactionalProducer,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A wait in these tests is for a state; this only ends a test that would hang.
const PATIENCE: Duration = Duration::from_secs(30);

/// Short sessions and frequent heartbeats.
fn settings(brokers: u16) -> Settings {
    Settings {
        brokers,
        min_session_timeout: Duration::from_millis(100),
        consumer_heartbeat_interval: Duration::from_millis(50),
        maintenance_interval: Duration::from_millis(50),
        ..Settings::default()
    }
}

fn client(broker: &Broker) -> Arc<KafkaClient> {
    let bootstrap = broker.bootstrap();
    let mut config = ClientConfig::new(bootstrap.split(','));
    config.metadata_max_age = Duration::from_millis(200);
    config.retry_backoff = Duration::from_millis(10);
    KafkaClient::new(config, tokio::runtime::Handle::current())
}

fn record(topic: &str, partition: i32, key: &str, value: Option<&str>) -> ProduceRecord {
    let mut record = ProduceRecord::new(Arc::from(topic));
    record.partition = Some(partition);
    record.key = Some(key.to_owned().into());
    record.value = value.map(|value| value.to_owned().into());
    record
}

async fn write(client: &Arc<KafkaClient>, topic: &str, partition: i32, values: impl IntoIterator<Item = String>) {
    let producer = Producer::new(client, ProducerConfig::default());
    let mut deliveries = Vec::new();
    for value in values {
        deliveries.push(
            producer
                .enqueue(record(topic, partition, "k", Some(&value)))
                .await
                .unwrap(),
        );
    }
    producer.flush().await;
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    producer.close().await;
}

fn reader(client: &Arc<KafkaClient>, topic: &str, partition: i32, isolation_level: IsolationLevel) -> PartitionReader {
    let pool = FetchPool::new(Arc::clone(client), Arc::new(ByteBudget::new(64 << 20)));
    pool.open(PartitionRequest {
        topic: topic.into(),
        topic_id: None,
        partition,
        start: StartPosition::Earliest,
        reset: OffsetReset::Earliest,
        settings: Arc::new(FetchSettings {
            isolation_level,
            ..FetchSettings::default()
        }),
        epoch: AssignmentEpoch::next(),
    })
}

/// All records up to the offset `end`.
async fn read_to(reader: &mut PartitionReader, end: i64) -> Vec<ConsumedRecord> {
    let mut records = Vec::new();
    loop {
        let section = timeout(PATIENCE, reader.next()).await.expect("records come").unwrap();
        records.extend(section.records().map(Result::unwrap));
        if section.next_offset() >= end {
            return records;
        }
    }
}

async fn values(client: &Arc<KafkaClient>, topic: &str, partition: i32, end: i64) -> Vec<String> {
    let mut reader = reader(client, topic, partition, IsolationLevel::ReadCommitted);
    let records = read_to(&mut reader, end).await;
    records.iter().map(value).collect()
}

fn value(record: &ConsumedRecord) -> String {
    String::from_utf8(record.value.clone().unwrap_or_default().to_vec()).unwrap()
}

fn numbered(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("value {number}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_in_every_codec_is_read_back_in_order() {
    let broker = Broker::start(settings(1)).await.unwrap();
    broker.create_topic("t", 1).unwrap();
    let client = client(&broker);
    let mut wanted = Vec::new();
    for compression in [
        Compression::None,
        Compression::Gzip(6),
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ] {
        let config = ProducerConfig {
            compression,
            ..ProducerConfig::default()
        };
        let producer = Producer::new(&client, config);
        let mut deliveries = Vec::new();
        for number in 0..500 {
            let text = format!("{compression:?} {number}");
            deliveries.push(producer.enqueue(record("t", 0, "k", Some(&text))).await.unwrap());
            wanted.push(text);
        }
        producer.flush().await;
        for delivery in deliveries {
            delivery.await.unwrap();
        }
        producer.close().await;
    }
    assert_eq!(values(&client, "t", 0, 2500).await, wanted);
    client.shutdown().await;
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_answers_errors_and_broken_connections_write_nothing_twice() {
    let broker = Broker::start(settings(1)).await.unwrap();
    broker.create_topic("t", 1).unwrap();
    let client = client(&broker);
    write(&client, "t", 0, numbered(0..1)).await;
    for fault in [
        Fault::lose_answer(ApiKey::Produce).times(2),
        Fault::error(ApiKey::Produce, ResponseError::NotLeaderOrFollower),
        Fault::disconnect(ApiKey::Produce),
        Fault::delay(ApiKey::Produce, Duration::from_millis(50)).times(3),
        Fault::error(ApiKey::Fetch, ResponseError::NotLeaderOrFollower).times(2),
        Fault::lose_answer(ApiKey::Fetch).times(2),
        Fault::error(ApiKey::Fetch, ResponseError::FetchSessionIdNotFound),
    ] {
        broker.inject(fault);
    }
    write(&client, "t", 0, numbered(1..200)).await;
    assert_eq!(values(&client, "t", 0, 200).await, numbered(0..200));
    timeout(PATIENCE, async {
        // Idle fetches meet what is left.
        let mut reader = reader(&client, "t", 0, IsolationLevel::ReadUncommitted);
        while broker.faults_left() > 0 {
            tokio::select! {
                section = reader.next() => drop(section),
                () = tokio::time::sleep(Duration::from_millis(10)) => {}
            }
        }
    })
    .await
    .expect("every fault was met");
    client.shutdown().await;
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_move_and_brokers_die_and_come_back() {
    let broker = Broker::start(settings(3)).await.unwrap();
    broker.create_topic("t", 1).unwrap();
    let client = client(&broker);
    let mut reader = reader(&client, "t", 0, IsolationLevel::ReadCommitted);
    let mut read = Vec::new();
    for round in 0..4 {
        let leader = broker.leader("t", 0).unwrap().expect("somebody leads");
        write(&client, "t", 0, numbered(round * 10..round * 10 + 10)).await;
        match round {
            0 => broker.move_leader("t", 0, leader % 3 + 1).unwrap(),
            1 => broker.kill(leader).await.unwrap(),
            2 => {
                for node in 1..=3 {
                    broker.restart(node).await.unwrap();
                }
            }
            _ => {}
        }
        let end = i64::try_from(round * 10 + 10).unwrap();
        read.extend(read_to(&mut reader, end).await.iter().map(value));
        if round == 1 {
            assert_ne!(broker.leader("t", 0).unwrap(), Some(leader));
        }
    }
    assert_eq!(read, numbered(0..40));
    client.shutdown().await;
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_a_log_that_was_cut_goes_on_where_it_was_cut() {
    let broker = Broker::start(settings(1)).await.unwrap();
    broker.create_topic("t", 1).unwrap();
    let client = client(&broker);
    let producer = |values: Vec<String>| {
        let client = Arc::clone(&client);
        async move {
            for value in values {
                write(&client, "t", 0, [value]).await;
            }
        }
    };
    producer(numbered(0..4)).await;
    let mut reader = reader(&client, "t", 0, IsolationLevel::ReadUncommitted);
    assert_eq!(read_to(&mut reader, 4).await.len(), 4);
    broker.truncate("t", 0, 2).unwrap();
    producer(numbered(10..13)).await;
    let again = read_to(&mut reader, 5).await;
    let again: Vec<_> = again.iter().map(|record| (record.offset, value(record))).collect();
    assert_eq!(again.last().unwrap(), &(4, "value 12".to_owned()));
    assert!(again.contains(&(2, "value 10".to_owned())), "{again:?}");
    client.shutdown().await;
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_are_seen_whole_or_not_at_all() {
    let broker = Broker::start(settings(2)).await.unwrap();
    for topic in ["a", "b"] {
        broker.create_topic(topic, 1).unwrap();
    }
    let client = client(&broker);
    let config = || ProducerConfig {
        transactional_id: Some("id".into()),
        ..ProducerConfig::default()
    };
    let mut producer = TransactionalProducer::start(&client, config()).await.unwrap();
    // Ends of the logs; records that are given up before they are sent take no room.
    let mut ends = [0, 0];
    for (text, commits) in [("one", true), ("two", false), ("three", true)] {
        let mut transaction = producer.begin().await.unwrap();
        for topic in ["a", "b"] {
            transaction.send(record(topic, 0, "k", Some(text))).await.unwrap();
        }
        if commits {
            let written = transaction.commit().await.unwrap();
            ends = [0, 1].map(|at| written[at].offset.unwrap() + 1);
        } else {
            transaction.abort().await.unwrap();
        }
    }
    for (topic, end) in ["a", "b"].into_iter().zip(ends) {
        assert_eq!(values(&client, topic, 0, end).await, ["one", "three"], "{topic}");
    }
    let mut second = TransactionalProducer::start(&client, config()).await.unwrap();
    let fenced = async {
        let mut transaction = producer.begin().await?;
        transaction.send(record("a", 0, "k", Some("late"))).await?;
        transaction.commit().await
    };
    fenced.await.unwrap_err();
    let mut transaction = second.begin().await.unwrap();
    transaction.send(record("a", 0, "k", Some("four"))).await.unwrap();
    let end = transaction.commit().await.unwrap()[0].offset.unwrap() + 1;
    let all = values(&client, "a", 0, end).await;
    assert_eq!(all, ["one", "three", "four"]);
    client.shutdown().await;
    broker.stop().await.unwrap();
}

/// A member and what it holds; it gives up at once what it is asked for.
struct Member {
    member: GroupMember,
    events: GroupEvents,
    held: Vec<Assigned>,
}

impl Member {
    fn join(client: &Arc<KafkaClient>, group: &str, protocol: &GroupProtocol) -> Self {
        let mut config = ConsumerConfig::new(group);
        config.heartbeat_interval = Duration::from_millis(50);
        config.session_timeout = Duration::from_secs(2);
        config.protocol = protocol.clone();
        let (member, events) = GroupMember::join(client, config, Subscription::topics(["t"]));
        Self {
            member,
            events,
            held: Vec::new(),
        }
    }

    async fn step(&mut self) {
        let gone = match self.events.recv().await.expect("the member lives") {
            GroupEvent::State(_) => return,
            GroupEvent::Assign { partitions } => {
                self.held.extend(partitions);
                return;
            }
            GroupEvent::Revoke { partitions, ack } => {
                ack.done();
                partitions
            }
            GroupEvent::Lost { partitions } => partitions,
        };
        self.held
            .retain(|held| !gone.iter().any(|gone| gone.partition == held.partition));
    }

    fn partitions(&self) -> BTreeSet<i32> {
        self.held.iter().map(|held| held.partition).collect()
    }
}

async fn until_shared(members: &mut [Member], count: usize) {
    let shared = async {
        loop {
            let held: usize = members.iter().map(|member| member.held.len()).sum();
            if held == count && members.iter().all(|member| !member.held.is_empty()) {
                return;
            }
            let steps = members.iter_mut().map(|member| Box::pin(member.step()));
            futures_util::future::select_all(steps).await;
        }
    };
    let shared = timeout(PATIENCE, shared).await;
    let held: Vec<_> = members.iter().map(Member::partitions).collect();
    assert!(shared.is_ok(), "{held:?}");
    let all: BTreeSet<i32> = held.iter().flatten().copied().collect();
    assert_eq!(all.len(), count, "nobody shares a partition: {held:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn members_share_partitions_by_either_protocol_and_commit() {
    let broker = Broker::start(settings(2)).await.unwrap();
    broker.create_topic("t", 6).unwrap();
    let client = client(&broker);
    let classic = ConsumerConfig::new("any").protocol;
    let by_the_broker = GroupProtocol::Consumer { remote_assignor: None };
    for (group, protocol) in [("classic", classic), ("consumer", by_the_broker)] {
        let mut members = vec![Member::join(&client, group, &protocol)];
        until_shared(&mut members, 6).await;
        for _ in 0..2 {
            members.push(Member::join(&client, group, &protocol));
        }
        until_shared(&mut members, 6).await;
        assert!(members.iter().all(|member| member.held.len() == 2), "{group}");
        let own = members[1].held[0].clone();
        let offset = OffsetToCommit {
            topic: "t".into(),
            partition: own.partition,
            offset: 17,
            leader_epoch: None,
            metadata: "m".to_owned(),
        };
        members[1].member.commit(vec![offset]).await.unwrap();
        let committed = client.group_offsets(group).await.unwrap();
        let committed: Vec<_> = committed.iter().map(|(of, at)| (of.partition, at.offset)).collect();
        assert_eq!(committed, [(own.partition, 17)]);
        let leaving = members.pop().unwrap();
        leaving.member.leave().await;
        until_shared(&mut members, 6).await;
        for member in members {
            member.member.leave().await;
        }
        client
            .delete_groups(&[group.into()])
            .await
            .unwrap()
            .into_iter()
            .for_each(|(_, deleted)| deleted.unwrap());
    }
    client.shutdown().await;
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_outlives_the_broker() {
    let dir = tempfile::tempdir().unwrap();
    let with_dir = || Settings {
        data_dir: Some(dir.path().to_owned()),
        ..settings(1)
    };
    let broker = Broker::start(with_dir()).await.unwrap();
    broker.create_topic_with("t", 2, &[("retention.ms", "-1")]).unwrap();
    broker.create_topic("gone", 1).unwrap();
    let own = client(&broker);
    write(&own, "t", 1, numbered(0..100)).await;
    write(&own, "gone", 0, numbered(0..1)).await;
    own.delete_topics(&["gone".into()])
        .await
        .unwrap()
        .into_iter()
        .for_each(|(_, deleted)| deleted.unwrap());
    let offset = OffsetToCommit {
        topic: "t".into(),
        partition: 1,
        offset: 40,
        leader_epoch: None,
        metadata: String::new(),
    };
    own.alter_group_offsets("g", vec![offset]).await.unwrap();
    own.shutdown().await;
    broker.stop().await.unwrap();

    // As a crash would leave it: half a batch at the end.
    let logs = dir.path().join("logs");
    let topic = std::fs::read_dir(&logs).unwrap().next().unwrap().unwrap().path();
    let file = topic.join("1.log");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes.extend_from_within(..40);
    std::fs::write(&file, bytes).unwrap();

    let broker = Broker::start(with_dir()).await.unwrap();
    let own = client(&broker);
    write(&own, "t", 1, numbered(100..110)).await;
    assert_eq!(values(&own, "t", 1, 110).await, numbered(0..110));
    assert_eq!(own.topics().await.unwrap().len(), 1);
    let committed = own.group_offsets("g").await.unwrap();
    assert_eq!(committed.values().next().unwrap().offset, 40);
    own.shutdown().await;
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_topic_keeps_the_last_of_each_key() {
    let broker = Broker::start(settings(1)).await.unwrap();
    let rules = [
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("delete.retention.ms", "0"),
    ];
    broker.create_topic_with("t", 1, &rules).unwrap();
    let client = client(&broker);
    let producer = Producer::new(&client, ProducerConfig::default());
    for round in 0..3 {
        for key in ["a", "b", "c"] {
            let text = format!("{key}{round}");
            let sent = (key != "c" || round < 2).then_some(text.as_str());
            producer.send(record("t", 0, key, sent)).await.unwrap();
        }
    }
    producer.send(record("t", 0, "z", Some("z"))).await.unwrap();
    let compacted = async {
        loop {
            let left = values(&client, "t", 0, 10).await;
            if left == ["a2", "b2", "z"] {
                return;
            }
        }
    };
    timeout(PATIENCE, compacted).await.expect("the log is compacted");
    let mut keyless = record("t", 0, "k", Some("v"));
    keyless.key = None;
    let refused = producer.send(keyless).await.unwrap_err();
    assert!(format!("{refused:?}").contains("InvalidRecord"), "{refused:?}");
    producer.close().await;
    client.shutdown().await;
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_within_the_bounds_of_topic_and_broker() {
    let bounded = Settings {
        topic_bytes: 400_000,
        total_bytes: 700_000,
        ..settings(1)
    };
    let broker = Broker::start(bounded).await.unwrap();
    let client = client(&broker);
    for topic in ["a", "b", "c"] {
        broker.create_topic(topic, 2).unwrap();
        for partition in 0..2 {
            let values = (0..50).map(|number| format!("{number} {}", "x".repeat(10_000)));
            write(&client, topic, partition, values).await;
            assert!(broker.stored_bytes() <= 700_000, "{}", broker.stored_bytes());
        }
        if topic == "a" {
            assert!(broker.stored_bytes() <= 400_000, "{}", broker.stored_bytes());
        }
    }
    assert!(broker.stored_bytes() > 300_000);
    // The newest records are there, and reading from the start finds where that is now.
    let last = values(&client, "c", 1, 50).await;
    assert!(last.last().unwrap().starts_with("49 ") && last.len() < 50);
    broker
        .create_topic_with("kept", 1, &[("cleanup.policy", "compact")])
        .unwrap();
    let producer = Producer::new(
        &client,
        ProducerConfig {
            delivery_timeout: Duration::from_secs(1),
            request_timeout: Duration::from_millis(500),
            ..ProducerConfig::default()
        },
    );
    let mut refused = 0;
    for number in 0..100 {
        let text = "x".repeat(20_000);
        let sent = producer
            .send(record("kept", 0, &format!("key {number}"), Some(&text)))
            .await;
        if sent.is_err() {
            refused += 1;
            break;
        }
    }
    assert_eq!(refused, 1, "a topic that loses nothing is refused what does not fit");
    assert!(broker.stored_bytes() <= 700_000 + 21_000);
    client.shutdown().await;
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_request_end_their_connection_and_nothing_else() {
    let broker = Broker::start(settings(1)).await.unwrap();
    broker.create_topic("t", 1).unwrap();
    let address = broker.addresses()[0];
    // Every request, in its newest version, with lengths that cannot be true; and a few that are none at all.
    let mut frames: Vec<Vec<u8>> = vec![
        vec![0xff; 4],
        0x7fff_ffff_u32.to_be_bytes().to_vec(),
        [&4_u32.to_be_bytes()[..], &[0, 0, 0, 0]].concat(),
        [&10_u32.to_be_bytes()[..], &[0x7f, 0xff, 0, 0, 0, 0, 0, 1, 0xff, 0xff]].concat(),
    ];
    for key in 0..93_i16 {
        let Ok(api) = ApiKey::try_from(key) else { continue };
        for version in [api.valid_versions().min, api.valid_versions().max] {
            for byte in [0x00, 0x01, 0x7f, 0x80, 0xfe, 0xff] {
                let mut frame = Vec::new();
                frame.extend(key.to_be_bytes());
                frame.extend(version.to_be_bytes());
                frame.extend([0, 0, 0, 1, 0xff, 0xff]);
                frame.extend([byte; 60]);
                let size = u32::try_from(frame.len()).unwrap();
                frames.push([&size.to_be_bytes()[..], &frame].concat());
            }
        }
    }
    for frame in frames {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&frame).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let ended = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        // Closed in order or with what it had not read: either way it is over.
        assert!(ended.is_ok(), "{frame:x?}");
    }
    let client = client(&broker);
    write(&client, "t", 0, numbered(0..3)).await;
    assert_eq!(values(&client, "t", 0, 3).await, numbered(0..3));
    client.shutdown().await;
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_closes_every_connection_and_frees_the_port() {
    let broker = Broker::start(settings(2)).await.unwrap();
    let addresses = broker.addresses().to_vec();
    let mut parked = TcpStream::connect(addresses[0]).await.unwrap();
    broker.stop().await.unwrap();
    assert_eq!(parked.read(&mut [0]).await.unwrap_or(0), 0);
    let again = Settings {
        ports: addresses.iter().map(std::net::SocketAddr::port).collect(),
        ..settings(2)
    };
    let broker = Broker::start(again.clone()).await.unwrap();
    let taken = Broker::start(again).await.unwrap_err();
    let wanted = format!(
        "cannot listen on {}: choose another port, or 0 for a free one",
        addresses[0]
    );
    assert_eq!(taken.to_string(), wanted);
    broker.stop().await.unwrap();
}
