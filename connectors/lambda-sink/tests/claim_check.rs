//! Which values leave their records, in every format, and what names they get.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::sync::Arc;

use klamm_connect_api::sink::{Encoded, Predicates, RouteIndex, Sink, SinkConnector, SinkContext};
use klamm_connect_api::{Datum, Origin, RawConfig, Record, SchemaAndValue, TopicPartition, Value};
use klamm_lambda_sink::LambdaSinkConnector;

const LIMIT: usize = 2000;

fn open(entries: &[(&str, &str)]) -> Arc<dyn Sink> {
    let limit = LIMIT.to_string();
    let base = [
        ("connector.class", "AwsLambdaSink"),
        ("aws.lambda.function.name", "f"),
        ("aws.lambda.region", "eu-west-1"),
        ("delivery.batch.bytes", &limit),
    ];
    let all = base.iter().chain(entries);
    let raw: RawConfig = all
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    let connector = LambdaSinkConnector::default();
    let parsed = connector.config_def(&raw).parse(&raw).unwrap();
    let context = SinkContext {
        connector: "orders sink",
        task: 0,
        raw: &raw,
        config: &parsed,
        predicates: &Predicates::new(),
        bootstrap_servers: &["b1:9092".into()],
        keeps_results: false,
    };
    connector.open(context).unwrap()
}

fn record(offset: i64, key: &str, value: Value) -> Record {
    let origin = Origin {
        topic_partition: TopicPartition::new("orders", 3),
        offset,
    };
    let datum = |value| Datum::from(SchemaAndValue::schemaless(value));
    Record::new(origin, datum(Value::String(key.into())), datum(value))
}

fn text(bytes: usize) -> Value {
    Value::String("x".repeat(bytes).into())
}

fn encode(sink: &dyn Sink, record: &Record) -> Encoded {
    sink.encode(RouteIndex(0), record).unwrap()
}

fn fits(sink: &dyn Sink, record: &Record, encoded: &Encoded) -> bool {
    let builder = sink.payload_builder(RouteIndex(0));
    builder.overhead() + builder.cost(record.origin(), encoded) <= LIMIT
}

const CLAIM: (&str, &str) = ("claim.check.destination", "s3://my-claims/prod");

#[test]
fn what_fits_no_call_leaves_its_record_and_nothing_else_does() {
    let formats: [&[(&str, &str)]; 7] = [
        &[("event.format", "confluent")],
        &[
            ("event.format", "confluent"),
            ("record.converter.class", "EscapedJsonKeyValueConverter"),
        ],
        &[("event.format", "esm")],
        &[("event.format", "nordstrom")],
        &[
            ("event.format", "nordstrom"),
            ("payload.formatter.class", "JsonPayloadFormatter"),
        ],
        &[("event.format", "raw")],
        &[("event.format", "cloudevents")],
    ];
    let options: [&[(&str, &str)]; 3] = [
        &[],
        &[("payload.compression", "gzip")],
        &[("aws.lambda.client.context", "true")],
    ];
    for (format, option) in formats
        .into_iter()
        .flat_map(|format| options.map(|option| (format, option)))
    {
        let without = open(&[format, option].concat());
        let with = open(&[format, option, &[CLAIM]].concat());
        let (mut inside, mut outside) = (0, 0);
        for bytes in (0..3000).step_by(7) {
            let record = record(42, "k", text(bytes));
            let encoded = encode(&*with, &record);
            let whole = encode(&*without, &record);
            let why = format!("{format:?} {option:?} {bytes}");
            assert!(fits(&*with, &record, &encoded), "{why}");
            if fits(&*without, &record, &whole) {
                assert_eq!(encoded, whole, "{why}");
                inside += 1;
            } else {
                let attachment = encoded.attachment.as_ref().unwrap();
                let content = String::from_utf8_lossy(&attachment.content);
                assert!(content.contains(&"x".repeat(bytes)), "{why}: {content}");
                assert!(encoded.size_bytes() > bytes, "{why}: it counts as memory");
                outside += 1;
            }
        }
        assert!(
            inside > 50 && outside > 50,
            "{format:?} {option:?}: {inside} and {outside}"
        );
        // Nothing is gained where the value is not to blame.
        let (long, null) = ("k".repeat(3000), Value::Null);
        let tombstone = record(42, "k", Value::Null);
        assert_eq!(encode(&*with, &tombstone).attachment, None);
        assert_eq!(encode(&*with, &record(42, &long, null)).attachment, None);
    }
}

#[test]
fn an_object_is_named_after_its_record_and_its_content() {
    let sink = open(&[CLAIM, ("claim.check.min.bytes", "500")]);
    let name = |offset, value| {
        encode(&*sink, &record(offset, "k", value))
            .attachment
            .unwrap()
            .name
            .clone()
    };
    let first = name(42, text(1000));
    assert!(
        first.starts_with("prod/orders sink/orders/3/00000000000000000042-f-"),
        "{first}"
    );
    assert_eq!(first, name(42, text(1000)), "sent again, it overwrites itself");
    assert_ne!(first, name(43, text(1000)), "another record");
    assert_ne!(
        first,
        name(42, text(1001)),
        "the record is encoded otherwise since: the old object may still be read"
    );
    assert_eq!(
        encode(&*sink, &record(42, "k", text(100))).attachment,
        None,
        "below the threshold"
    );
}
