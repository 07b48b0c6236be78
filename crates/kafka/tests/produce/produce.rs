//! What a producer writes, as our reader, rskafka and Java's console consumer see it.

use std::sync::Arc;

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
