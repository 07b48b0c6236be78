//! The reference of settings in `docs/lambda-sink.md` is generated from the definition that also checks configurations.
//! `KLAMM_UPDATE_DOCS=1 cargo test -p klamm --test lambda_reference` writes it anew; the guide above it is written by
//! hand.

#![allow(clippy::unwrap_used, reason = "test code")]

#[allow(unreachable_pub, reason = "each test binary has its own")]
mod support;

use std::fmt::Write;
use std::path::Path;

use klamm_connect_api::{ConfigDef, RawConfig};
use support::{check, table};

const FILE: &str = "lambda-sink.md";
/// The guide ends here.
const MARK: &str = "<!-- generated from here on: see crates/klamm/tests/lambda_reference.rs -->\n";

fn reference() -> String {
    let mut out = String::new();
    let sink = klamm::plugins()
        .sink("AwsLambdaSink")
        .map(std::sync::Arc::clone)
        .unwrap();
    out.push_str("\n## Settings\n\nSeveral names in a row are names of one setting.\n\n");
    table(&mut out, &sink.config_def(&RawConfig::new()));
    let raw = RawConfig::from([("routes".to_owned(), "alias".to_owned())]);
    let with_route = sink.config_def(&raw);
    let keys = with_route
        .keys()
        .iter()
        .filter(|key| key.name.starts_with("routes.alias."));
    let (shared, own): (Vec<_>, Vec<_>) = keys.partition(|key| key.documentation.ends_with(" of this route."));
    out.push_str("\n## Settings of a route\n\nEach stands under an alias that `routes` lists.\n\n");
    let own = own.into_iter().map(|key| {
        let mut key = key.clone();
        key.name = key.name.replace("routes.alias.", "routes.<alias>.");
        key
    });
    table(&mut out, &ConfigDef::new().with(own));
    out.push_str("\nThese may stand there too, and count for that route in place of the connector's:\n\n");
    for key in shared {
        writeln!(out, "- `{}`", key.name.replace("routes.alias.", "routes.<alias>.")).unwrap();
    }
    out
}

#[test]
fn the_reference_of_the_lambda_sink_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(FILE);
    let found = std::fs::read_to_string(path).unwrap();
    let (guide, _) = found.split_once(MARK).unwrap();
    check(FILE, &format!("{guide}{MARK}{}", reference()), "lambda_reference");
}
