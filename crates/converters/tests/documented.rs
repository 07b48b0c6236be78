//! `docs/converters.md` against what the converters define.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::path::Path;

use klamm_connect_api::ConfigDef;

#[test]
fn every_class_and_every_setting_is_documented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/converters.md");
    let text = std::fs::read_to_string(path).unwrap();
    // A setting is named as it is, or with a value.
    let is_named = |name: &str| text.contains(&format!("`{name}`")) || text.contains(&format!("`{name}="));
    let converters = klamm_converters::converters()
        .into_iter()
        .map(|plugin| (plugin.info.class, (plugin.config_def)()));
    let header_converters = klamm_converters::header_converters()
        .into_iter()
        .map(|plugin| (plugin.info.class, (plugin.config_def)()));
    let all: Vec<(&str, ConfigDef)> = converters.chain(header_converters).collect();
    let mut missing = Vec::new();
    for (class, def) in &all {
        let simple = class.rsplit('.').next().unwrap();
        if !is_named(class) && !is_named(simple) && !is_named(&format!("…converters.{simple}")) {
            missing.push((*class).to_owned());
        }
        let keys = def.keys().iter().filter(|key| !is_named(&key.name));
        missing.extend(keys.map(|key| format!("{} of {class}", key.name)));
    }
    assert!(missing.is_empty(), "docs/converters.md does not name: {missing:#?}");
}

/// What is looked at has an example in the documentation; what only matters when data is written has none.
#[test]
fn every_setting_that_has_an_effect_has_an_example() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/converters.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let tables = rows.filter_map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
        (cells.len() == 3).then(|| (cells[0].to_owned(), cells[1].trim().to_owned(), cells[2].to_owned()))
    });
    for (settings, example, effect) in tables {
        let needs_none = ["accepted;", "as with", "as for"]
            .iter()
            .any(|start| effect.contains(start));
        assert!(!example.is_empty() || needs_none, "{settings} has no example");
    }
}
