//! Many groups in one process.

use std::collections::HashSet;
use std::fs;

use klamm_kafka::{MemberPhase, Subscription};

use crate::support::follower::Follower;
use crate::support::{broker, client, raw, unique};

const GROUPS: usize = 200;

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
    for member in &mut members {
        member.until_holds(1).await;
    }
    // Other tests of this binary have some, too: with one for each group it would be more than that.
    let open = connections();
    assert!(open < GROUPS / 2, "{open} connections for {GROUPS} groups");
    assert!(members.iter().all(|member| member.state.phase == MemberPhase::Stable));
    client.shutdown().await;
}
