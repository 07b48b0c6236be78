//! `klamm dev`: a Kafka, functions and a worker on this machine, in one process, from one file.
//!
//! The way through: [`world`] starts and ends everything, [`samples`] writes the sample records, [`board`] counts what
//! becomes of them, [`progress`] asks Kafka how far the connectors are, [`show`] tells the people who watch.
//!
//! **Owns** the command line, the order of starting and ending, what is shown, the exit code.
//! **Does not know** how functions run or records travel: that is `klamm-dev` and the worker.

mod board;
mod progress;
mod samples;
mod show;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use klamm::LogLevels;
use klamm_dev::world::DevFile;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::tools::{self, ClusterArgs, TopicCommand};
use crate::{EXIT_SECOND_SIGNAL, EXIT_SETTINGS, EXIT_START, Failure};
use show::Show;
use world::World;

/// Where the broker of a world listens unless its file or `--once` says otherwise.
const KAFKA_PORT: u16 = 9092;
/// Something was delivered or is still on its way this long ago; later, `--once` gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between looks at the connectors' progress.
const LOOK: Duration = Duration::from_millis(100);

/// What to do with a local world.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct DevArgs {
    #[command(subcommand)]
    command: Option<DevCommand>,
    /// The dev file, or a folder with `klamm.dev.json`
    #[arg(value_name = "PATH", default_value = ".")]
    path: PathBuf,
    /// End when all sample records are delivered
    #[arg(long)]
    once: bool,
    /// Print lines also to a terminal, instead of a live view
    #[arg(long)]
    plain: bool,
}

#[derive(Debug, Subcommand)]
enum DevCommand {
    /// Writes a line of standard input a record, to a topic of the world that runs
    Produce(ProduceArgs),
    /// Prints the records of topics of the world that runs, and goes on with what is written later
    Tail(TailArgs),
}

#[derive(Debug, Args)]
struct ProduceArgs {
    /// The topic
    topic: String,
    #[command(flatten)]
    running: Running,
    /// Every line is a record as `klamm topic read --json` prints it
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct TailArgs {
    /// The topics [default: those of the dev file]
    topics: Vec<String>,
    #[command(flatten)]
    running: Running,
    /// One JSON object a record, with bytes in base64
    #[arg(long)]
    json: bool,
}

/// The world that runs.
#[derive(Debug, Args)]
struct Running {
    /// Its dev file, or the folder with it
    #[arg(long, value_name = "PATH", default_value = ".")]
    dev: PathBuf,
    /// Its broker, if it does not listen where the dev file says
    #[arg(long, value_name = "HOST:PORT")]
    bootstrap_server: Option<String>,
}

impl Running {
    fn cluster(&self) -> anyhow::Result<ClusterArgs> {
        if let Some(servers) = &self.bootstrap_server {
            return Ok(ClusterArgs::at(servers.clone()));
        }
        // A world without a port in its file listens on the usual one, so the file may be missing.
        let port = match DevFile::read(&self.dev) {
            Ok(file) => file.ports.kafka,
            Err(_) if !self.dev.is_file() => None,
            Err(error) => return Err(error.into()),
        };
        match port.unwrap_or(KAFKA_PORT) {
            0 => anyhow::bail!("the dev file lets the broker choose its port: name it by --bootstrap-server"),
            port => Ok(ClusterArgs::at(format!("127.0.0.1:{port}"))),
        }
    }
}

/// Runs it to its end.
pub(crate) fn dev(args: &DevArgs) -> ExitCode {
    match &args.command {
        Some(DevCommand::Produce(produce)) => {
            crate::log_if_asked();
            let command = produce
                .running
                .cluster()
                .map(|cluster| TopicCommand::write_lines(produce.topic.clone(), cluster, produce.json));
            tools::or_complain(command, |command| tools::topic(&command))
        }
        Some(DevCommand::Tail(tail)) => {
            crate::log_if_asked();
            tools::or_complain(topics_to_tail(tail), |(topics, cluster)| {
                tools::tail(&cluster, &topics, tail.json)
            })
        }
        None => run(args),
    }
}

fn topics_to_tail(tail: &TailArgs) -> anyhow::Result<(Vec<String>, ClusterArgs)> {
    let topics = if tail.topics.is_empty() {
        let file = DevFile::read(&tail.running.dev)?;
        file.topics.into_iter().map(|topic| topic.name).collect()
    } else {
        tail.topics.clone()
    };
    anyhow::ensure!(!topics.is_empty(), "the dev file has no topics: name one");
    Ok((topics, tail.running.cluster()?))
}

fn run(args: &DevArgs) -> ExitCode {
    let show = Show::new(!args.plain && !args.once);
    let levels = crate::logging::to(show.log());
    crate::tell_of_panics();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("klamm-dev")
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return failed(&show, &Failure::start(anyhow::Error::new(error).context("threads cannot be started"))),
    };
    let outcome = runtime.block_on(live(args, &show, levels));
    match outcome {
        Ok(()) => {
            show.close();
            ExitCode::SUCCESS
        }
        Err(failure) => failed(&show, &failure),
    }
}

/// The error and its sources on one line.
fn failed(show: &Show, failure: &Failure) -> ExitCode {
    show.close();
    tools::complain(&failure.error);
    ExitCode::from(failure.code)
}

async fn live(args: &DevArgs, show: &Show, levels: LogLevels) -> Result<(), Failure> {
    let file = DevFile::read(&args.path).map_err(|error| Failure {
        error: error.into(),
        code: EXIT_SETTINGS,
    })?;
    // Installed before anything runs, so that an early signal ends the world in order, too.
    let mut signals = Signals::install().map_err(|error| Failure::start(error.into()))?;
    let world = tokio::select! {
        world = World::start(file, args.once, show, levels) => world?,
        () = signals.first() => return Ok(()),
    };
    for line in world.places() {
        show.line(&line);
    }
    let outcome = tokio::select! {
        outcome = progress::watch(&world, show, args.once) => outcome,
        () = show.gone() => Ok(()),
        () = signals.first() => {
            show.line("ends: finishing what is in flight");
            Ok(())
        }
    };
    tokio::select! {
        () = world.stop() => outcome.map_err(|error| Failure { error, code: EXIT_UNDELIVERED }),
        () = signals.again() => Err(Failure {
            error: anyhow::anyhow!("second signal: ended at once"),
            code: EXIT_SECOND_SIGNAL,
        }),
    }
}

/// Sample records were not delivered.
const EXIT_UNDELIVERED: u8 = 1;

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Which came first.
    was_interrupt: bool,
}

impl Signals {
    fn install() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            was_interrupt: false,
        })
    }

    async fn first(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => self.was_interrupt = false,
            _ = self.interrupt.recv() => self.was_interrupt = true,
        }
    }

    /// The same signal once more: impatience, as for a worker.
    async fn again(&mut self) {
        if self.was_interrupt {
            self.interrupt.recv().await;
        } else {
            self.terminate.recv().await;
        }
    }
}

impl Failure {
    fn start(error: anyhow::Error) -> Self {
        Self {
            error,
            code: EXIT_START,
        }
    }
}

/// What a start that did not work was about.
fn start_context<T, E>(outcome: Result<T, E>, what: &'static str) -> Result<T, Failure>
where
    Result<T, E>: anyhow::Context<T, E>,
{
    outcome.context(what).map_err(Failure::start)
}
