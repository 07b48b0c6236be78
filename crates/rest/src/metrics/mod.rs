//! `GET /metrics`: the worker, its connectors, tasks and routes for Prometheus.
//!
//! Counters live in the tasks; a scrape reads them and writes them down. Nothing is registered, kept or forgotten when
//! connectors come and go. Labels are names of connectors, tasks, routes and functions, and states: never a key, a topic or
//! a class that a function makes up.

mod families;
mod process;
mod requests;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use axum::http::{HeaderValue, header};
use axum::response::Response;
use klamm_runtime::{ConnectorObservation, Distribution, WorkerSnapshot};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::prometheus_text::{CONTENT_TYPE, encode};
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use families::FAMILIES;
use process::Process;
use requests::RequestCounts;
pub(crate) use requests::Requests;

/// What one scrape shows.
#[derive(Debug)]
pub(crate) struct Scrape {
    pub(crate) version: &'static str,
    pub(crate) commit: &'static str,
    pub(crate) uptime: Duration,
    pub(crate) worker: WorkerSnapshot,
    pub(crate) connectors: BTreeMap<String, ConnectorObservation>,
    pub(crate) requests: Vec<RequestCounts>,
    process: Option<Process>,
}

/// A metric with everything that is known of it beforehand.
struct Family {
    /// Without `_total`, which counters end in.
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
    samples: fn(&Scrape, &mut Samples<'_>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    fn metric_type(self) -> MetricType {
        match self {
            Self::Counter => MetricType::Counter,
            Self::Gauge => MetricType::Gauge,
            Self::Histogram => MetricType::Histogram,
        }
    }
}

/// What `docs/metrics.md` says of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricInfo {
    /// Its name without the `_total` of counters.
    base: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it tells.
    pub help: &'static str,
}

impl MetricInfo {
    /// The name as it is scraped; a histogram's has `_bucket`, `_sum` or `_count` behind it.
    #[must_use]
    pub fn name(&self) -> String {
        let suffix = if self.kind == "counter" { "_total" } else { "" };
        format!("{}{suffix}", self.base)
    }
}

/// Every metric, in the order in which they are scraped.
pub fn metrics() -> impl Iterator<Item = MetricInfo> {
    FAMILIES.iter().map(|family| MetricInfo {
        base: family.name,
        kind: match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        },
        labels: family.labels,
        help: family.help,
    })
}

/// Where a family writes its samples.
struct Samples<'a> {
    encoder: MetricEncoder<'a>,
    kind: Kind,
    labels: &'static [&'static str],
    /// Stays at the first failure.
    result: fmt::Result,
}

impl Samples<'_> {
    /// A counter or gauge with whole numbers.
    fn count(&mut self, values: &[&str], count: u64) {
        self.write(values, |encoder, kind| match kind {
            Kind::Counter => encoder.encode_counter::<NoLabelSet, u64, f64>(&count, None),
            Kind::Gauge | Kind::Histogram => encoder.encode_gauge(&count),
        });
    }

    fn size(&mut self, values: &[&str], size: usize) {
        self.count(values, size as u64);
    }

    /// A counter or gauge of seconds or money.
    fn amount(&mut self, values: &[&str], amount: f64) {
        self.write(values, |encoder, kind| match kind {
            Kind::Counter => encoder.encode_counter::<NoLabelSet, f64, f64>(&amount, None),
            Kind::Gauge | Kind::Histogram => encoder.encode_gauge(&amount),
        });
    }

    /// A histogram whose values are multiples of `unit`. Nothing has no buckets: thousands of routes that are idle would
    /// fill a scrape with zeros.
    #[expect(
        clippy::cast_precision_loss,
        reason = "exact up to 2^53, and a sum of seconds beyond it is exact enough"
    )]
    fn distribution(&mut self, values: &[&str], distribution: &Distribution, unit: f64) {
        let count = distribution.count();
        if count == 0 {
            return;
        }
        let buckets: Vec<(f64, u64)> = distribution
            .buckets
            .iter()
            .map(|(bound, count)| (*bound as f64 * unit, *count))
            .collect();
        let sum = distribution.sum as f64 * unit;
        self.write(values, |encoder, _| {
            encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
        });
    }

    fn write(&mut self, values: &[&str], write: impl FnOnce(&mut MetricEncoder<'_>, Kind) -> fmt::Result) {
        debug_assert_eq!(values.len(), self.labels.len(), "a value for each label");
        let labels: Vec<(&str, &str)> = self.labels.iter().copied().zip(values.iter().copied()).collect();
        let kind = self.kind;
        let encoder = &mut self.encoder;
        self.result = self.result.and_then(|()| {
            if labels.is_empty() {
                write(encoder, kind)
            } else {
                write(&mut encoder.encode_family(&labels)?, kind)
            }
        });
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in FAMILIES {
            let metric = encoder.encode_descriptor(family.name, family.help, None, family.kind.metric_type())?;
            let mut samples = Samples {
                encoder: metric,
                kind: family.kind,
                labels: family.labels,
                result: Ok(()),
            };
            (family.samples)(self, &mut samples);
            samples.result?;
        }
        Ok(())
    }
}

impl Scrape {
    pub(crate) fn new(
        (version, commit): (&'static str, &'static str),
        uptime: Duration,
        worker: WorkerSnapshot,
        connectors: BTreeMap<String, ConnectorObservation>,
        requests: Vec<RequestCounts>,
    ) -> Self {
        Self {
            version,
            commit,
            uptime,
            worker,
            connectors,
            requests,
            process: Process::read(),
        }
    }

    /// In Prometheus' text format. Takes some milliseconds for thousands of connectors.
    pub(crate) fn text(self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        // Writing to a text fails only if a sample does, and those are numbers.
        if encode(&mut text, &registry).is_err() {
            text.clear();
        }
        text
    }
}

/// The answer to a scrape.
pub(crate) fn answer(text: String) -> Response {
    let mut response = Response::new(text.into());
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    response
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_klamms_and_have_their_units() {
        let mut names = BTreeSet::new();
        for metric in metrics() {
            let name = metric.name();
            assert!(name.starts_with("klamm_"), "{name}");
            assert!(!metric.base.ends_with("_total"), "{name} has it added");
            assert!(
                !metric.help.ends_with('.') && !metric.help.is_empty(),
                "{name}: {}",
                metric.help
            );
            let is_time = ["duration", "uptime", "age"].iter().any(|word| name.contains(word));
            assert!(!is_time || name.contains("_seconds"), "{name} names its unit");
            assert!(names.insert(name), "{} stands twice", metric.base);
        }
    }

    #[test]
    fn labels_are_of_a_bounded_set() {
        let allowed = [
            "commit",
            "connector",
            "function",
            "method",
            "route",
            "stage",
            "state",
            "status",
            "task",
            "version",
        ];
        for metric in metrics() {
            for label in metric.labels {
                assert!(allowed.contains(label), "{} has {label}", metric.base);
            }
        }
    }
}
