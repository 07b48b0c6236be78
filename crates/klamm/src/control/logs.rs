//! `klamm connectors logs`.

use std::io::Write as _;
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use super::api::{Api, path};
use super::{Exit, list, members, text};
use crate::tools::output;

/// Between two looks with `--follow`.
const LOOK: Duration = Duration::from_millis(500);

/// Prints the newest lines, and goes on if asked.
///
/// # Errors
/// The worker, or standard output.
pub(super) async fn print(api: &Api, name: &str, lines: u32, follow: bool) -> anyhow::Result<Exit> {
    let logs = path(&["connectors", name, "logs"]);
    let mut request = format!("{logs}?limit={lines}");
    loop {
        let answer = api.get(&request).await?;
        let mut out = output::stdout();
        for line in list(&answer, "/lines") {
            if api.is_json {
                writeln!(out, "{line}")?;
            } else {
                writeln!(out, "{}", readable(line))?;
            }
        }
        out.flush()?;
        if !follow {
            return Ok(Exit::Done);
        }
        request = format!("{logs}?after={}", text(&answer, "/next"));
        drop(out);
        sleep(LOOK).await;
    }
}

fn readable(line: &Value) -> String {
    let fields: Vec<_> = members(line, "/fields")
        .map(|(key, value)| format!(" {key}={value}"))
        .collect();
    format!(
        "{} {:>5} {}{}",
        text(line, "/at"),
        text(line, "/level"),
        text(line, "/message"),
        fields.concat()
    )
}
