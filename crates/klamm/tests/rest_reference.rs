//! `docs/rest-api.md` is generated from the OpenAPI document.
//! `KLAMM_UPDATE_DOCS=1 cargo test -p klamm --test rest_reference` writes it anew.

#![allow(clippy::unwrap_used, reason = "test code")]

#[allow(dead_code, unreachable_pub, reason = "each test binary has its own")]
mod support;

use std::fmt::Write;

use serde_json::Value;
use support::check;

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_else(|| panic!("{member} of {value}"))
}

/// The operation as a command for a shell.
fn curl(server: &str, method: &str, path: &str, operation: &Value) -> String {
    let path = path
        .replace("{connector}", "orders")
        .replace("{task}", "0")
        .replace("{plugin}", "AwsLambdaSinkConnector")
        .replace("{logger}", "klamm_delivery");
    let mut command = String::from("curl");
    if method != "get" {
        write!(command, " -X {}", method.to_uppercase()).unwrap();
    }
    write!(command, " {server}{path}").unwrap();
    if let Some(content) = operation.pointer("/requestBody/content/application~1json") {
        write!(
            command,
            " \\\n  -H 'Content-Type: application/json' \\\n  -d '{}'",
            content["example"]
        )
        .unwrap();
    }
    command
}

fn operation(out: &mut String, server: &str, method: &str, path: &str, operation: &Value) {
    writeln!(
        out,
        "\n## {} {path}\n\n{}.\n",
        method.to_uppercase(),
        text(operation, "summary")
    )
    .unwrap();
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let query: Vec<&Value> = parameters.filter(|parameter| parameter["in"] == "query").collect();
    if !query.is_empty() {
        out.push_str("| Parameter | Type | Meaning |\n|---|---|---|\n");
        for parameter in query {
            let kind = parameter["schema"]["type"].as_str().unwrap();
            let (name, meaning) = (text(parameter, "name"), text(parameter, "description"));
            writeln!(out, "| `{name}` | {kind} | {meaning} |").unwrap();
        }
        out.push('\n');
    }
    if let Some(body) = operation.get("requestBody") {
        writeln!(out, "Body: {}.\n", text(body, "description")).unwrap();
    }
    out.push_str("| Status | Answer |\n|---|---|\n");
    for (status, response) in operation["responses"].as_object().unwrap() {
        if status != "default" {
            writeln!(out, "| {status} | {} |", text(response, "description")).unwrap();
        }
    }
    writeln!(out, "\n```sh\n{}\n```", curl(server, method, path, operation)).unwrap();
}

fn reference() -> String {
    // Whatever the version, the page is the same.
    let document = klamm_rest::openapi("");
    let mut out = String::from(
        "# REST API\n\n\
         Generated from the OpenAPI document, which a worker answers at `GET /openapi.json` with the schemas of all bodies. \
         Paths, codes, bodies and texts are Apache Kafka Connect's as far as Connect has them. Where something is refused or \
         fails, the body is `{\"error_code\": …, \"message\": …}`. Every path answers HEAD where it answers GET, and OPTIONS; a \
         slash at its end means nothing. Names in paths are percent-encoded (`/` is `%2F`).\n",
    );
    let server = text(&document["servers"][0], "url");
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, described) in operations.as_object().unwrap() {
            operation(&mut out, server, method, path, described);
        }
    }
    out
}

#[test]
fn the_reference_of_the_rest_api_is_current() {
    check("rest-api.md", &reference(), "rest_reference");
}
