use std::sync::Arc;

use klamm_connect_api::{
    Datum, Origin, RawConfig, Record, Rendering, Schema, SchemaAndValue, Struct, TopicPartition, Value, logical,
};
use klamm_converters::parse_json;

use crate::{Chain, StageError, predicates, transforms};

fn record(key: SchemaAndValue, value: SchemaAndValue) -> Record {
    let origin = Origin {
        topic_partition: TopicPartition::new("orders", 3),
        offset: 42,
    };
    let mut record = Record::new(origin, Datum::from(key), Datum::from(value));
    record.timestamp = Some(1_714_558_830_123);
    for (name, value) in [("trace", "t1"), ("trace", "t2"), ("ip", "10.0.1.7")] {
        record.headers.add(name, SchemaAndValue::schemaless(Value::from(value)));
    }
    record
}

fn json(text: &str) -> SchemaAndValue {
    SchemaAndValue::schemaless(parse_json(text).unwrap())
}

fn written(datum: &Datum) -> String {
    let mut out = Vec::new();
    datum.write_json(Rendering::Connect, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn chain(settings: &[(&str, &str)]) -> Chain {
    let raw: RawConfig = settings
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    Chain::build(&raw, &transforms(), &predicates()).unwrap_or_else(|errors| panic!("{errors}"))
}

fn apply(class: &str, settings: &[(&str, &str)], record: Record) -> Result<Record, StageError> {
    let class = format!("io.klamm.transforms.{class}");
    let mut all = vec![
        ("transforms".to_owned(), "t".to_owned()),
        ("transforms.t.type".to_owned(), class),
    ];
    let settings = settings.iter();
    all.extend(settings.map(|(key, value)| (format!("transforms.t.{key}"), (*value).to_owned())));
    let all: Vec<(&str, &str)> = all.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    chain(&all).apply(record).map(|record| record.unwrap())
}

/// A struct with a number, a nested struct and an instant.
fn order() -> SchemaAndValue {
    let customer = Schema::structure().field("name", Schema::string()).build().unwrap();
    let schema = Schema::structure()
        .name("Order")
        .field("id", Schema::int32())
        .field("customer", Arc::clone(&customer))
        .field("at", logical::timestamp().optional().build().unwrap())
        .field("raw", Schema::optional_string())
        .build()
        .unwrap();
    let mut name = Struct::try_new(customer).unwrap();
    name.put("name", Value::from("Ada")).unwrap();
    let mut order = Struct::try_new(Arc::clone(&schema)).unwrap();
    order.put("id", Value::Int32(7)).unwrap();
    order.put("customer", Value::Struct(Box::new(name))).unwrap();
    order.put("at", Value::Instant(5)).unwrap();
    order.put("raw", Value::from("[1, 2.5]")).unwrap();
    SchemaAndValue::new(schema, Value::Struct(Box::new(order)))
}

const VALUE: &str = r#"{"state":"paid","total":99.5,"count":3,"tags":["a","vip"],"note":null,"items":[{"sku":"A-1","qty":2},{"sku":"B-2","qty":1}],"customer":{"city":"Oslo","a.b":1},"on":true,"empty":[],"text":""}"#;

#[test]
fn event_patterns_match_as_those_of_eventbridge() {
    let cases = [
        // pattern, matches, why
        (r#"{"value":{"state":["paid","shipped"]}}"#, true, "one of several"),
        (r#"{"value":{"state":["shipped"]}}"#, false, "none"),
        (r#"{"value":{"state":["PAID"]}}"#, false, "case counts"),
        (
            r#"{"value":{"state":["paid"],"on":[false]}}"#,
            false,
            "all members have to match",
        ),
        (r#"{"value":{"state":["paid"],"on":[true]}}"#, true, "and do"),
        (
            r#"{"value":{"customer":{"city":["Oslo"],"a.b":[1]}}}"#,
            true,
            "nested, names are taken literally",
        ),
        (r#"{"value":{"count":[3.0]}}"#, true, "numbers compare by value"),
        (r#"{"value":{"count":["3"]}}"#, false, "a text is no number"),
        (r#"{"value":{"note":[null]}}"#, true, "null"),
        (r#"{"value":{"absent":[null]}}"#, false, "what is missing is not null"),
        (r#"{"value":{"text":[""]}}"#, true, "empty"),
        (r#"{"value":{"tags":["vip"]}}"#, true, "an element of a list"),
        (
            r#"{"value":{"items":{"sku":["B-2"],"qty":[1]}}}"#,
            true,
            "one element matches as a whole",
        ),
        (
            r#"{"value":{"items":{"sku":["B-2"],"qty":[2]}}}"#,
            false,
            "not one from here and one from there",
        ),
        (r#"{"value":{"state":[{"prefix":"pa"}]}}"#, true, "prefix"),
        (r#"{"value":{"state":[{"suffix":"id"}]}}"#, true, "suffix"),
        (
            r#"{"value":{"state":[{"prefix":{"equals-ignore-case":"PA"}}]}}"#,
            true,
            "prefix in any case",
        ),
        (
            r#"{"value":{"state":[{"equals-ignore-case":"PAID"}]}}"#,
            true,
            "any case",
        ),
        (r#"{"value":{"state":[{"wildcard":"p*i*"}]}}"#, true, "wildcard"),
        (
            r#"{"value":{"state":[{"wildcard":"p*x*"}]}}"#,
            false,
            "wildcard without a match",
        ),
        (
            r#"{"value":{"state":[{"wildcard":"paid"}]}}"#,
            true,
            "wildcard without an asterisk",
        ),
        (
            r#"{"value":{"state":[{"wildcard":"pai*id"}]}}"#,
            false,
            "parts do not overlap",
        ),
        (
            r#"{"value":{"state":[{"anything-but":["new","paid"]}]}}"#,
            false,
            "anything but",
        ),
        (
            r#"{"value":{"state":[{"anything-but":"new"}]}}"#,
            true,
            "anything but a single one",
        ),
        (
            r#"{"value":{"state":[{"anything-but":{"prefix":"pa"}}]}}"#,
            false,
            "anything but a prefix",
        ),
        (
            r#"{"value":{"state":[{"anything-but":{"suffix":["x","y"]}}]}}"#,
            true,
            "anything but suffixes",
        ),
        (
            r#"{"value":{"absent":[{"anything-but":"new"}]}}"#,
            false,
            "what is missing is nothing at all",
        ),
        (r#"{"value":{"total":[{"numeric":[">",90,"<=",99.5]}]}}"#, true, "range"),
        (
            r#"{"value":{"total":[{"numeric":[">",99.5]}]}}"#,
            false,
            "bound excluded",
        ),
        (r#"{"value":{"total":[{"numeric":["=",9.95e1]}]}}"#, true, "equal"),
        (
            r#"{"value":{"state":[{"numeric":[">",0]}]}}"#,
            false,
            "a text is in no range",
        ),
        (
            r#"{"value":{"state":[{"exists":true}],"absent":[{"exists":false}]}}"#,
            true,
            "exists",
        ),
        (r#"{"value":{"note":[{"exists":true}]}}"#, true, "null is there"),
        (
            r#"{"value":{"customer":[{"exists":true}]}}"#,
            false,
            "only what holds no others exists",
        ),
        (
            r#"{"value":{"empty":[{"exists":false}]}}"#,
            true,
            "a list without elements",
        ),
        (
            r#"{"value":{"absent":{"b":[{"exists":false}]}}}"#,
            true,
            "nor does anything inside of it exist",
        ),
        (r#"{"value":{"$or":[{"state":["new"]},{"on":[true]}]}}"#, true, "or"),
        (
            r#"{"value":{"$or":[{"state":["new"]},{"on":[false]}]}}"#,
            false,
            "neither",
        ),
        (
            r#"{"topic":["orders"],"partition":[3],"offset":[{"numeric":[">=",42]}]}"#,
            true,
            "metadata",
        ),
        (r#"{"timestamp":[{"numeric":["<",1714558830123]}]}"#, false, "timestamp"),
        (r#"{"key":{"id":["k1"]}}"#, true, "key"),
        (r#"{"key":["k1"]}"#, false, "the key is an object"),
        (r#"{"headers":{"trace":["t1"]}}"#, true, "any header of the name"),
        (r#"{"headers":{"trace":["t3"]}}"#, false, "none of them"),
        (
            r#"{"headers":{"absent":[{"exists":false}],"trace":[{"exists":true}]}}"#,
            true,
            "headers exist or not",
        ),
        (r#"{"headers":{"ip":[{"cidr":"10.0.0.0/16"}]}}"#, true, "address"),
        (
            r#"{"headers":{"ip":[{"cidr":"10.0.2.0/24"}]}}"#,
            false,
            "another network",
        ),
        (
            r#"{"$or":[{"topic":["x"]},{"value":{"count":[3]}}]}"#,
            true,
            "or at the top, the value is decoded",
        ),
    ];
    for (pattern, wanted, why) in cases {
        let chain = chain(&[
            ("transforms", "t"),
            ("transforms.t.type", "Filter"),
            ("transforms.t.predicate", "p"),
            ("predicates", "p"),
            ("predicates.p.type", "io.klamm.transforms.predicates.EventPattern"),
            ("predicates.p.pattern", pattern),
        ]);
        let record = record(json(r#"{"id":"k1"}"#), json(VALUE));
        assert_eq!(chain.apply(record).unwrap().is_none(), wanted, "{pattern}: {why}");
    }
}

#[test]
fn structs_match_as_objects_do() {
    let chain = chain(&[
        ("transforms", "t"),
        ("transforms.t.type", "Filter"),
        ("transforms.t.predicate", "p"),
        ("predicates", "p"),
        ("predicates.p.type", "EventPattern"),
        (
            "predicates.p.pattern",
            r#"{"value":{"id":[{"numeric":["<",8]}],"customer":{"name":["Ada"]},"at":[5]}}"#,
        ),
    ]);
    assert!(chain.apply(record(SchemaAndValue::NULL, order())).unwrap().is_none());
}

#[test]
fn patterns_that_cannot_match_are_refused() {
    let cases = [
        ("x", "no JSON"),
        ("[]", "object"),
        ("{}", "empty"),
        (r#"{"value":{}}"#, "empty"),
        (r#"{"value":{"a":[]}}"#, "empty"),
        (r#"{"value":{"a":"x"}}"#, "list of rules"),
        (r#"{"body":["x"]}"#, "no `body`"),
        (r#"{"topic":{"a":["x"]}}"#, "no members"),
        (r#"{"headers":["x"]}"#, "name a header"),
        (r#"{"value":{"a":[{"prefx":"x"}]}}"#, "no rule `prefx`"),
        (r#"{"value":{"a":[{"prefix":1}]}}"#, "takes a text"),
        (r#"{"value":{"a":[{"prefix":"x","suffix":"y"}]}}"#, "one member"),
        (r#"{"value":{"a":[{"numeric":[">"]}]}}"#, "numeric"),
        (r#"{"value":{"a":[{"numeric":["!",1]}]}}"#, "numeric"),
        (r#"{"value":{"a":[{"cidr":"10.0.0.0/33"}]}}"#, "cidr"),
        (r#"{"value":{"a":[{"exists":1}]}}"#, "exists"),
        (r#"{"value":{"a":[{"wildcard":"a**"}]}}"#, "two `*`"),
        (r#"{"value":{"a":[{"anything-but":[]}]}}"#, "anything-but"),
        (r#"{"value":{"$or":[{"a":["x"]}]}}"#, "at least two"),
        (r#"{"value":{"a":[["x"]]}}"#, "no list"),
    ];
    for (pattern, part) in cases {
        let raw = RawConfig::from([
            ("predicates".to_owned(), "p".to_owned()),
            ("predicates.p.type".to_owned(), "EventPattern".to_owned()),
            ("predicates.p.pattern".to_owned(), pattern.to_owned()),
        ]);
        let errors = Chain::build(&raw, &transforms(), &predicates()).unwrap_err();
        let error = &errors.as_slice()[0];
        assert_eq!(error.key, "predicates.p.pattern");
        assert!(error.message.contains(part), "{pattern}: {}", error.message);
    }
}

#[test]
fn fields_are_set_from_templates() {
    let cases = [
        (
            "${topic}-${partition}/${offset}@${timestamp}",
            Some("orders-3/42@1714558830123"),
        ),
        (
            "${value.customer.city}: ${value.total} ${value.on}",
            Some("Oslo: 99.5 true"),
        ),
        ("${value.customer.`a.b`}", Some("1")),
        ("${key}", Some("k1")),
        ("${headers.trace}", Some("t2")),
        ("$${topic} is ${topic}, $5", Some("${topic} is orders, $5")),
        ("plain", Some("plain")),
        ("${value.absent}", None),
        ("${value.note}", None),
        ("${headers.absent}", None),
        ("${value.tags}", None),
        ("${value.state.deeper}", None),
    ];
    for (template, wanted) in cases {
        let key = SchemaAndValue::schemaless(Value::from("k1"));
        let settings = [("field", "state"), ("template", template)];
        let got = apply("SetField$Value", &settings, record(key, json(VALUE)));
        let got = got.ok().map(|record| match record.value.decode().unwrap().value {
            Value::Map(map) => map.get("state").cloned(),
            other => panic!("{other:?}"),
        });
        assert_eq!(got, wanted.map(|text| Some(Value::from(text))), "{template}");
    }
}

#[test]
fn a_template_with_something_missing_fails_or_sets_null_or_nothing() {
    let settings = |behavior| {
        [
            ("field", "x"),
            ("template", "${value.absent}"),
            ("missing.or.null.behavior", behavior),
        ]
    };
    let value = || json(r#"{"a":1}"#);
    let set = |behavior| {
        let record = apply(
            "SetField$Value",
            &settings(behavior),
            record(SchemaAndValue::NULL, value()),
        );
        record
            .map(|record| written(&record.value))
            .map_err(|error| error.to_string())
    };
    assert_eq!(set("null").unwrap(), r#"{"a":1,"x":null}"#);
    assert_eq!(set("skip").unwrap(), r#"{"a":1}"#);
    assert_eq!(
        set("fail").unwrap_err(),
        "transform `t` (io.klamm.transforms.SetField$Value): `${value.absent}` is missing or null, and the text of field \
         `x` needs it: `missing.or.null.behavior` says what else to do than to fail"
    );
}

#[test]
fn a_field_set_in_a_struct_is_an_optional_string_in_its_old_place_or_the_last() {
    let settings = |field| [("field", field), ("template", "${value.id}-${value.at}")];
    let set = |field| {
        apply(
            "SetField$Value",
            &settings(field),
            record(SchemaAndValue::NULL, order()),
        )
        .unwrap()
    };
    for (field, place) in [("id", 0), ("label", 4)] {
        let data = set(field).value.decode().unwrap();
        let schema = data.schema.unwrap();
        assert_eq!(schema.name(), Some("Order"));
        assert_eq!(schema.field_index(field), Some(place));
        assert!(Schema::same(&schema.fields()[place].schema, &Schema::optional_string()));
        data.value.validate(&schema).unwrap();
        let Value::Struct(data) = data.value else {
            panic!("no struct")
        };
        assert_eq!(data.get(field), Some(&Value::from("7-00:00:00.005Z")));
    }
}

#[test]
fn json_text_becomes_what_it_holds_and_back() {
    let cases = [
        // class, fields, before, after
        (
            "ParseJson$Value",
            "doc",
            r#"{"doc":"{\"b\":[1,2.50,null]}","x":1}"#,
            Some(r#"{"doc":{"b":[1,2.5,null]},"x":1}"#),
        ),
        (
            "ParseJson$Value",
            "a.doc",
            r#"{"a":{"doc":"7"}}"#,
            Some(r#"{"a":{"doc":7}}"#),
        ),
        ("ParseJson$Value", "absent,a.b", r#"{"a":{}}"#, Some(r#"{"a":{}}"#)),
        ("ParseJson$Value", "doc", r#"{"doc":null}"#, Some(r#"{"doc":null}"#)),
        ("ParseJson$Value", "doc", r#"{"doc":"{"}"#, None),
        ("ParseJson$Value", "doc", r#"{"doc":"1 2"}"#, None),
        ("ParseJson$Value", "doc", r#"{"doc":5}"#, None),
        ("ParseJson$Value", "", r#""[true]""#, Some("[true]")),
        (
            "WriteJson$Value",
            "doc",
            r#"{"doc":{"b":[1,2.5,null]},"x":1}"#,
            Some(r#"{"doc":"{\"b\":[1,2.5,null]}","x":1}"#),
        ),
        ("WriteJson$Value", "doc,x", r#"{"x":"a"}"#, Some(r#"{"x":"\"a\""}"#)),
        ("WriteJson$Value", "", r#"{"a":1}"#, Some(r#""{\"a\":1}""#)),
    ];
    for (class, fields, before, after) in cases {
        let got = apply(class, &[("fields", fields)], record(SchemaAndValue::NULL, json(before)));
        let got = got.ok().map(|record| written(&record.value));
        assert_eq!(got.as_deref(), after, "{class} {fields} {before}");
    }
}

#[test]
fn json_text_in_a_struct_takes_the_schema_away_and_writing_keeps_it() {
    let parsed = apply(
        "ParseJson$Value",
        &[("fields", "raw")],
        record(SchemaAndValue::NULL, order()),
    )
    .unwrap();
    assert!(parsed.value.decode().unwrap().schema.is_none());
    assert_eq!(
        written(&parsed.value),
        r#"{"id":7,"customer":{"name":"Ada"},"at":5,"raw":[1,2.5]}"#
    );
    let text = apply(
        "WriteJson$Value",
        &[("fields", "customer,at")],
        record(SchemaAndValue::NULL, order()),
    )
    .unwrap();
    let data = text.value.decode().unwrap();
    data.value.validate(data.schema.as_ref().unwrap()).unwrap();
    assert_eq!(
        written(&text.value),
        r#"{"id":7,"customer":"{\"name\":\"Ada\"}","at":"5","raw":"[1, 2.5]"}"#
    );
}

#[test]
fn null_passes_as_it_is() {
    for (class, settings) in [
        ("SetField$Value", vec![("field", "a"), ("template", "b")]),
        ("ParseJson$Value", vec![("fields", "a")]),
        ("WriteJson$Value", vec![("fields", "a")]),
        ("WriteJson$Value", vec![]),
    ] {
        let record = apply(class, &settings, record(SchemaAndValue::NULL, SchemaAndValue::NULL)).unwrap();
        assert_eq!(record.value.decode().unwrap(), SchemaAndValue::NULL, "{class}");
    }
}
