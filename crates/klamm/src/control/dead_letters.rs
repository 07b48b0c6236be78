//! `klamm dlq`.

use std::time::Duration;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value};
use tokio::time::sleep;

use super::api::{Api, path};
use super::{Exit, Run, list, print_json, print_table, say, text};
use crate::tools::note;

/// Between two looks at a redrive.
const LOOK: Duration = Duration::from_millis(500);

/// What to do with a connector's dead letters.
#[derive(Debug, Subcommand)]
pub(crate) enum DeadLettersCommand {
    /// Tells where the dead letters of a connector are, and how many
    List(NameArgs),
    /// Shows dead letters: where they came from, and why they failed
    Peek(PeekArgs),
    /// Sends dead letters to where they came from again, and waits until it is done
    Redrive(RedriveArgs),
    /// Shows how far a redrive is
    Progress(NameArgs),
    /// Ends a redrive; the next one goes on where it was
    Stop(NameArgs),
}

#[derive(Debug, Args)]
pub(crate) struct NameArgs {
    /// The connector
    name: String,
}

#[derive(Debug, Args)]
pub(crate) struct PeekArgs {
    /// The connector
    name: String,
    /// How many
    #[arg(long, default_value_t = 20)]
    limit: u32,
    /// Only this partition of the dead letter topic
    #[arg(long)]
    partition: Option<i32>,
    /// From this offset on
    #[arg(long)]
    offset: Option<i64>,
    /// Also keys and values, if the worker shows them; with --json
    #[arg(long, requires = "json")]
    payload: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RedriveArgs {
    /// The connector
    name: String,
    /// Only count what would be sent
    #[arg(long)]
    dry_run: bool,
    /// Records a second at most
    #[arg(long, value_name = "RECORDS")]
    rate: Option<u32>,
    /// Records at most
    #[arg(long, value_name = "RECORDS")]
    max: Option<u64>,
    /// Also records that came back so many times after a redrive [default: 1, so none that came back]
    #[arg(long, value_name = "TIMES")]
    max_redrives: Option<u32>,
    /// Do not wait for its end
    #[arg(long)]
    detach: bool,
}

fn letters(name: &str, rest: &[&str]) -> String {
    path(&[&["connectors", name, "dead-letters"], rest].concat())
}

impl Run for DeadLettersCommand {
    async fn run(&self, api: &Api) -> anyhow::Result<Exit> {
        match self {
            Self::List(args) => queues(api, &args.name).await,
            Self::Peek(args) => peek(api, args).await,
            Self::Redrive(args) => redrive(api, args).await,
            Self::Progress(args) => told(api, &api.get(&letters(&args.name, &["redrive"])).await?),
            Self::Stop(args) => {
                api.send(Method::DELETE, &letters(&args.name, &["redrive"]), None)
                    .await?;
                say(api, &format!("the redrive of {} stops", args.name))?;
                Ok(Exit::Done)
            }
        }
    }
}

async fn queues(api: &Api, name: &str) -> anyhow::Result<Exit> {
    let queues = api.get(&letters(name, &[])).await?;
    if api.is_json {
        print_json(&queues)?;
        return Ok(Exit::Done);
    }
    let topic = |topic: &Value| ["/name", "/records", "/not_redriven", "/redrive_group"].map(|at| text(topic, at));
    let mut rows: Vec<_> = list(&queues, "/topics").map(topic).collect();
    // Queues of AWS are read with their own tools.
    let elsewhere = list(&queues, "/destinations").filter_map(Value::as_str);
    rows.extend(elsewhere.map(|place| [place.to_owned(), String::new(), String::new(), String::new()]));
    if rows.is_empty() {
        say(api, &format!("connector {name} has no dead letter queue"))?;
    } else {
        print_table(["QUEUE", "RECORDS", "NOT REDRIVEN", "REDRIVE GROUP"], &rows)?;
    }
    Ok(Exit::Done)
}

async fn peek(api: &Api, args: &PeekArgs) -> anyhow::Result<Exit> {
    let mut request = letters(&args.name, &["records"]);
    request += &format!("?limit={}&payload={}", args.limit, args.payload);
    if let Some(partition) = args.partition {
        request += &format!("&partition={partition}");
    }
    if let Some(offset) = args.offset {
        request += &format!("&offset={offset}");
    }
    let found = api.get(&request).await?;
    if api.is_json {
        print_json(&found)?;
        return Ok(Exit::Done);
    }
    let row = |letter: &Value| {
        [
            format!("{}@{}", text(letter, "/partition"), text(letter, "/offset")),
            text(letter, "/origin"),
            text(letter, "/redrives"),
            text(letter, "/error/stage"),
            text(letter, "/error/message"),
        ]
    };
    let rows: Vec<_> = list(&found, "").map(row).collect();
    print_table(["AT", "ORIGIN", "REDRIVES", "STAGE", "WHY"], &rows)?;
    Ok(Exit::Done)
}

async fn redrive(api: &Api, args: &RedriveArgs) -> anyhow::Result<Exit> {
    let mut body = Map::new();
    body.insert("dry_run".to_owned(), args.dry_run.into());
    let numbers = [
        ("records_per_second", args.rate.map(Value::from)),
        ("max_records", args.max.map(Value::from)),
        ("max_redrives", args.max_redrives.map(Value::from)),
    ];
    body.extend(
        numbers
            .into_iter()
            .filter_map(|(name, number)| Some((name.to_owned(), number?))),
    );
    let at = letters(&args.name, &["redrive"]);
    let mut status = api.send(Method::POST, &at, Some(&Value::Object(body))).await?;
    while !args.detach && text(&status, "/state") == "RUNNING" {
        sleep(LOOK).await;
        status = api.get(&at).await?;
    }
    told(api, &status)
}

fn told(api: &Api, status: &Value) -> anyhow::Result<Exit> {
    if api.is_json {
        print_json(status)?;
    } else {
        let is_dry = text(status, "/dry_run") == "true";
        let done = if is_dry { "would be redriven" } else { "redriven" };
        say(
            api,
            &format!(
                "{}: {} found, {} {done}, {} left in the queue",
                text(status, "/state").to_lowercase(),
                text(status, "/found"),
                text(status, "/redriven"),
                left(status)
            ),
        )?;
    }
    let error = text(status, "/error");
    if !error.is_empty() {
        note(&error);
    }
    Ok(if text(status, "/state") == "FAILED" {
        Exit::Bad
    } else {
        Exit::Done
    })
}

/// Why records stay, with their numbers.
fn left(status: &Value) -> String {
    let reasons = super::members(status, "/skipped").filter(|(_, count)| count.as_u64() != Some(0));
    let reasons: Vec<_> = reasons
        .map(|(why, count)| format!("{count} ({})", why.replace('_', " ")))
        .collect();
    if reasons.is_empty() {
        "0".to_owned()
    } else {
        reasons.join(", ")
    }
}
