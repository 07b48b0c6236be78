//! `--command-config client.properties` against every listener of a secured broker, and how refusals are told.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::time::Duration;

use klamm_tests::clients::{json_lines, klamm, python};
use klamm_tests::kafka::Broker;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

const TOPIC: &str = "secured";
const RECORDS: usize = 7;

/// Until a tool that is not let in has said so.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is known about a listener, and what to say to it.
struct Case {
    why: &'static str,
    listener: &'static str,
    config: String,
    /// What the one line must say; `None` if the broker lets us in.
    refused: Option<Vec<&'static str>>,
}

fn plain(user: &str, password: &str) -> String {
    format!(
        "sasl.mechanism=PLAIN\nsasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
         username=\"{user}\" password=\"{password}\";\n"
    )
}

fn scram(bits: u16, user: &str, password: &str) -> String {
    format!(
        "sasl.mechanism=SCRAM-SHA-{bits}\nsasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule \
         required username=\"{user}\" password=\"{password}\";\n"
    )
}

/// A text of several lines as a property's value.
fn inline(path: &str) -> String {
    std::fs::read_to_string(path).unwrap().trim().replace('\n', "\\n")
}

fn cases(kafka: &Broker) -> Vec<Case> {
    let certs = kafka.server().value("KAFKA_CERTS").unwrap();
    let token_url = kafka.server().value("KAFKA_TOKEN_URL").unwrap();
    let protocol = |name: &str| format!("security.protocol={name}\n");
    let trust = format!("ssl.truststore.type=PEM\nssl.truststore.location={certs}/ca.crt\n");
    let jks = format!(
        "ssl.truststore.type=JKS\nssl.truststore.location={certs}/truststore.jks\nssl.truststore.password=store-secret\n"
    );
    let p12 = format!(
        "ssl.keystore.type=PKCS12\nssl.keystore.location={certs}/client.p12\nssl.keystore.password=store-secret\n"
    );
    let pem = format!(
        "ssl.keystore.type=PEM\nssl.keystore.certificate.chain={}\nssl.keystore.key={}\nssl.key.password=key-secret\n",
        inline(&format!("{certs}/client.crt")),
        inline(&format!("{certs}/client-encrypted.key"))
    );
    let oauth = "sasl.mechanism=OAUTHBEARER\nsasl.jaas.config=\
                 org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required";
    let oidc = |secret: &str| {
        format!(
            "sasl.oauthbearer.token.endpoint.url={token_url}\nsasl.login.callback.handler.class=\
             org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler\n\
             {oauth} clientId=\"klamm\" clientSecret=\"{secret}\";\n"
        )
    };
    let case = |why, listener, parts: &[&str], refused: Option<&[&'static str]>| Case {
        why,
        listener,
        config: parts.concat(),
        refused: refused.map(<[_]>::to_vec),
    };
    let (ssl, sasl, sasl_ssl) = (protocol("SSL"), protocol("SASL_PLAINTEXT"), protocol("SASL_SSL"));
    let alice = plain("alice", "alice-secret");
    let other_ca = format!("ssl.truststore.type=PEM\nssl.truststore.location={certs}/other-ca.crt\n");
    vec![
        case("TLS, PEM file", "_SSL", &[&ssl, &trust], None),
        case("mutual TLS, PKCS12 and JKS", "_MTLS", &[&ssl, &jks, &p12], None),
        case(
            "mutual TLS, inline PEM, encrypted key",
            "_MTLS",
            &[&ssl, &trust, &pem],
            None,
        ),
        case("PLAIN", "_SASL", &[&sasl, &alice], None),
        case(
            "PLAIN, a password of odd characters",
            "_SASL",
            &[&sasl, &plain("bob", r#"p@ss\\"w=rd,; x"#)],
            None,
        ),
        case("PLAIN over TLS", "_SASLSSL", &[&sasl_ssl, &trust, &alice], None),
        case(
            "SCRAM-SHA-256",
            "_SASL",
            &[&sasl, &scram(256, "alice", "alice-secret")],
            None,
        ),
        case(
            "SCRAM-SHA-512 over TLS",
            "_SASLSSL",
            &[&sasl_ssl, &trust, &scram(512, "alice", "alice-secret")],
            None,
        ),
        case(
            "OAUTHBEARER, OIDC",
            "_OAUTH",
            &[&sasl_ssl, &trust, &oidc("klamm-secret")],
            None,
        ),
        case(
            "OAUTHBEARER, unsecured",
            "_UNSECURED",
            &[&sasl, oauth, " unsecuredLoginStringClaim_sub=\"carol\";\n"],
            None,
        ),
        case(
            "a host that the certificate does not name, unchecked",
            "_WRONGHOST",
            &[&ssl, &trust, "ssl.endpoint.identification.algorithm=\n"],
            None,
        ),
        case(
            "PLAIN, wrong password",
            "_SASL",
            &[&sasl, &plain("alice", "wrong")],
            Some(&["alice", "PLAIN"]),
        ),
        case(
            "SCRAM, wrong password",
            "_SASLSSL",
            &[&sasl_ssl, &trust, &scram(256, "alice", "wrong")],
            Some(&["alice", "SCRAM-SHA-256"]),
        ),
        case(
            "OIDC, wrong secret",
            "_OAUTH",
            &[&sasl_ssl, &trust, &oidc("wrong")],
            Some(&["OAUTHBEARER"]),
        ),
        case("unknown CA", "_SSL", &[&ssl, &other_ca], Some(&["certificate"])),
        case("wrong host", "_WRONGHOST", &[&ssl, &trust], Some(&["wrong.example"])),
        case(
            "no client certificate",
            "_MTLS",
            &[&ssl, &trust],
            Some(&["certificate"]),
        ),
        case("TLS to a port without", "", &[&ssl, &trust], Some(&["SSL"])),
        case("no TLS to a port with it", "_SSL", &[], Some(&["localhost"])),
        case("no SASL to a port with it", "_SASL", &[], Some(&["localhost"])),
        case(
            "a truststore that is not there",
            "_SSL",
            &[
                &ssl,
                "ssl.truststore.type=PEM\nssl.truststore.location=/nowhere/ca.crt\n",
            ],
            Some(&["/nowhere/ca.crt"]),
        ),
    ]
}

#[tokio::test]
async fn every_listener_is_read_through_and_every_refusal_is_one_line() {
    let Some(kafka) = Broker::own(&["--auth"]) else { return };
    let ops = [
        json!({ "op": "create", "topic": TOPIC }),
        json!({ "op": "produce", "topic": TOPIC, "records": [{ "count": RECORDS, "value": "djE=" }] }),
    ];
    python(kafka.bootstrap(), &ops).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut runs = JoinSet::new();
    for (i, case) in cases(&kafka).into_iter().enumerate() {
        let servers = kafka
            .server()
            .value(&format!("KAFKA_BOOTSTRAP{}", case.listener))
            .unwrap()
            .to_owned();
        let file = dir.path().join(format!("{i}.properties"));
        std::fs::write(&file, &case.config).unwrap();
        runs.spawn(async move {
            let began = Instant::now();
            let file = file.to_str().unwrap();
            let args = [
                "topic",
                "read",
                TOPIC,
                "--json",
                "--bootstrap-server",
                &servers,
                "--command-config",
                file,
            ];
            let output = klamm(&args, &[]).await.unwrap();
            (case, output, began.elapsed())
        });
    }
    let mut wrong = Vec::new();
    while let Some(run) = runs.join_next().await {
        let (Case { why, refused, .. }, output, took) = run.unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        let is_right = match &refused {
            None => {
                output.status.success() && json_lines(&output.stdout).unwrap().len() == RECORDS && errors.is_empty()
            }
            Some(texts) => {
                output.status.code() == Some(1)
                    && took < PATIENCE
                    && errors.lines().count() == 1
                    && texts.iter().all(|text| errors.contains(text))
                    && !errors.contains("-secret")
            }
        };
        if !is_right {
            wrong.push(format!("{why}: {} after {took:?}: {errors}", output.status));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
