//! The `klamm` binary as a process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::process::Watcher;
use crate::rest::Rest;
use crate::wait;

/// What a worker is started with. It can be started again: state, port and log belong to the builder's folder.
#[derive(Debug)]
pub struct Builder {
    dir: TempDir,
    port: u16,
    properties: BTreeMap<String, String>,
    env: BTreeMap<String, String>,
    args: Vec<String>,
}

/// A running worker; it is killed when this is dropped or the test process ends.
#[derive(Debug)]
pub struct Worker {
    settings: Builder,
    child: Child,
    pid: u32,
    watcher: Watcher,
    rest: Rest,
}

/// The binary under test: `KLAMM_BIN`, else `klamm` in the folder of the build that this program belongs to.
///
/// # Errors
/// It is not built.
pub fn binary() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("KLAMM_BIN") {
        return Ok(path.into());
    }
    // Beside this program, or above it: tests lie in <target>/<profile>/deps. Cargo names the binary to tests of its own
    // package only.
    let program = std::env::current_exe().context("the program's own path is unknown")?;
    let paths = program.ancestors().skip(1).take(2).map(|folder| folder.join("klamm"));
    let found = paths.into_iter().find(|path| path.is_file());
    found.with_context(|| {
        format!(
            "klamm is not built beside {}: run `cargo build -p klamm` first",
            program.display()
        )
    })
}

/// A port that was free a moment ago.
///
/// # Errors
/// No port is free.
pub fn free_port() -> anyhow::Result<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").context("no free port")?;
    Ok(listener.local_addr()?.port())
}

impl Worker {
    /// A worker for this cluster, with a port and a state folder of its own, JSON converters without schemas and
    /// string keys.
    ///
    /// # Panics
    /// No port or temporary folder can be had.
    pub fn builder(bootstrap: &str) -> Builder {
        let port = free_port().expect("a free port");
        let dir = tempfile::Builder::new()
            .prefix("klamm-worker-")
            .tempdir()
            .expect("a temporary folder");
        let state = dir.path().join("state").display().to_string();
        let properties = [
            ("bootstrap.servers", bootstrap),
            ("listeners", &format!("http://127.0.0.1:{port}")),
            ("state.dir", &state),
            ("key.converter", "org.apache.kafka.connect.storage.StringConverter"),
            ("value.converter", "org.apache.kafka.connect.json.JsonConverter"),
            ("value.converter.schemas.enable", "false"),
            ("consumer.auto.offset.reset", "earliest"),
        ];
        Builder {
            dir,
            port,
            properties: properties.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            env: BTreeMap::new(),
            args: Vec::new(),
        }
    }

    /// A client for its REST API.
    pub fn rest(&self) -> &Rest {
        &self.rest
    }

    /// The base URL of its REST API.
    pub fn url(&self) -> String {
        self.settings.url()
    }

    /// All that it has logged, in this life and those before.
    pub fn log(&self) -> String {
        self.settings.log()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Resident memory in bytes.
    ///
    /// # Errors
    /// The process has ended.
    pub fn resident_bytes(&self) -> anyhow::Result<u64> {
        resident_bytes(self.pid)
    }

    /// CPU time used so far, in user and kernel mode, in steps of 10 ms.
    ///
    /// # Errors
    /// The process has ended.
    pub fn cpu_time(&self) -> anyhow::Result<Duration> {
        cpu_time(self.pid)
    }

    /// `kill -9`. Returns the settings to start it again with.
    ///
    /// # Errors
    /// It cannot be killed.
    pub async fn kill(mut self) -> anyhow::Result<Builder> {
        self.child.kill().await.context("cannot kill the worker")?;
        self.watcher.release()?;
        Ok(self.settings)
    }

    /// SIGTERM, and waits for the end. Returns the settings to start it again with.
    ///
    /// # Errors
    /// It does not end in time or not with success; the message holds its log.
    pub async fn terminate(self) -> anyhow::Result<Builder> {
        self.signal("TERM").await?;
        let (status, settings) = self.ended().await?;
        ensure!(
            status.success(),
            "the worker ended with {status} after SIGTERM\n{}",
            settings.log()
        );
        Ok(settings)
    }

    /// Sends a signal by name, such as `STOP`.
    ///
    /// # Errors
    /// The process is gone.
    pub async fn signal(&self, name: &str) -> anyhow::Result<()> {
        let kill = format!("kill -{name} {}", self.pid);
        let status = Command::new("sh")
            .args(["-c", &kill])
            .status()
            .await
            .context("cannot run sh")?;
        ensure!(status.success(), "`{kill}` failed: {status}");
        Ok(())
    }

    /// Waits for the end of the process.
    ///
    /// # Errors
    /// It does not end in time; the message holds its log.
    pub async fn ended(mut self) -> anyhow::Result<(ExitStatus, Builder)> {
        let status = timeout(wait::LIMIT, self.child.wait())
            .await
            .with_context(|| format!("the worker did not end in time\n{}", self.settings.log()))??;
        self.watcher.release()?;
        Ok((status, self.settings))
    }
}

impl Builder {
    /// Sets a property of the worker file.
    #[must_use]
    pub fn property(mut self, key: &str, value: impl Into<String>) -> Self {
        self.properties.insert(key.to_owned(), value.into());
        self
    }

    /// Leaves a property out of the worker file.
    #[must_use]
    pub fn without(mut self, key: &str) -> Self {
        self.properties.remove(key);
        self
    }

    /// Sets a variable of the environment.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl Into<String>) -> Self {
        self.env.insert(key.to_owned(), value.into());
        self
    }

    /// Adds an argument, such as the path of a connector file.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// The folder of the worker's file, log and state.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The base URL of the REST API.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// All that was logged so far.
    pub fn log(&self) -> String {
        std::fs::read(self.log_path())
            .map(|log| String::from_utf8_lossy(&log).into_owned())
            .unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("worker.log")
    }

    /// Starts the worker and waits until `GET /health` answers 200.
    ///
    /// # Errors
    /// The binary is not built, ended, or is not ready in time; the message holds its log.
    pub async fn start(self) -> anyhow::Result<Worker> {
        let mut worker = self.spawn()?;
        let rest = worker.rest.clone();
        let ready = wait::until("the worker to be ready", wait::LIMIT, || {
            let ended = worker.child.try_wait();
            let rest = rest.clone();
            async move {
                match ended {
                    Ok(None) => {}
                    Ok(Some(status)) => return Some(Err(anyhow::anyhow!("the worker ended with {status}"))),
                    Err(err) => return Some(Err(err.into())),
                }
                let reply = rest.get("/health").await.ok()?;
                (reply.status == 200).then_some(Ok(()))
            }
        });
        match ready.await {
            Ok(Ok(())) => Ok(worker),
            Ok(Err(err)) | Err(err) => bail!("{err:#}\n{}", worker.log()),
        }
    }

    /// Starts the worker without waiting for anything.
    ///
    /// # Errors
    /// The binary is not built or cannot be started.
    pub fn spawn(self) -> anyhow::Result<Worker> {
        let file = self.dir.path().join("worker.properties");
        let text: String = self
            .properties
            .iter()
            .map(|(key, value)| format!("{key}={value}\n"))
            .collect();
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .context("cannot open the log")?;
        let binary = binary()?;
        let mut command = Command::new(&binary);
        command
            .arg("worker")
            .arg("--config")
            .arg(&file)
            .args(&self.args)
            .envs(&self.env);
        // The machine's own AWS settings must not reach a test.
        for key in ["AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_LAMBDA"] {
            if !self.env.contains_key(key) {
                command.env_remove(key);
            }
        }
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A Ctrl-C in the terminal is for this process, which then ends the worker in order.
            .process_group(0)
            .kill_on_drop(true);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let pid = child.id().context("the worker ended at once")?;
        let watcher = Watcher::of_process(pid)?;
        let rest = Rest::new(self.url());
        Ok(Worker {
            settings: self,
            child,
            pid,
            watcher,
            rest,
        })
    }
}

/// Resident memory of a process in bytes.
///
/// # Errors
/// The process has ended.
pub fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .with_context(|| format!("no VmRSS in {path}"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().with_context(|| path)?;
    Ok(kib * 1024)
}

/// CPU time of a process in user and kernel mode, in steps of 10 ms.
///
/// # Errors
/// The process has ended.
pub fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    /// Linux reports times to user space in hundredths of a second on every common architecture.
    const MS_PER_TICK: u64 = 10;
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    // The name in parentheses may hold spaces; the fields after it are counted from 3 in proc(5).
    let (_pid_and_name, fields) = stat.rsplit_once(") ").with_context(|| format!("unexpected {path}"))?;
    let field = |number: usize| -> anyhow::Result<u64> {
        let text = fields
            .split(' ')
            .nth(number - 3)
            .with_context(|| format!("no field {number} in {path}"))?;
        Ok(text.parse()?)
    };
    Ok(Duration::from_millis((field(14)? + field(15)?) * MS_PER_TICK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_time_of_this_process_can_be_read() {
        let pid = std::process::id();
        assert!(resident_bytes(pid).unwrap() > 100 * 1024);
        let before = cpu_time(pid).unwrap();
        let mut sum = 0_u64;
        while cpu_time(pid).unwrap() == before {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(cpu_time(u32::MAX).is_err());
    }
}
