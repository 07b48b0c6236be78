//! A leader without the last records takes over: the log is cut and goes on differently (KIP-320).

use klamm_kafka::{FetchError, OffsetReset, StartPosition};

use crate::support::encode::{TestBatch, TestRecord};
use crate::support::{PATIENCE, broker, client, from, next, pool, raw, unique};

fn write(topic: &str, values: &[&str]) {
    for value in values {
        let record = TestRecord {
            value: Some(value.as_bytes().to_vec()),
            ..TestRecord::default()
        };
        raw::produce_somehow(topic, 0, &TestBatch::new(0, vec![record]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unclean_election_is_noticed_and_read_from_where_the_logs_part() {
    let _alone = crate::alone().await;
    let topic = unique("unclean");
    let configs = [("min.insync.replicas", "1"), ("unclean.leader.election.enable", "true")];
    raw::create_topic_on(&topic, &[&[1, 2]], &configs);
    write(&topic, &["0", "1", "2"]);
    broker().run(&["stop", "2"]);
    write(&topic, &["lost 3", "lost 4"]);

    let client = client();
    let pool = pool(&client);
    let request = from(&topic, StartPosition::Earliest);
    let mut strict = request.clone();
    strict.reset = OffsetReset::None;
    strict.start = StartPosition::Offset(0);
    let (mut reader, mut strict) = (pool.open(request), pool.open(strict));
    for reader in [&mut reader, &mut strict] {
        while next(reader).await.next_offset() < 5 {}
    }
    let committed = reader.leader_epochs().before(5).unwrap();
    // One that went back to where it had been, and rests while it happens.
    let mut resting = pool.open(from(&topic, StartPosition::Earliest));
    while next(&mut resting).await.next_offset() < 5 {}
    resting.pause();
    resting.seek(5);

    broker().run(&["kill", "1"]);
    broker().run(&["start", "2"]);
    write(&topic, &["new 3", "new 4", "new 5", "new 6"]);

    let section = next(&mut reader).await;
    assert_eq!(
        section.start_offset(),
        3,
        "where the logs part, neither the start nor 5"
    );
    let first = section.records().next().unwrap().unwrap();
    assert_eq!(first.value.as_deref(), Some(&b"new 3"[..]));
    assert!(first.leader_epoch.unwrap() > committed);
    assert_eq!(
        reader.leader_epochs().before(4),
        first.leader_epoch,
        "commits carry the new epoch"
    );

    resting.resume();
    assert_eq!(
        next(&mut resting).await.start_offset(),
        3,
        "noticed although it was sought"
    );

    let error = tokio::time::timeout(PATIENCE, strict.next())
        .await
        .unwrap()
        .unwrap_err();
    assert!(
        matches!(
            error,
            FetchError::LogTruncated {
                offset: 5,
                diverged: Some((_, 3)),
                ..
            }
        ),
        "{error:?}"
    );
    // A worker that starts from its commit after all this.
    let start = StartPosition::Committed {
        offset: 5,
        leader_epoch: Some(committed),
    };
    let section = next(&mut pool.open(from(&topic, start))).await;
    assert_eq!(section.start_offset(), 3);
    client.shutdown().await;
}
