//! `docs/metrics.md` is generated from the table that is scraped.
//! `KLAMM_UPDATE_DOCS=1 cargo test -p klamm --test metrics_reference` writes it anew.

#![allow(clippy::unwrap_used, reason = "test code")]

#[allow(dead_code, unreachable_pub, reason = "each test binary has its own")]
mod support;

use std::fmt::Write;

use support::check;

fn reference() -> String {
    let mut out = String::from(
        "# Metrics\n\n\
         Generated from the table that is scraped. `GET /metrics` answers in Prometheus' text format:\n\n\
         ```yaml\n\
         scrape_configs:\n  - job_name: klamm\n    static_configs:\n      - targets: [\"127.0.0.1:8083\"]\n\
         ```\n\n\
         Counters live in the tasks, begin at 0 with each start of a task and are read when somebody scrapes. A histogram \
         without a value is left out. Labels are names from configurations, and states; what a function makes up (its \
         classes of errors) and what belongs to single partitions is in `GET /connectors/{name}/status?extensions=true`. \
         `function` is the function's own name or ARN as it is configured. A record that goes to several routes counts on \
         each of them.\n\n\
         Worth an alert: `klamm_tasks{state=\"FAILED\"} > 0`, a `klamm_task_oldest_undone_age_seconds` that grows, \
         `klamm_route_state{state=\"unusable\"} == 1`, and a rate of `klamm_route_dead_lettered_records_total` or \
         `klamm_task_conversion_errors_total` above 0.\n\n\
         | Metric | Type | Labels | Meaning |\n|---|---|---|---|\n",
    );
    for metric in klamm_rest::metrics() {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = labels.join(", ");
        writeln!(
            out,
            "| `{}` | {} | {labels} | {} |",
            metric.name(),
            metric.kind,
            metric.help
        )
        .unwrap();
    }
    out
}

#[test]
fn the_reference_of_metrics_is_current() {
    check("metrics.md", &reference(), "metrics_reference");
}
