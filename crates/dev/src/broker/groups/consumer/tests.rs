//! Members that follow KIP-848, a broker that must never give a partition to two of them.

use super::*;

const SESSION: Duration = Duration::from_secs(10);

#[derive(Default)]
struct World {
    topics: BTreeMap<String, (Uuid, i32)>,
    version: u64,
}

impl Topics for World {
    fn version(&self) -> u64 {
        self.version
    }

    fn names(&self) -> Vec<String> {
        self.topics.keys().cloned().collect()
    }

    fn partitions_of(&self, name: &str) -> Option<(Uuid, i32)> {
        self.topics.get(name).copied()
    }
}

fn world(partitions: i32) -> World {
    let mut world = World::default();
    world.topics.insert("t".to_owned(), (Uuid::from_u128(1), partitions));
    world
}

/// A member as a client plays it.
#[derive(Debug)]
struct Player {
    id: String,
    epoch: i32,
    owned: Assignment,
    target: Assignment,
}

impl Player {
    fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            epoch: 0,
            owned: Assignment::new(),
            target: Assignment::new(),
        }
    }

    fn beat(&self) -> Beat {
        Beat {
            client: Client::default(),
            member_id: self.id.clone(),
            epoch: self.epoch,
            instance_id: None,
            rack: None,
            rebalance_timeout: Some(Duration::from_secs(30)),
            topics: Some(["t".to_owned()].into()),
            regex: None,
            assignor: None,
            owned: Some(self.owned.clone()),
        }
    }

    fn step(&mut self, group: &mut ConsumerGroup, world: &World, now: Instant) -> Result<(), ResponseError> {
        let answer = group
            .heartbeat(self.beat(), world, SESSION, now)
            .map_err(|(code, _)| code)?;
        self.epoch = answer.epoch;
        if let Some(assignment) = answer.assignment {
            self.target = assignment;
        }
        Ok(())
    }

    /// What is no longer assigned goes first; what is new comes only then.
    fn reconcile(&mut self) {
        self.owned.clone_from(&self.target);
    }

    fn count(&self) -> usize {
        each(&self.owned).count()
    }
}

#[test]
fn a_partition_changes_hands_only_when_its_owner_let_go() {
    let (world, mut group, now) = (world(4), ConsumerGroup::default(), Instant::now());
    let (mut a, mut b) = (Player::new("a"), Player::new("b"));
    a.step(&mut group, &world, now).unwrap();
    a.reconcile();
    assert_eq!((a.count(), group.state()), (4, "Stable"));
    b.step(&mut group, &world, now).unwrap();
    assert_eq!((each(&b.target).count(), group.state()), (0, "Reconciling"));
    let before = a.epoch;
    a.step(&mut group, &world, now).unwrap();
    assert_eq!(
        (each(&a.target).count(), a.epoch),
        (2, before),
        "asked to let go of two"
    );
    b.step(&mut group, &world, now).unwrap();
    assert_eq!(each(&b.target).count(), 0, "not yet");
    a.reconcile();
    a.step(&mut group, &world, now).unwrap();
    b.step(&mut group, &world, now).unwrap();
    b.reconcile();
    assert_eq!((a.count(), b.count(), group.state()), (2, 2, "Stable"));
    assert_eq!((a.epoch, b.epoch), (group.epoch, group.epoch));
}

#[test]
fn epochs_fence_who_is_not_the_current_member() {
    let (world, mut group, now) = (world(2), ConsumerGroup::default(), Instant::now());
    let mut a = Player::new("a");
    a.step(&mut group, &world, now).unwrap();
    let current = a.epoch;
    let cases = [
        (
            current + 1,
            Some(Assignment::new()),
            Err(ResponseError::FencedMemberEpoch),
        ),
        (current, None, Ok(())),
        (current - 1, None, Err(ResponseError::FencedMemberEpoch)),
    ];
    for (epoch, owned, wanted) in cases {
        let beat = Beat {
            epoch,
            owned,
            ..a.beat()
        };
        let answer = group.heartbeat(beat, &world, SESSION, now);
        assert_eq!(answer.map(drop).map_err(|(code, _)| code), wanted, "epoch {epoch}");
    }
    let mut stranger = Player::new("stranger");
    stranger.epoch = 3;
    assert_eq!(
        stranger.step(&mut group, &world, now),
        Err(ResponseError::UnknownMemberId)
    );
    assert_eq!(group.check_commit("a", current), Ok(()));
    assert_eq!(
        group.check_commit("a", current - 1),
        Err(ResponseError::StaleMemberEpoch)
    );
    assert_eq!(group.check_commit("", -1), Err(ResponseError::UnknownMemberId));
}

#[test]
fn new_partitions_and_matching_topics_are_shared_out() {
    let (mut world, mut group, now) = (world(1), ConsumerGroup::default(), Instant::now());
    let mut a = Player::new("a");
    let with_regex = |a: &Player| Beat {
        topics: None,
        regex: Some("t.*".to_owned()),
        ..a.beat()
    };
    let answer = group.heartbeat(with_regex(&a), &world, SESSION, now).unwrap();
    a.epoch = answer.epoch;
    assert_eq!(each(&answer.assignment.unwrap()).count(), 1);
    world.topics.insert("t".to_owned(), (Uuid::from_u128(1), 3));
    world.topics.insert("tt".to_owned(), (Uuid::from_u128(2), 2));
    world.topics.insert("other".to_owned(), (Uuid::from_u128(3), 2));
    world.version += 1;
    let quiet = Beat {
        topics: None,
        rebalance_timeout: None,
        owned: None,
        ..a.beat()
    };
    let answer = group.heartbeat(quiet.clone(), &world, SESSION, now).unwrap();
    assert_eq!(each(&answer.assignment.unwrap()).count(), 5);
    a.epoch = answer.epoch;
    let quiet = Beat {
        epoch: a.epoch,
        ..quiet
    };
    let answer = group.heartbeat(quiet, &world, SESSION, now).unwrap();
    assert_eq!(answer.assignment, None, "told once");
    let broken = Beat {
        regex: Some("(".to_owned()),
        epoch: a.epoch,
        ..a.beat()
    };
    let refused = group.heartbeat(broken, &world, SESSION, now).unwrap_err();
    assert_eq!(refused.0, ResponseError::InvalidRegularExpression);
}

#[test]
fn a_static_member_that_is_away_keeps_its_partitions() {
    let (world, mut group, now) = (world(4), ConsumerGroup::default(), Instant::now());
    let as_static = |player: &Player| Beat {
        instance_id: Some("i".to_owned()),
        ..player.beat()
    };
    let (mut a, mut b) = (Player::new("a"), Player::new("b"));
    let answer = group.heartbeat(as_static(&a), &world, SESSION, now).unwrap();
    (a.epoch, a.target) = (answer.epoch, answer.assignment.unwrap());
    let twin = group.heartbeat(as_static(&Player::new("twin")), &world, SESSION, now);
    assert_eq!(twin.unwrap_err().0, ResponseError::UnreleasedInstanceId);
    let leaves = Beat {
        epoch: LEAVES_FOR_A_WHILE,
        ..as_static(&a)
    };
    group.heartbeat(leaves, &world, SESSION, now).unwrap();
    let epoch = group.epoch;
    let back = group
        .heartbeat(as_static(&Player::new("a2")), &world, SESSION, now)
        .unwrap();
    assert_eq!(
        (back.assignment, group.epoch),
        (Some(a.target.clone()), epoch),
        "nobody noticed"
    );
    b.step(&mut group, &world, now).unwrap();
    assert_eq!(each(&b.target).count(), 0);
    assert!(group.members().contains_key("a2") && !group.members().contains_key("a"));
}

#[test]
fn who_is_silent_or_does_not_let_go_is_out() {
    let (world, mut group, mut now) = (world(4), ConsumerGroup::default(), Instant::now());
    let (mut a, mut b) = (Player::new("a"), Player::new("b"));
    a.step(&mut group, &world, now).unwrap();
    a.reconcile();
    b.step(&mut group, &world, now).unwrap();
    a.step(&mut group, &world, now).unwrap();
    // It goes on reporting what it should have given up.
    for _ in 0..4 {
        now += Duration::from_secs(8);
        a.step(&mut group, &world, now).ok();
        b.step(&mut group, &world, now).unwrap();
    }
    assert!(!group.members().contains_key("a"));
    assert_eq!(each(&b.target).count(), 4);
    now += SESSION;
    group.advance(now);
    assert_eq!((group.members().len(), group.state()), (0, "Empty"));
    assert_eq!(group.next_deadline(), None);
}

/// Random members come, go, report, let go late, lose answers: no partition is ever owned by two, and in the end all
/// of them are owned.
#[test]
fn no_partition_ever_has_two_owners() {
    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    for seed in 0..200 {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut world, mut group) = (world(random.random_range(1..12)), ConsumerGroup::default());
        let mut now = Instant::now();
        let mut players: Vec<Player> = Vec::new();
        for step in 0..150 {
            now += Duration::from_millis(20);
            match random.random_range(0..20) {
                0 if players.len() < 6 => players.push(Player::new(&format!("p{step}"))),
                1 if !players.is_empty() => {
                    let mut leaving = players.swap_remove(random.random_range(0..players.len()));
                    leaving.owned.clear();
                    let beat = Beat {
                        epoch: LEAVES,
                        ..leaving.beat()
                    };
                    group.heartbeat(beat, &world, SESSION, now).ok();
                }
                2 => {
                    world.topics.entry("t".to_owned()).and_modify(|(_, count)| *count += 1);
                    world.version += 1;
                }
                _ if !players.is_empty() => {
                    let at = random.random_range(0..players.len());
                    let player = &mut players[at];
                    let before = (player.epoch, player.target.clone());
                    if player.step(&mut group, &world, now).is_err() {
                        // Fenced: it gives up everything and joins again.
                        player.epoch = 0;
                        player.owned.clear();
                        player.target.clear();
                    } else if random.random_range(0..10) == 0 {
                        (player.epoch, player.target) = before;
                    }
                    if random.random_range(0..2) == 0 {
                        player.reconcile();
                    }
                }
                _ => {}
            }
            let mut owners = BTreeSet::new();
            for (topic, partition) in players.iter().flat_map(|player| each(&player.owned)) {
                assert!(
                    owners.insert((topic, partition)),
                    "seed {seed}: {partition} has two owners"
                );
            }
        }
        if players.is_empty() {
            players.push(Player::new("last"));
        }
        for _ in 0..20 {
            for player in &mut players {
                if player.step(&mut group, &world, now).is_err() {
                    (player.epoch, player.owned, player.target) = (0, Assignment::new(), Assignment::new());
                }
                player.reconcile();
            }
        }
        let (_, partitions) = world.topics["t"];
        let owned: usize = players.iter().map(Player::count).sum();
        assert_eq!(owned, usize::try_from(partitions).unwrap(), "seed {seed}");
        assert_eq!(group.state(), "Stable", "seed {seed}");
        let most = players.iter().map(Player::count).max().unwrap();
        let least = players.iter().map(Player::count).min().unwrap();
        assert!(most - least <= 1, "seed {seed}: {least} to {most}");
    }
}
