//! The tables of `docs/kafka-compatibility.md` are those of the code.
//! `KLAMM_UPDATE_DOCS=1 cargo test -p klamm-kafka --test compatibility` writes them anew.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use kafka_protocol::messages::ApiKey;

/// Newest versions that are used, where the messages, or only the answers, know newer ones.
const CAPS: &[(&str, i16)] = &[
    ("Produce", 12),
    ("ApiVersions", 3),
    ("AddPartitionsToTxn", 3),
    ("InitProducerId", 5),
    ("OffsetCommit", 9),
    ("OffsetFetch", 9),
];

/// The source of the client, without what is there for its tests.
fn source(folder: &Path, out: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "fuzzing" {
                source(&path, out);
            }
        } else if name.ends_with(".rs") && name != "tests.rs" {
            let text = fs::read_to_string(&path).unwrap();
            out.push_str(text.split("#[cfg(test)]").next().unwrap());
        }
    }
}

/// The requests that the code names.
fn apis() -> String {
    let mut text = String::new();
    source(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut text);
    let words: HashSet<_> = text.split(|c: char| !c.is_alphanumeric()).collect();
    let mut out = String::from("| Key | API | Versions |\n|---|---|---|\n");
    for (number, api) in (0..i16::MAX / 64).filter_map(|number| Some((number, ApiKey::try_from(number).ok()?))) {
        let name = format!("{api:?}");
        let request = format!("{name}Request");
        if !words.contains(request.as_str()) {
            continue;
        }
        let versions = api.valid_versions();
        let cap = CAPS.iter().find(|(capped, _)| *capped == name).map(|(_, cap)| *cap);
        let max = cap.unwrap_or(versions.max);
        writeln!(out, "| {number} | {name} | {} to {max} |", versions.min).unwrap();
    }
    out
}

fn list(keys: &[&str]) -> String {
    let keys: Vec<_> = keys
        .iter()
        .map(|key| match key.strip_suffix('.') {
            Some(_) => format!("`{key}*`"),
            None => format!("`{key}`"),
        })
        .collect();
    let mut out = String::new();
    let mut width = 0;
    for (i, key) in keys.iter().enumerate() {
        let comma = if i + 1 < keys.len() { "," } else { "" };
        if width > 0 && width + key.len() + 2 > 118 {
            out.push('\n');
            width = 0;
        } else if width > 0 {
            out.push(' ');
            width += 1;
        }
        write!(out, "{key}{comma}").unwrap();
        width += key.len() + 1;
    }
    out.push('\n');
    out
}

#[test]
fn the_page_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/kafka-compatibility.md");
    let mut page = fs::read_to_string(&path).unwrap();
    let before = page.clone();
    let blocks = [
        ("apis", apis()),
        ("properties", list(klamm_kafka::property_names())),
        ("ignored properties", list(klamm_kafka::ignored_property_names())),
    ];
    for (name, wanted) in blocks {
        let (begin, end) = (format!("<!-- generated: {name} -->\n"), "<!-- end -->\n");
        let (head, rest) = page.split_once(&begin).unwrap();
        let (_, tail) = rest.split_once(end).unwrap();
        page = format!("{head}{begin}{wanted}{end}{tail}");
    }
    if std::env::var_os("KLAMM_UPDATE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    } else {
        assert!(
            page == before,
            "docs/kafka-compatibility.md is stale: run KLAMM_UPDATE_DOCS=1 cargo test -p klamm-kafka --test compatibility"
        );
    }
}
