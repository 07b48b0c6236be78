//! The default credentials chain. It reads the environment of its process, so each case runs in a process of its own.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "test code")]

use std::process::{Command, Output};

use klamm_connect_api::sink::{Call, Outcome, Predicates, RouteIndex, SinkConnector, SinkContext, Verdict};
use klamm_connect_api::{Datum, Origin, RawConfig, Record, TopicPartition};
use klamm_dev::{Credentials, FakeLambda};
use klamm_lambda_sink::LambdaSinkConnector;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Tells the test binary that it is the process of a case: what `child` reads.
const ENDPOINT: &str = "KLAMM_TEST_ENDPOINT";

/// The role that the process is to assume, if any.
const ROLE: &str = "KLAMM_TEST_ROLE";

/// Makes two calls with the credentials of this process and prints the verdicts.
async fn child(endpoint: &str) {
    let mut raw: RawConfig = [
        ("aws.lambda.endpoint", endpoint),
        ("aws.lambda.function.name", "order-fn"),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect();
    if let Ok(arn) = std::env::var(ROLE) {
        raw.insert("aws.role.arn".to_owned(), arn);
        raw.insert("aws.role.external.id".to_owned(), "ext-1".to_owned());
    }
    let connector = LambdaSinkConnector::default();
    let parsed = connector.config_def(&raw).parse(&raw).unwrap();
    let sink = connector
        .open(SinkContext {
            connector: "c",
            task: 0,
            raw: &raw,
            config: &parsed,
            predicates: &Predicates::new(),
            bootstrap_servers: &[],
            keeps_results: false,
        })
        .unwrap();
    for offset in 0..2 {
        let origin = Origin {
            topic_partition: TopicPartition::new("orders", 0),
            offset,
        };
        let mut builder = sink.payload_builder(RouteIndex(0));
        let record = Record::new(origin.clone(), Datum::NULL, Datum::NULL);
        builder.push(&origin, &sink.encode(RouteIndex(0), &record).unwrap());
        let verdict = sink
            .send(Call {
                route: RouteIndex(0),
                body: builder.finish(),
                origins: [origin].into(),
                timestamps: [None].into(),
            })
            .await;
        match verdict {
            Verdict::Accepted => println!("verdict: accepted"),
            Verdict::Retry {
                outcome: Outcome::NotRun,
                failure,
                ..
            } => println!("verdict: {failure}"),
            other => panic!("{other:?}"),
        }
    }
}

/// Runs `test` of this binary again in a process that knows nothing of AWS but `variables`.
async fn run(test: &'static str, endpoint: String, variables: Vec<(&'static str, String)>) -> Output {
    let run = move || {
        let kept = std::env::vars_os().filter(|(name, _)| !name.to_string_lossy().starts_with("AWS_"));
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env_clear()
            .envs(kept)
            .env("AWS_REGION", "eu-west-1")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_CONFIG_FILE", "/nonexistent")
            .env("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
            .envs(variables)
            .env(ENDPOINT, endpoint)
            .output()
            .unwrap()
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

fn verdicts(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text.lines()
        .filter_map(|line| Some(line.split_once("verdict: ")?.1.to_owned()))
        .collect()
}

async fn lambda() -> FakeLambda {
    let credentials = Credentials {
        access_key_id: "AKIDCHAIN".to_owned(),
        secret_access_key: "chain-secret".to_owned(),
        session_token: Some("chain-token".to_owned()),
    };
    let lambda = FakeLambda::builder()
        .verify_signatures(credentials)
        .start()
        .await
        .unwrap();
    lambda.function("order-fn");
    lambda
}

#[tokio::test]
async fn without_credentials_a_call_waits_and_says_what_to_set() {
    if let Ok(endpoint) = std::env::var(ENDPOINT) {
        return child(&endpoint).await;
    }
    let lambda = lambda().await;
    let output = run(
        "without_credentials_a_call_waits_and_says_what_to_set",
        lambda.endpoint(),
        vec![],
    )
    .await;
    let verdicts = verdicts(&output);
    assert_eq!(verdicts.len(), 2);
    for verdict in verdicts {
        assert!(
            verdict.starts_with("CredentialsUnavailable: function `order-fn` in eu-west-1: no AWS credentials"),
            "{verdict}"
        );
        assert!(
            verdict.contains("set `aws.access.key.id` and `aws.secret.access.key`"),
            "{verdict}"
        );
    }
    assert_eq!(lambda.with_log(|log| log.total().calls), 0);
}

#[tokio::test]
async fn the_environment_gives_credentials() {
    if let Ok(endpoint) = std::env::var(ENDPOINT) {
        return child(&endpoint).await;
    }
    let lambda = lambda().await;
    let variables = vec![
        ("AWS_ACCESS_KEY_ID", "AKIDCHAIN".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "chain-secret".to_owned()),
        ("AWS_SESSION_TOKEN", "chain-token".to_owned()),
    ];
    let output = run("the_environment_gives_credentials", lambda.endpoint(), variables).await;
    assert_eq!(verdicts(&output), ["accepted", "accepted"]);
}

#[tokio::test]
async fn a_container_gives_credentials_and_is_asked_once() {
    if let Ok(endpoint) = std::env::var(ENDPOINT) {
        return child(&endpoint).await;
    }
    let lambda = lambda().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = JoinSet::new();
    server.spawn(async move {
        let body = r#"{"AccessKeyId":"AKIDCHAIN","SecretAccessKey":"chain-secret","Token":"chain-token","Expiration":"2999-01-01T00:00:00Z"}"#;
        // One answer only: who asks twice gets none.
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    let variables = vec![(
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        format!("http://{address}/credentials"),
    )];
    let output = run(
        "a_container_gives_credentials_and_is_asked_once",
        lambda.endpoint(),
        variables,
    )
    .await;
    assert_eq!(verdicts(&output), ["accepted", "accepted"]);
}

#[tokio::test]
async fn a_role_is_assumed_with_the_chains_credentials_and_its_external_id() {
    if let Ok(endpoint) = std::env::var(ENDPOINT) {
        return child(&endpoint).await;
    }
    let lambda = lambda().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = JoinSet::new();
    server.spawn(async move {
        let body = "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><AssumedRoleUser>\
                    <Arn>arn:aws:sts::123456789012:assumed-role/caller/klamm</Arn><AssumedRoleId>A:klamm</AssumedRoleId>\
                    </AssumedRoleUser><Credentials><AccessKeyId>AKIDCHAIN</AccessKeyId>\
                    <SecretAccessKey>chain-secret</SecretAccessKey><SessionToken>chain-token</SessionToken>\
                    <Expiration>2999-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>";
        // One answer only: who asks twice gets none.
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = String::new();
        while !request.contains("ExternalId") {
            request.push(char::from(stream.read_u8().await.unwrap()));
        }
        while !request.ends_with("Version=2011-06-15") && !request.ends_with("ext-1") {
            request.push(char::from(stream.read_u8().await.unwrap()));
        }
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
        request
    });
    let variables = vec![
        ("AWS_ACCESS_KEY_ID", "AKIDBASE".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "base-secret".to_owned()),
        ("AWS_ENDPOINT_URL_STS", format!("http://{address}")),
        (ROLE, "arn:aws:iam::123456789012:role/caller".to_owned()),
    ];
    let output = run(
        "a_role_is_assumed_with_the_chains_credentials_and_its_external_id",
        lambda.endpoint(),
        variables,
    )
    .await;
    assert_eq!(verdicts(&output), ["accepted", "accepted"]);
    let request = server.join_next().await.unwrap().unwrap();
    for part in [
        "Credential=AKIDBASE/",
        "Action=AssumeRole",
        "RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fcaller",
        "RoleSessionName=klamm",
        "ExternalId=ext-1",
    ] {
        assert!(request.contains(part), "{part}: {request}");
    }
}
