use klamm_connect_api::{Datum, Origin, TopicPartition};

use super::*;
use crate::{predicates, transforms};

const PACKAGE: &str = "org.apache.kafka.connect.transforms";

type Settings<'a> = &'a [(&'a str, &'a str)];

fn raw(entries: Settings<'_>) -> RawConfig {
    entries
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.replace("PACKAGE", PACKAGE)))
        .collect()
}

fn build(entries: Settings<'_>) -> Result<Chain, ConfigErrors> {
    Chain::build(&raw(entries), &transforms(), &predicates())
}

fn record(topic: &str) -> Record {
    let origin = Origin {
        topic_partition: TopicPartition::new(topic, 0),
        offset: 7,
    };
    Record::new(origin, Datum::NULL, Datum::NULL)
}

fn topic_after(chain: &Chain, topic: &str) -> Option<String> {
    chain
        .apply(record(topic))
        .unwrap()
        .map(|record| record.topic.to_string())
}

#[test]
fn stages_run_in_order_and_see_what_the_one_before_left() {
    let chain = build(&[
        ("transforms", "cut, drop"),
        ("transforms.cut.type", "RegexRouter"),
        ("transforms.cut.regex", "(.*)-raw"),
        ("transforms.cut.replacement", "$1"),
        ("transforms.drop.type", "PACKAGE.Filter"),
        ("transforms.drop.predicate", "isOrders"),
        ("transforms.drop.negate", "true"),
        ("predicates", "isOrders"),
        ("predicates.isOrders.type", "TopicNameMatches"),
        ("predicates.isOrders.pattern", "orders"),
    ])
    .unwrap();
    assert_eq!(topic_after(&chain, "orders-raw").as_deref(), Some("orders"));
    assert_eq!(topic_after(&chain, "users-raw"), None, "dropped");
    let stages: Vec<_> = chain.stages().iter().map(Stage::alias).collect();
    assert_eq!(stages, ["cut", "drop"]);
}

#[test]
fn a_failed_stage_is_named_and_ends_the_chain() {
    let chain = build(&[
        ("transforms", "t,f"),
        ("transforms.t.type", "PACKAGE.InsertField$Value"),
        ("transforms.t.topic.field", "topic"),
        ("transforms.f.type", "Filter"),
    ])
    .unwrap();
    let mut record = record("orders");
    record.value = Datum::Decoded(klamm_connect_api::SchemaAndValue::schemaless("text".into()));
    let error = chain.apply(record).unwrap_err();
    assert_eq!(
        error.to_string(),
        "transform `t` (org.apache.kafka.connect.transforms.InsertField$Value): the value has to be a map, as it has \
         no schema, and is: string"
    );
}

#[test]
fn everything_that_is_wrong_is_said_with_its_full_key() {
    let filter = ("transforms.a.type", "Filter");
    let cases: [(Settings<'_>, &str, &str); 13] = [
        (
            &[
                ("transforms", "a"),
                ("transforms.a.type", "io.debezium.transforms.ContentBasedRouter"),
            ],
            "transforms.a.type",
            "It is left out on purpose: it runs scripts, which are not supported: use ",
        ),
        (
            &[("transforms", "a"), ("transforms.a.type", "RegexRuoter")],
            "transforms.a.type",
            "Did you mean org.apache.kafka.connect.transforms.RegexRouter? There are: ",
        ),
        (
            &[("transforms", "a,a"), filter],
            "transforms",
            "Duplicate alias provided.",
        ),
        (&[("transforms", "a,"), filter], "transforms", "an alias is empty."),
        (
            &[("transforms", "a")],
            "transforms.a.type",
            "Missing required configuration",
        ),
        (
            &[("transforms", "a"), ("transforms.a.type", "PACKAGE.InsertField")],
            "transforms.a.type",
            "Did you mean org.apache.kafka.connect.transforms.InsertField$Key, \
             org.apache.kafka.connect.transforms.InsertField$Value?",
        ),
        (
            &[("transforms", "a"), ("transforms.a.type", "InsertField$Value")],
            "transforms.a.type",
            "Did you mean org.apache.kafka.connect.transforms.InsertField$Key, ",
        ),
        (
            &[("transforms", "a"), ("transforms.a.type", "io.acme.Nope")],
            "transforms.a.type",
            "Class io.acme.Nope could not be found. There are: ",
        ),
        (
            &[("transforms", "a"), filter, ("transforms.a.negate", "true")],
            "transforms.a.type",
            "there is no config 'transforms.a.predicate'",
        ),
        (
            &[
                ("transforms", "a"),
                filter,
                ("transforms.a.predicate", "p"),
                ("predicates", ""),
            ],
            "transforms.a.predicate",
            "predicate `p` is not declared: `predicates` lists []",
        ),
        (
            &[
                ("transforms", "a"),
                ("transforms.a.type", "RegexRouter"),
                ("transforms.a.regex", "["),
                ("transforms.a.replacement", "x"),
            ],
            "transforms.a.regex",
            "Unclosed character class",
        ),
        (
            &[("transforms", "a"), ("transforms.a.type", "PACKAGE.InsertField$Key")],
            "transforms.a.type",
            "no field insertion configured",
        ),
        (
            &[("predicates", "p"), ("predicates.p.type", "HasHeaderKey")],
            "predicates.p.name",
            "Missing required configuration",
        ),
    ];
    for (config, key, part) in cases {
        let errors = build(config).unwrap_err();
        let found = errors
            .as_slice()
            .iter()
            .any(|error| error.key == key && error.message.contains(part));
        assert!(
            found && errors.as_slice().len() == 1,
            "wanted {key}: {part}, got {errors}"
        );
    }
}

#[test]
fn the_validation_lists_the_keys_of_every_alias() {
    let evaluation = evaluate(
        &raw(&[
            ("transforms", "a"),
            ("transforms.a.type", "RegexRouter"),
            ("transforms.a.regex", "x"),
            ("transforms.a.replacement", "y"),
            ("transforms.a.predicate", "p"),
            ("predicates", "p"),
            ("predicates.p.type", "TopicNameMatches"),
            ("predicates.p.pattern", "q"),
        ]),
        &transforms(),
        &predicates(),
    );
    let listed: Vec<_> = evaluation
        .keys
        .iter()
        .map(|key| (key.group.as_str(), key.key.name.as_str()))
        .collect();
    assert_eq!(
        listed,
        [
            ("Transforms: a", "transforms.a.type"),
            ("Transforms: a", "transforms.a.plugin.version"),
            ("Transforms: a", "transforms.a.regex"),
            ("Transforms: a", "transforms.a.replacement"),
            ("Transforms: a", "transforms.a.negate"),
            ("Transforms: a", "transforms.a.predicate"),
            ("Predicates: p", "predicates.p.type"),
            ("Predicates: p", "predicates.p.plugin.version"),
            ("Predicates: p", "predicates.p.pattern"),
        ]
    );
    assert_eq!(evaluation.keys[0].key.display_name, "Transformation type for a");
    assert_eq!(evaluation.keys[4].value.as_deref(), Some("false"));
    assert_eq!(evaluation.into_chain().unwrap().stages().len(), 1);
}

#[test]
fn an_undecoded_value_stays_undecoded_where_nothing_looks_at_it() {
    let converter = klamm_converters::converters()
        .into_iter()
        .find(|plugin| plugin.info.class.ends_with("JsonConverter"))
        .unwrap();
    let parsed = (converter.config_def)()
        .parse(&raw(&[("schemas.enable", "false")]))
        .unwrap();
    let converter = (converter.create)(&parsed, klamm_connect_api::ConverterRole::Value).unwrap();
    let bytes = bytes::Bytes::from_static(b"{\"a\": 1}");
    let mut record = record("orders");
    record.value = converter.to_connect("orders", &[], Some(&bytes)).unwrap();
    let chain = build(&[
        ("transforms", "f"),
        ("transforms.f.type", "Filter"),
        ("transforms.f.predicate", "tombstone"),
        ("predicates", "tombstone"),
        ("predicates.tombstone.type", "RecordIsTombstone"),
    ])
    .unwrap();
    let record = chain.apply(record).unwrap().unwrap();
    assert!(matches!(record.value, Datum::Encoded { .. }));
}

#[test]
fn keys_that_change_nothing_are_warned_of_with_the_one_that_was_meant() {
    let base = [
        ("transforms", "cut,a.b"),
        ("transforms.cut.type", "RegexRouter"),
        ("transforms.cut.regex", "x"),
        ("transforms.cut.replacement", "y"),
        ("transforms.a.b.type", "PACKAGE.ReplaceField$Value"),
        ("transforms.a.b.blacklist", "secret"),
        ("predicates", "p"),
        ("predicates.p.type", "RecordIsTombstone"),
    ];
    let cases = [
        // key, warning, why
        ("transforms.a.b.exclude", None, "a known key of an alias with a dot"),
        ("transforms.cut.plugin.version", None, "a key of the chain"),
        ("transforms.cut.predicate", None, "a key of the chain"),
        (
            "transforms.cut.replacment",
            Some(
                "`transforms.cut.replacment` is unknown and changes nothing: did you mean `transforms.cut.replacement`?",
            ),
            "a slip",
        ),
        (
            "transforms.cut.colour",
            Some(
                "`transforms.cut.colour` is unknown and changes nothing: under `transforms.cut.` there are negate, \
                 plugin.version, predicate, regex, replacement, type",
            ),
            "nothing is near",
        ),
        (
            "transforms.cat.regex",
            Some(
                "`transforms.cat.regex` is unknown and changes nothing: `transforms` does not list `cat`; did you mean \
                 `cut`?",
            ),
            "a slip in the alias",
        ),
        (
            "predicates.p.negate",
            Some(
                "`predicates.p.negate` is unknown and changes nothing: under `predicates.p.` there are plugin.version, \
                 type",
            ),
            "negate belongs to transforms",
        ),
    ];
    for (key, wanted, why) in cases {
        let mut raw = raw(&base);
        raw.insert(key.to_owned(), "p".to_owned());
        let evaluation = evaluate(&raw, &transforms(), &predicates());
        let warnings: Vec<&str> = evaluation.warnings.iter().map(String::as_str).collect();
        assert_eq!(warnings, Vec::from_iter(wanted), "{key}: {why}");
        assert!(evaluation.into_chain().is_ok(), "{key}: a warning is no error");
    }
    let unknown_class = raw(&[
        ("transforms", "t"),
        ("transforms.t.type", "Nope"),
        ("transforms.t.x", "y"),
    ]);
    let evaluation = evaluate(&unknown_class, &transforms(), &predicates());
    assert_eq!(evaluation.warnings, Vec::<String>::new(), "any key may be right");
}

#[test]
fn what_shows_in_the_configuration_is_refused_with_it() {
    let cases: [(&str, &str, Settings<'_>); 12] = [
        ("RegexRouter", "regex", &[("regex", "("), ("replacement", "x")]),
        ("RegexRouter", "replacement", &[("regex", "a"), ("replacement", "$1")]),
        ("TimestampRouter", "timestamp.format", &[("timestamp.format", "q")]),
        (
            "PACKAGE.TimestampConverter$Value",
            "format",
            &[("target.type", "string"), ("format", "'")],
        ),
        (
            "PACKAGE.ExtractField$Value",
            "field",
            &[("field", "`a"), ("field.syntax.version", "V2")],
        ),
        (
            "io.confluent.connect.transforms.Filter$Value",
            "filter.condition",
            &[("filter.condition", "$[?@.a]"), ("filter.type", "include")],
        ),
        (
            "io.confluent.connect.transforms.Filter$Value",
            "filter.type",
            &[("filter.condition", "$.a"), ("filter.type", "drop")],
        ),
        (
            "io.confluent.connect.transforms.Filter$Value",
            "filter.condition",
            &[("filter.condition", "$[?(@.a =~ /(/)]"), ("filter.type", "include")],
        ),
        (
            "io.confluent.connect.transforms.ExtractTopic$Value",
            "field",
            &[("field", "$..a"), ("field.format", "JSON_PATH")],
        ),
        (
            "io.klamm.transforms.SetField$Value",
            "template",
            &[("field", "a"), ("template", "${values.a}")],
        ),
        (
            "io.klamm.transforms.SetField$Value",
            "template",
            &[("field", "a"), ("template", "${value.a")],
        ),
        ("io.klamm.transforms.ParseJson$Value", "fields", &[("fields", "a,a")]),
    ];
    for (class, key, settings) in cases {
        let mut raw = raw(&[("transforms", "t"), ("transforms.t.type", class)]);
        for (key, value) in settings {
            raw.insert(format!("transforms.t.{key}"), (*value).to_owned());
        }
        let errors = Chain::build(&raw, &transforms(), &predicates()).unwrap_err();
        let keys: Vec<&str> = errors.as_slice().iter().map(|error| error.key.as_str()).collect();
        assert_eq!(keys, [format!("transforms.t.{key}")], "{class} {settings:?}");
    }
}

#[test]
fn a_failed_predicate_is_named_with_its_alias() {
    let chain = build(&[
        ("transforms", "f"),
        ("transforms.f.type", "Filter"),
        ("transforms.f.predicate", "slow"),
        ("predicates", "slow"),
        ("predicates.slow.type", "TopicNameMatches"),
        ("predicates.slow.pattern", r"(a+)+\1b"),
    ])
    .unwrap();
    let error = chain.apply(record(&"a".repeat(64))).unwrap_err();
    assert_eq!(
        error.into_error().to_string(),
        "transform `f`: predicate `slow`: the regular expression takes too many steps on this text: avoid nested \
         repetitions"
    );
}

#[test]
fn a_failure_names_the_field_and_never_the_payload() {
    let value = r#"{"a":{"b":"a secret","c":[1]},"m":{"n":1}}"#;
    let value = klamm_converters::parse_json(value).unwrap();
    let cases: [(&str, Settings<'_>, &str); 8] = [
        (
            "PACKAGE.Cast$Value",
            &[("spec", "a.b:int8"), ("field.syntax.version", "V2")],
            "field `a`: field `b`: the text is no number",
        ),
        (
            "PACKAGE.MaskField$Value",
            &[("fields", "a.c"), ("replacement", "1"), ("field.syntax.version", "V2")],
            "field `a`: field `c`: a value of type array",
        ),
        (
            "PACKAGE.TimestampConverter$Value",
            &[
                ("field", "a.b"),
                ("target.type", "unix"),
                ("format", "yyyy"),
                ("field.syntax.version", "V2"),
            ],
            "field `a`: field `b`: the timestamp does not match",
        ),
        (
            "PACKAGE.ExtractField$Value",
            &[("field", "a.b.x"), ("field.syntax.version", "V2")],
            "field `b` has to be a map",
        ),
        (
            "io.klamm.transforms.ParseJson$Value",
            &[("fields", "a.b")],
            "field `a`: field `b`: not JSON",
        ),
        (
            "io.klamm.transforms.SetField$Value",
            &[("field", "x"), ("template", "${value.a.b.c}")],
            "`${value.a.b.c}`: field `b` has to be a map",
        ),
        (
            "io.confluent.connect.transforms.ExtractTopic$Value",
            &[("field", "$.a.x"), ("field.format", "JSON_PATH")],
            "`$.a.x` of the value is missing",
        ),
        (
            "io.confluent.connect.transforms.Filter$Value",
            &[("filter.condition", "$.a.x"), ("filter.type", "include")],
            "`$.a.x` of the value: there is nothing at that path",
        ),
    ];
    for (class, settings, part) in cases {
        let mut raw = raw(&[("transforms", "t"), ("transforms.t.type", class)]);
        for (key, value) in settings {
            raw.insert(format!("transforms.t.{key}"), (*value).to_owned());
        }
        let chain = Chain::build(&raw, &transforms(), &predicates()).unwrap();
        let mut record = record("orders");
        record.value = Datum::Decoded(klamm_connect_api::SchemaAndValue::schemaless(value.clone()));
        let error = chain.apply(record).unwrap_err().into_error().to_string();
        assert!(error.starts_with(&format!("transform `t`: {part}")), "{class}: {error}");
        assert!(!error.contains("secret"), "{class}: {error}");
    }
}
