//! A network that goes silent: connections stay open and nothing comes any more.

use std::time::Duration;

use klamm_kafka::{
    ClientConfig, ClusterHealth, ConsumerConfig, GroupEvent, GroupMember, KafkaClient, OffsetToCommit, StartPosition,
    Subscription,
};

use crate::proxy::proxy;
use crate::support::encode::{TestBatch, TestRecord};
use crate::support::{PATIENCE, fairness, from, net, next, pool, raw};

/// Past the wire: the writer does not notice the silence.
fn write(topic: &str, offset: i64) {
    let record = TestRecord {
        value: Some(offset.to_string().into_bytes()),
        ..TestRecord::default()
    };
    assert_eq!(raw::produce(topic, &TestBatch::new(0, vec![record])), offset);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_network_is_noticed_and_nothing_is_lost_or_doubled() {
    let _alone = crate::alone().await;
    let proxy = proxy();
    raw::create_topic("silent", 1, &[]);
    let mut config = ClientConfig::new([proxy.address.as_str()]);
    config.request_timeout = Duration::from_secs(1);
    config.connection_setup_timeout = Duration::from_secs(1);
    config.metadata_max_age = Duration::from_millis(500);
    let client = KafkaClient::new(config, net());
    let pool = pool(&client);
    let mut reader = pool.open(from("silent", StartPosition::Earliest));
    let mut config = ConsumerConfig::new("silent");
    config.heartbeat_interval = Duration::from_millis(200);
    let (member, mut events) = GroupMember::join(&client, config, Subscription::topics(["silent"]));
    write("silent", 0);
    assert_eq!(next(&mut reader).await.start_offset(), 0);

    let mut offset = 1;
    for is_silent in [false, true] {
        if is_silent {
            proxy.silence(true);
        } else {
            proxy.cut_open_connections();
        }
        write("silent", offset);
        if is_silent {
            let mut health = client.health();
            let away = health.wait_for(|health| matches!(health, ClusterHealth::Unreachable { .. }));
            tokio::time::timeout(PATIENCE, away).await.unwrap().unwrap();
            let mut waiting = Box::pin(reader.next());
            assert!(futures_util::poll!(&mut waiting).is_pending());
            drop(waiting);
            proxy.silence(false);
        }
        for _ in 0..3 {
            let section = next(&mut reader).await;
            assert_eq!((section.start_offset(), section.next_offset()), (offset, offset + 1));
            offset += 1;
            write("silent", offset);
        }
        assert_eq!(next(&mut reader).await.start_offset(), offset);
        offset += 1;
        let commit = || OffsetToCommit {
            topic: "silent".into(),
            partition: 0,
            offset,
            leader_epoch: reader.leader_epochs().before(offset),
            metadata: String::new(),
        };
        let committed = async {
            while member.commit(vec![commit()]).await.is_err() {
                // The membership may have ended with the silence, or only the commit: then there is no event.
                if let Ok(Some(GroupEvent::Revoke { ack, .. })) =
                    tokio::time::timeout(Duration::from_millis(100), events.recv()).await
                {
                    ack.done();
                }
            }
        };
        tokio::time::timeout(PATIENCE, committed).await.unwrap();
    }
    let committed = client.fetch_committed("silent", None).await.unwrap();
    assert_eq!(
        committed
            .into_values()
            .map(|committed| committed.offset)
            .collect::<Vec<_>>(),
        [offset]
    );
    member.leave().await;
    client.shutdown().await;
}

/// A broker without room for fetch sessions does not rotate them: fairness is the client's alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_without_sessions_is_read_fairly() {
    let _alone = crate::alone().await;
    proxy();
    fairness::check().await;
}
