//! Listing, committing, fetching offsets.

use klamm_kafka::{IsolationLevel, ListedOffset, OffsetSpec, TopicPartition};

use crate::support::{client, produce, raw, record, unique};

#[tokio::test]
async fn offsets_are_listed_by_end_and_time() {
    let topic = unique("list");
    raw::create_topic(&topic, 2, &[]);
    produce(&topic, 1, vec![record("a"), record("b")]).await;
    let client = client();
    let partitions = [0, 1].map(|index| TopicPartition::new(topic.as_str(), index));
    let cases = [
        (OffsetSpec::Earliest, [Some(0), Some(0)]),
        (OffsetSpec::Latest, [Some(0), Some(2)]),
        (OffsetSpec::Timestamp(1_700_000_000_000), [None, Some(0)]),
        (OffsetSpec::Timestamp(1_800_000_000_000), [None, None]),
    ];
    for (spec, wanted) in cases {
        let listed = client
            .list_offsets(&partitions, spec, IsolationLevel::ReadUncommitted)
            .await
            .unwrap();
        let found = [0, 1].map(|i| {
            listed
                .get(&partitions[i])
                .and_then(|ListedOffset { offset, .. }| *offset)
        });
        assert_eq!(found, wanted, "{spec:?}");
    }
    client.shutdown().await;
}

#[tokio::test]
async fn topics_tell_their_partitions_and_the_cluster_its_id() {
    let topic = unique("info");
    let client = client();
    assert_eq!(client.topic(&topic).await.unwrap(), None);
    raw::create_topic(&topic, 3, &[]);
    let info = client.topic(&topic).await.unwrap().unwrap();
    assert_eq!((info.partitions, info.is_internal), (3, false));
    assert!(info.id.is_some());
    assert!(client.topics().await.unwrap().contains(&info));
    assert!(client.cluster_id().is_some());
    assert_eq!(client.health().borrow().to_string(), "connected to Kafka");
    client.shutdown().await;
}
