//! A broker that hangs, with its connections open, holds up nobody but its own partitions.

use std::sync::Arc;

use klamm_kafka::{ClientConfig, FetchSettings, KafkaClient, StartPosition};

use crate::support::encode::{TestBatch, TestRecord};
use crate::support::{PATIENCE, broker, from, net, next, pool, raw, unique};

fn write(topic: &str, partition: i32) {
    let record = TestRecord {
        value: Some(b"v".to_vec()),
        ..TestRecord::default()
    };
    let batch = TestBatch::new(0, vec![record]);
    let node = usize::try_from(partition).unwrap() + 1;
    while raw::produce_at(node, topic, partition, &batch).unwrap().is_some() {
        std::thread::yield_now();
    }
}

/// Time-outs are longer than the test's patience, so whatever waited for the hung broker would end it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_broker_delays_only_its_own_partitions() {
    let _alone = crate::alone().await;
    let topic = unique("slow");
    raw::create_topic_on(&topic, &[&[1], &[2], &[3]], &[("min.insync.replicas", "1")]);
    let late = unique("late");
    raw::create_topic_on(&late, &[&[3]], &[("min.insync.replicas", "1")]);
    let mut config = ClientConfig::new(broker().bootstrap.split(','));
    config.request_timeout = PATIENCE * 10;
    let client = KafkaClient::new(config, net());
    let pool = pool(&client);
    let settings = Arc::new(FetchSettings {
        max_wait: PATIENCE * 10,
        ..FetchSettings::default()
    });
    let open = |topic: &str, partition| {
        let mut request = from(topic, StartPosition::Earliest);
        (request.settings, request.partition) = (Arc::clone(&settings), partition);
        pool.open(request)
    };
    let mut readers: Vec<_> = (0..3).map(|partition| open(&topic, partition)).collect();
    for (partition, reader) in (0..).zip(&mut readers) {
        write(&topic, partition);
        assert_eq!(next(reader).await.start_offset(), 0);
    }

    broker().run(&["pause", "2"]);
    for round in 1..10 {
        for partition in [0, 2] {
            write(&topic, partition);
            let reader = &mut readers[usize::try_from(partition).unwrap()];
            assert_eq!(next(reader).await.start_offset(), round);
        }
    }
    // Somebody new, who needs metadata and a start offset as well.
    let mut newcomer = open(&late, 0);
    raw::produce_at(3, &late, 0, &TestBatch::new(0, vec![TestRecord::default()])).unwrap();
    assert_eq!(next(&mut newcomer).await.start_offset(), 0);
    assert!(client.topic(&late).await.unwrap().is_some());

    broker().run(&["resume", "2"]);
    // Fenced meanwhile, perhaps; then it takes its partition again.
    let record = TestRecord::default();
    raw::produce_somehow(&topic, 1, &TestBatch::new(0, vec![record]));
    assert_eq!(next(&mut readers[1]).await.start_offset(), 1);
    client.shutdown().await;
}
