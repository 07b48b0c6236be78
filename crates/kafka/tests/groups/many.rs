//! Many groups in one process.

use std::collections::HashSet;
use std::fs;

use klamm_kafka::{MemberPhase, Subscription};

use crate::support::follower::Follower;
use crate::support::{broker, client, raw, unique};

const GROUPS: usize = 300;

/// Open connections of this process to the broker.
fn connections() -> usize {
    let port: u16 = broker().bootstrap.rsplit(':').next().unwrap().parse().unwrap();
    let remote = format!(":{port:04X}");
    let own: HashSet<String> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|fd| fs::read_link(fd.ok()?.path()).ok()?.into_os_string().into_string().ok())
        .collect();
    let table = fs::read_to_string("/proc/self/net/tcp").unwrap();
    let rows = table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row[2].ends_with(&remote) && row[3] == "01" && own.contains(&format!("socket:[{}]", row[9])))
        .count()
}

#[tokio::test]
async fn many_groups_share_a_handful_of_connections() {
    crate::fast_broker();
    let topic = unique("many");
    raw::create_topic(&topic, 1, &[]);
    let client = client();
    let stem = unique("many-groups");
    let mut members: Vec<Follower> = (0..GROUPS)
        .map(|place| {
            Follower::join(
                &client,
                &format!("{stem}-{place}"),
                Subscription::topics([topic.as_str()]),
            )
        })
        .collect();
    let mut most = 0;
    for member in &mut members {
        member.until_holds(1).await;
        most = most.max(connections());
    }
    // Other tests of this binary have some, too: with one for each group it would be more than that.
    let open = connections();
    assert!(open < GROUPS / 4, "{open} connections for {GROUPS} groups");
    assert!(
        most < GROUPS / 2,
        "{most} connections while {GROUPS} groups join at once"
    );
    assert!(members.iter().all(|member| member.state.phase == MemberPhase::Stable));
    client.shutdown().await;
}

#[tokio::test]
async fn members_of_one_group_that_are_more_than_may_wait_at_once_all_get_in() {
    const MEMBERS: usize = 100;
    crate::fast_broker();
    let topic = unique("crowd");
    raw::create_topic(&topic, i32::try_from(MEMBERS).unwrap(), &[]);
    let client = client();
    let group = unique("crowded");
    let mut members: Vec<Follower> = (0..MEMBERS)
        .map(|_| Follower::join(&client, &group, Subscription::topics([topic.as_str()])))
        .collect();
    // The broker answers nobody before everybody is in: a bound without a way out would last for the rebalance time-out.
    let all = members.iter_mut().map(|member| member.until_holds(1));
    futures_util::future::join_all(all).await;
    client.shutdown().await;
}
