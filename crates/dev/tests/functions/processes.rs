//! Processes: when they start, how long they stay, and that nothing outlives its owner.

use std::path::Path;
use std::time::Duration;

use klamm_dev::functions::{FunctionConfig, Functions, FunctionsConfig, Happening};
use serde_json::json;

use crate::{LIMIT, call, python, told, world, written};

const PID: &str = "import os\ndef handler(event, context):\n    return os.getpid()\n";

/// Whether a process is there and not merely waiting to be reaped.
fn is_running(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(") ").next().unwrap_or_default().starts_with('Z'))
}

async fn gone(pid: &str) {
    let waiting = async {
        while is_running(pid) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, waiting)
        .await
        .unwrap_or_else(|_| panic!("process {pid} is still there"));
}

#[tokio::test]
async fn a_process_serves_one_call_after_the_other() {
    let world = python(PID, |_| ()).await;
    let first = call("f").send(&world.functions).await.success();
    assert_eq!(call("f").send(&world.functions).await.success(), first);
    assert!(is_running(&first.to_string()));
    world.functions.stop().await;
    assert!(!is_running(&first.to_string()), "stop waits until it is gone");
}

#[tokio::test]
async fn calls_at_once_have_a_process_each() {
    // Both answer only when both run.
    let code = "import os, time\ndef handler(event, context):\n    open('here-' + str(event), 'w')\n    while not (os.path.exists('here-1') and os.path.exists('here-2')):\n        time.sleep(0.005)\n    return os.getpid()\n";
    let world = python(code, |_| ()).await;
    let (one, two) = tokio::join!(
        call("f").body("1").send(&world.functions),
        call("f").body("2").send(&world.functions)
    );
    assert_ne!(one.success(), two.success());
    world.functions.stop().await;
}

#[tokio::test]
async fn changed_code_runs_at_the_next_call_and_a_running_call_ends_as_it_began() {
    let code = "import os, time\ndef handler(event, context):\n    open('started', 'w').write('yes\\n')\n    while not os.path.exists('go'):\n        time.sleep(0.005)\n    return 1\n";
    let mut world = python(code, |_| ()).await;
    let change = |text: &str| std::fs::write(world.folder.path().join("app.py"), text).unwrap();
    let running = call("f").send(&world.functions);
    let edit = async {
        written(&world.folder.path().join("started")).await;
        change("import other\ndef handler(event, context):\n    return other.value()\n");
        std::fs::write(world.folder.path().join("other.py"), "def value():\n    return 2\n").unwrap();
        let new = call("f").send(&world.functions).await.success();
        std::fs::write(world.folder.path().join("go"), "").unwrap();
        new
    };
    let (running, new) = tokio::join!(running, edit);
    assert_eq!((running.success(), new), (json!(1), json!(2)));
    // Of the same length and within the same second: Python's cache of compiled code would miss it.
    for value in 3..6 {
        std::fs::write(
            world.folder.path().join("other.py"),
            format!("def value():\n    return {value}\n"),
        )
        .unwrap();
        assert_eq!(
            call("f").send(&world.functions).await.success(),
            json!(value),
            "an imported module counts"
        );
    }
    told(&mut world.happenings, |happening| {
        matches!(happening, Happening::Reloaded { .. }).then_some(())
    })
    .await;
    world.functions.stop().await;
}

#[tokio::test]
async fn a_call_beyond_its_time_is_killed_with_all_that_it_started() {
    let code = "import subprocess, time\ndef handler(event, context):\n    if event == 1: return 'fine'\n    child = subprocess.Popen(['sleep', '1000'])\n    print(child.pid)\n    open('child', 'w').write(str(child.pid) + '\\n')\n    time.sleep(1000)\n";
    let world = python(code, |function| function.timeout = Duration::from_millis(1_500)).await;
    world.functions.warm_up().await.unwrap();
    let reply = call("f").header("x-amz-log-type", "Tail").send(&world.functions).await;
    let id = reply.header("x-amzn-requestid").unwrap();
    let wanted = format!("RequestId: {id} Error: Task timed out after 1.50 seconds");
    assert_eq!(reply.function_error(), ("Sandbox.Timedout".to_owned(), wanted));
    let child = written(&world.folder.path().join("child")).await;
    assert!(reply.log().contains(&format!("\n{child}\n")), "{}", reply.log());
    assert!(reply.log().trim_end().ends_with("Status: timeout"), "{}", reply.log());
    gone(&child).await;
    world.functions.warm_up().await.unwrap();
    assert_eq!(
        call("f").body("1").send(&world.functions).await.success(),
        json!("fine")
    );
    world.functions.stop().await;
}

#[tokio::test]
async fn an_idle_process_ends_and_dropping_ends_all() {
    let world = world(&[("app.py", PID)], |config| {
        config.idle_timeout = Duration::from_millis(50);
        let mut function = FunctionConfig::new("f", "app.py:handler");
        function.timeout = Duration::from_secs(20);
        config.functions.push(function);
    })
    .await;
    let first = call("f").send(&world.functions).await.success().to_string();
    gone(&first).await;

    let dropped = python(PID, |_| ()).await;
    let pid = call("f").send(&dropped.functions).await.success().to_string();
    assert!(is_running(&pid));
    drop(dropped);
    gone(&pid).await;
    world.functions.stop().await;
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_end_its_call() {
    let code = "import os, time\ndef handler(event, context):\n    open('started', 'w').write('yes\\n')\n    while not os.path.exists('go'):\n        time.sleep(0.005)\n    open('ended', 'w').write('yes\\n')\n";
    let world = python(code, |_| ()).await;
    let path = world.folder.path();
    let started = path.join("started");
    tokio::select! {
        _ = call("f").send(&world.functions) => panic!("it waits"),
        _ = written(&started) => {}
    }
    std::fs::write(path.join("go"), "").unwrap();
    written(&path.join("ended")).await;
    world.functions.stop().await;
}

#[tokio::test]
async fn warming_up_names_the_function_that_cannot_be_loaded_and_where() {
    let world = world(&[("good.py", PID), ("bad.py", "import os\nx = y\n")], |config| {
        config.functions.push(FunctionConfig::new("good", "good.py:handler"));
        config.functions.push(FunctionConfig::new("bad", "bad.py:handler"));
    })
    .await;
    let error = world.functions.warm_up().await.unwrap_err();
    let file = world.folder.path().join("bad.py");
    assert_eq!(
        error.to_string(),
        format!(
            "function bad cannot be loaded: NameError: name 'y' is not defined (File \"{}\", line 2, in <module>)",
            file.display()
        )
    );
    world.functions.stop().await;
}

/// Run by the test below as a process of its own.
#[tokio::test]
async fn victim() {
    let Some(folder) = std::env::var_os("KLAMM_TEST_VICTIM") else {
        return;
    };
    let mut config = FunctionsConfig::new(folder);
    let mut function = FunctionConfig::new("f", "app.py:handler");
    function.timeout = Duration::from_secs(900);
    config.functions.push(function);
    let functions = Functions::start(config).await.unwrap();
    call("f").send(&functions).await;
}

#[tokio::test]
async fn nothing_outlives_a_parent_that_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let code = "import os, subprocess\ndef handler(event, context):\n    child = subprocess.Popen(['sleep', '1000'])\n    open('pids', 'w').write('%d %d\\n' % (os.getpid(), child.pid))\n    while True: pass\n";
    std::fs::write(folder.path().join("app.py"), code).unwrap();
    let mut victim = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "processes::victim"])
        .env("KLAMM_TEST_VICTIM", folder.path())
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let pids = written(Path::new(&folder.path().join("pids"))).await;
    assert!(pids.split(' ').all(is_running), "{pids}");
    // SIGKILL: it has no chance to end its children.
    victim.kill().await.unwrap();
    for pid in pids.split(' ') {
        gone(pid).await;
    }
}
