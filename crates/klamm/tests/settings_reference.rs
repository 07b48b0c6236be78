//! `docs/settings.md` is generated from the definitions that also check configurations.
//! `KLAMM_UPDATE_DOCS=1 cargo test -p klamm --test settings_reference` writes it anew.

#![allow(clippy::unwrap_used, reason = "test code")]

#[allow(unreachable_pub, reason = "each test binary has its own")]
mod support;

use std::fmt::Write;

use klamm_connect_api::PluginKind;
use support::{check, table};

fn reference() -> String {
    let mut out = String::from(
        "# Settings\n\n\
         Generated from the definitions that also check configurations; several names in a row are names of one \
         setting.\n\n\
         ## Worker\n\n\
         Beside these, the settings of a Kafka client (`client.id`, `security.protocol`, …) and of consumers \
         (`consumer.*`) keep Kafka's names: [kafka-compatibility.md](kafka-compatibility.md#settings) lists them.\n\n",
    );
    table(&mut out, &klamm_runtime::worker_config_def());
    let plugins = klamm::plugins();
    let heading = |kind: PluginKind| match kind {
        PluginKind::Sink => "Connector",
        PluginKind::Transformation => "Transform",
        PluginKind::Predicate => "Predicate",
        PluginKind::Converter => "Converter",
        PluginKind::HeaderConverter => "Header converter",
    };
    out.push_str("\n## Every connector\n\n");
    table(&mut out, &klamm_runtime::connector_config_def(&plugins));
    for info in plugins.infos() {
        writeln!(out, "\n## {} `{}`\n", heading(info.kind), info.class).unwrap();
        if !info.aliases.is_empty() {
            let aliases: Vec<String> = info.aliases.iter().map(|alias| format!("`{alias}`")).collect();
            writeln!(out, "Also known as {}.\n", aliases.join(", ")).unwrap();
        }
        table(&mut out, &plugins.config_def(info.class).unwrap());
    }
    out
}

#[test]
fn the_settings_reference_is_current() {
    check("settings.md", &reference(), "settings_reference");
}
