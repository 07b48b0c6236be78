//! The Invoke API: statuses, headers, limits, names.

use std::time::Duration;

use base64::Engine as _;
use http::StatusCode;
use klamm_dev::functions::{FunctionConfig, Functions, FunctionsConfig, Happening};
use serde_json::json;

use crate::{call, get, python, told, world, written};

const ECHO: &str = "def handler(event, context):\n    return {'event': event, 'arn': context.invoked_function_arn, 'version': context.function_version}\n";

#[tokio::test]
async fn names_versions_and_aliases_reach_the_code_that_they_name() {
    let two = [
        ("app.py", ECHO),
        ("one.py", "def handler(event, context):\n    return 'one'\n"),
    ];
    let world = world(&two, |config| {
        let mut function = FunctionConfig::new("f", "app.py:handler");
        function.timeout = Duration::from_secs(20);
        function.versions.insert(1, "one.py:handler".to_owned());
        function.aliases.insert("prod".to_owned(), "1".to_owned());
        function.aliases.insert("dev".to_owned(), "$LATEST".to_owned());
        config.functions.push(function);
    })
    .await;
    let arn = "arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Af";
    for (name, version) in [
        ("f".to_owned(), "$LATEST"),
        ("f:$LATEST".to_owned(), "$LATEST"),
        ("f%3Adev".to_owned(), "$LATEST"),
        ("f:prod".to_owned(), "1"),
        ("f:1".to_owned(), "1"),
        ("000000000000:function:f:prod".to_owned(), "1"),
        (arn.to_owned(), "$LATEST"),
        (format!("{arn}%3Aprod"), "1"),
    ] {
        let reply = call(&name).send(&world.functions).await;
        assert_eq!(reply.header("x-amz-executed-version"), Some(version), "{name}");
        let answer = reply.success();
        assert_eq!(answer == json!("one"), version == "1", "{name}: {answer}");
    }
    let reply = call("f:dev").send(&world.functions).await.success();
    assert_eq!(reply["arn"], "arn:aws:lambda:us-east-1:000000000000:function:f:dev");
    assert_eq!((&reply["version"], &reply["event"]), (&json!("$LATEST"), &json!({})));

    for (name, arn) in [("g", "g"), ("f:2", "f:2"), ("f:nope", "f:nope")] {
        let reply = call(name).send(&world.functions).await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND);
        assert_eq!(reply.header("x-amzn-errortype"), Some("ResourceNotFoundException"));
        let text = format!("Function not found: arn:aws:lambda:us-east-1:000000000000:function:{arn}");
        assert_eq!(reply.json(), json!({"Type": "User", "Message": text}));
    }
    world.functions.stop().await;
}

#[tokio::test]
async fn requests_that_are_wrong_are_refused_before_code_runs() {
    let world = python("raise RuntimeError('it ran')", |_| ()).await;
    let (sync_limit, event_limit) = (6 * 1024 * 1024, 1024 * 1024);
    let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    let large_context = base64::engine::general_purpose::STANDARD.encode(text(3_000));
    let cases = [
        (call("f").body("{"), 400, "InvalidRequestContentException", "no JSON"),
        (
            call("f").body(text(sync_limit + 1)),
            413,
            "RequestTooLargeException",
            "above 6 MB",
        ),
        (
            call("f")
                .header("x-amz-invocation-type", "Event")
                .body(text(event_limit + 1)),
            413,
            "RequestTooLargeException",
            "above 1 MB",
        ),
        (
            call("f").header("x-amz-invocation-type", "Later"),
            400,
            "InvalidParameterValueException",
            "no such type",
        ),
        (
            call("f").header("x-amz-client-context", "e30"),
            400,
            "InvalidRequestContentException",
            "no base64",
        ),
        (
            call("f").header("x-amz-client-context", "MQ=="),
            400,
            "InvalidRequestContentException",
            "no object",
        ),
        (
            call("f").header("x-amz-client-context", large_context),
            400,
            "InvalidRequestContentException",
            "a context above 3583 bytes",
        ),
        (
            call("f").header("origin", "http://evil.example"),
            403,
            "AccessDeniedException",
            "from a page",
        ),
        (
            call("f:1").header("x-amz-invocation-type", "DryRun"),
            404,
            "ResourceNotFoundException",
            "no such version",
        ),
    ];
    for (call, status, kind, why) in cases {
        let reply = call.send(&world.functions).await;
        assert_eq!(
            (reply.status.as_u16(), reply.header("x-amzn-errortype")),
            (status, Some(kind)),
            "{why}"
        );
    }
    let reply = call("f")
        .header("x-amz-invocation-type", "DryRun")
        .send(&world.functions)
        .await;
    assert_eq!((reply.status, &*reply.body), (StatusCode::NO_CONTENT, &b""[..]));
    world.functions.stop().await;
}

#[tokio::test]
async fn payloads_up_to_the_limits_go_through() {
    let code =
        "def handler(event, context):\n    return len(event) if isinstance(event, str) else 'x' * event['size']\n";
    let world = python(code, |_| ()).await;
    let largest = format!("\"{}\"", "x".repeat(6 * 1024 * 1024 - 2));
    let reply = call("f").body(largest).send(&world.functions).await;
    assert_eq!(reply.success(), json!(6 * 1024 * 1024 - 2));
    let limit = 6 * 1024 * 1024 + 100;
    let reply = call("f")
        .body(json!({"size": limit - 2}).to_string())
        .send(&world.functions)
        .await;
    assert_eq!(reply.success().as_str().map(str::len), Some(limit - 2));
    let reply = call("f")
        .body(json!({"size": limit - 1}).to_string())
        .send(&world.functions)
        .await;
    let wanted = "Response payload size exceeded maximum allowed payload size (6291556 bytes).";
    assert_eq!(
        reply.function_error(),
        ("Function.ResponseSizeTooLarge".to_owned(), wanted.to_owned())
    );
    assert_eq!(
        call("f").body("\"xx\"").send(&world.functions).await.success(),
        json!(2),
        "the function goes on"
    );
    world.functions.stop().await;
}

#[tokio::test]
async fn reserved_concurrency_throttles_and_zero_switches_off() {
    let code = "import time\ndef handler(event, context):\n    open('started', 'w').write('yes\\n')\n    while not __import__('os').path.exists('go'):\n        time.sleep(0.005)\n";
    let mut world = world(&[("app.py", code)], |config| {
        for (name, reserved) in [("f", 1), ("off", 0)] {
            let mut function = FunctionConfig::new(name, "app.py:handler");
            function.timeout = Duration::from_secs(20);
            function.reserved_concurrency = Some(reserved);
            config.functions.push(function);
        }
    })
    .await;
    let first = call("f").send(&world.functions);
    let second = async {
        written(&world.folder.path().join("started")).await;
        let refused = call("f").send(&world.functions).await;
        std::fs::write(world.folder.path().join("go"), "").unwrap();
        refused
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!(first.status, StatusCode::OK);
    let off = call("off").send(&world.functions).await;
    for reply in [second, off] {
        assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(reply.header("x-amzn-errortype"), Some("TooManyRequestsException"));
        assert_eq!(reply.header("retry-after"), Some("1"));
        assert_eq!(
            reply.json()["Reason"],
            "ReservedFunctionConcurrentInvocationLimitExceeded"
        );
    }
    assert_eq!(
        call("f").send(&world.functions).await.status,
        StatusCode::OK,
        "its place is free again"
    );
    let event = call("off")
        .header("x-amz-invocation-type", "Event")
        .send(&world.functions)
        .await;
    assert_eq!(event.status, StatusCode::ACCEPTED);
    let reason = told(&mut world.happenings, |happening| match happening {
        Happening::EventDropped { reason, .. } => Some(*reason),
        _ => None,
    });
    assert_eq!(reason.await, "its reserved concurrency is 0");
    world.functions.stop().await;
}

#[tokio::test]
async fn the_limit_of_all_functions_is_the_account_s() {
    let code = "def handler(event, context):\n    open('started', 'w').write('yes\\n')\n    while not __import__('os').path.exists('go'):\n        __import__('time').sleep(0.005)\n";
    let world = world(&[("app.py", code)], |config| {
        config.concurrency = 1;
        for name in ["f", "g"] {
            let mut function = FunctionConfig::new(name, "app.py:handler");
            function.timeout = Duration::from_secs(20);
            config.functions.push(function);
        }
    })
    .await;
    let second = async {
        written(&world.folder.path().join("started")).await;
        let refused = call("g").send(&world.functions).await;
        std::fs::write(world.folder.path().join("go"), "").unwrap();
        refused
    };
    let (first, second) = tokio::join!(call("f").send(&world.functions), second);
    assert_eq!(
        (first.status, second.status),
        (StatusCode::OK, StatusCode::TOO_MANY_REQUESTS)
    );
    assert_eq!(second.json()["Reason"], "ConcurrentInvocationLimitExceeded");
    world.functions.stop().await;
}

#[tokio::test]
async fn a_failing_event_is_tried_three_times_and_then_given_up() {
    let code = "attempts = 0\ndef handler(event, context):\n    global attempts\n    attempts += 1\n    print(attempts, event, context.aws_request_id)\n    raise ValueError(event['no'])\n";
    let mut world = python(code, |function| function.event_retry_delay = Duration::from_millis(10)).await;
    let event = call("f").header("x-amz-invocation-type", "Event").body("{\"no\":1}");
    let reply = event.send(&world.functions).await;
    assert_eq!((reply.status, &*reply.body), (StatusCode::ACCEPTED, &b""[..]));
    let id = reply.header("x-amzn-requestid").unwrap().to_owned();
    let mut attempts = Vec::new();
    let reason = told(&mut world.happenings, |happening| match happening {
        Happening::Called(call) => {
            assert_eq!(&*call.request_id, id, "an event keeps its id");
            attempts.push((call.attempt, call.outcome.error_summary().unwrap_or_default()));
            None
        }
        Happening::EventDropped { reason, .. } => Some(*reason),
        _ => None,
    })
    .await;
    assert_eq!(reason, "its function failed and no attempt is left");
    assert_eq!(
        attempts.iter().map(|(number, _)| *number).collect::<Vec<_>>(),
        [1, 2, 3]
    );
    assert!(attempts[0].1.starts_with("ValueError: 1 ("), "{attempts:?}");
    world.functions.stop().await;
}

#[tokio::test]
async fn tools_can_ask_what_there_is() {
    let world = python(ECHO, |function| {
        function.timeout = Duration::from_millis(2_500);
        function.reserved_concurrency = Some(3);
        function.versions.insert(4, "app.py:handler".to_owned());
        function.aliases.insert("prod".to_owned(), "4".to_owned());
    })
    .await;
    let list = get("").send(&world.functions).await.success();
    assert_eq!(list["Functions"][0]["FunctionName"], "f");
    let function = get("f").send(&world.functions).await.success();
    assert_eq!(function["Concurrency"]["ReservedConcurrentExecutions"], 3);
    assert_eq!(function["Configuration"]["Handler"], "app.handler");
    let configuration = get("f/configuration?Qualifier=prod")
        .send(&world.functions)
        .await
        .success();
    assert_eq!(
        (&configuration["Timeout"], &configuration["Version"]),
        (&json!(3), &json!("4"))
    );
    let versions = get("f/versions").send(&world.functions).await.success();
    assert_eq!(versions["Versions"].as_array().map(Vec::len), Some(2));
    let alias = get("f/aliases/prod").send(&world.functions).await.success();
    assert_eq!(
        (&alias["Name"], &alias["FunctionVersion"]),
        (&json!("prod"), &json!("4"))
    );
    assert_eq!(
        get("f/aliases").send(&world.functions).await.success()["Aliases"],
        json!([alias])
    );
    for missing in ["g", "f?Qualifier=9", "f/aliases/none"] {
        assert_eq!(
            get(missing).send(&world.functions).await.status,
            StatusCode::NOT_FOUND,
            "{missing}"
        );
    }
    world.functions.stop().await;
}

/// Makes a good configuration a wrong one.
type Change = fn(&mut FunctionConfig);

#[tokio::test]
async fn a_wrong_configuration_is_refused_on_one_line() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("app.py"), ECHO).unwrap();
    let cases: [(Change, &str); 6] = [
        (
            |f| f.name = "a b".to_owned(),
            "function a b: a name is 1 to 64 letters, digits, `-` and `_`",
        ),
        (
            |f| f.timeout = Duration::ZERO,
            "function f: `timeout` is more than 0 and at most 900 seconds",
        ),
        (
            |f| drop(f.aliases.insert("prod".to_owned(), "2".to_owned())),
            "function f: alias `prod` points to `2`, which is neither $LATEST nor one of `versions`",
        ),
        (
            |f| drop(f.aliases.insert("1".to_owned(), "$LATEST".to_owned())),
            "function f: alias `1`: a name is 1 to 128 letters, digits, `-` and `_`, and not a number",
        ),
        (
            |f| drop(f.environment.insert("A=B".to_owned(), String::new())),
            "function f: `A=B` is not the name of an environment variable",
        ),
        (|f| f.handler = "none.py:handler".to_owned(), "function f"),
    ];
    for (change, wanted) in cases {
        let mut config = FunctionsConfig::new(folder.path());
        let mut function = FunctionConfig::new("f", "app.py:handler");
        change(&mut function);
        config.functions.push(function);
        let error = Functions::start(config).await.unwrap_err();
        assert_eq!(error.to_string(), wanted);
    }
    let mut config = FunctionsConfig::new(folder.path());
    config.functions = vec![FunctionConfig::new("f", "app.py:handler"); 2];
    let error = Functions::start(config).await.unwrap_err();
    assert_eq!(error.to_string(), "function f: it is configured twice");
}

#[tokio::test]
async fn the_first_handler_runs_whose_runtime_is_there() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("app.py"), ECHO).unwrap();
    std::fs::write(folder.path().join("app.mjs"), "").unwrap();
    let start = async |runtime: Option<&str>| {
        let mut config = FunctionsConfig::new(folder.path());
        let mut function = FunctionConfig::new("f", "app.mjs:handler");
        function.alternatives = vec!["app.py:handler".to_owned()];
        function.runtime = runtime.map(str::to_owned);
        config.functions.push(function);
        Functions::start(config).await
    };
    let functions = start(None).await.unwrap();
    assert_eq!(functions.handlers()[0].1, folder.path().join("app.mjs"));
    functions.stop().await;
    // Neither has a runtime of this name: the first is told about.
    let error = start(Some("no-such-runtime")).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.starts_with("no-such-runtime is not there to run `app.mjs:handler`"), "{source}");
}
