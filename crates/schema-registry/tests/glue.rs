//! A scripted Glue: what the client asks and how it is signed, and what it makes of bad answers.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod support;

use std::process::Command;

use klamm_connect_api::{ConfigDef, ConfigKey, DataErrorKind, RawConfig};
use klamm_schema_registry::{Lookup, SchemaRegistry, SchemaType, config_keys, glue};
use uuid::Uuid;

use crate::support::{Answer, Server};

const AVRO_STRING: Answer = Answer::Status(
    200,
    r#"{"SchemaVersionId":"07070707-0707-0707-0707-070707070707","SchemaDefinition":"\"string\"","DataFormat":"AVRO","SchemaArn":"arn:aws:glue:eu-west-1:1:schema/r/s","VersionNumber":3,"Status":"AVAILABLE","CreatedTime":"x"}"#,
);
const LOOKUP: Lookup = Lookup::VersionId(Uuid::from_bytes([7; 16]));
const KEYS: [(&str, &str); 2] = [("aws.access.key.id", "AKIA1"), ("aws.secret.access.key", "sesame")];
/// Tells the test binary that it is the process that asks.
const ENDPOINT: &str = "KLAMM_TEST_ENDPOINT";

fn registry(endpoint: &str, entries: &[(&str, &str)]) -> SchemaRegistry {
    let common = [
        ("region", "eu-west-1"),
        ("endpoint", endpoint),
        ("retries.wait.ms", "1"),
    ];
    let raw: RawConfig = common
        .iter()
        .chain(entries)
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    let shared = config_keys().into_iter().map(ConfigKey::optional);
    let parsed = ConfigDef::new()
        .with(shared)
        .with(glue::config_keys())
        .parse(&raw)
        .unwrap();
    SchemaRegistry::try_new_glue(&parsed).unwrap()
}

/// The access key ids that requests were signed with.
fn signers(server: &Server) -> Vec<String> {
    let id = |value: &String| {
        let rest = value.strip_prefix("AWS4-HMAC-SHA256 Credential=").unwrap();
        rest.split('/').next().unwrap().to_owned()
    };
    server.header("authorization").iter().map(id).collect()
}

#[tokio::test]
async fn a_version_is_asked_for_once_with_a_signed_request() {
    let server = Server::start([AVRO_STRING]).await;
    let registry = registry(&server.url, &[&KEYS[..], &[("aws.session.token", "tok")]].concat());
    for _ in 0..2 {
        let schema = registry.schema(&LOOKUP).await.unwrap();
        assert_eq!(schema.document.text, "\"string\"");
        assert_eq!(schema.document.schema_type, SchemaType::Avro);
        assert_eq!(schema.document.version, Some(3));
    }
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert!(requests[0].starts_with("POST / HTTP/1.1"), "{}", requests[0]);
    assert!(
        requests[0].ends_with(r#"{"SchemaVersionId":"07070707-0707-0707-0707-070707070707"}"#),
        "{}",
        requests[0]
    );
    assert_eq!(server.header("x-amz-target"), ["AWSGlue.GetSchemaVersion"]);
    assert_eq!(server.header("content-type"), ["application/x-amz-json-1.1"]);
    assert_eq!(server.header("x-amz-security-token"), ["tok"]);
    let authorization = &server.header("authorization")[0];
    assert!(
        authorization.contains("/eu-west-1/glue/aws4_request, SignedHeaders=content-type;host;x-amz-date;"),
        "{authorization}"
    );
    assert_eq!(signers(&server), ["AKIA1"]);
}

#[tokio::test]
async fn failures_are_told_apart_and_say_what_to_do() {
    let cases = [
        (
            Answer::Status(
                400,
                r#"{"__type":"EntityNotFoundException","Message":"Schema version is not found."}"#,
            ),
            DataErrorKind::Data,
            "has no schema version id 07070707-0707-0707-0707-070707070707: it answered 400: EntityNotFoundException: Schema version is not found.. Check `region`",
        ),
        (
            Answer::Status(
                400,
                r#"{"__type":"com.amazonaws.glue#AccessDeniedException","message":"user x is not authorized"}"#,
            ),
            DataErrorKind::Config,
            "made with `aws.access.key.id`: AccessDeniedException: user x is not authorized. Check that this principal's policies allow `glue:GetSchemaVersion`",
        ),
        (
            Answer::Status(
                400,
                r#"{"__type":"UnrecognizedClientException","message":"The security token is invalid"}"#,
            ),
            DataErrorKind::Config,
            "Check that these credentials exist",
        ),
        (
            Answer::Status(403, "<html>"),
            DataErrorKind::Config,
            "nothing that AWS says",
        ),
        (
            Answer::Status(400, r#"{"__type":"InvalidInputException"}"#),
            DataErrorKind::Data,
            "InvalidInputException",
        ),
        (
            Answer::Status(400, r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#),
            DataErrorKind::Retriable,
            "Rate exceeded",
        ),
        (
            Answer::Status(500, r#"{"__type":"InternalServiceException"}"#),
            DataErrorKind::Retriable,
            "500",
        ),
        (Answer::Status(503, ""), DataErrorKind::Retriable, "503"),
        (
            Answer::Status(404, "<html>"),
            DataErrorKind::Retriable,
            "nothing that AWS says",
        ),
        (
            Answer::Status(404, r#"{"__type":"EntityNotFoundException"}"#),
            DataErrorKind::Data,
            "EntityNotFoundException",
        ),
        (Answer::Close, DataErrorKind::Retriable, "does not answer"),
        (
            Answer::Status(200, "<html>secret-text"),
            DataErrorKind::Data,
            "no JSON of a schema version, line 1 column 1. Check `region` and `endpoint`",
        ),
        (
            Answer::Status(200, r#"{"SchemaDefinition":"x","DataFormat":"THRIFT"}"#),
            DataErrorKind::Data,
            "none of AVRO, JSON and PROTOBUF",
        ),
    ];
    for (answer, kind, wanted) in cases {
        let server = Server::start([answer]).await;
        let registry = registry(&server.url, &[&KEYS[..], &[("max.retries", "1")]].concat());
        let error = registry.schema(&LOOKUP).await.unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind(), kind, "{text}");
        assert!(text.contains(wanted), "{text}");
        assert!(!text.contains("sesame") && !text.contains("secret-text"), "{text}");
        let tries = if error.is_retriable() { 2 } else { 1 };
        assert_eq!(server.requests().len(), tries, "{text}");
    }
}

#[tokio::test]
async fn a_throttle_passes() {
    let throttle = Answer::Status(400, r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#);
    let server = Server::start([throttle, Answer::Status(503, ""), Answer::Close, AVRO_STRING]).await;
    registry(&server.url, &KEYS).schema(&LOOKUP).await.unwrap();
    assert_eq!(server.requests().len(), 4);
}

#[tokio::test]
async fn glue_has_schemas_by_version_id_only() {
    let server = Server::start([AVRO_STRING]).await;
    let lookup = Lookup::Id { id: 7, subject: None };
    let error = registry(&server.url, &KEYS).schema(&lookup).await.unwrap_err();
    assert!(error.to_string().contains("by version id only"), "{error}");
    assert!(server.requests().is_empty());
}

const ROLE_1: Answer = Answer::Status(
    200,
    r#"<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials><AccessKeyId>ASIA1</AccessKeyId><SecretAccessKey>s1</SecretAccessKey><SessionToken>t1</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials><AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/r/s</Arn><AssumedRoleId>a:s</AssumedRoleId></AssumedRoleUser></AssumeRoleResult></AssumeRoleResponse>"#,
);
const ROLE_2: Answer = Answer::Status(
    200,
    r#"<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials><AccessKeyId>ASIA2</AccessKeyId><SecretAccessKey>s2</SecretAccessKey><SessionToken>t2</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials><AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/r/s</Arn><AssumedRoleId>a:s</AssumedRoleId></AssumedRoleUser></AssumeRoleResult></AssumeRoleResponse>"#,
);

#[tokio::test]
async fn a_role_is_taken_on_and_again_when_its_credentials_are_refused() {
    let sts = Server::start([ROLE_1, ROLE_2]).await;
    let expired = Answer::Status(400, r#"{"__type":"ExpiredTokenException","message":"expired"}"#);
    let server = Server::start([AVRO_STRING, expired, AVRO_STRING]).await;
    let role = [
        ("assumeRoleArn", "arn:aws:iam::1:role/r"),
        ("assumeRoleSessionName", "klamm-test"),
        ("assumeRoleExternalId", "ext"),
        ("assumeRoleEndpoint", sts.url.as_str()),
    ];
    let registry = registry(&server.url, &[&KEYS[..], &role].concat());
    registry.schema(&LOOKUP).await.unwrap();
    registry
        .schema(&Lookup::VersionId(Uuid::from_bytes([8; 16])))
        .await
        .unwrap();
    assert_eq!(signers(&server), ["ASIA1", "ASIA1", "ASIA2"]);
    assert_eq!(server.header("x-amz-security-token"), ["t1", "t1", "t2"]);
    assert_eq!(signers(&sts), ["AKIA1", "AKIA1"]);
    let asked = &sts.requests()[0];
    for part in [
        "Action=AssumeRole",
        "RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr",
        "RoleSessionName=klamm-test",
        "ExternalId=ext",
    ] {
        assert!(asked.contains(part), "{asked}");
    }
}

#[tokio::test]
async fn a_role_that_may_not_be_taken_on_is_waited_for() {
    let denied = Answer::Status(
        403,
        "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>not you</Message></Error></ErrorResponse>",
    );
    let sts = Server::start([denied]).await;
    let server = Server::start([AVRO_STRING]).await;
    let role = [
        ("assumeRoleArn", "arn:aws:iam::1:role/r"),
        ("assumeRoleEndpoint", sts.url.as_str()),
        ("max.retries", "0"),
    ];
    let error = registry(&server.url, &[&KEYS[..], &role].concat())
        .schema(&LOOKUP)
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(error.is_retriable(), "{text}");
    assert!(
        text.contains("by role arn:aws:iam::1:role/r by `aws.access.key.id`") && text.contains("not you"),
        "{text}"
    );
    assert!(server.requests().is_empty() && !text.contains("sesame"), "{text}");
}

/// The chain reads the environment of its process, so the registry is asked by a process of its own: this test again.
#[tokio::test(flavor = "multi_thread")]
async fn without_keys_the_default_chain_is_asked() {
    if let Ok(endpoint) = std::env::var(ENDPOINT) {
        registry(&endpoint, &[]).schema(&LOOKUP).await.unwrap();
        return;
    }
    let server = Server::start([AVRO_STRING]).await;
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "without_keys_the_default_chain_is_asked"])
        .env(ENDPOINT, &server.url)
        .env("AWS_ACCESS_KEY_ID", "AKIACHAIN")
        .env("AWS_SECRET_ACCESS_KEY", "s")
        .env("AWS_EC2_METADATA_DISABLED", "true");
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(signers(&server), ["AKIACHAIN"]);
}
