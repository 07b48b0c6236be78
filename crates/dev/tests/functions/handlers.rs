//! What handlers in Python, in Node and of their own kind get and may do.

use std::time::Duration;

use base64::Engine as _;
use klamm_dev::functions::{FunctionConfig, Happening};
use serde_json::{Value, json};

use crate::{World, call, python, told, world};

async fn node(file: &str, code: &str) -> World {
    world(&[(file, code)], |config| {
        let mut function = FunctionConfig::new("f", format!("{file}:handler"));
        function.timeout = Duration::from_secs(20);
        config.functions.push(function);
    })
    .await
}

#[tokio::test]
async fn a_python_handler_gets_event_context_and_environment() {
    let code = "import os\n\
        def handler(event, context):\n    \
            assert 0 < context.get_remaining_time_in_millis() <= 20000\n    \
            names = ['AWS_LAMBDA_FUNCTION_NAME', 'AWS_LAMBDA_FUNCTION_MEMORY_SIZE', 'AWS_REGION', '_HANDLER', 'OWN', '_X_AMZN_TRACE_ID']\n    \
            return {'event': event, 'env': [os.environ[name] for name in names], 'root': os.environ['LAMBDA_TASK_ROOT'] == os.getcwd(),\n        \
                'id': context.aws_request_id, 'custom': context.client_context.custom, 'client': context.client_context.client.app_title,\n        \
                'name': context.function_name, 'memory': context.memory_limit_in_mb}\n";
    let world = python(code, |function| {
        function.environment.insert("OWN".to_owned(), "own value".to_owned());
        function.memory_mb = 256;
    })
    .await;
    let context = json!({"custom": {"k": "é"}, "client": {"app_title": "t"}}).to_string();
    let reply = call("f")
        .header(
            "x-amz-client-context",
            base64::engine::general_purpose::STANDARD.encode(context),
        )
        .header("x-amzn-trace-id", "Root=1-5f-a;Parent=b;Sampled=1")
        .body("{\"k\":[1,\"ü\"]}")
        .send(&world.functions)
        .await;
    let answer = reply.success();
    let trace = "Root=1-5f-a;Parent=b;Sampled=1";
    assert_eq!(
        answer,
        json!({
            "event": {"k": [1, "ü"]},
            "env": ["f", "256", "us-east-1", "app.handler", "own value", trace],
            "root": true,
            "id": reply.header("x-amzn-requestid"),
            "custom": {"k": "é"},
            "client": "t",
            "name": "f",
            "memory": "256",
        })
    );
    assert_eq!(reply.header("x-amzn-trace-id"), Some(trace));
    world.functions.stop().await;
}

#[tokio::test]
async fn the_log_tail_holds_the_lines_of_its_call_between_start_and_report() {
    let code = "import logging, sys\nprint('loading')\ndef handler(event, context):\n    print('out', event)\n    print('err', file=sys.stderr)\n    logging.getLogger().warning('warned')\n    sys.stdout.write('no end' + 'x' * event)\n";
    let world = python(code, |_| ()).await;
    for (event, loads) in [(0, true), (0, false), (9_000, false)] {
        let reply = call("f")
            .header("x-amz-log-type", "Tail")
            .body(event.to_string())
            .send(&world.functions)
            .await;
        assert_eq!(reply.success(), Value::Null);
        let (log, id) = (reply.log(), reply.header("x-amzn-requestid").unwrap());
        if event > 0 {
            assert_eq!((log.len(), log.starts_with('x')), (4096, true));
            continue;
        }
        let mut lines = log.lines();
        if loads {
            assert_eq!(lines.next(), Some("loading"));
        }
        assert_eq!(lines.next().unwrap(), format!("START RequestId: {id} Version: $LATEST"));
        assert_eq!((lines.next(), lines.next()), (Some("out 0"), Some("err")));
        let warned = lines.next().unwrap();
        assert!(
            warned.starts_with("[WARNING]\t") && warned.ends_with(&format!("Z\t{id}\twarned")),
            "{warned}"
        );
        assert_eq!(lines.next(), Some("no end"));
        assert_eq!(lines.next().unwrap(), format!("END RequestId: {id}"));
        let report = lines.next().unwrap();
        assert!(
            report.starts_with(&format!("REPORT RequestId: {id}\tDuration: ")),
            "{report}"
        );
        assert!(
            report.contains(" ms\tBilled Duration: ") && report.contains("\tMemory Size: 128 MB\t"),
            "{report}"
        );
        assert_eq!(report.contains("Init Duration"), loads, "{report}");
        assert_eq!(lines.next(), None);
    }
    world.functions.stop().await;
}

#[tokio::test]
async fn what_goes_wrong_in_python_is_told_as_lambda_tells_it() {
    let good = "def handler(event, context):\n    ";
    // code, errorType, how errorMessage begins, whether the process goes on
    let cases = [
        (
            format!("{good}raise ValueError('bad ' + str(event))"),
            "ValueError",
            "bad 7",
        ),
        (
            format!("{good}return {{1, 2}}"),
            "Runtime.MarshalError",
            "Unable to marshal response: Object of type set is not JSON serializable",
        ),
        (
            format!("{good}import os; os._exit(3)"),
            "Runtime.ExitError",
            "RequestId: ID Error: Runtime exited with error: exit status 3",
        ),
        (
            format!("{good}import os; os.kill(os.getpid(), 9)"),
            "Runtime.ExitError",
            "RequestId: ID Error: Runtime exited with error: signal: killed",
        ),
        (
            format!("{good}exit()"),
            "Runtime.ExitError",
            "RequestId: ID Error: Runtime exited without providing a reason",
        ),
        (
            "import nowhere".to_owned(),
            "Runtime.ImportModuleError",
            "Unable to import module 'app': No module named 'nowhere'",
        ),
        (
            "\ndef handler(:\n".to_owned(),
            "Runtime.UserCodeSyntaxError",
            "Syntax error in module 'app': invalid syntax (app.py, line 2)",
        ),
        (
            "other = 1".to_owned(),
            "Runtime.HandlerNotFound",
            "Handler 'handler' missing on module 'app'",
        ),
        (
            "handler = 1".to_owned(),
            "Runtime.HandlerNotFound",
            "'handler' of module 'app' is not callable",
        ),
        ("1 / 0".to_owned(), "ZeroDivisionError", "division by zero"),
    ];
    for (code, kind, message) in cases {
        let world = python(&code, |_| ()).await;
        for _again in 0..2 {
            let reply = call("f").body("7").send(&world.functions).await;
            let (found, text) = reply.function_error();
            let text = text.replace(reply.header("x-amzn-requestid").unwrap(), "ID");
            assert_eq!((&*found, &*text), (kind, message), "{code}");
        }
        world.functions.stop().await;
    }
}

#[tokio::test]
async fn a_python_error_says_where_in_the_handler_s_own_code() {
    let mut world = python(
        "def inner():\n    return [][1]\ndef handler(event, context):\n    return inner()\n",
        |_| (),
    )
    .await;
    let reply = call("f").send(&world.functions).await;
    let trace: Vec<String> = serde_json::from_value(reply.json()["stackTrace"].clone()).unwrap();
    let file = world.folder.path().join("app.py");
    let frame = |line, function| format!("  File \"{}\", line {line}, in {function}\n", file.display());
    assert!(
        trace[0].starts_with(&frame(4, "handler")) && trace[1].starts_with(&frame(2, "inner")),
        "{trace:?}"
    );
    assert_eq!(trace.len(), 2);
    let summary = told(&mut world.happenings, |happening| match happening {
        Happening::Called(call) => call.outcome.error_summary(),
        _ => None,
    });
    let place = frame(2, "inner");
    assert_eq!(
        summary.await,
        format!("IndexError: list index out of range ({})", place.trim())
    );
    world.functions.stop().await;
}

#[tokio::test]
async fn a_node_handler_may_be_of_either_module_system_and_answer_by_promise_or_callback() {
    let cases = [
        (
            "app.mjs",
            "export const handler = async (event, context) => ({ got: event, fn: context.functionName });",
        ),
        (
            "app.js",
            "exports.handler = async (event, context) => ({ got: event, fn: context.functionName });",
        ),
        (
            "app.cjs",
            "exports.handler = (event, context, done) => setTimeout(() => done(null, { got: event, fn: context.functionName }), 1);",
        ),
        (
            "app.cjs",
            "module.exports = { async handler(event, context) { return { got: event, fn: context.functionName }; } };",
        ),
    ];
    for (file, code) in cases {
        let world = node(file, code).await;
        for event in [json!(1), json!({"é": [true]})] {
            let reply = call("f").body(event.to_string()).send(&world.functions).await;
            assert_eq!(reply.success(), json!({"got": event, "fn": "f"}), "{code}");
        }
        world.functions.stop().await;
    }
    let code = "exports.handler = (event, context, done) => { setTimeout(() => console.log('seen', event), 1); return 'no answer'; };";
    let world = node("app.cjs", code).await;
    let reply = call("f")
        .header("x-amz-log-type", "Tail")
        .body("5")
        .send(&world.functions)
        .await;
    assert_eq!(reply.success(), Value::Null, "nothing is left that could answer");
    let line = format!("Z\t{}\tINFO\tseen 5\n", reply.header("x-amzn-requestid").unwrap());
    assert!(reply.log().contains(&line), "{}", reply.log());
    world.functions.stop().await;
}

#[tokio::test]
async fn what_goes_wrong_in_node_is_told_as_lambda_tells_it() {
    let cases = [
        (
            "export const handler = async (e) => { throw new RangeError('bad ' + e); };",
            "RangeError",
            "bad 7",
        ),
        ("export const handler = (e, c, done) => done('text');", "string", "text"),
        (
            "export const handler = async () => { setTimeout(() => { throw new TypeError('late'); }); await new Promise((r) => setTimeout(r, 9e3)); };",
            "TypeError",
            "late",
        ),
        (
            "export const handler = async () => process.exit(4);",
            "Runtime.ExitError",
            "RequestId: ID Error: Runtime exited with error: exit status 4",
        ),
        (
            "\nexport const handler = {{;",
            "Runtime.UserCodeSyntaxError",
            "SyntaxError: Unexpected token '{' (FOLDER/app.mjs:2)",
        ),
        (
            "import 'nowhere';",
            "Runtime.ImportModuleError",
            "Error: Cannot find package 'nowhere' imported from FOLDER/app.mjs",
        ),
        (
            "export const other = 1;",
            "Runtime.HandlerNotFound",
            "app.mjs: handler is undefined or not exported",
        ),
        (
            "export const handler = 1;",
            "Runtime.HandlerNotFound",
            "app.mjs: handler is not a function",
        ),
    ];
    for (code, kind, message) in cases {
        let world = node("app.mjs", code).await;
        for _again in 0..2 {
            let reply = call("f").body("7").send(&world.functions).await;
            let (found, text) = reply.function_error();
            let folder = world.folder.path().canonicalize().unwrap();
            let text = text
                .replace(reply.header("x-amzn-requestid").unwrap(), "ID")
                .replace(folder.to_str().unwrap(), "FOLDER");
            assert_eq!((&*found, &*text), (kind, message), "{code}");
        }
        world.functions.stop().await;
    }
}

/// A runtime of its own, in the manner of the libraries: it loops over the Runtime API.
const RUNTIME: &str = r#"#!/usr/bin/env python3
import http.client, os
def call(method, path, body=None, headers={}):
    c = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    c.request(method, "/2018-06-01/runtime/" + path, body, headers)
    r = c.getresponse()
    return r.status, r.headers, r.read()
while True:
    _, headers, event = call("GET", "invocation/next")
    id = headers["Lambda-Runtime-Aws-Request-Id"]
    assert call("GET", "nothing")[0] == 404
    assert call("POST", "invocation/other/response", b"1")[0] == 400, "another id"
    if event == b'"again"':
        assert call("GET", "invocation/next")[0] == 403, "it has not answered"
    if event == b'"handled"':
        answer = call("POST", f"invocation/{id}/error", b'{"errorType":"T","errorMessage":"m"}', {"Lambda-Runtime-Function-Error-Type": "Handled"})
    elif event == b'"bare"':
        answer = call("POST", f"invocation/{id}/error")
    else:
        answer = call("POST", f"invocation/{id}/response", b"[" + event + b"]")
    assert answer[0] == 202, answer
"#;

#[tokio::test]
async fn an_executable_speaks_the_runtime_api_itself() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = world(&[("runtime", RUNTIME)], |config| {
        let file = config.root.join("runtime");
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut function = FunctionConfig::new("f", "runtime");
        function.timeout = Duration::from_secs(20);
        config.functions.push(function);
    })
    .await;
    for event in ["1", "\"again\"", "{\"k\":2}"] {
        let reply = call("f").body(event).send(&world.functions).await;
        reply.success();
        assert_eq!(reply.body, format!("[{event}]"));
    }
    let reply = call("f").body("\"handled\"").send(&world.functions).await;
    assert_eq!(reply.header("x-amz-function-error"), Some("Handled"));
    assert_eq!(reply.json(), json!({"errorType": "T", "errorMessage": "m"}));
    let reply = call("f").body("\"bare\"").send(&world.functions).await;
    assert_eq!(
        reply.function_error(),
        ("Runtime.Unknown".to_owned(), "Unknown".to_owned())
    );
    world.functions.stop().await;
}
