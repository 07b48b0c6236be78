//! Where the API goes beyond the recorded answers: texts of refusals, secrets, validation, restarts.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "test code")]

#[allow(dead_code, reason = "each test binary uses its part")]
mod support;

use std::time::Duration;

use axum::Router;
use serde_json::{Value, json};
use support::{Answer, about, herder, send};

const JSON: (&str, &str) = ("content-type", "application/json");
const CLASS: &str = "FileStreamSink";

async fn router() -> Router {
    klamm_rest::router(herder().await, about())
}

async fn put(router: &Router, path: &str, body: &Value) -> Answer {
    send(router, "PUT", path, &[JSON], body.to_string()).await
}

async fn get(router: &Router, path: &str) -> Answer {
    send(router, "GET", path, &[], "").await
}

/// Time is paused: a state that never comes ends the test.
async fn wait_for(router: &Router, path: &str, pointer: &str, wanted: &str) -> Answer {
    for _ in 0..1000 {
        let answer = get(router, path).await;
        if answer.body.pointer(pointer).and_then(Value::as_str) == Some(wanted) {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let answer = get(router, path).await;
    panic!("{path} never had {wanted} at {pointer}: {answer:?}");
}

#[tokio::test(start_paused = true)]
async fn bad_bodies_are_refused_with_what_is_wrong_and_no_value() {
    let router = router().await;
    let flat = r#"{"connector.class":"FileStreamSink","topics":"t","x":"s3cret"}"#;
    let wrapped = r#"{"name":"a","config":{"topics":"s3cret"}}"#;
    let cases = [
        (
            "POST",
            "/connectors",
            "{\n\"name\": s3cret}",
            "not valid JSON: expected value at line 2 column 9",
        ),
        ("POST", "/connectors", "", "body is empty"),
        ("POST", "/connectors", "\"s3cret\"", "must be a JSON object"),
        (
            "POST",
            "/connectors",
            r#"{"name":"a","config":{},"nope":1}"#,
            "Unknown field `nope`",
        ),
        ("POST", "/connectors", r#"{"name":"a"}"#, "`config` is missing"),
        (
            "POST",
            "/connectors",
            r#"{"name":"a","config":"s3cret"}"#,
            "`config` must be a JSON object",
        ),
        (
            "POST",
            "/connectors",
            r#"{"name":"a","config":{},"initial_state":"s3cret"}"#,
            "one of RUNNING, PAUSED, STOPPED",
        ),
        ("POST", "/connectors", flat, "is a flat configuration"),
        (
            "POST",
            "/connectors",
            r#"{"name":"a","config":{"x":{"y":"s3cret"},"z":["s3cret"]}}"#,
            "`x`, `z` must be a string",
        ),
        (
            "PUT",
            "/connectors/a/config",
            wrapped,
            "only what stands under `config`",
        ),
        ("PUT", "/connectors/a/config", "null", "must be a JSON object"),
        ("PUT", "/connectors/a/config", r#"{"x":"y"}"#, "connector.class"),
        (
            "PUT",
            "/connector-plugins/X/config/validate",
            r#"{"connector.class":"no.such.X"}"#,
            "FileStreamSinkConnector",
        ),
    ];
    for (method, path, body, wanted) in cases {
        let answer = send(&router, method, path, &[JSON], body).await;
        let text = answer.body["message"].as_str().unwrap();
        assert_eq!(
            (answer.status, answer.body["error_code"].as_u64()),
            (400, Some(400)),
            "{body}: {text}"
        );
        assert!(text.contains(wanted), "{body}: {text}");
        assert!(!text.contains("s3cret"), "{body}: {text}");
    }
    assert_eq!(get(&router, "/connectors").await.body, json!([]));
}

#[tokio::test(start_paused = true)]
async fn names_with_slashes_and_percent_signs_are_reached_by_their_location() {
    let router = router().await;
    for (name, location) in [("a/b", "a%2Fb"), ("100%", "100%25"), ("x;y", "x%3By"), ("%41", "%2541")] {
        let body = json!({"name": name, "config": {"connector.class": CLASS, "topics": "t"}});
        let created = send(&router, "POST", "/connectors", &[JSON], body.to_string()).await;
        assert_eq!(
            created.location.unwrap(),
            format!("http://127.0.0.1:22083/connectors/{location}")
        );
        let path = format!("/connectors/{location}");
        assert_eq!(get(&router, &path).await.body["name"], name);
        assert_eq!(send(&router, "DELETE", &path, &[], "").await.status, 204);
    }
}

#[tokio::test(start_paused = true)]
async fn no_answer_holds_a_secret_and_the_mask_keeps_it() {
    let router = router().await;
    let config = json!({"connector.class": CLASS, "topics": "t", "file.key": "s3cret"});
    let created = put(&router, "/connectors/a/config", &config).await;
    assert_eq!(
        (created.status, &created.body["config"]["file.key"]),
        (201, &json!("[hidden]"))
    );
    wait_for(&router, "/connectors/a/status", "/tasks/0/state", "RUNNING").await;
    for path in [
        "/connectors/a",
        "/connectors/a/config",
        "/connectors/a/tasks",
        "/connectors?expand=info",
    ] {
        let text = get(&router, path).await.body.to_string();
        assert!(text.contains("[hidden]") && !text.contains("s3cret"), "{path}: {text}");
    }
    let stored = get(&router, "/connectors/a/config").await.body;
    assert_eq!(
        put(&router, "/connectors/a/config", &stored).await.status,
        200,
        "what was read can be sent back"
    );

    let bad = json!({"name": "b", "connector.class": CLASS, "topics": "t", "file.key": "bad-s3cret"});
    let answer = put(&router, "/connector-plugins/FileStreamSink/config/validate", &bad).await;
    let text = answer.body.to_string();
    assert_eq!(
        (answer.status, answer.body["error_count"].as_u64()),
        (200, Some(1)),
        "{text}"
    );
    assert!(
        text.contains("[hidden] is no key") && !text.contains("s3cret"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_validation_lists_every_key_with_both_names_of_its_order() {
    let router = router().await;
    let config = json!({"name": "a", "connector.class": CLASS, "topics": "t", "tasks.max": "x", "nothing": null});
    let answer = put(&router, "/connector-plugins/FileStreamSink/config/validate", &config).await;
    assert_eq!((answer.status, &answer.body["name"]), (200, &json!(CLASS)));
    let configs = answer.body["configs"].as_array().unwrap();
    let key = |name: &str| configs.iter().find(|config| config["value"]["name"] == name).unwrap();
    let tasks = key("tasks.max");
    assert_eq!(tasks["definition"]["type"], "INT");
    assert_eq!(tasks["definition"]["order"], tasks["definition"]["order_in_group"]);
    assert_eq!(tasks["value"]["value"], "x");
    assert!(
        tasks["value"]["errors"][0]
            .as_str()
            .unwrap()
            .contains("Not a number of type INT"),
        "{tasks}"
    );
    assert_eq!(key("nothing")["definition"], Value::Null);
    assert_eq!(key("file")["definition"]["required"], false);
    let fields: Vec<&String> = tasks["definition"].as_object().unwrap().keys().collect();
    let wanted = [
        "name",
        "type",
        "required",
        "default_value",
        "importance",
        "documentation",
        "group",
        "order",
        "order_in_group",
        "width",
        "display_name",
        "dependents",
    ];
    assert_eq!(fields, wanted);

    let own = get(&router, "/connector-plugins/FileStreamSink/config").await.body;
    let names: Vec<&str> = own
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["name"].as_str().unwrap())
        .collect();
    assert_eq!(names[..2], ["file", "file.key"], "the connector's own come first");
    assert!(names.contains(&"topics") && names.contains(&"tasks.max"), "{names:?}");
    assert_eq!(
        get(&router, "/connector-plugins/no.such/config").await.body["message"],
        "Unknown plugin no.such."
    );
    let all = get(&router, "/connector-plugins?connectorsOnly=false").await.body;
    assert!(
        all.as_array()
            .unwrap()
            .iter()
            .any(|plugin| plugin["type"] == "converter"),
        "{all}"
    );
}

#[tokio::test(start_paused = true)]
async fn failed_tasks_show_their_trace_and_restarts_have_connects_codes() {
    let router = router().await;
    put(
        &router,
        "/connectors/a/config",
        &json!({"connector.class": CLASS, "topics": "t", "file": "boom"}),
    )
    .await;
    let failed = wait_for(&router, "/connectors/a/tasks/0/status", "/state", "FAILED").await;
    assert_eq!(failed.body["trace"], "boom at t-0@7");
    let cases = [
        ("/connectors/a/restart", 204, Value::Null),
        (
            "/connectors/a/restart?includeTasks=true&onlyFailed=true",
            202,
            json!("RESTARTING"),
        ),
        ("/connectors/a/tasks/0/restart", 204, Value::Null),
        ("/connectors/a/tasks/7/restart", 404, Value::Null),
        ("/connectors/a/tasks/-1/restart", 404, Value::Null),
        ("/connectors/b/restart", 404, Value::Null),
        ("/connectors/b/tasks/0/restart", 404, Value::Null),
    ];
    for (path, status, task) in cases {
        wait_for(&router, "/connectors/a/status", "/tasks/0/state", "FAILED").await;
        let answer = send(&router, "POST", path, &[], "").await;
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert_eq!(
            answer.body.pointer("/tasks/0/state").cloned().unwrap_or_default(),
            task,
            "{path}"
        );
    }
}
