//! What tools ask about functions: GetFunction, GetFunctionConfiguration, lists of functions, versions and aliases.

use std::time::Duration;

use http::StatusCode;
use http::request::Parts;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::function::{Function, Version};
use super::http::Answer;
use super::invoke;
use super::runner::Runner;
use crate::api::{Refusal, qualifier, split_name};

pub(super) fn answer(runner: &Runner, parts: &Parts) -> Result<Answer, Refusal> {
    let path = parts
        .uri
        .path()
        .strip_prefix("/2015-03-31/functions")
        .ok_or(Refusal::UnknownOperation)?;
    let mut steps = path
        .trim_matches('/')
        .split('/')
        .map(|step| percent_decode_str(step).decode_utf8_lossy());
    let name = steps.next().unwrap_or_default();
    let (what, which) = (steps.next(), steps.next());
    if steps.next().is_some() {
        return Err(Refusal::UnknownOperation);
    }
    if name.is_empty() {
        return Ok(document(&list(runner)));
    }
    let (bare, in_name) = split_name(&name);
    let in_query = qualifier(parts);
    let wanted = in_query.as_deref().or(in_name);
    let function = runner
        .function(bare)
        .ok_or_else(|| invoke::not_found(runner, bare, wanted))?;
    let version = || {
        function
            .version(wanted)
            .ok_or_else(|| invoke::not_found(runner, bare, wanted))
    };
    let value = match (what.as_deref(), which.as_deref()) {
        (None, None) => {
            let version = version()?;
            let mut value = json!({
                "Configuration": configuration(function, version, wanted),
                "Code": {"RepositoryType": "local", "Location": version.handler.file.display().to_string()},
                "Tags": {},
            });
            if let Some(reserved) = function.config.reserved_concurrency {
                value["Concurrency"] = json!({"ReservedConcurrentExecutions": reserved});
            }
            value
        }
        (Some("configuration"), None) => configuration(function, version()?, wanted),
        (Some("versions"), None) => {
            let each = function.versions.iter();
            let versions = each.map(|version| configuration(function, version, Some(&version.number)));
            json!({"Versions": versions.collect::<Vec<_>>()})
        }
        (Some("aliases"), None) => {
            let aliases = function.config.aliases.keys().filter_map(|name| alias(function, name));
            json!({"Aliases": aliases.collect::<Vec<_>>()})
        }
        (Some("aliases"), Some(name)) => {
            alias(function, name).ok_or_else(|| invoke::not_found(runner, bare, Some(name)))?
        }
        _ => return Err(Refusal::UnknownOperation),
    };
    Ok(document(&value))
}

fn document(value: &Value) -> Answer {
    invoke::json(StatusCode::OK, value.to_string().into())
}

/// All on one page.
fn list(runner: &Runner) -> Value {
    let functions = runner.functions().iter();
    let functions = functions.filter_map(|function| Some(configuration(function, function.version(None)?, None)));
    json!({"Functions": functions.collect::<Vec<_>>()})
}

fn configuration(function: &Function, version: &Version, asked: Option<&str>) -> Value {
    let config = &function.config;
    let arn = match asked {
        Some(qualifier) => format!("{}:{qualifier}", function.arn),
        None => function.arn.clone(),
    };
    json!({
        "FunctionName": config.name,
        "FunctionArn": arn,
        "Runtime": version.handler.language.runtime(),
        "Handler": version.handler.name,
        "Version": &*version.number,
        "Timeout": whole_seconds(config.timeout),
        "MemorySize": config.memory_mb,
        "Environment": {"Variables": config.environment},
        "PackageType": "Zip",
        "State": "Active",
        "LastUpdateStatus": "Successful",
    })
}

/// Lambda knows whole seconds only: a caller that waits that long waits long enough.
fn whole_seconds(timeout: Duration) -> u64 {
    timeout.as_secs() + u64::from(timeout.subsec_nanos() > 0)
}

fn alias(function: &Function, name: &str) -> Option<Value> {
    let version = function.config.aliases.get(name)?;
    Some(json!({
        "AliasArn": format!("{}:{name}", function.arn),
        "Name": name,
        "FunctionVersion": version,
    }))
}
