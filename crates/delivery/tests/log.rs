//! What the engine writes to the log of a lasting or a returning outage, of a failure, and of records it skips.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "test code")]
#![allow(clippy::cast_sign_loss, reason = "offsets of tests are small and positive")]

mod support;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use klamm_connect_api::delivery::ErrorPolicy;
use klamm_connect_api::sink::Verdict;
use support::*;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Metadata, Subscriber};

/// One line: level, text, and the fields that the tests look at.
#[derive(Debug, Clone, Default)]
struct Line {
    level: String,
    text: String,
    route: String,
    error: String,
    waited_ms: Option<u64>,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.text = format!("{value:?}"),
            "error" => self.error = format!("{value:?}"),
            _ => {}
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "route" {
            value.clone_into(&mut self.route);
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "waited_ms" {
            self.waited_ms = Some(value);
        }
    }
}

/// Keeps the lines of this thread from info on.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<Line>>>);

impl Lines {
    fn start() -> (Self, DefaultGuard) {
        let lines = Self::default();
        let guard = tracing::subscriber::set_default(lines.clone());
        (lines, guard)
    }

    fn all(&self) -> Vec<Line> {
        self.0.lock().unwrap().clone()
    }

    /// Level and `waited_ms` of the lines about a destination.
    fn outages(&self) -> Vec<(String, Option<u64>)> {
        let lines = self.all().into_iter();
        lines
            .filter(|line| line.text.starts_with("the destination"))
            .map(|line| (line.level, line.waited_ms))
            .collect()
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line {
            level: event.metadata().level().to_string(),
            ..Line::default()
        };
        event.record(&mut line);
        self.0.lock().unwrap().push(line);
    }
}

fn line(level: &str, waited_ms: u64) -> (String, Option<u64>) {
    (level.to_owned(), Some(waited_ms))
}

/// Somebody who reads the log an hour into an outage found nothing but the line at its start.
#[tokio::test(start_paused = true)]
async fn a_lasting_outage_is_told_again_every_minute() {
    for (verdict, why) in [
        (throttled(), "TooManyRequests"),
        (unreachable(), "Connect"),
        (unusable(), "ResourceNotFound"),
    ] {
        let (lines, _guard) = Lines::start();
        let sink = FakeSink::new(vec![settings()], move |_| now(verdict.clone()));
        let world = World::new(&sink);
        let mut intake = world.engine.assign(tp(0), 1, 0);
        intake.push(records(0, 0..3), 3).await.unwrap();
        tokio::time::sleep(Duration::from_millis(150_500)).await;
        let expected = [line("WARN", 0), line("WARN", 60_000), line("WARN", 120_000)];
        assert_eq!(lines.outages(), expected, "{why}");
        let last = lines.all().pop().unwrap();
        assert_eq!(last.route, "route-0");
        assert!(last.error.contains(why), "{}", last.error);

        sink.set_script(|_| now(Verdict::Accepted));
        world.committable(0, 3).await;
        let (level, waited_ms) = lines.outages().pop().unwrap();
        assert_eq!(level, "INFO", "{why}");
        // Since the second failure, which follows the first after a backoff.
        assert!(waited_ms.unwrap() >= 150_300, "{why}: {waited_ms:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn outages_that_come_and_go_write_one_line_a_minute() {
    let (lines, _guard) = Lines::start();
    let mut calls = 0;
    let sink = FakeSink::new(vec![settings()], move |_| {
        calls += 1;
        // The second failure in a row makes it an outage.
        now(if calls % 3 > 0 { throttled() } else { Verdict::Accepted })
    });
    let world = World::new(&sink);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    let started = tokio::time::Instant::now();
    for offset in 0..100 {
        intake.push(records(0, offset..offset + 1), offset + 1).await.unwrap();
        world.committable(0, offset + 1).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let took = started.elapsed();
    assert!(took < Duration::from_secs(180), "{took:?}");
    let lines = lines.outages();
    let warnings = lines.iter().filter(|(level, _)| level == "WARN").count();
    assert!((2..=3).contains(&warnings), "{warnings} in {took:?}: {lines:?}");
    assert_eq!(lines.len(), 2 * warnings, "each line has its end: {lines:?}");
}

/// The owner writes the line: the failure stood there twice.
#[tokio::test(start_paused = true)]
async fn a_failure_is_left_to_the_owners_log() {
    let (lines, _guard) = Lines::start();
    let mut settings = settings();
    settings.error_policy = ErrorPolicy::Fail;
    settings.retry.max_attempts = 1;
    let sink = FakeSink::new(vec![settings], |_| now(failed()));
    let mut world = World::new(&sink);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    intake.push(records(0, 0..1), 1).await.unwrap();
    assert!(world.events.recv().await.is_some());
    let errors: Vec<_> = lines.all().into_iter().filter(|line| line.level == "ERROR").collect();
    assert!(errors.is_empty(), "{errors:?}");
}

/// The text advised to raise a setting above what the destination takes.
#[tokio::test(start_paused = true)]
async fn a_record_too_large_is_told_with_what_helps() {
    let (lines, _guard) = Lines::start();
    let mut settings = settings();
    settings.batch_bytes = 35;
    let sink = FakeSink::new(vec![settings], |_| now(Verdict::Accepted));
    let world = World::new(&sink);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    intake.push(vec![sized(0, 0, &[0], 33)], 1).await.unwrap();
    world.committable(0, 1).await;
    let errors: Vec<_> = lines.all().into_iter().map(|line| line.error).collect();
    assert_eq!(
        errors,
        [
            "RecordTooLarge: the record alone needs 36 bytes, above the 35 that a call may have: drop fields, or raise \
             `delivery.batch.bytes` if it is set below the destination's limit"
        ]
    );
}
