//! Conditions, weights, names by topic, headers and preflight, against a stand-in for the Invoke API.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::io::Read as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use klamm_connect_api::sink::{
    Call, Predicates, PreflightError, RouteError, RouteIndex, Sink, SinkConnector, SinkContext, Verdict,
};
use klamm_connect_api::{
    ConfigDef, ConfigError, ConfigKey, ConfigType, DataError, Datum, Importance, Origin, PluginInfo, PluginKind,
    Predicate, PredicatePlugin, RawConfig, Record, SchemaAndValue, TopicPartition, Value,
};
use klamm_dev::{Answer, Exception, FakeLambda, InvocationType, Recorded};
use klamm_lambda_sink::LambdaSinkConnector;

/// Holds for records whose topic ends as it says.
#[derive(Debug)]
struct TopicEnds(String);

impl Predicate for TopicEnds {
    fn test(&self, record: &mut Record) -> Result<bool, DataError> {
        Ok(record.topic.ends_with(&self.0))
    }
}

/// A language of patterns for these tests: how topics end. A pattern that begins with `!` is wrong.
fn patterns() -> PredicatePlugin {
    PredicatePlugin {
        info: PluginInfo {
            kind: PluginKind::Predicate,
            class: "test.TopicEnds",
            aliases: &[],
            version: "1",
        },
        config_def: || ConfigDef::new().key(ConfigKey::new("pattern", ConfigType::String, Importance::High, "")),
        create: |config| match config.str("pattern").unwrap_or_default() {
            wrong if wrong.starts_with('!') => Err(ConfigError::new("pattern", "is wrong").into()),
            text => Ok(Arc::new(TopicEnds(text.to_owned()))),
        },
    }
}

fn raw(lambda: &FakeLambda, entries: &[(&str, &str)]) -> RawConfig {
    let endpoint = lambda.endpoint();
    let base = [
        ("connector.class", "AwsLambdaSink"),
        ("aws.lambda.region", "eu-west-1"),
        ("aws.lambda.endpoint", endpoint.as_str()),
        ("aws.access.key.id", "AKIDEXAMPLE"),
        ("aws.secret.access.key", "example-secret"),
    ];
    base.iter()
        .chain(entries)
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn connector() -> LambdaSinkConnector {
    LambdaSinkConnector::default().with_patterns(patterns())
}

fn open(raw: &RawConfig) -> Arc<dyn Sink> {
    let connector = connector();
    let parsed = connector.config_def(raw).parse(raw).unwrap();
    assert_eq!(connector.validate(raw, &parsed), []);
    let mut predicates = Predicates::new();
    predicates.insert("new".to_owned(), Arc::new(TopicEnds("new".to_owned())));
    connector
        .open(SinkContext {
            connector: "c",
            task: 0,
            raw,
            config: &parsed,
            predicates: &predicates,
            bootstrap_servers: &["b1:9092".into(), "b2:9092".into()],
            keeps_results: false,
        })
        .unwrap()
}

fn record(topic: &str, offset: i64) -> Record {
    let origin = Origin {
        topic_partition: TopicPartition::new(topic, 0),
        offset,
    };
    Record::new(origin, Datum::NULL, Datum::NULL)
}

/// Sends records in one call.
async fn send(sink: &dyn Sink, route: usize, records: &[Record]) -> Verdict {
    let route = RouteIndex(route);
    let mut builder = sink.payload_builder(route);
    for record in records {
        builder.push(record.origin(), &sink.encode(route, record).unwrap());
    }
    let origins = records.iter().map(|record| record.origin().clone()).collect();
    sink.send(Call {
        route,
        body: builder.finish(),
        origins,
        timestamps: records.iter().map(|record| record.timestamp).collect(),
    })
    .await
}

fn last(lambda: &FakeLambda) -> Recorded {
    lambda.with_log(|log| log.invocations().last().cloned().unwrap())
}

fn header(invocation: &Recorded, name: &str) -> Option<String> {
    Some(invocation.headers.get(name)?.to_str().unwrap().to_owned())
}

fn routes(sink: &dyn Sink, topic: &str) -> Result<Vec<usize>, RouteError> {
    let mut routes = Vec::new();
    sink.route(&mut record(topic, 0), &mut routes)?;
    Ok(routes.iter().map(|route| route.0).collect())
}

#[tokio::test]
async fn routes_filter_by_declared_predicates_and_by_patterns() {
    let lambda = FakeLambda::start().await.unwrap();
    let entries = [
        ("predicates", "new"),
        ("routes", "new,old,orders"),
        ("routes.new.topics.regex", ".*"),
        ("routes.new.function", "new-fn"),
        ("routes.new.predicate", "new"),
        ("routes.old.topics.regex", ".*"),
        ("routes.old.function", "old-fn"),
        ("routes.old.predicate", "new"),
        ("routes.old.negate", "true"),
        ("routes.orders.topics.regex", "order.*"),
        ("routes.orders.function", "order-fn"),
        ("routes.orders.pattern", "s"),
    ];
    let sink = open(&raw(&lambda, &entries));
    assert_eq!(routes(&*sink, "orders"), Ok(vec![1, 2]));
    assert_eq!(routes(&*sink, "orders-new"), Ok(vec![0]));

    let only = [
        ("routes", "orders"),
        ("routes.orders.topics", "orders"),
        ("routes.orders.function", "order-fn"),
        ("routes.orders.pattern", "nothing"),
    ];
    let sink = open(&raw(&lambda, &only));
    assert_eq!(routes(&*sink, "orders"), Ok(vec![]), "filtered on purpose");
    assert!(
        matches!(routes(&*sink, "refunds"), Err(RouteError::NoRoute(_))),
        "unknown"
    );

    let mut wrong = raw(&lambda, &only);
    wrong.insert("routes.orders.pattern".to_owned(), "!".to_owned());
    let parsed = connector().config_def(&wrong).parse(&wrong).unwrap();
    assert_eq!(
        connector().validate(&wrong, &parsed),
        [ConfigError::new("routes.orders.pattern", "is wrong")]
    );
    let without = LambdaSinkConnector::default().validate(&wrong, &parsed);
    assert_eq!(without[0].message, "this worker has no plugin for event patterns");
}

#[tokio::test]
async fn a_topic_chooses_its_function_within_what_is_allowed() {
    let lambda = FakeLambda::start().await.unwrap();
    lambda.function("fn-orders");
    let entries = [
        ("routes", "each"),
        ("routes.each.topics.regex", ".*"),
        ("routes.each.function", "fn-${topic}:live"),
        ("routes.each.function.allow", "fn-(orders|missing):live"),
    ];
    let sink = open(&raw(&lambda, &entries));
    assert_eq!(&*sink.routes()[0].destination, "fn-${topic}:live (sync)");
    assert_eq!(routes(&*sink, "orders"), Ok(vec![0]));
    assert_eq!(send(&*sink, 0, &[record("orders", 1)]).await, Verdict::Accepted);
    let call = last(&lambda);
    assert_eq!(
        (&*call.function, call.qualifier.as_deref()),
        ("fn-orders", Some("live"))
    );
    let Verdict::Unusable { failure } = send(&*sink, 0, &[record("missing", 1)]).await else {
        panic!("there is no such function")
    };
    assert!(failure.message.contains("function `fn-missing:live`"), "{failure}");
    let Err(RouteError::NoRoute(why)) = routes(&*sink, "secrets") else {
        panic!("not allowed")
    };
    assert_eq!(
        why,
        "topic `secrets` has no function: `fn-secrets:live` is no function that `fn-(orders|missing):live` allows"
    );
}

// Such a topic took the record away from the routes beside it.
#[tokio::test]
async fn a_topic_that_a_route_does_not_allow_still_goes_to_the_others() {
    let lambda = FakeLambda::start().await.unwrap();
    let entries = [
        ("routes", "all,each"),
        ("routes.all.topics.regex", "s.*"),
        ("routes.all.function", "audit"),
        ("routes.each.topics.regex", ".*"),
        ("routes.each.function", "fn-${topic}"),
        ("routes.each.function.allow", "fn-(orders|shops)"),
    ];
    let sink = open(&raw(&lambda, &entries));
    assert_eq!(routes(&*sink, "shops"), Ok(vec![0, 1]));
    assert_eq!(routes(&*sink, "secrets"), Ok(vec![0]));
    assert!(matches!(routes(&*sink, "refunds"), Err(RouteError::NoRoute(_))));
}

#[tokio::test]
async fn a_call_carries_tenant_execution_and_client_context() {
    let lambda = FakeLambda::start().await.unwrap();
    lambda.function("f");
    let entries = [
        ("aws.lambda.function.name", "f"),
        ("aws.lambda.tenant.id", "acme 1"),
        ("aws.lambda.durable.execution", "true"),
        ("aws.lambda.client.context", "true"),
    ];
    let sink = open(&raw(&lambda, &entries));
    let mut first = record("orders", 7);
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    first
        .headers
        .add("traceparent", SchemaAndValue::schemaless(Value::String(parent.into())));
    let batch = [first, record("orders", 8)];
    assert_eq!(send(&*sink, 0, &batch).await, Verdict::Accepted);
    let call = last(&lambda);
    assert_eq!(header(&call, "x-amz-tenant-id").as_deref(), Some("acme 1"));
    let execution = header(&call, "x-amz-durable-execution-name").unwrap();
    let context = BASE64.decode(header(&call, "x-amz-client-context").unwrap()).unwrap();
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&context).unwrap(),
        serde_json::json!({"custom": {
            "batchId": execution, "connector": "c", "route": "f", "records": "2", "coordinates": "orders-0@7-8",
            "traceparent": parent,
        }})
    );
    let payload: serde_json::Value = serde_json::from_slice(&call.body).unwrap();
    assert_eq!(payload.as_array().unwrap().len(), 2, "the payload is what it was");

    assert_eq!(send(&*sink, 0, &batch).await, Verdict::Accepted);
    assert_eq!(
        header(&last(&lambda), "x-amz-durable-execution-name").as_deref(),
        Some(execution.as_str()),
        "the batch keeps its name when it is sent again"
    );
    assert_eq!(send(&*sink, 0, &batch[1..]).await, Verdict::Accepted);
    assert_ne!(header(&last(&lambda), "x-amz-durable-execution-name"), Some(execution));

    let plain = open(&raw(&lambda, &[("aws.lambda.function.name", "f")]));
    assert_eq!(send(&*plain, 0, &batch).await, Verdict::Accepted);
    let call = last(&lambda);
    for name in [
        "x-amz-tenant-id",
        "x-amz-durable-execution-name",
        "x-amz-client-context",
    ] {
        assert_eq!(header(&call, name), None, "{name} only where it is asked for");
    }
}

#[tokio::test]
async fn the_esm_event_names_the_cluster_of_its_records() {
    let lambda = FakeLambda::start().await.unwrap();
    lambda.function("f");
    let entries = [("aws.lambda.function.name", "f"), ("event.format", "esm")];
    let sink = open(&raw(&lambda, &entries));
    assert_eq!(send(&*sink, 0, &[record("orders", 7)]).await, Verdict::Accepted);
    let event: serde_json::Value = serde_json::from_slice(&last(&lambda).body).unwrap();
    assert_eq!(event["eventSource"], "aws:SelfManagedKafka");
    assert_eq!(event["bootstrapServers"], "b1:9092,b2:9092");
}

#[tokio::test]
async fn a_compressed_payload_says_so_and_holds_the_records() {
    let lambda = FakeLambda::start().await.unwrap();
    lambda.function("f");
    let entries = [
        ("aws.lambda.function.name", "f"),
        ("event.format", "raw"),
        ("payload.compression", "gzip"),
        ("delivery.batch.size", "1000"),
    ];
    let sink = open(&raw(&lambda, &entries));
    for records in [1, 1000] {
        let batch: Vec<_> = (0..records).map(|offset| record("orders", offset)).collect();
        assert_eq!(send(&*sink, 0, &batch).await, Verdict::Accepted);
        let json: serde_json::Value = serde_json::from_slice(&last(&lambda).body).unwrap();
        assert_eq!(json["encoding"], "gzip+base64");
        let bytes = BASE64.decode(json["data"].as_str().unwrap()).unwrap();
        let mut text = String::new();
        flate2::read::GzDecoder::new(bytes.as_slice())
            .read_to_string(&mut text)
            .unwrap();
        let payload: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(payload.as_array().unwrap().len(), batch.len());
    }
}

async fn preflight(raw: &RawConfig) -> Vec<PreflightError> {
    let connector = connector();
    let parsed = connector.config_def(raw).parse(raw).unwrap();
    assert_eq!(connector.validate(raw, &parsed), []);
    connector
        .preflight(SinkContext {
            connector: "c",
            task: 0,
            raw,
            config: &parsed,
            predicates: &Predicates::new(),
            bootstrap_servers: &[],
            keeps_results: false,
        })
        .await
}

#[tokio::test]
async fn a_preflight_names_each_function_that_cannot_be_called_and_runs_none() {
    let lambda = FakeLambda::start().await.unwrap();
    for name in ["fine", "slow", "denied", "busy"] {
        lambda.function(name);
    }
    lambda.function("fine").time_out_s(49);
    lambda.function("slow").time_out_s(50);
    lambda
        .function("denied")
        .respond(Answer::exception(Exception::AccessDeniedException));
    lambda
        .function("busy")
        .respond(Answer::exception(Exception::ServiceException));
    let entries = [
        ("routes", "fine,slow,denied,busy,missing,shadow,queued"),
        ("routes.fine.topics", "a"),
        ("routes.fine.function", "fine"),
        ("routes.slow.topics", "a"),
        ("routes.slow.function", "slow"),
        ("routes.denied.topics", "a"),
        ("routes.denied.function", "denied"),
        ("routes.busy.topics", "a"),
        ("routes.busy.function", "busy"),
        ("routes.missing.topics", "a"),
        ("routes.missing.function", "missing:live"),
        ("routes.shadow.topics", "a"),
        ("routes.shadow.function", "shadow"),
        ("routes.shadow.required", "false"),
        ("routes.queued.topics", "b"),
        ("routes.queued.function", "slow"),
        ("routes.queued.invocation.type", "async"),
    ];
    assert_eq!(
        preflight(&raw(&lambda, &entries)).await,
        [],
        "only where it is asked for"
    );
    assert_eq!(lambda.with_log(|log| log.invocations().count()), 0);

    let asked = [&entries[..], &[("aws.lambda.preflight", "true")]].concat();
    let found = preflight(&raw(&lambda, &asked)).await;
    let found: Vec<_> = found
        .iter()
        .map(|found| (found.error.key.as_str(), found.error.message.as_str(), found.is_certain))
        .collect();
    let starts = [
        (
            "aws.lambda.socket.timeout",
            "function `slow` may run for 50 s, and its answer is waited for 50000 ms: ",
            false,
        ),
        (
            "routes.denied.function",
            "AccessDeniedException: function `denied` in eu-west-1 answered 403",
            true,
        ),
        (
            "routes.busy.function",
            "ServiceException: function `busy` in eu-west-1 answered 500",
            false,
        ),
        (
            "routes.missing.function",
            "ResourceNotFoundException: function `missing:live` in eu-west-1 answered 404",
            true,
        ),
        (
            "routes.shadow.function",
            "ResourceNotFoundException: function `shadow` in eu-west-1 answered 404",
            false,
        ),
    ];
    assert_eq!(found.len(), starts.len(), "{found:?}");
    for ((key, message, is_certain), (wanted_key, start, wanted_is_certain)) in found.into_iter().zip(starts) {
        assert_eq!((key, is_certain), (wanted_key, wanted_is_certain), "{message}");
        assert!(message.starts_with(start), "{message}");
    }
    lambda.with_log(|log| {
        assert!(
            log.invocations()
                .all(|call| call.invocation_type == InvocationType::DryRun),
            "none runs"
        );
    });
}
