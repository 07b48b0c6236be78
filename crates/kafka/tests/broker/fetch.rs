//! Positions, resets, sessions.

use std::sync::Arc;

use klamm_kafka::{FetchError, FetchSettings, OffsetReset, StartPosition, TopicPartition};

use crate::support::{PATIENCE, client, from, next, offsets, pool, produce, raw, read_to, record, unique};

async fn filled(stem: &str, count: usize) -> String {
    let topic = unique(stem);
    raw::create_topic(&topic, 1, &[]);
    if count > 0 {
        produce(&topic, 0, (0..count).map(|i| record(i.to_string())).collect()).await;
    }
    topic
}

#[tokio::test]
async fn a_reader_starts_where_it_is_told() {
    let topic = filled("start", 10).await;
    let client = client();
    let pool = pool(&client);
    let mut earliest = pool.open(from(&topic, StartPosition::Earliest));
    assert_eq!(offsets(&read_to(&mut earliest, 10).await), (0..10).collect::<Vec<_>>());
    let mut middle = pool.open(from(&topic, StartPosition::Offset(7)));
    assert_eq!(offsets(&read_to(&mut middle, 10).await), [7, 8, 9]);
    let mut latest = pool.open(from(&topic, StartPosition::Latest));
    while latest.position().is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(latest.position(), Some(10));
    produce(&topic, 0, vec![record("new")]).await;
    assert_eq!(offsets(&read_to(&mut latest, 11).await), [10]);
    client.shutdown().await;
}

#[tokio::test]
async fn an_offset_that_does_not_exist_follows_the_reset_policy() {
    let topic = filled("reset", 5).await;
    let client = client();
    let pool = pool(&client);

    let mut request = from(&topic, StartPosition::Offset(1_000));
    let mut reader = pool.open(request.clone());
    assert_eq!(offsets(&read_to(&mut reader, 5).await), [0, 1, 2, 3, 4], "earliest");

    request.reset = OffsetReset::Latest;
    let mut reader = pool.open(request.clone());
    while reader.position() != Some(5) {
        tokio::task::yield_now().await;
    }
    produce(&topic, 0, vec![record("5")]).await;
    assert_eq!(offsets(&read_to(&mut reader, 6).await), [5], "latest");

    request.reset = OffsetReset::None;
    let mut reader = pool.open(request);
    let error = tokio::time::timeout(PATIENCE, reader.next())
        .await
        .unwrap()
        .unwrap_err();
    assert!(
        matches!(error, FetchError::OffsetOutOfRange { offset: 1_000, .. }),
        "{error}"
    );
    assert!(
        error.to_string().starts_with(&format!("{topic}-0@1000 does not exist")),
        "{error}"
    );
    reader.seek(2);
    assert_eq!(offsets(&read_to(&mut reader, 6).await), [2, 3, 4, 5], "a seek heals it");
    client.shutdown().await;
}

#[tokio::test]
async fn a_seek_drops_what_was_fetched_before() {
    let topic = filled("seek", 100).await;
    let client = client();
    let mut reader = pool(&client).open(from(&topic, StartPosition::Earliest));
    assert_eq!(next(&mut reader).await.start_offset(), 0);
    for target in [50, 3, 99, 0] {
        reader.seek(target);
        assert_eq!(next(&mut reader).await.start_offset(), target);
    }
    client.shutdown().await;
}

#[tokio::test]
async fn a_paused_reader_gets_nothing_and_goes_on_after_resume() {
    let topic = filled("pause", 1).await;
    let client = client();
    let pool = pool(&client);
    let mut reader = pool.open(from(&topic, StartPosition::Earliest));
    let mut witness = pool.open(from(&topic, StartPosition::Earliest));
    read_to(&mut reader, 1).await;
    read_to(&mut witness, 1).await;
    reader.pause();
    produce(&topic, 0, vec![record("1")]).await;
    read_to(&mut witness, 2).await;
    let mut waiting = Box::pin(reader.next());
    assert!(futures_util::poll!(&mut waiting).is_pending());
    drop(waiting);
    reader.resume();
    assert_eq!(offsets(&read_to(&mut reader, 2).await), [1]);
    client.shutdown().await;
}

/// While one partition idles in a long poll of a minute, others deliver: neither opening nor coming back waits for it.
#[tokio::test]
async fn a_new_partition_delivers_while_another_idles() {
    let idle = filled("idle", 0).await;
    let busy = filled("busy", 1).await;
    let client = client();
    let pool = pool(&client);
    let settings = Arc::new(FetchSettings {
        max_wait: PATIENCE * 10,
        ..FetchSettings::default()
    });
    let mut request = from(&idle, StartPosition::Offset(0));
    request.settings = Arc::clone(&settings);
    let mut idling = pool.open(request);
    let mut waiting = Box::pin(idling.next());
    assert!(futures_util::poll!(&mut waiting).is_pending());
    for round in 0..3 {
        let mut request = from(&busy, StartPosition::Offset(0));
        request.settings = Arc::clone(&settings);
        let mut reader = pool.open(request);
        assert_eq!(
            offsets(&read_to(&mut reader, round + 1).await).len(),
            usize::try_from(round + 1).unwrap()
        );
        produce(&busy, 0, vec![record("more")]).await;
        read_to(&mut reader, round + 2).await;
        assert!(futures_util::poll!(&mut waiting).is_pending());
    }
    produce(&idle, 0, vec![record("at last")]).await;
    let section = tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap();
    assert_eq!(section.next_offset(), 1);
    client.shutdown().await;
}

#[tokio::test]
async fn a_record_larger_than_every_bound_comes_through() {
    let topic = filled("large", 0).await;
    let large = "x".repeat(600 * 1024);
    produce(&topic, 0, vec![record(large.clone())]).await;
    produce(&topic, 0, vec![record("small")]).await;
    let client = client();
    let mut request = from(&topic, StartPosition::Earliest);
    request.settings = Arc::new(FetchSettings {
        max_partition_bytes: 1_000,
        max_bytes: 2_000,
        ..FetchSettings::default()
    });
    let records = read_to(&mut pool(&client).open(request), 2).await;
    assert_eq!(records[0].value.as_deref(), Some(large.as_bytes()));
    assert_eq!(records[1].value.as_deref(), Some(&b"small"[..]));
    client.shutdown().await;
}

#[tokio::test]
async fn many_readers_share_sessions_and_each_gets_its_own() {
    let topic = unique("many");
    raw::create_topic(&topic, 20, &[]);
    for partition in 0..20 {
        produce(
            &topic,
            partition,
            (0..30).map(|i| record(format!("{partition}:{i}"))).collect(),
        )
        .await;
    }
    let client = client();
    let pool = pool(&client);
    // Two readers of each partition, so that a second session is needed.
    let mut readers = Vec::new();
    for partition in (0..20).chain(0..20) {
        let mut request = from(&topic, StartPosition::Earliest);
        request.partition = partition;
        readers.push(pool.open(request));
    }
    for reader in &mut readers {
        let records = read_to(reader, 30).await;
        assert_eq!(offsets(&records), (0..30).collect::<Vec<_>>());
        let TopicPartition { partition, .. } = *reader.partition();
        for (i, record) in records.iter().enumerate() {
            assert_eq!(record.value.as_deref(), Some(format!("{partition}:{i}").as_bytes()));
        }
    }
    client.shutdown().await;
}

#[tokio::test]
async fn a_topic_that_is_made_later_or_again_is_read_from_its_start() {
    let topic = unique("later");
    let client = client();
    let mut reader = pool(&client).open(from(&topic, StartPosition::Earliest));
    let mut waiting = Box::pin(reader.next());
    assert!(futures_util::poll!(&mut waiting).is_pending());
    raw::create_topic(&topic, 1, &[]);
    produce(&topic, 0, vec![record("one")]).await;
    let section = tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap();
    assert_eq!(section.next_offset(), 1);
    raw::delete_topic(&topic);
    // Deleting takes a moment, during which the name is still taken.
    while raw::try_create_topic(&topic, 1, &[]).is_some() {
        tokio::task::yield_now().await;
    }
    produce(&topic, 0, vec![record("two"), record("three")]).await;
    let records = read_to(&mut reader, 2).await;
    assert_eq!(offsets(&records), [0, 1]);
    client.shutdown().await;
}
