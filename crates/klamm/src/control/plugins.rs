//! `klamm plugins`.

use clap::{Args, Subcommand};

use super::api::{Api, path};
use super::{Exit, Run, list, print_json, print_table, text};

/// What to ask of plugins.
#[derive(Debug, Subcommand)]
pub(crate) enum PluginsCommand {
    /// Lists connectors, converters, transforms and predicates
    List(ListArgs),
    /// Lists the settings of a plugin
    Config(ConfigArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only connectors
    #[arg(long)]
    connectors: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// Its class, or the short name of a connector
    class: String,
}

impl Run for PluginsCommand {
    async fn run(&self, api: &Api) -> anyhow::Result<Exit> {
        match self {
            Self::List(args) => {
                let plugins = api
                    .get(&format!("/connector-plugins?connectorsOnly={}", args.connectors))
                    .await?;
                if api.is_json {
                    print_json(&plugins)?;
                } else {
                    let mut rows: Vec<_> = list(&plugins, "")
                        .map(|plugin| ["/type", "/class", "/version"].map(|pointer| text(plugin, pointer)))
                        .collect();
                    rows.sort();
                    print_table(["TYPE", "CLASS", "VERSION"], &rows)?;
                }
            }
            Self::Config(args) => {
                let keys = api.get(&path(&["connector-plugins", &args.class, "config"])).await?;
                if api.is_json {
                    print_json(&keys)?;
                } else {
                    let pointers = ["/name", "/type", "/required", "/default_value", "/importance"];
                    let rows: Vec<_> = list(&keys, "")
                        .map(|key| pointers.map(|pointer| text(key, pointer)))
                        .collect();
                    print_table(["SETTING", "TYPE", "REQUIRED", "DEFAULT", "IMPORTANCE"], &rows)?;
                }
            }
        }
        Ok(Exit::Done)
    }
}
