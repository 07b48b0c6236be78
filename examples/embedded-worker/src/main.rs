//! An order service that writes to Kafka by itself, and has a Klamm worker inside that hands each order to a function.
//!
//! It needs nothing around it: Kafka and the function are in memory. With `BOOTSTRAP_SERVERS` and `FUNCTION` it uses a real
//! cluster and a real function; region and credentials then come from the environment, as for any AWS client.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "this is what the service says")]

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail};
use klamm::{TargetState, Worker};
use klamm_dev::broker::{Broker, Settings};
use klamm_dev::{Answer, FakeLambda};
use rskafka::chrono::DateTime;
use rskafka::client::ClientBuilder;
use rskafka::client::partition::{Compression, UnknownTopicHandling};
use rskafka::record::Record;
use tokio::time::{Instant, sleep};

const TOPIC: &str = "orders";
const CONNECTOR: &str = "orders";
const ORDERS: i64 = 20;
/// All of it takes a second or two.
const PATIENCE: Duration = Duration::from_secs(60);

/// What stands in for the cluster and for AWS; it ends when it is dropped.
struct Local {
    broker: Broker,
    lambda: FakeLambda,
}

impl Local {
    async fn start() -> anyhow::Result<Self> {
        let broker = Broker::start(Settings::default()).await?;
        broker.create_topic(TOPIC, 1)?;
        let lambda = FakeLambda::start().await?;
        lambda.function("order-fn").respond_with(|call| {
            println!("order-fn was called with {} bytes", call.body.len());
            Answer::success("null")
        });
        Ok(Self { broker, lambda })
    }
}

/// The service's own work: writes orders, and returns the offset after the last one.
#[expect(clippy::disallowed_methods, reason = "a producer says when it writes")]
async fn take_orders(bootstrap: &str) -> anyhow::Result<i64> {
    let brokers = bootstrap.split(',').map(str::to_owned).collect();
    let kafka = ClientBuilder::new(brokers).build().await?;
    let partition = kafka.partition_client(TOPIC, 0, UnknownTopicHandling::Retry).await?;
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let now = DateTime::from_timestamp_millis(i64::try_from(since.as_millis())?).context("the clock is far off")?;
    let order = |id: i64| Record {
        key: Some(format!("customer-{}", id % 3).into_bytes()),
        value: Some(format!(r#"{{"id":{id},"total":{}}}"#, 10 + id).into_bytes()),
        headers: BTreeMap::new(),
        timestamp: now,
    };
    let offsets = partition
        .produce((0..ORDERS).map(order).collect(), Compression::NoCompression)
        .await?;
    let last = offsets.last().context("the broker gives no offset")?;
    Ok(last + 1)
}

/// Waits until the worker is done with everything before `end`.
async fn delivered(worker: &Worker, end: i64) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        // The herder is the REST API without HTTP: what it tells here, `?extensions=true` tells there.
        // In its first moments a connector has no status yet.
        let seen = worker.herder().observe(CONNECTOR).await.ok();
        let tasks = seen.iter().flat_map(|seen| seen.tasks.values());
        let tasks = tasks.filter_map(|task| task.snapshot.as_ref());
        let mut partitions = tasks.flat_map(|task| &task.partitions);
        if partitions.any(|partition| partition.done >= end) {
            return Ok(());
        }
        if Instant::now() > until {
            bail!("the orders are not delivered: {:?}", worker.herder().status(CONNECTOR)?);
        }
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let given = std::env::var("BOOTSTRAP_SERVERS").ok();
    let local = if given.is_none() {
        Some(Local::start().await?)
    } else {
        None
    };
    let bootstrap = match (&local, given) {
        (Some(local), _) => local.broker.bootstrap(),
        (None, Some(given)) => given,
        (None, None) => bail!("no cluster"),
    };
    let function = std::env::var("FUNCTION").unwrap_or_else(|_| "order-fn".to_owned());
    let mut connector = vec![
        ("connector.class", "AwsLambdaSink".to_owned()),
        ("topics", TOPIC.to_owned()),
        ("aws.lambda.function.name", function),
        (
            "key.converter",
            "org.apache.kafka.connect.storage.StringConverter".to_owned(),
        ),
    ];
    if let Some(local) = &local {
        connector.extend([
            ("aws.lambda.endpoint", local.lambda.endpoint()),
            ("aws.lambda.region", "eu-central-1".to_owned()),
            ("aws.access.key.id", "local".to_owned()),
            ("aws.secret.access.key", "local".to_owned()),
        ]);
    }

    // The service brings its connectors along at each start, so the worker keeps no files.
    let worker = Worker::builder()
        .in_memory()
        .property("bootstrap.servers", &bootstrap)
        .connector(CONNECTOR, connector)
        .start()
        .await?;

    let end = take_orders(&bootstrap).await?;
    println!("took {ORDERS} orders");
    delivered(&worker, end).await?;
    println!("all orders before offset {end} are delivered and will be committed");

    // Anything that the REST API can do: the service pauses deliveries, say for a maintenance window.
    worker.herder().set_target_state(CONNECTOR, TargetState::Paused).await?;
    let state = || anyhow::Ok(worker.herder().status(CONNECTOR)?.connector.state.name());
    let until = Instant::now() + PATIENCE;
    while state()? != "PAUSED" && Instant::now() < until {
        sleep(Duration::from_millis(20)).await;
    }
    println!("connector is {}", state()?);

    // What is in flight is finished and committed.
    worker.shutdown().await;
    if let Some(local) = local {
        local.lambda.shutdown().await;
        local.broker.stop().await?;
    }
    Ok(())
}
