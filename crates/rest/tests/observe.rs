//! What the worker shows of itself beyond Connect: the status extension, health and metrics.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "test code")]

#[allow(dead_code, reason = "each test binary uses its part")]
mod support;

use std::time::Duration;

use axum::Router;
use serde_json::{Value, json};
use support::{Answer, about, herder, send};

const JSON: (&str, &str) = ("content-type", "application/json");

/// A connector `a` with one task, which shows what `support` makes up.
async fn router() -> Router {
    let router = klamm_rest::router(herder().await, about());
    let config = json!({"connector.class": "FileStreamSink", "topics": "t"});
    let put = send(&router, "PUT", "/connectors/a/config", &[JSON], config.to_string()).await;
    assert_eq!(put.status, 201);
    for _ in 0..1000 {
        if get(&router, "/connectors/a/status").await.body["tasks"][0]["state"] == "RUNNING" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    router
}

async fn get(router: &Router, path: &str) -> Answer {
    send(router, "GET", path, &[], "").await
}

#[tokio::test(start_paused = true)]
async fn a_status_has_one_member_more_and_only_where_it_is_asked_for() {
    let router = router().await;
    let plain = get(&router, "/connectors/a/status").await.body;
    let members: Vec<&String> = plain.as_object().unwrap().keys().collect();
    assert_eq!(members, ["name", "connector", "tasks", "type"]);
    let mut extended = get(&router, "/connectors/a/status?extensions=true").await.body;
    let extensions = extended.as_object_mut().unwrap().remove("extensions").unwrap();
    assert_eq!(extended, plain, "nothing else changes");
    let task = &extensions["tasks"][0];
    let expected = json!({
        "id": 0, "restarts": 0, "next_restart_at": null, "observed_at": "2026-01-02T03:04:05Z", "lag": 58,
        "oldest_undone_age_ms": 1500, "undone_records": 3, "undone_bytes": 300, "calls_in_flight": 2,
        "throttled_since": "2026-01-02T03:03:55Z", "waits_for": ["route `r` waits"],
        "last_error": {
            "at": "2026-01-02T03:04:04Z", "origin": "t-0@42", "records": 2, "stage": "TASK_PUT", "route": "r",
            "class": "ValueError", "message": "the function failed", "advice": "mend it",
        },
        "commits": {"acknowledged": 5, "failed": 1},
    });
    for (member, wanted) in expected.as_object().unwrap() {
        assert_eq!(&task[member], wanted, "{member}");
    }
    assert_eq!(
        task["partitions"][0],
        json!({
            "topic": "t", "partition": 0, "done_offset": 42, "end_offset": 100, "lag": 58, "oldest_undone_offset": 42,
            "oldest_undone_age_ms": 1500, "undone_records": 3, "undone_bytes": 300,
        })
    );
    assert_eq!(
        task["partitions"][1]["lag"],
        Value::Null,
        "an end that is not known is no lag of 0"
    );
    let route = &task["routes"][0];
    assert_eq!(
        (
            &route["state"],
            &route["state_since"],
            &route["failures"],
            &route["usage"]
        ),
        (
            &json!("throttled"),
            &json!("2026-01-02T03:03:55Z"),
            &json!({"ValueError": 3}),
            &json!({"billed_invocations": 7, "billed_ms": 700, "estimated_cost": 0.25})
        )
    );
    assert_eq!(get(&router, "/connectors/b/status?extensions=true").await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn health_is_connects_and_says_more_where_it_is_asked_to() {
    let router = router().await;
    let plain = get(&router, "/health").await;
    let message = "Worker has completed startup and is ready to handle requests.";
    assert_eq!(
        (plain.status, plain.body),
        (200, json!({"status": "healthy", "message": message}))
    );
    let extended = get(&router, "/health?extensions=true").await.body;
    assert_eq!(extended["extensions"]["tasks"], json!({"RUNNING": 1}));
    assert_eq!(extended["status"], "healthy");
}

/// The value of a sample.
fn sample(text: &str, series: &str) -> Option<f64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    line.parse().ok()
}

#[tokio::test(start_paused = true)]
async fn metrics_are_scraped_whatever_is_accepted() {
    let router = router().await;
    let answer = send(&router, "GET", "/metrics", &[("accept", "text/plain")], "").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.content_type.unwrap(), "text/plain; version=0.0.4; charset=utf-8");
    let Value::String(text) = answer.body else {
        panic!("text")
    };
    let route = r#"{connector="a",task="0",route="r",function="fn"}"#;
    let cases = [
        (
            r#"klamm_build_info{version="4.3.1",commit="26b251a451ce941d"}"#.to_owned(),
            1.0,
        ),
        (
            r#"klamm_task_state{connector="a",task="0",state="RUNNING"}"#.to_owned(),
            1.0,
        ),
        (r#"klamm_tasks{state="FAILED"}"#.to_owned(), 0.0),
        (r#"klamm_task_lag_records{connector="a",task="0"}"#.to_owned(), 58.0),
        (
            r#"klamm_task_oldest_undone_age_seconds{connector="a",task="0"}"#.to_owned(),
            1.5,
        ),
        (
            r#"klamm_task_conversion_errors_total{connector="a",task="0",stage="VALUE_CONVERTER"}"#.to_owned(),
            4.0,
        ),
        (format!("klamm_route_delivered_records_total{route}"), 90.0),
        (format!("klamm_route_failures_total{route}"), 3.0),
        (format!("klamm_route_billed_seconds_total{route}"), 0.7),
        (format!("klamm_route_call_duration_seconds_count{route}"), 3.0),
        (format!("klamm_route_call_duration_seconds_sum{route}"), 0.0085),
        (
            r#"klamm_route_call_duration_seconds_bucket{connector="a",task="0",route="r",function="fn",le="0.005"}"#
                .to_owned(),
            2.0,
        ),
    ];
    for (series, wanted) in cases {
        let found = sample(&text, &series).unwrap_or_else(|| panic!("{series} in\n{text}"));
        assert!((found - wanted).abs() < 1e-9, "{series} is {found}");
    }
    assert!(sample(&text, r#"klamm_rest_requests_total{method="GET",status="2xx"}"#).unwrap() >= 1.0);
    for metric in klamm_rest::metrics() {
        let name = metric.name();
        assert!(text.contains(&format!("# TYPE {name} {}\n", metric.kind)), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_validation_warns_only_where_it_is_asked_to_and_asks_the_world_only_where_it_is_told_to() {
    let router = router().await;
    let config = json!({
        "connector.class": "FileStreamSink", "name": "n", "topics": "t", "fiel": "x", "errors.tolerance": "all",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter", "value.converter.schema.enable": "false",
    });
    let validate = |query: &str| {
        let path = format!("/connector-plugins/FileStreamSink/config/validate{query}");
        let (router, body) = (router.clone(), config.to_string());
        async move { send(&router, "PUT", &path, &[JSON], body).await.body }
    };
    let plain = validate("").await;
    assert_eq!(plain["error_count"], 0);
    let mut extended = validate("?extensions=true").await;
    let extensions = extended.as_object_mut().unwrap().remove("extensions").unwrap();
    assert_eq!(extended, plain, "nothing else changes");
    let warned: Vec<&str> = extensions["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|warning| warning["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        warned,
        ["value.converter.schema.enable", "fiel", "errors.tolerance"],
        "{extensions}"
    );
    assert_eq!(extensions["warning_count"], 3);
    assert!(extensions.get("live").is_none(), "nobody was asked");
    let live = validate("?live=true").await;
    assert_eq!(
        live["extensions"]["live"],
        json!([
            {"check": "kafka", "subject": "b:1", "ok": true, "message": "3 brokers"},
            {"check": "topic", "subject": "t", "ok": false, "message": "does not exist"},
        ])
    );
}
