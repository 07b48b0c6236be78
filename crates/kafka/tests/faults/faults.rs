//! What is done to the cluster, and how it is undone.

use std::time::Duration;

use crate::support::{broker, raw};
use crate::{GROUP, PARTITIONS, TOPIC};

/// Something that happens to clusters.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// `kill -9` of the broker that coordinates the group and leads some partitions.
    KillCoordinator,
    /// Each broker in turn is stopped in good order and started again.
    RollingRestart,
    /// Every leader goes back to the preferred replica.
    LeadersMove,
    /// A broker keeps its connections and says nothing any more, until others lead what it led.
    Stall,
    /// As [`Fault::Stall`], of the broker that coordinates the group.
    StallCoordinator,
    /// All brokers are killed, and stay away for so long.
    Outage(Duration),
}

/// Makes the fault good.
pub type Repair = Box<dyn FnOnce() + Send>;

impl Fault {
    /// Whether every partition can be read while the fault lasts.
    pub fn leaves_some(self) -> bool {
        !matches!(self, Self::Outage(_))
    }

    /// Blocks until it has happened.
    pub fn make(self) -> Repair {
        match self {
            Self::KillCoordinator => {
                let node = coordinator();
                broker().run(&["kill", &node.to_string()]);
                leaders_elsewhere(node);
                Box::new(move || start_and_catch_up(node))
            }
            Self::RollingRestart => {
                for node in 1..=3 {
                    broker().run(&["stop", &node.to_string()]);
                    start_and_catch_up(node);
                }
                Box::new(|| {})
            }
            Self::LeadersMove => {
                broker().run(&[
                    "leader-election",
                    "--election-type",
                    "PREFERRED",
                    "--all-topic-partitions",
                ]);
                Box::new(|| {})
            }
            Self::Stall => {
                let leader = raw::leaders(1, TOPIC).unwrap()[0].0;
                stall(usize::try_from(leader).unwrap())
            }
            Self::StallCoordinator => stall(coordinator()),
            Self::Outage(lasting) => {
                for node in 1..=3 {
                    broker().run(&["kill", &node.to_string()]);
                }
                Box::new(move || {
                    #[expect(clippy::disallowed_methods, reason = "how long it lasts is what this fault is")]
                    std::thread::sleep(lasting);
                    // One alone has no quorum to start with.
                    std::thread::scope(|scope| {
                        for node in 1..=3 {
                            scope.spawn(move || broker().run(&["start", &node.to_string()]));
                        }
                    });
                    caught_up();
                })
            }
        }
    }
}

fn stall(node: usize) -> Repair {
    broker().run(&["pause", &node.to_string()]);
    leaders_elsewhere(node);
    Box::new(move || {
        broker().run(&["resume", &node.to_string()]);
        caught_up();
    })
}

/// Between two looks at a cluster that needs its time.
fn pause() {
    #[expect(clippy::disallowed_methods, reason = "the pace of asking, on a thread for it")]
    std::thread::sleep(Duration::from_millis(50));
}

fn coordinator() -> usize {
    loop {
        if let Some(node) = raw::coordinator(1, GROUP)
            .ok()
            .and_then(|node| usize::try_from(node).ok())
            && node > 0
        {
            return node;
        }
        pause();
    }
}

/// Waits until `node` leads nothing any more.
fn leaders_elsewhere(node: usize) {
    let witness = node % 3 + 1;
    let gone = i32::try_from(node).unwrap();
    loop {
        let leaders = raw::leaders(witness, TOPIC).unwrap_or_default();
        if leaders.len() == usize::try_from(PARTITIONS).unwrap()
            && leaders.iter().all(|(leader, _)| *leader > 0 && *leader != gone)
        {
            return;
        }
        pause();
    }
}

fn start_and_catch_up(node: usize) {
    broker().run(&["start", &node.to_string()]);
    caught_up();
}

/// Waits until every partition has all its replicas in sync.
fn caught_up() {
    for node in (1..=3).cycle() {
        let leaders = raw::leaders(node, TOPIC).unwrap_or_default();
        if !leaders.is_empty() && leaders.iter().all(|(leader, in_sync)| *leader > 0 && *in_sync == 3) {
            return;
        }
        pause();
    }
}
