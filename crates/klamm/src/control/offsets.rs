//! `klamm offsets`.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::api::{Api, path};
use super::{BadInput, Exit, Run, list, print_json, print_table, say, text};
use crate::tools::From as Position;

/// What to do with a connector's offsets: where its consumer group goes on.
#[derive(Debug, Subcommand)]
pub(crate) enum OffsetsCommand {
    /// Prints them
    Get(GetArgs),
    /// Sets some, of a stopped connector
    Set(SetArgs),
    /// Forgets all, of a stopped connector: it begins as a new one does
    Reset(GetArgs),
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// The connector
    name: String,
}

#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    /// The connector
    name: String,
    /// Partitions and where to go on, such as `orders:0=42`, `orders:0=none` (forget it) or
    /// `orders:0=2026-11-21T00:00:00Z` (the first record that is not older)
    #[arg(required = true, value_name = "TOPIC:PARTITION=POSITION", value_parser = setting)]
    offsets: Vec<Setting>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    topic: String,
    partition: i32,
    to: To,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    Offset(i64),
    Nowhere,
    /// Milliseconds since 1970.
    Timestamp(i64),
}

fn setting(text: &str) -> Result<Setting, String> {
    let parts = || {
        // A topic's name may hold neither `:` nor `=`.
        let (partition, position) = text.split_once('=')?;
        let (topic, partition) = partition.rsplit_once(':')?;
        let partition = partition.parse().ok().filter(|partition| *partition >= 0)?;
        Some((topic.to_owned(), partition, position))
    };
    let (topic, partition, position) = parts().ok_or("write it as TOPIC:PARTITION=POSITION, such as orders:0=42")?;
    let to = match position {
        "none" => To::Nowhere,
        _ => match position.parse()? {
            Position::Offset(offset) => To::Offset(offset),
            Position::Timestamp(at) => To::Timestamp(at),
            Position::Earliest | Position::Latest => {
                return Err("a position is an offset, a time or `none` here: `klamm topic` shows ends".to_owned());
            }
        },
    };
    Ok(Setting { topic, partition, to })
}

impl Run for OffsetsCommand {
    async fn run(&self, api: &Api) -> anyhow::Result<Exit> {
        match self {
            Self::Get(args) => {
                let offsets = api.get(&path(&["connectors", &args.name, "offsets"])).await?;
                print(api, &offsets)?;
            }
            Self::Set(args) => set(api, args).await?,
            Self::Reset(args) => {
                let answer = api
                    .send(Method::DELETE, &path(&["connectors", &args.name, "offsets"]), None)
                    .await?;
                told(api, &answer)?;
            }
        }
        Ok(Exit::Done)
    }
}

/// Two requests of the API: by offset as Connect has it, by time beyond it.
async fn set(api: &Api, args: &SetArgs) -> anyhow::Result<()> {
    let by_time = |setting: &Setting| matches!(setting.to, To::Timestamp(_));
    let at = path(&["connectors", &args.name, "offsets"]);
    let entries: Vec<_> = args.offsets.iter().map(entry).collect();
    let body = json!({ "offsets": entries });
    if args.offsets.iter().all(by_time) {
        let set = api.send(Method::PUT, &at, Some(&body)).await?;
        return print(api, &set);
    }
    if args.offsets.iter().any(by_time) {
        return Err(BadInput(anyhow::anyhow!(
            "give either offsets or times: they are set by different requests"
        ))
        .into());
    }
    told(api, &api.send(Method::PATCH, &at, Some(&body)).await?)
}

fn entry(setting: &Setting) -> Value {
    let partition = json!({"kafka_topic": setting.topic, "kafka_partition": setting.partition});
    match setting.to {
        To::Offset(offset) => json!({"partition": partition, "offset": {"kafka_offset": offset}}),
        To::Nowhere => json!({"partition": partition, "offset": null}),
        To::Timestamp(at) => json!({"partition": partition, "timestamp": at}),
    }
}

fn told(api: &Api, answer: &Value) -> anyhow::Result<()> {
    if api.is_json {
        return print_json(answer);
    }
    say(api, &text(answer, "/message"))
}

fn print(api: &Api, offsets: &Value) -> anyhow::Result<()> {
    if api.is_json {
        return print_json(offsets);
    }
    let row = |entry: &Value| {
        [
            text(entry, "/partition/kafka_topic"),
            text(entry, "/partition/kafka_partition"),
            text(entry, "/offset/kafka_offset"),
        ]
    };
    let rows: Vec<_> = list(offsets, "/offsets").map(row).collect();
    print_table(["TOPIC", "PARTITION", "OFFSET"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_an_offset_a_time_or_none() {
        let good = [
            ("orders:0=42", To::Offset(42)),
            ("orders:0=none", To::Nowhere),
            ("orders:0=timestamp:1700000000000", To::Timestamp(1_700_000_000_000)),
            ("orders:0=2023-11-14T22:13:20Z", To::Timestamp(1_700_000_000_000)),
        ];
        for (text, to) in good {
            let (topic, partition) = ("orders".to_owned(), 0);
            assert_eq!(setting(text).unwrap(), Setting { topic, partition, to });
        }
        for bad in [
            "orders=1",
            "orders:x=1",
            "orders:-1=1",
            "orders:0=",
            "orders:0=-1",
            "orders:0=latest",
            "a:0",
        ] {
            setting(bad).unwrap_err();
        }
    }
}
