//! Calls in flight: how well slow functions are kept busy, what that takes in memory, and how long a record takes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use klamm_dev::Answer;
use klamm_tests::produce::{CODECS, Producer};
use klamm_tests::worker::Worker;
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{Bench, mib};

/// Between two looks at the calls in flight.
const LOOK: Duration = Duration::from_millis(5);

impl Bench {
    fn with(&self, name: &str, topic: &str, function: &str, settings: &[(&str, &str)]) -> Value {
        let mut connector = self.connector(name, topic, 1, "sync");
        connector["aws.lambda.function.name"] = function.into();
        for (key, value) in settings {
            connector[*key] = (*value).into();
        }
        connector
    }

    /// Functions of 20 ms: the calls in flight, as the functions see them, against the limit. By Little's law that is
    /// the throughput against the ideal one, limit ÷ latency.
    pub(crate) async fn busy(&self) -> anyhow::Result<()> {
        let function = "busy-fn";
        let answer = |_: &klamm_dev::Invocation| Answer::success("null").after(Duration::from_millis(20));
        self.lambda.function(function).respond_with(answer);
        for (limit, latency_ms, calls) in [(64_u64, 20, 20_000_u64), (512, 20, 40_000)] {
            let worker = Worker::builder(self.kafka.bootstrap()).start().await?;
            let name = format!("busy-{limit}");
            let of = |log: &klamm_dev::Log| log.counts(function);
            let from = self.lambda.with_log(of).accepted;
            let limit_text = limit.to_string();
            let settings = [
                ("delivery.ordering", "none"),
                ("delivery.max.in.flight", limit_text.as_str()),
            ];
            let connector = self.with(&name, "small", function, &settings);
            worker
                .rest()
                .put(&format!("/connectors/{name}/config"), &connector)
                .await?
                .expect(201)?;
            // The first calls make connections.
            self.lambda
                .wait_for("the first calls", |log| of(log).accepted >= from + 2_000)
                .await?;
            let (mut looks, mut sum, mut resident) = (0_u64, 0_u64, 0);
            let mut ticks = interval(LOOK);
            let (began, start) = (Instant::now(), self.lambda.with_log(of).accepted);
            let until = from + calls - limit * 2;
            while self.lambda.with_log(of).accepted < until {
                ticks.tick().await;
                sum += self.lambda.with_log(of).in_flight;
                looks += 1;
                resident = worker.resident_bytes()?.max(resident);
                ensure!(began.elapsed() < Duration::from_secs(120), "the calls take too long");
            }
            let done = self.lambda.with_log(of).accepted - start;
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            let (share, rate) = (
                100.0 * sum as f64 / looks as f64 / limit as f64,
                done as f64 / began.elapsed().as_secs_f64(),
            );
            println!(
                "| {limit} in flight, functions of {latency_ms} ms: kept busy | {share:.1} % of the limit | {rate:.0} calls/s | {} |",
                if limit == 64 { "95 %" } else { "" }
            );
            println!(
                "| {limit} in flight: resident | {:.1} MiB | | {} |",
                mib(resident),
                if limit == 512 { "100 MiB" } else { "" }
            );
            worker
                .rest()
                .delete(&format!("/connectors/{name}"))
                .await?
                .expect(204)?;
            worker.terminate().await?;
        }
        Ok(())
    }

    /// 500 records a second, each in a call of its own: from before it is produced to its call.
    pub(crate) async fn latency(&self, producer: &Producer) -> anyhow::Result<()> {
        const RECORDS: usize = 5_000;
        let function = "latency-fn";
        let clock = Instant::now();
        let latencies = Arc::new(Mutex::new(Vec::with_capacity(RECORDS)));
        let seen = Arc::clone(&latencies);
        self.lambda.function(function).respond_with(move |call| {
            let records: Value = serde_json::from_slice(&call.body).unwrap_or_default();
            let sent = records[0]["payload"]["value"]["sent_us"].as_u64().unwrap_or_default();
            let latency = clock.elapsed().saturating_sub(Duration::from_micros(sent));
            seen.lock().unwrap_or_else(PoisonError::into_inner).push(latency);
            Answer::success("null")
        });
        producer.create_topic("latency", 1).await?;
        let worker = Worker::builder(self.kafka.bootstrap()).start().await?;
        let connector = self.with("latency", "latency", function, &[]);
        worker
            .rest()
            .put("/connectors/latency/config", &connector)
            .await?
            .expect(201)?;
        let mut ticks = interval(Duration::from_millis(2));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for _ in 0..RECORDS {
            ticks.tick().await;
            let sent = clock.elapsed().as_micros();
            let value = json!({ "sent_us": u64::try_from(sent)? }).to_string().into_bytes();
            producer
                .produce("latency", 0, vec![(None, Some(value))], CODECS[0])
                .await?;
        }
        self.lambda
            .wait_for("every record", |log| log.counts(function).accepted >= RECORDS as u64)
            .await?;
        worker.terminate().await?;
        let mut latencies = latencies.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // The first ones find no connection.
        let mut latencies = latencies.split_off(RECORDS / 10);
        latencies.sort();
        let at = |percent: usize| latencies.get(latencies.len() * percent / 100).copied();
        let (p50, p99) = (at(50).context("no calls")?, at(99).context("no calls")?);
        println!(
            "| produce to invoke, 500 records/s, linger 0: p50 | {:.2} ms | | 2 ms |",
            p50.as_secs_f64() * 1e3
        );
        println!(
            "| produce to invoke, 500 records/s, linger 0: p99 | {:.2} ms | | 10 ms |",
            p99.as_secs_f64() * 1e3
        );
        Ok(())
    }

    /// 400 MB wait in Kafka, and the functions never answer.
    pub(crate) async fn stalled(&self) -> anyhow::Result<()> {
        let function = "stalled-fn";
        let gate = klamm_dev::Gate::new();
        let held = gate.clone();
        self.lambda
            .function(function)
            .respond_with(move |_| Answer::success("null").held_by(&held));
        let worker = Worker::builder(self.kafka.bootstrap()).start().await?;
        let settings = [
            ("aws.lambda.socket.timeout", "900000"),
            ("aws.lambda.batch.size", "100"),
            ("delivery.ordering", "none"),
        ];
        let connector = self.with("stalled", "large", function, &settings);
        worker
            .rest()
            .put("/connectors/stalled/config", &connector)
            .await?
            .expect(201)?;
        self.lambda
            .wait_for("all calls to be out", |log| log.counts(function).in_flight >= 64)
            .await?;
        let mut resident = 0;
        let mut ticks = interval(Duration::from_millis(100));
        for _ in 0..150 {
            ticks.tick().await;
            resident = worker.resident_bytes()?.max(resident);
        }
        println!(
            "| backlog of 400 MB, stalled functions: resident, most of 15 s | {:.1} MiB | | |",
            mib(resident)
        );
        gate.open();
        worker.kill().await?;
        Ok(())
    }
}
