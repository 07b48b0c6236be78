//! `klamm dev`: the whole local world as its users run it.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use klamm_tests::worker::binary;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// The longest that a test waits for a state.
const LIMIT: Duration = Duration::from_secs(60);

const HANDLER: &str = "import os\ndef handler(event, context):\n    with open('pids', 'a') as pids:\n        pids.write('%d\\n' % os.getpid())\n    return len(event)\n";

/// A folder with a dev file and a handler `app.py`.
fn folder(file: &Value) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("app.py"), HANDLER).unwrap();
    std::fs::write(folder.path().join("klamm.dev.json"), file.to_string()).unwrap();
    folder
}

/// One topic, one function, one connector.
fn small(records: usize) -> Value {
    let records: Vec<_> = (0..records).map(|n| json!({"value": {"n": n}})).collect();
    json!({
        "ports": {"kafka": 0, "functions": 0, "rest": 0},
        "functions": {"f": {"handler": "app.py:handler", "timeout": 20}},
        "topics": {"t": {"records": records}},
        "connectors": {"c": {
            "connector.class": "AwsLambdaSink",
            "topics": "t",
            "aws.lambda.function.name": "f",
            "aws.lambda.batch.size": 20,
        }},
    })
}

fn dev(path: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(binary().unwrap());
    command
        .arg("dev")
        .arg(path)
        .args(options)
        .env_remove("KLAMM_LOG")
        .kill_on_drop(true);
    command
}

async fn once(path: &Path) -> Output {
    let mut command = dev(path, &["--once"]);
    tokio::time::timeout(LIMIT, command.output()).await.expect("it ends by itself").unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn is_running(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(") ").next().unwrap_or_default().starts_with('Z'))
}

#[tokio::test]
async fn once_delivers_the_sample_records_and_leaves_no_process() {
    let folder = folder(&small(45));
    let output = once(folder.path()).await;
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!((output.status.code(), &*err), (Some(0), ""), "{out}");
    let delivered: u64 = out
        .lines()
        .filter_map(|line| line.strip_prefix("delivered ")?.strip_suffix(" of t-0 to f (sync)"))
        .map(|count| count.split(' ').next().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(delivered, 45, "{out}");
    assert!(out.contains("\ndelivered 20 records of t-0 to f (sync)\nf => 20\n"), "{out}");
    let pids = std::fs::read_to_string(folder.path().join("pids")).unwrap();
    assert!(!pids.is_empty());
    for pid in pids.lines() {
        assert!(!is_running(pid), "process {pid} is still there");
    }
}

#[tokio::test]
async fn the_example_runs() {
    let example = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/orders");
    let output = once(&example).await;
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!((output.status.code(), &*err), (Some(0), ""), "{out}");
    for wanted in ["to order-fn (sync)", "to click-fn (sync)", "to audit-fn (async)", "audit-fn | "] {
        assert!(out.contains(wanted), "{wanted:?} is missing:\n{out}");
    }
}

#[tokio::test]
async fn what_is_wrong_is_one_line_and_an_exit_code() {
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = busy.local_addr().unwrap().port();
    let with = |pointer: &str, value: Value| {
        let mut file = small(1);
        *file.pointer_mut(pointer).unwrap() = value;
        file
    };
    let cases = [
        (json!({"topic": {}}), 2, "klamm.dev.json:1: topic: unknown field `topic`"),
        (with("/functions/f/handler", json!("none.py:handler")), 2, "function f: handler `none.py:handler`: there is no file"),
        (with("/functions/f/handler", json!("broken.py:handler")), 2,
            "function f cannot be loaded: Runtime.UserCodeSyntaxError: Syntax error in module 'broken': invalid syntax (broken.py, line 2)"),
        (with("/functions/f/handler", json!("app.py:other")), 2,
            "function f cannot be loaded: Runtime.HandlerNotFound: Handler 'other' missing on module 'app'"),
        (with("/connectors/c/topics", json!("")), 2, "connector c cannot be created"),
        (with("/ports/kafka", json!(port)), 3, "cannot listen on"),
        (with("/ports/functions", json!(port)), 3, "functions cannot listen on"),
        (with("/ports/rest", json!(port)), 3, "in use"),
    ];
    for (file, code, wanted) in &cases {
        let folder = folder(file);
        std::fs::write(folder.path().join("broken.py"), "\ndef handler(:\n").unwrap();
        let output = once(folder.path()).await;
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(*code), "{err}");
        assert!(err.starts_with("klamm: ") && err.contains(wanted), "{wanted:?} is not in {err}");
        assert_eq!(err.lines().count(), 1, "{err}");
    }
    let missing = once(Path::new("/nowhere/klamm.dev.json")).await;
    assert_eq!(missing.status.code(), Some(2));
    assert!(text(&missing.stderr).starts_with("klamm: /nowhere/klamm.dev.json cannot be read"));
}

#[tokio::test]
async fn records_that_are_not_delivered_are_not_a_success() {
    let mut file = small(1);
    file["connectors"]["c"]["delivery.retry.max.attempts"] = json!(1);
    file["functions"]["f"] = json!("bad.py:handler");
    let folder = folder(&file);
    std::fs::write(folder.path().join("bad.py"), "def handler(event, context):\n    raise ValueError('bad')\n").unwrap();
    let output = once(folder.path()).await;
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(out.contains("failed 1 record of t-0 to f (sync): ValueError: bad (File "), "{out}");
    assert!(err.starts_with("klamm: connector c failed: "), "{err}");
}

/// A world that stays.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    kafka: String,
    functions: String,
}

impl Running {
    async fn start(path: &Path) -> Self {
        let mut child = dev(path, &[]).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut world = Self {
            child,
            lines,
            kafka: String::new(),
            functions: String::new(),
        };
        let place = |line: String| line.split_whitespace().nth(1).unwrap().to_owned();
        world.kafka = place(world.line("kafka ").await);
        world.functions = place(world.line("functions ").await);
        world.line("ready").await;
        world
    }

    /// The next line that begins like this.
    async fn line(&mut self, begin: &str) -> String {
        let waiting = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                if line.starts_with(begin) {
                    return line;
                }
            }
            panic!("it ended before it said {begin:?}")
        };
        tokio::time::timeout(LIMIT, waiting).await.unwrap_or_else(|_| panic!("it does not say {begin:?}"))
    }
}

#[tokio::test]
async fn what_is_produced_is_delivered_and_a_changed_function_runs() {
    let folder = folder(&small(0));
    let mut world = Running::start(folder.path()).await;
    let kafka = world.kafka.clone();
    let produce = async |line: &str| {
        let mut tool = Command::new(binary().unwrap());
        tool.args(["dev", "produce", "t", "--bootstrap-server", &kafka]);
        let mut tool = tool.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        tool.stdin.take().unwrap().write_all(line.as_bytes()).await.unwrap();
        let output = tool.wait_with_output().await.unwrap();
        assert_eq!(text(&output.stdout), "acknowledged 1 records\n");
    };
    produce("{\"n\": 1}\n").await;
    world.line("delivered 1 record of t-0 to f (sync)").await;
    assert_eq!(world.line("f => ").await, "f => 1");
    std::fs::write(folder.path().join("app.py"), "def handler(event, context):\n    return 'new'\n").unwrap();
    produce("{\"n\": 2}\n").await;
    world.line("f: the code changed, the new one runs").await;
    assert_eq!(world.line("f => ").await, "f => \"new\"");

    let mut tail = Command::new(binary().unwrap());
    tail.args(["dev", "tail", "--bootstrap-server", &kafka, "--dev"]).arg(folder.path());
    let mut tail = tail.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    for (offset, value) in [(0, "{\"n\": 1}"), (1, "{\"n\": 2}")] {
        let line = tokio::time::timeout(LIMIT, lines.next_line()).await.unwrap().unwrap().unwrap();
        assert!(line.starts_with(&format!("t-0@{offset}\t")) && line.ends_with(value), "{line}");
    }

    // In order: SIGTERM ends everything with code 0.
    let pid = world.child.id().unwrap().to_string();
    Command::new("kill").args(["-TERM", &pid]).status().await.unwrap();
    let status = tokio::time::timeout(LIMIT, world.child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn a_world_that_is_killed_leaves_no_process() {
    let folder = folder(&small(3));
    let mut world = Running::start(folder.path()).await;
    world.line("f => ").await;
    assert!(world.functions.starts_with("http://127.0.0.1:"));
    let pids = std::fs::read_to_string(folder.path().join("pids")).unwrap();
    let pid = pids.lines().next().unwrap();
    assert!(is_running(pid));
    // SIGKILL: it has no chance to end its children.
    world.child.kill().await.unwrap();
    let waiting = async {
        while is_running(pid) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, waiting).await.expect("its function ends with it");
}
