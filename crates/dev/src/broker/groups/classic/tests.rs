//! Members are driven by hand, and so is the clock.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A group, its clock, and one member's view after the other.
struct Bench {
    group: ClassicGroup,
    now: Instant,
    next_id: u32,
}

type JoinReply = oneshot::Receiver<JoinAnswer>;
type SyncReply = oneshot::Receiver<SyncAnswer>;

impl Bench {
    fn new() -> Self {
        Self {
            group: ClassicGroup::default(),
            now: Instant::now(),
            next_id: 0,
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.group.advance(self.now);
    }

    fn request(&mut self, id: &str, instance: Option<&str>) -> Join {
        self.next_id += 1;
        Join {
            client: Client::default(),
            member_id: id.to_owned(),
            instance_id: instance.map(str::to_owned),
            session_timeout: 10 * SECOND,
            rebalance_timeout: 30 * SECOND,
            protocol_type: "consumer".to_owned(),
            protocols: vec![("range".to_owned(), Bytes::from_static(b"wants"))],
            takes_id_first: false,
            takes_skipped_assignment: false,
            new_member_id: format!("m{}", self.next_id),
        }
    }

    fn join_as(&mut self, join: Join) -> JoinReply {
        let (reply, answer) = oneshot::channel();
        self.group.join(join, Duration::ZERO, self.now, reply);
        answer
    }

    fn join(&mut self, id: &str) -> JoinReply {
        let join = self.request(id, None);
        self.join_as(join)
    }

    fn sync(&mut self, id: &str, generation: i32, assignments: &[(&str, &'static str)]) -> SyncReply {
        let (reply, answer) = oneshot::channel();
        let assignments = assignments.iter();
        let sync = Sync {
            member_id: id.to_owned(),
            instance_id: None,
            generation,
            protocol_type: Some("consumer".to_owned()),
            protocol: Some("range".to_owned()),
            assignments: assignments
                .map(|(id, assignment)| ((*id).to_owned(), Bytes::from_static(assignment.as_bytes())))
                .collect(),
        };
        self.group.sync(sync, self.now, reply);
        answer
    }

    fn heartbeat(&mut self, id: &str, generation: i32) -> Result<(), ResponseError> {
        self.group.heartbeat(named(id), generation, self.now)
    }

    /// Two members in a stable group of generation 2; `m1` leads.
    fn stable_pair() -> Self {
        let mut bench = Self::new();
        let first = joined(&mut bench.join(""));
        assert_eq!((first.member_id.as_str(), first.generation), ("m1", 1));
        let mut second = bench.join("");
        assert_eq!(bench.heartbeat("m1", 1), Err(ResponseError::RebalanceInProgress));
        let first = joined(&mut bench.join("m1"));
        assert_eq!((first.generation, first.members.len()), (2, 2));
        assert_eq!(joined(&mut second).members.len(), 0, "only the leader is told");
        let mut follower = bench.sync("m2", 2, &[]);
        assert!(follower.try_recv().is_err(), "nobody has assigned yet");
        let mut leader = bench.sync("m1", 2, &[("m1", "one"), ("m2", "two")]);
        assert_eq!(leader.try_recv().unwrap().unwrap().assignment, "one");
        assert_eq!(follower.try_recv().unwrap().unwrap().assignment, "two");
        assert_eq!(bench.group.phase(), Phase::Stable);
        bench
    }
}

fn named(member_id: &str) -> Identity<'_> {
    Identity {
        member_id,
        instance_id: None,
    }
}

fn joined(reply: &mut JoinReply) -> Joined {
    reply
        .try_recv()
        .expect("the answer is there")
        .expect("it is a good one")
}

fn refused(reply: &mut JoinReply) -> NotJoined {
    reply.try_recv().expect("the answer is there").unwrap_err()
}

#[test]
fn two_members_share_what_their_leader_assigns() {
    let mut bench = Bench::stable_pair();
    let cases = [
        ("m1", 2, Ok(())),
        ("m2", 1, Err(ResponseError::IllegalGeneration)),
        ("m9", 2, Err(ResponseError::UnknownMemberId)),
    ];
    for (id, generation, wanted) in cases {
        assert_eq!(bench.heartbeat(id, generation), wanted, "{id} in {generation}");
    }
    assert_eq!(
        joined(&mut bench.join("m2")).generation,
        2,
        "nothing new: nothing happens"
    );
    let mut leader = bench.join("m1");
    assert!(leader.try_recv().is_err(), "a leader that joins wants to assign anew");
    assert_eq!(bench.heartbeat("m2", 2), Err(ResponseError::RebalanceInProgress));
}

#[test]
fn a_member_gets_its_id_before_it_joins_and_is_waited_for() {
    let mut bench = Bench::new();
    let mut ask = bench.request("", None);
    ask.takes_id_first = true;
    let told = refused(&mut bench.join_as(ask));
    assert_eq!(
        (told.error, told.member_id.as_str()),
        (ResponseError::MemberIdRequired, "m1")
    );
    let mut other = bench.join("");
    assert!(other.try_recv().is_err(), "m1 has still to come");
    let mut first = bench.join("m1");
    assert_eq!(joined(&mut first).generation, joined(&mut other).generation);
    let unknown = refused(&mut bench.join("made up"));
    assert_eq!(unknown.error, ResponseError::UnknownMemberId);
}

#[test]
fn an_id_that_does_not_come_back_holds_nobody_up_for_longer_than_a_session() {
    let mut bench = Bench::new();
    let mut ask = bench.request("", None);
    ask.takes_id_first = true;
    bench.join_as(ask);
    let mut other = bench.join("");
    let due = bench.group.next_deadline().unwrap();
    assert_eq!(due, bench.now + 10 * SECOND);
    bench.pass(10 * SECOND);
    assert_eq!(joined(&mut other).generation, 1);
}

#[test]
fn who_is_silent_is_out_and_the_rest_shares_anew() {
    let mut bench = Bench::stable_pair();
    bench.pass(6 * SECOND);
    bench.heartbeat("m1", 2).unwrap();
    bench.pass(4 * SECOND);
    assert_eq!(bench.heartbeat("m1", 2), Err(ResponseError::RebalanceInProgress));
    assert_eq!(bench.heartbeat("m2", 2), Err(ResponseError::UnknownMemberId));
    let alone = joined(&mut bench.join("m1"));
    assert_eq!((alone.generation, alone.members.len()), (3, 1));
}

#[test]
fn who_does_not_join_again_in_time_is_out() {
    let mut bench = Bench::stable_pair();
    let mut third = bench.join("");
    for _ in 0..5 {
        bench.pass(6 * SECOND);
        bench.heartbeat("m1", 2).ok();
        bench.heartbeat("m2", 2).ok();
    }
    let joined = joined(&mut third);
    assert_eq!((joined.generation, joined.members.len()), (3, 1));
    assert_eq!(joined.leader, joined.member_id);
    assert_eq!(bench.heartbeat("m1", 2), Err(ResponseError::UnknownMemberId));
}

#[test]
fn a_leader_that_never_assigns_is_replaced() {
    let mut bench = Bench::stable_pair();
    let mut again = bench.join("m1");
    let mut follower = bench.join("m2");
    assert_eq!(
        (joined(&mut again).generation, joined(&mut follower).generation),
        (3, 3)
    );
    let mut waiting = bench.sync("m2", 3, &[]);
    for _ in 0..3 {
        bench.pass(9 * SECOND);
        bench.heartbeat("m1", 3).unwrap();
    }
    bench.pass(3 * SECOND);
    assert_eq!(waiting.try_recv().unwrap(), Err(ResponseError::RebalanceInProgress));
    let next = joined(&mut bench.join("m2"));
    assert_eq!((next.leader.as_str(), next.members.len()), ("m2", 1));
}

#[test]
fn a_member_that_leaves_is_not_waited_for() {
    let mut bench = Bench::stable_pair();
    bench.group.leave(named("m2"), bench.now).unwrap();
    assert_eq!(
        bench.group.leave(named("m2"), bench.now),
        Err(ResponseError::UnknownMemberId)
    );
    assert_eq!(joined(&mut bench.join("m1")).members.len(), 1);
    bench.group.leave(named("m1"), bench.now).unwrap();
    assert_eq!(bench.group.phase(), Phase::Empty);
    assert!(!bench.group.has_members());
    assert_eq!(bench.group.next_deadline(), None);
}

#[test]
fn a_static_member_comes_back_unnoticed_and_fences_its_former_self() {
    let mut bench = Bench::new();
    let ask = bench.request("", Some("i"));
    let first = joined(&mut bench.join_as(ask));
    bench.sync(&first.member_id, 1, &[(&first.member_id, "all")]);
    let mut ask = bench.request("", Some("i"));
    ask.takes_skipped_assignment = true;
    let back = joined(&mut bench.join_as(ask));
    assert_eq!((back.generation, back.skips_assignment), (1, true));
    assert_ne!(back.member_id, first.member_id);
    let mut synced = bench.sync(&back.member_id, 1, &[]);
    assert_eq!(synced.try_recv().unwrap().unwrap().assignment, "all");
    let former = Identity {
        member_id: &first.member_id,
        instance_id: Some("i"),
    };
    let heard = bench.group.heartbeat(former, 1, bench.now);
    assert_eq!(heard, Err(ResponseError::FencedInstanceId));
    // By another protocol everybody has to share anew.
    let mut ask = bench.request("", Some("i"));
    ask.protocols = vec![("sticky".to_owned(), Bytes::new())];
    assert_eq!(joined(&mut bench.join_as(ask)).generation, 2);
}

#[test]
fn members_agree_on_what_all_of_them_have() {
    let mut bench = Bench::new();
    let offer = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), Bytes::new())).collect();
    let mut ask = bench.request("", None);
    ask.protocols = offer(&["sticky", "range"]);
    let first = joined(&mut bench.join_as(ask));
    assert_eq!(first.protocol, "sticky");
    let mut stranger = bench.request("", None);
    stranger.protocols = offer(&["roundrobin"]);
    assert_eq!(
        refused(&mut bench.join_as(stranger)).error,
        ResponseError::InconsistentGroupProtocol
    );
    let mut second = bench.request("", None);
    second.protocols = offer(&["range"]);
    let mut second = bench.join_as(second);
    let mut again = bench.request(&first.member_id, None);
    again.protocols = offer(&["sticky", "range"]);
    bench.join_as(again);
    assert_eq!(joined(&mut second).protocol, "range");
}

#[test]
fn commits_belong_to_a_generation() {
    let mut bench = Bench::stable_pair();
    let now = bench.now;
    let nobody = named("");
    let cases = [
        (named("m1"), 2, Ok(())),
        (named("m1"), 1, Err(ResponseError::IllegalGeneration)),
        (named("m3"), 2, Err(ResponseError::UnknownMemberId)),
        (nobody, -1, Err(ResponseError::UnknownMemberId)),
    ];
    for (by, generation, wanted) in cases {
        assert_eq!(
            bench.group.check_commit(by, generation, now),
            wanted,
            "{by:?} in {generation}"
        );
    }
    bench.join("");
    assert_eq!(
        bench.group.check_commit(named("m1"), 2, now),
        Ok(()),
        "before it joins again"
    );
    assert_eq!(ClassicGroup::default().check_commit(nobody, -1, now), Ok(()));
}
