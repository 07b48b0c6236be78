//! Records that cannot be converted or delivered arrive in the dead letter queue, byte for byte, and no others do; read by
//! clients that are not ours.
#![allow(clippy::unwrap_used, reason = "test code")]

mod support;

use klamm_dev::{Answer, FakeLambda};
use klamm_tests::account::accepted;
use klamm_tests::clients::python;
use klamm_tests::connector::lambda_sink;
use klamm_tests::kafka::Broker;
use klamm_tests::wait;
use klamm_tests::worker::Worker;
use serde_json::{Value, json};
use support::{b64, committed, create, filled, is_refused, plain, tasks_are, text};

/// The records of a topic, as an independent client reads them.
async fn read(bootstrap: &str, topic: &str) -> Vec<Value> {
    python(bootstrap, &[json!({ "op": "read", "topic": topic })])
        .await
        .unwrap()
}

fn of<'a>(headers: &'a [(String, String)], key: &str) -> &'a str {
    let found = headers.iter().rfind(|(name, _)| name == key);
    found.map_or_else(|| panic!("no {key} among {headers:?}"), |(_, value)| value)
}

#[tokio::test]
async fn exactly_the_poison_records_arrive_byte_for_byte_and_their_neighbours_are_delivered() {
    let Some(kafka) = Broker::shared() else { return };
    let lambda = FakeLambda::start().await.unwrap();
    lambda.function("dlq-fn").respond_with(|invocation| {
        if String::from_utf8_lossy(&invocation.body).contains("\"poison\":true") {
            Answer::function_error("ValueError", "secret answer")
        } else {
            Answer::success("null")
        }
    });
    // Odd ones first: bytes that are no text, duplicates, nulls, empty ones, a header that a dead letter has as well.
    let odd = json!([
        { "key": "h", "value": b64([0, 255, 10]) }, { "key": "h", "value": null }, { "key": "", "value": b64("") },
        { "key": "__connect.errors.topic", "value": b64("elsewhere") },
    ]);
    let base = klamm_tests::produce::now().timestamp_millis() - 1_000_000;
    let mut records = Vec::new();
    for n in 0..120_i64 {
        let value = match n {
            17 => b64([0xff, 0x00, b'{']),
            60 => b64("{broken"),
            33 | 34 | 99 => b64(format!("{{\"id\":{n},\"poison\":true}}")),
            _ => b64(format!("{{\"id\":{n}}}")),
        };
        let key = if n == 34 {
            Value::Null
        } else {
            json!(b64(format!("key-{n}")))
        };
        let headers = if [17, 33].contains(&n) { odd.clone() } else { json!([]) };
        records.push(json!({
            "partition": n % 2, "key": key, "value": value, "headers": headers, "timestamp": base + n,
        }));
    }
    let ops = [
        json!({ "op": "create", "topic": "dlq-in", "partitions": 2, "config": { "retention.ms": "-1" } }),
        json!({ "op": "produce", "topic": "dlq-in", "records": records }),
    ];
    python(kafka.bootstrap(), &ops).await.unwrap();

    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    let settings = [
        ("aws.lambda.function.name", "dlq-fn"),
        ("aws.lambda.batch.size", "50"),
        ("delivery.retry.max.attempts", "3"),
        ("behavior.on.error", "dlq"),
        ("errors.tolerance", "all"),
        ("errors.deadletterqueue.topic.name", "dlq-out"),
        ("errors.deadletterqueue.topic.replication.factor", "1"),
        ("errors.deadletterqueue.context.headers.enable", "true"),
    ];
    create(&worker, "dlq", &lambda_sink(&lambda, "dlq-in", &settings)).await;
    let letters = filled(kafka.bootstrap(), "dlq-out", 5).await;
    committed(kafka, "connect-dlq", "dlq-in", "0", "60").await;
    committed(kafka, "connect-dlq", "dlq-in", "1", "60").await;
    assert_eq!(
        read(kafka.bootstrap(), "dlq-out").await.len(),
        5,
        "nothing else follows"
    );

    let source = read(kafka.bootstrap(), "dlq-in").await;
    let mut found = Vec::new();
    for letter in &letters {
        let headers = letter["headers"].as_array().unwrap();
        let at = headers
            .iter()
            .rposition(|header| header["key"] == "__connect.errors.topic");
        let (own, context) = headers.split_at(at.unwrap());
        let context = text(context);
        let (partition, offset) = (
            of(&context, "__connect.errors.partition").parse::<i64>().unwrap(),
            of(&context, "__connect.errors.offset").parse::<i64>().unwrap(),
        );
        let original = source
            .iter()
            .find(|record| record["partition"] == partition && record["offset"] == offset)
            .unwrap();
        for part in ["key", "value", "timestamp", "timestampType"] {
            assert_eq!(letter[part], original[part], "{part} of {partition}@{offset}");
        }
        assert_eq!(json!(own), original["headers"], "headers of {partition}@{offset}");
        assert_eq!(letter["partition"], 0, "the topic was made with one partition");
        found.push(offset * 2 + partition);

        let keys: Vec<&str> = context.iter().map(|(key, _)| key.as_str()).collect();
        let ten = [
            "__connect.errors.topic",
            "__connect.errors.partition",
            "__connect.errors.offset",
            "__connect.errors.connector.name",
            "__connect.errors.task.id",
            "__connect.errors.stage",
            "__connect.errors.class.name",
            "__connect.errors.exception.class.name",
            "__connect.errors.exception.message",
            "__connect.errors.exception.stacktrace",
        ];
        assert_eq!(keys[..10], ten);
        assert_eq!(of(&context, "__connect.errors.topic"), "dlq-in");
        assert_eq!(of(&context, "__connect.errors.connector.name"), "dlq");
        assert_eq!(of(&context, "__connect.errors.task.id"), "0");
        let stage = of(&context, "__connect.errors.stage");
        let class = of(&context, "__connect.errors.class.name");
        if [17, 60].contains(&(offset * 2 + partition)) {
            assert_eq!(
                (stage, class),
                ("VALUE_CONVERTER", "org.apache.kafka.connect.json.JsonConverter")
            );
            assert_eq!(
                of(&context, "__connect.errors.exception.class.name"),
                "org.apache.kafka.connect.errors.DataException"
            );
            assert_eq!(keys.len(), 10);
        } else {
            assert_eq!((stage, class), ("TASK_PUT", "org.apache.kafka.connect.sink.SinkTask"));
            assert_eq!(of(&context, "__connect.errors.exception.class.name"), "ValueError");
            assert_eq!(of(&context, "__klamm.errors.class"), "ValueError");
            assert!(of(&context, "__klamm.errors.function").contains("dlq-fn"));
            assert!(of(&context, "__klamm.errors.attempts").parse::<u32>().unwrap() >= 3);
            assert!(!of(&context, "__klamm.errors.request.id").is_empty());
        }
    }
    found.sort_unstable();
    assert_eq!(found, [17, 33, 34, 60, 99]);
    lambda.with_log(|log| {
        let times = accepted(log, "dlq-fn", "dlq-in");
        assert_eq!(times.len(), 115, "every good record is delivered");
        assert!(times.values().all(|times| *times == 1), "and none twice");
    });
    let described = kafka
        .tool("topics", &["--describe", "--topic", "dlq-out"])
        .await
        .unwrap();
    assert!(described.contains("PartitionCount: 1"), "{described}");
    assert!(
        !worker.log().contains("secret answer"),
        "a function's answer reached the log"
    );
    let letters = format!("{letters:?}");
    assert!(
        !letters.contains(&b64("secret answer")),
        "a function's answer reached the queue"
    );
    let settings = worker.terminate().await.unwrap();
    assert!(settings.log().contains("dead_lettered=5"), "{}", settings.log());
}

#[tokio::test]
async fn a_queue_that_is_away_holds_its_partition_and_loses_nothing() {
    let Some(kafka) = Broker::shared() else { return };
    let Some(elsewhere) = Broker::own(&[]) else { return };
    let lambda = FakeLambda::start().await.unwrap();
    lambda.function("away-dlq-fn").respond_with(|invocation| {
        if String::from_utf8_lossy(&invocation.body).contains("\"poison\":true") {
            Answer::exception(klamm_dev::Exception::InvalidRequestContentException)
        } else {
            Answer::success("null")
        }
    });
    let create_topic = json!({ "op": "create", "topic": "away-in", "partitions": 2 });
    python(kafka.bootstrap(), &[create_topic]).await.unwrap();
    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    let settings = [
        ("aws.lambda.function.name", "away-dlq-fn"),
        ("behavior.on.error", "dlq"),
        ("errors.tolerance", "all"),
        ("errors.deadletterqueue.topic.name", "away-out"),
        ("errors.deadletterqueue.topic.replication.factor", "1"),
        ("producer.override.bootstrap.servers", elsewhere.bootstrap()),
    ];
    create(&worker, "away-dlq", &lambda_sink(&lambda, "away-in", &settings)).await;
    wait::until("the topic to be made", wait::LIMIT, || async {
        worker.log().contains("dead letter queue `away-out`").then_some(())
    })
    .await
    .unwrap();
    elsewhere.stop(1).await.unwrap();

    let record = |partition: i32, value: &str| json!({ "partition": partition, "key": b64("k"), "value": b64(value) });
    let mut records = vec![
        record(0, "{\"id\":0}"),
        record(0, "{\"poison\":true}"),
        record(0, "{broken"),
    ];
    records.extend((3..20).map(|n| record(0, &format!("{{\"id\":{n}}}"))));
    records.extend((0..20).map(|n| record(1, &format!("{{\"id\":{n}}}"))));
    let produce = json!({ "op": "produce", "topic": "away-in", "records": records });
    python(kafka.bootstrap(), &[produce]).await.unwrap();
    let shown = wait::until("the status to say what is waited for", wait::LIMIT, || async {
        let status = worker.rest().get("/connectors/away-dlq/status").await.ok()?.json();
        let task = &status["tasks"][0];
        let trace = task["trace"].as_str()?;
        (task["state"] == "RUNNING" && trace.contains(elsewhere.bootstrap())).then(|| trace.to_owned())
    });
    let trace = shown
        .await
        .unwrap_or_else(|error| panic!("{error:#}\n{}", worker.log()));
    for wanted in ["dead letter queue `away-out`", "none is skipped"] {
        assert!(trace.contains(wanted), "no {wanted} in: {trace}");
    }
    committed(kafka, "connect-away-dlq", "away-in", "0", "1").await;
    committed(kafka, "connect-away-dlq", "away-in", "1", "20").await;

    // A stop does not wait for it, and what follows is not lost either.
    let worker = worker.terminate().await.unwrap().start().await.unwrap();
    tasks_are(&worker, "away-dlq", &["RUNNING"]).await;
    elsewhere.start_again(1).await.unwrap();
    committed(kafka, "connect-away-dlq", "away-in", "0", "20").await;
    let letters = read(elsewhere.bootstrap(), "away-out").await;
    let mut values: Vec<_> = letters.iter().map(|letter| letter["value"].as_str().unwrap()).collect();
    values.sort_unstable();
    let mut wanted = [b64("{\"poison\":true}"), b64("{broken")];
    wanted.sort_unstable();
    assert_eq!(values, wanted);
    assert!(
        letters.iter().all(|letter| letter["headers"] == json!([])),
        "no context unless it is asked for"
    );
    lambda.with_log(|log| {
        let times = accepted(log, "away-dlq-fn", "away-in");
        assert_eq!(times.len(), 38, "every good record is delivered");
    });
    wait::until("the status to be clear", wait::LIMIT, || async {
        let status = worker.rest().get("/connectors/away-dlq/status").await.ok()?.json();
        (status["tasks"][0]["trace"] == Value::Null).then_some(())
    })
    .await
    .unwrap();
    worker.terminate().await.unwrap();
}

#[tokio::test]
async fn what_kafka_refuses_fails_the_task_and_says_what_to_change() {
    let Some(kafka) = Broker::shared() else { return };
    let lambda = FakeLambda::start().await.unwrap();
    lambda.function("refused-fn");
    let ops = [
        json!({ "op": "create", "topic": "refused-in" }),
        json!({ "op": "create", "topic": "refused-out", "config": { "max.message.bytes": "500" } }),
        json!({ "op": "produce", "topic": "refused-in", "records": [
            { "value": b64("{\"id\":0}") }, { "value": b64(format!("{{broken {}", "x".repeat(1000))) },
        ] }),
    ];
    python(kafka.bootstrap(), &ops).await.unwrap();
    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    let config = |topic: &str| {
        let settings = [
            ("aws.lambda.function.name", "refused-fn"),
            ("errors.tolerance", "all"),
            ("errors.deadletterqueue.topic.name", topic),
        ];
        lambda_sink(&lambda, "refused-in", &settings)
    };
    create(&worker, "too-large", &config("refused-out")).await;
    create(&worker, "too-many", &config("refused-new")).await;
    for (connector, wanted) in [
        (
            "too-large",
            ["refused-in-0@1", "dead letter queue `refused-out`", "max.message.bytes"],
        ),
        (
            "too-many",
            [
                "dead letter queue `refused-new`",
                "3 replicas",
                "errors.deadletterqueue.topic.replication.factor",
            ],
        ),
    ] {
        let status = tasks_are(&worker, connector, &["FAILED"]).await;
        let trace = status["tasks"][0]["trace"].as_str().unwrap();
        for wanted in wanted {
            assert!(trace.contains(wanted), "no {wanted} in: {trace}");
        }
    }
    committed(kafka, "connect-too-large", "refused-in", "0", "1").await;
    worker.terminate().await.unwrap();
}

#[tokio::test]
async fn a_record_that_fails_its_task_is_reported_first() {
    let Some(kafka) = Broker::shared() else { return };
    let lambda = FakeLambda::start().await.unwrap();
    lambda.function("reported-fn");
    let ops = [
        json!({ "op": "create", "topic": "reported-in" }),
        json!({ "op": "produce", "topic": "reported-in", "records": [
            { "value": b64("{\"id\":0}") }, { "value": b64("{broken") }, { "value": b64("{\"id\":2}") },
        ] }),
    ];
    python(kafka.bootstrap(), &ops).await.unwrap();
    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    let settings = [
        ("aws.lambda.function.name", "reported-fn"),
        ("errors.deadletterqueue.topic.name", "reported-out"),
        ("errors.deadletterqueue.topic.replication.factor", "1"),
    ];
    create(&worker, "reported", &lambda_sink(&lambda, "reported-in", &settings)).await;
    tasks_are(&worker, "reported", &["FAILED"]).await;
    let letters = filled(kafka.bootstrap(), "reported-out", 1).await;
    assert_eq!(letters[0]["value"], b64("{broken"));
    committed(kafka, "connect-reported", "reported-in", "0", "1").await;
    worker.terminate().await.unwrap();
}

#[tokio::test]
async fn a_dead_letter_that_is_too_large_loses_its_trace_first_and_then_fails_the_task() {
    let Some(kafka) = Broker::shared() else { return };
    let lambda = FakeLambda::start().await.unwrap();
    lambda.function("cut-fn");
    // The second fits only without the trace, whose size is that of the message.
    let record = |bytes: usize| json!({ "value": b64(format!("{{broken {}", "x".repeat(bytes))) });
    let ops = [
        json!({ "op": "create", "topic": "cut-in" }),
        json!({ "op": "produce", "topic": "cut-in", "records": [record(10), record(1350), record(2000)] }),
    ];
    python(kafka.bootstrap(), &ops).await.unwrap();
    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    let settings = [
        ("aws.lambda.function.name", "cut-fn"),
        ("errors.tolerance", "all"),
        ("errors.deadletterqueue.topic.name", "cut-out"),
        ("errors.deadletterqueue.topic.replication.factor", "1"),
        ("errors.deadletterqueue.context.headers.enable", "true"),
        ("producer.override.max.request.size", "2048"),
    ];
    create(&worker, "cut", &lambda_sink(&lambda, "cut-in", &settings)).await;
    let status = tasks_are(&worker, "cut", &["FAILED"]).await;
    let trace = status["tasks"][0]["trace"].as_str().unwrap();
    for wanted in [
        "cut-in-0@2",
        "dead letter queue `cut-out`",
        "raise `producer.override.max.request.size`",
    ] {
        assert!(trace.contains(wanted), "no {wanted} in: {trace}");
    }
    let letters = filled(kafka.bootstrap(), "cut-out", 2).await;
    let trace_of = |letter: &Value| {
        let headers = text(letter["headers"].as_array().unwrap());
        of(&headers, "__connect.errors.exception.stacktrace").to_owned()
    };
    assert!(trace_of(&letters[0]).contains("DataException"), "as it is");
    assert_eq!(trace_of(&letters[1]), "", "cut");
    worker.terminate().await.unwrap();
}

/// Large dead letters among small ones, as they lie in a queue with these settings. A failure may have some written twice.
async fn mixed_letters(name: &str, settings: &[(&str, &str)], queue: Value) -> Option<Vec<Value>> {
    let kafka = Broker::shared()?;
    let lambda = FakeLambda::start().await.unwrap();
    let (function, input, output) = (format!("{name}-fn"), format!("{name}-in"), format!("{name}-out"));
    lambda.function(&function);
    let record = |bytes: usize| json!({ "value": b64(format!("{{broken {}", "x".repeat(bytes))) });
    let records: Vec<Value> = (0..80).map(|n| record(if n % 2 == 0 { 1350 } else { 10 })).collect();
    let ops = [
        json!({ "op": "create", "topic": input }),
        json!({ "op": "create", "topic": output, "config": queue }),
        json!({ "op": "produce", "topic": input, "records": records }),
    ];
    python(kafka.bootstrap(), &ops).await.unwrap();
    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    let base = [
        ("aws.lambda.function.name", &*function),
        ("errors.tolerance", "all"),
        ("errors.deadletterqueue.topic.name", &*output),
        ("errors.deadletterqueue.context.headers.enable", "true"),
    ];
    create(
        &worker,
        name,
        &lambda_sink(&lambda, &input, &[&base, settings].concat()),
    )
    .await;
    committed(kafka, &format!("connect-{name}"), &input, "0", "80").await;
    let letters = filled(kafka.bootstrap(), &output, 80).await;
    worker.terminate().await.unwrap();
    Some(letters)
}

/// Of each its offset, and whether its trace is cut.
fn cuts(letters: &[Value]) -> Vec<(usize, bool)> {
    let headers = letters.iter().map(|letter| text(letter["headers"].as_array().unwrap()));
    let shown = headers.map(|headers| {
        let offset = of(&headers, "__connect.errors.offset").parse().unwrap();
        (offset, of(&headers, "__connect.errors.exception.stacktrace").is_empty())
    });
    shown.collect()
}

// Each letter that was too large cost a wait, and the waits grew: forty of them took minutes.
#[tokio::test]
async fn many_dead_letters_that_are_too_large_are_cut_at_once_and_in_order() {
    let settings = [("producer.override.max.request.size", "2048")];
    let Some(found) = mixed_letters("cuts", &settings, json!({})).await else {
        return;
    };
    let wanted: Vec<(usize, bool)> = (0..80).map(|n| (n, n % 2 == 0)).collect();
    assert_eq!(cuts(&found), wanted);
}

// What stood behind a letter that the topic refused was written before its shorter form.
#[tokio::test]
async fn dead_letters_that_the_topic_refuses_are_overtaken_by_none() {
    let Some(whole) = mixed_letters("not-overtaken", &[], json!({})).await else {
        return;
    };
    let headers = text(whole[0]["headers"].as_array().unwrap());
    let trace = of(&headers, "__connect.errors.exception.stacktrace").len();
    let size = plain(&whole[0]["value"]).len()
        + headers
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum::<usize>();
    // A batch of one record has about a hundred bytes around that.
    let limit = (size + 100 - trace / 2).to_string();
    let found = mixed_letters("overtaken", &[], json!({ "max.message.bytes": limit })).await;
    let mut last = cuts(&found.unwrap());
    last.reverse();
    let mut seen = std::collections::BTreeSet::new();
    last.retain(|(offset, _)| seen.insert(*offset));
    last.reverse();
    let wanted: Vec<(usize, bool)> = (0..80).map(|n| (n, n % 2 == 0)).collect();
    assert_eq!(last, wanted, "the last copy of each, in order");
}

/// Settings, the key that is named, what is said of it.
type Refused<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a str);

#[tokio::test]
async fn a_queue_without_a_name_or_among_the_inputs_is_refused() {
    let Some(kafka) = Broker::shared() else { return };
    let lambda = FakeLambda::start().await.unwrap();
    lambda.function("refused-dlq");
    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    let by_routes = [("routes", "a"), ("routes.a.topics", "t"), ("routes.a.function", "f")];
    let cases: [Refused<'_>; 4] = [
        (
            &[("behavior.on.error", "dlq"), ("aws.lambda.function.name", "f")],
            "errors.deadletterqueue.topic.name",
            "`behavior.on.error=dlq` needs",
        ),
        (
            &[
                by_routes[0],
                by_routes[1],
                by_routes[2],
                ("routes.a.behavior.on.error", "DLQ"),
            ],
            "errors.deadletterqueue.topic.name",
            "`routes.a.behavior.on.error=dlq` needs",
        ),
        (
            &[
                ("errors.deadletterqueue.topic.name", "u"),
                ("topics", "t,u"),
                ("aws.lambda.function.name", "f"),
            ],
            "topics",
            "The DLQ topic 'u' may not be included in the list of topics ('topics=[t, u]') consumed by the connector",
        ),
        (
            &[
                ("errors.deadletterqueue.topic.name", "u-dlq"),
                ("topics", ""),
                ("topics.regex", "u.*"),
                ("aws.lambda.function.name", "f"),
            ],
            "topics.regex",
            "The DLQ topic 'u-dlq' may not be included in the regex matching topics ('topics.regex=u.*')",
        ),
    ];
    for (settings, key, wanted) in cases {
        is_refused(&worker, &lambda_sink(&lambda, "t", settings), key, wanted).await;
    }
    worker.terminate().await.unwrap();
}

#[tokio::test]
async fn a_record_without_a_function_goes_there_too() {
    let Some(kafka) = Broker::shared() else { return };
    let lambda = FakeLambda::start().await.unwrap();
    lambda.function("routed-fn");
    let record = |id: i64| json!([{ "value": b64(format!("{{\"id\":{id}}}")) }]);
    let ops = [
        json!({ "op": "create", "topic": "unrouted-a" }),
        json!({ "op": "create", "topic": "unrouted-b" }),
        json!({ "op": "produce", "topic": "unrouted-a", "records": record(1) }),
        json!({ "op": "produce", "topic": "unrouted-b", "records": record(2) }),
    ];
    python(kafka.bootstrap(), &ops).await.unwrap();
    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    let settings = [
        ("topics", ""),
        ("topics.regex", "unrouted-[ab]"),
        ("aws.lambda.configuration.mode", "multiple"),
        ("aws.lambda.topic2function.map", "unrouted-a;routed-fn"),
        ("behavior.on.error", "dlq"),
        ("errors.deadletterqueue.topic.name", "unrouted-out"),
        ("errors.deadletterqueue.topic.replication.factor", "1"),
        ("errors.deadletterqueue.context.headers.enable", "true"),
    ];
    create(&worker, "unrouted", &lambda_sink(&lambda, "", &settings)).await;
    let letters = filled(kafka.bootstrap(), "unrouted-out", 1).await;
    assert_eq!(letters[0]["value"], b64("{\"id\":2}"));
    let headers = text(letters[0]["headers"].as_array().unwrap());
    assert_eq!(of(&headers, "__connect.errors.topic"), "unrouted-b");
    assert_eq!(of(&headers, "__connect.errors.stage"), "TASK_PUT");
    assert_eq!(headers.len(), 10);
    committed(kafka, "connect-unrouted", "unrouted-b", "0", "1").await;
    lambda
        .wait_for("the other record", |log| {
            accepted(log, "routed-fn", "unrouted-a").len() == 1
        })
        .await
        .unwrap();
    worker.terminate().await.unwrap();
}
