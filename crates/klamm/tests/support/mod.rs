//! What the tests of generated references share.

use std::fmt::Write;
use std::path::Path;

use klamm_connect_api::{ConfigDef, ConfigKey};

/// Appends the settings of a definition as a table.
pub fn table(out: &mut String, def: &ConfigDef) {
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

/// Compares a generated file with what it has to be, and writes it if `KLAMM_UPDATE_DOCS` is set.
pub fn check(file: &str, wanted: &str, test: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(file);
    if std::env::var_os("KLAMM_UPDATE_DOCS").is_some() {
        std::fs::write(&path, wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "docs/{file} is stale: run KLAMM_UPDATE_DOCS=1 cargo test -p klamm --test {test}"
    );
}
