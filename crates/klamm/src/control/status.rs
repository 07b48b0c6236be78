//! A connector's status for people: states, how far its partitions are, what its routes do, what went wrong.

use std::io::Write as _;

use serde_json::Value;

use super::{list, table, text};
use crate::tools::output;

/// Prints it.
///
/// # Errors
/// Standard output.
pub(super) fn print(status: &Value) -> anyhow::Result<()> {
    let mut out = output::stdout();
    let line = |id: String, part: &Value| [id, text(part, "/state"), text(part, "/worker_id")];
    let mut rows = vec![line(
        text(status, "/name"),
        status.get("connector").unwrap_or(&Value::Null),
    )];
    rows.extend(list(status, "/tasks").map(|task| line(format!("  task {}", text(task, "/id")), task)));
    table::write(&mut out, ["CONNECTOR", "STATE", "WORKER"], &rows)?;

    let tasks = || list(status, "/extensions/tasks");
    let partitions: Vec<_> = tasks()
        .flat_map(|task| list(task, "/partitions"))
        .map(partition)
        .collect();
    if !partitions.is_empty() {
        writeln!(out)?;
        let head = ["PARTITION", "DONE TO", "END", "LAG", "OLDEST UNDONE", "UNDONE RECORDS"];
        table::write(&mut out, head, &partitions)?;
    }
    let routes: Vec<_> = tasks().flat_map(|task| list(task, "/routes")).map(route).collect();
    if !routes.is_empty() {
        writeln!(out)?;
        let head = [
            "ROUTE",
            "TO",
            "STATE",
            "IN FLIGHT",
            "CALLS",
            "THROTTLED",
            "POSSIBLE DUPLICATES",
        ];
        table::write(&mut out, head, &routes)?;
    }
    for task in tasks() {
        let id = text(task, "/id");
        for what in list(task, "/waits_for") {
            writeln!(out, "\ntask {id} waits: {}", what.as_str().unwrap_or_default())?;
        }
        for route in list(task, "/routes").filter(|route| !text(route, "/reason").is_empty()) {
            writeln!(
                out,
                "\nroute {} is {} since {}: {}",
                text(route, "/name"),
                text(route, "/state"),
                text(route, "/state_since"),
                text(route, "/reason")
            )?;
        }
        if let Some(error) = task.get("last_error").filter(|error| !error.is_null()) {
            writeln!(
                out,
                "\nlast error of task {id}, {} at {}: {}: {}",
                text(error, "/origin"),
                text(error, "/at"),
                text(error, "/class"),
                text(error, "/message")
            )?;
            let advice = text(error, "/advice");
            if !advice.is_empty() {
                writeln!(out, "  {advice}")?;
            }
        }
        let next = text(task, "/next_restart_at");
        if !next.is_empty() {
            writeln!(out, "\ntask {id} restarts by itself at {next}")?;
        }
    }
    let failed = |part: &&Value| text(part, "/state") == "FAILED";
    for part in status
        .get("connector")
        .into_iter()
        .chain(list(status, "/tasks"))
        .filter(failed)
    {
        writeln!(out, "\n{}", text(part, "/trace").trim_end())?;
    }
    out.flush()?;
    Ok(())
}

fn partition(partition: &Value) -> [String; 6] {
    let age = partition.get("oldest_undone_age_ms").and_then(Value::as_u64);
    [
        format!("{}-{}", text(partition, "/topic"), text(partition, "/partition")),
        text(partition, "/done_offset"),
        text(partition, "/end_offset"),
        text(partition, "/lag"),
        age.map(duration).unwrap_or_default(),
        text(partition, "/undone_records"),
    ]
}

fn route(route: &Value) -> [String; 7] {
    [
        "/name",
        "/destination",
        "/state",
        "/calls_in_flight",
        "/invocations",
        "/throttled_invocations",
        "/possible_duplicates",
    ]
    .map(|pointer| text(route, pointer))
}

/// Short enough for a cell.
fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 => format!("{} s", ms / 1_000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}
