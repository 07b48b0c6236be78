//! Functions on this machine, called by AWS's own SDKs.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::time::Duration;

use klamm_dev::InvocationType;
use klamm_dev::functions::{CallOutcome, FunctionConfig, Functions, FunctionsConfig, Happening, Watcher};
use klamm_tests::clients::aws_sdk;
use serde_json::{Value, json};

const CODE: &str = "def handler(event, context):\n    if event == 'fail':\n        raise ValueError('bad')\n    return {'got': event}\n";

/// What every client must see. The texts are those that Lambda's model gives each exception.
fn wanted() -> Value {
    let called = |version: &str, got: Value, has_log: bool| json!({"StatusCode": 200, "ExecutedVersion": version, "Payload": {"got": got}, "LogResult": has_log});
    let unanswered = |status: u16| json!({"StatusCode": status, "Payload": null, "LogResult": false});
    json!({
        "sync": called("$LATEST", json!({"a": 1}), true),
        "alias": called("1", json!(1), false),
        "qualifier": called("1", json!(1), false),
        "event": unanswered(202),
        "dry": unanswered(204),
        "missing": ["ResourceNotFoundException", 404, null,
            "Function not found: arn:aws:lambda:us-east-1:000000000000:function:none"],
        "off": ["TooManyRequestsException", 429, "ReservedFunctionConcurrentInvocationLimitExceeded", "Rate Exceeded."],
        "large": ["RequestTooLargeException", 413, null,
            "1048577 byte payload is too large for the Event invocation type (limit 1048576 bytes)"],
        "list": ["echo", "off"],
        "timeout": 20,
        "alias of": "1",
    })
}

async fn called_by(language: &str) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("app.py"), CODE).unwrap();
    let mut config = FunctionsConfig::new(folder.path());
    let mut echo = FunctionConfig::new("echo", "app.py:handler");
    echo.timeout = Duration::from_secs(20);
    echo.versions.insert(1, "app.py:handler".to_owned());
    echo.aliases.insert("prod".to_owned(), "1".to_owned());
    let mut off = FunctionConfig::new("off", "app.py:handler");
    off.reserved_concurrency = Some(0);
    config.functions = vec![echo, off];
    let (told, mut outcomes) = tokio::sync::mpsc::channel(10);
    config.watcher = Watcher::new(move |happening| {
        if let Happening::Called(call) = happening
            && call.invocation_type == InvocationType::Event
        {
            told.try_send(call.outcome.clone()).unwrap();
        }
    });
    let functions = Functions::start(config).await.unwrap();

    let mut found = aws_sdk(language, &functions.endpoint()).await.unwrap();
    let members = found.as_object_mut().unwrap();
    let error = members.remove("error").unwrap();
    assert_eq!(
        (&error["StatusCode"], &error["FunctionError"]),
        (&json!(200), &json!("Unhandled"))
    );
    assert_eq!(error["Payload"]["errorType"], "ValueError");
    let no_json = members.remove("json").unwrap();
    assert_eq!(
        (&no_json[0], &no_json[1]),
        (&json!("InvalidRequestContentException"), &json!(400))
    );
    assert_eq!(found, wanted());

    // The event ran, too, though nobody waited for it.
    let outcome = tokio::time::timeout(Duration::from_secs(30), outcomes.recv())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(outcome, CallOutcome::Success("{\"got\": 2}".into()));
    functions.stop().await;
}

#[tokio::test]
async fn boto3_calls_them_unchanged() {
    called_by("python").await;
}

#[tokio::test]
async fn the_javascript_sdk_calls_them_unchanged() {
    called_by("node").await;
}
