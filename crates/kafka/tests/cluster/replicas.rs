//! Reading from a replica in the client's rack (KIP-392).

use std::sync::Arc;
use std::time::Duration;

use klamm_kafka::{ClientConfig, FetchSettings, KafkaClient, PartitionRequest, StartPosition};

use crate::support::encode::{TestBatch, TestRecord};
use crate::support::{broker, from, net, next, pool, raw, unique};

fn in_rack(topic: &str, rack: &str) -> PartitionRequest {
    let mut request = from(topic, StartPosition::Earliest);
    request.settings = Arc::new(FetchSettings {
        client_rack: Some(rack.into()),
        ..FetchSettings::default()
    });
    request
}

fn write(topic: &str, value: &str) {
    let record = TestRecord {
        value: Some(value.as_bytes().to_vec()),
        ..TestRecord::default()
    };
    raw::produce_somehow(topic, 0, &TestBatch::new(0, vec![record]));
}

/// The advice of the leader ends every 200 ms here; whenever it does, and when the replica's broker dies, the leader is
/// asked, and no record is lost or comes twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_in_the_same_rack_serves_until_it_is_gone() {
    let _alone = crate::alone().await;
    let topic = unique("near");
    raw::create_topic_on(&topic, &[&[1, 2, 3]], &[]);
    let mut config = ClientConfig::new(broker().bootstrap.split(','));
    config.metadata_max_age = Duration::from_millis(200);
    let client = KafkaClient::new(config, net());
    let pool = pool(&client);
    let mut reader = pool.open(in_rack(&topic, "rack-2"));
    let mut far = pool.open(in_rack(&topic, "rack-elsewhere"));
    write(&topic, "0");
    assert_eq!(next(&mut far).await.node, 1, "nobody is near: the leader");
    assert_eq!(
        next(&mut reader).await.node,
        2,
        "the leader sends nothing but its advice"
    );

    // Each time the advice ends the partition goes to the leader and comes back.
    let before = pool.stats();
    let mut position = 1;
    while pool.stats().routes < before.routes + 6 {
        write(&topic, "x");
        let section = next(&mut reader).await;
        assert_eq!((section.start_offset(), section.node), (position, 2));
        position = section.next_offset();
    }

    broker().run(&["kill", "2"]);
    for _ in 0..20 {
        write(&topic, "y");
        let section = next(&mut reader).await;
        assert_eq!(section.start_offset(), position);
        assert_ne!(section.node, 2);
        position = section.next_offset();
    }
    broker().run(&["start", "2"]);
    loop {
        write(&topic, "z");
        let section = next(&mut reader).await;
        assert_eq!(section.start_offset(), position);
        position = section.next_offset();
        if section.node == 2 {
            break;
        }
    }
    client.shutdown().await;
}
