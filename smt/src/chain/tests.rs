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
    let cases: [(Settings<'_>, &str, &str); 11] = [
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
