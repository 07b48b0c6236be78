//! Where the API goes beyond the recorded answers: texts of refusals, secrets, validation, restarts.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "test code")]

#[allow(dead_code, reason = "each test binary uses its part")]
mod support;

use std::time::Duration;

use axum::Router;
use serde_json::{Value, json};
use support::{Answer, ScriptedKafka, about, herder, herder_of, send};

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

async fn post(router: &Router, path: &str, body: &Value) -> Answer {
    send(router, "POST", path, &[JSON], body.to_string()).await
}

/// A record whose value is JSON on the wire: `{"a":1}`.
fn record() -> Value {
    json!({"topic": "t", "value": {"base64": "eyJhIjoxfQ=="}})
}

#[tokio::test(start_paused = true)]
async fn a_preview_answers_with_an_outcome_for_each_record() {
    let router = router().await;
    let config = json!({"connector.class": CLASS, "topics": "t", "value.converter": "StringConverter"});
    assert_eq!(put(&router, "/connectors/a/config", &config).await.status, 201);

    let records = json!([record(), {"topic": "t"}, record()]);
    let answer = post(&router, "/connectors/a/preview", &json!({ "records": records })).await;
    assert_eq!(answer.status, 200);
    let outcomes = answer.body.as_array().unwrap();
    let payload = |outcome: &Value| outcome["record"]["value"]["payload"].clone();
    assert_eq!(outcomes.len(), 3);
    assert_eq!(payload(&outcomes[0]), json!("{\"a\":1}"), "by the stored configuration");
    assert_eq!(outcomes[1]["error"]["stage"], "input");
    assert!(outcomes[1]["error"]["message"].as_str().unwrap().contains("no `value`"));
    assert_eq!(outcomes[0], outcomes[2]);
    assert_eq!(outcomes[0].get("steps"), None);

    let proposed = json!({"config": {"value.converter": "JsonConverter", "value.converter.schemas.enable": "false"},
        "records": [record()]});
    for path in [
        "/connectors/a/preview?explain=true".to_owned(),
        format!("/connector-plugins/{CLASS}/config/preview?explain=true"),
    ] {
        let answer = post(&router, &path, &proposed).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(
            payload(&answer.body[0]),
            json!({"a": 1}),
            "{path}: by the proposed configuration"
        );
        assert_eq!(answer.body[0]["steps"][0]["step"], "convert", "{path}");
    }

    let refused = json!({"config": {"value.converter": "Nope"}, "records": [record(), record()]});
    let answer = post(&router, "/connectors/a/preview", &refused).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body[0], answer.body[1]);
    let error = &answer.body[0]["error"];
    assert_eq!(error["stage"], "config");
    assert!(error["errors"]["value.converter"][0].as_str().unwrap().contains("Nope"));
}

#[tokio::test(start_paused = true)]
async fn a_preview_that_makes_no_sense_is_refused_as_any_other_request() {
    let router = router().await;
    let config = json!({"connector.class": CLASS, "topics": "t"});
    assert_eq!(put(&router, "/connectors/a/config", &config).await.status, 201);
    let plugin = &format!("/connector-plugins/{CLASS}/config/preview");
    let many: Vec<Value> = vec![json!(1); 101];
    let cases = [
        ("/connectors/a/preview", json!({}), 400, "`records` is missing"),
        ("/connectors/a/preview", json!({"records": {}}), 400, "must be an array"),
        (
            "/connectors/a/preview",
            json!({"records": [], "record": 1}),
            400,
            "Unknown field `record`",
        ),
        (
            "/connectors/a/preview",
            json!({"records": [], "config": []}),
            400,
            "`config` must be a JSON object",
        ),
        (
            "/connectors/a/preview",
            json!({ "records": many }),
            413,
            "101 records are more than the 100",
        ),
        (
            "/connectors/b/preview",
            json!({"records": []}),
            404,
            "Connector b not found",
        ),
        (plugin, json!({"records": []}), 400, "`config` is missing"),
        (
            plugin,
            json!({"records": [], "config": {"connector.class": "io.acme.Other"}}),
            400,
            "does not match",
        ),
        (
            "/connector-plugins/Nope/config/preview",
            json!({"records": [], "config": {}}),
            404,
            "Unknown plugin Nope",
        ),
    ];
    for (path, body, status, wanted) in cases {
        let answer = post(&router, path, &body).await;
        assert_eq!(answer.status, status, "{path} {body}: {:?}", answer.body);
        let message = answer.body["message"].as_str().unwrap();
        assert!(message.contains(wanted), "{path} {body}: {message}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_preview_knows_stored_secrets_and_never_shows_them() {
    let router = router().await;
    let settings = |password: &str, url: &str| {
        json!({
            "connector.class": CLASS, "topics": "t", "file.key": "s3cret",
            "value.converter": "io.confluent.connect.avro.AvroConverter",
            "value.converter.schema.registry.url": url,
            "value.converter.basic.auth.credentials.source": "USER_INFO",
            "value.converter.basic.auth.user.info": password,
        })
    };
    let stored = settings("user:s3cret", "http://127.0.0.1:1");
    assert_eq!(put(&router, "/connectors/a/config", &stored).await.status, 201);
    let proposed =
        json!({"config": settings("[hidden]", "http://127.0.0.1:1"), "records": [{"topic": "t", "value": null}]});
    let answer = post(&router, "/connectors/a/preview?explain=true", &proposed).await;
    assert!(
        answer.body[0]["record"].is_object(),
        "the stored secret serves: {:?}",
        answer.body
    );
    let plugin = format!("/connector-plugins/{CLASS}/config/preview");
    let answer = post(&router, &plugin, &proposed).await;
    let errors = &answer.body[0]["error"]["errors"];
    let keys: Vec<&String> = errors.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        ["value.converter.basic.auth.user.info"],
        "the sink's own mask is no matter"
    );
    let bad = json!({"config": settings("s3cret-without-colon", "no url"), "records": [record()]});
    let answer = post(&router, &plugin, &bad).await;
    assert_eq!(answer.body[0]["error"]["stage"], "config");
    assert!(!answer.body.to_string().contains("s3cret"), "{:?}", answer.body);
}

#[tokio::test(start_paused = true)]
async fn bad_offsets_are_refused_with_what_is_wrong() {
    let router = router().await;
    let config = json!({"name": "a", "config": {"connector.class": CLASS, "topics": "t"}, "initial_state": "STOPPED"});
    assert_eq!(post(&router, "/connectors", &config).await.status, 201);
    let path = "/connectors/a/offsets";
    let entry = |entry: &str| format!("{{\"offsets\":[{entry}]}}");
    let partition = r#""partition":{"kafka_topic":"t","kafka_partition":0}"#;
    let cases = [
        ("PATCH", String::new(), "body is empty"),
        ("PATCH", "null".to_owned(), "must be a JSON object"),
        ("PATCH", "{}".to_owned(), "need to be provided in `offsets`"),
        (
            "PATCH",
            r#"{"offsets":null}"#.to_owned(),
            "need to be provided in `offsets`",
        ),
        (
            "PATCH",
            r#"{"offsets":[]}"#.to_owned(),
            "need to be provided in `offsets`",
        ),
        ("PATCH", r#"{"offsets":{}}"#.to_owned(), "`offsets` must be an array"),
        ("PATCH", r#"{"offsets":[null]}"#.to_owned(), "array of JSON objects"),
        ("PATCH", r#"{"offsets":[{}],"x":1}"#.to_owned(), "Unknown field `x`"),
        ("PATCH", entry(r#"{"x":1}"#), "Unknown field `x` in an entry"),
        (
            "PATCH",
            entry(&format!("{{{partition},\"timestamp\":1}}")),
            "Unknown field `timestamp`",
        ),
        ("PATCH", entry("{}"), "cannot be null or missing"),
        ("PATCH", entry(r#"{"partition":null}"#), "cannot be null or missing"),
        ("PATCH", entry(r#"{"partition":5}"#), "must be a JSON object"),
        ("PATCH", entry(r#"{"partition":{}}"#), "must have the keys"),
        (
            "PATCH",
            entry(r#"{"partition":{"kafka_topic":"t"}}"#),
            "must have the keys",
        ),
        (
            "PATCH",
            entry(r#"{"partition":{"kafka_topic":null,"kafka_partition":0}}"#),
            "`kafka_topic` must be a string",
        ),
        (
            "PATCH",
            entry(r#"{"partition":{"kafka_topic":"t","kafka_partition":null}}"#),
            "`kafka_partition` must be an integer",
        ),
        (
            "PATCH",
            entry(r#"{"partition":{"kafka_topic":"t","kafka_partition":0.5}}"#),
            "`kafka_partition` must be an integer",
        ),
        (
            "PATCH",
            entry(r#"{"partition":{"kafka_topic":"t","kafka_partition":3000000000}}"#),
            "`kafka_partition` must be an integer",
        ),
        (
            "PATCH",
            entry(&format!("{{{partition},\"offset\":7}}")),
            "must be a JSON object, or null",
        ),
        (
            "PATCH",
            entry(&format!("{{{partition},\"offset\":{{}}}}")),
            "null or have the key `kafka_offset`",
        ),
        (
            "PATCH",
            entry(&format!("{{{partition},\"offset\":{{\"kafka_offset\":null}}}}")),
            "`kafka_offset` must be an integer",
        ),
        (
            "PATCH",
            entry(&format!("{{{partition},\"offset\":{{\"kafka_offset\":true}}}}")),
            "`kafka_offset` must be an integer",
        ),
        (
            "PATCH",
            entry(&format!("{{{partition},\"offset\":{{\"kafka_offset\":\"x\"}}}}")),
            "`kafka_offset` must be an integer",
        ),
        ("PUT", entry(&format!("{{{partition}}}")), "`timestamp` is missing"),
        (
            "PUT",
            entry(&format!("{{{partition},\"timestamp\":\"today\"}}")),
            "`timestamp` must be an integer",
        ),
        (
            "PUT",
            entry(&format!("{{{partition},\"timestamp\":-1}}")),
            "before 1970",
        ),
        (
            "PUT",
            entry(&format!("{{{partition},\"offset\":null}}")),
            "Unknown field `offset`",
        ),
    ];
    for (method, body, wanted) in cases {
        let answer = send(&router, method, path, &[JSON], body.clone()).await;
        let text = answer.body["message"].as_str().unwrap();
        assert_eq!(answer.status, 400, "{body}: {text}");
        assert!(text.contains(wanted), "{body}: {text}");
    }
    assert_eq!(get(&router, path).await.body, json!({"offsets": []}), "nothing was set");
    let bad = json!({"name": "b", "config": {"connector.class": CLASS, "topics": "t"}, "initial_offsets": [{}]});
    assert_eq!(post(&router, "/connectors", &bad).await.status, 400);
    assert_eq!(get(&router, "/connectors").await.body, json!(["a"]));
}

#[tokio::test(start_paused = true)]
async fn a_connector_is_created_at_its_initial_offsets() {
    let router = router().await;
    let offsets = json!([{"partition": {"kafka_topic": "t", "kafka_partition": "3"}, "offset": {"kafka_offset": 7}}]);
    let body = json!({"name": "a", "config": {"connector.class": CLASS, "topics": "t"}, "initial_offsets": offsets});
    let created = post(&router, "/connectors", &body).await;
    assert_eq!(created.status, 201, "{:?}", created.body);
    assert_eq!(
        created.body["offsets_status"],
        "The offsets for this connector have been altered successfully"
    );
    let wanted =
        json!({"offsets": [{"partition": {"kafka_topic": "t", "kafka_partition": 3}, "offset": {"kafka_offset": 7}}]});
    assert_eq!(get(&router, "/connectors/a/offsets").await.body, wanted);
    let exists = post(&router, "/connectors", &body).await;
    assert_eq!(exists.status, 409);
    let mut invalid = body;
    invalid["name"] = "b".into();
    invalid["config"]["topics"] = "".into();
    assert_eq!(post(&router, "/connectors", &invalid).await.status, 400);
    assert_eq!(get(&router, "/connectors").await.body, json!(["a"]));
}

#[tokio::test(start_paused = true)]
async fn loggers_are_listed_and_set_with_those_below_them() {
    let router = router().await;
    let level = |level: Value| json!({ "level": level });
    let unset = json!({"level": "INFO", "last_modified": null});
    assert_eq!(get(&router, "/admin/loggers/root").await.body, unset);
    assert_eq!(
        get(&router, "/admin/loggers/").await.body,
        json!({"aws_config": {"level": "ERROR", "last_modified": null}, "root": unset})
    );
    let unknown = get(&router, "/admin/loggers/klamm_rest").await;
    assert_eq!(
        (unknown.status, &unknown.body["message"]),
        (404, &json!("Logger klamm_rest not found."))
    );
    let path = "/admin/loggers/klamm_rest";
    let set = put(&router, path, &level("debug".into())).await;
    assert_eq!((set.status, set.body), (200, json!(["klamm_rest"])));
    assert_eq!(
        put(&router, path, &level("DEBUG".into())).await.body,
        json!([]),
        "as it was"
    );
    let shown = get(&router, path).await.body;
    assert_eq!(shown["level"], "DEBUG");
    assert!(shown["last_modified"].as_i64().is_some(), "{shown}");
    let cluster = put(
        &router,
        "/admin/loggers/klamm_rest?scope=CLUSTER",
        &level("WARN".into()),
    )
    .await;
    assert_eq!((cluster.status, cluster.body), (204, Value::Null));
    assert_eq!(get(&router, path).await.body["level"], "WARN");
    let odd = put(&router, "/admin/loggers/klamm_rest?scope=moon", &level("OFF".into())).await;
    assert_eq!(odd.body, json!(["klamm_rest"]), "an unknown scope is this worker");
    let cases = [
        (json!({}), 400, "`level` is missing"),
        (level(Value::Null), 400, "`level` is missing"),
        (level("loud".into()), 404, "invalid log level 'loud'."),
        (level(5.into()), 404, "invalid log level '5'."),
        (level("".into()), 404, "invalid log level ''."),
        (level(json!([])), 400, "`level` must be a string"),
    ];
    for (body, status, wanted) in cases {
        let answer = put(&router, path, &body).await;
        assert_eq!(answer.status, status, "{body}");
        assert!(
            answer.body["message"].as_str().unwrap().contains(wanted),
            "{:?}",
            answer.body
        );
    }
    let without = klamm_rest::About {
        log_levels: None,
        ..about()
    };
    let router = klamm_rest::router(herder().await, without);
    assert_eq!(
        get(&router, "/admin/loggers").await.status,
        404,
        "nobody filters by levels"
    );
}

#[tokio::test(start_paused = true)]
async fn a_worker_may_keep_no_active_topics_or_not_forget_them() {
    let kafka = ScriptedKafka::new();
    let without = herder_of(Vec::new(), &[("topic.tracking.enable", "false")], &kafka).await;
    let keeping = herder_of(Vec::new(), &[("topic.tracking.allow.reset", "false")], &kafka).await;
    let without = klamm_rest::router(without, about());
    let keeping = klamm_rest::router(keeping, about());
    let answers = [
        get(&without, "/connectors/a/topics").await,
        send(&without, "PUT", "/connectors/a/topics/reset", &[], "").await,
        send(&keeping, "PUT", "/connectors/a/topics/reset", &[], "").await,
    ];
    let wanted = [
        "Topic tracking is disabled.",
        "Topic tracking is disabled.",
        "Topic tracking reset is disabled.",
    ];
    for (answer, wanted) in answers.into_iter().zip(wanted) {
        assert_eq!((answer.status, &answer.body["message"]), (403, &json!(wanted)));
    }
    assert_eq!(
        get(&keeping, "/connectors/a/topics").await.body,
        json!({"a": {"topics": []}})
    );
}

#[tokio::test(start_paused = true)]
async fn patches_remove_by_null_and_never_rename() {
    let router = router().await;
    let config = json!({"connector.class": CLASS, "topics": "t", "x": "1", "file.key": "s3cret"});
    put(&router, "/connectors/a/config", &config).await;
    let patch = |body: Value| {
        let router = router.clone();
        async move { send(&router, "PATCH", "/connectors/a/config", &[JSON], body.to_string()).await }
    };
    let answer = patch(json!({"x": null, "y": 2, "file.key": "[hidden]"})).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    let wanted = json!({"connector.class": CLASS, "topics": "t", "y": "2", "file.key": "[hidden]", "name": "a"});
    assert_eq!(answer.body["config"], wanted);
    assert_eq!(patch(json!({})).await.status, 200);
    assert_eq!(patch(json!({"name": "b"})).await.status, 400);
    assert_eq!(patch(json!({"tasks.max": "x"})).await.status, 400);
    assert_eq!(get(&router, "/connectors/a/config").await.body, wanted);
    let absent = send(&router, "PATCH", "/connectors/b/config", &[JSON], "{}").await;
    assert_eq!(
        (absent.status, &absent.body["message"]),
        (404, &json!("Connector b not found"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_connector_of_any_name_that_may_be_given_is_reached_and_deleted() {
    let router = router().await;
    let others = ['\u{80}', 'ü', '\u{2028}', '\u{fffd}', '𝄞', '\u{10ffff}'];
    let characters = (' '..='~').chain(others);
    for character in characters {
        let name = format!("a{character}b");
        let body = json!({"name": name, "config": {"connector.class": CLASS, "topics": "t"}});
        let created = post(&router, "/connectors", &body).await;
        assert_eq!(created.status, 201, "{name:?}: {:?}", created.body);
        let location = created.location.unwrap();
        let path = location.strip_prefix("http://127.0.0.1:22083").unwrap();
        assert_eq!(get(&router, path).await.body["name"], name);
        let encoded: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let path = format!("/connectors/{encoded}");
        assert_eq!(
            get(&router, &path).await.body["name"],
            name,
            "every byte may be escaped"
        );
        assert_eq!(send(&router, "DELETE", &path, &[], "").await.status, 204);
    }
    for character in ('\0'..=' ').chain(['\u{7f}']).filter(|character| *character != ' ') {
        let body = json!({"name": format!("a{character}b"), "config": {"connector.class": CLASS, "topics": "t"}});
        assert_eq!(post(&router, "/connectors", &body).await.status, 400, "{character:?}");
    }
    assert_eq!(get(&router, "/connectors").await.body, json!([]));
}

#[tokio::test(start_paused = true)]
async fn bodies_made_to_hurt_are_refused() {
    let router = router().await;
    let deep = |opening: &str| opening.repeat(200_000);
    let bodies: [(Vec<u8>, u16); 7] = [
        (deep("[").into(), 400),
        (deep("{\"a\":").into(), 400),
        (format!("{{\"config\":{}", deep("[")).into(), 400),
        (
            format!("{{\"offsets\":{}{}}}", deep("["), "]".repeat(200_000)).into(),
            400,
        ),
        (b"{\"connector.class\":\"\xff\xfe\"}".to_vec(), 400),
        (b"{\"a\":\"\\ud800\"}".to_vec(), 400),
        (format!("{{\"a\":\"{}\"}}", "x".repeat(10_000_000)).into(), 413),
    ];
    let targets = [
        ("POST", "/connectors"),
        ("PUT", "/connectors/a/config"),
        ("PATCH", "/connectors/a/config"),
        ("PATCH", "/connectors/a/offsets"),
        ("PUT", "/connector-plugins/FileStreamSink/config/validate"),
        ("PUT", "/admin/loggers/x"),
    ];
    for (body, wanted) in bodies {
        for (method, path) in targets {
            let answer = send(&router, method, path, &[JSON], body.clone()).await;
            // A connector that is not there may be told of first.
            let is_refused = answer.status == wanted || answer.status == 404;
            assert!(is_refused, "{method} {path}: {answer:?}");
            assert_eq!(answer.body["error_code"], answer.status);
        }
    }
    assert_eq!(get(&router, "/connectors").await.body, json!([]));
}
