//! `klamm preview` as a user runs it: the real binary, its standard output, and how it ends.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

#[path = "../golden/compare.rs"]
mod compare;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use klamm_tests::clients::{json_lines, klamm};
use klamm_tests::kafka::Broker;
use klamm_tests::process::{Server, or_skip, testbed};
use klamm_tests::produce::{CODECS, Producer};
use klamm_tests::rest::Rest;
use klamm_tests::worker::binary;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;

fn golden(file: &str) -> PathBuf {
    testbed().join("../golden").join(file)
}

fn cases(file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(golden(file)).unwrap();
    json_lines(text.as_bytes()).unwrap()
}

fn deviations() -> BTreeMap<String, Value> {
    serde_json::from_slice(&std::fs::read(golden("deviations.json")).unwrap()).unwrap()
}

/// Runs `klamm preview` on these records, which must print nothing but an outcome for each of them.
async fn preview(config: &Value, records: &[&Value], more: &[&str]) -> Vec<Value> {
    let dir = TempDir::new().unwrap();
    let (config_path, records_path) = (dir.path().join("connector.json"), dir.path().join("records.jsonl"));
    std::fs::write(&config_path, config.to_string()).unwrap();
    let lines: String = records.iter().map(|record| format!("{record}\n")).collect();
    std::fs::write(&records_path, lines).unwrap();
    let mut args = vec![
        "preview",
        "--config",
        text(&config_path),
        "--records",
        text(&records_path),
    ];
    args.extend(more);
    let output = klamm(&args, &[]).await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    assert!(more.contains(&"--explain") || errors.is_empty(), "{errors}");
    let outcomes = json_lines(&output.stdout).unwrap();
    assert_eq!(outcomes.len(), records.len(), "one outcome a record");
    outcomes
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The cases of a file by their configuration, so that one process runs all of one.
fn by_config(cases: &[Value]) -> BTreeMap<String, Vec<&Value>> {
    let mut groups: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for case in cases {
        groups.entry(case["config"].to_string()).or_default().push(case);
    }
    groups
}

#[tokio::test]
async fn golden_cases_come_out_right_of_the_binary() {
    let deviations = deviations();
    for file in [
        "smt/predicates.jsonl",
        "smt/debezium-unwrap.jsonl",
        "converters/string-converter.jsonl",
    ] {
        let cases = cases(file);
        for group in by_config(&cases).values() {
            let records: Vec<&Value> = group.iter().map(|case| &case["record"]).collect();
            let outcomes = preview(&group[0]["config"], &records, &[]).await;
            for (case, outcome) in group.iter().zip(&outcomes) {
                let id = case["id"].as_str().unwrap();
                if !deviations.contains_key(id) {
                    compare::outcome(outcome, &case["expect"]).unwrap_or_else(|what| panic!("{id}: {what}"));
                }
            }
        }
    }
}

/// A case of a registry as a record to preview.
fn registry_record(case: &Value) -> Value {
    let datum = |base64: &Value| match base64 {
        Value::Null => Value::Null,
        base64 => json!({ "base64": base64 }),
    };
    let headers = case["headers"].as_array().unwrap().iter();
    let headers: Vec<Value> = headers
        .map(|header| json!({"name": header[0], "value": datum(&header[1])}))
        .collect();
    let mut record = json!({"topic": case["topic"], "value": null, "headers": headers});
    record[registry_part(case)] = datum(&case["base64"]);
    record
}

fn registry_part(case: &Value) -> &'static str {
    if case["config"].get("key.converter").is_some() {
        "key"
    } else {
        "value"
    }
}

fn registry_differs(case: &Value, outcome: &Value) -> Result<(), String> {
    let part = registry_part(case);
    if let Some(class) = case["expect_error"]["class"][0].as_str() {
        let temporary = [
            "RetriableException",
            "NetworkException",
            "ThrottlingQuotaExceededException",
            "DisconnectException",
        ];
        let class = match class {
            class if temporary.iter().any(|name| class.ends_with(name)) => {
                "org.apache.kafka.connect.errors.RetriableException"
            }
            class if class.ends_with("ConfigException") => "org.apache.kafka.common.config.ConfigException",
            _ => "org.apache.kafka.connect.errors.DataException",
        };
        let wanted = json!({"error": {"stage": "convert", "class": class, "part": part}});
        return compare::outcome(outcome, &wanted);
    }
    let got = &outcome["record"][part];
    // A recursive schema has no envelope; null itself has no schema.
    if case["expect"].is_null() && !case["expect_json"].is_null() {
        return if got.is_object() {
            Ok(())
        } else {
            Err(format!("got {outcome}"))
        };
    }
    if case["format"] == "json" {
        return compare::data(part, &sorted(got), &sorted(&case["expect"]));
    }
    compare::data(part, got, &case["expect"])
}

/// The order of a JSON Schema's fields is by chance.
fn sorted(json: &Value) -> Value {
    match json {
        Value::Object(members) => {
            let sorted: BTreeMap<&String, Value> = members.iter().map(|(key, value)| (key, sorted(value))).collect();
            let members = sorted.into_iter().map(|(key, value)| match (key.as_str(), value) {
                ("fields", Value::Array(mut fields)) => {
                    fields.sort_by_key(|field| field["field"].to_string());
                    (key.clone(), Value::Array(fields))
                }
                (_, value) => (key.clone(), value),
            });
            Value::Object(members.collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        scalar => scalar.clone(),
    }
}

#[tokio::test]
async fn records_with_their_schemas_in_a_registry_are_decoded() {
    let mut cases = Vec::new();
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(golden("schema-registry")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            cases.extend(json_lines(&std::fs::read(&path).unwrap()).unwrap());
            paths.push(text(&path).to_owned());
        }
    }
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let Some(registry) = or_skip("the scripted registry", Server::registry_mock(&paths)) else {
        return;
    };
    let url = registry.value("SCHEMA_REGISTRY_URL").unwrap();
    let mock = Rest::new(url);
    let deviations = deviations();
    let mut ran = 0;
    let (mut plain, mut faulty): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
    for case in cases {
        let has_faults = case["faults"].as_array().is_some_and(|faults| !faults.is_empty());
        if has_faults { &mut faulty } else { &mut plain }.push(case);
    }
    let with_url = |config: &Value| {
        let text = config.to_string().replace("${SCHEMA_REGISTRY_URL}", url);
        let mut config: Value = serde_json::from_str(&text).unwrap();
        for part in ["key", "value"] {
            if config.get(format!("{part}.converter")).is_some() {
                config[format!("{part}.converter.retries.wait.ms")] = json!("10");
            }
        }
        config
    };
    let mut failures = Vec::new();
    let mut judge = |case: &Value, outcome: &Value| {
        ran += 1;
        let id = case["id"].as_str().unwrap();
        if let (Err(what), false) = (registry_differs(case, outcome), deviations.contains_key(id)) {
            failures.push(format!("{id}: {what}"));
        }
    };
    for group in by_config(&plain).values() {
        let records: Vec<Value> = group.iter().map(|case| registry_record(case)).collect();
        let records: Vec<&Value> = records.iter().collect();
        let outcomes = preview(&with_url(&group[0]["config"]), &records, &[]).await;
        for (case, outcome) in group.iter().zip(&outcomes) {
            judge(case, outcome);
        }
    }
    for case in &faulty {
        for fault in case["faults"].as_array().unwrap() {
            mock.post("/_faults", fault).await.unwrap().expect(200).unwrap();
        }
        let outcomes = preview(&with_url(&case["config"]), &[&registry_record(case)], &[]).await;
        mock.delete("/_faults").await.unwrap().expect(200).unwrap();
        judge(case, &outcomes[0]);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(ran >= 198, "only {ran} cases ran");
}

#[tokio::test]
async fn every_line_has_its_outcome_as_soon_as_it_is_there() {
    let dir = TempDir::new().unwrap();
    let config = dir.path().join("post.json");
    let post = json!({"name": "orders", "config": {
        "connector.class": "io.acme.AnySink", "target": "nowhere", "value.converter": "StringConverter",
        "transforms": "drop", "transforms.drop.type": "Filter", "transforms.drop.predicate": "old",
        "predicates": "old", "predicates.old.type": "TopicNameMatches", "predicates.old.pattern": "old",
    }});
    std::fs::write(&config, post.to_string()).unwrap();
    let mut child = Command::new(binary().unwrap())
        .args(["preview", "--config", text(&config), "--records", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let value = json!({"schema": {"type": "string", "optional": true}, "payload": "hi"});
    let wanted_record = json!({"record": {
        "topic": "new", "partition": 0, "offset": 0, "timestamp": null, "timestampType": "NO_TIMESTAMP_TYPE",
        "key": {"schema": null, "payload": null}, "value": value, "headers": [],
    }});
    let bad = |message: &str| {
        json!({"error": {
            "stage": "input", "class": "org.apache.kafka.connect.errors.DataException", "message": message,
        }})
    };
    let cases = [
        (
            r#"{"topic":"new","value":{"base64":"aGk="}}"#,
            wanted_record.clone(),
            "a record",
        ),
        (
            r#"{"topic":"old","value":null}"#,
            json!({"dropped": true}),
            "a record that is dropped",
        ),
        (
            "{oops",
            bad("line 3: the line is not valid JSON: key must be a string at line 1 column 2"),
            "no JSON",
        ),
        (
            "",
            bad("line 4: the line is not valid JSON: EOF while parsing a value at line 1 column 0"),
            "nothing",
        ),
        (
            r#"{"topic":"new","value":"secret"}"#,
            bad("line 5: `value` must be null, {\"base64\": …} or {\"schema\": …, \"payload\": …}"),
            "wrong shape",
        ),
        (
            r#"{"topic":"new","value":{"base64":"aGk="}}"#,
            wanted_record,
            "and it goes on",
        ),
    ];
    for (line, wanted, why) in cases {
        // The next line is written once the outcome is there.
        input.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        let got = output.next_line().await.unwrap().unwrap();
        let got: Value = serde_json::from_str(&got).unwrap();
        assert_eq!(got, wanted, "{why}");
    }
    drop(input);
    assert_eq!(output.next_line().await.unwrap(), None);
    assert!(child.wait().await.unwrap().success());
}

#[tokio::test]
async fn a_refused_configuration_is_the_outcome_of_each_record() {
    let config = json!({
        "transforms": "t,u", "transforms.t.type": "Cast$Value", "transforms.t.spec": "a:int99",
        "transforms.u.type": "Nope", "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "maybe",
    });
    let record = json!({"topic": "t", "value": null});
    let outcomes = preview(&config, &[&record, &json!("no record"), &record], &[]).await;
    for outcome in outcomes {
        let error = &outcome["error"];
        assert_eq!(error["stage"], "config", "{outcome}");
        assert_eq!(error["class"], "org.apache.kafka.common.config.ConfigException");
        let keys: Vec<&String> = error["errors"].as_object().unwrap().keys().collect();
        let wanted = [
            "transforms.t.type",
            "transforms.u.type",
            "value.converter.schemas.enable",
        ];
        assert_eq!(keys, wanted, "{outcome}");
    }
}

#[tokio::test]
async fn an_explanation_shows_the_record_after_each_step() {
    let dir = TempDir::new().unwrap();
    let (config, records) = (dir.path().join("c.json"), dir.path().join("r.jsonl"));
    let settings = json!({
        "transforms": "route,mask,drop",
        "transforms.route.type": "RegexRouter", "transforms.route.regex": "(.*)-raw", "transforms.route.replacement": "$1",
        "transforms.mask.type": "org.apache.kafka.connect.transforms.MaskField$Value", "transforms.mask.fields": "card",
        "transforms.drop.type": "Filter", "transforms.drop.predicate": "test",
        "predicates": "test", "predicates.test.type": "TopicNameMatches", "predicates.test.pattern": "test",
    });
    std::fs::write(&config, settings.to_string()).unwrap();
    std::fs::write(
        &records,
        r#"{"topic":"orders-raw","offset":7,"value":{"payload":{"card":"4111"}}}"#,
    )
    .unwrap();
    let args = [
        "preview",
        "--config",
        text(&config),
        "--records",
        text(&records),
        "--explain",
    ];
    let output = klamm(&args, &[]).await.unwrap();
    assert!(output.status.success());
    let outcomes = json_lines(&output.stdout).unwrap();
    assert_eq!(outcomes.len(), 1, "standard output is for outcomes");
    assert_eq!(outcomes[0]["record"]["value"]["payload"], json!({"card": ""}));
    let steps = outcomes[0]["steps"].as_array().unwrap();
    let shown: Vec<Value> = steps
        .iter()
        .map(|step| {
            json!([
                step["step"],
                step["transform"],
                step["matched"],
                step["record"]["topic"]
            ])
        })
        .collect();
    let wanted = [
        json!(["convert", null, null, "orders-raw"]),
        json!(["transform", "route", null, "orders"]),
        json!(["transform", "mask", null, "orders"]),
        json!(["transform", "drop", false, null]),
    ];
    assert_eq!(shown, wanted);
    let wanted = "\
record orders-raw-0@7
converted
  topic      orders-raw
  partition  0
  key        null
  value      {\"card\": \"4111\"}
transform route (org.apache.kafka.connect.transforms.RegexRouter) changes
  topic  orders
transform mask (org.apache.kafka.connect.transforms.MaskField$Value) changes
  value  {\"card\": \"\"}
transform drop (org.apache.kafka.connect.transforms.Filter) skipped, as predicate test does not match
=> record
";
    assert_eq!(String::from_utf8(output.stderr).unwrap(), wanted);
}

#[tokio::test]
async fn the_example_of_the_readme_shows_each_kind_of_outcome() {
    let folder = testbed().join("../../examples/preview");
    let (config, records) = (folder.join("orders.json"), folder.join("records.jsonl"));
    let args = ["preview", "--config", text(&config), "--records", text(&records)];
    let output = klamm(&args, &[]).await.unwrap();
    let outcomes = json_lines(&output.stdout).unwrap();
    let [record, dropped, error] = &outcomes[..] else {
        panic!("{outcomes:?}")
    };
    assert_eq!(record["record"]["topic"], "orders");
    assert_eq!(record["record"]["value"]["payload"], json!({"id": 7, "card": "****"}));
    assert_eq!(*dropped, json!({"dropped": true}));
    assert_eq!(
        (&error["error"]["stage"], &error["error"]["part"]),
        (&json!("convert"), &json!("value"))
    );
}

#[tokio::test]
async fn live_records_come_from_kafka() {
    let Some(kafka) = Broker::shared() else { return };
    let topic = "preview-live";
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    producer.create_topic(topic, 1).await.unwrap();
    let record = |id: u32| (Some(b"k".to_vec()), Some(format!(r#"{{"id":{id}}}"#).into_bytes()));
    let records = (0..5).map(record).collect();
    producer.produce(topic, 0, records, CODECS[0]).await.unwrap();
    let dir = TempDir::new().unwrap();
    let config = dir.path().join("c.json");
    let settings = json!({
        "key.converter": "StringConverter", "value.converter": "JsonConverter", "value.converter.schemas.enable": "false",
        "transforms": "id", "transforms.id.type": "org.apache.kafka.connect.transforms.ExtractField$Value",
        "transforms.id.field": "id",
    });
    std::fs::write(&config, settings.to_string()).unwrap();
    let run = async |more: &[&str]| {
        let mut args = vec![
            "preview",
            "--config",
            text(&config),
            "--bootstrap-server",
            kafka.bootstrap(),
        ];
        args.extend(["--from-topic", topic]);
        args.extend(more);
        let output = klamm(&args, &[]).await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let outcomes = json_lines(&output.stdout).unwrap();
        let shown = outcomes.iter().map(|outcome| {
            (
                outcome["record"]["offset"].clone(),
                outcome["record"]["value"]["payload"].clone(),
            )
        });
        shown
            .map(|(offset, payload)| (offset.as_i64().unwrap(), payload.as_i64().unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!(run(&["--limit", "2"]).await, [(0, 0), (1, 1)]);
    assert_eq!(
        run(&["--from", "3"]).await,
        [(3, 3), (4, 4)],
        "ends where the topic ends"
    );
}

#[tokio::test]
async fn what_cannot_be_understood_ends_with_its_own_exit_code() {
    let dir = TempDir::new().unwrap();
    let (good, bad) = (dir.path().join("good.json"), dir.path().join("bad.json"));
    std::fs::write(&good, "{}").unwrap();
    std::fs::write(&bad, "[]").unwrap();
    let cases: [(&[&str], i32, &str); 4] = [
        (
            &["--config", text(&bad), "--records", "-"],
            2,
            "a connector is a JSON object",
        ),
        (
            &["--config", "/nonexistent.json", "--records", "-"],
            2,
            "cannot be read",
        ),
        (&["--config", text(&good)], 2, "--records"),
        (
            &["--config", text(&good), "--records", "/nonexistent.jsonl"],
            1,
            "/nonexistent.jsonl cannot be read",
        ),
    ];
    for (args, code, wanted) in cases {
        let mut all = vec!["preview"];
        all.extend(args);
        let output = klamm(&all, &[]).await.unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {errors}");
        assert!(
            output.stdout.is_empty() && errors.contains(wanted),
            "{args:?}: {errors}"
        );
    }
}
