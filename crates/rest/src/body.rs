//! What clients send: bounded, and read into configurations whose values are text.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use http_body_util::BodyExt;
use klamm_runtime::{NewOffset, OffsetChange, Redrive, SubmittedConfig, TargetState};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::ApiError;
use crate::room::NoRoom;

/// Bytes in a request body: several thousand settings.
pub(crate) const MAX_BYTES: usize = 1024 * 1024;
/// Records that a redrive writes in a second, if it says nothing else.
const REDRIVES_PER_SECOND: u32 = 100;
/// Bytes that are read of a body that is too large, before its sender is cut off.
const MAX_DRAINED: usize = 64 * 1024 * 1024;
const TOPIC: &str = "kafka_topic";
const PARTITION: &str = "kafka_partition";
const OFFSET: &str = "kafka_offset";
/// Records in one preview.
const MAX_RECORDS: usize = 100;
/// How long a client may take to send a body.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// A JSON object whose values are not looked at yet. Of equal keys the last one counts, as in Connect.
type Fields = BTreeMap<String, Box<RawValue>>;

/// `POST /connectors`.
#[derive(Debug)]
pub(crate) struct Create {
    pub(crate) name: String,
    pub(crate) config: SubmittedConfig,
    pub(crate) initial_state: Option<TargetState>,
    pub(crate) initial_offsets: Option<Vec<OffsetChange>>,
}

/// An entry of `offsets` whose fields are known, and whose content nobody has looked at yet.
#[derive(Debug)]
pub(crate) struct OffsetEntry(Fields);

/// `POST /connectors/{name}/preview` and `POST /connector-plugins/{class}/config/preview`.
#[derive(Debug)]
pub(crate) struct Preview {
    pub(crate) config: Option<SubmittedConfig>,
    pub(crate) records: Vec<Box<RawValue>>,
}

/// The bytes of a body.
pub(crate) async fn read(body: Body) -> Result<Vec<u8>, ApiError> {
    match tokio::time::timeout(READ_TIMEOUT, collect(body)).await {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => Err(ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("The request body is larger than {MAX_BYTES} bytes"),
        )),
        Ok(Err(error)) if NoRoom::is_cause_of(&error) => {
            Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, NoRoom.to_string()))
        }
        Ok(Err(error)) => Err(ApiError::bad_request(format!(
            "The request body cannot be read: {error}"
        ))),
        Err(_) => Err(ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("The request body did not arrive within {} s", READ_TIMEOUT.as_secs()),
        )),
    }
}

/// The bytes; none if there are too many. The rest of a large body is taken and thrown away, within bounds: a client that
/// is still sending would not read the answer.
async fn collect(mut body: Body) -> Result<Option<Vec<u8>>, axum::Error> {
    let (mut bytes, mut length) = (Vec::new(), 0_usize);
    while length <= MAX_DRAINED
        && let Some(frame) = body.frame().await
    {
        let Ok(data) = frame?.into_data() else { continue };
        length = length.saturating_add(data.len());
        if length <= MAX_BYTES {
            bytes.extend_from_slice(&data);
        } else {
            bytes = Vec::new();
        }
    }
    Ok((length <= MAX_BYTES).then_some(bytes))
}

/// The body of `POST /connectors`.
pub(crate) fn create(body: &[u8]) -> Result<Create, ApiError> {
    let mut fields = fields(body)?;
    if !fields.contains_key("config") && fields.contains_key("connector.class") {
        return Err(ApiError::bad_request(
            "The body is a flat configuration: POST /connectors takes {\"name\": …, \"config\": {…}}; PUT \
             /connectors/{name}/config takes the flat form",
        ));
    }
    let name = take_text(&mut fields, "name")?.unwrap_or_default();
    let config = fields.remove("config").filter(|config| config.get() != "null");
    let initial_state = take_text(&mut fields, "initial_state")?
        .map(|state| target_state(&state))
        .transpose()?;
    let initial_offsets = fields
        .remove("initial_offsets")
        .filter(|offsets| offsets.get() != "null")
        .map(|offsets| altered(&entries(&offsets, "initial_offsets", "offset")?))
        .transpose()?;
    if let Some(unknown) = fields.keys().next() {
        return Err(ApiError::bad_request(format!(
            "Unknown field `{unknown}`: accepted are `name`, `config`, `initial_state` and `initial_offsets`; settings of \
             the connector belong into `config`"
        )));
    }
    let config =
        config.ok_or_else(|| ApiError::bad_request("Field `config` is missing: it holds the connector's settings"))?;
    let config = nested_config(&config)?;
    // Java's trim: everything up to the space.
    let name = name.trim_matches(|c| c <= ' ').to_owned();
    Ok(Create {
        name,
        config,
        initial_state,
        initial_offsets,
    })
}

/// The body of `PATCH /connectors/{name}/offsets`.
pub(crate) fn offsets(body: &[u8]) -> Result<Vec<OffsetEntry>, ApiError> {
    offset_entries(body, "offset")
}

/// The body of `PUT /connectors/{name}/offsets`.
pub(crate) fn times(body: &[u8]) -> Result<Vec<OffsetEntry>, ApiError> {
    offset_entries(body, "timestamp")
}

fn offset_entries(body: &[u8], to: &str) -> Result<Vec<OffsetEntry>, ApiError> {
    let mut fields = fields(body)?;
    let offsets = fields.remove("offsets").filter(|offsets| offsets.get() != "null");
    if let Some(unknown) = fields.keys().next() {
        return Err(ApiError::bad_request(format!(
            "Unknown field `{unknown}`: accepted is `offsets`"
        )));
    }
    match offsets {
        Some(offsets) => entries(&offsets, "offsets", to),
        None => Err(no_entries("offsets")),
    }
}

fn no_entries(field: &str) -> ApiError {
    ApiError::bad_request(format!(
        "Partitions and offsets need to be provided in `{field}`: an array of \
         {{\"partition\": {{\"kafka_topic\": …, \"kafka_partition\": …}}, …}}"
    ))
}

/// The entries of an array, each with a `partition` and what it is to become.
fn entries(array: &RawValue, field: &str, to: &str) -> Result<Vec<OffsetEntry>, ApiError> {
    let entries: Vec<Fields> = serde_json::from_str(array.get())
        .map_err(|_| ApiError::bad_request(format!("Field `{field}` must be an array of JSON objects")))?;
    if entries.is_empty() {
        return Err(no_entries(field));
    }
    let unknown = |entry: &Fields| entry.keys().find(|key| *key != "partition" && *key != to).cloned();
    if let Some(unknown) = entries.iter().find_map(unknown) {
        return Err(ApiError::bad_request(format!(
            "Unknown field `{unknown}` in an entry of `{field}`: accepted are `partition` and `{to}`"
        )));
    }
    Ok(entries.into_iter().map(OffsetEntry).collect())
}

/// The changes that the entries ask for: an `offset` of null or none is a reset.
pub(crate) fn altered(entries: &[OffsetEntry]) -> Result<Vec<OffsetChange>, ApiError> {
    let change = |OffsetEntry(entry): &OffsetEntry| {
        let (topic, partition) = partition(entry)?;
        let missing = || {
            ApiError::bad_request(format!(
                "The partition of a sink's offset must have the keys `{TOPIC}` and `{PARTITION}`"
            ))
        };
        let partition = Some(partition.ok_or_else(missing)?);
        let to = match entry.get("offset").filter(|offset| offset.get() != "null") {
            None => NewOffset::Reset,
            Some(offset) => {
                let offset: Fields = serde_json::from_str(offset.get())
                    .map_err(|_| ApiError::bad_request("The offset of a sink must be a JSON object, or null"))?;
                let offset = offset.get(OFFSET).ok_or_else(|| {
                    ApiError::bad_request(format!("The offset of a sink must be null or have the key `{OFFSET}`"))
                })?;
                NewOffset::At(integer(offset, OFFSET)?)
            }
        };
        Ok(OffsetChange { topic, partition, to })
    };
    entries.iter().map(change).collect()
}

/// The changes that the entries ask for: where a `timestamp` leads, in one partition or in all of a topic.
pub(crate) fn sought(entries: &[OffsetEntry]) -> Result<Vec<OffsetChange>, ApiError> {
    let change = |OffsetEntry(entry): &OffsetEntry| {
        let (topic, partition) = partition(entry)?;
        let time = entry
            .get("timestamp")
            .ok_or_else(|| ApiError::bad_request("Field `timestamp` is missing: milliseconds since 1970"))?;
        let time: i64 = integer(time, "timestamp")?;
        if time < 0 {
            return Err(ApiError::bad_request(format!(
                "Value {time} of `timestamp` is before 1970: milliseconds since then are accepted"
            )));
        }
        let to = NewOffset::Time(time);
        Ok(OffsetChange { topic, partition, to })
    };
    entries.iter().map(change).collect()
}

/// Topic and partition of an entry. Further keys in there mean nothing, as in Connect.
fn partition(entry: &Fields) -> Result<(String, Option<i32>), ApiError> {
    let partition = entry.get("partition").filter(|partition| partition.get() != "null");
    let partition =
        partition.ok_or_else(|| ApiError::bad_request("The partition of a sink's offset cannot be null or missing"))?;
    let partition: Fields = serde_json::from_str(partition.get())
        .map_err(|_| ApiError::bad_request("The partition of a sink's offset must be a JSON object"))?;
    let topic = partition.get(TOPIC).ok_or_else(|| {
        ApiError::bad_request(format!(
            "The partition of a sink's offset must have the keys `{TOPIC}` and `{PARTITION}`"
        ))
    })?;
    let topic = text(topic)
        .flatten()
        .ok_or_else(|| ApiError::bad_request(format!("Value of `{TOPIC}` must be a string, and may not be null")))?;
    let number = partition
        .get(PARTITION)
        .map(|number| integer(number, PARTITION))
        .transpose()?;
    Ok((topic, number))
}

/// A whole number, also one in quotes.
fn integer<T: FromStr>(value: &RawValue, key: &str) -> Result<T, ApiError> {
    let number = text(value).flatten().and_then(|text| text.parse().ok());
    number.ok_or_else(|| ApiError::bad_request(format!("Value of `{key}` must be an integer, and may not be null")))
}

/// The body of `PUT /admin/loggers/{logger}`: the level, as it was written. Other fields mean nothing, as in Connect.
pub(crate) fn level(body: &[u8]) -> Result<String, ApiError> {
    let mut fields = fields(body)?;
    let level = take_text(&mut fields, "level")?;
    level.ok_or_else(|| {
        ApiError::bad_request("Field `level` is missing: one of OFF, FATAL, ERROR, WARN, INFO, DEBUG, TRACE, ALL")
    })
}

/// The body of a preview.
pub(crate) fn preview(body: &[u8]) -> Result<Preview, ApiError> {
    let mut fields = fields(body)?;
    let config = fields.remove("config").filter(|config| config.get() != "null");
    let records = fields
        .remove("records")
        .ok_or_else(|| ApiError::bad_request("Field `records` is missing: it holds an array of records"))?;
    if let Some(unknown) = fields.keys().next() {
        return Err(ApiError::bad_request(format!(
            "Unknown field `{unknown}`: accepted are `config` and `records`"
        )));
    }
    let records: Vec<Box<RawValue>> = serde_json::from_str(records.get())
        .map_err(|_| ApiError::bad_request("Field `records` must be an array of records"))?;
    if records.len() > MAX_RECORDS {
        return Err(ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!(
                "{} records are more than the {MAX_RECORDS} of one preview",
                records.len()
            ),
        ));
    }
    Ok(Preview {
        config: config.map(|config| nested_config(&config)).transpose()?,
        records,
    })
}

/// The body of a redrive; an empty one leaves everything as it is by default.
pub(crate) fn redrive(body: &[u8]) -> Result<Redrive, ApiError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Fields {
        #[serde(default)]
        dry_run: bool,
        records_per_second: Option<u32>,
        max_records: Option<u64>,
        max_redrives: Option<u32>,
    }
    let body = if body.iter().all(u8::is_ascii_whitespace) {
        b"{}"
    } else {
        body
    };
    let fields: Fields = serde_json::from_slice(body).map_err(|error| {
        ApiError::bad_request(format!(
            "The request body must be a JSON object with any of `dry_run` (boolean), `records_per_second`, `max_records` \
             and `max_redrives` (numbers): {error}"
        ))
    })?;
    if fields.records_per_second == Some(0) {
        return Err(ApiError::bad_request("Field `records_per_second` must be at least 1"));
    }
    Ok(Redrive {
        dry_run: fields.dry_run,
        records_per_second: fields.records_per_second.unwrap_or(REDRIVES_PER_SECOND),
        max_records: fields.max_records,
        max_redrives: fields.max_redrives.unwrap_or(1),
    })
}

/// The settings that stand under `config`.
fn nested_config(config: &RawValue) -> Result<SubmittedConfig, ApiError> {
    let config: Fields = serde_json::from_str(config.get())
        .map_err(|_| ApiError::bad_request("Field `config` must be a JSON object of the connector's settings"))?;
    values(config)
}

/// A flat configuration.
pub(crate) fn config(body: &[u8]) -> Result<SubmittedConfig, ApiError> {
    let fields = fields(body)?;
    if fields.get("config").is_some_and(|config| config.get().starts_with('{')) {
        return Err(ApiError::bad_request(
            "Value of `config` is an object: this request takes the flat configuration itself, that is only what stands \
             under `config` in the body of POST /connectors",
        ));
    }
    values(fields)
}

fn fields(body: &[u8]) -> Result<Fields, ApiError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(ApiError::bad_request("The request body is empty: send a JSON object"));
    }
    serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            // serde's text would quote the value, which may be a secret.
            ApiError::bad_request("The request body must be a JSON object")
        } else {
            ApiError::bad_request(format!("The request body is not valid JSON: {error}"))
        }
    })
}

fn values(fields: Fields) -> Result<SubmittedConfig, ApiError> {
    let mut config = SubmittedConfig::new();
    let mut refused = Vec::new();
    for (key, value) in fields {
        match text(&value) {
            Some(text) => drop(config.insert(key, text)),
            None => refused.push(format!("`{key}`")),
        }
    }
    if refused.is_empty() {
        Ok(config)
    } else {
        Err(ApiError::bad_request(format!(
            "Value of {} must be a string, a number, a boolean or null: objects, arrays and broken escapes are not accepted",
            refused.join(", ")
        )))
    }
}

/// The text of a scalar, as it was written; the inner none is null. The outer none is anything else.
#[expect(clippy::option_option, reason = "null is a value that validation refuses by its key")]
fn text(value: &RawValue) -> Option<Option<String>> {
    match value.get().as_bytes().first()? {
        b'{' | b'[' => None,
        b'n' => Some(None),
        b'"' => serde_json::from_str(value.get()).ok().map(Some),
        _ => Some(Some(value.get().to_owned())),
    }
}

fn take_text(fields: &mut Fields, name: &str) -> Result<Option<String>, ApiError> {
    let Some(value) = fields.remove(name) else {
        return Ok(None);
    };
    text(&value).ok_or_else(|| ApiError::bad_request(format!("Field `{name}` must be a string")))
}

fn target_state(text: &str) -> Result<TargetState, ApiError> {
    match text.to_ascii_uppercase().as_str() {
        "RUNNING" => Ok(TargetState::Started),
        "PAUSED" => Ok(TargetState::Paused),
        "STOPPED" => Ok(TargetState::Stopped),
        _ => Err(ApiError::bad_request(
            "Field `initial_state` must be one of RUNNING, PAUSED, STOPPED",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_become_the_text_they_were_written_in() {
        let body = br#"{"a":1.50,"b":true,"c":1e3,"d":"x\u00fc","e":null,"f":1,"f":2}"#;
        let config = config(body).unwrap();
        let shown: Vec<_> = config
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_deref()))
            .collect();
        let wanted = [
            ("a", Some("1.50")),
            ("b", Some("true")),
            ("c", Some("1e3")),
            ("d", Some("xü")),
            ("e", None),
            ("f", Some("2")),
        ];
        assert_eq!(shown, wanted);
    }
}
