//! `--wait`: until a connector is in the state that it was asked for.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::api::{Api, ApiError, path};
use super::{Exit, list, text};

const LOOK: Duration = Duration::from_millis(200);

/// Whether and how long to wait.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct WaitArgs {
    /// Wait until the connector and its tasks are there, at most so many seconds [default: 60]
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "60")]
    wait: Option<u64>,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    Running,
    Paused,
    Stopped,
    /// Whatever state its configuration asks for; nothing is failed.
    Settled,
    Gone,
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Reached,
    Failed(String),
    Not(String),
}

impl WaitArgs {
    /// Waits, if it was asked for, and shows on a terminal what is there meanwhile.
    ///
    /// # Errors
    /// The worker.
    pub(crate) async fn until(self, api: &Api, name: &str, goal: Goal) -> anyhow::Result<Exit> {
        let Some(seconds) = self.wait else {
            return Ok(Exit::Done);
        };
        let end = Instant::now() + Duration::from_secs(seconds);
        let mut shown = String::new();
        let exit = loop {
            let seen = match api.find(&path(&["connectors", name, "status"])).await {
                Ok(status) => look(status.as_ref(), goal),
                // It restarts, or another of several is asked next time.
                Err(ApiError::Unreachable(why)) => Seen::Not(why),
                Err(error) => return Err(error.into()),
            };
            match seen {
                Seen::Reached => break Exit::Done,
                Seen::Failed(why) => {
                    show(&mut shown, "");
                    crate::tools::note(&format!("connector {name} failed: {why}"));
                    return Ok(Exit::Bad);
                }
                Seen::Not(what) if Instant::now() >= end => {
                    show(&mut shown, "");
                    crate::tools::note(&format!("connector {name} is not there after {seconds} s: {what}"));
                    return Ok(Exit::StillWaiting);
                }
                Seen::Not(what) => show(&mut shown, &format!("{name}: {what}")),
            }
            sleep(LOOK).await;
        };
        show(&mut shown, "");
        Ok(exit)
    }
}

/// One line that changes, for who sits before a terminal.
fn show(shown: &mut String, line: &str) {
    let mut err = io::stderr();
    if err.is_terminal() && shown != line {
        // Back to the line's begin, and clear what stood there.
        write!(err, "\r\x1b[K{line}").and_then(|()| err.flush()).ok();
    }
    line.clone_into(shown);
}

fn look(status: Option<&Value>, goal: Goal) -> Seen {
    let Some(status) = status else {
        return if goal == Goal::Gone {
            Seen::Reached
        } else {
            Seen::Not("not there yet".to_owned())
        };
    };
    let connector = text(status, "/connector/state");
    let tasks: Vec<String> = list(status, "/tasks").map(|task| text(task, "/state")).collect();
    if goal != Goal::Gone
        && let Some(failed) = failure(status)
    {
        return Seen::Failed(failed);
    }
    let all = |state: &str| connector == state && tasks.iter().all(|task| task == state);
    let is_reached = match goal {
        Goal::Running => all("RUNNING") && !tasks.is_empty(),
        Goal::Paused => all("PAUSED"),
        Goal::Stopped => connector == "STOPPED" && tasks.is_empty(),
        Goal::Settled => (all("RUNNING") && !tasks.is_empty()) || all("PAUSED") || all("STOPPED"),
        Goal::Gone => false,
    };
    if is_reached {
        return Seen::Reached;
    }
    let tasks = if tasks.is_empty() {
        "no tasks".to_owned()
    } else {
        format!("tasks {}", tasks.join(", "))
    };
    Seen::Not(format!("{connector}, {tasks}"))
}

/// The first line of the first trace.
fn failure(status: &Value) -> Option<String> {
    let connector = status.get("connector").into_iter();
    let failed = connector
        .chain(list(status, "/tasks"))
        .find(|part| text(part, "/state") == "FAILED")?;
    let trace = text(failed, "/trace");
    Some(trace.lines().next().unwrap_or("no reason is told").to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(connector: &str, tasks: &[&str]) -> Value {
        let tasks: Vec<_> = tasks
            .iter()
            .map(|state| json!({"state": state, "trace": "why\n\tat"}))
            .collect();
        json!({"connector": {"state": connector}, "tasks": tasks})
    }

    #[test]
    fn each_goal_has_its_states() {
        let not = |what: &str| Seen::Not(what.to_owned());
        let cases = [
            (Goal::Running, Some(status("RUNNING", &["RUNNING"])), Seen::Reached),
            (Goal::Running, Some(status("RUNNING", &[])), not("RUNNING, no tasks")),
            (
                Goal::Running,
                Some(status("RUNNING", &["UNASSIGNED"])),
                not("RUNNING, tasks UNASSIGNED"),
            ),
            (
                Goal::Running,
                Some(status("RUNNING", &["FAILED"])),
                Seen::Failed("why".to_owned()),
            ),
            (Goal::Running, None, not("not there yet")),
            (
                Goal::Paused,
                Some(status("PAUSED", &["RUNNING"])),
                not("PAUSED, tasks RUNNING"),
            ),
            (Goal::Stopped, Some(status("STOPPED", &[])), Seen::Reached),
            (Goal::Settled, Some(status("PAUSED", &["PAUSED"])), Seen::Reached),
            (Goal::Settled, Some(status("STOPPED", &[])), Seen::Reached),
            (Goal::Gone, None, Seen::Reached),
            (
                Goal::Gone,
                Some(status("RUNNING", &["FAILED"])),
                not("RUNNING, tasks FAILED"),
            ),
        ];
        for (goal, status, wanted) in cases {
            assert_eq!(look(status.as_ref(), goal), wanted, "{goal:?}");
        }
    }
}
