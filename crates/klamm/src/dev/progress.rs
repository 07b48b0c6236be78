//! How far the connectors are, as their commits say.

use anyhow::{anyhow, bail};
use klamm_kafka::PartitionLag;
use klamm_runtime::State;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::board::{Board, ConnectorRow};
use super::show::Show;
use super::world::World;
use super::{LOOK, PATIENCE};

/// Looks again and again and shows it. Ends only with `--once`: when every record of every connector's topics is done and
/// no function runs.
///
/// # Errors
/// With `--once`: a connector failed, an event was given up, or nothing happens any more.
pub(super) async fn watch(world: &World, show: &Show, is_once: bool) -> anyhow::Result<()> {
    let board = show.board();
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut changes, mut changed) = (board.changes(), Instant::now());
    loop {
        ticks.tick().await;
        let mut is_done = true;
        for name in world.groups.keys() {
            is_done &= look(world, &board, name, is_once).await?;
        }
        show.refresh();
        if !is_once {
            continue;
        }
        if is_done && !board.is_busy() && world.functions.waiting_events() == 0 {
            return match board.dropped_events() {
                0 => Ok(()),
                dropped => Err(anyhow!("{dropped} events were given up by their functions")),
            };
        }
        if board.changes() != changes {
            (changes, changed) = (board.changes(), Instant::now());
        } else if changed.elapsed() > PATIENCE {
            bail!("nothing happened for {} s:\n{}", PATIENCE.as_secs(), board.view().join("\n"));
        }
    }
}

/// Whether a connector has done all records of its topics.
async fn look(world: &World, board: &Board, name: &str, is_once: bool) -> anyhow::Result<bool> {
    let status = world.worker.herder().status(name)?;
    let failed = std::iter::once(&status.connector)
        .chain(status.tasks.values())
        .find(|instance| instance.state == State::Failed);
    if let Some(failed) = failed
        && is_once
    {
        let trace = failed.trace.as_deref().unwrap_or("no reason is known");
        bail!("connector {name} failed: {trace}");
    }
    let lags = match world.groups.get(name) {
        // Before its member has joined there is no group.
        Some(group) => world.client().group_lag(group).await.unwrap_or_default(),
        None => Vec::new(),
    };
    let left: i64 = lags.iter().map(left).sum();
    let done = lags.iter().filter_map(|lag| lag.committed).sum();
    let row = ConnectorRow {
        state: failed.map_or(status.connector.state, |failed| failed.state).name(),
        done,
        left,
    };
    board.set_connector(name, row);
    let names = world.topics.get(name).map(Vec::as_slice).unwrap_or_default();
    let is_known = names.iter().all(|topic| lags.iter().any(|lag| *lag.topic == **topic));
    Ok(is_known && !lags.is_empty() && left == 0)
}

/// Records that are not done yet, an upper bound.
fn left(lag: &PartitionLag) -> i64 {
    let end = lag.log_end.unwrap_or(0);
    (end - lag.committed.unwrap_or(0)).max(0)
}
