//! The `klamm` command.
#![forbid(unsafe_code)]

mod control;
mod dev;
mod logging;
mod tools;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use klamm::{ConnectorFile, FileError, StartError, Worker};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

/// The command line, the settings or a file is wrong: nothing was started.
const EXIT_SETTINGS: u8 = 2;
/// The worker could not start: directory, port or connector.
const EXIT_START: u8 = 3;

/// A second signal cut the orderly end short.
const EXIT_SECOND_SIGNAL: u8 = 4;

/// Kafka Connect-style sink connectors without a JVM.
#[derive(Debug, Parser)]
#[command(name = "klamm", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a worker.
    ///
    /// Settings are Kafka Connect's worker properties. They come from the file, then from the environment
    /// (`CONNECT_BOOTSTRAP_SERVERS` is `bootstrap.servers`), then from flags; what comes later wins.
    ///
    /// SIGTERM and SIGINT end the worker in order: what is in flight is finished and committed. Exit codes: 0 after an
    /// orderly end, 2 for wrong settings or files, 3 if the worker cannot start, 4 if a second signal of the same kind cut the end short.
    ///
    /// `KLAMM_LOG` sets what is logged, such as `debug` or `info,klamm_delivery=debug`.
    Worker(WorkerArgs),
    /// Runs functions, a Kafka and a worker on this machine, as `klamm.dev.json` describes them.
    ///
    /// Everything is in this process and in memory; functions are processes that end with it. Paths in the file begin at its
    /// folder. `klamm dev produce TOPIC` and `klamm dev tail` work on the world that runs.
    ///
    /// Exit codes: 0 after an orderly end, with `--once` when all sample records are delivered; 1 if they are not; 2 for a
    /// file or a handler that is wrong; 3 if something cannot start, such as a busy port; 4 if a second signal cut the end
    /// short.
    Dev(dev::DevArgs),
    /// Reads, writes and lists topics.
    ///
    /// Exit codes: 0, or 1 if it failed; one line on standard error then says why.
    #[command(subcommand)]
    Topic(tools::TopicCommand),
    /// Lists and describes consumer groups.
    ///
    /// Exit codes: 0, or 1 if it failed; one line on standard error then says why.
    #[command(subcommand)]
    Group(tools::GroupCommand),
    /// Shows what a connector's converters and transforms make of records.
    ///
    /// A record is a JSON object a line, `{"topic": …, "value": …}`; key, value and headers are bytes (`{"base64": …}`),
    /// which the configured converters read, or data (`{"schema": …, "payload": …}`). Standard output has one line for each
    /// of them, in order: `{"record": …}`, `{"dropped": true}` or `{"error": …}`.
    ///
    /// Exit codes: 0 when each record has its outcome, errors included; 1 if records cannot be read or outcomes not be
    /// written; 2 for a command line or a file of settings that cannot be understood.
    Preview(tools::PreviewArgs),
    /// Creates, changes and watches connectors of a running worker.
    #[command(visible_alias = "connector", after_help = control::EXIT_CODES)]
    Connectors(control::Control<control::ConnectorsCommand>),
    /// Reads and sets where connectors go on.
    #[command(after_help = control::EXIT_CODES)]
    Offsets(control::Control<control::OffsetsCommand>),
    /// Lists plugins of a running worker and their settings.
    #[command(after_help = control::EXIT_CODES)]
    Plugins(control::Control<control::PluginsCommand>),
    /// Asks a running worker whether connectors could be created.
    #[command(after_help = control::EXIT_CODES)]
    Validate(control::Single<control::ValidateArgs>),
    /// Looks at dead letters, and sends them to where they came from again.
    #[command(after_help = control::EXIT_CODES)]
    Dlq(control::Control<control::DeadLettersCommand>),
    /// Takes connectors over from a Java Connect: a dry run, until `--yes` is given.
    #[command(after_help = control::EXIT_CODES)]
    Import(control::Single<control::ImportArgs>),
    /// Prints a script that completes command lines, for `eval` or a file of the shell.
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Prints a line for the file of `rest.auth.users.file`; standard input has the password.
    ///
    /// Exit codes: 0, or 2 for a name, a password or a role that cannot be.
    User(UserArgs),
}

#[derive(Debug, Args)]
struct UserArgs {
    /// Name to log in with
    name: String,
    /// What the user may do: `read`, `operate` or `admin`
    #[arg(long)]
    role: String,
}

#[derive(Debug, Args)]
struct WorkerArgs {
    /// Worker properties
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Brokers, as `bootstrap.servers`
    #[arg(long, value_name = "HOST:PORT,...")]
    bootstrap_servers: Option<String>,
    /// Where the REST API listens, as `listeners`
    #[arg(long, value_name = "URL,...")]
    listeners: Option<String>,
    /// Directory for connectors and target states, as `state.dir`
    #[arg(long, value_name = "DIR")]
    state_dir: Option<String>,
    /// Any other worker property
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
    /// Threads for converters, transforms and delivery [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Log as JSON lines
    #[arg(long)]
    log_json: bool,
    /// Connectors to create or change: `.properties`, flat JSON, or the shape of `POST /connectors`
    #[arg(value_name = "CONNECTOR")]
    connectors: Vec<PathBuf>,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Worker(args) => worker(args),
        Command::Dev(args) => dev::dev(&args),
        Command::Topic(command) => logged(|| tools::topic(&command)),
        Command::Group(command) => logged(|| tools::group(&command)),
        Command::Preview(args) => logged(|| tools::preview(&args)),
        Command::Connectors(control) => logged(|| control.run()),
        Command::Offsets(control) => logged(|| control.run()),
        Command::Plugins(control) => logged(|| control.run()),
        Command::Validate(control) => logged(|| control.run()),
        Command::Dlq(control) => logged(|| control.run()),
        Command::Import(control) => logged(|| control.run()),
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "klamm", &mut std::io::stdout());
            ExitCode::SUCCESS
        }
        Command::User(args) => user(&args),
    }
}

/// Whoever reads the one line of a tool that says what is wrong has not asked for more.
fn logged(tool: impl FnOnce() -> ExitCode) -> ExitCode {
    log_if_asked();
    tool()
}

fn log_if_asked() {
    if std::env::var_os("KLAMM_LOG").is_some() {
        logging::to_stderr(false);
    }
}

/// The words of a panic may quote a record or a configuration, so only its place is told.
fn tell_of_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        error!(place, "a part of the worker panicked, please report this");
    }));
}

/// The first line of the input is the password: a line end is not a part of it.
#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is what the command is for"
)]
fn user(args: &UserArgs) -> ExitCode {
    let mut password = String::new();
    let line = match std::io::stdin().read_line(&mut password) {
        Ok(_) => klamm_rest::user_line(&args.name, password.trim_end_matches(['\r', '\n']), &args.role),
        Err(error) => Err(format!("the password cannot be read: {error}")),
    };
    match line {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(what) => {
            eprintln!("klamm: {what}");
            ExitCode::from(EXIT_SETTINGS)
        }
    }
}

fn worker(args: WorkerArgs) -> ExitCode {
    let log = logging::to_stderr(args.log_json);
    tell_of_panics();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.enable_all().thread_name("klamm-work");
    if let Some(threads) = args.threads {
        runtime.worker_threads(usize::from(threads));
    }
    let runtime = match runtime.build() {
        Ok(runtime) => runtime,
        Err(cause) => {
            error!(error = %cause, "threads cannot be started");
            return ExitCode::from(EXIT_START);
        }
    };
    match runtime.block_on(run(args, log)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            error!("{:#}", failure.error);
            ExitCode::from(failure.code)
        }
    }
}

struct Failure {
    error: anyhow::Error,
    code: u8,
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self {
            error: error.into(),
            code: EXIT_SETTINGS,
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let code = if matches!(
            error,
            StartError::Config(_) | StartError::Rest(klamm_rest::RestError::Setting { .. })
        ) {
            EXIT_SETTINGS
        } else {
            EXIT_START
        };
        Self {
            error: error.into(),
            code,
        }
    }
}

async fn run(args: WorkerArgs, log: logging::Log) -> Result<(), Failure> {
    let mut builder = Worker::builder()
        .with_rest()
        .log_levels(log.levels)
        .log_book(log.book)
        .properties(properties(&args)?);
    let mut files: BTreeMap<String, &PathBuf> = BTreeMap::new();
    for path in &args.connectors {
        let connector = ConnectorFile::read(path)?;
        if let Some(other) = files.insert(connector.name.clone(), path) {
            let error = anyhow::anyhow!(
                "{} and {} both describe connector {}: give one of them",
                other.display(),
                path.display(),
                connector.name
            );
            return Err(Failure {
                error,
                code: EXIT_SETTINGS,
            });
        }
        builder = builder.connector_file(connector);
    }
    // Installed before anything runs, so that an early signal ends the worker in order, too.
    let handlers = signal(SignalKind::terminate()).and_then(|term| Ok((term, signal(SignalKind::interrupt())?)));
    let (mut terminate, mut interrupt) = handlers.map_err(|error| Failure {
        error: error.into(),
        code: EXIT_START,
    })?;
    let worker = builder.start().await?;
    for address in worker.rest_addresses() {
        info!(%address, "worker is ready");
    }
    // A second one of the same kind is impatience. One of the other kind is not: a terminal's Ctrl-C reaches the whole
    // process group, and whoever started the worker may send SIGTERM on its own way out.
    let mut again = tokio::select! {
        _ = terminate.recv() => terminate,
        _ = interrupt.recv() => interrupt,
    };
    info!("worker ends: finishing what is in flight");
    tokio::select! {
        () = worker.shutdown() => {
            info!("worker ended");
            return Ok(());
        }
        _ = again.recv() => {}
    }
    let error = anyhow::anyhow!("second signal: the worker ended at once, records in flight will be delivered again");
    Err(Failure {
        error,
        code: EXIT_SECOND_SIGNAL,
    })
}

fn properties(args: &WorkerArgs) -> Result<BTreeMap<String, String>, FileError> {
    let mut properties = match &args.config {
        Some(path) => klamm::read_properties(path)?,
        None => BTreeMap::new(),
    };
    properties.extend(klamm::properties_of_environment(std::env::vars_os())?);
    let flags = [
        ("bootstrap.servers", &args.bootstrap_servers),
        ("listeners", &args.listeners),
        ("state.dir", &args.state_dir),
    ];
    properties.extend(
        flags
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value.clone()?))),
    );
    properties.extend(args.set.iter().cloned());
    Ok(properties)
}
