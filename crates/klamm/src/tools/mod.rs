//! `klamm topic` and `klamm group`: small tools over the worker's own Kafka client; `klamm preview`: what a connector would
//! make of records.
//!
//! **Owns** their command lines, what they print, and how they end: exit code 0, or 1 and one line on standard error.
//! **Does not know** workers that run.

mod cluster;
mod from;
mod group;
mod input;
mod list;
mod output;
mod preview;
mod read;
mod reading;
mod record;
mod scan;
mod write;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Subcommand;

pub(crate) use cluster::{Cluster, ClusterArgs};
pub(crate) use preview::PreviewArgs;

/// The tool's threads: one for sockets, one for what waits; printing has the main thread.
const THREADS: usize = 2;

/// An end may wait this long for the client's tasks.
const GOODBYE: Duration = Duration::from_secs(1);

/// What to do with topics.
#[derive(Debug, Subcommand)]
pub(crate) enum TopicCommand {
    /// Prints a topic's records, up to where it ends now
    Read(read::ReadArgs),
    /// Writes a line of standard input a record, and prints how many were acknowledged
    ///
    /// A line is a JSON object as `topic read --json` prints it, or text: a value, or key and value with a tab between.
    Write(write::WriteArgs),
    /// Prints the names of the topics, one a line
    List(list::ListArgs),
}

/// What to do with consumer groups.
#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// Prints the names of the groups, one a line
    List(group::ListArgs),
    /// Prints a group's members, and for each partition what is committed, the end, and the lag
    Describe(group::DescribeArgs),
}

impl TopicCommand {
    /// Writes the lines of standard input to a topic: text, or JSON as `topic read` prints it.
    pub(crate) fn write_lines(topic: String, cluster: ClusterArgs, json: bool) -> Self {
        Self::Write(write::WriteArgs::lines(topic, cluster, json))
    }
}

/// Runs the tool to its end.
pub(crate) fn topic(command: &TopicCommand) -> ExitCode {
    let args = match command {
        TopicCommand::Read(args) => &args.cluster,
        TopicCommand::Write(args) => &args.cluster,
        TopicCommand::List(args) => &args.cluster,
    };
    run(args, |cluster| async move {
        match command {
            TopicCommand::Read(args) => read::read(&cluster, args).await,
            TopicCommand::Write(args) => write::write(&cluster, args).await,
            TopicCommand::List(args) => list::list(&cluster, args).await,
        }
    })
}

/// Runs the tool to its end.
pub(crate) fn group(command: &GroupCommand) -> ExitCode {
    let args = match command {
        GroupCommand::List(args) => &args.cluster,
        GroupCommand::Describe(args) => &args.cluster,
    };
    run(args, |cluster| async move {
        match command {
            GroupCommand::List(args) => group::list(&cluster, args).await,
            GroupCommand::Describe(args) => group::describe(&cluster, args).await,
        }
    })
}

/// Prints records of several topics until it is stopped.
pub(crate) fn tail(args: &ClusterArgs, topics: &[String], json: bool) -> ExitCode {
    run(args, |cluster| async move { read::tail(&cluster, topics, json).await })
}

/// Goes on with what was found, or says why there is nothing.
pub(crate) fn or_complain<T>(found: anyhow::Result<T>, go_on: impl FnOnce(T) -> ExitCode) -> ExitCode {
    match found {
        Ok(found) => go_on(found),
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Runs the preview to its end.
pub(crate) fn preview(args: &PreviewArgs) -> ExitCode {
    let preview = match args.preview() {
        Ok(preview) => preview,
        Err(error) => {
            complain(&error);
            return ExitCode::from(crate::EXIT_SETTINGS);
        }
    };
    if args.is_live() {
        return run(&args.cluster, |cluster| async move {
            preview::topic(&cluster, args, &preview).await
        });
    }
    ended(threads().and_then(|runtime| {
        let outcome = runtime.block_on(preview::lines(args, &preview));
        runtime.shutdown_background();
        outcome
    }))
}

fn threads() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(THREADS)
        .thread_name("klamm-net")
        .build()
        .context("threads cannot be started")
}

/// Runs `tool` with a client of the cluster.
fn run<F>(args: &cluster::ClusterArgs, tool: impl FnOnce(Arc<cluster::Cluster>) -> F) -> ExitCode
where
    F: Future<Output = anyhow::Result<()>>,
{
    let work = || {
        let runtime = threads()?;
        let outcome = args.connect(runtime.handle().clone()).and_then(|cluster| {
            let cluster = Arc::new(cluster);
            runtime.block_on(async {
                let outcome = tool(Arc::clone(&cluster)).await;
                // A moment to say goodbye to the brokers; the process ends all the same.
                tokio::time::timeout(GOODBYE, cluster.client().shutdown()).await.ok();
                outcome
            })
        });
        // A name that is still being looked up would hold up the runtime's orderly end.
        runtime.shutdown_background();
        outcome
    };
    ended(work())
}

fn ended(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has seen enough, such as `head`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// The error and its sources on one line.
pub(crate) fn complain(error: &anyhow::Error) {
    note(&format!("{error:#}"));
}

/// One line on standard error.
fn note(text: &str) {
    let line: Vec<_> = text.split_ascii_whitespace().collect();
    // Standard error may be closed; then nobody wants to know.
    writeln!(io::stderr(), "klamm: {}", line.join(" ")).ok();
}
