//! What goes over the wire when a client logs in, to the byte.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, SaslAuthenticateResponse};
use kafka_protocol::protocol::StrBytes;
use klamm_kafka::{ClusterHealth, KafkaClient};
use tokio::task::JoinSet;

use super::server::{ScriptedBroker, ScriptedEndpoint, Seen};
use super::support::{PATIENCE, now_ms};
use super::{client, parse};

fn settings(broker: &ScriptedBroker, mechanism: &str, jaas: &str) -> Vec<(String, String)> {
    [
        ("bootstrap.servers", broker.address.to_string()),
        ("security.protocol", "SASL_PLAINTEXT".to_owned()),
        ("sasl.mechanism", mechanism.to_owned()),
        ("sasl.jaas.config", jaas.to_owned()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .to_vec()
}

const PLAIN: &str = "PlainLoginModule required username=\"alice\" password=\"secret\";";

async fn topics(client: &KafkaClient) {
    let topics = tokio::time::timeout(PATIENCE, client.topics()).await;
    topics.unwrap().unwrap();
}

fn session(lifetime_ms: i64) -> SaslAuthenticateResponse {
    SaslAuthenticateResponse::default().with_session_lifetime_ms(lifetime_ms)
}

/// The second lifetime ends before a broker takes another login.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_is_renewed_on_its_connection_and_requests_wait_meanwhile() {
    tokio::join!(renewed(1_250), renewed(200));
}

async fn renewed(lifetime_ms: i64) {
    let broker = ScriptedBroker::start(Arc::new(move |_, _| session(lifetime_ms))).await;
    let client = client(parse(&settings(&broker, "PLAIN", PLAIN)).unwrap());
    // Requests all the while, several at a time, until the third login of the connection.
    let logins = |seen: &Vec<Vec<Seen>>| {
        let first = seen.first()?;
        Some(first.iter().filter(|seen| matches!(seen, Seen::Message(_))).count())
    };
    let mut seen = broker.seen.clone();
    let asking = async {
        loop {
            tokio::join!(topics(&client), topics(&client), topics(&client));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        () = asking => unreachable!("it never ends"),
        reached = tokio::time::timeout(PATIENCE, seen.wait_for(|seen| logins(seen) >= Some(3))) => drop(reached.unwrap()),
    }
    let seen = broker.seen.borrow().clone();
    assert_eq!(seen.len(), 1, "no connection was made anew");
    let message = Seen::Message(Bytes::from_static(b"\0alice\0secret"));
    let order = [
        Seen::Api(ApiKey::SaslHandshake),
        Seen::Api(ApiKey::SaslAuthenticate),
        message,
    ];
    assert_eq!(seen[0][0], Seen::Api(ApiKey::ApiVersions));
    let handshakes: Vec<usize> = (0..seen[0].len()).filter(|at| seen[0][*at] == order[0]).collect();
    assert!(handshakes.len() >= 3 && handshakes[0] == 1);
    for at in handshakes {
        assert_eq!(seen[0][at..at + 3], order, "nothing comes between the parts of a login");
    }
    client.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_that_is_refused_closes_the_connection_and_another_is_made() {
    let broker = ScriptedBroker::start(Arc::new(|message, _| match message {
        1 => SaslAuthenticateResponse::default()
            .with_error_code(58) // SASL_AUTHENTICATION_FAILED
            .with_error_message(Some(StrBytes::from_static_str("gone"))),
        _ => session(1_250),
    }))
    .await;
    let client = client(parse(&settings(&broker, "PLAIN", PLAIN)).unwrap());
    topics(&client).await;
    let mut seen = broker.seen.clone();
    let asking = async {
        loop {
            topics(&client).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        () = asking => unreachable!("it never ends"),
        reached = tokio::time::timeout(PATIENCE, seen.wait_for(|seen| seen.len() >= 2 && seen[1].len() > 3)) => drop(reached.unwrap()),
    }
    client.shutdown().await;
}

fn token(lifetime_s: i64, subject: &str) -> String {
    let now = now_ms() / 1_000;
    let claims = format!("{{\"iat\":{now},\"exp\":{},\"sub\":\"{subject}\"}}", now + lifetime_s);
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_token_serves_all_connections_with_its_extensions() {
    let token = token(3_600, "me");
    let endpoint = ScriptedEndpoint::start(vec![
        (503, String::new()),
        (200, format!("{{\"access_token\":\"{token}\"}}")),
    ])
    .await;
    let broker = ScriptedBroker::start(Arc::new(|_, _| session(0))).await;
    let jaas = "OAuthBearerLoginModule required clientId=\"id\" clientSecret=\"s:ecret\" scope=\"a b\" \
                extension_logicalCluster=\"lkc-1\" extension_identityPoolId=\"pool-1\";";
    let mut settings = settings(&broker, "OAUTHBEARER", jaas);
    settings.push(("sasl.oauthbearer.token.endpoint.url".to_owned(), endpoint.url.clone()));
    let client = client(parse(&settings).unwrap());
    let mut asking = JoinSet::new();
    for group in 0..5 {
        // Each coordinator look-up fails in the end; what counts is that they dial at once.
        let client = Arc::clone(&client);
        asking.spawn(async move {
            drop(
                tokio::time::timeout(
                    Duration::from_millis(200),
                    client.fetch_committed(&format!("g{group}"), None),
                )
                .await,
            );
        });
    }
    topics(&client).await;
    asking.join_all().await;
    let requests = endpoint.requests.lock().unwrap().clone();
    assert_eq!(requests.len(), 2, "a failure and a success, whoever asked");
    let (head, body) = requests[1].split_once("\r\n\r\n").unwrap();
    let head = head.to_ascii_lowercase();
    assert!(
        head.contains(&format!(
            "authorization: basic {}",
            STANDARD.encode("id:s:ecret").to_ascii_lowercase()
        )),
        "{head}"
    );
    assert_eq!(body, "grant_type=client_credentials&scope=a%20b");
    let wanted = format!("n,,\u{1}auth=Bearer {token}\u{1}identityPoolId=pool-1\u{1}logicalCluster=lkc-1\u{1}\u{1}");
    let seen = broker.seen.borrow().clone();
    let messages: Vec<_> = seen
        .iter()
        .flatten()
        .filter(|seen| matches!(seen, Seen::Message(_)))
        .collect();
    assert!(!messages.is_empty());
    for message in messages {
        assert_eq!(*message, Seen::Message(Bytes::from(wanted.clone())));
    }
    client.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_renewed_before_it_expires_and_a_refused_one_is_not_shown_again() {
    let (first, second, third) = (token(2, "first"), token(3_600, "second"), token(3_600, "third"));
    let answers = [&first, &second, &third].map(|token| (200, format!("{{\"access_token\":\"{token}\"}}")));
    let endpoint = ScriptedEndpoint::start(answers.to_vec()).await;
    let refused = Bytes::from(format!("n,,\u{1}auth=Bearer {second}\u{1}\u{1}"));
    let shown = refused.clone();
    let broker = ScriptedBroker::start(Arc::new(move |_, message| {
        if *message == *shown {
            SaslAuthenticateResponse::default().with_auth_bytes(Bytes::from_static(b"{\"status\":\"invalid_token\"}"))
        } else if message == [1] {
            SaslAuthenticateResponse::default().with_error_code(58)
        } else {
            session(1_900)
        }
    }))
    .await;
    let jaas = "OAuthBearerLoginModule required clientId=\"id\" clientSecret=\"secret\";";
    let mut settings = settings(&broker, "OAUTHBEARER", jaas);
    settings.push(("sasl.oauthbearer.token.endpoint.url".to_owned(), endpoint.url.clone()));
    let client = client(parse(&settings).unwrap());
    let third = Seen::Message(Bytes::from(format!("n,,\u{1}auth=Bearer {third}\u{1}\u{1}")));
    let mut seen = broker.seen.clone();
    let asking = async {
        loop {
            topics(&client).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        () = asking => unreachable!("it never ends"),
        reached = tokio::time::timeout(PATIENCE, seen.wait_for(|seen| seen.iter().flatten().any(|seen| *seen == third))) => drop(reached.unwrap()),
    }
    let messages: Vec<Seen> = broker
        .seen
        .borrow()
        .iter()
        .flatten()
        .filter(|seen| matches!(seen, Seen::Message(_)))
        .cloned()
        .collect();
    let bearer = Seen::Message(Bytes::from(format!("n,,\u{1}auth=Bearer {first}\u{1}\u{1}")));
    assert_eq!(messages[0], bearer);
    let acknowledged = messages
        .windows(2)
        .any(|pair| pair == [Seen::Message(refused.clone()), Seen::Message(Bytes::from_static(&[1]))]);
    assert!(acknowledged, "{messages:?}");
    assert_eq!(
        messages
            .iter()
            .filter(|seen| **seen == Seen::Message(refused.clone()))
            .count(),
        1
    );
    client.shutdown().await;
}

/// Environment variables cannot be set in a process with threads, so the test runs itself again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn msk_iam_shows_a_signed_connect_from_the_default_credentials() {
    const NAME: &str = "exchange::msk_iam_shows_a_signed_connect_from_the_default_credentials";
    if std::env::var("AWS_ACCESS_KEY_ID").as_deref() != Ok("AKIDEXAMPLE") {
        let run = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture"])
            .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "not-shown")
            .env("AWS_SESSION_TOKEN", "session")
            .env("AWS_REGION", "eu-central-1")
            .output()
            .unwrap();
        let out = String::from_utf8_lossy(&run.stdout);
        assert!(
            run.status.success() && out.contains("1 passed"),
            "{out}{}",
            String::from_utf8_lossy(&run.stderr)
        );
        return;
    }
    let broker = ScriptedBroker::start(Arc::new(|_, _| {
        let accepted = Bytes::from_static(b"{\"version\":\"2020_10_22\",\"request-id\":\"r\"}");
        session(0).with_auth_bytes(accepted)
    }))
    .await;
    let jaas = "software.amazon.msk.auth.iam.IAMLoginModule required;";
    let client = client(parse(&settings(&broker, "AWS_MSK_IAM", jaas)).unwrap());
    let mut health = client.health();
    tokio::select! {
        topics = client.topics() => drop(topics.unwrap()),
        away = health.wait_for(|health| matches!(health, ClusterHealth::Unreachable { .. })) => panic!("{}", away.unwrap().to_string()),
    }
    let seen = broker.seen.borrow()[0].clone();
    let Seen::Message(payload) = &seen[3] else {
        panic!("{seen:?}")
    };
    let payload: serde_json::Value = serde_json::from_slice(payload).unwrap();
    assert_eq!(payload["host"], "127.0.0.1");
    assert_eq!(payload["action"], "kafka-cluster:Connect");
    let credential = payload["x-amz-credential"].as_str().unwrap();
    assert!(credential.starts_with("AKIDEXAMPLE/") && credential.ends_with("/eu-central-1/kafka-cluster/aws4_request"));
    assert_eq!(payload["x-amz-security-token"], "session");
    assert_eq!(payload["x-amz-signature"].as_str().unwrap().len(), 64);
    assert!(!payload.to_string().contains("not-shown"));
    client.shutdown().await;
}
