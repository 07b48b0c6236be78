//! What a producer writes, as our reader, rskafka and Java's console consumer see it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use klamm_kafka::{
    Compression, Existing, KafkaClient, NewTopic, ProduceError, ProduceRecord, Producer, ProducerConfig, StartPosition,
    TimestampType,
};

use crate::support::{broker, client, from, offsets, pool, read_to, unique};

const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip(6),
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

/// A topic with one partition that keeps old records.
pub async fn topic(client: &KafkaClient, stem: &str) -> Arc<str> {
    let topic = NewTopic::new(unique(stem)).with_config("retention.ms", "-1");
    assert_eq!(client.ensure_topic(&topic, Existing::MayDiffer).await.unwrap(), 1);
    topic.name
}

fn records(topic: &Arc<str>) -> Vec<ProduceRecord> {
    let mut full = ProduceRecord::new(Arc::clone(topic));
    full.timestamp = Some(1_700_000_000_123);
    full.key = Some("key".into());
    full.value = Some("value ".repeat(100).into());
    full.headers = vec![
        ("b".into(), Some("1".into())),
        ("a".into(), Some("2".into())),
        ("b".into(), None),
        (Bytes::from_static(b"\xff\xfe"), Some(Bytes::new())),
    ];
    let mut tombstone = ProduceRecord::new(Arc::clone(topic));
    tombstone.key = Some(Bytes::from_static(b"\x00k"));
    let mut empty = ProduceRecord::new(Arc::clone(topic));
    (empty.key, empty.value) = (Some(Bytes::new()), Some(Bytes::new()));
    vec![full, tombstone, empty]
}

#[tokio::test]
async fn every_codec_is_read_by_every_client() {
    let client = client();
    let topic = topic(&client, "codecs").await;
    let mut sent = Vec::new();
    for compression in CODECS {
        let config = ProducerConfig {
            compression,
            ..ProducerConfig::default()
        };
        let producer = Producer::new(&client, config);
        let mut deliveries = Vec::new();
        for record in records(&topic) {
            deliveries.push(producer.enqueue(record.clone()).await.unwrap());
            sent.push((compression, record));
        }
        for (offset, delivery) in (sent.len() - 3..).zip(deliveries) {
            let metadata = delivery.await.unwrap();
            let offset = i64::try_from(offset).unwrap();
            assert_eq!((metadata.partition, metadata.offset), (0, Some(offset)));
        }
    }
    let mut reader = pool(&client).open(from(&topic, StartPosition::Earliest));
    let found = read_to(&mut reader, 15).await;
    assert_eq!(offsets(&found), (0..15).collect::<Vec<_>>());
    for (found, (compression, sent)) in found.iter().zip(&sent) {
        assert_eq!(
            (&found.key, &found.value, &found.headers),
            (&sent.key, &sent.value, &sent.headers),
            "{compression:?}"
        );
        assert_eq!(found.timestamp_type, TimestampType::CreateTime);
        assert!(sent.timestamp.is_none_or(|timestamp| timestamp == found.timestamp));
    }
    let mut args = vec!["console-consumer", "--topic", &topic, "--from-beginning"];
    args.extend(["--max-messages", "15", "--timeout-ms", "30000"]);
    for property in [
        "print.headers=true",
        "print.key=true",
        "print.timestamp=true",
        "null.literal=NULL",
    ] {
        args.extend(["--formatter-property", property]);
    }
    let java = broker().run(&args);
    let lines: Vec<_> = java.lines().collect();
    assert_eq!(lines.len(), 15, "{java}");
    for (lines, compression) in lines.chunks(3).zip(CODECS) {
        let headers = "b:1,a:2,b:NULL,\u{fffd}\u{fffd}:";
        let value = "value ".repeat(100);
        assert_eq!(
            lines[0],
            format!("CreateTime:1700000000123\t{headers}\tkey\t{value}"),
            "{compression:?}"
        );
        assert!(
            lines[1].ends_with("\tNO_HEADERS\t\0k\tNULL"),
            "{compression:?}: {}",
            lines[1]
        );
        assert!(lines[2].ends_with("\tNO_HEADERS\t\t"), "{compression:?}: {}", lines[2]);
    }
    client.shutdown().await;
}

#[tokio::test]
async fn a_record_beyond_a_limit_names_size_limit_and_setting() {
    let client = client();
    let topic = topic(&client, "large").await;
    let producer = Producer::new(&client, ProducerConfig::default());
    let mut record = ProduceRecord::new(Arc::clone(&topic));
    record.value = Some(vec![b'x'; 1024 * 1024].into());
    let err = producer.send(record).await.unwrap_err();
    assert!(
        matches!(
            err,
            ProduceError::TooLarge {
                limit: Some(1_048_576),
                ..
            }
        ),
        "{err}"
    );
    assert_eq!(
        err.to_string(),
        format!(
            "a record for topic `{topic}` takes 1048673 bytes, more than the producer's `max.request.size` allows \
             (1048576)"
        )
    );
    client.shutdown().await;
}

#[tokio::test]
async fn a_batch_that_the_broker_finds_too_large_is_split_and_a_record_is_refused() {
    let client = client();
    let topic = NewTopic::new(unique("limited")).with_config("max.message.bytes", "5000");
    client.ensure_topic(&topic, Existing::MayDiffer).await.unwrap();
    let config = ProducerConfig {
        batch_size: 1024 * 1024,
        linger: Duration::from_secs(3600),
        delivery_timeout: Duration::from_secs(7200),
        ..ProducerConfig::default()
    };
    let producer = Producer::new(&client, config);
    let mut deliveries = Vec::new();
    for index in 0..40_u8 {
        let mut record = ProduceRecord::new(Arc::clone(&topic.name));
        record.value = Some(vec![index; 1000].into());
        deliveries.push(producer.enqueue(record).await.unwrap());
    }
    let mut large = ProduceRecord::new(Arc::clone(&topic.name));
    large.value = Some(vec![b'x'; 6000].into());
    let refused = producer.enqueue(large).await.unwrap();
    let mut last = ProduceRecord::new(Arc::clone(&topic.name));
    last.value = Some("last".into());
    deliveries.push(producer.enqueue(last).await.unwrap());
    producer.flush().await;
    for (offset, delivery) in (0..).zip(deliveries) {
        assert_eq!(delivery.await.unwrap().offset, Some(offset));
    }
    let name = &topic.name;
    assert_eq!(
        refused.await.unwrap_err().to_string(),
        format!(
            "a record for topic `{name}` takes 6070 bytes, more than `max.message.bytes` of the topic (else \
             `message.max.bytes` of the broker) allows"
        )
    );
    let mut reader = pool(&client).open(from(name, StartPosition::Earliest));
    let found = read_to(&mut reader, 41).await;
    let firsts: Vec<_> = found[..40]
        .iter()
        .map(|record| record.value.as_ref().unwrap()[0])
        .collect();
    assert_eq!(firsts, (0..40).collect::<Vec<_>>());
    client.shutdown().await;
}

#[tokio::test]
async fn what_does_not_exist_is_waited_for_and_then_named() {
    let client = client();
    let config = ProducerConfig {
        max_block: Duration::from_millis(300),
        ..ProducerConfig::default()
    };
    let impatient = Producer::new(&client, config);
    let name: Arc<str> = unique("missing").into();
    let err = impatient.send(ProduceRecord::new(Arc::clone(&name))).await.unwrap_err();
    assert_eq!(
        err.to_string(),
        format!("topic `{name}` did not exist within 300 ms (`max.block.ms`): create it first")
    );
    let patient = Producer::new(&client, ProducerConfig::default());
    let mut waiting = Box::pin(patient.send(ProduceRecord::new(Arc::clone(&name))));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    client
        .ensure_topic(&NewTopic::new(Arc::clone(&name)), Existing::MayDiffer)
        .await
        .unwrap();
    assert_eq!(waiting.await.unwrap().offset, Some(0));
    let err = patient.send(ProduceRecord::new("no topic")).await.unwrap_err();
    let source = std::error::Error::source(&err).unwrap().to_string();
    assert_eq!(source, "DESCRIBE on topic `no topic`: InvalidTopicException", "at once");
    let mut record = ProduceRecord::new(Arc::clone(&name));
    record.partition = Some(1);
    let err = patient.send(record).await.unwrap_err();
    assert_eq!(
        err.to_string(),
        format!("topic `{name}` has 1 partitions, there is no partition 1")
    );
    client.shutdown().await;
}

#[tokio::test]
async fn memory_is_bounded_and_comes_back() {
    let client = client();
    let topic = topic(&client, "memory").await;
    let config = ProducerConfig {
        buffer_memory: 3000,
        linger: Duration::from_secs(3600),
        delivery_timeout: Duration::from_secs(7200),
        max_block: Duration::from_millis(300),
        ..ProducerConfig::default()
    };
    let producer = Producer::new(&client, config);
    let record = || {
        let mut record = ProduceRecord::new(Arc::clone(&topic));
        record.value = Some(vec![b'x'; 1000].into());
        record
    };
    let deliveries = [
        producer.enqueue(record()).await.unwrap(),
        producer.enqueue(record()).await.unwrap(),
    ];
    let err = producer.enqueue(record()).await.unwrap_err();
    assert!(matches!(err, ProduceError::BufferFull { .. }), "{err}");
    producer.flush().await;
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    drop(producer.enqueue(record()).await.unwrap());
    producer.close().await;
    let mut reader = pool(&client).open(from(&topic, StartPosition::Earliest));
    assert_eq!(read_to(&mut reader, 3).await.len(), 3);
    client.shutdown().await;
}

#[tokio::test]
async fn records_of_a_topic_that_refuses_them_say_why() {
    let client = client();
    let topic = NewTopic::new(unique("keyed")).with_config("cleanup.policy", "compact");
    client.ensure_topic(&topic, Existing::MayDiffer).await.unwrap();
    let producer = Producer::new(&client, ProducerConfig::default());
    let err = producer
        .send(ProduceRecord::new(Arc::clone(&topic.name)))
        .await
        .unwrap_err();
    let source = std::error::Error::source(&err).unwrap().to_string();
    assert_eq!(err.to_string(), format!("{}-0: the record was not written", topic.name));
    assert!(source.contains("key") && source.contains("InvalidRecord"), "{source}");
    let mut record = ProduceRecord::new(Arc::clone(&topic.name));
    record.key = Some("k".into());
    assert_eq!(
        producer.send(record).await.unwrap().offset,
        Some(0),
        "the sequence goes on"
    );
    client.shutdown().await;
}

#[tokio::test]
async fn a_topic_with_log_append_time_tells_the_brokers_clock() {
    let client = client();
    let topic = NewTopic::new(unique("clock")).with_config("message.timestamp.type", "LogAppendTime");
    client.ensure_topic(&topic, Existing::MayDiffer).await.unwrap();
    for idempotence in [true, false] {
        let config = ProducerConfig {
            idempotence,
            ..ProducerConfig::default()
        };
        let producer = Producer::new(&client, config);
        let mut record = ProduceRecord::new(Arc::clone(&topic.name));
        record.timestamp = Some(5);
        let metadata = producer.send(record).await.unwrap();
        assert!(metadata.timestamp > 1_700_000_000_000, "{metadata:?}");
    }
    client.shutdown().await;
}
