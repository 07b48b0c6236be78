//! What clients send: bounded, and read into configurations whose values are text.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use klamm_runtime::{Redrive, SubmittedConfig, TargetState};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::ApiError;

/// Bytes in a request body: several thousand settings.
const MAX_BYTES: usize = 1024 * 1024;
/// Records that a redrive writes in a second, if it says nothing else.
const REDRIVES_PER_SECOND: u32 = 100;
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
}

/// `POST /connectors/{name}/preview` and `POST /connector-plugins/{class}/config/preview`.
#[derive(Debug)]
pub(crate) struct Preview {
    pub(crate) config: Option<SubmittedConfig>,
    pub(crate) records: Vec<Box<RawValue>>,
}

pub(crate) async fn read(body: Body) -> Result<Vec<u8>, ApiError> {
    match tokio::time::timeout(READ_TIMEOUT, Limited::new(body, MAX_BYTES).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes().into()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("The request body is larger than {MAX_BYTES} bytes"),
        )),
        Ok(Err(error)) => Err(ApiError::bad_request(format!(
            "The request body cannot be read: {error}"
        ))),
        Err(_) => Err(ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("The request body did not arrive within {} s", READ_TIMEOUT.as_secs()),
        )),
    }
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
    if let Some(unknown) = fields.keys().next() {
        return Err(ApiError::bad_request(format!(
            "Unknown field `{unknown}`: accepted are `name`, `config` and `initial_state`; settings of the connector \
             belong into `config`"
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
    let body = if body.iter().all(u8::is_ascii_whitespace) { b"{}" } else { body };
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
