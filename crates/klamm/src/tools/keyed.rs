//! Every record of a compacted topic, by its key.

use std::sync::Arc;

use klamm_kafka::IsolationLevel;
use tokio::runtime::Handle;

use super::cluster::ClusterArgs;
use super::from::From;
use super::reading::{Reading, Selection};

/// Keys that are text, and values; null is a deletion.
pub(crate) type Keyed = Vec<(String, Option<Vec<u8>>)>;

/// Reads the topic to its end, in the order of each partition, without what transactions gave up.
///
/// # Errors
/// The settings, no answer, no such topic, damaged records.
pub(crate) async fn keyed_records(args: &ClusterArgs, topic: &str) -> anyhow::Result<Keyed> {
    let cluster = Arc::new(args.connect(Handle::current())?);
    let selection = Selection {
        topic,
        partitions: &[],
        from: From::Earliest,
        isolation: Some(IsolationLevel::ReadCommitted),
        follow: false,
    };
    let mut records = Keyed::new();
    let reading = Reading::begin(&cluster, &selection).await?;
    let keep = async |_: &mut std::io::Sink, _: &_, record: &klamm_kafka::ConsumedRecord| {
        // A key that is no text belongs to something else.
        let key = record.key.as_ref().and_then(|key| std::str::from_utf8(key).ok());
        if let Some(key) = key {
            records.push((key.to_owned(), record.value.as_ref().map(|value| value.to_vec())));
        }
        Ok(())
    };
    let outcome = reading.each(None, &mut std::io::sink(), keep).await;
    tokio::time::timeout(super::GOODBYE, cluster.client().shutdown())
        .await
        .ok();
    outcome?;
    Ok(records)
}
