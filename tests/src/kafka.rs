//! A real Kafka.

use std::path::Path;
use std::sync::OnceLock;

use crate::process::{Server, or_skip};

/// A cluster of one or three brokers on loopback.
#[derive(Debug)]
pub struct Broker {
    server: Server,
    bootstrap: String,
}

impl Broker {
    /// The broker that all tests of this process share, started by the first. Tests tell their topics and groups apart
    /// by name, and none of them may stop it. `None`: skipped.
    ///
    /// # Panics
    /// It cannot start, and skipping is not allowed.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Result<Broker, String>> = OnceLock::new();
        let started = SHARED.get_or_init(|| Self::start(&[]).map_err(|err| format!("{err:#}")));
        or_skip("Kafka", started.as_ref().map_err(|err| anyhow::anyhow!("{err}")))
    }

    /// A broker for one test, which may stop it. `args` as for `testbed/kafka up`, such as `["--brokers", "3"]`.
    /// `None`: skipped.
    ///
    /// # Panics
    /// It cannot start, and skipping is not allowed.
    pub fn own(args: &[&str]) -> Option<Self> {
        or_skip("Kafka", Self::start(args))
    }

    fn start(args: &[&str]) -> anyhow::Result<Self> {
        let server = Server::up("kafka", args)?;
        let bootstrap = server.value("KAFKA_BOOTSTRAP")?.to_owned();
        Ok(Self { server, bootstrap })
    }

    /// `bootstrap.servers`, without authentication.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// What `up` printed and wrote.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// `kill -9` of broker `n`, counted from 1.
    ///
    /// # Errors
    /// The testbed failed.
    pub async fn kill(&self, n: u32) -> anyhow::Result<()> {
        self.broker("kill", n).await
    }

    /// An orderly stop of broker `n`.
    ///
    /// # Errors
    /// The testbed failed.
    pub async fn stop(&self, n: u32) -> anyhow::Result<()> {
        self.broker("stop", n).await
    }

    /// Starts broker `n` again with its data, and waits until it is ready.
    ///
    /// # Errors
    /// The testbed failed.
    pub async fn start_again(&self, n: u32) -> anyhow::Result<()> {
        self.broker("start", n).await
    }

    /// Halts broker `n`: its sockets stay open and nothing answers.
    ///
    /// # Errors
    /// The testbed failed.
    pub async fn pause(&self, n: u32) -> anyhow::Result<()> {
        self.broker("pause", n).await
    }

    /// Lets a paused broker go on.
    ///
    /// # Errors
    /// The testbed failed.
    pub async fn resume(&self, n: u32) -> anyhow::Result<()> {
        self.broker("resume", n).await
    }

    async fn broker(&self, command: &str, n: u32) -> anyhow::Result<()> {
        self.server.run(command, &[&n.to_string()]).await.map(drop)
    }

    /// Runs one of Kafka's own tools, such as `groups` with `["--describe", "--group", "g"]`, and returns its output.
    /// Takes seconds: a JVM starts.
    ///
    /// # Errors
    /// The tool failed.
    pub async fn tool(&self, tool: &str, args: &[&str]) -> anyhow::Result<String> {
        self.server.run(tool, args).await
    }

    /// As [`Broker::tool`], with a file as standard input.
    ///
    /// # Errors
    /// The tool failed.
    pub async fn tool_with_input(&self, tool: &str, args: &[&str], input: &Path) -> anyhow::Result<String> {
        self.server.run_with_input(tool, args, input).await
    }
}
