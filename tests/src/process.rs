//! Processes that end with the test process, however it ends.
//!
//! Each is watched by a small shell that reads from a pipe whose other end the test holds. When the test closes the
//! pipe, exits or is killed, the kernel closes it, the shell sees the end and cleans up. So there is no handler that a
//! `kill -9` could skip, and statics need no destructor.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context as _, bail};

/// The folder `tests/testbed`.
pub fn testbed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testbed")
}

/// Decides what a server that cannot start means: a failed test, or a skipped one where skipping is allowed.
///
/// # Panics
/// The server did not start and `KLAMM_TEST_SKIP_REAL` is not `1`.
pub fn or_skip<T>(what: &str, started: anyhow::Result<T>) -> Option<T> {
    match started {
        Ok(server) => Some(server),
        Err(err) if std::env::var_os("KLAMM_TEST_SKIP_REAL").is_some_and(|value| value == "1") => {
            // Straight to standard error: the test runner hides what the print macros write in tests that pass.
            let line = format!("SKIPPED: {what} cannot start: {err:#}\n");
            std::io::stderr()
                .write_all(line.as_bytes())
                .expect("standard error can be written");
            None
        }
        Err(err) => panic!("{what} cannot start (set KLAMM_TEST_SKIP_REAL=1 to skip such tests): {err:#}"),
    }
}

/// A server of the testbed, taken down when this is dropped or the test process ends.
#[derive(Debug)]
pub struct Server {
    script: PathBuf,
    dir: PathBuf,
    env: HashMap<String, String>,
    watcher: Watcher,
}

impl Server {
    /// Runs `testbed/<script> up` with these arguments in a folder of its own.
    ///
    /// # Errors
    /// It did not come up; the message holds the script's output.
    pub fn up(script: &str, args: &[&str]) -> anyhow::Result<Self> {
        Self::launch(script, "up", args)
    }

    /// Runs `testbed/registry mock`, the scripted registry, with these arguments in a folder of its own.
    ///
    /// # Errors
    /// It did not come up; the message holds the script's output.
    pub fn registry_mock(args: &[&str]) -> anyhow::Result<Self> {
        Self::launch("registry", "mock", args)
    }

    fn launch(script: &str, verb: &str, args: &[&str]) -> anyhow::Result<Self> {
        let prefix = format!("klamm-{script}-");
        let dir = tempfile::Builder::new()
            .prefix(&prefix)
            .tempdir()
            .context("cannot make a folder")?
            .keep();
        let script = testbed().join(script);
        // One shell for all three steps: should the test die while the server starts, it is still taken down.
        let steps = r#"script=$1 verb=$2 dir=$3; shift 3
            if "$script" "$verb" --dir "$dir" "$@" 2>&1; then echo "testbed: up"; else echo "testbed: failed"; fi
            exec >/dev/null 2>&1
            read -r _
            "$script" down --dir "$dir"; rm -rf "$dir""#;
        let mut command = Command::new("bash");
        command
            .args(["-c", steps, "watcher"])
            .arg(&script)
            .arg(verb)
            .arg(&dir)
            .args(args)
            .stdout(Stdio::piped());
        let mut watcher = Watcher::start(command)?;
        let output = watcher.child.stdout.take().context("the watcher has no output")?;
        let (mut seen, mut env) = (String::new(), HashMap::new());
        for line in BufReader::new(output).lines() {
            let line = line.context("cannot read the testbed's output")?;
            if line == "testbed: up" {
                return Ok(Self {
                    script,
                    dir,
                    env,
                    watcher,
                });
            }
            if let Some((name, value)) = line.split_once('=') {
                env.insert(name.to_owned(), value.trim_matches('\'').to_owned());
            }
            seen.push_str(&line);
            seen.push('\n');
        }
        bail!("{} {verb} failed:\n{seen}", script.display())
    }

    /// A value that `up` printed.
    ///
    /// # Errors
    /// There is no such value.
    pub fn value(&self, name: &str) -> anyhow::Result<&str> {
        self.env
            .get(name)
            .map(String::as_str)
            .with_context(|| format!("the testbed printed no {name}"))
    }

    /// The folder with the server's data and logs.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Runs the server's script with a command and returns what it printed.
    ///
    /// # Errors
    /// The script failed; the message holds its output.
    pub async fn run(&self, command: &str, args: &[&str]) -> anyhow::Result<String> {
        self.run_with(command, args, Stdio::null()).await
    }

    /// As [`Server::run`], with a file as standard input.
    ///
    /// # Errors
    /// The file cannot be read, or the script failed.
    pub async fn run_with_input(&self, command: &str, args: &[&str], input: &Path) -> anyhow::Result<String> {
        let file = std::fs::File::open(input).with_context(|| format!("cannot read {}", input.display()))?;
        self.run_with(command, args, file.into()).await
    }

    async fn run_with(&self, command: &str, args: &[&str], input: Stdio) -> anyhow::Result<String> {
        // `kill N` and its like want the number before the options.
        let (numbers, rest) = args.split_at(
            args.iter()
                .take_while(|arg| arg.bytes().all(|b| b.is_ascii_digit()))
                .count(),
        );
        let mut shell = tokio::process::Command::new(&self.script);
        shell
            .arg(command)
            .args(numbers)
            .arg("--dir")
            .arg(&self.dir)
            .args(rest)
            .stdin(input)
            .kill_on_drop(true);
        let output = shell
            .output()
            .await
            .with_context(|| format!("cannot run {}", self.script.display()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            bail!(
                "{} {command} {args:?} failed: {}\n{text}{errors}",
                self.script.display(),
                output.status
            );
        }
        Ok(text)
    }

    /// Takes the server down now and waits until it is.
    ///
    /// # Errors
    /// The watcher cannot be waited for.
    pub fn down(mut self) -> anyhow::Result<()> {
        self.watcher.end()
    }
}

/// A shell that cleans up when the test process ends; see the module's documentation.
#[derive(Debug)]
pub struct Watcher {
    child: Child,
    pipe: Option<ChildStdin>,
}

impl Watcher {
    /// Starts the shell in a process group of its own, so that an interrupt from the terminal does not end it first.
    fn start(mut command: Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("cannot start a watcher")?;
        let pipe = child.stdin.take();
        Ok(Self { child, pipe })
    }

    /// Kills a process when the test process ends, unless the watcher is [released](Self::release) before.
    ///
    /// # Errors
    /// The shell cannot be started.
    pub fn of_process(pid: u32) -> anyhow::Result<Self> {
        let mut command = Command::new("sh");
        let steps = r#"read -r word; [ "$word" = released ] || kill -KILL "$1""#;
        command
            .args(["-c", steps, "watcher", &pid.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Self::start(command)
    }

    /// Tells the watcher that the process has ended, before its id can be used again.
    ///
    /// # Errors
    /// The watcher cannot be written to or waited for.
    pub fn release(&mut self) -> anyhow::Result<()> {
        if let Some(pipe) = &mut self.pipe {
            pipe.write_all(b"released\n").context("cannot release a watcher")?;
        }
        self.end()
    }

    fn end(&mut self) -> anyhow::Result<()> {
        drop(self.pipe.take());
        self.child.wait().context("cannot wait for a watcher")?;
        Ok(())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if let Err(err) = self.end() {
            // A destructor has no caller to tell, and the clean-up itself is the shell's.
            let line = format!("watcher: {err:#}\n");
            std::io::stderr().write_all(line.as_bytes()).ok();
        }
    }
}
