//! The control plane with many connectors: `bench control`.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use klamm_tests::wait;
use klamm_tests::worker::Worker;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Bench, PATIENCE, RUNS, mib};

const CONNECTORS: usize = 1_000;
const READS: usize = 101;

impl Bench {
    /// A thousand connectors on one topic: how long creating, listing, and a restart of the worker take; and how soon a
    /// new connector delivers.
    pub(super) async fn control(&self, topic: &str) -> anyhow::Result<()> {
        let worker = Worker::builder(self.kafka.bootstrap()).start().await?;
        let mut first = Vec::new();
        for run in 0..RUNS {
            let (from, clock) = (self.delivered.total(), Instant::now());
            self.create(&worker, &format!("first-{run}"), topic).await?;
            self.delivered.reaches(from, 1).await?;
            first.push(clock.elapsed());
        }
        row("create to first record in a function", &mut first, "500 ms");

        let clock = Instant::now();
        for number in RUNS..CONNECTORS {
            self.create(&worker, &format!("many-{number}"), topic).await?;
        }
        println!(
            "| {CONNECTORS} connectors created | {} ms | | 30000 ms |",
            clock.elapsed().as_millis()
        );
        until_all_run(&worker, 0).await?;

        for (path, goal) in [("/connectors", "5 ms"), ("/connectors?expand=status", "")] {
            let mut runs = Vec::new();
            for _ in 0..READS {
                let clock = Instant::now();
                let listed = worker.rest().get(path).await?.expect(200)?;
                runs.push(clock.elapsed());
                ensure!(length(&listed) == CONNECTORS, "not every connector is listed");
            }
            runs.sort();
            let (median, worst) = (runs[READS / 2], runs[READS - 1]);
            println!(
                "| GET {path} with {CONNECTORS} connectors | {:.2} ms | worst of {READS}: {:.2} ms | {goal} |",
                median.as_secs_f64() * 1e3,
                worst.as_secs_f64() * 1e3
            );
        }
        println!(
            "| {CONNECTORS} connectors: resident | {:.1} MiB | | |",
            mib(worker.resident_bytes()?)
        );

        let settings = worker.terminate().await?;
        let before = given(&settings.log());
        let clock = Instant::now();
        let worker = settings.start().await?;
        until_all_run(&worker, before).await?;
        println!(
            "| restart with {CONNECTORS} connectors, all RUNNING with their partitions | {} ms | | 20000 ms |",
            clock.elapsed().as_millis()
        );
        worker.kill().await?;
        Ok(())
    }

    async fn create(&self, worker: &Worker, name: &str, topic: &str) -> anyhow::Result<()> {
        let body = json!({"name": name, "config": self.connector(name, topic, 1, "sync")});
        worker.rest().post("/connectors", &body).await?.expect(201)?;
        Ok(())
    }
}

/// How often a partition was given to a connector.
fn given(log: &str) -> usize {
    log.matches("partition assigned").count()
}

/// Waits until every connector and task shows RUNNING, and every one has been given a partition since `before`.
async fn until_all_run(worker: &Worker, before: usize) -> anyhow::Result<()> {
    wait::until("every connector to run", PATIENCE, || async {
        let listed = worker.rest().get("/connectors?expand=status").await.ok()?.json();
        let is_running = |instance: &Value| instance["state"] == "RUNNING" && instance.get("trace").is_none();
        let is_up = |connector: &Value| {
            let status = &connector["status"];
            is_running(&status["connector"]) && is_running(&status["tasks"][0])
        };
        let up = listed
            .as_object()?
            .values()
            .filter(|connector| is_up(connector))
            .count();
        (up == CONNECTORS && given(&worker.log()) >= before + CONNECTORS).then_some(())
    })
    .await
    .context("the connectors do not run")
}

fn length(list: &Value) -> usize {
    let array = list.as_array().map(Vec::len);
    array
        .or_else(|| list.as_object().map(serde_json::Map::len))
        .unwrap_or_default()
}

fn row(what: &str, runs: &mut [Duration], goal: &str) {
    runs.sort();
    let shown: Vec<String> = runs.iter().map(|run| run.as_millis().to_string()).collect();
    println!(
        "| {what} | {} ms | {} | {goal} |",
        shown[runs.len() / 2],
        shown.join(", ")
    );
}
