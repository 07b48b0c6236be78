use proptest::prelude::*;

use super::*;

fn registered(text: &str, references: &[(&str, &str)]) -> RegisteredSchema {
    let document = |text: &str| {
        Arc::new(klamm_schema_registry::Document {
            id: Some(7),
            subject: Some(Arc::from("t-value")),
            version: None,
            schema_type: SchemaType::Json,
            text: text.to_owned(),
            references: Vec::new(),
        })
    };
    RegisteredSchema {
        document: document(text),
        references: references
            .iter()
            .map(|(name, text)| klamm_schema_registry::ReferencedDocument {
                name: (*name).to_owned(),
                document: document(text),
            })
            .collect(),
    }
}

fn compiler() -> JsonCompiler {
    JsonCompiler {
        options: Options {
            vendor: Vendor::Confluent,
            optional_for_nonrequired: false,
            generalized: false,
            preserve_additional: false,
        },
        ignore_modern: false,
        validates: false,
    }
}

fn compile(compiler: &JsonCompiler, schema: &RegisteredSchema) -> Result<Arc<JsonCodec>, DataError> {
    compiler.compile(schema, SchemaId::Id(7), None).map(Arc::new)
}

fn codec(schema: &str) -> Arc<JsonCodec> {
    compile(&compiler(), &registered(schema, &[])).unwrap()
}

/// The JSON of a record, by way of values and straight, which has to be the same.
fn json_of(codec: &Arc<JsonCodec>, payload: &[u8]) -> Result<String, DataError> {
    rendered(codec, payload, Rendering::Connect)
}

fn rendered(codec: &Arc<JsonCodec>, payload: &[u8], rendering: Rendering) -> Result<String, DataError> {
    let datum = Arc::clone(codec).datum(Bytes::copy_from_slice(payload))?;
    let mut straight = Vec::new();
    let written = datum.write_json(rendering, &mut straight);
    let decoded = datum.decode().and_then(|data| {
        let mut out = Vec::new();
        json::write(&data, rendering, &mut out).map(|()| out)
    });
    match (&written, &decoded) {
        (Ok(()), Ok(decoded)) => assert_eq!(String::from_utf8_lossy(&straight), String::from_utf8_lossy(decoded)),
        (Err(_), Err(_)) => {}
        _ => panic!("one way fails, the other does not: {written:?} {decoded:?}"),
    }
    written.map(|()| String::from_utf8(straight).unwrap())
}

const LIST: &str = r##"{"type":"object","title":"L","properties":{"v":{"type":"integer"},
    "next":{"oneOf":[{"type":"null"},{"$ref":"#"}]}}}"##;

#[test]
fn records_are_written_as_json_converter_writes_them() {
    let cases: [(&str, &str, &str, &str); 23] = [
        (
            r#"{"properties":{"a":{"type":"integer"},"b":{"type":"string"}}}"#,
            r#"{"b":"\u00e9\"","x":[1],"a":7}"#,
            r#"{"a":7,"b":"é\""}"#,
            "fields in the order of the schema, unknown ones dropped",
        ),
        (
            r#"{"properties":{"a":{"type":"integer","connect.index":1},"b":{"type":"string","connect.index":0}}}"#,
            r#"{"a":7,"b":"x"}"#,
            r#"{"b":"x","a":7}"#,
            "connect.index goes before the order of the document",
        ),
        (
            r#"{"properties":{"a":{"type":"integer"}}}"#,
            r#"{"a":1,"a":-0}"#,
            r#"{"a":0}"#,
            "the last of equal names counts",
        ),
        (
            r#"{"properties":{"a":{"type":["string","null"]},"b":{"type":"boolean","default":true}}}"#,
            "{}",
            r#"{"a":null,"b":true}"#,
            "what stands for missing members",
        ),
        (
            r#"{"properties":{"a":{"type":"number"},"b":{"type":"boolean"},"c":{"type":"integer"}}}"#,
            r#"{"a":-0.0,"b":"x","c":1.9}"#,
            r#"{"a":0.0,"b":false,"c":1}"#,
            "coerced as Jackson does",
        ),
        (
            r#"{"type":"array","items":{"oneOf":[{"type":"integer"},{"type":"number"},{"type":"null"},{"type":"string"}]}}"#,
            r#"[1,1.5,null,"s"]"#,
            r#"[{"io.confluent.connect.json.OneOf.field.0":1,"io.confluent.connect.json.OneOf.field.1":null,"io.confluent.connect.json.OneOf.field.2":null},{"io.confluent.connect.json.OneOf.field.0":null,"io.confluent.connect.json.OneOf.field.1":1.5,"io.confluent.connect.json.OneOf.field.2":null},null,{"io.confluent.connect.json.OneOf.field.0":null,"io.confluent.connect.json.OneOf.field.1":null,"io.confluent.connect.json.OneOf.field.2":"s"}]"#,
            "unions are structs, null is no branch",
        ),
        (
            r#"{"anyOf":[{"type":"object","properties":{"a":{"type":"integer"}}},{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"integer"}}}]}"#,
            r#"{"b":1,"a":2}"#,
            r#"{"io.confluent.connect.json.OneOf.field.0":null,"io.confluent.connect.json.OneOf.field.1":{"a":2,"b":1}}"#,
            "the object that has most of the names",
        ),
        (
            r#"{"type":"array","connect.type":"map","items":{"type":"object","properties":{"key":{"type":"integer"},"value":{"type":"boolean"}}}}"#,
            r#"[{"value":true,"key":1},{"key":1,"value":false}]"#,
            "[[1,false]]",
            "a map of entries",
        ),
        (
            r#"{"type":"object","connect.type":"map","additionalProperties":{"type":"array","items":{"type":"integer"}}}"#,
            r#"{"a":[1],"b":[],"a":[2,3]}"#,
            r#"{"a":[2,3],"b":[]}"#,
            "a map",
        ),
        (
            r#"{"type":"array","items":{"type":"integer"}}"#,
            r#"{"a":1,"b":2}"#,
            "[1,2]",
            "the children of whatever stands there",
        ),
        (
            r#"{"type":"number","connect.type":"bytes","title":"org.apache.kafka.connect.data.Decimal","connect.parameters":{"scale":"2"}}"#,
            "12.34",
            r#""BNI=""#,
            "a decimal as a number",
        ),
        (
            r#"{"type":"number","connect.type":"bytes","title":"org.apache.kafka.connect.data.Decimal","connect.parameters":{"scale":"2"}}"#,
            "1",
            r#""ZA==""#,
            "with fewer places than its schema has",
        ),
        (
            LIST,
            r#"{"next":{"v":2,"next":null},"v":1}"#,
            r#"{"v":1,"next":{"v":2,"next":null}}"#,
            "a schema inside itself",
        ),
        (
            r##"{"type":"array","items":{"$ref":"#"}}"##,
            "[[],[[]]]",
            "[[],[[]]]",
            "arrays of themselves",
        ),
        (
            r##"{"type":["null","array"],"items":{"$ref":"#"}}"##,
            "[[],null,[null]]",
            "[[],null,[null]]",
            "and with null",
        ),
        (
            r##"{"allOf":[{"$ref":"#/definitions/A"},{"properties":{"b":{"type":"string"}}}],"definitions":{"A":{"properties":{"a":{"type":"integer"}}}}}"##,
            r#"{"a":1,"b":"x"}"#,
            r#"{"a":1,"b":"x"}"#,
            "all parts are one struct",
        ),
        (
            r#"{"type":"integer","format":"int32"}"#,
            "5",
            "5",
            "a number with a format",
        ),
        (
            r#"{"type":"string","const":"x"}"#,
            r#""x""#,
            r#""x""#,
            "a constant of a type",
        ),
        (r#"{"enum":[1,"A"]}"#, r#""A""#, r#""A""#, "an enumeration is text"),
        (
            r##"{"$schema":"https://json-schema.org/draft/2020-12/schema","properties":{"a":{"$ref":"#/$defs/A","description":"d"}},"$defs":{"A":{"type":"integer","format":"int32"}}}"##,
            r#"{"a":5}"#,
            r#"{"a":5}"#,
            "draft 2020-12",
        ),
        (
            r##"{"properties":{"a":{"$ref":"#pos"}},"definitions":{"x":{"$id":"#pos","type":"integer"}}}"##,
            r#"{"a":5}"#,
            r#"{"a":5}"#,
            "an anchor",
        ),
        (
            "true",
            "1",
            r#"{"metadata":"AQAA","value":"FAEAAAA="}"#,
            "any value is a Variant",
        ),
        (
            r#"{"type":"integer"}"#,
            " 1 x",
            "1",
            "what follows the value is ignored",
        ),
    ];
    for (schema, payload, wanted, why) in cases {
        assert_eq!(json_of(&codec(schema), payload.as_bytes()).unwrap(), wanted, "{why}");
    }
}

#[test]
fn the_natural_rendering_shows_the_value_of_a_union() {
    let codec = codec(
        r#"{"properties":{"u":{"oneOf":[{"type":"string"},{"type":"integer"}]},"t":{"type":"integer","title":"org.apache.kafka.connect.data.Timestamp"}}}"#,
    );
    let natural = Rendering::Natural(klamm_connect_api::Natural::default());
    let text = rendered(&codec, br#"{"t":1714558830123,"u":5}"#, natural).unwrap();
    assert_eq!(text, r#"{"u":5,"t":"2024-05-01T10:20:30.123Z"}"#);
}

#[test]
fn references_lead_to_other_documents_of_the_registry() {
    let schema = registered(
        r##"{"$id":"http://x/a/order.json","properties":{"c":{"$ref":"customer.json"},"d":{"$ref":"customer.json#/definitions/City"}}}"##,
        &[(
            "customer.json",
            r##"{"properties":{"city":{"$ref":"#/definitions/City"}},"definitions":{"City":{"type":"string"}}}"##,
        )],
    );
    let codec = compile(&compiler(), &schema).unwrap();
    assert_eq!(
        json_of(&codec, br#"{"d":"x","c":{"city":"y"}}"#).unwrap(),
        r#"{"c":{"city":"y"},"d":"x"}"#
    );
    let validating = JsonCompiler {
        validates: true,
        ..compiler()
    };
    let codec = compile(&validating, &schema).unwrap();
    assert!(json_of(&codec, br#"{"d":"x","c":{"city":"y"}}"#).is_ok());
    let error = json_of(&codec, br#"{"d":"x","c":{"city":5}}"#).unwrap_err().to_string();
    assert!(error.contains("/c/city breaks `"), "{error}");
    assert!(!error.contains('5'), "no part of the record: {error}");
}

#[test]
fn validation_ends_whatever_the_schema() {
    let validating = JsonCompiler {
        validates: true,
        ..compiler()
    };
    let endless = [
        r##"{"type":"object","properties":{"a":{"type":"integer"}},"allOf":[{"$ref":"#"}]}"##,
        r##"{"type":"object","properties":{"a":{"type":"integer"}},"not":{"$ref":"#"}}"##,
        r##"{"type":"object","properties":{"a":{"type":"integer","if":{"$ref":"#/properties/a"}}}}"##,
    ];
    for schema in endless {
        let error = compile(&validating, &registered(schema, &[])).unwrap_err().to_string();
        assert!(
            error.contains("for one and the same value") || error.contains("no Connect schema"),
            "{error}"
        );
    }
    let chain: Vec<String> = (0..50)
        .map(|n| format!(r##""D{n}":{{"allOf":[{{"$ref":"#/definitions/D{}"}}]}}"##, n + 1))
        .collect();
    let schema = format!(
        r##"{{"type":"object","properties":{{"n":{{"type":["null","object"],"properties":{{"n":{{}}}},"allOf":[{{"$ref":"#/definitions/D0"}}]}}}},
            "definitions":{{{},"D50":{{"properties":{{"n":{{"$ref":"#/definitions/D0"}}}}}}}}}}"##,
        chain.join(",")
    );
    let codec = compile(&validating, &registered(&schema, &[])).unwrap();
    let deep = format!("{}{{}}{}", r#"{"n":"#.repeat(100), "}".repeat(100));
    let error = json_of(&codec, deep.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("nested too deeply to be validated"), "{error}");
}

#[test]
fn a_pattern_that_goes_back_and_forth_is_given_up() {
    let validating = JsonCompiler {
        validates: true,
        ..compiler()
    };
    let schema = r#"{"type":"object","properties":{"a":{"type":"string","pattern":"^(a|a)*\\1b$"}}}"#;
    let codec = compile(&validating, &registered(schema, &[])).unwrap();
    assert!(json_of(&codec, br#"{"a":"aab"}"#).is_ok());
    let slow = format!(r#"{{"a":"{}"}}"#, "a".repeat(60) + "!");
    let started = cpu();
    let error = json_of(&codec, slow.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("takes more than 50000 steps back for /a"), "{error}");
    assert!(
        error.contains("/properties/a/pattern") && !error.contains("aaa"),
        "{error}"
    );
    assert!(cpu() - started < std::time::Duration::from_secs(2));
}

#[test]
fn documents_that_are_too_big_or_deep_are_refused() {
    let values = format!(r#"{{"type":"string","x":[{}0]}}"#, "0,".repeat(500_000));
    let id = format!(r#"{{"$id":"http://x/{}","type":"string"}}"#, "d".repeat(4096));
    let deep = format!("{}{{}}{}", r#"{"items":"#.repeat(2000), "}".repeat(2000));
    let long = format!(r#"{{"type":"string","x":"{}"}}"#, "x".repeat(17 * 1024 * 1024));
    for (schema, wanted) in [
        (values, "more than 500000 values"),
        (id, "more than 4096"),
        (deep, "levels deep"),
        (long, "more than 16777216"),
    ] {
        let error = compile(&compiler(), &registered(&schema, &[])).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

/// Time that this thread was on a processor.
fn cpu() -> std::time::Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    std::time::Duration::try_from(time).unwrap()
}

#[test]
fn settings_change_the_schema() {
    let schema = registered(
        r##"{"type":"object","required":["u"],"properties":{"u":{"oneOf":[{"type":"integer"},{"type":"boolean"}]},"e":{"type":"string","enum":["A"]}}}"##,
        &[],
    );
    let with = |change: fn(&mut Options)| {
        let mut compiler = compiler();
        change(&mut compiler.options);
        compile(&compiler, &schema).unwrap()
    };
    let optional = with(|options| options.optional_for_nonrequired = true);
    assert_eq!(
        json_of(&optional, br#"{"u":1}"#).unwrap(),
        r#"{"u":{"io.confluent.connect.json.OneOf.field.0":1,"io.confluent.connect.json.OneOf.field.1":null},"e":null}"#
    );
    let generalized = with(|options| options.generalized = true);
    assert_eq!(
        json_of(&generalized, br#"{"u":true,"e":"A"}"#).unwrap(),
        r#"{"u":{"connect_union_field_0":null,"connect_union_field_1":true},"e":"A"}"#
    );
    let parameters = generalized.schema.field("e").unwrap().schema.parameters().clone();
    assert_eq!(parameters["org.apache.kafka.connect.data.Enum.A"], "0");
    let preserving = with(|options| options.preserve_additional = true);
    let text = json_of(&preserving, br#"{"u":1,"e":"A","more":null}"#).unwrap();
    assert!(
        text.ends_with(r#""__connect_additional_properties__":{"more":null}}"#),
        "{text}"
    );
}

#[test]
fn structs_that_are_referred_to_again_are_marked() {
    let codec = codec(
        r##"{"properties":{"a":{"$ref":"#/definitions/A"},"b":{"$ref":"#/definitions/A"},"c":{"$ref":"#/definitions/A"}},
            "definitions":{"A":{"type":"object","title":"A","properties":{"x":{"type":"string"}}}}}"##,
    );
    let mark = |field: &str| {
        let schema = &codec.schema.field(field).unwrap().schema;
        schema.parameters().get("io.confluent.connect.json.Id").cloned()
    };
    // They share one builder there, so the last mark is that of all but the first, which is finished by then.
    assert_eq!(mark("a"), None);
    assert_eq!(mark("b").as_deref(), Some("#id2"));
    assert_eq!(mark("c").as_deref(), Some("#id2"));
}

#[test]
fn null_is_null_of_an_optional_schema() {
    let datum = codec(r#"{"type":["null","string"]}"#)
        .datum(Bytes::from_static(b" null"))
        .unwrap();
    assert!(datum.is_absent());
    assert!(
        datum
            .decode()
            .unwrap()
            .schema
            .is_some_and(|schema| schema.is_optional())
    );
    let error = codec(r#"{"type":"string"}"#)
        .datum(Bytes::from_static(b"null"))
        .unwrap_err();
    assert!(error.to_string().contains("nothing for a required string"), "{error}");
}

#[test]
fn what_does_not_fit_says_where() {
    let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(1100), "]".repeat(1100));
    let order = r#"{"title":"Order","properties":{"lines":{"type":"array","items":{"properties":{"n":{"type":"integer","connect.type":"int8"}}}}}}"#;
    let any_list = r#"{"properties":{"a":{"type":"array","items":{}}}}"#;
    let decimal = r#"{"type":"number","connect.type":"bytes","title":"org.apache.kafka.connect.data.Decimal","connect.parameters":{"scale":"2"}}"#;
    let cases: [(&str, &str, &str); 14] = [
        (decimal, "1.234", "no Decimal of scale 2"),
        (decimal, "1e999999999", "no Decimal of scale 2"),
        (
            order,
            r#"{"lines":[{"n":1},{"n":300}]}"#,
            "schema id 7 (subject t-value, JSON Schema `Order`): field `lines`: element 1: field `n`: a number that is no int8",
        ),
        (order, r#"{"lines":[{}]}"#, "field `n`: nothing for a required int8"),
        (order, r#"{"lines":[5]}"#, "element 0: a number where"),
        (order, "[]", "an array where"),
        (order, "", "the text ends at byte 0"),
        (order, r#"{"lines":[{"n":1"#, "not JSON: the text ends"),
        (order, r#"{"lines":[{"n":NaN}]}"#, "not JSON: a value is due"),
        (order, r#"{"lines":[{"n":01}]}"#, "leading zeros"),
        (order, "{\"lines\":[],\"\u{1}\":1}", "an escaped control character"),
        (any_list, &deep, "nested more than 1000 levels"),
        (
            r#"{"oneOf":[{"type":"string"},{"type":"boolean"}]}"#,
            "1",
            "a number is none of the 2 alternatives",
        ),
        (r#"{"type":"string","connect.type":"bytes"}"#, r#""%""#, "not base64"),
    ];
    for (schema, payload, wanted) in cases {
        let error = json_of(&codec(schema), payload.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(wanted), "{payload:.40}: {error}");
    }
    let error = json_of(&codec(order), b"{\"lines\":\"\xff\"}").unwrap_err().to_string();
    assert!(error.contains("not UTF-8 at byte 10"), "{error}");
}

#[test]
fn schemas_that_cannot_be_read_say_why() {
    let deep = format!("{}{{}}{}", r#"{"items":"#.repeat(400), "}".repeat(400));
    let doubling: String = (0..30)
        .map(|n| format!(r##""D{n}":{{"anyOf":[{{"type":"array","items":{{"$ref":"#/definitions/D{0}"}}}},{{"type":"array","items":{{"$ref":"#/definitions/D{0}"}}}}]}},"##, n + 1))
        .collect();
    let doubling = format!(r##"{{"$ref":"#/definitions/D0","definitions":{{{doubling}"D30":{{"type":"string"}}}}}}"##);
    let cases: [(&str, &str); 18] = [
        ("{", "not JSON"),
        ("5", "is an object or a boolean"),
        (r#"{"type":"null"}"#, "null alone"),
        (r#"{"type":"text"}"#, "`text`, which is no type"),
        (r#"{"type":5}"#, "neither text nor an array"),
        (r#"{"type":"array"}"#, "without a schema for its items"),
        (r#"{"const":1}"#, "`const` without a type"),
        (r#"{"not":{}}"#, "`not` without a type"),
        (
            r#"{"properties":{"a":{"properties":{"b":false}}}}"#,
            "property `a`: property `b`: the JSON Schema has `false`",
        ),
        (
            r##"{"$ref":"#/definitions/X"}"##,
            "`#/definitions/X` has nothing at `definitions`",
        ),
        (
            r#"{"$ref":"http://elsewhere/x.json"}"#,
            "leads to no document: name the schema that it refers to in the references",
        ),
        (r##"{"$ref":"#"}"##, "without an object or array in between"),
        (
            r##"{"oneOf":[{"$ref":"#"},{"type":"string"}]}"##,
            "without an object or array in between",
        ),
        (
            r##"{"$ref":"#/definitions/A","definitions":{"A":{"$ref":"#/definitions/B"},"B":{"$ref":"#/definitions/A"}}}"##,
            "without an object or array",
        ),
        (
            r#"{"type":"string","default":null}"#,
            "`default` of the JSON Schema: nothing for a required string",
        ),
        (
            r#"{"properties":{"a":{"type":"integer","connect.index":"x"}}}"#,
            "`connect.index` of the JSON Schema is no integer",
        ),
        (&deep, "levels deep"),
        (&doubling, "more than 20000 types"),
    ];
    for (schema, wanted) in cases {
        let error = compile(&compiler(), &registered(schema, &[])).unwrap_err().to_string();
        assert!(error.contains(wanted), "{schema:.80}: {error}");
    }
}

#[test]
fn a_hundred_levels_are_read_either_way() {
    let payload = format!("{}null{}", r#"{"v":1,"next":"#.repeat(100), "}".repeat(100));
    assert_eq!(json_of(&codec(LIST), payload.as_bytes()).unwrap(), payload);
}

/// Schemas of all kinds, with the mistakes that come with chance.
fn schema() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just(r#"{"type":"integer"}"#.to_owned()),
        Just(r#"{"type":"integer","connect.type":"int8"}"#.to_owned()),
        Just(r#"{"type":"number"}"#.to_owned()),
        Just(r#"{"type":"number","connect.type":"float32"}"#.to_owned()),
        Just(r#"{"type":"string"}"#.to_owned()),
        Just(r#"{"type":"string","connect.type":"bytes"}"#.to_owned()),
        Just(r#"{"type":"boolean","default":true}"#.to_owned()),
        Just(r#"{"type":["null","string"]}"#.to_owned()),
        Just(r#"{"enum":["a",1]}"#.to_owned()),
        Just(r##"{"$ref":"#"}"##.to_owned()),
        Just(r##"{"$ref":"#/definitions/d"}"##.to_owned()),
        Just(r#"{"type":"integer","title":"org.apache.kafka.connect.data.Timestamp"}"#.to_owned()),
        Just(r#"{"type":"string","title":"org.apache.kafka.connect.data.Decimal","connect.type":"bytes","connect.parameters":{"scale":"1"}}"#.to_owned()),
        Just("{}".to_owned()),
        Just("true".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let many = prop::collection::vec(inner.clone(), 0..4);
        prop_oneof![
            inner.clone().prop_map(|items| format!(r#"{{"type":"array","items":{items}}}"#)),
            inner
                .clone()
                .prop_map(|values| format!(r#"{{"type":"object","connect.type":"map","additionalProperties":{values}}}"#)),
            (inner.clone(), inner.clone()).prop_map(|(key, value)| format!(
                r#"{{"type":"array","connect.type":"map","items":{{"type":"object","properties":{{"key":{key},"value":{value}}}}}}}"#
            )),
            (many.clone(), prop::sample::select(vec!["oneOf", "anyOf", "allOf"]))
                .prop_map(|(parts, key)| format!(r#"{{"{key}":[{}]}}"#, parts.join(","))),
            many.prop_map(|fields| {
                let fields: Vec<String> = ["a", "b", "key", "value"]
                    .iter()
                    .zip(fields)
                    .map(|(name, field)| format!(r#""{name}":{field}"#))
                    .collect();
                format!(r#"{{"type":"object","properties":{{{}}}}}"#, fields.join(","))
            }),
        ]
    })
    .prop_map(|schema| match schema.strip_prefix('{') {
        Some("}") | None => schema,
        Some(rest) => format!(r#"{{"definitions":{{"d":{{"type":"object","properties":{{"a":{{"type":"integer"}}}}}}}},{rest}"#),
    })
}

fn record() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        (-400_i64..400).prop_map(|number| number.to_string()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_filter_map("JSON has no such number", |number| {
            number.is_finite().then(|| format!("{number:?}"))
        }),
        Just("-0".to_owned()),
        Just("1e400".to_owned()),
        Just("92233720368547758080".to_owned()),
        Just("1.5".to_owned()),
        "[a-c\"\\\\é]{0,4}".prop_map(|text| serde_json::to_string(&text).unwrap()),
        Just(r#""YQ==""#.to_owned()),
        Just(r#""\ud83c\udf89\u0001""#.to_owned()),
    ];
    leaf.prop_recursive(5, 32, 5, |inner| {
        let names = prop::sample::select(vec!["a", "b", "c", "key", "value"]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|items| format!("[{}]", items.join(" , "))),
            prop::collection::vec((names, inner), 0..5).prop_map(|members| {
                let members: Vec<String> = members
                    .iter()
                    .map(|(name, value)| format!(r#""{name}": {value}"#))
                    .collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn straight_equals_by_value(schema in schema(), records in prop::collection::vec(record(), 8), bits in 0_u8..8) {
        let compiler = JsonCompiler {
            options: Options {
                vendor: Vendor::Confluent,
                optional_for_nonrequired: bits & 1 > 0,
                generalized: bits & 2 > 0,
                preserve_additional: bits & 4 > 0,
            },
            ..compiler()
        };
        if let Ok(codec) = compile(&compiler, &registered(&schema, &[])) {
            for record in records {
                // `json_of` compares both ways.
                drop(json_of(&codec, record.as_bytes()));
            }
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64), schema in schema()) {
        if let Ok(codec) = compile(&compiler(), &registered(&schema, &[])) {
            drop(json_of(&codec, &bytes));
        }
    }

    #[test]
    fn a_damaged_record_is_read_or_refused(schema in schema(), record in record(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut record = record.into_bytes();
        let at = at.index(record.len());
        record[at] = byte;
        let validating = JsonCompiler { validates: true, ..compiler() };
        for compiler in [compiler(), validating] {
            if let Ok(codec) = compile(&compiler, &registered(&schema, &[])) {
                drop(json_of(&codec, &record));
            }
        }
    }

    #[test]
    fn any_text_is_a_schema_or_refused(text in "[{}\\[\\]\",:a-z$#/0-9]{0,60}", damaged in schema(), at in any::<prop::sample::Index>()) {
        drop(compile(&compiler(), &registered(&text, &[])));
        let (start, _) = damaged.split_at(at.index(damaged.len() + 1));
        drop(compile(&compiler(), &registered(start, &[])));
    }
}

#[test]
fn absent_fields_of_a_record_have_a_bound() {
    let property = |index| format!(r#""p{index}":{{"type":"integer"}}"#);
    let properties: Vec<_> = (0..1000).map(property).collect();
    let codec = compile(
        &JsonCompiler {
            options: Options {
                optional_for_nonrequired: true,
                ..compiler().options
            },
            ..compiler()
        },
        &registered(
            &format!(
                r#"{{"type":"array","items":{{"type":"object","properties":{{{}}}}}}}"#,
                properties.join(",")
            ),
            &[],
        ),
    )
    .unwrap();
    let record = |items: usize| format!("[{}]", vec!["{}"; items].join(","));
    assert!(json_of(&codec, record(900).as_bytes()).is_ok());
    let error = json_of(&codec, record(1100).as_bytes()).unwrap_err();
    assert!(
        error.to_string().contains("more fields, most of them absent"),
        "{error}"
    );
}

#[test]
fn the_json_of_a_record_has_a_bound() {
    let name = "n".repeat(1_000_000);
    let schema = format!(
        r#"{{"type":"array","items":{{"type":"object","properties":{{"{name}":{{"oneOf":[{{"type":"null"}},{{"type":"string"}}]}}}}}}}}"#
    );
    let codec = codec(&schema);
    let record = |items: usize| format!("[{}]", vec!["{}"; items].join(","));
    assert!(json_of(&codec, record(60).as_bytes()).is_ok());
    let error = json_of(&codec, record(70).as_bytes()).unwrap_err();
    assert!(error.to_string().contains("67108864 bytes in JSON"), "{error}");
}

#[test]
fn a_union_of_too_many_branches_is_refused() {
    let branch = |index| format!(r#"{{"type":"object","properties":{{"p{index}":{{"type":"string"}}}}}}"#);
    let branches: Vec<_> = (0..1000).map(branch).collect();
    let schema = registered(&format!(r#"{{"oneOf":[{}]}}"#, branches.join(",")), &[]);
    let error = compile(&compiler(), &schema).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("the union `io.confluent.connect.json.OneOf` has too many branches"),
        "{error}"
    );
}

#[test]
fn names_of_a_map_are_no_part_of_an_error() {
    let codec = codec(
        r#"{"type":"array","items":{"type":"array","items":{"type":"object","properties":{"x":{"type":"integer"}},"required":["x"]}}}"#,
    );
    let error = json_of(&codec, br#"{"secret":[{}]}"#).unwrap_err().to_string();
    assert!(error.contains("map value") && !error.contains("secret"), "{error}");
}
