use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use klamm_connect_api::{BoxFuture, ConfigDef, Converter, ConverterPlugin, PluginInfo, PluginKind, RawConfig};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;

fn worker() -> WorkerConfig {
    let raw = RawConfig::from([("bootstrap.servers".to_owned(), "localhost:1".to_owned())]);
    WorkerConfig::from_properties(&raw).unwrap()
}

fn plugins() -> Plugins {
    Plugins::new()
        .with_converters(klamm_converters::converters())
        .with_header_converters(klamm_converters::header_converters())
        .with_transforms(klamm_smt::transforms())
        .with_predicates(klamm_smt::predicates())
}

fn config(entries: &[(&str, &str)]) -> SubmittedConfig {
    entries
        .iter()
        .map(|(key, value)| ((*key).to_owned(), Some((*value).to_owned())))
        .collect()
}

fn parsed(outcome: &Outcome) -> Json {
    serde_json::from_str(&outcome.to_json()).unwrap()
}

#[test]
fn what_is_no_record_says_why_and_holds_no_value() {
    let cases = [
        ("[]", "a record is a JSON object"),
        (r#"{"value": null}"#, "the record has no `topic`"),
        (r#"{"topic": "t"}"#, "the record has no `value`: null is a tombstone"),
        (r#"{"topic": 1, "value": null}"#, "`topic` must be a text"),
        (r#"{"topic": "t", "value": null, "x": 1}"#, "unknown member `x`"),
        (
            r#"{"topic": "t", "value": null, "partition": 4294967296}"#,
            "`partition` must be a 32-bit integer",
        ),
        (
            r#"{"topic": "t", "value": null, "timestampType": "s3cret"}"#,
            "`timestampType` must be one of CREATE_TIME",
        ),
        (
            r#"{"topic": "t", "value": {"base64": "s3cret?"}}"#,
            "`value`.base64 is not base64: invalid symbol at offset",
        ),
        (
            r#"{"topic": "t", "value": {"base64": "", "payload": 1}}"#,
            "`value` has other members beside `base64`",
        ),
        (
            r#"{"topic": "t", "value": {"schema": null}}"#,
            "`value` has no `payload`",
        ),
        (
            r#"{"topic": "t", "value": {"payload": 1, "s": 1}}"#,
            "`value` has an unknown member `s`",
        ),
        (
            r#"{"topic": "t", "value": {"schema": {"type": "s3cret"}, "payload": 1}}"#,
            "`value` schema.type is none of",
        ),
        (
            r#"{"topic": "t", "value": {"schema": {"type": "array", "items": {"type": "int8"}}, "payload": [1, 300]}}"#,
            "`value` payload[1] is beyond the range of int8",
        ),
        (
            r#"{"topic": "t", "value": {"schema": {"type": "struct", "fields": [{"field": "a", "type": "string"}]}, "payload": {"a": 1}}}"#,
            "`value` payload.a must be a text",
        ),
        (
            r#"{"topic": "t", "value": {"schema": {"type": "struct", "fields": [{"type": "string"}]}, "payload": {}}}"#,
            "`value` schema.fields[0] has no `field` with its name",
        ),
        (
            r#"{"topic": "t", "value": {"schema": {"type": "int8", "default": "s3cret"}, "payload": 1}}"#,
            "`value` schema.default must be a 64-bit integer",
        ),
        (
            r#"{"topic": "t", "value": null, "headers": [{"name": "h"}]}"#,
            "`headers[0]` has no `value`",
        ),
    ];
    for (line, wanted) in cases {
        let error = PreviewRecord::parse(line.as_bytes()).unwrap_err();
        assert!(error.contains(wanted) && !error.contains("s3cret"), "{line}: {error}");
    }
}

#[tokio::test]
async fn only_what_concerns_a_preview_is_checked() {
    let record = PreviewRecord::parse(br#"{"topic": "t", "value": {"payload": 1}}"#).unwrap();
    let run = async |entries: &[(&str, &str)]| {
        let preview = Preview::new(&config(entries), &worker(), &plugins());
        parsed(&preview.run(&record).await)
    };
    let fine = [
        ("connector.class", "io.acme.Unknown"),
        ("aws.lambda.endpoint", "${file:/etc/x:y}"),
        ("topics.regex", "["),
        ("consumer.override.auto.offset.reset", "never"),
        ("errors.deadletterqueue.topic.name", "dlq"),
    ];
    assert!(run(&fine).await["record"].is_object());
    let refused = [
        ("errors.tolerance", "some", "errors.tolerance"),
        ("tasks.max", "0", "tasks.max"),
        ("value.converter.x", "${file:/etc/x:y}", "value.converter.x"),
        ("transforms", "a,a", "transforms"),
    ];
    for (key, value, wanted) in refused {
        let outcome = run(&[(key, value)]).await;
        assert!(outcome["error"]["errors"][wanted].is_array(), "{outcome}");
    }
    let null = SubmittedConfig::from([("header.converter".to_owned(), None)]);
    let preview = Preview::new(&null, &worker(), &plugins());
    assert!(parsed(&preview.run(&record).await)["error"]["errors"]["header.converter"].is_array());
}

/// Lacks a schema, which a registry gives at the try of the number in its topic.
#[derive(Debug, Default)]
struct Slow {
    tries: AtomicU32,
}

impl Converter for Slow {
    fn to_connect(&self, topic: &str, _headers: &[RawHeader], _bytes: Option<&Bytes>) -> Result<Datum, DataError> {
        if self.tries.load(Ordering::Relaxed) >= topic.parse().unwrap() {
            Ok(Datum::NULL)
        } else {
            Err(DataError::new(DataErrorKind::NotReady, ""))
        }
    }

    fn prepare<'a>(
        &'a self,
        topic: &'a str,
        _headers: &'a [RawHeader],
        _bytes: Option<&'a Bytes>,
    ) -> BoxFuture<'a, Result<(), DataError>> {
        let is_there = self.tries.fetch_add(1, Ordering::Relaxed) + 1 >= topic.parse().unwrap();
        let away = DataError::new(DataErrorKind::Retriable, "the registry is away");
        Box::pin(std::future::ready(if is_there { Ok(()) } else { Err(away) }))
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_tried_a_few_times() {
    let slow = ConverterPlugin {
        info: PluginInfo {
            kind: PluginKind::Converter,
            class: "Slow",
            aliases: &[],
            version: "1",
        },
        config_def: ConfigDef::new,
        create: |_, _| Ok(Arc::new(Slow::default())),
    };
    let plugins = plugins().with_converters([slow]);
    for (tries, wanted) in [
        ("0", "record"),
        ("1", "record"),
        ("3", "record"),
        ("4", "org.apache.kafka.connect.errors.RetriableException"),
    ] {
        let preview = Preview::new(&config(&[("value.converter", "Slow")]), &worker(), &plugins);
        let line = json!({"topic": tries, "value": {"base64": ""}}).to_string();
        let outcome = parsed(&preview.run(&PreviewRecord::parse(line.as_bytes()).unwrap()).await);
        let got = outcome["error"]["class"].as_str().unwrap_or("record");
        assert_eq!(got, wanted, "{tries}: {outcome}");
        assert!(got == "record" || outcome["error"]["part"] == "value");
    }
}

#[tokio::test]
async fn steps_take_bounded_memory_however_many_there_are() {
    let aliases: Vec<String> = (0..200).map(|i| format!("t{i}")).collect();
    let mut entries = vec![("transforms".to_owned(), Some(aliases.join(",")))];
    for alias in &aliases {
        let set = |key: &str, value: &str| (format!("transforms.{alias}.{key}"), Some(value.to_owned()));
        entries.push(set("type", "InsertHeader"));
        entries.push(set("header", "h"));
        entries.push(set("value.literal", "v"));
    }
    let preview = Preview::new(&entries.into_iter().collect(), &worker(), &plugins());
    let line = json!({"topic": "t", "value": {"payload": "x".repeat(100_000)}}).to_string();
    let record = PreviewRecord::parse(line.as_bytes()).unwrap();
    let mut steps = StepsJson::default();
    let outcome = preview.run_observed(&record, &mut |step| steps.add(&step)).await;
    let line = outcome.to_json_with(&steps);
    assert!(line.len() < STEPS_BYTES + 200_000, "{}", line.len());
    let line: Json = serde_json::from_str(&line).unwrap();
    let steps = line["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 201, "each is told");
    assert!(steps[1]["record"].is_object());
    assert_eq!(
        steps[200]["record"],
        "not shown: the steps of this record are too large"
    );
}

#[tokio::test]
async fn what_json_cannot_hold_is_told_in_words() {
    let entries = [
        ("transforms", "a"),
        (
            "transforms.a.type",
            "org.apache.kafka.connect.transforms.TimestampConverter$Value",
        ),
        ("transforms.a.target.type", "Timestamp"),
    ];
    let preview = Preview::new(&config(&entries), &worker(), &plugins());
    let record = PreviewRecord::parse(br#"{"topic": "t", "value": {"payload": 1714558830123}}"#).unwrap();
    let mut steps = StepsJson::default();
    let outcome = preview.run_observed(&record, &mut |step| steps.add(&step)).await;
    let line: Json = serde_json::from_str(&outcome.to_json_with(&steps)).unwrap();
    assert_eq!(line["error"]["stage"], "encode");
    assert_eq!(line["error"]["part"], "value");
    assert_eq!(line["error"]["text"], "\"2024-05-01T10:20:30.123Z\"");
    assert_eq!(
        line["steps"][1]["record"]["value"],
        json!({"text": "\"2024-05-01T10:20:30.123Z\""})
    );
}

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        prop_oneof![
            "int8",
            "float",
            "struct",
            "map",
            "org.apache.kafka.connect.data.Decimal",
            "[a-z=/]{0,4}"
        ]
        .prop_map(Json::from),
    ];
    let name = prop_oneof![
        "schema",
        "payload",
        "base64",
        "type",
        "name",
        "fields",
        "field",
        "items",
        "keys",
        "values",
        "default",
        "optional",
        "parameters",
        "scale",
        "[a-b]{1}",
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Json::from),
            prop::collection::vec((name.clone(), inner), 0..6)
                .prop_map(|members| Json::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_input_is_a_record_or_says_what_it_is_not(schema in any_json(), payload in any_json()) {
        let line = json!({"topic": "t", "key": payload, "value": {"schema": schema, "payload": payload}}).to_string();
        if let Ok(record) = PreviewRecord::parse(line.as_bytes()) {
            let preview = Preview::new(&SubmittedConfig::new(), &worker(), &plugins());
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let mut steps = StepsJson::default();
            let mut story = Story::of(record.origin());
            let outcome = runtime.block_on(preview.run_observed(&record, &mut |step| {
                steps.add(&step);
                story.add(&step);
            }));
            prop_assert!(!story.end(&outcome).is_empty());
            let line = outcome.to_json_with(&steps);
            prop_assert!(serde_json::from_str::<Json>(&line).is_ok(), "{}", line);
        }
    }

    #[test]
    fn any_bytes_are_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        PreviewRecord::parse(&bytes).ok();
    }
}

#[test]
fn settings_that_change_nothing_are_told() {
    let settings = [
        ("transforms", "c"),
        ("transforms.c.type", "org.apache.kafka.connect.transforms.Cast$Value"),
        ("transforms.c.spec", "a:int8"),
        ("transforms.c.spce", "b:int8"),
        ("file", "the sink's own is no matter"),
    ];
    let preview = Preview::new(&config(&settings), &worker(), &plugins());
    let wanted = "`transforms.c.spce` is unknown and changes nothing: did you mean `transforms.c.spec`?";
    assert_eq!(preview.warnings(), [wanted]);
    let preview = Preview::new(&config(&[("transforms", "a")]), &worker(), &plugins());
    assert_eq!(
        preview.warnings(),
        [""; 0],
        "a refused configuration says what is wrong instead"
    );
}
