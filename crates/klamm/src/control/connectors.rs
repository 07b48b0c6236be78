//! `klamm connectors`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use http::Method;
use klamm::{ConnectorFile, TargetState};
use serde_json::{Value, json};

use super::api::{Api, path};
use super::apply::ApplyArgs;
use super::wait::{Goal, WaitArgs};
use super::{BadInput, Exit, Run, list, members, print_json, print_table, say, text};
use crate::tools::note;

/// What to do with connectors.
#[derive(Debug, Subcommand)]
pub(crate) enum ConnectorsCommand {
    /// Lists the connectors with their states
    List,
    /// Prints a connector's configuration, secrets masked
    Get(NameArgs),
    /// Creates connectors from files
    Create(CreateArgs),
    /// Makes connectors what files say: creates, changes, shows the difference
    Apply(ApplyArgs),
    /// Deletes connectors; their offsets stay in Kafka
    Delete(NamesArgs),
    /// Shows a connector, its tasks, how far they are, and what went wrong
    Status(StatusArgs),
    /// Keeps the partitions and reads nothing
    Pause(NamesArgs),
    /// Runs what is paused or stopped
    Resume(NamesArgs),
    /// Ends the tasks and leaves the consumer group, as changes of offsets need it
    Stop(NamesArgs),
    /// Restarts a connector and, if asked, its tasks
    Restart(RestartArgs),
    /// Prints what the worker has logged about a connector
    Logs(LogsArgs),
}

#[derive(Debug, Args)]
pub(crate) struct NameArgs {
    /// The connector
    name: String,
}

#[derive(Debug, Args)]
pub(crate) struct NamesArgs {
    /// The connectors
    #[arg(required = true)]
    names: Vec<String>,
    #[command(flatten)]
    wait: WaitArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// `.properties`, flat JSON, or the shape of `POST /connectors`
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    wait: WaitArgs,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// The connector; without one all of them, shortly
    name: Option<String>,
    #[command(flatten)]
    wait: WaitArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RestartArgs {
    /// The connector
    name: String,
    /// Also its tasks
    #[arg(long)]
    tasks: bool,
    /// Only what has failed
    #[arg(long)]
    failed: bool,
    /// Only this task
    #[arg(long, value_name = "ID", conflicts_with_all = ["tasks", "failed"])]
    task: Option<u32>,
    #[command(flatten)]
    wait: WaitArgs,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// The connector
    name: String,
    /// How many of the newest lines
    #[arg(short = 'n', long, default_value_t = 100, value_name = "LINES")]
    lines: u32,
    /// Go on with what is logged later
    #[arg(short, long)]
    follow: bool,
}

impl Run for ConnectorsCommand {
    async fn run(&self, api: &Api) -> anyhow::Result<Exit> {
        match self {
            Self::List => overview(api).await,
            Self::Get(args) => get(api, &args.name).await,
            Self::Create(args) => create(api, args).await,
            Self::Apply(args) => args.run(api).await,
            Self::Delete(args) => each(api, args, Goal::Gone, Method::DELETE, None, "deleted").await,
            Self::Status(args) => status(api, args).await,
            Self::Pause(args) => each(api, args, Goal::Paused, Method::PUT, Some("pause"), "is asked to pause").await,
            Self::Resume(args) => each(api, args, Goal::Running, Method::PUT, Some("resume"), "is asked to run").await,
            Self::Stop(args) => each(api, args, Goal::Stopped, Method::PUT, Some("stop"), "is asked to stop").await,
            Self::Restart(args) => restart(api, args).await,
            Self::Logs(args) => super::logs::print(api, &args.name, args.lines, args.follow).await,
        }
    }
}

/// A configuration as the API takes it.
pub(super) fn config_of(file: &ConnectorFile) -> Value {
    let setting = |(key, value): (&String, &Option<String>)| (key.clone(), value.clone().into());
    Value::Object(file.config.iter().map(setting).collect())
}

/// The body of `POST /connectors`.
pub(super) fn creation(file: &ConnectorFile) -> Value {
    let mut body = json!({"name": file.name, "config": config_of(file)});
    if let Some(state) = file.initial_state {
        let state = match state {
            TargetState::Started => "RUNNING",
            TargetState::Paused => "PAUSED",
            TargetState::Stopped => "STOPPED",
        };
        body["initial_state"] = state.into();
    }
    body
}

async fn overview(api: &Api) -> anyhow::Result<Exit> {
    let all = api.get("/connectors?expand=status&expand=info").await?;
    if api.is_json {
        print_json(&all)?;
        return Ok(Exit::Done);
    }
    let mut rows: Vec<_> = members(&all, "")
        .map(|(name, connector)| {
            let states: Vec<_> = list(connector, "/status/tasks")
                .map(|task| text(task, "/state"))
                .collect();
            let running = states.iter().filter(|state| *state == "RUNNING").count();
            let class = text(connector, "/info/config/connector.class");
            [
                name.clone(),
                text(connector, "/status/connector/state"),
                format!("{running}/{}", states.len()),
                class.rsplit('.').next().unwrap_or_default().to_owned(),
                text(connector, "/info/config/topics") + &text(connector, "/info/config/topics.regex"),
            ]
        })
        .collect();
    rows.sort();
    print_table(["NAME", "STATE", "TASKS RUNNING", "CLASS", "TOPICS"], &rows)?;
    Ok(Exit::Done)
}

async fn get(api: &Api, name: &str) -> anyhow::Result<Exit> {
    print_json(&api.get(&path(&["connectors", name, "config"])).await?)?;
    Ok(Exit::Done)
}

async fn create(api: &Api, args: &CreateArgs) -> anyhow::Result<Exit> {
    // All are read before the first is sent.
    let files = args.files.iter().map(|file| ConnectorFile::read(file));
    let files: Vec<_> = files.collect::<Result<_, _>>().map_err(BadInput::from)?;
    let mut created = Vec::new();
    for file in &files {
        let answer = api.send(Method::POST, "/connectors", Some(&creation(file))).await;
        created.push(answer.with_context(|| format!("connector {} is not created", file.name))?);
        say(api, &format!("{} created", file.name))?;
    }
    let mut exit = Exit::Done;
    for file in &files {
        let goal = match file.initial_state {
            None | Some(TargetState::Started) => Goal::Running,
            Some(TargetState::Paused) => Goal::Paused,
            Some(TargetState::Stopped) => Goal::Stopped,
        };
        exit = exit.and(args.wait.until(api, &file.name, goal).await?);
    }
    if api.is_json {
        print_json(&Value::Array(created))?;
    }
    Ok(exit)
}

/// The same request for each, and then the waiting, so that they wait together. One that is refused does not keep the
/// others from their turn.
async fn each(
    api: &Api,
    args: &NamesArgs,
    goal: Goal,
    method: Method,
    action: Option<&str>,
    done: &str,
) -> anyhow::Result<Exit> {
    let mut exit = Exit::Done;
    let mut accepted = Vec::new();
    for name in &args.names {
        let mut segments = vec!["connectors", name];
        segments.extend(action);
        match api.send(method.clone(), &path(&segments), None).await {
            Ok(_) => {
                say(api, &format!("{name} {done}"))?;
                accepted.push(name);
            }
            Err(error) if error.status().is_some() => {
                note(&format!("{name}: {error}"));
                exit = exit.and(Exit::Bad);
            }
            Err(error) => return Err(error.into()),
        }
    }
    for name in &accepted {
        exit = exit.and(args.wait.until(api, name, goal).await?);
    }
    if api.is_json {
        print_json(&json!({ "accepted": accepted }))?;
    }
    Ok(exit)
}

async fn restart(api: &Api, args: &RestartArgs) -> anyhow::Result<Exit> {
    let name = args.name.as_str();
    let (request, what) = match args.task {
        Some(task) => (
            path(&["connectors", name, "tasks", &task.to_string(), "restart"]),
            format!("task {task} of {name}"),
        ),
        None => (
            format!(
                "{}?includeTasks={}&onlyFailed={}",
                path(&["connectors", name, "restart"]),
                args.tasks,
                args.failed
            ),
            name.to_owned(),
        ),
    };
    let answer = api.send(Method::POST, &request, None).await?;
    say(api, &format!("{what} restarts"))?;
    let exit = args.wait.until(api, name, Goal::Settled).await?;
    if api.is_json {
        print_json(&answer)?;
    }
    Ok(exit)
}

async fn status(api: &Api, args: &StatusArgs) -> anyhow::Result<Exit> {
    let Some(name) = args.name.as_deref() else {
        return overview(api).await;
    };
    let waited = args.wait.until(api, name, Goal::Settled).await?;
    let status = api
        .get(&(path(&["connectors", name, "status"]) + "?extensions=true"))
        .await?;
    if api.is_json {
        print_json(&status)?;
    } else {
        super::status::print(&status)?;
    }
    let parts = status.get("connector").into_iter().chain(list(&status, "/tasks"));
    let is_failed = parts.into_iter().any(|part| text(part, "/state") == "FAILED");
    Ok(waited.and(if is_failed { Exit::Bad } else { Exit::Done }))
}
