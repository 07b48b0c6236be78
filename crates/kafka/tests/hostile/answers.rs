//! A server that misbehaves: the client says how, comes back with growing patience, and works once the server does.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use klamm_kafka::{ClientConfig, ClusterHealth, KafkaClient};

use crate::server::{Bad, Server};

/// Ends a test that would hang.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn client(server: &Server) -> Arc<KafkaClient> {
    let mut config = ClientConfig::new([server.address.to_string()]);
    config.request_timeout = Duration::from_millis(300);
    config.connection_setup_timeout = Duration::from_millis(300);
    KafkaClient::new(config, tokio::runtime::Handle::current())
}

#[tokio::test]
async fn each_kind_of_bad_answer_is_told_and_the_client_recovers() {
    const ZEROS: &[u8] = &[0; 4];
    let cases: &[(ApiKey, Bad, &str, &str)] = &[
        (
            ApiKey::ApiVersions,
            Bad::HangUp,
            "closed: the broker closed it",
            "a TLS listener, often",
        ),
        (
            ApiKey::Metadata,
            Bad::HangUp,
            "closed: the broker closed it",
            "a broker that refuses",
        ),
        (
            ApiKey::Metadata,
            Bad::Silence,
            "did not answer Metadata within 300 ms",
            "a broker that hangs",
        ),
        (
            ApiKey::ApiVersions,
            Bad::Silence,
            "did not answer ApiVersions within",
            "a port that is no Kafka",
        ),
        (
            ApiKey::ApiVersions,
            Bad::Bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            "a web server speaks HTTP at this port: check the host and the port of `bootstrap.servers`",
            "a web server",
        ),
        (
            ApiKey::Metadata,
            Bad::Bytes(&[0x7f, 0xff, 0xff, 0xff]),
            "no length that Kafka sends",
            "2 GiB are claimed",
        ),
        (
            ApiKey::Metadata,
            Bad::Bytes(&[0xff; 4]),
            "no length that Kafka sends",
            "a negative length",
        ),
        (
            ApiKey::Metadata,
            Bad::Bytes(ZEROS),
            "no length that Kafka sends",
            "no room for the correlation id",
        ),
        (
            ApiKey::Metadata,
            Bad::CutOff,
            "closed: the broker closed it",
            "half an answer",
        ),
        (
            ApiKey::Metadata,
            Bad::OtherCorrelation,
            "an answer belongs to another request",
            "out of step",
        ),
        (
            ApiKey::Metadata,
            Bad::Short,
            "answer to Metadata from 127.0.0.1:",
            "fields are missing",
        ),
        (
            ApiKey::Metadata,
            // Header without tagged fields, throttle time, and 268,435,454 brokers.
            Bad::Body(&[0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f]),
            "answer to Metadata from 127.0.0.1:",
            "an array that claims more than there is",
        ),
        (
            ApiKey::Metadata,
            Bad::Body(&[0xff; 200]),
            "answer to Metadata from 127.0.0.1:",
            "garbage",
        ),
    ];
    for (api, bad, wanted, why) in cases {
        let (api, bad) = (*api, bad.clone());
        let script = {
            let bad = bad.clone();
            // ApiVersions is asked in another version when the first cannot be read, hence both.
            move |asked: ApiKey, count: usize| (asked == api && count < 2).then(|| bad.clone())
        };
        let server = Server::start(Bytes::new(), Arc::new(script)).await;
        let client = client(&server);
        let mut health = client.health();
        let told = async {
            let is_told = |health: &ClusterHealth| {
                let text = health.to_string();
                assert!(!text.contains("waiting") || text.contains(wanted), "{why}: {text}");
                matches!(health, ClusterHealth::Unreachable { .. })
            };
            health.wait_for(is_told).await.unwrap();
        };
        let (topics, ()) = tokio::time::timeout(PATIENCE, async { tokio::join!(client.topics(), told) })
            .await
            .unwrap_or_else(|_| panic!("{why}: hangs"));
        assert_eq!(topics.unwrap().len(), 1, "{why}: the next answer is read");
        client.shutdown().await;
    }
}

#[tokio::test]
async fn an_answer_that_nobody_asked_for_closes_the_connection_and_harms_no_other() {
    let script = |api: ApiKey, count: usize| (api == ApiKey::Metadata && count == 0).then_some(Bad::Twice);
    let server = Server::start(Bytes::new(), Arc::new(script)).await;
    let client = client(&server);
    for _ in 0..3 {
        let topics = tokio::time::timeout(PATIENCE, client.topics()).await.unwrap();
        assert_eq!(topics.unwrap().len(), 1);
    }
    client.shutdown().await;
}

#[tokio::test]
async fn a_server_that_hangs_up_is_not_dialled_in_a_tight_loop() {
    const FAILURES: usize = 6;
    let script = |api: ApiKey, count: usize| (api == ApiKey::ApiVersions && count < FAILURES).then_some(Bad::HangUp);
    let server = Server::start(Bytes::new(), Arc::new(script)).await;
    let client = client(&server);
    let topics = tokio::time::timeout(PATIENCE, client.topics()).await.unwrap();
    topics.unwrap();
    client.shutdown().await;
    let accepted = server.accepted.lock().unwrap().clone();
    assert_eq!(
        accepted.len(),
        FAILURES + 1,
        "an attempt a failure, and the one that works"
    );
    let spans: Vec<_> = accepted.windows(2).map(|two| two[1] - two[0]).collect();
    // 50 ms, doubling, 20 % of jitter.
    assert!(spans[0] >= Duration::from_millis(40), "{spans:?}");
    assert!(spans[FAILURES - 1] >= Duration::from_millis(400), "{spans:?}");
}

#[tokio::test]
async fn a_broker_that_hangs_does_not_hide_the_coordinator() {
    let hangs = |asked: ApiKey, _| (asked == ApiKey::FindCoordinator).then_some(Bad::Silence);
    let silent = Server::start(Bytes::new(), Arc::new(hangs)).await;
    let works = Server::start(Bytes::new(), Arc::new(|_, _| None)).await;
    let config = ClientConfig::new([silent.address.to_string(), works.address.to_string()]);
    let client = KafkaClient::new(config, tokio::runtime::Handle::current());
    // A fraction of `request.timeout.ms`.
    let asked = tokio::time::timeout(Duration::from_secs(10), client.fetch_committed("g", None));
    assert!(asked.await.unwrap().unwrap().is_empty());
    client.shutdown().await;
}

// A question went on until one broker knew all groups of it, and nobody got an answer before: a group without a
// coordinator held up the others for as long as the slowest broker took.
#[tokio::test]
async fn a_group_without_a_coordinator_does_not_delay_the_others() {
    let hangs = |asked: ApiKey, _| (asked == ApiKey::FindCoordinator).then_some(Bad::Silence);
    let works = Server::start(Bytes::new(), Arc::new(|_, _| None)).await;
    let silent = Server::start(Bytes::new(), Arc::new(hangs)).await;
    let config = ClientConfig::new([works.address.to_string(), silent.address.to_string()]);
    let client = KafkaClient::new(config, tokio::runtime::Handle::current());
    let mut unknown = Box::pin(client.fetch_committed("unknown", None));
    assert!(futures_util::poll!(&mut unknown).is_pending());
    let known = async {
        // The question about the first is under way.
        tokio::time::sleep(Duration::from_millis(100)).await;
        client.fetch_committed("g", None).await
    };
    let asked = tokio::time::timeout(Duration::from_secs(10), async {
        tokio::select! {
            committed = known => committed,
            _ = unknown => panic!("nobody knows it"),
        }
    });
    assert!(asked.await.unwrap().unwrap().is_empty());
    client.shutdown().await;
}
