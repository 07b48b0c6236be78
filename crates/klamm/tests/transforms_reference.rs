//! `docs/transforms.md` is generated: settings from the definitions that also check configurations, examples by the preview.
//! `KLAMM_UPDATE_DOCS=1 cargo test -p klamm --test transforms_reference` writes it anew.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod examples;
#[allow(unreachable_pub, reason = "each test binary has its own")]
mod support;

use std::collections::BTreeMap;
use std::fmt::Write;

use klamm::{Plugins, SubmittedConfig, WorkerConfig};
use klamm_connect_api::{PluginInfo, PluginKind, RawConfig};
use klamm_runtime::{Outcome, Preview, PreviewRecord, Story};

use examples::{EXAMPLES, Example};
use support::{check, table};

const BEGIN: &str = "\
# Transforms and predicates

Generated: settings from the definitions that also check configurations, examples by `klamm preview --explain`.

A transform is named by its class in `transforms.<alias>.type`, a predicate in `predicates.<alias>.type`. The class without
its package will do, unless it has a `$Key` and a `$Value`. `transforms.<alias>.predicate` names the alias of the predicate that
a transform runs under, `transforms.<alias>.negate=true` turns its answer round. What the classes of others do was taken from
their documentation; where we answer otherwise than Apache Kafka Connect does, `tests/golden/deviations.json` says why.

In the examples `(none)` is a part that is gone, `?` behind a type means that null is allowed.
";

const END: &str = "
## What is absent

| Class | Instead |
|---|---|
| Debezium `ByLogicalTableRouter` | `RegexRouter` for the topic; the key's fields by `ReplaceField$Key` |
| Debezium `ContentBasedRouter`, `Filter` | they run Groovy or JavaScript: `RegexRouter` or `Filter` under the predicate `EventPattern`, or Confluent's `Filter` |
| Debezium's outbox `EventRouter`, `PartitionRouting` | they belong to source connectors |
| Aiven's `CaseTransform`, `ConcatFields`, `ExtractTimestamp`, `Hash` | text from fields: `SetField`; the others have no counterpart |
| Jeremy Custenborder's `ChangeTopicCase`, `PatternRename`, `ToLong` | `RegexRouter`, `ReplaceField`, `Cast` |
| Jeremy Custenborder's `ExtractNestedField`, `ExtractTimestamp`, `TimestampNow`, `TimestampNowField` | `SetField` copies a field from any level; the record's own timestamp comes with `InsertField` |
| Debezium `ExtractChangedRecordState`, `TimezoneConverter`; MongoDB's `ExtractNewDocumentState` | no counterpart |

Everything else is refused by name, with the classes that there are.
";

/// Both variants of a transform in one section.
fn section_of(class: &str) -> &str {
    class
        .strip_suffix("$Key")
        .or_else(|| class.strip_suffix("$Value"))
        .unwrap_or(class)
}

fn publisher(class: &str) -> &'static str {
    let publishers = [
        ("org.apache.kafka.", "Apache Kafka"),
        ("io.confluent.", "Confluent"),
        ("io.debezium.", "Debezium"),
        ("io.aiven.", "Aiven"),
        ("com.github.jcustenborder.", "Jeremy Custenborder"),
    ];
    let found = publishers.iter().find(|(package, _)| class.starts_with(package));
    found.map_or("Klamm", |(_, publisher)| publisher)
}

impl Example {
    fn settings(&self, kind: PluginKind) -> Vec<(String, String)> {
        let mut settings = vec![("transforms".to_owned(), "t".to_owned())];
        let set = |list: &str, alias: &str, (key, value): (&str, &str)| {
            // Full keys are those of another alias.
            let is_full = key.starts_with("predicates") || key.starts_with("transforms");
            let key = if is_full {
                key.to_owned()
            } else {
                format!("{list}.{alias}.{key}")
            };
            (key, value.to_owned())
        };
        if kind == PluginKind::Predicate {
            settings.extend([
                ("transforms.t.type".to_owned(), "Filter".to_owned()),
                ("transforms.t.predicate".to_owned(), "p".to_owned()),
                ("predicates".to_owned(), "p".to_owned()),
                ("predicates.p.type".to_owned(), self.class.to_owned()),
            ]);
            settings.extend(self.settings.iter().map(|setting| set("predicates", "p", *setting)));
        } else {
            settings.push(("transforms.t.type".to_owned(), self.class.to_owned()));
            settings.extend(self.settings.iter().map(|setting| set("transforms", "t", *setting)));
        }
        settings
    }

    async fn write(&self, kind: PluginKind, plugins: &Plugins, out: &mut String) {
        let settings = self.settings(kind);
        out.push_str("\n```properties\n");
        for (key, value) in &settings {
            writeln!(out, "{key}={value}").unwrap();
        }
        writeln!(out, "```\n\n```json\n{}\n```\n", self.record).unwrap();
        let worker = RawConfig::from([("bootstrap.servers".to_owned(), "localhost:9092".to_owned())]);
        let worker = WorkerConfig::from_properties(&worker).unwrap();
        let config: SubmittedConfig = settings.into_iter().map(|(key, value)| (key, Some(value))).collect();
        let record =
            PreviewRecord::parse(self.record.as_bytes()).unwrap_or_else(|error| panic!("{}: {error}", self.class));
        let mut story = Story::of(record.origin());
        let preview = Preview::new(&config, &worker, plugins);
        let outcome = preview.run_observed(&record, &mut |step| story.add(&step)).await;
        let story = story.end(&outcome);
        assert!(
            !matches!(outcome, Outcome::Failed(_)) && !story.contains("changes nothing"),
            "the example of {} shows nothing: {story}",
            self.class
        );
        writeln!(out, "```text\n{story}```").unwrap();
    }
}

async fn reference() -> String {
    let plugins = klamm::plugins();
    let mut examples: BTreeMap<&str, &Example> = EXAMPLES
        .iter()
        .map(|example| (section_of(example.class), example))
        .collect();
    assert_eq!(examples.len(), EXAMPLES.len(), "one example a section");
    let mut out = BEGIN.to_owned();
    for (kind, title) in [
        (PluginKind::Transformation, "Transforms"),
        (PluginKind::Predicate, "Predicates"),
    ] {
        let mut sections: BTreeMap<(&str, &str), Vec<&PluginInfo>> = BTreeMap::new();
        for info in plugins.infos().filter(|info| info.kind == kind) {
            let section = section_of(info.class);
            sections.entry((publisher(section), section)).or_default().push(info);
        }
        let mut last = "";
        for ((publisher, section), infos) in sections {
            if last != publisher {
                writeln!(out, "\n## {title} of {publisher}").unwrap();
                last = publisher;
            }
            let simple = section.rsplit('.').next().unwrap();
            writeln!(out, "\n### {simple}\n").unwrap();
            let classes: Vec<String> = infos.iter().map(|info| format!("`{}`", info.class)).collect();
            writeln!(out, "{}\n", classes.join(", ")).unwrap();
            let aliases: Vec<String> = infos
                .iter()
                .flat_map(|info| info.aliases.iter().map(|alias| format!("`{alias}`")))
                .collect();
            if !aliases.is_empty() {
                writeln!(out, "Also known as {}.\n", aliases.join(", ")).unwrap();
            }
            table(&mut out, &plugins.config_def(infos.last().unwrap().class).unwrap());
            let example = examples.remove(section);
            let example =
                example.unwrap_or_else(|| panic!("{section} has no example: add one to tests/examples/mod.rs"));
            example.write(kind, &plugins, &mut out).await;
        }
    }
    assert!(
        examples.is_empty(),
        "examples of classes that are not there: {:?}",
        examples.keys()
    );
    out.push_str(END);
    out
}

#[tokio::test]
async fn the_reference_of_transforms_is_current() {
    check("transforms.md", &reference().await, "transforms_reference");
}
