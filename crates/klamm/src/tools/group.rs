//! `klamm group list|describe`.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;

use anyhow::anyhow;
use clap::Args;
use klamm_kafka::{GroupDescription, GroupType, MemberDescription, PartitionLag, ResponseError, TopicPartition};
use serde_json::{Value, json};

use super::cluster::{Cluster, ClusterArgs};
use super::output;

/// What to list.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(super) cluster: ClusterArgs,
    /// One JSON object a group, with its state and type
    #[arg(long)]
    json: bool,
}

/// Prints the groups.
///
/// # Errors
/// No answer, or standard output.
pub(crate) async fn list(cluster: &Cluster, args: &ListArgs) -> anyhow::Result<()> {
    let groups = cluster
        .first(async { cluster.told(cluster.client().list_groups().await) })
        .await?;
    let mut out = output::stdout();
    for group in &groups {
        if args.json {
            let group = json!({
                "group": &*group.group_id,
                "protocolType": &*group.protocol_type,
                "state": group.state.as_deref(),
                "type": group.group_type.as_ref().map(ToString::to_string),
            });
            writeln!(out, "{group}")?;
        } else {
            writeln!(out, "{}", group.group_id)?;
        }
    }
    out.flush()?;
    Ok(())
}

/// What to describe.
#[derive(Debug, Args)]
pub(crate) struct DescribeArgs {
    /// The group
    group: String,
    #[command(flatten)]
    pub(super) cluster: ClusterArgs,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Prints the group's members, and how far it is in each partition that it has committed or that a member has.
///
/// # Errors
/// No answer, no such group, or standard output.
pub(crate) async fn describe(cluster: &Cluster, args: &DescribeArgs) -> anyhow::Result<()> {
    let name: Arc<str> = args.group.as_str().into();
    let (group, partitions) = cluster.first(ask(cluster, name)).await?;
    let owners = owners(&group);
    let mut out = output::stdout();
    if args.json {
        writeln!(out, "{}", in_json(&group, &partitions, &owners))?;
    } else {
        in_text(&group, &partitions, &owners, &mut out)?;
    }
    out.flush()?;
    Ok(())
}

async fn ask(cluster: &Cluster, name: Arc<str>) -> anyhow::Result<(GroupDescription, Vec<PartitionLag>)> {
    let described = cluster.client().describe_groups(std::slice::from_ref(&name)).await;
    let mut described = cluster.told(described)?;
    let (_, group) = described.pop().ok_or_else(|| anyhow!("group `{name}` has no answer"))?;
    let group = match group {
        Err(error) if error.code() == Some(ResponseError::GroupIdNotFound) => {
            return Err(anyhow!("group `{name}` does not exist"));
        }
        group => cluster.told(group)?,
    };
    let partitions = if group.group_type == GroupType::Share {
        // Share groups acknowledge records, they commit no offsets.
        Vec::new()
    } else {
        cluster.told(cluster.client().group_lag(&name).await)?
    };
    Ok((group, partitions))
}

/// Who has which partition.
fn owners(group: &GroupDescription) -> Owners<'_> {
    let mut owners = HashMap::new();
    for member in &group.members {
        owners.extend(member.assignment.iter().flatten().map(|partition| (partition, member)));
    }
    owners
}

type Owners<'a> = HashMap<&'a TopicPartition, &'a MemberDescription>;

fn in_json(group: &GroupDescription, partitions: &[PartitionLag], owners: &Owners<'_>) -> Value {
    let at = |partition: &TopicPartition| json!({ "topic": &*partition.topic, "partition": partition.partition });
    let member = |member: &MemberDescription| {
        let assignment = member.assignment.as_ref();
        json!({
            "memberId": &*member.member_id,
            "instanceId": member.instance_id.as_deref(),
            "clientId": &*member.client_id,
            "host": &*member.host,
            "assignment": assignment.map(|partitions| partitions.iter().map(at).collect::<Vec<_>>()),
        })
    };
    let partition = |lag: &PartitionLag| {
        let owner = owners.get(&TopicPartition::new(Arc::clone(&lag.topic), lag.partition));
        json!({
            "topic": &*lag.topic,
            "partition": lag.partition,
            "committed": lag.committed,
            "end": lag.log_end,
            "lag": lag.lag,
            "memberId": owner.map(|member| &*member.member_id),
        })
    };
    json!({
        "group": &*group.group_id,
        "type": group.group_type.to_string(),
        "protocolType": &*group.protocol_type,
        "state": &*group.state,
        "assignor": group.assignor.as_deref(),
        "coordinator": &*group.coordinator,
        "members": group.members.iter().map(member).collect::<Vec<_>>(),
        "partitions": partitions.iter().map(partition).collect::<Vec<_>>(),
    })
}

/// A line for the group, one for each member, one for each partition; what is not there is `-`.
fn in_text(
    group: &GroupDescription,
    partitions: &[PartitionLag],
    owners: &Owners<'_>,
    out: &mut impl Write,
) -> io::Result<()> {
    let assignor = group.assignor.as_deref().unwrap_or("-");
    writeln!(
        out,
        "group {} type {} state {} assignor {assignor} coordinator {}",
        group.group_id, group.group_type, group.state, group.coordinator
    )?;
    for member in &group.members {
        let instance = member.instance_id.as_deref().unwrap_or("-");
        let count = member.assignment.as_ref().map_or(0, Vec::len);
        writeln!(
            out,
            "member {} instance {instance} client {} host {} partitions {count}",
            member.member_id, member.client_id, member.host
        )?;
    }
    let number = |number: Option<i64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    for lag in partitions {
        let at = TopicPartition::new(Arc::clone(&lag.topic), lag.partition);
        writeln!(
            out,
            "partition {at} committed {} end {} lag {} member {}",
            number(lag.committed),
            number(lag.log_end),
            number(lag.lag),
            owners.get(&at).map_or("-", |member| &*member.member_id)
        )?;
    }
    Ok(())
}
