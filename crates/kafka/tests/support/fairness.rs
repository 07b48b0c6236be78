//! A partition with a huge backlog beside partitions with a few records.

use std::sync::Arc;

use klamm_kafka::{FetchSettings, StartPosition};

use super::encode::{TestBatch, TestRecord};
use super::{client, from, next, pool, raw, read_to, unique};

/// A response holds one partition's share only. The one with the endless backlog must not get them all.
pub async fn check() {
    const NEIGHBOURS: i32 = 5;
    const BATCHES: i64 = 400;
    let topic = unique("fair");
    raw::create_topic(&topic, NEIGHBOURS + 1, &[]);
    let batch = |count: usize| {
        let record = TestRecord {
            value: Some(vec![7; 5_000]),
            ..TestRecord::default()
        };
        TestBatch::new(0, vec![record; count])
    };
    for _ in 0..BATCHES {
        raw::produce_somehow(&topic, 0, &batch(2));
    }
    for partition in 1..=NEIGHBOURS {
        for _ in 0..3 {
            raw::produce_somehow(&topic, partition, &batch(1));
        }
    }
    let client = client();
    let pool = pool(&client);
    let settings = Arc::new(FetchSettings {
        max_partition_bytes: 6_000,
        max_bytes: 6_000,
        ..FetchSettings::default()
    });
    let open = |partition| {
        let mut request = from(&topic, StartPosition::Earliest);
        (request.settings, request.partition) = (Arc::clone(&settings), partition);
        pool.open(request)
    };
    let mut hog = open(0);
    next(&mut hog).await;
    let mut neighbours: Vec<_> = (1..=NEIGHBOURS).map(open).collect();
    let mut hogged = 0_i64;
    let all = futures_util::future::join_all(neighbours.iter_mut().map(|reader| read_to(reader, 3)));
    let mut all = std::pin::pin!(all);
    loop {
        tokio::select! {
            biased;
            records = &mut all => {
                assert!(records.iter().all(|records| records.len() == 3));
                break;
            }
            section = hog.next() => drop(section.unwrap()),
        }
        hogged += 1;
    }
    // Fifteen small sections, in turns with the hog's: generous for turns lost to a reader that was not back in time.
    assert!(hogged < BATCHES / 4, "{hogged} sections of the backlog came before");
    client.shutdown().await;
}
