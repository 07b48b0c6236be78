//! Groups of members that decide for themselves what an assignment means.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use klamm_kafka::{CoordinatedEvent, CoordinatedEvents, CoordinatedGroup, GroupConfig, KafkaClient};

use crate::support::{PATIENCE, client, unique};

struct Worker {
    group: CoordinatedGroup,
    events: CoordinatedEvents,
    /// Member id, leader, generation, and what the leader told it.
    told: Option<(Arc<str>, Arc<str>, i32, String)>,
}

/// Tells everybody the names of all.
impl Worker {
    fn join(client: &Arc<KafkaClient>, group: &str, name: &str) -> Self {
        let config = GroupConfig {
            heartbeat_interval: Duration::from_millis(100),
            ..GroupConfig::new(group, "workers")
        };
        let (group, events) = CoordinatedGroup::join(client, config, offer(name));
        let told = None;
        Self { group, events, told }
    }

    async fn step(&mut self) {
        match self.events.recv().await.expect("the member lives") {
            CoordinatedEvent::Lead(leadership) => {
                let names: BTreeSet<&[u8]> = leadership.members.iter().map(|peer| &peer.metadata[..]).collect();
                let names: Vec<_> = names.iter().map(|name| String::from_utf8_lossy(name)).collect();
                let names = names.join(",");
                let to = |peer: &klamm_kafka::GroupPeer| (Arc::clone(&peer.member_id), names.clone().into());
                let assignments = leadership.members.iter().map(to).collect();
                leadership.assign(assignments);
            }
            CoordinatedEvent::Assigned {
                assignment,
                generation,
                leader,
                member_id,
                protocol,
            } => {
                assert_eq!(&*protocol, "v1");
                let names = String::from_utf8(assignment.to_vec()).unwrap();
                self.told = Some((member_id, leader, generation, names));
            }
            CoordinatedEvent::Lost => self.told = None,
            CoordinatedEvent::State(_) => {}
        }
    }

    fn leads(&self) -> bool {
        self.told.as_ref().is_some_and(|(own, leader, ..)| own == leader)
    }
}

fn offer(name: &str) -> Vec<(Arc<str>, bytes::Bytes)> {
    vec![("v1".into(), bytes::Bytes::copy_from_slice(name.as_bytes()))]
}

async fn until_told(workers: &mut [Worker], names: &str) {
    let told = async {
        while !workers
            .iter()
            .all(|w| w.told.as_ref().is_some_and(|told| told.3 == names))
        {
            let steps = workers.iter_mut().map(|worker| Box::pin(worker.step()));
            futures_util::future::select_all(steps).await;
        }
    };
    let told = tokio::time::timeout(PATIENCE, told).await;
    assert!(
        told.is_ok(),
        "{:?}",
        workers.iter().map(|w| &w.told).collect::<Vec<_>>()
    );
    assert_eq!(workers.iter().filter(|worker| worker.leads()).count(), 1);
}

#[tokio::test]
async fn three_workers_share_what_they_know_and_outlive_their_leader() {
    crate::fast_broker();
    let group = unique("workers");
    let client = client();
    let mut workers: Vec<Worker> = ["a", "b", "c"].map(|name| Worker::join(&client, &group, name)).into();
    until_told(&mut workers, "a,b,c").await;

    workers[1].group.rejoin(offer("z"));
    until_told(&mut workers, "a,c,z").await;

    let mut names = vec!["a", "z", "c"];
    let leader = workers.iter().position(Worker::leads).unwrap();
    names.remove(leader);
    names.sort_unstable();
    workers.remove(leader).group.leave().await;
    until_told(&mut workers, &names.join(",")).await;
    client.shutdown().await;
}
