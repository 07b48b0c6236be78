//! Golden cases recorded from Apache Kafka Connect: converters, transforms, predicates and chains, run the way a sink
//! task runs them.
//!
//! Where Klamm deliberately answers otherwise, `tests/golden/deviations.json` holds the case's id and the reason; the
//! recorded case stays as it is.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod case;
mod data;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::Value as Json;

use crate::case::run;

/// The files, and how many cases each has at least; a floor only goes up.
const FILES: [(&str, usize); 24] = [
    ("converters/header-converters", 15),
    ("converters/json-schema", 228),
    ("converters/json-schemaless", 75),
    ("converters/primitive-converters", 42),
    ("converters/simple-header", 145),
    ("converters/string-converter", 16),
    ("smt/cast", 275),
    ("smt/chains", 140),
    ("smt/debezium-unwrap", 53),
    ("smt/drop-headers", 31),
    ("smt/extract-field", 128),
    ("smt/flatten", 86),
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

fn golden(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/golden")
        .join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn records_come_out_as_from_kafka_connect() {
    let mut deviations: BTreeMap<String, Json> = serde_json::from_str(&golden("deviations.json")).unwrap();
    let mut failures = Vec::new();
    for (file, floor) in FILES {
        let mut ran = 0;
        for line in golden(&format!("{file}.jsonl")).lines() {
            let case: Json = serde_json::from_str(line).unwrap();
            let id = case["id"].as_str().unwrap();
            let outcome = run(&case);
            ran += 1;
            let as_connect = outcome.differs_from(&case["expect"]);
            match (deviations.remove(id), as_connect) {
                (None, None) => {}
                (None, Some(difference)) => failures.push(format!("{id}: {difference}")),
                (Some(_), None) => failures.push(format!("{id}: is no deviation any more, remove it from the list")),
                (Some(deviation), Some(_)) => {
                    // A reason, or `{"reason", "expect"}` where Klamm's own answer is held to.
                    let reason = deviation.as_str().or_else(|| deviation["reason"].as_str());
                    assert!(reason.is_some(), "{id}: a deviation needs a reason");
                    let difference = deviation.get("expect").and_then(|expect| outcome.differs_from(expect));
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
    assert!(
        deviations.is_empty(),
        "deviations without a case: {:?}",
        deviations.keys()
    );
}
