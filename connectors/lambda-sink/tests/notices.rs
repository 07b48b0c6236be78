//! What a connector writes to the log at its start about settings that have no effect, or a surprising one.
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use klamm_connect_api::RawConfig;
use klamm_connect_api::sink::{Predicates, SinkConnector, SinkContext};
use klamm_lambda_sink::{Environment, LambdaSinkConnector};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Level, text and `keys` of each line.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let Fields(mut fields) = fields;
        assert_eq!(
            fields.remove("connector").as_deref(),
            Some("c"),
            "a line names its connector"
        );
        let text = fields.remove("message").unwrap_or_default();
        let keys = fields.remove("keys").map_or(String::new(), |keys| format!(" [{keys}]"));
        let line = format!("{} {text}{keys}", event.metadata().level());
        self.0.lock().unwrap().push(line);
    }
}

/// The lines of a task's start.
fn lines_of(task: u32, entries: &[(&str, &str)]) -> Vec<String> {
    let base = [("aws.lambda.function.name", "f"), ("aws.lambda.region", "eu-west-1")];
    let raw: RawConfig = base
        .iter()
        .chain(entries)
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    let connector = LambdaSinkConnector::new(Environment::new([("", ""); 0], || SystemTime::UNIX_EPOCH));
    let config = connector.config_def(&raw).parse(&raw).unwrap();
    let lines = Lines::default();
    tracing::subscriber::with_default(lines.clone(), || {
        connector
            .open(SinkContext {
                connector: "c",
                task,
                raw: &raw,
                config: &config,
                predicates: &Predicates::new(),
                bootstrap_servers: &[],
                keeps_results: false,
            })
            .unwrap();
    });
    lines.0.lock().unwrap().clone()
}

const CLASS: (&str, &str) = ("connector.class", "AwsLambdaSink");

#[test]
fn misspelt_keys_and_keys_without_effect_get_one_line_a_kind() {
    let entries = [
        CLASS,
        ("behavior.on.eror", "log"),
        ("errors.tolerence", "all"),
        ("aws.lambda.functon.name", "g"),
        ("transform", "a"),
        ("confluent.license", ""),
        ("connector.egress.whitelist", "a.b"),
        ("delivery.buffer.records", "5"),
    ];
    let expected = [
        "WARN settings that this connector does not have: check their spelling [aws.lambda.functon.name, \
         behavior.on.eror, errors.tolerence, transform]",
        "WARN settings without effect here [confluent.license (there is no licence to store), connector.egress.whitelist \
         (the worker's own network decides what it reaches), delivery.buffer.records (it is a setting of the worker)]",
    ];
    assert_eq!(lines_of(0, &entries), expected);
    assert!(lines_of(1, &entries).is_empty(), "only the first task writes them");
}

#[test]
fn keys_of_the_framework_and_of_the_connector_get_no_line() {
    let known = [
        CLASS,
        ("name", "c"),
        ("connector.plugin.version", "1"),
        ("tasks.max", "1"),
        ("tasks.max.enforce", "true"),
        ("topics", "a"),
        ("topics.regex", ""),
        ("key.converter", "K"),
        ("key.converter.schemas.enable", "false"),
        ("value.converter", "V"),
        ("value.converter.plugin.version", "1"),
        ("header.converter", "H"),
        ("transforms", "t"),
        ("transforms.t.type", "T"),
        ("predicates", "p"),
        ("predicates.p.type", "P"),
        ("config.action.reload", "none"),
        ("errors.retry.timeout", "0"),
        ("errors.retry.delay.max.ms", "1"),
        ("errors.tolerance", "none"),
        ("errors.log.enable", "true"),
        ("errors.log.include.messages", "true"),
        ("errors.deadletterqueue.topic.name", ""),
        ("errors.deadletterqueue.topic.replication.factor", "1"),
        ("errors.deadletterqueue.context.headers.enable", "true"),
        ("consumer.override.client.id", "x"),
        ("producer.override.acks", "all"),
        ("admin.override.client.id", "x"),
        ("aws.lambda.batch.size", "5"),
        ("delivery.linger.ms", "1"),
        ("retry.backoff.millis", "5"),
        ("routes", ""),
    ];
    assert_eq!(lines_of(0, &known), [""; 0]);
}

/// Its records are skipped when attempts run out, which nobody asked for in so many words.
#[test]
fn the_cloud_class_says_that_it_skips_records() {
    let class = ("connector.class", "LambdaSink");
    let line = "INFO records whose attempts run out are skipped with a line in the log: the default of this class; set \
                `behavior.on.error=fail` to stop the task instead";
    assert_eq!(lines_of(0, &[class]), [line]);
    assert_eq!(lines_of(0, &[class, ("behavior.on.error", "fail")]), [""; 0]);
    assert_eq!(lines_of(0, &[CLASS]), [""; 0], "this class fails the task");
    assert!(lines_of(1, &[class]).is_empty());
}
