//! Golden cases recorded from Apache Kafka Connect: converters, transforms, predicates and chains, run by the preview,
//! which takes records the way that a sink task does.
//!
//! Where Klamm deliberately answers otherwise, `tests/golden/deviations.json` holds the case's id and the reason; the
//! recorded case stays as it is.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

#[path = "../../../../tests/golden/compare.rs"]
mod compare;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use klamm_connect_api::{RawConfig, Rendering};
use klamm_runtime::{Outcome, Plugins, Preview, PreviewRecord, SubmittedConfig, WorkerConfig};
use serde_json::Value as Json;

/// The files, and how many cases each has at least; a floor only goes up.
const FILES: [(&str, usize); 25] = [
    ("converters/header-converters", 15),
    ("converters/json-schema", 228),
    ("converters/json-schemaless", 75),
    ("converters/primitive-converters", 42),
    ("converters/simple-header", 145),
    ("converters/string-converter", 20),
    ("smt/cast", 275),
    ("smt/chains", 140),
    ("smt/debezium-unwrap", 53),
    ("smt/drop-headers", 31),
    ("smt/extract-field", 128),
    ("smt/flatten", 86),
    ("smt/generated", 409),
    ("smt/header-from", 76),
    ("smt/hoist-field", 33),
    ("smt/insert-field", 86),
    ("smt/insert-header", 32),
    ("smt/mask-field", 102),
    ("smt/predicates", 55),
    ("smt/regex-router", 34),
    ("smt/replace-field", 92),
    ("smt/set-schema-metadata", 30),
    ("smt/timestamp-converter", 272),
    ("smt/timestamp-router", 39),
    ("smt/value-to-key", 44),
];

fn golden_path(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/golden")
        .join(path)
}

fn golden(path: &str) -> String {
    let path = golden_path(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn plugins() -> Plugins {
    Plugins::new()
        .with_converters(klamm_converters::converters())
        .with_header_converters(klamm_converters::header_converters())
        .with_transforms(klamm_smt::transforms())
        .with_predicates(klamm_smt::predicates())
}

fn worker() -> WorkerConfig {
    let raw = RawConfig::from([("bootstrap.servers".to_owned(), "localhost:1".to_owned())]);
    WorkerConfig::from_properties(&raw).unwrap()
}

async fn run(case: &Json, worker: &WorkerConfig, plugins: &Plugins) -> Outcome {
    let config = case["config"].as_object().unwrap().iter();
    let config: SubmittedConfig = config
        .map(|(key, value)| (key.clone(), value.as_str().map(str::to_owned)))
        .collect();
    let record = PreviewRecord::parse(case["record"].to_string().as_bytes()).unwrap();
    Preview::new(&config, worker, plugins).run(&record).await
}

/// The record of an outcome goes through a preview that does nothing as it is, and a sink can write it.
async fn holds_what_it_says(outcome: &Outcome, json: &Json, nothing: &Preview) -> Result<(), String> {
    let Outcome::Record(record) = outcome else {
        return Ok(());
    };
    let headers = record.headers.iter().map(|header| &header.value);
    for datum in [&record.key, &record.value].into_iter().chain(headers) {
        let mut written = Vec::new();
        datum
            .write_json(Rendering::Connect, &mut written)
            .map_err(|error| error.to_string())?;
        serde_json::from_slice::<&serde_json::value::RawValue>(&written).map_err(|error| error.to_string())?;
    }
    let again = PreviewRecord::parse(json["record"].to_string().as_bytes())?;
    let again: Json = serde_json::from_str(&nothing.run(&again).await.to_json()).unwrap();
    if again == *json {
        Ok(())
    } else {
        Err(format!("read again it is {again}"))
    }
}

#[tokio::test]
async fn records_come_out_as_from_kafka_connect() {
    let (worker, plugins) = (worker(), plugins());
    let nothing = Preview::new(&SubmittedConfig::new(), &worker, &plugins);
    let mut deviations: BTreeMap<String, Json> = serde_json::from_str(&golden("deviations.json")).unwrap();
    let mut failures = Vec::new();
    for (file, floor) in FILES {
        let mut ran = 0;
        for line in golden(&format!("{file}.jsonl")).lines() {
            let case: Json = serde_json::from_str(line).unwrap();
            let id = case["id"].as_str().unwrap();
            let outcome = run(&case, &worker, &plugins).await;
            let json: Json = serde_json::from_str(&outcome.to_json()).unwrap();
            ran += 1;
            if let Err(error) = holds_what_it_says(&outcome, &json, &nothing).await {
                failures.push(format!("{id}: {error}"));
            }
            let as_connect = compare::outcome(&json, &case["expect"]).err();
            match (deviations.remove(id), as_connect) {
                (None, None) => {}
                (None, Some(difference)) => failures.push(format!("{id}: {difference}")),
                (Some(_), None) => failures.push(format!("{id}: is no deviation any more, remove it from the list")),
                (Some(deviation), Some(_)) => {
                    // A reason, or `{"reason", "expect"}` where Klamm's own answer is held to.
                    let reason = deviation.as_str().or_else(|| deviation["reason"].as_str());
                    assert!(reason.is_some(), "{id}: a deviation needs a reason");
                    let difference = deviation
                        .get("expect")
                        .and_then(|expect| compare::outcome(&json, expect).err());
                    if let Some(difference) = difference {
                        failures.push(format!("{id}, a deviation: {difference}"));
                    }
                }
            }
        }
        println!("{file}: {ran} cases");
        assert!(ran >= floor, "{file}: only {ran} cases ran, {floor} have to");
    }
    assert!(
        failures.is_empty(),
        "{} cases fail:\n{}",
        failures.len(),
        failures.join("\n")
    );
    // Those of records with a schema registry are held to by the tests that start one.
    for entry in fs::read_dir(golden_path("schema-registry")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        for case in text.lines().filter_map(|line| serde_json::from_str::<Json>(line).ok()) {
            deviations.remove(case["id"].as_str().unwrap_or_default());
        }
    }
    assert!(
        deviations.is_empty(),
        "deviations without a case: {:?}",
        deviations.keys()
    );
}
