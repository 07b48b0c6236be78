//! What Apache Kafka Connect answered, request by request.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "test code")]

#[allow(dead_code, reason = "each test binary uses its part")]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::Router;
use serde_json::Value;
use support::{Answer, ScriptedKafka, about, herder_of, send};

const TRANSCRIPT: &str = include_str!("../../../tests/golden/rest/transcript.jsonl");
const DEVIATIONS: &str = include_str!("deviations.md");

/// A row of the table of deviations.
struct Deviation {
    status: u16,
    /// One of the classes of better answers that were decided for the API as a whole.
    is_named: bool,
}

fn deviations() -> BTreeMap<&'static str, Deviation> {
    let rows = DEVIATIONS.lines().filter(|line| line.starts_with("| ")).skip(1);
    let row = |line: &'static str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [id, status, kind, why] = cells[..] else {
            panic!("not a row: {line}")
        };
        assert!(
            why.ends_with('.') && why.split(' ').count() > 5,
            "{id} needs a whole sentence: {why}"
        );
        let deviation = Deviation {
            status: status.parse().unwrap(),
            is_named: kind == "named",
        };
        (id, deviation)
    };
    rows.map(row).collect()
}

/// Why an answer is not the recorded one.
fn difference(wanted: &Value, answer: &Answer) -> Option<String> {
    let status = wanted["status"].as_u64().unwrap();
    if u64::from(answer.status) != status {
        return Some(format!("status {} instead of {status}: {}", answer.status, answer.body));
    }
    let header = |name: &str| wanted["headers"].get(name).and_then(Value::as_str).map(str::to_owned);
    let json = header("content-type").map(|kind| kind.replace(";charset=utf-8", ""));
    if answer.content_type != json {
        return Some(format!("content type {:?} instead of {json:?}", answer.content_type));
    }
    if answer.location != header("location") {
        return Some(format!(
            "location {:?} instead of {:?}",
            answer.location,
            header("location")
        ));
    }
    let methods = |text: &str| -> BTreeSet<String> { text.split(',').map(|name| name.trim().to_owned()).collect() };
    if let Some(allow) = header("allow") {
        let body = methods(wanted["body_text"].as_str().unwrap());
        let ours = answer.body.as_str().map(methods).unwrap_or_default();
        let given = answer.allow.as_deref().map(methods).unwrap_or_default();
        return (given != methods(&allow) || ours != body).then(|| format!("{given:?} instead of {allow}"));
    }
    let wanted = wanted
        .get("body")
        .or_else(|| wanted.get("body_text"))
        .unwrap_or(&Value::Null);
    body_difference(wanted, &answer.body)
}

fn body_difference(wanted: &Value, ours: &Value) -> Option<String> {
    if wanted.get("configs").is_some() {
        return validation_difference(wanted, ours);
    }
    match wanted.as_array().and_then(|items| items.first()) {
        Some(first) if first.get("version").is_some() && first.get("class").is_some() => {
            return plugins_difference(wanted, ours);
        }
        Some(first) if first.get("default_value").is_some() => return definitions_difference(wanted, ours),
        _ => {}
    }
    let is_refusal = wanted.get("message").is_some() && wanted.get("error_code").is_some();
    if is_refusal {
        return message_difference(&wanted["message"], &ours["message"]);
    }
    let (mut wanted, mut ours) = (wanted.clone(), ours.clone());
    for body in [&mut wanted, &mut ours] {
        normalize(body);
    }
    (wanted != ours).then(|| format!("{ours}\n   instead of {wanted}"))
}

/// The order of names means nothing, and the tasks here have no Java class.
fn normalize(value: &mut Value) {
    match value {
        Value::Array(items) => {
            items.iter_mut().for_each(normalize);
            items.sort_by_key(Value::to_string);
        }
        Value::Object(fields) => {
            fields.shift_remove("task.class");
            fields.values_mut().for_each(normalize);
        }
        _ => {}
    }
}

/// A refusal may say more than Connect's, line by line, and names the keys; it never quotes a configuration as a whole.
fn message_difference(wanted: &Value, ours: &Value) -> Option<String> {
    let (wanted, ours) = (wanted.as_str()?, ours.as_str().unwrap_or_default());
    if wanted.starts_with("Connector config {") && wanted.ends_with("contains no connector type") {
        return (!ours.starts_with("Connector config contains no connector type"))
            .then(|| format!("{ours} instead of {wanted}"));
    }
    if let Some((said, _)) = wanted.split_once(", available connectors are: ") {
        // From the second time on the name of a Java exception stands before it.
        let said = said.find("Failed to find").and_then(|start| said.get(start..)).unwrap();
        return (!ours.starts_with(said)).then(|| format!("{ours} instead of {wanted}"));
    }
    let mut lines = ours.lines();
    for wanted in wanted.lines() {
        let ours = lines.next().unwrap_or_default();
        // `key`: text
        let text = ours
            .strip_prefix('`')
            .and_then(|rest| rest.split_once("`: "))
            .map_or(ours, |(_, text)| text);
        if !ours.starts_with(wanted) && !text.starts_with(wanted) {
            return Some(format!("{ours:?} instead of {wanted:?}"));
        }
    }
    None
}

/// Everything that runs here is listed as Connect lists it; sources do not, and there is more here.
fn plugins_difference(wanted: &Value, ours: &Value) -> Option<String> {
    let named = |list: &Value| -> Vec<(String, String)> {
        let text = |plugin: &Value, field: &str| plugin[field].as_str().unwrap().to_owned();
        let plugins = list.as_array().unwrap().iter();
        plugins
            .map(|plugin| (text(plugin, "class"), text(plugin, "type")))
            .collect()
    };
    let ours = named(ours);
    let mut places = Vec::new();
    for plugin in named(wanted).into_iter().filter(|(_, kind)| kind != "source") {
        match ours.iter().position(|listed| *listed == plugin) {
            Some(place) => places.push(place),
            None => return Some(format!("{plugin:?} is not listed")),
        }
    }
    (!places.is_sorted()).then(|| format!("another order: {ours:?}"))
}

/// Versions are our own.
fn is_version(key: &Value) -> bool {
    key.as_str().unwrap().ends_with("plugin.version")
}

/// The framework's keys are defined as in Connect, but for their documentation.
fn definition_difference(wanted: &Value, ours: &Value) -> Option<String> {
    let fields = [
        "name",
        "type",
        "required",
        "default_value",
        "importance",
        "group",
        "width",
        "display_name",
        "dependents",
    ];
    let differs = |field: &str| match field {
        // What a plugin of Connect leaves in no group is grouped here.
        "group" if wanted[field].is_null() => false,
        "default_value" if is_version(&wanted["name"]) => wanted[field].is_null() != ours[field].is_null(),
        _ => wanted[field] != ours[field],
    };
    let differs = fields.iter().find(|field| differs(field))?;
    Some(format!(
        "{}: {differs} is {} instead of {}",
        wanted["name"], ours[*differs], wanted[*differs]
    ))
}

fn definitions_difference(wanted: &Value, ours: &Value) -> Option<String> {
    let ours = ours.as_array().unwrap();
    let mut wanted = wanted.as_array().unwrap().iter();
    wanted.find_map(|key| match ours.iter().find(|listed| listed["name"] == key["name"]) {
        Some(listed) => definition_difference(key, listed),
        None => Some(format!("{} is not listed", key["name"])),
    })
}

fn validation_difference(wanted: &Value, ours: &Value) -> Option<String> {
    for field in ["name", "error_count"] {
        if wanted[field] != ours[field] {
            return Some(format!(
                "{field} is {} instead of {}: {}",
                ours[field],
                wanted[field],
                errors(ours)
            ));
        }
    }
    let group_names = |validation: &Value| -> Vec<String> {
        let groups = validation["groups"].as_array().unwrap().iter();
        groups.map(|group| group.as_str().unwrap().to_owned()).collect()
    };
    let listed = group_names(ours);
    let places = group_names(wanted)
        .iter()
        .map(|group| listed.iter().position(|listed| listed == group))
        .collect::<Option<Vec<usize>>>();
    if !places.is_some_and(|places| places.is_sorted()) {
        return Some(format!("groups are {listed:?} instead of {}", wanted["groups"]));
    }
    let listed = ours["configs"].as_array().unwrap();
    let mut keys = wanted["configs"].as_array().unwrap().iter();
    keys.find_map(|key| {
        let name = &key["value"]["name"];
        let Some(ours) = listed.iter().find(|listed| listed["value"]["name"] == *name) else {
            return Some(format!("{name} is not listed"));
        };
        if let Some(differs) = key["definition"]
            .as_object()
            .and_then(|_| definition_difference(&key["definition"], &ours["definition"]))
        {
            return Some(differs);
        }
        value_difference(&key["value"], &ours["value"])
    })
}

fn value_difference(wanted: &Value, ours: &Value) -> Option<String> {
    let name = &wanted["name"];
    if is_version(name) {
        let is_given = |value: &Value| !value["value"].is_null();
        return (is_given(wanted) != is_given(ours)).then(|| format!("{name}: {ours} instead of {wanted}"));
    }
    for field in ["value", "visible"] {
        if wanted[field] != ours[field] {
            return Some(format!(
                "{name}: {field} is {} instead of {}",
                ours[field], wanted[field]
            ));
        }
    }
    let texts = |value: &Value, field: &str| -> Vec<String> {
        let texts = value[field].as_array().unwrap().iter();
        texts.map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let (wanted_errors, our_errors) = (texts(wanted, "errors"), texts(ours, "errors"));
    let is_said = wanted_errors.len() == our_errors.len()
        && wanted_errors
            .iter()
            .zip(&our_errors)
            .all(|(wanted, ours)| ours.starts_with(wanted.as_str()));
    if !is_said {
        return Some(format!(
            "{name}: errors are {our_errors:?} instead of {wanted_errors:?}"
        ));
    }
    let recommended = texts(ours, "recommended_values");
    let missing = texts(wanted, "recommended_values")
        .into_iter()
        .find(|value| !recommended.contains(value));
    missing.map(|value| format!("{name}: {value} is not recommended"))
}

fn errors(validation: &Value) -> String {
    let keys = validation["configs"].as_array().into_iter().flatten();
    let errors = keys.map(|key| &key["value"]["errors"]);
    errors
        .filter(|errors| **errors != Value::Array(Vec::new()))
        .map(Value::to_string)
        .collect()
}

/// Sends a recorded request, again and again if it reads: a state takes a moment to come about. Time is paused.
async fn replayed(router: &Router, entry: &Value) -> (Answer, Option<String>) {
    let request = &entry["request"];
    let text = |name: &str| request[name].as_str().unwrap();
    let headers: Vec<(&str, &str)> = request["headers"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str().unwrap()))
        .collect();
    let body = match (request.get("body_text"), request.get("body")) {
        (Some(text), _) => text.as_str().unwrap().to_owned(),
        (None, Some(body)) => body.to_string(),
        (None, None) => String::new(),
    };
    let mut tries = if text("method") == "GET" { 50 } else { 1 };
    loop {
        let answer = send(router, text("method"), text("path"), &headers, body.clone()).await;
        let difference = difference(&entry["response"], &answer);
        tries -= 1;
        if difference.is_none() || tries == 0 {
            return (answer, difference);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn requests_are_answered_as_apache_kafka_connect_answers_them() {
    let kafka = ScriptedKafka::new();
    // The recorded worker's converters.
    let string = "org.apache.kafka.connect.storage.StringConverter";
    let converters = [("key.converter", string), ("value.converter", string)];
    let router = klamm_rest::router(herder_of(Vec::new(), &converters, &kafka).await, about());
    let deviations = deviations();
    let mut wrong = Vec::new();
    let mut met = BTreeSet::new();
    let mut compared = 0;
    for line in TRANSCRIPT.lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        match entry.get("action").and_then(Value::as_str) {
            Some("produce") => {
                let records = i64::try_from(entry["records"].as_array().unwrap().len()).unwrap();
                let partition = i32::try_from(entry["partition"].as_i64().unwrap()).unwrap();
                kafka.produce(entry["topic"].as_str().unwrap(), partition, records);
            }
            // The script's topics are there once they have a record.
            Some("create_topic") => {}
            Some(action) => panic!("unknown action {action}"),
            None => {
                let id = entry["id"].as_str().unwrap();
                let (answer, difference) = replayed(&router, &entry).await;
                compared += 1;
                let request = format!("{id} {} {}", entry["request"]["method"], entry["request"]["path"]);
                match (deviations.get_key_value(id), difference) {
                    (None, None) => {}
                    (None, Some(difference)) => wrong.push(format!("{request}: {difference}")),
                    (Some((id, deviation)), Some(_)) if answer.status == deviation.status => drop(met.insert(*id)),
                    (Some((_, deviation)), Some(_)) => wrong.push(format!(
                        "{request}: status {}, the table of deviations says {}",
                        answer.status, deviation.status
                    )),
                    (Some(_), None) => {
                        wrong.push(format!("{request}: answered as in Connect, and listed as a deviation"));
                    }
                }
            }
        }
    }
    assert_eq!(compared, 468);
    let unknown: Vec<&&str> = deviations.keys().filter(|id| !met.contains(**id)).collect();
    assert!(
        wrong.is_empty() && unknown.is_empty(),
        "{} of {compared} differ:\n{}\nlisted as a deviation, and not met: {unknown:?}",
        wrong.len(),
        wrong.join("\n")
    );
    let own = deviations.values().filter(|deviation| !deviation.is_named).count();
    assert!(
        own * 100 <= compared * 3,
        "{own} of {compared} answers differ beyond what was decided"
    );
}
