//! The `klamm worker` command: settings, connector files, state that survives, errors that say what to do.
#![allow(clippy::unwrap_used, reason = "test code")]

use klamm_dev::FakeLambda;
use klamm_tests::connector::lambda_sink;
use klamm_tests::wait;
use klamm_tests::worker::Worker;
use serde_json::{Value, json};

/// No broker listens here: what these tests look at must work without Kafka.
const NOWHERE: &str = "127.0.0.1:1";

async fn config(worker: &Worker, name: &str) -> Value {
    worker
        .rest()
        .get(&format!("/connectors/{name}/config"))
        .await
        .unwrap()
        .expect(200)
        .unwrap()
}

async fn connector_is(worker: &Worker, name: &str, state: &str) {
    wait::until(&format!("{name} to be {state}"), wait::LIMIT, || async {
        let status = worker
            .rest()
            .get(&format!("/connectors/{name}/status"))
            .await
            .ok()?
            .json();
        (status["connector"]["state"] == state).then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn connectors_and_target_states_survive_a_kill() {
    let lambda = FakeLambda::start().await.unwrap();
    let worker = Worker::builder(NOWHERE).start().await.unwrap();
    let body = json!({ "name": "a", "config": lambda_sink(&lambda, "t", &[("aws.lambda.function.name", "f")]) });
    worker
        .rest()
        .post("/connectors", &body)
        .await
        .unwrap()
        .expect(201)
        .unwrap();
    let b = lambda_sink(&lambda, "t", &[("aws.lambda.function.name", "g")]);
    worker
        .rest()
        .put("/connectors/b/config", &b)
        .await
        .unwrap()
        .expect(201)
        .unwrap();
    worker
        .rest()
        .put("/connectors/b/stop", &Value::Null)
        .await
        .unwrap()
        .expect(204)
        .unwrap();
    let settings = worker.kill().await.unwrap();
    let worker = settings.start().await.unwrap();
    let names = worker.rest().get("/connectors").await.unwrap().expect(200).unwrap();
    assert_eq!(names, json!(["a", "b"]));
    connector_is(&worker, "a", "RUNNING").await;
    connector_is(&worker, "b", "STOPPED").await;
    assert_eq!(config(&worker, "b").await["aws.lambda.function.name"], "g");
    assert_eq!(
        config(&worker, "b").await["aws.secret.access.key"],
        "[hidden]",
        "secrets are masked"
    );
    worker
        .rest()
        .delete("/connectors/a")
        .await
        .unwrap()
        .expect(204)
        .unwrap();
    let worker = worker.terminate().await.unwrap().start().await.unwrap();
    let names = worker.rest().get("/connectors").await.unwrap().expect(200).unwrap();
    assert_eq!(names, json!(["b"]));
    worker.terminate().await.unwrap();
}

#[tokio::test]
async fn connector_files_create_and_replace_connectors() {
    let lambda = FakeLambda::start().await.unwrap();
    let settings = Worker::builder(NOWHERE);
    let flat = settings.dir().join("flat.json");
    let mut config_of_flat = lambda_sink(&lambda, "t", &[("aws.lambda.function.name", "f"), ("name", "flat")]);
    std::fs::write(&flat, config_of_flat.to_string()).unwrap();
    let post = settings.dir().join("post.json");
    let body = json!({
        "name": "post", "initial_state": "STOPPED",
        "config": lambda_sink(&lambda, "t", &[("aws.lambda.function.name", "f")]),
    });
    std::fs::write(&post, body.to_string()).unwrap();
    let properties = settings.dir().join("c.properties");
    let text = format!(
        "name=properties\nconnector.class=AwsLambdaSink\ntopics=t\naws.lambda.function.name=f\naws.lambda.region=eu-central-1\naws.lambda.endpoint={}\n",
        lambda.endpoint()
    );
    std::fs::write(&properties, text).unwrap();
    let settings = [&flat, &post, &properties]
        .iter()
        .fold(settings, |settings, path| settings.arg(path.display().to_string()));
    let worker = settings.start().await.unwrap();
    let names = worker.rest().get("/connectors").await.unwrap().expect(200).unwrap();
    assert_eq!(names, json!(["flat", "post", "properties"]));
    connector_is(&worker, "post", "STOPPED").await;
    connector_is(&worker, "properties", "RUNNING").await;

    config_of_flat["topics"] = "u".into();
    std::fs::write(&flat, config_of_flat.to_string()).unwrap();
    let worker = worker.kill().await.unwrap().start().await.unwrap();
    assert_eq!(
        config(&worker, "flat").await["topics"],
        "u",
        "a changed file replaces what is stored"
    );
    connector_is(&worker, "post", "STOPPED").await;
    worker.terminate().await.unwrap();
}

#[tokio::test]
async fn a_worker_with_wrong_settings_refuses_to_start_with_one_clear_message() {
    let cases: [(&str, &str, &str); 5] = [
        ("offset.flush.interval.ms", "soon", "`offset.flush.interval.ms`"),
        ("listeners", "ftp://x", "http://host:port"),
        ("security.protocol", "TLS", "SASL_SSL"),
        ("value.converter", "Nope", "Nope"),
        ("group.id", "cluster", "group.id"),
    ];
    for (key, value, wanted) in cases {
        let worker = Worker::builder(NOWHERE).property(key, value).spawn().unwrap();
        let (status, settings) = worker.ended().await.unwrap();
        assert_eq!(status.code(), Some(2), "{key}={value}: {}", settings.log());
        let log = settings.log();
        assert!(log.contains(wanted), "{key}={value} names no {wanted}: {log}");
        assert_eq!(log.lines().filter(|line| line.contains("ERROR")).count(), 1, "{log}");
    }
    let worker = Worker::builder(NOWHERE).without("bootstrap.servers").spawn().unwrap();
    let (status, settings) = worker.ended().await.unwrap();
    assert_eq!(status.code(), Some(2));
    assert!(settings.log().contains("bootstrap.servers"), "{}", settings.log());
}

#[tokio::test]
async fn unknown_and_java_only_settings_are_one_warning_each() {
    let worker = Worker::builder(NOWHERE)
        .property("plugin.path", "/usr/share/java")
        .property("ofset.flush.interval.ms", "5")
        .property("offset.storage.file.filename", "/tmp/x")
        .start()
        .await
        .unwrap();
    let log = worker.log();
    for key in ["plugin.path", "ofset.flush.interval.ms", "offset.storage.file.filename"] {
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(&format!("`{key}`"))).collect();
        assert_eq!(lines.len(), 1, "{key}: {log}");
        assert!(lines[0].contains("WARN"), "{}", lines[0]);
    }
    worker.terminate().await.unwrap();
}

#[tokio::test]
async fn a_second_worker_on_one_state_dir_or_port_is_refused() {
    let worker = Worker::builder(NOWHERE).start().await.unwrap();
    let port = worker.url().rsplit_once(':').unwrap().1.to_owned();
    let second = Worker::builder(NOWHERE)
        .property("listeners", format!("http://127.0.0.1:{port}"))
        .spawn()
        .unwrap();
    let (status, settings) = second.ended().await.unwrap();
    assert_eq!(status.code(), Some(3), "{}", settings.log());
    assert!(settings.log().contains(&port), "{}", settings.log());
    worker.terminate().await.unwrap();
}

#[tokio::test]
async fn a_connector_file_that_is_refused_ends_the_worker_with_each_key() {
    let settings = Worker::builder(NOWHERE);
    let file = settings.dir().join("bad.json");
    std::fs::write(
        &file,
        r#"{"name":"bad","connector.class":"AwsLambdaSink","aws.lambda.batch.size":0}"#,
    )
    .unwrap();
    let worker = settings.arg(file.display().to_string()).spawn().unwrap();
    let (status, settings) = worker.ended().await.unwrap();
    assert_eq!(status.code(), Some(3), "{}", settings.log());
    let log = settings.log();
    for wanted in [
        "connector bad",
        "aws.lambda.batch.size",
        "topics",
        "aws.lambda.function.name",
    ] {
        assert!(log.contains(wanted), "no {wanted} in {log}");
    }
}

#[tokio::test]
async fn a_bad_connector_answers_400_with_each_key_and_what_is_accepted() {
    let lambda = FakeLambda::start().await.unwrap();
    let worker = Worker::builder(NOWHERE).start().await.unwrap();
    let settings = [
        ("aws.lambda.function.name", "f"),
        ("delivery.ordering", "sorted"),
        ("aws.lambda.batch.size", "0"),
        ("behavior.on.error", "panic"),
        ("transforms", "a"),
        ("transforms.a.type", "org.apache.kafka.connect.transforms.Nope"),
        ("value.converter", "com.example.ThriftConverter"),
        ("aws.access.key.id", "${file:/etc/keys:id}"),
    ];
    let body = json!({ "name": "bad", "config": lambda_sink(&lambda, "t", &settings) });
    let reply = worker.rest().post("/connectors", &body).await.unwrap();
    let error = reply.expect(400).unwrap();
    let message = error["message"].as_str().unwrap();
    for wanted in [
        "`delivery.ordering`",
        "partition, key, none",
        "aws.lambda.batch.size",
        "at least 1",
        "`behavior.on.error`",
        "`transforms.a.type`",
        "`value.converter`",
        "org.apache.kafka.connect.json.JsonConverter",
        "stands for nothing: the worker has no config provider",
    ] {
        assert!(message.contains(wanted), "no {wanted} in {message}");
    }
    assert_eq!(worker.rest().get("/connectors").await.unwrap().json(), json!([]));
    worker.terminate().await.unwrap();
}

#[tokio::test]
async fn loggers_are_set_while_the_worker_runs() {
    let lambda = FakeLambda::start().await.unwrap();
    let worker = Worker::builder(NOWHERE).start().await.unwrap();
    let create = |name: &'static str| {
        let (worker, config) = (&worker, lambda_sink(&lambda, "t", &[("aws.lambda.function.name", "f")]));
        async move {
            let path = format!("/connectors/{name}/config");
            worker.rest().put(&path, &config).await.unwrap().expect(201).unwrap();
        }
    };
    let set = |level: &'static str| {
        let (worker, body) = (&worker, json!({ "level": level }));
        async move {
            let answer = worker.rest().put("/admin/loggers/klamm_runtime::herder", &body).await;
            answer.unwrap().expect(200).unwrap()
        }
    };
    assert_eq!(set("WARN").await, json!(["klamm_runtime::herder"]));
    create("quiet").await;
    assert_eq!(set("INFO").await, json!(["klamm_runtime::herder"]));
    create("loud").await;
    // Both lines would be written before their answers.
    let log = worker.log();
    assert!(log.contains("connector configured connector=\"loud\""), "{log}");
    assert!(!log.contains("connector configured connector=\"quiet\""), "{log}");
}
