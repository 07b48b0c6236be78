//! A development broker as a process: `cargo run -p klamm-dev --example broker -- [--brokers N] [--port N] [--data DIR]`.
//!
//! It prints where it listens and ends with its standard input.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use klamm_dev::broker::{Broker, Settings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let broker = Broker::start(settings()?).await?;
    let mut out = tokio::io::stdout();
    out.write_all(format!("{}\n", broker.bootstrap()).as_bytes()).await?;
    out.flush().await?;
    let mut ignored = [0; 256];
    while tokio::io::stdin().read(&mut ignored).await? > 0 {}
    broker.stop().await?;
    Ok(())
}

fn settings() -> anyhow::Result<Settings> {
    // As the testbed sets up a real one: heartbeats are frequent, so that tests are.
    let mut settings = Settings {
        consumer_heartbeat_interval: Duration::from_millis(200),
        ..Settings::default()
    };
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next().with_context(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--brokers" => settings.brokers = value.parse().context("--brokers takes a number")?,
            "--port" => settings.ports = vec![value.parse().context("--port takes a number")?],
            "--data" => settings.data_dir = Some(PathBuf::from(value)),
            other => bail!("{other} is not known: --brokers N, --port N, --data DIR"),
        }
    }
    Ok(settings)
}
