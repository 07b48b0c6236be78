//! Dead letters over REST: shapes, parameters, and that no payload is shown unless the worker allows it.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "test code")]

#[allow(dead_code, reason = "each test binary uses its part")]
mod support;

use axum::Router;
use serde_json::{Value, json};
use support::{Answer, ScriptedKafka, about, herder_of, send};

const JSON: (&str, &str) = ("content-type", "application/json");

async fn router(settings: &[(&str, &str)]) -> Router {
    let router = klamm_rest::router(herder_of(Vec::new(), settings, &ScriptedKafka::new()).await, about());
    let config = json!({"connector.class": "FileStreamSink", "topics": "t"});
    let put = send(&router, "PUT", "/connectors/a/config", &[JSON], config.to_string()).await;
    assert_eq!(put.status, 201);
    router
}

async fn get(router: &Router, path: &str) -> Answer {
    send(router, "GET", path, &[], "").await
}

async fn redrive(router: &Router, body: &str) -> Answer {
    send(
        router,
        "POST",
        "/connectors/a/dead-letters/redrive",
        &[JSON],
        body.to_owned(),
    )
    .await
}

#[tokio::test(start_paused = true)]
async fn queues_are_listed_with_what_is_left() {
    let router = router(&[]).await;
    let list = get(&router, "/connectors/a/dead-letters").await;
    assert_eq!(
        list.body,
        json!({
            "topics": [{
                "name": "dlq", "exists": true, "context_headers": true, "redrive_group": "klamm-redrive-a", "records": 8,
                "not_redriven": 5,
                "partitions": [{"partition": 0, "start_offset": 2, "end_offset": 10, "redriven_offset": 5}],
            }],
            "destinations": ["SQS queue q"],
        })
    );
    assert_eq!(get(&router, "/connectors/b/dead-letters").await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn a_look_shows_no_payload_unless_it_is_asked_for_and_allowed() {
    let path = "/connectors/a/dead-letters/records?limit=1";
    let careful = router(&[]).await;
    let plain = get(&careful, path).await;
    assert!(!plain.body.to_string().contains("s3cret"), "{plain:?}");
    let letter = &plain.body[0];
    assert_eq!(
        (
            &letter["origin"],
            &letter["value_bytes"],
            &letter["key_bytes"],
            &letter["header_names"]
        ),
        (&json!("t-0@42"), &json!(6), &Value::Null, &json!(["h"]))
    );
    assert_eq!(
        letter["error"],
        json!({
            "connector": "a", "stage": "TASK_PUT", "exception": "ValueError", "message": "the function failed", "route": "r",
        })
    );
    let refused = get(&careful, &format!("{path}&payload=true")).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    assert!(
        refused.body["message"].as_str().unwrap().contains("rest.show.payloads"),
        "{refused:?}"
    );

    let open = router(&[("rest.show.payloads", "true")]).await;
    assert!(
        get(&open, path).await.body[0].get("payload").is_none(),
        "only where it is asked for"
    );
    let shown = get(&open, &format!("{path}&payload=true")).await.body;
    let secret = json!({"base64": "czNjcmV0"});
    assert_eq!(
        shown[0]["payload"],
        json!({"key": null, "value": secret, "headers": [{"key": "h", "value": secret}]})
    );
}

#[tokio::test(start_paused = true)]
async fn looks_are_bounded_and_numbers_are_checked() {
    let router = router(&[]).await;
    let count = |answer: Answer| answer.body.as_array().unwrap().len();
    assert_eq!(count(get(&router, "/connectors/a/dead-letters/records").await), 20);
    assert_eq!(
        count(get(&router, "/connectors/a/dead-letters/records?limit=100000").await),
        100
    );
    for wrong in ["limit=x", "partition=-1", "offset=99999999999999999999", "offset="] {
        let answer = get(&router, &format!("/connectors/a/dead-letters/records?{wrong}")).await;
        assert_eq!(answer.status, 400, "{wrong}: {answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_redrive_says_how_it_is_and_its_body_is_checked() {
    let router = router(&[]).await;
    let begun = redrive(&router, "").await;
    assert_eq!(begun.status, 202);
    assert_eq!(
        begun.body,
        json!({
            "state": "FAILED", "error": "Kafka is away", "dry_run": false, "records_per_second": 100, "max_records": null,
            "max_redrives": 1, "started_at": "2026-01-02T03:04:05Z", "ended_at": null, "found": 5, "passed": 4,
            "redriven": 1,
            "skipped": {"returned": 3, "of_other_connectors": 0, "of_other_topics": 0, "without_origin": 0, "refused": 0},
        })
    );
    let dry = redrive(
        &router,
        r#"{"dry_run":true,"records_per_second":7,"max_records":9,"max_redrives":2}"#,
    )
    .await;
    let body = &dry.body;
    assert_eq!(
        (
            dry.status,
            &body["dry_run"],
            &body["records_per_second"],
            &body["max_records"],
            &body["max_redrives"]
        ),
        (200, &json!(true), &json!(7), &json!(9), &json!(2))
    );
    for wrong in [
        r#"{"dry_run":"yes"}"#,
        r#"{"rate":1}"#,
        r#"{"records_per_second":0}"#,
        "[]",
        "{",
    ] {
        assert_eq!(redrive(&router, wrong).await.status, 400, "{wrong}");
    }
    assert_eq!(
        get(&router, "/connectors/a/dead-letters/redrive").await.body["state"],
        "FAILED"
    );
    let stop = send(&router, "DELETE", "/connectors/a/dead-letters/redrive", &[], "").await;
    assert_eq!(stop.status, 204);
    assert_eq!(get(&router, "/connectors/b/dead-letters/redrive").await.status, 404);
}
