//! Secrets that stand outside of configurations, from where they are kept to the task, and nowhere else.
#![allow(clippy::unwrap_used, reason = "test code")]

mod support;

use std::fs;

use klamm_dev::{Answer, FakeLambda};
use klamm_tests::account::has_all;
use klamm_tests::connector::lambda_sink;
use klamm_tests::kafka::Broker;
use klamm_tests::lambda_emulator::Emulator;
use klamm_tests::produce::{CODECS, Producer};
use klamm_tests::worker::{Builder, Worker};
use support::create;

/// One record after the other, to whatever function the connector is told of outside: first, and then second.
async fn rotated(topic: &str, builder: Builder, function: &str, secret: &str, rotate: impl AsyncFnOnce()) -> Worker {
    let producer = Producer::connect(Broker::shared().unwrap().bootstrap()).await.unwrap();
    producer.create_topic(topic, 1).await.unwrap();
    let lambda = FakeLambda::start().await.unwrap();
    for function in ["first", "second"] {
        lambda.function(function).respond(Answer::success("null"));
    }
    let worker = builder.start().await.unwrap();
    let settings = [
        ("aws.lambda.function.name", function),
        ("aws.access.key.id", "AKIAEXAMPLE"),
        ("aws.secret.access.key", secret),
    ];
    create(&worker, topic, &lambda_sink(&lambda, topic, &settings)).await;
    let before = producer.produce_json(topic, 1, 0..3, CODECS[0]).await.unwrap();
    let reached = lambda
        .wait_for("the first function", |log| has_all(log, "first", topic, &before))
        .await;
    reached.unwrap_or_else(|error| panic!("{error}\n{}", worker.log()));
    rotate().await;
    // Records go to the old one until the change is seen.
    let mut from = 3;
    loop {
        producer
            .produce_json(topic, 1, from..from + 1, CODECS[0])
            .await
            .unwrap();
        from += 1;
        let seen = lambda.with_log(|log| log.invocations_of("second").next().is_some());
        if seen {
            break;
        }
        assert!(from < 600, "the change was not seen\n{}", worker.log());
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let config = worker
        .rest()
        .get(&format!("/connectors/{topic}/config"))
        .await
        .unwrap()
        .json();
    assert_eq!(config["aws.lambda.function.name"], function);
    assert_eq!(config["aws.secret.access.key"], secret);
    for path in [
        format!("/connectors/{topic}"),
        format!("/connectors/{topic}/tasks"),
        "/connectors?expand=info".to_owned(),
    ] {
        let text = worker.rest().get(&path).await.unwrap().text;
        assert!(!text.contains("S3CRET"), "{path}: {text}");
    }
    assert!(!worker.log().contains("S3CRET"), "{}", worker.log());
    assert!(
        worker.log().contains("values of config providers changed"),
        "{}",
        worker.log()
    );
    worker
}

#[tokio::test]
async fn a_secret_in_a_file_is_used_rotated_and_shown_nowhere() {
    let Some(kafka) = Broker::shared() else { return };
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().canonicalize().unwrap();
    let file = folder.join("aws.properties");
    let write = |function: &str| fs::write(&file, format!("function={function}\nkey=S3CRET-of-file\n")).unwrap();
    write("first");
    fs::write(folder.join("token"), "S3CRET-of-folder").unwrap();
    let builder = Worker::builder(kafka.bootstrap())
        .property("config.providers", "file,dir,env")
        .property(
            "config.providers.file.class",
            "org.apache.kafka.common.config.provider.FileConfigProvider",
        )
        .property(
            "config.providers.file.param.allowed.paths",
            folder.display().to_string(),
        )
        .property("config.providers.file.param.ttl.ms", "1000")
        .property(
            "config.providers.dir.class",
            "org.apache.kafka.common.config.provider.DirectoryConfigProvider",
        )
        .property("config.providers.dir.param.allowed.paths", folder.display().to_string())
        .property(
            "config.providers.env.class",
            "org.apache.kafka.common.config.provider.EnvVarConfigProvider",
        )
        // The worker's own settings refer to them as well.
        .property("offset.flush.interval.ms", "${env:FLUSH}")
        .env("FLUSH", "500");
    let state = builder.dir().join("state");
    let function = format!("${{file:{}:function}}", file.display());
    let secret = format!("${{file:{}:key}}", file.display());
    let worker = rotated("files", builder, &function, &secret, async || write("second")).await;
    for entry in fs::read_dir(state).unwrap() {
        let text = fs::read(entry.unwrap().path()).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&text).contains("S3CRET"));
    }
    let config = serde_json::json!({
        "connector.class": "AwsLambdaSink", "topics": "files", "name": "x", "aws.lambda.region": "us-east-1",
        "aws.lambda.function.name": "${env:HOME}",
        "aws.access.key.id": format!("${{file:/etc/passwd:root}}"),
        "aws.secret.access.key": format!("${{dir:{}:token}}", folder.display()),
    });
    let refused = worker.rest().put("/connectors/x/config", &config).await.unwrap();
    let text = refused.expect(400).unwrap()["message"].as_str().unwrap().to_owned();
    for wanted in [
        "`${env:HOME}` stands for nothing: variable HOME may not be read for connectors",
        "`${file:/etc/passwd:root}` stands for nothing: /etc/passwd is not below `allowed.paths`",
    ] {
        assert!(text.contains(wanted), "no {wanted} in {text}");
    }
    assert!(!text.contains("S3CRET"), "{text}");
    worker.terminate().await.unwrap();
}

#[tokio::test]
async fn secrets_of_aws_are_used_and_a_rotated_one_restarts_what_uses_it() {
    let (Some(kafka), Some(emulator)) = (Broker::shared(), Emulator::shared()) else {
        return;
    };
    emulator.keep("parameter", "/klamm/function", "first").await.unwrap();
    emulator
        .keep("secret", "klamm/aws", r#"{"key":"S3CRET-of-aws"}"#)
        .await
        .unwrap();
    let builder = Worker::builder(kafka.bootstrap())
        .property("config.providers", "sm,ssm")
        .property(
            "config.providers.sm.class",
            "com.amazonaws.kafka.config.providers.SecretsManagerConfigProvider",
        )
        .property(
            "config.providers.ssm.class",
            "com.amazonaws.kafka.config.providers.SsmParamStoreConfigProvider",
        )
        .property("config.providers.ssm.param.ttl.ms", "1000")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_ENDPOINT_URL_SECRETS_MANAGER", emulator.endpoint())
        .env("AWS_ENDPOINT_URL_SSM", emulator.endpoint());
    let rotate = async || emulator.keep("parameter", "/klamm/function", "second").await.unwrap();
    let worker = rotated("aws", builder, "${ssm::/klamm/function}", "${sm:klamm/aws:key}", rotate).await;
    let config = serde_json::json!({
        "connector.class": "AwsLambdaSink", "topics": "aws", "name": "x", "aws.lambda.region": "us-east-1",
        "aws.lambda.function.name": "${ssm::/klamm/nothing}",
        "aws.access.key.id": "${sm:klamm/aws:nothing}",
        "aws.secret.access.key": "x",
    });
    let refused = worker.rest().put("/connectors/x/config", &config).await.unwrap();
    let text = refused.expect(400).unwrap()["message"].as_str().unwrap().to_owned();
    assert!(
        text.contains("ParameterNotFound") && text.contains("the secret has no such key"),
        "{text}"
    );
    assert!(!text.contains("S3CRET"), "{text}");
    worker.terminate().await.unwrap();
}
