//! The harness on the real servers of the testbed.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::time::Duration;

use klamm_tests::kafka::Broker;
use klamm_tests::lambda_emulator::Emulator;
use klamm_tests::process::Watcher;
use klamm_tests::produce::{CODECS, Compression, Producer};
use klamm_tests::wait;

#[tokio::test]
async fn records_of_every_codec_are_acknowledged_in_order() {
    let Some(kafka) = Broker::shared() else { return };
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    producer.create_topic("harness-codecs", 3).await.unwrap();
    for (round, codec) in (0..).zip(CODECS) {
        let produced = producer
            .produce_json("harness-codecs", 3, round * 30..(round + 1) * 30, codec)
            .await
            .unwrap();
        assert_eq!(produced.len(), 30);
        for (record, id) in produced.iter().zip(round * 30..) {
            assert_eq!(
                (record.id, record.offset),
                (id, i64::try_from(id / 3).unwrap()),
                "{codec:?}"
            );
        }
    }
    let offsets = kafka.tool("get-offsets", &["--topic", "harness-codecs"]).await.unwrap();
    assert_eq!(
        offsets.trim(),
        "harness-codecs:0:50\nharness-codecs:1:50\nharness-codecs:2:50"
    );
}

/// A process that was killed is gone a moment before the kernel has closed its sockets.
async fn refuses_connections(address: &str) {
    wait::until("connections to be refused", wait::LIMIT, || async {
        tokio::net::TcpStream::connect(address).await.is_err().then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_killed_broker_comes_back_with_its_records_and_goes_away_with_its_handle() {
    let Some(kafka) = Broker::own(&[]) else { return };
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    producer.create_topic("kept", 1).await.unwrap();
    producer
        .produce_json("kept", 1, 0..10, Compression::NoCompression)
        .await
        .unwrap();
    kafka.kill(1).await.unwrap();
    refuses_connections(kafka.bootstrap()).await;
    kafka.start_again(1).await.unwrap();
    assert_eq!(
        kafka.tool("get-offsets", &["--topic", "kept"]).await.unwrap().trim(),
        "kept:0:10"
    );
    let (address, dir) = (kafka.bootstrap().to_owned(), kafka.server().dir().to_owned());
    drop(kafka);
    refuses_connections(&address).await;
    assert!(!dir.exists());
}

#[tokio::test]
async fn the_emulator_runs_a_handler() {
    let Some(lambda) = Emulator::shared() else { return };
    let source = "def handler(event, context):\n    return {'seen': len(event)}\n";
    let arn = lambda.create("harness-count", source, &[]).await.unwrap();
    assert!(arn.ends_with(":function:harness-count"), "{arn}");
    assert_eq!(
        lambda.invoke("harness-count", "[1,2,3]").await.unwrap(),
        "200  {\"seen\": 3}"
    );
}

#[tokio::test]
async fn a_watched_process_dies_with_its_watcher_unless_released() {
    let spawn = || {
        tokio::process::Command::new("sleep")
            .arg("600")
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    };
    let mut watched = spawn();
    drop(Watcher::of_process(watched.id().unwrap()).unwrap());
    let status = tokio::time::timeout(wait::LIMIT, watched.wait())
        .await
        .unwrap()
        .unwrap();
    assert!(!status.success());

    let mut released = spawn();
    Watcher::of_process(released.id().unwrap()).unwrap().release().unwrap();
    // The watcher has ended by now, so that a kill would have been sent.
    assert!(
        tokio::time::timeout(Duration::from_millis(50), released.wait())
            .await
            .is_err()
    );
}
