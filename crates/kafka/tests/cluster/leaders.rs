//! Brokers killed one after the other: leaders and coordinators move, readers and members follow.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::encode::{TestBatch, TestRecord};
use crate::support::{PATIENCE, broker, client, from, next, pool, raw};
use klamm_kafka::{ConsumerConfig, GroupEvent, GroupMember, OffsetToCommit, StartPosition, Subscription};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_and_members_follow_leaders_and_coordinators() {
    let _alone = crate::alone().await;
    raw::create_topic("t", 3, &[]);
    let client = client();
    let pool = pool(&client);
    let mut readers: Vec<_> = (0..3)
        .map(|partition| {
            let mut request = from("t", StartPosition::Earliest);
            request.partition = partition;
            (pool.open(request), 0_i64)
        })
        .collect();
    let mut config = ConsumerConfig::new("g");
    config.heartbeat_interval = Duration::from_millis(200);
    let (member, mut events) = GroupMember::join(&client, config, Subscription::topics(["t"]));
    let mut held = 0;

    for round in 1..=3_usize {
        if round > 1 {
            broker().run(&["start", &(round - 1).to_string()]);
        }
        broker().run(&["kill", &round.to_string()]);
        let value = format!("round {round}");
        for partition in 0..3 {
            let batch = TestBatch::new(
                0,
                vec![TestRecord {
                    value: Some(value.clone().into_bytes()),
                    ..TestRecord::default()
                }],
            );
            raw::produce_somehow("t", partition, &batch);
        }
        for (reader, position) in &mut readers {
            loop {
                let section = next(reader).await;
                assert_eq!(section.start_offset(), *position, "{} has no gaps", reader.partition());
                *position = section.next_offset();
                let values: BTreeMap<_, _> = section
                    .records()
                    .map(Result::unwrap)
                    .map(|record| (record.offset, record.value.unwrap()))
                    .collect();
                if values.values().any(|found| *found == value.as_bytes()) {
                    break;
                }
            }
        }
        let commit = |offset| OffsetToCommit {
            topic: "t".into(),
            partition: 0,
            offset,
            leader_epoch: None,
            metadata: String::new(),
        };
        let committed = async {
            while held == 0
                || member
                    .commit(vec![commit(i64::try_from(round).unwrap())])
                    .await
                    .is_err()
            {
                match events.recv().await.unwrap() {
                    GroupEvent::Assign { partitions } => held = partitions.len(),
                    GroupEvent::Revoke { ack, .. } => {
                        held = 0;
                        ack.done();
                    }
                    GroupEvent::Lost { .. } => held = 0,
                    GroupEvent::State(_) => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, committed)
            .await
            .expect("the coordinator is found again");
    }
    member.leave().await;
    client.shutdown().await;
}
