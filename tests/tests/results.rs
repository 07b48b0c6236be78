//! What functions answer, and why records were given up, stands in topics before the records are committed; read by a client
//! that is not ours.
#![allow(clippy::unwrap_used, reason = "test code")]

mod support;

use klamm_dev::payload::each_of_confluent;
use klamm_dev::{Answer, FakeLambda};
use klamm_tests::clients::python;
use klamm_tests::connector::lambda_sink;
use klamm_tests::kafka::Broker;
use klamm_tests::wait;
use klamm_tests::worker::Worker;
use serde_json::{Value, json};
use support::{b64, committed, create, filled, is_refused, plain, tasks_are, text};

fn headers(record: &Value) -> Vec<(String, String)> {
    text(record["headers"].as_array().unwrap())
}

#[tokio::test]
async fn results_and_errors_are_reported_and_results_forwarded() {
    let Some(kafka) = Broker::shared() else { return };
    let lambda = FakeLambda::start().await.unwrap();
    // Confluent's sample: an array that names each record, here in reverse.
    lambda.function("report-fn").respond_with(|invocation| {
        if String::from_utf8_lossy(&invocation.body).contains("\"poison\":true") {
            return Answer::function_error("ValueError", "secret answer");
        }
        let mut items = Vec::new();
        each_of_confluent(&invocation.body, |record| {
            items.push(json!({ "payload": {
                "timestamp": 0, "topic": record.topic, "partition": record.partition, "offset": record.offset,
                "result": { "seen": record.offset },
            } }));
        })
        .unwrap();
        items.reverse();
        Answer::success(Value::from(items).to_string())
    });
    let base = klamm_tests::produce::now().timestamp_millis() - 1_000_000;
    let records: Vec<Value> = (0..10)
        .map(|n| {
            let value = if n == 4 {
                "{\"poison\":true}".to_owned()
            } else {
                format!("{{\"id\":{n}}}")
            };
            json!({
                "partition": 0, "key": b64(format!("key-{n}")), "value": b64(value), "timestamp": base + n,
                "headers": [{ "key": "trace", "value": b64(format!("t-{n}")) }],
            })
        })
        .collect();
    let ops = [
        json!({ "op": "create", "topic": "report-in" }),
        json!({ "op": "produce", "topic": "report-in", "records": records }),
    ];
    python(kafka.bootstrap(), &ops).await.unwrap();
    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    let settings = [
        ("aws.lambda.function.name", "report-fn"),
        ("delivery.retry.max.attempts", "2"),
        ("behavior.on.error", "log"),
        ("reporter.bootstrap.servers", kafka.bootstrap()),
        ("reporter.result.topic.name", "${connector}-success"),
        ("reporter.result.topic.replication.factor", "1"),
        ("reporter.result.topic.partitions", "2"),
        ("reporter.error.topic.name", "${connector}-error"),
        ("reporter.error.topic.replication.factor", "1"),
        ("reporter.error.topic.key.format", "json"),
        ("results.forward.topic.name", "report-forward"),
        ("results.forward.topic.replication.factor", "1"),
    ];
    create(&worker, "report", &lambda_sink(&lambda, "report-in", &settings)).await;
    committed(kafka, "connect-report", "report-in", "0", "10").await;

    // Committed, so all of them stand there.
    let mut results = filled(kafka.bootstrap(), "report-success", 9).await;
    let offset = |record: &Value| headers(record)[0].1.parse::<i64>().unwrap();
    results.sort_by_key(offset);
    let good: Vec<i64> = (0..10).filter(|n| *n != 4).collect();
    assert_eq!(results.iter().map(offset).collect::<Vec<_>>(), good);
    for (record, n) in results.iter().zip(&good) {
        let at = base + n;
        let wanted =
            format!(r#"{{"timestamp":{at},"offset":{n},"partition":0,"topic":"report-in","result":{{"seen":{n}}}}}"#);
        assert_eq!(plain(&record["value"]), wanted);
        assert_eq!(plain(&record["key"]), format!("key-{n}"));
        let wanted = [
            ("input_record_offset", n.to_string()),
            ("input_record_timestamp", at.to_string()),
            ("input_record_partition", "0".to_owned()),
            ("input_record_topic", "report-in".to_owned()),
        ];
        assert_eq!(headers(record), wanted.map(|(key, value)| (key.to_owned(), value)));
    }
    let [error] = filled(kafka.bootstrap(), "report-error", 1).await.try_into().unwrap();
    assert_eq!(plain(&error["key"]), "\"key-4\"", "as JSON");
    assert!(plain(&error["value"]).contains("report-fn"), "{error}");
    assert!(!plain(&error["value"]).contains("secret answer"), "{error}");
    let found = headers(&error);
    assert_eq!(found[0], ("input_record_offset".to_owned(), "4".to_owned()));
    assert_eq!(found[4], ("error_class".to_owned(), "ValueError".to_owned()));

    let mut forwarded = filled(kafka.bootstrap(), "report-forward", 9).await;
    forwarded.sort_by_key(|record| record["timestamp"].as_i64());
    for (record, n) in forwarded.iter().zip(&good) {
        assert_eq!(plain(&record["key"]), format!("key-{n}"));
        assert_eq!(plain(&record["value"]), format!("{{\"seen\":{n}}}"));
        assert_eq!(headers(record), [("trace".to_owned(), format!("t-{n}"))]);
        assert_eq!(record["timestamp"], base + n);
    }
    let described = kafka
        .tool("topics", &["--describe", "--topic", "report-success"])
        .await
        .unwrap();
    assert!(described.contains("PartitionCount: 2"), "{described}");
    worker.terminate().await.unwrap();
}

#[tokio::test]
async fn a_result_topic_that_is_away_holds_the_commit_and_no_function_runs_twice() {
    let Some(kafka) = Broker::shared() else { return };
    let Some(elsewhere) = Broker::own(&[]) else { return };
    let lambda = FakeLambda::start().await.unwrap();
    lambda.function("held-fn").respond_with(|_| Answer::success("\"done\""));
    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    let settings = [
        ("aws.lambda.function.name", "held-fn"),
        ("reporter.bootstrap.servers", elsewhere.bootstrap()),
        ("reporter.result.topic.name", "held-results"),
        ("reporter.result.topic.replication.factor", "1"),
    ];
    let create_topic = json!({ "op": "create", "topic": "held-in" });
    python(kafka.bootstrap(), &[create_topic]).await.unwrap();
    create(&worker, "held", &lambda_sink(&lambda, "held-in", &settings)).await;
    wait::until("the topic to be made", wait::LIMIT, || async {
        worker.log().contains("result topic `held-results`").then_some(())
    })
    .await
    .unwrap();
    elsewhere.stop(1).await.unwrap();
    let records: Vec<Value> = (0..5)
        .map(|n| json!({ "value": b64(format!("{{\"id\":{n}}}")) }))
        .collect();
    python(
        kafka.bootstrap(),
        &[json!({ "op": "produce", "topic": "held-in", "records": records })],
    )
    .await
    .unwrap();
    let shown = wait::until("the status to say what is waited for", wait::LIMIT, || async {
        let status = worker.rest().get("/connectors/held/status").await.ok()?.json();
        let task = &status["tasks"][0];
        (task["state"] == "RUNNING").then(|| task["trace"].as_str().map(str::to_owned))?
    });
    let trace = shown
        .await
        .unwrap_or_else(|error| panic!("{error:#}\n{}", worker.log()));
    assert!(trace.contains("result topic `held-results`"), "{trace}");
    committed(kafka, "connect-held", "held-in", "0", "0").await;
    elsewhere.start_again(1).await.unwrap();
    committed(kafka, "connect-held", "held-in", "0", "5").await;
    let results = filled(elsewhere.bootstrap(), "held-results", 5).await;
    assert!(
        plain(&results[0]["value"]).ends_with(r#""result":"done"}"#),
        "one answer is everybody's"
    );
    lambda.with_log(|log| {
        let times = klamm_tests::account::accepted(log, "held-fn", "held-in");
        assert!(times.len() == 5 && times.values().all(|times| *times == 1), "{times:?}");
    });
    worker.terminate().await.unwrap();
}

#[tokio::test]
async fn an_answer_that_is_no_json_follows_the_error_policy() {
    let Some(kafka) = Broker::shared() else { return };
    let lambda = FakeLambda::start().await.unwrap();
    lambda
        .function("text-fn")
        .respond_with(|_| Answer::success("secret text"));
    let ops = [
        json!({ "op": "create", "topic": "text-in" }),
        json!({ "op": "produce", "topic": "text-in", "records": [{ "value": b64("{\"id\":0}") }] }),
    ];
    python(kafka.bootstrap(), &ops).await.unwrap();
    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    let settings = [
        ("aws.lambda.function.name", "text-fn"),
        ("delivery.retry.max.attempts", "2"),
        ("results.forward.topic.name", "text-out"),
        ("results.forward.topic.replication.factor", "1"),
    ];
    create(&worker, "text", &lambda_sink(&lambda, "text-in", &settings)).await;
    let status = tasks_are(&worker, "text", &["FAILED"]).await;
    let trace = status["tasks"][0]["trace"].as_str().unwrap();
    assert!(
        trace.contains("text-in-0@0") && trace.contains("it is no JSON"),
        "{trace}"
    );
    assert!(
        !worker.log().contains("secret text"),
        "a function's answer reached the log"
    );
    worker.terminate().await.unwrap();
}

#[tokio::test]
async fn reports_that_would_come_back_as_inputs_are_refused() {
    let Some(kafka) = Broker::shared() else { return };
    let lambda = FakeLambda::start().await.unwrap();
    lambda.function("f");
    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    let cases = [
        // settings, the key that is named, what is said of it
        (
            [("reporter.result.topic.name", "b"), ("topics", "a,b")],
            "reporter.result.topic.name",
            "`b` is also an input",
        ),
        (
            [("reporter.error.topic.name", "a"), ("topics", "a,b")],
            "reporter.error.topic.name",
            "`a` is also an input",
        ),
        (
            [("results.forward.topic.name", "b"), ("topics", "a,b")],
            "results.forward.topic.name",
            "`b` is also an input",
        ),
        (
            [
                ("reporter.result.topic.name", "${connector}-success"),
                ("topics", "a,refused-success"),
            ],
            "reporter.result.topic.name",
            "`refused-success` is also an input",
        ),
        (
            [
                ("reporter.result.topic.name", "r"),
                ("reporter.result.topic.value.format.schemas.enable", "true"),
            ],
            "reporter.result.topic.value.format.schemas.enable",
            "JSON without schemas",
        ),
        (
            [
                ("reporter.result.topic.name", "r"),
                ("reporter.result.topic.value.format", "avro"),
            ],
            "reporter.result.topic.value.format",
            "",
        ),
    ];
    for (settings, key, wanted) in cases {
        let mut all = vec![("aws.lambda.function.name", "f")];
        all.extend(settings);
        is_refused(&worker, &lambda_sink(&lambda, "a", &all), key, wanted).await;
    }
    worker.terminate().await.unwrap();
}
