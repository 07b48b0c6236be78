//! The sink against a stand-in for the Invoke API, over real sockets.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use klamm_connect_api::sink::{
    Call, Outcome, Predicates, RouteIndex, Sink, SinkConnector, SinkContext, ThrottleScope, Verdict,
};
use klamm_connect_api::{Datum, Origin, RawConfig, Record, TopicPartition};
use klamm_dev::{Answer, Credentials, Exception, FakeLambda, InvocationType, ThrottleReason};
use klamm_lambda_sink::LambdaSinkConnector;

fn config(endpoint: &str, entries: &[(&str, &str)]) -> RawConfig {
    let mut raw: RawConfig = [
        ("connector.class", "AwsLambdaSink"),
        ("aws.lambda.region", "eu-west-1"),
        ("aws.lambda.endpoint", endpoint),
        ("aws.access.key.id", "AKIDEXAMPLE"),
        ("aws.secret.access.key", "example-secret"),
        ("aws.lambda.function.name", "order-fn"),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect();
    raw.extend(
        entries
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
    );
    raw
}

fn open(connector: &LambdaSinkConnector, raw: &RawConfig) -> Arc<dyn Sink> {
    let parsed = connector.config_def(raw).parse(raw).unwrap();
    assert_eq!(connector.validate(raw, &parsed), []);
    connector
        .open(SinkContext {
            connector: "c",
            task: 0,
            raw,
            config: &parsed,
            predicates: &Predicates::new(),
            bootstrap_servers: &[],
            keeps_results: false,
        })
        .unwrap()
}

fn sink(lambda: &FakeLambda, entries: &[(&str, &str)]) -> Arc<dyn Sink> {
    open(&LambdaSinkConnector::default(), &config(&lambda.endpoint(), entries))
}

/// A call with two records of `orders-0`.
fn call(sink: &dyn Sink) -> Call {
    let route = RouteIndex(0);
    let partition = TopicPartition::new("orders", 0);
    let mut builder = sink.payload_builder(route);
    let origins: Vec<_> = (7..9)
        .map(|offset| Origin {
            topic_partition: partition.clone(),
            offset,
        })
        .collect();
    for origin in &origins {
        let record = Record::new(origin.clone(), Datum::NULL, Datum::NULL);
        builder.push(origin, &sink.encode(route, &record).unwrap());
    }
    Call {
        route,
        body: builder.finish(),
        origins: origins.into(),
        timestamps: [None; 2].into(),
    }
}

async fn send(sink: &dyn Sink) -> Verdict {
    sink.send(call(sink)).await
}

#[tokio::test]
async fn a_synchronous_call_is_signed_and_carries_the_payload() {
    let credentials = Credentials {
        access_key_id: "AKIDEXAMPLE".to_owned(),
        secret_access_key: "example-secret".to_owned(),
        session_token: None,
    };
    let lambda = FakeLambda::builder()
        .verify_signatures(credentials)
        .start()
        .await
        .unwrap();
    lambda.function("order-fn");
    // Every form of a name, since `:` and `$` are what signatures stumble over.
    for (function, qualifier) in [
        ("order-fn", None),
        ("order-fn:prod", Some("prod")),
        ("order-fn:$LATEST", Some("$LATEST")),
        ("123456789012:function:order-fn", None),
        ("arn:aws:lambda:eu-west-1:123456789012:function:order-fn:7", Some("7")),
    ] {
        let sink = sink(&lambda, &[("aws.lambda.function.name", function)]);
        assert_eq!(send(&*sink).await, Verdict::Accepted, "{function}");
        let last = lambda.with_log(|log| log.invocations().last().cloned().unwrap());
        assert_eq!(
            (&*last.function, last.qualifier.as_deref()),
            ("order-fn", qualifier),
            "{function}"
        );
        assert_eq!(last.invocation_type, InvocationType::RequestResponse);
        assert_eq!(last.body, call(&*sink).body);
    }
    let wrong = sink(&lambda, &[("aws.secret.access.key", "another")]);
    let Verdict::Unusable { failure } = send(&*wrong).await else {
        panic!("a wrong secret is refused")
    };
    assert!(
        failure.message.contains("check the access key, and the clock"),
        "{failure}"
    );
    lambda.shutdown().await;
}

#[tokio::test]
async fn a_session_token_is_signed_too() {
    let credentials = Credentials {
        access_key_id: "AKIDEXAMPLE".to_owned(),
        secret_access_key: "example-secret".to_owned(),
        session_token: Some("token".to_owned()),
    };
    let lambda = FakeLambda::builder()
        .verify_signatures(credentials)
        .start()
        .await
        .unwrap();
    lambda.function("order-fn");
    assert_eq!(
        send(&*sink(&lambda, &[("aws.session.token", "token")])).await,
        Verdict::Accepted
    );
}

#[tokio::test]
async fn an_asynchronous_call_is_done_when_it_is_queued() {
    let lambda = FakeLambda::start().await.unwrap();
    lambda
        .function("order-fn")
        .respond(Answer::function_error("ValueError", "never seen"));
    let sink = sink(&lambda, &[("aws.lambda.invocation.type", "async")]);
    assert_eq!(&*sink.routes()[0].destination, "order-fn (async)");
    assert_eq!(send(&*sink).await, Verdict::Accepted);
    lambda.with_log(|log| assert_eq!(log.invocations().next().unwrap().invocation_type, InvocationType::Event));
}

#[tokio::test]
async fn failures_of_the_function_and_of_the_service_become_their_verdicts() {
    let lambda = FakeLambda::start().await.unwrap();
    let function = lambda.function("order-fn");
    let sink = sink(&lambda, &[]);

    function.script([Answer::function_error("ValueError", "holds a payload")]);
    let Verdict::Failed { failure } = send(&*sink).await else {
        panic!("a function error")
    };
    assert_eq!(&*failure.class, "ValueError");
    assert!(!failure.message.contains("payload"), "{failure}");
    let request_id = lambda.with_log(|log| log.invocations().last().unwrap().request_id());
    assert_eq!(failure.request_id.as_deref(), Some(request_id.as_str()));

    function.script([Answer::throttled(
        ThrottleReason::ConcurrentInvocationLimitExceeded,
        Some(3),
    )]);
    let Verdict::Throttled { by, after, .. } = send(&*sink).await else {
        panic!("a throttle")
    };
    assert_eq!((by, after), (ThrottleScope::Account, Some(Duration::from_secs(3))));

    function.script([Answer::exception(Exception::ServiceException)]);
    assert!(matches!(
        send(&*sink).await,
        Verdict::Retry {
            outcome: Outcome::Unknown,
            ..
        }
    ));

    function.script([Answer::exception(Exception::RequestTooLargeException)]);
    assert!(matches!(send(&*sink).await, Verdict::Poison { .. }));

    lambda.remove_function("order-fn");
    let Verdict::Unusable { failure } = send(&*sink).await else {
        panic!("a missing function")
    };
    assert_eq!(&*failure.class, "ResourceNotFoundException");
    assert!(failure.message.contains("`order-fn` in eu-west-1"), "{failure}");
}

#[tokio::test]
async fn every_exception_arrives_under_its_name_sync_and_async() {
    let lambda = FakeLambda::start().await.unwrap();
    let function = lambda.function("order-fn");
    for invocation in ["sync", "async"] {
        let sink = sink(&lambda, &[("aws.lambda.invocation.type", invocation)]);
        for exception in Exception::ALL {
            function.script([Answer::exception(*exception)]);
            let verdict = send(&*sink).await;
            let failure = match &verdict {
                Verdict::Retry {
                    failure,
                    outcome: Outcome::NotRun | Outcome::Unknown,
                    ..
                }
                | Verdict::Throttled { failure, .. }
                | Verdict::Poison { failure }
                | Verdict::Unusable { failure } => failure,
                other => panic!("{exception:?}: {other:?}"),
            };
            assert_eq!(&*failure.class, exception.name(), "{verdict:?}");
        }
    }
}

#[tokio::test]
async fn a_connection_that_breaks_after_the_request_leaves_the_outcome_open() {
    let lambda = FakeLambda::start().await.unwrap();
    let function = lambda.function("order-fn");
    let sink = sink(&lambda, &[]);
    for (answer, why) in [
        (Answer::reset(), "reset"),
        (Answer::close(), "closed"),
        (Answer::half("\"half of this\""), "half an answer"),
    ] {
        function.script([answer]);
        let verdict = send(&*sink).await;
        assert!(
            matches!(
                verdict,
                Verdict::Retry {
                    outcome: Outcome::MayHaveRun,
                    ..
                }
            ),
            "{why}: {verdict:?}"
        );
        assert_eq!(
            send(&*sink).await,
            Verdict::Accepted,
            "after {why} the next call goes through"
        );
    }
    assert_eq!(function.counts().calls, 6, "nothing is sent again in here");
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_has_not_run_the_function() {
    let lambda = FakeLambda::start().await.unwrap();
    let sink = sink(&lambda, &[]);
    lambda.shutdown().await;
    let Verdict::Retry { outcome, failure, .. } = send(&*sink).await else {
        panic!("nobody listens")
    };
    assert_eq!((outcome, &*failure.class), (Outcome::NotRun, "ConnectFailed"));
    assert!(failure.message.contains("cannot be reached"), "{failure}");
}

// A load balancer that takes connections and then says nothing: the call was judged as one that took too long, so the
// records lost an attempt, and were skipped or failed the task in the end.
#[tokio::test]
async fn an_endpoint_that_hangs_in_the_handshake_has_not_run_the_function() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("https://{}", listener.local_addr().unwrap());
    let raw = config(&endpoint, &[("aws.lambda.socket.timeout", "1000")]);
    let sink = open(&LambdaSinkConnector::default(), &raw);
    let call_timeout = sink.routes()[0].delivery.call_timeout;
    let verdict = tokio::time::timeout(call_timeout, send(&*sink)).await;
    let Ok(Verdict::Retry { outcome, failure, .. }) = &verdict else {
        panic!("{verdict:?}")
    };
    assert_eq!((*outcome, &*failure.class), (Outcome::NotRun, "ConnectFailed"));
    drop(listener);
}

#[tokio::test]
async fn of_a_long_answer_only_the_beginning_is_kept() {
    let lambda = FakeLambda::start().await.unwrap();
    let long = format!("\"{}\"", "x".repeat(5 * 1024 * 1024));
    lambda.function("order-fn").respond(Answer::success(long));
    assert_eq!(send(&*sink(&lambda, &[])).await, Verdict::Accepted);
    // Where the answer counts, one that was not read to its end is a failure.
    let esm = sink(
        &lambda,
        &[("event.format", "esm"), ("aws.lambda.response.max.bytes", "1024")],
    );
    let Verdict::Failed { failure } = send(&*esm).await else {
        panic!("an answer that counts")
    };
    assert!(
        failure.message.contains("raise `aws.lambda.response.max.bytes`"),
        "{failure}"
    );
}

#[tokio::test]
async fn batch_item_failures_come_back_as_a_partial_verdict() {
    let lambda = FakeLambda::start().await.unwrap();
    let body = r#"{"batchItemFailures":[{"itemIdentifier":{"partition":"orders-0","offset":8}}]}"#;
    lambda.function("order-fn").respond(Answer::success(body));
    let sink = sink(&lambda, &[("event.format", "esm")]);
    let Verdict::PartlyAccepted { failed, .. } = send(&*sink).await else {
        panic!("partial")
    };
    assert_eq!(failed, [1]);
}

#[tokio::test]
async fn a_record_without_a_function_names_topic_and_setting() {
    let lambda = FakeLambda::start().await.unwrap();
    let raw = config(
        &lambda.endpoint(),
        &[
            ("aws.lambda.configuration.mode", "multiple"),
            ("aws.lambda.topic2function.map", "orders;order-fn,orders;audit-fn"),
        ],
    );
    let raw: RawConfig = raw
        .into_iter()
        .filter(|(key, _)| key != "aws.lambda.function.name")
        .collect();
    let sink = open(&LambdaSinkConnector::default(), &raw);
    let mut routes = Vec::new();
    let origin = |topic: &str| Origin {
        topic_partition: TopicPartition::new(topic, 0),
        offset: 0,
    };
    sink.route(
        &mut Record::new(origin("orders"), Datum::NULL, Datum::NULL),
        &mut routes,
    )
    .unwrap();
    assert_eq!(routes, [RouteIndex(0), RouteIndex(1)], "fan-out");
    let error = sink
        .route(&mut Record::new(origin("other"), Datum::NULL, Datum::NULL), &mut routes)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "no function takes records of topic `other`: give it one in `aws.lambda.topic2function.map`"
    );
}

#[tokio::test]
async fn billed_time_is_counted_where_the_log_is_asked_for_and_nothing_of_the_log_is_told() {
    use base64::Engine as _;

    let lambda = FakeLambda::start().await.unwrap();
    let log = "a secret of the function\nREPORT RequestId: 1\tDuration: 99.1 ms\tBilled Duration: 100 ms\tMemory Size: 1024 MB\n";
    let log = HeaderValue::try_from(base64::engine::general_purpose::STANDARD.encode(log)).unwrap();
    lambda.function("order-fn").respond_with(move |invocation| {
        let asks = invocation
            .headers
            .get("x-amz-log-type")
            .is_some_and(|kind| kind == "Tail");
        let answer = Answer::success("null");
        if asks {
            answer.with_header(HeaderName::from_static("x-amz-log-result"), log.clone())
        } else {
            answer
        }
    });
    let silent = sink(&lambda, &[]);
    assert_eq!(send(&*silent).await, Verdict::Accepted);
    assert_eq!(silent.usage(RouteIndex(0)), None, "it was not asked for");
    let prices = [
        ("aws.lambda.log.tail", "true"),
        ("aws.lambda.price.request", "0.5"),
        ("aws.lambda.price.gb.second", "10"),
    ];
    let asking = sink(&lambda, &prices);
    for _ in 0..2 {
        assert_eq!(send(&*asking).await, Verdict::Accepted);
    }
    let usage = asking.usage(RouteIndex(0)).unwrap();
    assert_eq!((usage.billed_calls, usage.billed.as_millis()), (2, 200));
    assert!((usage.estimated_cost.unwrap() - 3.0).abs() < 1e-9, "{usage:?}");
    let asynchronous = sink(
        &lambda,
        &[("aws.lambda.log.tail", "true"), ("aws.lambda.invocation.type", "async")],
    );
    assert_eq!(asynchronous.usage(RouteIndex(0)), None, "nobody answers with a log");
    lambda.shutdown().await;
}
