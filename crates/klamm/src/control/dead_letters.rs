//! `klamm dlq`.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::api::{Api, path};
use super::{Exit, Run, print_json};

/// What to do with a connector's dead letters.
#[derive(Debug, Subcommand)]
pub(crate) enum DeadLettersCommand {
    /// Lists the dead letter topics of a connector, and how much is in them
    List(ListArgs),
    /// Shows dead letters: where they came from, and why they failed
    Peek(PeekArgs),
    /// Sends dead letters to where they came from again
    Redrive(RedriveArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
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
    /// Also keys and values
    #[arg(long)]
    payload: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RedriveArgs {
    /// The connector
    name: String,
    /// Only tell what would be sent
    #[arg(long)]
    dry_run: bool,
    /// Records a second at most
    #[arg(long, value_name = "RECORDS")]
    rate: Option<u32>,
}

impl Run for DeadLettersCommand {
    async fn run(&self, api: &Api) -> anyhow::Result<Exit> {
        let letters = |name: &str, rest: &[&str]| path(&[&["connectors", name, "dead-letters"], rest].concat());
        let answer: Value = match self {
            Self::List(args) => api.get(&letters(&args.name, &[])).await?,
            Self::Peek(args) => {
                let query = format!("?limit={}&payload={}", args.limit, args.payload);
                api.get(&(letters(&args.name, &["peek"]) + &query)).await?
            }
            Self::Redrive(args) => {
                let body = json!({"dry_run": args.dry_run, "rate": args.rate});
                api.send(Method::POST, &letters(&args.name, &["redrive"]), Some(&body)).await?
            }
        };
        print_json(&answer)?;
        Ok(Exit::Done)
    }
}
