//! Transactions: all or nothing, by one owner at a time.

use std::sync::Arc;

use klamm_kafka::{
    Existing, FetchSettings, IsolationLevel, KafkaClient, NewTopic, ProduceError, ProduceRecord, ProducerConfig,
    StartPosition, TransactionalProducer,
};

use crate::support::{broker, client, from, pool, read_to, unique};

fn config(id: &str) -> ProducerConfig {
    ProducerConfig {
        transactional_id: Some(id.into()),
        ..ProducerConfig::default()
    }
}

async fn topic(client: &KafkaClient, stem: &str) -> Arc<str> {
    let topic = NewTopic::new(unique(stem)).with_config("max.message.bytes", "5000");
    client.ensure_topic(&topic, Existing::MayDiffer).await.unwrap();
    topic.name
}

fn record(topic: &Arc<str>, value: &str) -> ProduceRecord {
    let mut record = ProduceRecord::new(Arc::clone(topic));
    record.value = Some(value.to_owned().into());
    record
}

/// The values that a reader of that isolation finds up to the end.
async fn values(client: &Arc<KafkaClient>, topic: &str, isolation_level: IsolationLevel, end: i64) -> Vec<String> {
    let mut request = from(topic, StartPosition::Earliest);
    request.settings = Arc::new(FetchSettings {
        isolation_level,
        ..FetchSettings::default()
    });
    let mut reader = pool(client).open(request);
    let records = read_to(&mut reader, end).await;
    let value = |record: &klamm_kafka::ConsumedRecord| String::from_utf8(record.value.clone().unwrap().into()).unwrap();
    records.iter().map(value).collect()
}

#[tokio::test]
async fn only_committed_records_are_visible_to_read_committed() {
    let client = client();
    let topic = topic(&client, "txn").await;
    let mut producer = TransactionalProducer::start(&client, config(&topic)).await.unwrap();
    assert_eq!(
        producer.begin().await.unwrap().commit().await.unwrap(),
        [],
        "an empty one is fine"
    );

    let mut transaction = producer.begin().await.unwrap();
    for value in ["a", "b"] {
        transaction.send(record(&topic, value)).await.unwrap();
    }
    let written = transaction.commit().await.unwrap();
    let offsets: Vec<_> = written.iter().map(|metadata| metadata.offset).collect();
    assert_eq!(offsets, [Some(0), Some(1)]);

    // Offset 2 is the marker of the commit, and so on.
    let mut transaction = producer.begin().await.unwrap();
    transaction.send(record(&topic, "aborted")).await.unwrap();
    transaction.abort().await.unwrap();

    let mut transaction = producer.begin().await.unwrap();
    transaction.send(record(&topic, "dropped")).await.unwrap();
    drop(transaction);

    let mut transaction = producer.begin().await.unwrap();
    transaction.send(record(&topic, "too large").clone()).await.unwrap();
    transaction.send(record(&topic, &"x".repeat(6000))).await.unwrap();
    let err = transaction.commit().await.unwrap_err();
    assert_eq!(
        err.to_string(),
        format!("transaction of `{topic}` failed and is aborted")
    );
    let ProduceError::Aborted { source, .. } = err else {
        panic!("{err}")
    };
    assert!(matches!(*source, ProduceError::TooLarge { .. }), "{source}");

    let mut transaction = producer.begin().await.unwrap();
    transaction.send(record(&topic, "c")).await.unwrap();
    let end = transaction.commit().await.unwrap()[0].offset.unwrap() + 1;

    assert_eq!(
        values(&client, &topic, IsolationLevel::ReadCommitted, end).await,
        ["a", "b", "c"]
    );
    let all = values(&client, &topic, IsolationLevel::ReadUncommitted, end).await;
    assert!(
        all.len() >= 3 && all[..2] == ["a", "b"] && all.last().unwrap() == "c",
        "{all:?}"
    );
    let mut args = vec!["console-consumer", "--topic", &topic, "--from-beginning"];
    args.extend([
        "--isolation-level",
        "read_committed",
        "--max-messages",
        "3",
        "--timeout-ms",
        "30000",
    ]);
    assert_eq!(broker().run(&args), "a\nb\nc\n");
    producer.close().await;
    client.shutdown().await;
}

#[tokio::test]
async fn a_later_owner_fences_the_earlier() {
    let client = client();
    let topic = topic(&client, "fenced").await;
    let mut first = TransactionalProducer::start(&client, config(&topic)).await.unwrap();
    let mut open = first.begin().await.unwrap();
    open.send(record(&topic, "lost")).await.unwrap();

    let mut second = TransactionalProducer::start(&client, config(&topic)).await.unwrap();
    let err = open.commit().await.unwrap_err();
    assert_eq!(
        err.to_string(),
        format!(
            "`transactional.id={topic}` is fenced: another producer started with it, or a transaction was open for \
             longer than `transaction.timeout.ms`; make sure that only one uses it, and start again"
        )
    );
    let err = first.begin().await.unwrap_err();
    assert!(matches!(err, ProduceError::Fenced { .. }), "{err}");

    let mut transaction = second.begin().await.unwrap();
    transaction.send(record(&topic, "kept")).await.unwrap();
    let end = transaction.commit().await.unwrap()[0].offset.unwrap() + 1;
    assert_eq!(
        values(&client, &topic, IsolationLevel::ReadCommitted, end).await,
        ["kept"]
    );
    client.shutdown().await;
}
