//! Every listener with every credential, and what must be refused.

use std::sync::Arc;
use std::time::Duration;

use klamm_kafka::{ClusterHealth, Existing, KafkaClient, NewTopic, StartPosition};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{PATIENCE, from, next, pool};
use super::{broker, cert, client, parse};

type Settings = Vec<(&'static str, String)>;

fn listener(name: &str, protocol: &str, more: &[(&'static str, &str)]) -> Settings {
    let suffix = if name.is_empty() {
        String::new()
    } else {
        format!("_{name}")
    };
    let address = broker().variable(&format!("KAFKA_BOOTSTRAP{suffix}"));
    let mut settings = vec![
        ("bootstrap.servers", address.to_owned()),
        ("security.protocol", protocol.to_owned()),
        ("metadata.max.age.ms", "500".to_owned()),
    ];
    settings.extend(more.iter().map(|(key, value)| (*key, (*value).to_owned())));
    settings
}

fn with(mut settings: Settings, more: &[(&'static str, &str)]) -> Settings {
    settings.extend(more.iter().map(|(key, value)| (*key, (*value).to_owned())));
    settings
}

fn ca(settings: Settings) -> Settings {
    let ca = cert("ca.crt");
    with(
        settings,
        &[("ssl.truststore.type", "PEM"), ("ssl.truststore.location", &ca)],
    )
}

fn password(mechanism: &str, user: &str, password: &str) -> [(&'static str, String); 2] {
    let module = if mechanism == "PLAIN" {
        "org.apache.kafka.common.security.plain.PlainLoginModule"
    } else {
        "org.apache.kafka.common.security.scram.ScramLoginModule"
    };
    let password = password.replace('\\', "\\\\").replace('"', "\\\"");
    [
        ("sasl.mechanism", mechanism.to_owned()),
        (
            "sasl.jaas.config",
            format!("{module} required\n  username=\"{user}\"\n  password=\"{password}\";"),
        ),
    ]
}

fn login(name: &str, protocol: &str, mechanism: &str, user: &str, secret: &str) -> Settings {
    let mut settings = listener(name, protocol, &[]);
    settings.extend(password(mechanism, user, secret));
    settings
}

const OAUTH_MODULE: &str = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required";

fn oidc(secret: &str) -> Settings {
    let url = broker().variable("KAFKA_TOKEN_URL");
    ca(listener(
        "OAUTH",
        "SASL_SSL",
        &[
            ("sasl.mechanism", "OAUTHBEARER"),
            (
                "sasl.jaas.config",
                &format!("{OAUTH_MODULE} clientId=\"klamm\" clientSecret=\"{secret}\";"),
            ),
            ("sasl.oauthbearer.token.endpoint.url", url),
            (
                "sasl.login.callback.handler.class",
                "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler",
            ),
        ],
    ))
}

async fn http(request: &str) -> String {
    let url = broker().variable("KAFKA_TOKEN_URL");
    let address = url.strip_prefix("http://").unwrap().split('/').next().unwrap();
    // The endpoint comes up behind the broker.
    let mut stream = loop {
        match TcpStream::connect(address).await {
            Ok(stream) => break stream,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// How many tokens the endpoint gave out.
async fn tokens() -> u64 {
    let answer = http("GET /count HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").await;
    answer
        .chars()
        .filter(char::is_ascii_digit)
        .collect::<String>()
        .parse()
        .unwrap()
}

async fn fresh_token() -> String {
    let body = "grant_type=client_credentials&client_id=klamm&client_secret=klamm-secret";
    let answer = http(&format!(
        "POST /token HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))
    .await;
    let (_, rest) = answer.split_once("\"access_token\": \"").unwrap();
    rest.split('"').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_listener_lets_in_whom_it_should() {
    let (client_p12, trust_p12, trust_jks) = (cert("client.p12"), cert("truststore.p12"), cert("truststore.jks"));
    let pem = |name: &str| std::fs::read_to_string(cert(name)).unwrap();
    let (chain, key, encrypted) = (pem("client.crt"), pem("client.key"), pem("client-encrypted.key"));
    let keystore = cert("client.keystore.pem");
    let mtls = || listener("MTLS", "SSL", &[]);
    let inline = |key: &str| {
        with(
            ca(mtls()),
            &[
                ("ssl.keystore.type", "PEM"),
                ("ssl.keystore.certificate.chain", &chain),
                ("ssl.keystore.key", key),
            ],
        )
    };
    let token_file = cert("a-token");
    // Read with the settings; a token that is still good is written before it is shown.
    std::fs::write(&token_file, "none yet").unwrap();
    let cases: Vec<(&str, Settings)> = vec![
        ("plaintext", listener("", "PLAINTEXT", &[])),
        (
            "PLAIN",
            login("SASL", "SASL_PLAINTEXT", "PLAIN", "alice", "alice-secret"),
        ),
        (
            "PLAIN, odd password",
            login("SASL", "SASL_PLAINTEXT", "PLAIN", "bob", "p@ss\"w=rd,; x"),
        ),
        (
            "SCRAM-SHA-256",
            login("SASL", "SASL_PLAINTEXT", "SCRAM-SHA-256", "alice", "alice-secret"),
        ),
        (
            "SCRAM-SHA-512",
            login("SASL", "SASL_PLAINTEXT", "SCRAM-SHA-512", "admin", "admin-secret"),
        ),
        (
            "PLAIN, TLS",
            ca(login("SASLSSL", "SASL_SSL", "PLAIN", "alice", "alice-secret")),
        ),
        (
            "SCRAM, TLS",
            ca(login("SASLSSL", "SASL_SSL", "SCRAM-SHA-512", "alice", "alice-secret")),
        ),
        ("TLS, PEM", ca(listener("SSL", "SSL", &[]))),
        (
            "TLS, inline PEM",
            listener(
                "SSL",
                "SSL",
                &[
                    ("ssl.truststore.type", "PEM"),
                    ("ssl.truststore.certificates", &pem("ca.crt")),
                ],
            ),
        ),
        (
            "TLS, PKCS12",
            listener(
                "SSL",
                "SSL",
                &[
                    ("ssl.truststore.type", "PKCS12"),
                    ("ssl.truststore.location", &trust_p12),
                    ("ssl.truststore.password", "store-secret"),
                ],
            ),
        ),
        (
            "TLS, JKS, by address",
            with(
                listener("SSL", "SSL", &[])
                    .into_iter()
                    .map(|(key, value)| (key, value.replace("localhost", "127.0.0.1")))
                    .collect(),
                &[
                    ("ssl.truststore.location", &trust_jks),
                    ("ssl.truststore.password", "store-secret"),
                ],
            ),
        ),
        (
            "TLS 1.2, one suite",
            with(
                ca(listener("SSL", "SSL", &[])),
                &[
                    ("ssl.enabled.protocols", "TLSv1.2"),
                    ("ssl.cipher.suites", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
                ],
            ),
        ),
        (
            "mTLS, PEM file",
            with(
                ca(mtls()),
                &[("ssl.keystore.type", "PEM"), ("ssl.keystore.location", &keystore)],
            ),
        ),
        ("mTLS, inline", inline(&key)),
        (
            "mTLS, encrypted key",
            with(inline(&encrypted), &[("ssl.key.password", "key-secret")]),
        ),
        (
            "mTLS, PKCS12",
            with(
                ca(mtls()),
                &[
                    ("ssl.keystore.location", &client_p12),
                    ("ssl.keystore.password", "store-secret"),
                ],
            ),
        ),
        ("OIDC", oidc("klamm-secret")),
        (
            "a token in a file",
            ca(listener(
                "OAUTH",
                "SASL_SSL",
                &[
                    ("sasl.mechanism", "OAUTHBEARER"),
                    ("sasl.jaas.config", &format!("{OAUTH_MODULE};")),
                    ("sasl.oauthbearer.token.endpoint.url", &format!("file://{token_file}")),
                ],
            )),
        ),
        (
            "unsecured token",
            listener(
                "UNSECURED",
                "SASL_PLAINTEXT",
                &[
                    ("sasl.mechanism", "OAUTHBEARER"),
                    (
                        "sasl.jaas.config",
                        &format!("{OAUTH_MODULE} unsecuredLoginStringClaim_sub=\"klamm\";"),
                    ),
                ],
            ),
        ),
        (
            "another host's certificate, not checked",
            with(
                ca(listener("WRONGHOST", "SSL", &[])),
                &[("ssl.endpoint.identification.algorithm", "")],
            ),
        ),
    ];
    for (why, settings) in cases {
        std::fs::write(&token_file, fresh_token().await).unwrap();
        let client = client(parse(&settings).unwrap_or_else(|err| panic!("{why}: {err}")));
        let mut health = client.health();
        tokio::select! {
            topics = client.topics() => drop(topics.unwrap_or_else(|err| panic!("{why}: {err}"))),
            text = unreachable(&mut health) => panic!("{why}: {text}"),
        }
        client.shutdown().await;
    }
}

async fn unreachable(health: &mut tokio::sync::watch::Receiver<ClusterHealth>) -> String {
    let away = health
        .wait_for(|health| matches!(health, ClusterHealth::Unreachable { .. }))
        .await;
    away.unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_is_told_with_what_to_do() {
    let other_ca = cert("other-ca.crt");
    let cases: Vec<(&str, Settings, &[&str])> = vec![
        (
            "wrong password",
            login("SASL", "SASL_PLAINTEXT", "PLAIN", "alice", "wrong-pw"),
            &[
                "as `alice` failed (SASL_PLAINTEXT, PLAIN)",
                "Invalid username or password",
            ],
        ),
        (
            "wrong SCRAM password",
            login("SASL", "SASL_PLAINTEXT", "SCRAM-SHA-512", "alice", "wrong-pw"),
            &[
                "as `alice` failed (SASL_PLAINTEXT, SCRAM-SHA-512)",
                "invalid credentials",
                "`sasl.jaas.config`",
            ],
        ),
        (
            "mechanism that is not offered",
            listener(
                "SASL",
                "SASL_PLAINTEXT",
                &[
                    ("sasl.mechanism", "OAUTHBEARER"),
                    (
                        "sasl.jaas.config",
                        &format!("{OAUTH_MODULE} unsecuredLoginStringClaim_sub=\"klamm\";"),
                    ),
                ],
            ),
            &["does not offer OAUTHBEARER at this port, it offers", "SCRAM-SHA-256"],
        ),
        (
            "unknown CA",
            listener(
                "SSL",
                "SSL",
                &[("ssl.truststore.type", "PEM"), ("ssl.truststore.location", &other_ca)],
            ),
            &[
                "(`security.protocol=SSL`)",
                "comes from an unknown authority",
                "`ssl.truststore.location`",
            ],
        ),
        (
            "another host's certificate",
            ca(listener("WRONGHOST", "SSL", &[])),
            &["is not for `localhost` but for", "wrong.example"],
        ),
        (
            "no client certificate",
            ca(listener("MTLS", "SSL", &[])),
            &["client certificate", "`ssl.keystore.location`"],
        ),
        (
            "plaintext to TLS",
            listener("SSL", "PLAINTEXT", &[]),
            &["the broker speaks TLS at this port: set `security.protocol=SSL`"],
        ),
        (
            "SASL in clear to TLS",
            login("SASLSSL", "SASL_PLAINTEXT", "PLAIN", "alice", "alice-secret"),
            &["the broker speaks TLS at this port"],
        ),
        (
            "TLS to plaintext",
            ca(listener("", "SSL", &[])),
            &["may speak plaintext at this port", "`security.protocol=PLAINTEXT`"],
        ),
        (
            "plaintext to SASL",
            listener("SASL", "PLAINTEXT", &[]),
            &["it may ask for TLS or SASL at this port"],
        ),
        (
            "SASL to plaintext",
            login("", "SASL_PLAINTEXT", "PLAIN", "alice", "alice-secret"),
            &["takes no logins at this port", "`security.protocol=PLAINTEXT`"],
        ),
        (
            "wrong secret at the token endpoint",
            oidc("wrong-pw"),
            &["token endpoint http://127.0.0.1:", "401 Unauthorized (invalid_client)"],
        ),
    ];
    for (why, settings, wanted) in cases {
        let client = client(parse(&settings).unwrap_or_else(|err| panic!("{why}: {err}")));
        let mut health = client.health();
        let text = tokio::select! {
            topics = client.topics() => panic!("{why}: let in: {topics:?}"),
            text = tokio::time::timeout(PATIENCE, unreachable(&mut health)) => text.unwrap(),
        };
        for part in wanted {
            assert!(text.contains(part), "{why}: {text}");
        }
        assert!(
            !text.contains("wrong-pw") && !text.contains("alice-secret"),
            "{why}: {text}"
        );
        client.shutdown().await;
    }
}

/// Reads what is written once a round until the endpoint gave out three more tokens: the connections of both readers
/// have logged in anew meanwhile, several times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_goes_on_while_logins_and_tokens_end() {
    let writer = client(parse(&listener("", "PLAINTEXT", &[])).unwrap());
    let producer = rskafka::client::ClientBuilder::new(vec![broker().bootstrap.clone()])
        .build()
        .await
        .unwrap();
    // The records are old, so retention is off.
    let topic = NewTopic::new("renewed").with_config("retention.ms", "-1");
    writer.ensure_topic(&topic, Existing::MayDiffer).await.unwrap();
    let unknown = rskafka::client::partition::UnknownTopicHandling::Retry;
    let partition = producer.partition_client("renewed", 0, unknown).await.unwrap();

    let clients: Vec<Arc<KafkaClient>> = [
        login("SASL", "SASL_PLAINTEXT", "SCRAM-SHA-256", "admin", "admin-secret"),
        oidc("klamm-secret"),
    ]
    .into_iter()
    .map(|settings| client(parse(&settings).unwrap()))
    .collect();
    let pools: Vec<_> = clients.iter().map(pool).collect();
    let mut readers: Vec<_> = pools
        .iter()
        .map(|pool| pool.open(from("renewed", StartPosition::Earliest)))
        .collect();
    let wanted = tokens().await + 3;
    let mut written = 0_i64;
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    while tokens().await < wanted {
        pace.tick().await;
        let record = super::support::record(written.to_string());
        let compression = rskafka::client::partition::Compression::NoCompression;
        partition.produce(vec![record], compression).await.unwrap();
        written += 1;
        for reader in &mut readers {
            loop {
                let section = next(reader).await;
                let offsets: Vec<i64> = section.records().map(|record| record.unwrap().offset).collect();
                if !offsets.is_empty() {
                    assert_eq!(offsets, [written - 1], "each once and in order");
                    break;
                }
            }
        }
    }
    for client in clients.iter().chain([&writer]) {
        client.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_that_change_are_read_again() {
    let path = cert("rotated.crt");
    std::fs::copy(cert("other-ca.crt"), &path).unwrap();
    let settings = listener(
        "SSL",
        "SSL",
        &[("ssl.truststore.type", "PEM"), ("ssl.truststore.location", &path)],
    );
    let client = client(parse(&settings).unwrap());
    let mut health = client.health();
    tokio::select! {
        topics = client.topics() => panic!("let in: {topics:?}"),
        text = unreachable(&mut health) => assert!(text.contains("unknown authority"), "{text}"),
    }
    std::fs::copy(cert("ca.crt"), &path).unwrap();
    tokio::time::timeout(PATIENCE, client.topics()).await.unwrap().unwrap();
    client.shutdown().await;
}
