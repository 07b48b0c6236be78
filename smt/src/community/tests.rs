use std::sync::Arc;

use klamm_connect_api::{
    Datum, Origin, RawConfig, Record, Rendering, Schema, SchemaAndValue, SchemaType, Struct, TopicPartition, Value,
    logical,
};
use klamm_converters::parse_json;

use crate::{Chain, predicates, transforms};

fn json(text: &str) -> SchemaAndValue {
    SchemaAndValue::schemaless(parse_json(text).unwrap())
}

/// The record after a transform, written `Class key=value …`; none if it was dropped.
fn apply(transform: &str, key: SchemaAndValue, value: SchemaAndValue) -> Result<Option<Record>, String> {
    let mut words = transform.split(' ');
    let class = words.next().unwrap_or_default();
    let publisher = match class.split('$').next().unwrap_or_default() {
        "BytesToString" | "PatternFilter" | "SetNull" | "ToJSON" | "TopicNameToField" => {
            "com.github.jcustenborder.kafka.connect.transform.common"
        }
        _ => "io.aiven.kafka.connect.transforms",
    };
    let mut raw = RawConfig::from([
        ("transforms".to_owned(), "t".to_owned()),
        ("transforms.t.type".to_owned(), format!("{publisher}.{class}")),
    ]);
    for (key, value) in words.filter_map(|word| word.split_once('=')) {
        raw.insert(format!("transforms.t.{key}"), value.to_owned());
    }
    let origin = Origin {
        topic_partition: TopicPartition::new("orders", 0),
        offset: 7,
    };
    let record = Record::new(origin, Datum::from(key), Datum::from(value));
    let chain = Chain::build(&raw, &transforms(), &predicates()).map_err(|errors| errors.to_string())?;
    chain.apply(record).map_err(|error| error.to_string())
}

fn written(datum: &Datum) -> String {
    let mut out = Vec::new();
    datum.write_json(Rendering::Connect, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn filters_keep_what_they_say() {
    let (kept, dropped) = (Some(true), Some(false));
    let cases = [
        // transform, value, fate; none is an error, why
        (
            "FilterByFieldValue$Value field.name=a field.value=x",
            r#"{"a":"x"}"#,
            kept,
            "equal",
        ),
        (
            "FilterByFieldValue$Value field.name=a field.value=x",
            r#"{"a":"y"}"#,
            dropped,
            "not equal",
        ),
        (
            "FilterByFieldValue$Value field.name=a field.value=x",
            r#"{}"#,
            dropped,
            "missing is no match",
        ),
        (
            "FilterByFieldValue$Value field.name=a field.value=x field.value.matches=false",
            r#"{}"#,
            kept,
            "and so kept by the opposite",
        ),
        (
            "FilterByFieldValue$Value field.name=a field.value=5",
            r#"{"a":5}"#,
            dropped,
            "int8 is not int64",
        ),
        (
            "FilterByFieldValue$Value field.name=a field.value=3000000000",
            r#"{"a":3000000000}"#,
            kept,
            "int64 is",
        ),
        (
            "FilterByFieldValue$Value field.name=a.b field.value=true",
            r#"{"a":{"b":true}}"#,
            kept,
            "nested",
        ),
        (
            "FilterByFieldValue$Value field.name=a field.value.pattern=^[0-9]$",
            r#"{"a":5}"#,
            kept,
            "as text",
        ),
        (
            "FilterByFieldValue$Value field.name=a field.value.pattern=b",
            r#"{"a":"abc"}"#,
            kept,
            "found anywhere",
        ),
        (
            "FilterByFieldValue$Value field.name=a field.value.pattern=b",
            r#"{"a":[1]}"#,
            None,
            "no single value",
        ),
        (
            "FilterByFieldValue$Value field.value=x",
            r#""x""#,
            kept,
            "the whole value",
        ),
        (
            "FilterByFieldValue$Value field.name=a field.value=x",
            "null",
            kept,
            "null passes",
        ),
        (
            "FilterByFieldValue$Value field.name=a field.value=x",
            "5",
            None,
            "no fields",
        ),
        (
            "PatternFilter$Value fields=a,b pattern=x.*",
            r#"{"b":"xy"}"#,
            dropped,
            "matches",
        ),
        (
            "PatternFilter$Value fields=a,b pattern=x",
            r#"{"b":"xy"}"#,
            kept,
            "as a whole",
        ),
        (
            "PatternFilter$Value fields=a pattern=5",
            r#"{"a":5}"#,
            kept,
            "texts only",
        ),
        ("PatternFilter$Value fields=a pattern=x", "null", kept, "null passes"),
        (
            "PatternFilter$Value pattern=.*",
            r#"{"a":"x"}"#,
            kept,
            "no fields are looked at",
        ),
    ];
    for (transform, value, fate, why) in cases {
        let got = apply(transform, SchemaAndValue::NULL, json(value));
        let got = got.map(|record| record.is_some()).ok();
        assert_eq!(got, fate, "{transform} on {value}: {why}");
    }
}

#[test]
fn keys_topics_and_nulls_go_where_they_are_sent() {
    let cases = [
        // transform, key, value, key and value afterwards
        (
            "KeyToValue key.fields=*",
            r#""k""#,
            r#"{"a":1}"#,
            Some((r#""k""#, r#"{"a":1,"_key":"k"}"#)),
        ),
        (
            "KeyToValue key.fields=id,n value.fields=a",
            r#"{"id":5}"#,
            r#"{"a":1}"#,
            Some((r#"{"id":5}"#, r#"{"a":5,"n":null}"#)),
        ),
        ("KeyToValue key.fields=id", r#""k""#, r#"{"a":1}"#, None),
        ("KeyToValue key.fields=a,b value.fields=c,c", "{}", "{}", None),
        (
            "TopicNameToField$Value field=t",
            "1",
            r#"{"a":1}"#,
            Some(("1", r#"{"a":1,"t":"orders"}"#)),
        ),
        (
            "TopicNameToField$Key field=t",
            r#"{"t":1}"#,
            "1",
            Some((r#"{"t":"orders"}"#, "1")),
        ),
        ("TopicNameToField$Value field=t", "1", "null", Some(("1", "null"))),
        ("SetNull$Key", "1", "2", Some(("null", "2"))),
        ("MakeTombstone", "1", "2", Some(("1", "null"))),
    ];
    for (transform, key, value, wanted) in cases {
        let got = apply(transform, json(key), json(value)).ok().flatten();
        let got = got.map(|record| (written(&record.key), written(&record.value)));
        let got = got.as_ref().map(|(key, value)| (key.as_str(), value.as_str()));
        assert_eq!(got, wanted, "{transform} on {key} and {value}");
    }
}

#[test]
fn structs_take_fields_of_the_key_with_their_schemas() {
    let key_schema = Schema::structure().field("id", Schema::int32()).build().unwrap();
    let mut key = Struct::try_new(Arc::clone(&key_schema)).unwrap();
    key.put("id", Value::Int32(5)).unwrap();
    let value_schema = Schema::structure()
        .name("V")
        .field("id", Schema::string())
        .field("a", Schema::optional_string())
        .build()
        .unwrap();
    let mut value = Struct::try_new(Arc::clone(&value_schema)).unwrap();
    value.put("id", Value::from("x")).unwrap();
    let record = apply(
        "KeyToValue key.fields=id,* value.fields=id",
        SchemaAndValue::new(key_schema, Value::Struct(Box::new(key))),
        SchemaAndValue::new(value_schema, Value::Struct(Box::new(value))),
    );
    let record = record.unwrap().unwrap();
    let data = record.value.decode().unwrap();
    data.value.validate(data.schema.as_ref().unwrap()).unwrap();
    assert_eq!(data.schema.unwrap().name(), Some("V"));
    assert_eq!(written(&record.value), r#"{"id":5,"a":null,"_key":{"id":5}}"#);
}

fn described(datum: &Datum) -> (Option<String>, String) {
    let data = datum.decode().unwrap();
    let schema = data.schema.as_ref().map(|schema| {
        let optional = if schema.is_optional() { "?" } else { "" };
        format!("{}{optional}", schema.schema_type())
    });
    (schema, written(datum))
}

/// As `JsonConverter` of Apache Kafka 4.3.1 wrote it.
#[test]
fn a_key_or_value_becomes_the_json_text_that_json_converter_writes() {
    let inner = Schema::structure()
        .name("In")
        .field(
            "x",
            Schema::builder(SchemaType::Int32)
                .optional()
                .default_value(Value::Int32(7))
                .build()
                .unwrap(),
        )
        .build()
        .unwrap();
    let amount = Schema::builder(SchemaType::Float64).doc("amount").build().unwrap();
    let note = Schema::builder(SchemaType::String)
        .default_value(Value::from("n/a"))
        .build()
        .unwrap();
    let schema = Schema::structure()
        .name("Ord")
        .version(2)
        .doc("d")
        .parameter("p", "1")
        .optional()
        .field("id", Schema::int32())
        .field("g", amount)
        .field("amt", logical::decimal(2).optional().build().unwrap())
        .field("tags", Schema::array(Schema::string()).build().unwrap())
        .field(
            "m",
            Schema::map(Schema::int32(), Schema::optional_string()).build().unwrap(),
        )
        .field("in", Arc::clone(&inner))
        .field("note", note)
        .build()
        .unwrap();
    let mut data = Struct::try_new(Arc::clone(&schema)).unwrap();
    let inner = Value::Struct(Box::new(Struct::try_new(inner).unwrap()));
    for (name, value) in [
        ("id", Value::Int32(1)),
        ("g", Value::Float64(f64::NAN)),
        ("amt", Value::Decimal(Box::new("12.50".parse().unwrap()))),
        ("tags", Value::Array(vec![Value::from("é\u{1}\"/")])),
        (
            "m",
            Value::Map([(Value::Int32(1), Value::from("x"))].into_iter().collect()),
        ),
        ("in", inner),
    ] {
        data.put(name, value).unwrap();
    }
    let payload = r#"{"id":1,"g":"NaN","amt":"BOI=","tags":["é\u0001\"/"],"m":[[1,"x"]],"in":{"x":7},"note":"n/a"}"#;
    let schema_json = concat!(
        r#"{"type":"struct","fields":[{"type":"int32","optional":false,"field":"id"},"#,
        r#"{"type":"double","optional":false,"doc":"amount","field":"g"},"#,
        r#"{"type":"bytes","optional":true,"name":"org.apache.kafka.connect.data.Decimal","version":1,"#,
        r#""parameters":{"scale":"2"},"field":"amt"},"#,
        r#"{"type":"array","items":{"type":"string","optional":false},"optional":false,"field":"tags"},"#,
        r#"{"type":"map","keys":{"type":"int32","optional":false},"values":{"type":"string","optional":true},"#,
        r#""optional":false,"field":"m"},"#,
        r#"{"type":"struct","fields":[{"type":"int32","optional":true,"default":7,"field":"x"}],"optional":false,"#,
        r#""name":"In","field":"in"},{"type":"string","optional":false,"default":"n/a","field":"note"}],"#,
        r#""optional":true,"name":"Ord","version":2,"doc":"d","parameters":{"p":"1"}}"#,
    );
    let envelope = |schema: &str, payload: &str| format!(r#"{{"schema":{schema},"payload":{payload}}}"#);
    let structure = SchemaAndValue::new(Arc::clone(&schema), Value::Struct(Box::new(data)));
    let null = SchemaAndValue::new(schema, Value::Null);
    let required = Schema::structure().field("i", Schema::int32()).build().unwrap();
    let map = json(r#"{"k":1.5,"n":null,"l":[1,"z"],"t":true}"#);
    let text = SchemaAndValue::new(Schema::string(), Value::from("x"));
    let cases = [
        // transform, value, text; none is an error
        ("ToJSON$Value", &structure, Some(payload.to_owned())),
        (
            "ToJSON$Value output.schema.type=BYTES",
            &structure,
            Some(payload.to_owned()),
        ),
        (
            "ToJSON$Value schemas.enable=true",
            &structure,
            Some(envelope(schema_json, payload)),
        ),
        ("ToJSON$Value", &null, Some("null".to_owned())),
        (
            "ToJSON$Value schemas.enable=true",
            &null,
            Some(envelope(schema_json, "null")),
        ),
        (
            "ToJSON$Value",
            &map,
            Some(r#"{"k":1.5,"n":null,"l":[1,"z"],"t":true}"#.to_owned()),
        ),
        (
            "ToJSON$Value schemas.enable=true",
            &map,
            Some(envelope("null", r#"{"k":1.5,"n":null,"l":[1,"z"],"t":true}"#)),
        ),
        ("ToJSON$Value", &SchemaAndValue::new(required, Value::Null), None),
        ("ToJSON$Value", &json("5"), None),
        ("ToJSON$Value", &json("[1]"), None),
        (
            "ToJSON$Value",
            &SchemaAndValue::new(Schema::int32(), Value::Int32(5)),
            None,
        ),
    ];
    for (transform, value, wanted) in cases {
        let got = apply(transform, SchemaAndValue::NULL, value.clone()).ok().flatten();
        let got = got.map(|record| record.value.decode().unwrap());
        let Some(wanted) = wanted else {
            assert_eq!(got, None, "{transform} on {value:?}");
            continue;
        };
        let wanted = if transform.contains("BYTES") {
            SchemaAndValue::new(
                Schema::builder(SchemaType::Bytes).optional().build().unwrap(),
                Value::Bytes(wanted.into()),
            )
        } else {
            SchemaAndValue::new(Schema::optional_string(), Value::from(wanted))
        };
        assert_eq!(got, Some(wanted), "{transform} on {value:?}");
    }
    let same = |value: SchemaAndValue| apply("ToJSON$Value", SchemaAndValue::NULL, value).unwrap().unwrap();
    assert!(same(SchemaAndValue::NULL).value.is_absent());
    assert_eq!(
        described(&same(text).value),
        (Some("string".to_owned()), r#""x""#.to_owned())
    );
    assert_eq!(described(&same(json(r#""x""#)).value).0.as_deref(), Some("string?"));
    assert!(apply("ToJSON$Value output.schema.type=string", json("1"), json("{}")).is_err());
}

#[test]
fn bytes_become_text_in_their_charset() {
    let bytes = |optional: bool| {
        Schema::builder(SchemaType::Bytes)
            .with_optional(optional)
            .build()
            .unwrap()
    };
    let latin1 = Value::Bytes(vec![b'a', 0xe9].into());
    let cases = [
        // transform, value, schema and JSON; none is an error
        (
            "BytesToString$Value",
            SchemaAndValue::schemaless(latin1.clone()),
            Some(("string?", "\"a\u{fffd}\"")),
        ),
        (
            "BytesToString$Value charset=ISO-8859-1",
            SchemaAndValue::new(bytes(false), latin1.clone()),
            Some(("string", "\"aé\"")),
        ),
        (
            "BytesToString$Value charset=latin1",
            SchemaAndValue::new(bytes(true), latin1.clone()),
            Some(("string?", "\"aé\"")),
        ),
        (
            "BytesToString$Value",
            SchemaAndValue::new(bytes(true), Value::Null),
            Some(("string?", "null")),
        ),
        (
            "BytesToString$Value",
            SchemaAndValue::new(Schema::string(), Value::from("x")),
            None,
        ),
        ("BytesToString$Value", json(r#"{"a":1}"#), None),
        ("BytesToString$Value", json("5"), None),
    ];
    for (transform, value, wanted) in cases {
        let got = apply(transform, SchemaAndValue::NULL, value.clone()).ok().flatten();
        let got = got.map(|record| described(&record.value));
        let got = got
            .as_ref()
            .map(|(schema, json)| (schema.as_deref().unwrap_or_default(), json.as_str()));
        assert_eq!(got, wanted, "{transform} on {value:?}");
    }
    let unchanged = apply("BytesToString$Value", SchemaAndValue::NULL, SchemaAndValue::NULL);
    assert!(unchanged.unwrap().unwrap().value.is_absent());
    assert!(apply("BytesToString$Value charset=nope", json("1"), json("1")).is_err());
}

#[test]
fn listed_fields_of_a_struct_become_text() {
    let bytes = |optional: bool| {
        Schema::builder(SchemaType::Bytes)
            .with_optional(optional)
            .build()
            .unwrap()
    };
    let schema = Schema::structure()
        .name("V")
        .version(2)
        .optional()
        .field("a", bytes(false))
        .field("b", bytes(true))
        .field("c", bytes(true))
        .field("n", Schema::int32())
        .build()
        .unwrap();
    let mut data = Struct::try_new(Arc::clone(&schema)).unwrap();
    for (name, value) in [
        ("a", Value::Bytes("xy".into())),
        ("c", Value::Bytes("z".into())),
        ("n", Value::Int32(1)),
    ] {
        data.put(name, value).unwrap();
    }
    let value = SchemaAndValue::new(schema, Value::Struct(Box::new(data)));
    let record = apply(
        "BytesToString$Value fields=a,b,gone",
        SchemaAndValue::NULL,
        value.clone(),
    );
    let record = record.unwrap().unwrap();
    assert_eq!(written(&record.value), r#"{"a":"xy","b":null,"c":"eg==","n":1}"#);
    let data = record.value.decode().unwrap();
    let schema = data.schema.unwrap();
    data.value.validate(&schema).unwrap();
    assert_eq!(
        (schema.name(), schema.version(), schema.is_optional()),
        (Some("V"), None, true)
    );
    let wanted = [Schema::string(), Schema::optional_string()];
    let got = schema.fields().iter().map(|field| Arc::clone(&field.schema));
    assert!(got.zip(wanted).all(|(got, wanted)| Schema::same(&got, &wanted)));
    let error = apply("BytesToString$Value fields=n", SchemaAndValue::NULL, value).unwrap_err();
    assert!(error.contains("field `n` does not hold bytes"), "{error}");
}
