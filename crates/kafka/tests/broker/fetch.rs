//! Positions, resets, sessions.

use std::sync::Arc;
use std::time::Duration;

use klamm_kafka::{
    ByteBudget, FetchError, FetchPool, FetchSettings, OffsetReset, PartitionReader, StartPosition, TopicPartition,
};

use crate::support::encode::{TestBatch, TestRecord};
use crate::support::{PATIENCE, client, fairness, from, next, offsets, pool, produce, raw, read_to, record, unique};

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
    let error = failure(&mut reader).await;
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

/// As above for a reader that was there all the time: sought, or paused and resumed, within one long poll.
#[tokio::test]
async fn a_sought_or_resumed_partition_delivers_while_others_idle() {
    let topic = filled("back", 5).await;
    let client = client();
    let pool = pool(&client);
    let settings = Arc::new(FetchSettings {
        max_wait: PATIENCE * 10,
        ..FetchSettings::default()
    });
    let mut request = from(&topic, StartPosition::Earliest);
    request.settings = Arc::clone(&settings);
    let mut reader = pool.open(request);
    read_to(&mut reader, 5).await;
    for round in 0..3 {
        let mut waiting = Box::pin(reader.next());
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(waiting);
        reader.seek(round);
        assert_eq!(next(&mut reader).await.start_offset(), round);
        reader.pause();
        let end = 6 + round;
        produce(&topic, 0, vec![record("while paused")]).await;
        reader.resume();
        assert_eq!(offsets(&read_to(&mut reader, end).await).last(), Some(&(end - 1)));
    }
    client.shutdown().await;
}

/// Three records of 5 MB, each larger than both bounds of a fetch, beside a partition that always has something.
#[tokio::test]
async fn records_larger_than_every_bound_come_through_beside_busy_partitions() {
    let topic = unique("large");
    raw::create_topic(&topic, 2, &[("max.message.bytes", "8000000")]);
    let large: Vec<u8> = (0..5_000_000_u32).map(|i| i.to_le_bytes()[0]).collect();
    let written = |value: Vec<u8>| {
        let value = Some(value);
        TestBatch::new(
            0,
            vec![TestRecord {
                value,
                ..TestRecord::default()
            }],
        )
    };
    for _ in 0..3 {
        raw::produce_somehow(&topic, 0, &written(large.clone()));
    }
    raw::produce_somehow(&topic, 0, &written(b"small".to_vec()));
    produce(&topic, 1, (0..200).map(|_| record(vec![0; 1_000])).collect()).await;
    let client = client();
    let pool = pool(&client);
    let settings = Arc::new(FetchSettings {
        max_partition_bytes: 1_000,
        max_bytes: 2_000,
        ..FetchSettings::default()
    });
    let open = |partition| {
        let mut request = from(&topic, StartPosition::Earliest);
        (request.settings, request.partition) = (Arc::clone(&settings), partition);
        pool.open(request)
    };
    let (mut big, mut busy) = (open(0), open(1));
    let (big, busy) = tokio::join!(read_to(&mut big, 4), read_to(&mut busy, 200));
    assert_eq!(offsets(&big), [0, 1, 2, 3]);
    for record in &big[..3] {
        assert!(record.value.as_deref() == Some(large.as_slice()));
    }
    assert_eq!(busy.len(), 200);
    client.shutdown().await;
}

#[tokio::test]
async fn a_huge_backlog_does_not_starve_its_neighbours() {
    fairness::check().await;
}

#[tokio::test]
async fn fetch_min_bytes_waits_for_enough() {
    let topic = filled("min", 0).await;
    let client = client();
    // Two pools, so that what one received can be told apart.
    let (pool, other) = (pool(&client), pool(&client));
    let mut request = from(&topic, StartPosition::Earliest);
    let mut witness = other.open(request.clone());
    request.settings = Arc::new(FetchSettings {
        min_bytes: 3_000,
        max_wait: PATIENCE * 10,
        ..FetchSettings::default()
    });
    let mut patient = pool.open(request);
    patient.started().await.unwrap();
    // From the second round on the long poll is certainly out.
    for start in [0, 3, 6] {
        let before = pool.stats();
        for number in start..start + 3 {
            assert_eq!(pool.stats().bytes, before.bytes, "{} KB are not enough", number - start);
            let mut waiting = Box::pin(patient.next());
            assert!(futures_util::poll!(&mut waiting).is_pending());
            drop(waiting);
            produce(&topic, 0, vec![record(vec![1; 1_000])]).await;
            read_to(&mut witness, number + 1).await;
        }
        let section = next(&mut patient).await;
        let found = (section.start_offset(), section.next_offset());
        assert_eq!(found, (start, start + 3), "all at once");
    }
    client.shutdown().await;
}

/// A paused partition leaves the session: whatever is written to it is neither asked for nor sent.
#[tokio::test]
async fn pausing_costs_nothing() {
    const ROUNDS: i64 = 20;
    let paused_topic = filled("paused", 1).await;
    let witness_topic = filled("witness", 0).await;
    let client = client();
    let pool = pool(&client);
    let settings = Arc::new(FetchSettings {
        max_wait: Duration::from_millis(20),
        ..FetchSettings::default()
    });
    let open = |topic| {
        let mut request = from(topic, StartPosition::Earliest);
        request.settings = Arc::clone(&settings);
        pool.open(request)
    };
    let (mut paused, mut witness) = (open(&paused_topic), open(&witness_topic));
    read_to(&mut paused, 1).await;
    paused.pause();
    // A long poll that was out at the pause ends first; the one after was planned without the partition.
    let fetches = pool.stats().fetches;
    while pool.stats().fetches < fetches + 3 {
        tokio::task::yield_now().await;
    }
    produce(&paused_topic, 0, (0..200).map(|_| record(vec![1; 1_000])).collect()).await;
    let before = pool.stats();
    for round in 0..ROUNDS {
        produce(&witness_topic, 0, vec![record("w")]).await;
        read_to(&mut witness, round + 1).await;
    }
    let after = pool.stats();
    assert!(after.bytes - before.bytes < 10_000, "{before:?} {after:?}");
    paused.resume();
    assert_eq!(read_to(&mut paused, 201).await.len(), 200);
    client.shutdown().await;
}

/// The bookkeeping grows with what happens, not with what is open.
#[tokio::test]
async fn idle_partitions_are_not_looked_at() {
    const IDLE: i32 = 200;
    const ROUNDS: i64 = 30;
    let topic = unique("crowd");
    raw::create_topic(&topic, IDLE + 1, &[]);
    let client = client();
    let pool = pool(&client);
    let mut readers: Vec<_> = (0..=IDLE)
        .map(|partition| {
            let mut request = from(&topic, StartPosition::Earliest);
            request.partition = partition;
            pool.open(request)
        })
        .collect();
    for reader in &mut readers {
        tokio::time::timeout(PATIENCE, reader.started()).await.unwrap().unwrap();
    }
    let (busy, idle) = readers.split_first_mut().unwrap();
    produce(&topic, 0, vec![record("0")]).await;
    read_to(busy, 1).await;
    // Until the session holds them all: some came while its first long poll was out.
    loop {
        let before = pool.stats();
        while pool.stats().fetches < before.fetches + 20 {
            let end = busy.position().unwrap() + 1;
            produce(&topic, 0, vec![record("settling")]).await;
            read_to(busy, end).await;
        }
        if pool.stats().asked - before.asked < 100 {
            break;
        }
    }
    let (before, start) = (pool.stats(), busy.position().unwrap());
    for round in 1..=ROUNDS {
        produce(&topic, 0, vec![record("x")]).await;
        read_to(busy, start + round).await;
    }
    let after = pool.stats();
    let rounds = u64::try_from(ROUNDS).unwrap();
    assert!(after.visits - before.visits < 40 * rounds, "{before:?} {after:?}");
    assert!(after.asked - before.asked < 10 * rounds, "{before:?} {after:?}");
    for reader in idle.iter().step_by(50) {
        assert_eq!(reader.position(), Some(0));
    }
    client.shutdown().await;
}

#[tokio::test]
async fn a_log_start_that_moves_follows_the_reset_policy() {
    let topic = filled("moved", 10).await;
    let client = client();
    let pool = pool(&client);
    let mut request = from(&topic, StartPosition::Offset(2));
    let mut reader = pool.open(request.clone());
    assert_eq!(next(&mut reader).await.start_offset(), 2);
    reader.pause();
    reader.seek(3);
    raw::delete_records(&topic, 0, 7);
    reader.resume();
    let section = next(&mut reader).await;
    assert_eq!(
        (section.start_offset(), section.log_start_offset),
        (7, 7),
        "while reading"
    );
    let mut late = pool.open(request.clone());
    assert_eq!(offsets(&read_to(&mut late, 10).await), [7, 8, 9], "while stopped");
    request.reset = OffsetReset::None;
    let error = failure(&mut pool.open(request)).await;
    assert!(
        matches!(error, FetchError::OffsetOutOfRange { offset: 2, .. }),
        "{error}"
    );
    client.shutdown().await;
}

/// What was committed under a leader whose log went on differently after it (KIP-320): here the log simply ends before.
#[tokio::test]
async fn a_commit_behind_the_end_of_its_leader_epoch_is_a_truncation() {
    let topic = filled("truncated", 5).await;
    let client = client();
    let pool = pool(&client);
    let committed = |offset, leader_epoch| from(&topic, StartPosition::Committed { offset, leader_epoch });

    let mut reader = pool.open(committed(3, Some(0)));
    assert_eq!(
        offsets(&read_to(&mut reader, 5).await),
        [3, 4],
        "what is still there is read on"
    );
    assert_eq!(reader.leader_epochs().before(5), Some(0));
    let mut reader = pool.open(committed(9, None));
    assert_eq!(
        offsets(&read_to(&mut reader, 5).await),
        [0, 1, 2, 3, 4],
        "without an epoch: out of range"
    );

    let mut reader = pool.open(committed(9, Some(0)));
    // Before there is more: the log ends where the logs part.
    let checked = async {
        while reader.position() != Some(5) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, checked)
        .await
        .expect("the commit is checked");
    produce(&topic, 0, vec![record("5")]).await;
    assert_eq!(
        offsets(&read_to(&mut reader, 6).await),
        [5],
        "on where the logs part, not from the start"
    );

    let mut request = committed(9, Some(0));
    request.reset = OffsetReset::None;
    let mut reader = pool.open(request);
    let error = failure(&mut reader).await;
    assert!(
        matches!(
            error,
            FetchError::LogTruncated {
                offset: 9,
                diverged: Some((0, 6)),
                ..
            }
        ),
        "{error:?}"
    );
    let text = error.to_string();
    let wanted =
        format!("{topic}-0@9 was cut off the log: what was read and what is there part at offset 6, leader epoch 0");
    assert!(text.starts_with(&wanted), "{text}");
    let again = failure(&mut reader).await;
    assert_eq!(again.to_string(), text, "asking again does not skip it");
    reader.seek(4);
    assert_eq!(offsets(&read_to(&mut reader, 6).await), [4, 5], "a seek does");
    client.shutdown().await;
}

async fn failure(reader: &mut PartitionReader) -> FetchError {
    let next = tokio::time::timeout(PATIENCE, reader.next()).await;
    next.unwrap().unwrap_err()
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

// A reservation beyond what was free waited until nobody held a byte of fetched records, and every fetch behind it.
#[tokio::test]
async fn a_reader_with_large_bounds_does_not_stop_the_others() {
    let client = client();
    let pool = FetchPool::new(Arc::clone(&client), Arc::new(ByteBudget::new(32 << 20)));
    let mut held = Vec::new();
    // The second one's bounds are larger than the memory of all; each keeps what it got.
    for bound in [1 << 20, 50 << 20, 1 << 20] {
        let topic = filled("bounds", 1).await;
        let mut request = from(&topic, StartPosition::Offset(0));
        request.settings = Arc::new(FetchSettings {
            max_bytes: bound,
            max_partition_bytes: bound,
            ..FetchSettings::default()
        });
        let mut reader = pool.open(request);
        held.push((next(&mut reader).await, reader));
    }
    client.shutdown().await;
}

// Each long poll set the bound of its answer aside, so that sessions beyond the budget took turns with their half
// seconds.
#[tokio::test]
async fn more_idle_sessions_than_the_budget_has_room_for_delay_nobody() {
    const SESSIONS: i32 = 100;
    let topic = unique("sessions");
    raw::create_topic(&topic, 9, &[]);
    let client = client();
    let pool = FetchPool::new(Arc::clone(&client), Arc::new(ByteBudget::new(32 << 20)));
    let open = |session: i32, partition| {
        let mut request = from(&topic, StartPosition::Offset(0));
        // Bounds of their own make them sessions of their own.
        request.settings = Arc::new(FetchSettings {
            max_wait: PATIENCE * 10,
            max_bytes: (8 << 20) + session,
            ..FetchSettings::default()
        });
        request.partition = partition;
        pool.open(request)
    };
    let mut readers = Vec::new();
    for session in 0..SESSIONS {
        readers.extend((0..8).map(|partition| open(session, partition)));
    }
    // All polls are out; without room the last one would have to wait for them, or already they did.
    let all_out = async {
        while pool.stats().asked < 8 * u64::try_from(SESSIONS).unwrap() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, all_out).await.expect("all polls go out");
    let mut last = open(SESSIONS, 8);
    produce(&topic, 8, vec![record("now")]).await;
    next(&mut last).await;
    client.shutdown().await;
}
