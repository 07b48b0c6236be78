//! `klamm topic list`.

use std::io::Write as _;

use clap::Args;

use super::cluster::{Cluster, ClusterArgs};
use super::output;

/// What to list.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(super) cluster: ClusterArgs,
    /// Also topics of Kafka itself, such as `__consumer_offsets`
    #[arg(long)]
    internal: bool,
}

/// Prints the names.
///
/// # Errors
/// No answer, or standard output.
pub(crate) async fn list(cluster: &Cluster, args: &ListArgs) -> anyhow::Result<()> {
    let topics = async { cluster.told(cluster.client().topics().await) };
    let topics = cluster.first(topics).await?;
    let mut out = output::stdout();
    for topic in topics.iter().filter(|topic| args.internal || !topic.is_internal) {
        writeln!(out, "{}", topic.name)?;
    }
    out.flush()?;
    Ok(())
}
