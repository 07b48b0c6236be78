//! An independent emulator of AWS: Lambda, which runs real Python handlers, SQS, SNS, S3, Secrets Manager and the
//! parameters of Systems Manager.

use std::sync::OnceLock;

use anyhow::Context as _;

use crate::process::{Server, or_skip};

/// An emulator on loopback. Region `us-east-1`, credentials `test`/`test`.
#[derive(Debug)]
pub struct Emulator {
    server: Server,
    endpoint: String,
}

impl Emulator {
    /// The emulator that all tests of this process share, started by the first. `None`: skipped.
    ///
    /// # Panics
    /// It cannot start, and skipping is not allowed.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Result<Emulator, String>> = OnceLock::new();
        let started = SHARED.get_or_init(|| Self::start().map_err(|err| format!("{err:#}")));
        or_skip(
            "the Lambda emulator",
            started.as_ref().map_err(|err| anyhow::anyhow!("{err}")),
        )
    }

    /// An emulator for one test, which may stop it. `None`: skipped.
    ///
    /// # Panics
    /// It cannot start, and skipping is not allowed.
    pub fn own() -> Option<Self> {
        or_skip("the AWS emulator", Self::start())
    }

    /// Halts it: sockets stay open and nothing answers.
    ///
    /// # Errors
    /// The testbed failed.
    pub async fn pause(&self) -> anyhow::Result<()> {
        self.server.run("pause", &[]).await.map(drop)
    }

    /// Lets a halted one go on.
    ///
    /// # Errors
    /// The testbed failed.
    pub async fn resume(&self) -> anyhow::Result<()> {
        self.server.run("resume", &[]).await.map(drop)
    }

    /// Makes a queue, a topic with a queue of that name behind it, or a bucket (`kind` is `queue`, `topic` or `bucket`),
    /// and returns its ARN.
    ///
    /// # Errors
    /// The emulator refused it.
    pub async fn make(&self, kind: &str, name: &str) -> anyhow::Result<String> {
        Ok(self.server.run(kind, &[name]).await?.trim().to_owned())
    }

    /// Sets a secret or a parameter (`kind` is `secret` or `parameter`) to a value.
    ///
    /// # Errors
    /// The emulator refused it.
    pub async fn keep(&self, kind: &str, name: &str, value: &str) -> anyhow::Result<()> {
        self.server.run(kind, &[name, value]).await.map(drop)
    }

    /// Takes the messages out of a queue, read by another client.
    ///
    /// # Errors
    /// The emulator refused it.
    pub async fn messages(&self, queue: &str) -> anyhow::Result<Vec<String>> {
        let lines = self.server.run("messages", &[queue]).await?;
        lines.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// Keys and contents of a bucket's objects, read by another client.
    ///
    /// # Errors
    /// The emulator refused it.
    pub async fn objects(&self, bucket: &str) -> anyhow::Result<Vec<(String, String)>> {
        let lines = self.server.run("objects", &[bucket]).await?;
        lines.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    fn start() -> anyhow::Result<Self> {
        let server = Server::up("lambda", &[])?;
        let endpoint = server.value("LAMBDA_ENDPOINT")?.to_owned();
        Ok(Self { server, endpoint })
    }

    /// The base URL of its API.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Creates or replaces a function from Python source with the entry `handler(event, context)`, and returns its ARN.
    /// `options` as for `testbed/lambda create`, such as `["--env", "OUT=/tmp/out"]`.
    ///
    /// # Errors
    /// The emulator refused it.
    pub async fn create(&self, name: &str, source: &str, options: &[&str]) -> anyhow::Result<String> {
        let path = self.server.dir().join(format!("{name}.py"));
        tokio::fs::write(&path, source)
            .await
            .with_context(|| format!("cannot write {}", path.display()))?;
        let path = path.to_str().context("the folder's name is not UTF-8")?;
        let mut args = vec![name, path];
        args.extend_from_slice(options);
        Ok(self.server.run("create", &args).await?.trim().to_owned())
    }

    /// Calls a function from outside the product and returns status, function error and answer on one line.
    ///
    /// # Errors
    /// The emulator refused the call.
    pub async fn invoke(&self, name: &str, payload: &str) -> anyhow::Result<String> {
        Ok(self.server.run("invoke", &[name, payload]).await?.trim().to_owned())
    }
}
