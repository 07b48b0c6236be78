//! A scripted registry: what the client asks, in which order, and what it makes of bad answers.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod support;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use klamm_connect_api::{ConfigDef, DataErrorKind, RawConfig};
use klamm_schema_registry::{Lookup, RegistryError, SchemaRegistry, config_keys};

use crate::support::{Answer, Server};

const AVRO_STRING: Answer = Answer::Status(200, r#"{"schema":"\"string\""}"#);

fn registry(url: &str, entries: &[(&str, &str)]) -> SchemaRegistry {
    let mut raw = RawConfig::from([
        ("schema.registry.url".to_owned(), url.to_owned()),
        ("retries.wait.ms".to_owned(), "1".to_owned()),
    ]);
    raw.extend(
        entries
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
    );
    let parsed = ConfigDef::new()
        .with(config_keys())
        .prefix("request.header.")
        .parse(&raw)
        .unwrap();
    SchemaRegistry::try_new(&parsed).unwrap()
}

fn id(id: i32) -> Lookup {
    Lookup::Id { id, subject: None }
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_then_kept() {
    let server = Server::start([
        Answer::Status(500, "{}"),
        Answer::Close,
        Answer::Header(429, "retry-after: 0\r\n", "{}"),
        AVRO_STRING,
    ])
    .await;
    let registry = registry(&server.url, &[]);
    for _ in 0..3 {
        let schema = registry.schema(&id(7)).await.unwrap();
        assert_eq!(schema.document.text, "\"string\"");
    }
    assert_eq!(
        server.paths(),
        ["/schemas/ids/7"; 4],
        "three failures, one answer, then the cache"
    );
}

#[tokio::test]
async fn failures_are_told_apart_and_say_what_to_do() {
    let unauthorized = r#"{"error_code":40101,"message":"who are you"}"#;
    let cases = [
        (
            Answer::Status(401, unauthorized),
            DataErrorKind::Config,
            "answered 401 to the request for schema id 7 made with basic authentication as `key`: who are you (error code 40101). Check `basic.auth.user.info`",
        ),
        (Answer::Status(403, "{}"), DataErrorKind::Config, "403"),
        (
            Answer::Status(404, r#"{"error_code":40403,"message":"no schema"}"#),
            DataErrorKind::Data,
            "has no schema id 7: it answered 404: no schema (error code 40403). Check `schema.registry.url`",
        ),
        (
            Answer::Status(404, r#"{"error_code":404,"message":"HTTP 404 Not Found"}"#),
            DataErrorKind::Retriable,
            "HTTP 404 Not Found (error code 404), so `schema.registry.url` may lead elsewhere",
        ),
        (
            Answer::Status(404, "<html>secret-text"),
            DataErrorKind::Retriable,
            "answered 404 to the request for schema id 7: nothing that a schema registry says, so `schema.registry.url` may lead elsewhere",
        ),
        (
            Answer::Status(404, r#"{"message":"no Route matched"}"#),
            DataErrorKind::Retriable,
            "no Route matched, so `schema.registry.url` may lead elsewhere",
        ),
        (Answer::Status(422, "{}"), DataErrorKind::Data, "422"),
        (Answer::Status(429, "{}"), DataErrorKind::Retriable, "429"),
        (Answer::Status(502, "<html>"), DataErrorKind::Retriable, "502"),
        (Answer::Close, DataErrorKind::Retriable, "does not answer"),
        (
            Answer::Status(200, "<html>secret-text"),
            DataErrorKind::Data,
            "is not a schema registry's",
        ),
        (
            Answer::Status(200, r#"{"schema":"x","schemaType":"THRIFT"}"#),
            DataErrorKind::Data,
            "none of AVRO",
        ),
        (Answer::Status(301, ""), DataErrorKind::Data, "status 301"),
    ];
    for (answer, kind, wanted) in cases {
        let server = Server::start([answer]).await;
        let registry = registry(
            &server.url,
            &[
                ("basic.auth.credentials.source", "USER_INFO"),
                ("basic.auth.user.info", "key:sesame"),
                ("max.retries", "1"),
            ],
        );
        let error = registry.schema(&id(7)).await.unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind(), kind, "{text}");
        assert!(text.contains(wanted), "{text}");
        assert!(!text.contains("sesame") && !text.contains("secret-text"), "{text}");
        let tries = if error.is_retriable() { 2 } else { 1 };
        assert_eq!(server.requests().len(), tries, "{text}");
        let again = registry.schema(&id(7)).await;
        if !error.is_retriable() {
            assert_eq!(again.unwrap_err(), error, "what is wrong stays wrong for a while");
            assert_eq!(server.requests().len(), tries, "and is not asked for again at once");
        }
    }
}

#[tokio::test]
async fn the_next_url_answers_when_one_does_not() {
    let (broken, good) = (
        Server::start([Answer::Status(503, "{}")]).await,
        Server::start([AVRO_STRING]).await,
    );
    let registry = registry(&format!("{},{}", broken.url, good.url), &[("max.retries", "0")]);
    registry.schema(&id(1)).await.unwrap();
    registry.schema(&id(2)).await.unwrap();
    assert_eq!(
        broken.paths(),
        ["/schemas/ids/1"],
        "the one that answers is asked first from then on"
    );
    assert_eq!(good.paths(), ["/schemas/ids/1", "/schemas/ids/2"]);
}

#[tokio::test]
async fn references_come_before_what_refers_to_them() {
    let server = Server::start([
        Answer::Status(200, r#"{"schema":"root","references":[{"name":"a","subject":"s a","version":1},{"name":"b","subject":"b","version":2}]}"#),
        Answer::Status(200, r#"{"schema":"A","references":[{"name":"b","subject":"b","version":2}],"id":5,"version":1,"subject":"s a"}"#),
        Answer::Status(200, r#"{"schema":"B"}"#),
    ])
    .await;
    let registry = registry(&server.url, &[("schema.context", "staging")]);
    let schema = registry.schema(&id(7)).await.unwrap();
    let references: Vec<_> = schema
        .references
        .iter()
        .map(|r| (&*r.name, &*r.document.text))
        .collect();
    assert_eq!(references, [("b", "B"), ("a", "A")]);
    let context = "/contexts/:.staging:";
    assert_eq!(
        server.paths(),
        [
            format!("{context}/schemas/ids/7"),
            format!("{context}/subjects/s%20a/versions/1"),
            format!("{context}/subjects/b/versions/2"),
        ]
    );
}

#[tokio::test]
async fn references_in_a_circle_are_refused() {
    let server = Server::start([Answer::Status(
        200,
        r#"{"schema":"A","references":[{"name":"a","subject":"a","version":1}]}"#,
    )])
    .await;
    let error = registry(&server.url, &[]).schema(&id(7)).await.unwrap_err();
    assert!(matches!(error, RegistryError::References { .. }), "{error}");
    assert_eq!(
        error.to_string(),
        "the references of schema id 7 cannot be followed: version 1 of subject a refers to itself"
    );
}

#[tokio::test]
async fn tokens_are_kept_and_replaced_when_they_are_refused() {
    let issuer = Server::start([
        Answer::Status(200, r#"{"access_token":"t1","expires_in":3600}"#),
        Answer::Status(200, r#"{"access_token":"t2","expires_in":3600}"#),
    ])
    .await;
    let server = Server::start([AVRO_STRING, Answer::Status(401, "{}"), AVRO_STRING]).await;
    let registry = registry(
        &server.url,
        &[
            ("bearer.auth.credentials.source", "OAUTHBEARER"),
            ("bearer.auth.issuer.endpoint.url", &format!("{}/token", issuer.url)),
            ("bearer.auth.client.id", "me"),
            ("bearer.auth.client.secret", "s"),
            ("bearer.auth.scope", "a b"),
            ("bearer.auth.logical.cluster", "lsrc-1"),
            ("request.header.x-team", "blue"),
        ],
    );
    registry.schema(&id(1)).await.unwrap();
    registry.schema(&id(2)).await.unwrap();
    let sent = server.header("authorization");
    assert_eq!(sent, ["Bearer t1", "Bearer t1", "Bearer t2"]);
    assert!(server.requests()[0].contains("target-sr-cluster: lsrc-1"));
    assert!(server.requests()[0].contains("x-team: blue"));
    let asked = &issuer.requests()[0];
    assert!(asked.ends_with("grant_type=client_credentials&scope=a%20b"), "{asked}");
}

#[tokio::test]
async fn requests_carry_the_credentials_and_headers_of_the_settings() {
    let basic = |text: &str| format!("Basic {}", BASE64.encode(text));
    let jaas = r#"org.apache.kafka.common.security.scram.ScramLoginModule required username="ann" password="a;b";"#;
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, String);
    let cases: [Case<'_>; 8] = [
        (
            "",
            &[
                ("basic.auth.credentials.source", "USER_INFO"),
                ("basic.auth.user.info", "key:se:same"),
            ],
            "authorization",
            basic("key:se:same"),
        ),
        ("us%40er:p%3As@", &[], "authorization", basic("us@er:p:s")),
        (
            "",
            &[
                ("basic.auth.credentials.source", "SASL_INHERIT"),
                ("sasl.jaas.config", jaas),
            ],
            "authorization",
            basic("ann:a;b"),
        ),
        (
            "",
            &[
                ("bearer.auth.credentials.source", "STATIC_TOKEN"),
                ("bearer.auth.token", "t"),
            ],
            "authorization",
            "Bearer t".to_owned(),
        ),
        (
            "",
            &[("bearer.auth.logical.cluster", "lsrc-1")],
            "target-sr-cluster",
            "lsrc-1".to_owned(),
        ),
        (
            "",
            &[("bearer.auth.identity.pool.id", "pool-1")],
            "confluent-identity-pool-id",
            "pool-1".to_owned(),
        ),
        ("", &[("request.header.X-Team", "blue")], "x-team", "blue".to_owned()),
        ("", &[], "accept", "application/vnd.schemaregistry.v1+json".to_owned()),
    ];
    for (user_info, entries, header, wanted) in cases {
        let server = Server::start([AVRO_STRING]).await;
        let url = server.url.replace("http://", &format!("http://{user_info}"));
        registry(&url, entries).schema(&id(1)).await.unwrap();
        assert_eq!(server.header(header), [wanted], "{entries:?}");
    }
}

#[tokio::test]
async fn a_tunnel_through_the_proxy_leads_to_a_registry_with_tls() {
    let proxy = Server::start([Answer::Status(502, "")]).await;
    let port = proxy.url.rsplit_once(':').unwrap().1.to_owned();
    let registry = registry(
        "https://registry.invalid:81",
        &[("proxy.host", "127.0.0.1"), ("proxy.port", &port), ("max.retries", "0")],
    );
    let error = registry.schema(&id(3)).await.unwrap_err();
    assert!(error.is_retriable(), "{error}");
    assert!(
        proxy.requests()[0].starts_with("CONNECT registry.invalid:81 HTTP/1.1"),
        "{:?}",
        proxy.requests()
    );
}

#[tokio::test]
async fn a_token_endpoint_that_refuses_says_which_settings_to_check() {
    let issuer = Server::start([Answer::Status(
        401,
        r#"{"error":"invalid_client","error_description":"no such client"}"#,
    )])
    .await;
    let server = Server::start([AVRO_STRING]).await;
    let registry = registry(
        &server.url,
        &[
            ("bearer.auth.credentials.source", "OAUTHBEARER"),
            ("bearer.auth.issuer.endpoint.url", &issuer.url),
            ("bearer.auth.client.id", "me"),
            ("bearer.auth.client.secret", "sesame"),
        ],
    );
    let error = registry.schema(&id(1)).await.unwrap_err();
    assert_eq!(error.kind(), DataErrorKind::Config);
    let text = error.to_string();
    assert!(
        text.contains("invalid_client no such client. Check `bearer.auth.client.id`"),
        "{text}"
    );
    assert!(!text.contains("sesame") && server.requests().is_empty(), "{text}");
}

#[tokio::test]
async fn a_proxy_is_asked_for_the_whole_url() {
    let proxy = Server::start([AVRO_STRING]).await;
    let port = proxy.url.rsplit_once(':').unwrap().1.to_owned();
    let registry = registry(
        "http://registry.invalid:81/api",
        &[("proxy.host", "127.0.0.1"), ("proxy.port", &port)],
    );
    registry.schema(&id(3)).await.unwrap();
    assert_eq!(proxy.paths(), ["http://registry.invalid:81/api/schemas/ids/3"]);
}

#[tokio::test]
async fn a_version_is_asked_for_once_and_may_be_absent() {
    let server = Server::start([
        AVRO_STRING,
        Answer::Status(200, r#"{"version":4}"#),
        Answer::Status(404, r#"{"error_code":40401,"message":"no subject"}"#),
    ])
    .await;
    let registry = registry(&server.url, &[]);
    let document = registry.schema(&id(7)).await.unwrap().document;
    let (one, other) = (Arc::from("one-value"), Arc::from("other-value"));
    for _ in 0..2 {
        assert_eq!(registry.version(&one, &id(7), &document).await, Ok(Some(4)));
        assert_eq!(registry.version(&other, &id(7), &document).await, Ok(None));
    }
    assert_eq!(
        server.paths(),
        ["/schemas/ids/7", "/subjects/one-value", "/subjects/other-value"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_absent_is_asked_for_again_after_a_while() {
    let server = Server::start([
        AVRO_STRING,
        Answer::Status(404, r#"{"error_code":40403,"message":"no schema"}"#),
        Answer::Status(200, r#"{"version":1}"#),
    ])
    .await;
    let registry = registry(&server.url, &[]);
    let document = registry.schema(&id(7)).await.unwrap().document;
    let subject = Arc::from("t-value");
    assert_eq!(registry.version(&subject, &id(7), &document).await, Ok(None));
    assert_eq!(registry.version(&subject, &id(7), &document).await, Ok(None));
    assert_eq!(server.paths().len(), 2, "not at once");
    tokio::time::advance(std::time::Duration::from_secs(10)).await;
    assert_eq!(registry.version(&subject, &id(7), &document).await, Ok(Some(1)));
}

#[tokio::test]
async fn no_version_is_what_the_registry_itself_says() {
    let bare = "<html>404";
    let unknown = r#"{"error_code":404,"message":"HTTP 404 Not Found"}"#;
    let invalid = r#"{"error_code":42201,"message":"Invalid schema"}"#;
    for (status, body, kind) in [
        (404, bare, DataErrorKind::Retriable),
        (404, unknown, DataErrorKind::Retriable),
        (422, invalid, DataErrorKind::Data),
    ] {
        let server = Server::start([AVRO_STRING, Answer::Status(status, body)]).await;
        let registry = registry(&server.url, &[("max.retries", "0")]);
        let document = registry.schema(&id(7)).await.unwrap().document;
        let error = registry.version(&Arc::from("t-value"), &id(7), &document).await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), kind, "{body}");
        assert!(error.to_string().contains(&server.url), "{error}");
    }
}
