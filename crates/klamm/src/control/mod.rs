//! `klamm connectors`, `offsets`, `plugins`, `validate`, `dlq` and `import`: running workers by their REST API.
//!
//! **Owns** these command lines, what they print, and their exit codes ([`Exit`]).
//! **Does not know** what a worker makes of a request: every rule is the worker's, and its words are passed on.
//! **Invariant:** with `--json` standard output holds JSON alone; notes and progress go to standard error.

mod api;
mod apply;
mod connectors;
mod dead_letters;
mod import;
mod logs;
mod offsets;
mod plugins;
mod status;
mod table;
mod validate;
mod wait;

use std::io::Write as _;
use std::process::ExitCode;

use serde_json::Value;

pub(crate) use connectors::ConnectorsCommand;
pub(crate) use dead_letters::DeadLettersCommand;
pub(crate) use import::ImportArgs;
pub(crate) use offsets::OffsetsCommand;
pub(crate) use plugins::PluginsCommand;
pub(crate) use validate::ValidateArgs;

use crate::tools::{self, output};
use api::{Api, ApiArgs, ApiError};

/// What exit codes mean, beside 2 for a command line or file that cannot be understood.
pub(crate) const EXIT_CODES: &str = "Exit codes: 0 done; 1 the worker refused it, or a connector failed; 2 the command \
line or a file cannot be understood; 3 no worker can be reached; 4 --wait or --timeout ran out; 5 a dry run found \
something to do.";

/// A command group with the worker that it talks to.
#[derive(Debug, clap::Args)]
pub(crate) struct Control<C: clap::Subcommand> {
    #[command(flatten)]
    api: ApiArgs,
    #[command(subcommand)]
    command: C,
}

/// A single command with the worker that it talks to.
#[derive(Debug, clap::Args)]
pub(crate) struct Single<A: clap::Args> {
    #[command(flatten)]
    api: ApiArgs,
    #[command(flatten)]
    args: A,
}

/// How a command ends that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Done,
    /// The worker did as asked, and what it tells is bad: a failed connector, a refused configuration.
    Bad,
    /// `--wait` ran out.
    StillWaiting,
    /// A dry run found something to do.
    Differs,
}

/// A file of the user's cannot be used: no request was sent for it.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct BadInput(#[from] pub(crate) anyhow::Error);

impl From<klamm::FileError> for BadInput {
    fn from(error: klamm::FileError) -> Self {
        Self(error.into())
    }
}

/// A command of a group.
pub(crate) trait Run {
    /// # Errors
    /// The worker, the user's files, or standard output.
    async fn run(&self, api: &Api) -> anyhow::Result<Exit>;
}

impl<C: clap::Subcommand + Run> Control<C> {
    /// Runs the command to its end.
    pub(crate) fn run(&self) -> ExitCode {
        run(&self.api, &self.command)
    }
}

impl<A: clap::Args + Run> Single<A> {
    /// Runs the command to its end.
    pub(crate) fn run(&self) -> ExitCode {
        run(&self.api, &self.args)
    }
}

fn run(args: &ApiArgs, command: &impl Run) -> ExitCode {
    let api = match args.connect() {
        Ok(api) => api,
        Err(error) => {
            tools::complain(&error);
            return ExitCode::from(crate::EXIT_SETTINGS);
        }
    };
    let outcome = tools::threads().and_then(|runtime| {
        let outcome = runtime.block_on(command.run(&api));
        // A name that is still being looked up would hold up the runtime's orderly end.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(error) if tools::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            tools::complain(&error);
            ExitCode::from(code_of(&error))
        }
    }
}

impl Exit {
    fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Bad => 1,
            Self::StillWaiting => 4,
            Self::Differs => 5,
        }
    }

    /// The graver of two.
    fn and(self, other: Self) -> Self {
        let rank = |exit| match exit {
            Self::Done => 0,
            Self::Differs => 1,
            Self::StillWaiting => 2,
            Self::Bad => 3,
        };
        if rank(other) > rank(self) { other } else { self }
    }
}

fn code_of(error: &anyhow::Error) -> u8 {
    if error.is::<BadInput>() {
        return crate::EXIT_SETTINGS;
    }
    match error.downcast_ref::<ApiError>() {
        Some(ApiError::Unreachable(_)) => 3,
        Some(ApiError::NoAnswer { .. }) => 4,
        Some(ApiError::Refused { .. }) | None => 1,
    }
}

/// Prints an answer as it is.
///
/// # Errors
/// Standard output.
fn print_json(value: &Value) -> anyhow::Result<()> {
    let mut out = output::stdout();
    serde_json::to_writer_pretty(&mut out, value).map_err(std::io::Error::from)?;
    writeln!(out)?;
    out.flush()?;
    Ok(())
}

/// Prints a table.
///
/// # Errors
/// Standard output.
fn print_table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> anyhow::Result<()> {
    let mut out = output::stdout();
    table::write(&mut out, head, rows)?;
    out.flush()?;
    Ok(())
}

/// A line for people: on standard output, or beside it when that is for scripts.
///
/// # Errors
/// Standard output.
fn say(api: &Api, line: &str) -> anyhow::Result<()> {
    if api.is_json {
        writeln!(std::io::stderr(), "{line}").ok();
        return Ok(());
    }
    let mut out = output::stdout();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}

/// Text at a JSON pointer; empty if there is none. Numbers and flags are text, too.
fn text(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// The elements of an array at a JSON pointer.
fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// The members of an object at a JSON pointer, in their order.
fn members<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    value.pointer(pointer).and_then(Value::as_object).into_iter().flatten()
}
