use proptest::prelude::*;

use super::*;

fn claimant(id: &str, instance: Option<&str>, topics: &[&str], owned: &[&str], generation: i32) -> Claimant {
    let partition = |text: &&str| {
        let (topic, index) = text.rsplit_once('-').unwrap();
        TopicPartition::new(topic, index.parse().unwrap())
    };
    Claimant {
        member_id: id.to_owned(),
        instance_id: instance.map(str::to_owned),
        claim: Claim {
            topics: topics.iter().map(|topic| Arc::from(*topic)).collect(),
            owned: owned.iter().map(partition).collect(),
            generation: Some(generation),
            rack: None,
        },
    }
}

fn member(id: &str, instance: Option<&str>, topics: &[&str]) -> Claimant {
    claimant(id, instance, topics, &[], -1)
}

#[test]
fn assignments_are_read_and_anything_else_is_refused() {
    let bytes = bytes::Bytes::from_static(b"\0\x01\0\0\0\x01\0\x01t\0\0\0\x02\0\0\0\x05\0\0\0\x03\xff\xff\xff\xff");
    let wanted = [3, 5].map(|index| TopicPartition::new("t", index));
    assert_eq!(decode_assignment(&bytes).unwrap(), BTreeSet::from(wanted));
    assert!(decode_assignment(&bytes::Bytes::new()).unwrap().is_empty());
    assert!(decode_assignment(&bytes.slice(..9)).is_err(), "cut off");
}

fn counts(topics: &[(&str, i32)]) -> Counts {
    topics
        .iter()
        .map(|(topic, count)| (Arc::from(*topic), *count))
        .collect()
}

fn shared(assignor: Assignor, members: &[Claimant], topics: &[(&str, i32)]) -> BTreeMap<String, Vec<String>> {
    let assignments = assign(assignor, members, &counts(topics)).into_iter();
    assignments
        .map(|(id, own)| (id, own.iter().map(ToString::to_string).collect()))
        .collect()
}

#[test]
fn range_shares_out_as_kafka_documents_it() {
    // The example of RangeAssignor's documentation.
    let both = [member("C0", None, &["t0", "t1"]), member("C1", None, &["t0", "t1"])];
    let out = shared(Assignor::Range, &both, &[("t0", 3), ("t1", 3)]);
    assert_eq!(out["C0"], ["t0-0", "t0-1", "t1-0", "t1-1"]);
    assert_eq!(out["C1"], ["t0-2", "t1-2"]);

    let mixed = [
        member("a", None, &["t0"]),
        member("b", Some("z"), &["t0", "t1"]),
        member("c", Some("y"), &["t0"]),
        member("d", None, &[]),
    ];
    let out = shared(Assignor::Range, &mixed, &[("t0", 4), ("t1", 2), ("unwanted", 9)]);
    assert_eq!(out["c"], ["t0-0", "t0-1"], "static members first, by instance id");
    assert_eq!(out["b"], ["t0-2", "t1-0", "t1-1"], "alone on t1");
    assert_eq!(out["a"], ["t0-3"]);
    assert!(out["d"].is_empty());
}

#[test]
fn round_robin_shares_out_as_kafka_documents_it() {
    // The examples of RoundRobinAssignor's documentation.
    let both = [member("C0", None, &["t0", "t1"]), member("C1", None, &["t0", "t1"])];
    let out = shared(Assignor::RoundRobin, &both, &[("t0", 3), ("t1", 3)]);
    assert_eq!(out["C0"], ["t0-0", "t0-2", "t1-1"]);
    assert_eq!(out["C1"], ["t0-1", "t1-0", "t1-2"]);

    let uneven = [
        member("C0", None, &["t0"]),
        member("C1", None, &["t0", "t1"]),
        member("C2", None, &["t0", "t1", "t2"]),
    ];
    let out = shared(
        Assignor::RoundRobin,
        &uneven,
        &[("t0", 1), ("t1", 2), ("t2", 3), ("u", 1)],
    );
    assert_eq!(out["C0"], ["t0-0"]);
    assert_eq!(out["C1"], ["t1-0"]);
    assert_eq!(out["C2"], ["t1-1", "t2-0", "t2-1", "t2-2"]);
}

#[test]
fn sticky_members_keep_what_they_have_and_hand_over_only_what_is_given_up() {
    let topics = [("t", 4)];
    let sticky = |members: &[Claimant]| shared(Assignor::CooperativeSticky, members, &topics);
    let all = ["t-0", "t-1", "t-2", "t-3"];

    let out = sticky(&[claimant("a", None, &["t"], &all, 3), member("b", None, &["t"])]);
    assert_eq!(out["a"], ["t-0", "t-1"], "keeps half");
    assert!(out["b"].is_empty(), "nothing before it is given up");
    let out = sticky(&[
        claimant("a", None, &["t"], &["t-0", "t-1"], 4),
        claimant("b", None, &["t"], &[], 4),
    ]);
    assert_eq!(out["b"], ["t-2", "t-3"], "given up by now");

    let out = sticky(&[
        claimant("a", None, &["t"], &["t-0", "t-1"], 7),
        claimant("b", None, &["t"], &["t-1", "t-2"], 6),
    ]);
    assert_eq!(out["a"], ["t-0", "t-1"], "the younger claim counts");
    assert_eq!(out["b"], ["t-2", "t-3"]);

    let out = sticky(&[
        claimant("a", None, &["t"], &["t-0", "t-1"], 7),
        claimant("b", None, &["t"], &["t-1", "t-2"], 7),
    ]);
    assert!(
        !out.values().flatten().any(|partition| partition == "t-1"),
        "two claims of one generation: both give it up first"
    );

    let out = sticky(&[
        claimant("a", None, &["t"], &["t-0", "t-1", "t-9", "gone-0"], 7),
        claimant("b", None, &[], &["t-3"], 7),
    ]);
    assert_eq!(
        out["a"],
        ["t-0", "t-1", "t-2"],
        "t-3 waits for its owner, who does not want it any more"
    );
}

/// What members have after everybody gave up what he must, and joined again until nothing changed.
fn settled(members: &mut [Claimant], counts: &Counts) -> Result<Assignments, TestCaseError> {
    for generation in 1..5 {
        let out = assign(Assignor::CooperativeSticky, members, counts);
        let mut gave_up = false;
        for member in members.iter_mut() {
            let share = &out[&member.member_id];
            gave_up |= !member.claim.owned.is_subset(share);
            member.claim.owned.clone_from(share);
            member.claim.generation = Some(generation);
        }
        if !gave_up {
            return Ok(out);
        }
    }
    Err(TestCaseError::fail("handing over does not come to an end"))
}

fn topics_and_members() -> impl Strategy<Value = (Vec<i32>, Vec<BTreeSet<u8>>)> {
    (
        prop::collection::vec(0_i32..20, 4),
        prop::collection::vec(prop::collection::btree_set(0_u8..4, 0..4), 1..7),
    )
}

fn made(wants: &[BTreeSet<u8>], partitions: &[i32]) -> (Vec<Claimant>, Counts) {
    let claimant = |(place, wants): (usize, &BTreeSet<u8>)| {
        let topics: Vec<String> = wants.iter().map(|t| format!("t{t}")).collect();
        let instance = (place % 2 == 0).then(|| format!("i{place}"));
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        member(&format!("m{place}"), instance.as_deref(), &topics)
    };
    let counts = partitions.iter().enumerate();
    (
        wants.iter().enumerate().map(claimant).collect(),
        counts.map(|(t, count)| (Arc::from(format!("t{t}")), *count)).collect(),
    )
}

/// Every partition that somebody wants goes to one who wants it.
fn check_complete(out: &Assignments, members: &[Claimant], counts: &Counts) -> Result<(), TestCaseError> {
    let mut given: Vec<&TopicPartition> = out.values().flatten().collect();
    given.sort();
    let mut wanted = Vec::new();
    for (topic, count) in counts {
        if members.iter().any(|member| member.claim.topics.contains(topic)) {
            wanted.extend((0..*count).map(|index| TopicPartition::new(Arc::clone(topic), index)));
        }
    }
    prop_assert_eq!(given, wanted.iter().collect::<Vec<_>>());
    for member in members {
        let share = &out[&member.member_id];
        prop_assert!(share.iter().all(|p| member.claim.topics.contains(&p.topic)));
    }
    Ok(())
}

/// No partition could go to somebody who has two less.
fn check_even(out: &Assignments, members: &[Claimant]) -> Result<(), TestCaseError> {
    for (id, share) in out {
        for partition in share {
            for other in members.iter().filter(|m| m.claim.topics.contains(&partition.topic)) {
                let has = out[&other.member_id].len();
                prop_assert!(has + 2 > share.len(), "{} of {} for {}", partition, id, other.member_id);
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn every_assignor_gives_each_partition_to_one_who_wants_it((partitions, wants) in topics_and_members()) {
        let (mut members, counts) = made(&wants, &partitions);
        let range = assign(Assignor::Range, &members, &counts);
        check_complete(&range, &members, &counts)?;
        for topic in counts.keys() {
            let of_topic = |m: &Claimant| range[&m.member_id].iter().filter(|p| p.topic == *topic).count();
            let takers = members.iter().filter(|m| m.claim.topics.contains(topic));
            let (min, max) = takers.map(of_topic).fold((usize::MAX, 0), |(min, max), n| (min.min(n), max.max(n)));
            prop_assert!(max <= min.saturating_add(1), "runs differ by one at most");
        }
        check_complete(&assign(Assignor::RoundRobin, &members, &counts), &members, &counts)?;
        let sticky = settled(&mut members, &counts)?;
        check_complete(&sticky, &members, &counts)?;
        check_even(&sticky, &members)?;
    }

    #[test]
    fn sticky_moves_nothing_without_need((partitions, wants) in topics_and_members(), leaves in 0_usize..7) {
        let (mut members, counts) = made(&wants, &partitions);
        let before = settled(&mut members, &counts)?;
        prop_assert_eq!(&assign(Assignor::CooperativeSticky, &members, &counts), &before, "nothing happened");

        let left = members.remove(leaves % members.len());
        let is_uniform = members.iter().all(|m| m.claim.topics == left.claim.topics);
        let after = assign(Assignor::CooperativeSticky, &members, &counts);
        for member in members.iter().filter(|_| is_uniform) {
            prop_assert!(
                before[&member.member_id].is_subset(&after[&member.member_id]),
                "only what the member had that left moves"
            );
        }
        let after = settled(&mut members, &counts)?;
        check_complete(&after, &members, &counts)?;
        check_even(&after, &members)?;
    }

    #[test]
    fn a_newcomer_takes_its_share_and_no_more(partitions in 0_i32..60, number in 1_usize..8) {
        let wants = vec![BTreeSet::from([0]); number + 1];
        let (mut members, counts) = made(&wants, &[partitions]);
        let newcomer = members.pop().unwrap();
        let before = settled(&mut members, &counts)?;
        members.push(newcomer);
        let after = settled(&mut members, &counts)?;
        let total = usize::try_from(partitions).unwrap();
        let moved: usize = before.iter().map(|(id, share)| share.difference(&after[id]).count()).sum();
        prop_assert_eq!(moved, after[&format!("m{number}")].len(), "whatever moves goes to the newcomer");
        prop_assert!(moved <= total.div_ceil(number + 1));
        check_even(&after, &members)?;
    }

    #[test]
    fn whatever_is_claimed_nobody_gets_what_another_may_have(
        (partitions, wants) in topics_and_members(),
        claims in prop::collection::vec((0_u8..4, 0_i32..22, 0_usize..7), 0..40),
        generations in prop::collection::vec(-1_i32..3, 7),
    ) {
        let (mut members, counts) = made(&wants, &partitions);
        for (place, member) in members.iter_mut().enumerate() {
            member.claim.generation = Some(generations[place]).filter(|generation| *generation >= 0);
            let own = claims.iter().filter(|claim| claim.2 == place);
            member.claim.owned = own.map(|(t, p, _)| TopicPartition::new(format!("t{t}"), *p)).collect();
        }
        let out = assign(Assignor::CooperativeSticky, &members, &counts);
        for member in &members {
            for partition in &out[&member.member_id] {
                for other in members.iter().filter(|m| m.member_id != member.member_id) {
                    let is_kept = member.claim.owned.contains(partition)
                        && member.claim.generation > other.claim.generation;
                    prop_assert!(is_kept || !other.claim.owned.contains(partition));
                    prop_assert!(!out[&other.member_id].contains(partition));
                }
            }
        }
        let settled = settled(&mut members, &counts)?;
        check_complete(&settled, &members, &counts)?;
        check_even(&settled, &members)?;
    }

    #[test]
    fn what_members_exchange_comes_back(
        topics in prop::collection::btree_set("[a-z]{1,5}", 0..5),
        generation in prop::option::of(0_i32..9),
        rack in prop::option::of("[a-z]{1,3}"),
    ) {
        let topics: BTreeSet<Arc<str>> = topics.into_iter().map(Arc::from).collect();
        let owned: BTreeSet<_> = topics.iter().map(|topic| TopicPartition::new(Arc::clone(topic), 3)).collect();
        prop_assert_eq!(&decode_assignment(&encode_assignment(&owned).unwrap()).unwrap(), &owned);
        let claim = Claim { topics, owned, generation, rack: rack.map(Arc::from) };
        let bytes = encode_subscription(&claim).unwrap();
        prop_assert_eq!(decode_subscription(&bytes).unwrap(), claim.clone());

        // Version 1, as Kafka 2.4 to 3.3 write it: the generation is in the user data.
        let mut old = bytes.to_vec();
        old[1] = 1;
        let rack_bytes = 2 + claim.rack.as_ref().map_or(0, |rack| rack.len());
        old.truncate(old.len() - 4 - rack_bytes);
        prop_assert_eq!(decode_subscription(&old.into()).unwrap(), Claim { rack: None, ..claim });
    }

    #[test]
    fn hostile_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..24)) {
        let bytes = bytes::Bytes::from(bytes);
        drop(decode_subscription(&bytes));
        drop(decode_assignment(&bytes));
    }
}
