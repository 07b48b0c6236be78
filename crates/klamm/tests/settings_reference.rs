//! `docs/settings.md` is generated from the definitions that also check configurations.
//! `KLAMM_UPDATE_DOCS=1 cargo test -p klamm --test settings_reference` writes it anew.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::fmt::Write;
use std::path::Path;

use klamm_connect_api::{ConfigDef, ConfigKey, PluginKind};

fn table(out: &mut String, def: &ConfigDef) {
    if def.keys().is_empty() {
        out.push_str("No settings.\n");
        return;
    }
    out.push_str("| Setting | Type | Default | Meaning |\n|---|---|---|---|\n");
    for key in def.keys() {
        let default = match &key.default {
            Some(text) if text.is_empty() => "empty".to_owned(),
            Some(text) => format!("`{text}`"),
            None if key.required => "required".to_owned(),
            None => "none".to_owned(),
        };
        let names: Vec<String> = names(key).map(|name| format!("`{name}`")).collect();
        let meaning = key.documentation.replace('|', "\\|").replace('\n', " ");
        writeln!(
            out,
            "| {} | {} | {default} | {meaning} |",
            names.join(", "),
            key.config_type.name().to_lowercase()
        )
        .unwrap();
    }
}

fn names(key: &ConfigKey) -> impl Iterator<Item = &str> {
    std::iter::once(key.name.as_str()).chain(key.aliases.iter().copied())
}

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
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/settings.md");
    let wanted = reference();
    if std::env::var_os("KLAMM_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "docs/settings.md is stale: run KLAMM_UPDATE_DOCS=1 cargo test -p klamm --test settings_reference"
    );
}
