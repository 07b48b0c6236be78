use klamm_connect_api::{Decimals, Natural, Timestamps};
use proptest::prelude::*;

use super::*;

fn codec_with(schema: &str, options: Options) -> Result<AvroCodec, DataError> {
    let document = klamm_schema_registry::Document {
        id: Some(7),
        subject: None,
        version: None,
        schema_type: SchemaType::Avro,
        text: schema.to_owned(),
        references: Vec::new(),
    };
    let schema = RegisteredSchema {
        document: Arc::new(document),
        references: Vec::new(),
    };
    AvroCompiler(options).compile(&schema, SchemaId::Id(7), None)
}

fn options() -> Options {
    Options {
        dialect: Dialect::Confluent,
        enhanced: false,
        meta_data: true,
        flatten_singletons: true,
        generalized: false,
        discard_type_doc_default: false,
    }
}

fn codec(schema: &str) -> AvroCodec {
    codec_with(schema, options()).unwrap()
}

fn json_of(codec: &AvroCodec, payload: &[u8]) -> Result<String, DataError> {
    rendered(codec, payload, Rendering::Connect)
}

/// The value as JSON, by way of values and straight, which has to be the same.
fn rendered(codec: &AvroCodec, payload: &[u8], rendering: Rendering) -> Result<String, DataError> {
    let payload = Bytes::copy_from_slice(payload);
    let mut straight = Vec::new();
    let written = codec.write_json(&payload, rendering, &mut straight);
    let decoded = codec.decode(&payload).and_then(|data| {
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

const NODE: &str = r#"{"type":"record","name":"Node","fields":[{"name":"next","type":["null","Node"]}]}"#;

#[test]
fn values_are_written_as_json_converter_writes_them() {
    let cases: [(&str, &[u8], &str, &str); 12] = [
        (
            r#"["null","string"]"#,
            &[2, 2, b'a'],
            r#""a""#,
            "a nullable value is the value",
        ),
        (
            r#"["string","int"]"#,
            &[2, 4],
            r#"{"string":null,"int":2}"#,
            "other unions are structs",
        ),
        (
            r#"["bytes",{"type":"fixed","name":"F","size":1},"null"]"#,
            &[2, 9],
            r#"{"bytes":"CQ==","F":null}"#,
            "a fixed is bytes where they come first",
        ),
        (
            r#"{"type":"array","items":"int"}"#,
            &[3, 2, 2, 4, 2, 6, 0],
            "[1,2,3]",
            "blocks with and without sizes",
        ),
        (
            r#"{"type":"map","values":"long"}"#,
            &[2, 2, b'k', 1, 0],
            r#"{"k":-1}"#,
            "map",
        ),
        (r#""bytes""#, &[0, 255], r#""AP8=""#, "the root's bytes have no length"),
        (
            r#"{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}"#,
            &[0, 0, 1],
            r#""AQ==""#,
            "the shortest form of a decimal",
        ),
        (
            r#"{"type":"enum","name":"E","symbols":["A","B"]}"#,
            &[2],
            r#""B""#,
            "enum",
        ),
        (
            r#"{"type":"array","items":{"type":"record","name":"MapEntry","namespace":"io.confluent.connect.avro","fields":[{"name":"key","type":"int"},{"name":"value","type":"string"}]}}"#,
            &[2, 2, 2, b'x', 0],
            r#"[[1,"x"]]"#,
            "a map whose keys are not strings",
        ),
        (
            NODE,
            &[2, 2, 0],
            r#"{"next":{"next":{"next":null}}}"#,
            "a type that refers to itself",
        ),
        (
            r#"{"type":"record","name":"R","fields":[{"name":"a\"b","type":"string"},{"name":"e","type":{"type":"record","name":"E","fields":[]}}]}"#,
            &[4, 0xff, b'"'],
            "{\"a\\\"b\":\"\u{fffd}\\\"\",\"e\":{}}",
            "names and texts are escaped, malformed UTF-8 is replaced",
        ),
        (
            r#"{"type":"record","name":"R","fields":[{"name":"a","type":["null",{"type":"int","connect.default":5}]}]}"#,
            &[0],
            r#"{"a":5}"#,
            "a default stands for null",
        ),
    ];
    for (schema, payload, wanted, why) in cases {
        assert_eq!(json_of(&codec(schema), payload).as_deref(), Ok(wanted), "{why}");
    }
}

#[test]
fn the_natural_rendering_shows_what_types_stand_for() {
    let logical = |base: &str, name: &str| format!(r#"{{"type":"{base}","logicalType":"{name}"}}"#);
    let fixed =
        |size: usize, name: &str| format!(r#"{{"type":"fixed","name":"F","size":{size},"logicalType":"{name}"}}"#);
    let long = [0xd0, 0x0f];
    let uuid: Vec<u8> = (0..16).map(|index| index * 17).collect();
    let entries = r#"{"type":"array","items":{"type":"record","name":"MapEntry","namespace":"io.confluent.connect.avro","fields":[{"name":"key","type":["null","int"]},{"name":"value","type":"string"}]}}"#;
    let cases: Vec<(String, &[u8], &str)> = vec![
        (r#"["string","int"]"#.to_owned(), &[2, 4], "2"),
        (
            r#"["string","null",{"type":"map","values":["int","string"]}]"#.to_owned(),
            &[4, 2, 2, b'k', 2, 2, b'v', 0],
            r#"{"k":"v"}"#,
        ),
        (
            entries.to_owned(),
            &[4, 0, 2, b'x', 2, 2, 2, b'y', 0],
            r#"{"null":"x","1":"y"}"#,
        ),
        (
            r#"{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}"#.to_owned(),
            &[0, 0, 1],
            r#""0.01""#,
        ),
        (logical("int", "date"), &[1], r#""1969-12-31""#),
        (logical("int", "time-millis"), &long, r#""00:00:01.000""#),
        (
            logical("long", "timestamp-millis"),
            &long,
            r#""1970-01-01T00:00:01.000Z""#,
        ),
        (logical("long", "Time-Micros"), &long, r#""00:00:00.001000""#),
        (
            logical("long", "timestamp-micros"),
            &long,
            r#""1970-01-01T00:00:00.001000Z""#,
        ),
        (
            logical("long", "timestamp-nanos"),
            &long,
            r#""1970-01-01T00:00:00.000001000Z""#,
        ),
        (
            logical("long", "local-timestamp-millis"),
            &long,
            r#""1970-01-01T00:00:01.000""#,
        ),
        (
            logical("long", "local-timestamp-micros"),
            &long,
            r#""1970-01-01T00:00:00.001000""#,
        ),
        (
            logical("long", "local-timestamp-nanos"),
            &long,
            r#""1970-01-01T00:00:00.000001000""#,
        ),
        (logical("long", "date"), &long, "1000"),
        (logical("int", "time-micros"), &long, "1000"),
        (fixed(16, "uuid"), &uuid, r#""00112233-4455-6677-8899-aabbccddeeff""#),
        (
            fixed(12, "duration"),
            &uuid[..12],
            r#""P857870592M2003195204DT3148519.816S""#,
        ),
        (fixed(2, "duration"), &[0, 1], r#""AAE=""#),
        (
            r#"["null",{"type":"long","logicalType":"timestamp-micros","connect.default":5}]"#.to_owned(),
            &[0],
            r#""1970-01-01T00:00:00.000005Z""#,
        ),
    ];
    for (schema, payload, wanted) in cases {
        let codec = codec(&schema);
        let natural = rendered(&codec, payload, Rendering::Natural(Natural::default()));
        assert_eq!(natural.as_deref(), Ok(wanted), "{schema}");
        let numbers = Natural {
            decimals: Decimals::Number,
            timestamps: Timestamps::Epoch,
        };
        assert!(
            rendered(&codec, payload, Rendering::Natural(numbers)).is_ok(),
            "{schema}"
        );
        assert!(json_of(&codec, payload).is_ok(), "{schema}");
    }
    let recursive = rendered(&codec(NODE), &[2, 2, 0], Rendering::Natural(Natural::default()));
    assert_eq!(recursive.as_deref(), Ok(r#"{"next":{"next":{"next":null}}}"#));
}

#[test]
fn what_does_not_fit_says_where() {
    let record = r#"{"type":"record","name":"n.R","fields":[{"name":"a","type":{"type":"array","items":{"type":"int","connect.type":"int8"}}}]}"#;
    let cases: [(&str, &[u8], &str); 6] = [
        (record, &[4, 2, 0x80, 0x02], "schema id 7 (Avro `n.R`): field `a`: "),
        (record, &[4, 2], "the bytes end before the value does"),
        (r#"["null","int"]"#, &[4], "branch 2 of 2"),
        (r#"{"type":"enum","name":"E","symbols":["A"]}"#, &[1], "symbol -1 of 1"),
        (r#""string""#, &[1], "a negative length"),
        (
            r#"{"type":"int","logicalType":"time-millis"}"#,
            &[1],
            "not within a day",
        ),
    ];
    for (schema, payload, wanted) in cases {
        let error = json_of(&codec(schema), payload).unwrap_err().to_string();
        assert!(error.contains(wanted), "{schema}: {error}");
    }
}

#[test]
fn schemas_that_mean_nothing_are_refused() {
    let cases = [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("7", "neither a name, a list nor an object"),
        (r#""nope""#, "a type `nope` that is not defined"),
        (r#"{"type":"record","name":"R"}"#, "without `fields`"),
        (r#"{"type":"fixed","name":"F","size":-1}"#, "has no size"),
        (r#"["int",["int"]]"#, "a union inside a union"),
        (
            r#"{"type":"record","name":"R","fields":[{"name":"a","type":"null"}]}"#,
            "a type null",
        ),
        (
            r#"["int",{"type":"enum","name":"a.E","symbols":[]},{"type":"enum","name":"b.E","symbols":[]}]"#,
            "enhanced.avro.schema.support",
        ),
        (
            r#"[{"type":"fixed","name":"F","size":1},{"type":"fixed","name":"F","size":2}]"#,
            "defines `F` twice",
        ),
    ];
    for (schema, wanted) in cases {
        let error = codec_with(schema, options()).unwrap_err().to_string();
        assert!(error.contains(wanted), "{schema}: {error}");
    }
}

#[test]
fn depth_is_bounded_in_data_and_in_schemas() {
    let node = codec(NODE);
    let deep = |levels: usize| [vec![2; levels], vec![0]].concat();
    assert!(json_of(&node, &deep(200)).is_ok());
    assert!(
        json_of(&node, &deep(5000))
            .unwrap_err()
            .to_string()
            .contains("nested more than")
    );
    let nested = |levels: usize| {
        let open = r#"{"type":"array","items":"#.repeat(levels);
        format!("{open}\"int\"{}", "}".repeat(levels))
    };
    assert!(codec_with(&nested(200), options()).is_ok());
    assert!(codec_with(&nested(3000), options()).is_err());
}

#[test]
fn types_without_bytes_do_not_stand_for_values_without_end() {
    let empty = codec(r#"{"type":"array","items":{"type":"record","name":"E","fields":[]}}"#);
    // An array of 2^40 empty records in seven bytes.
    let error = json_of(&empty, &[0x80, 0x80, 0x80, 0x80, 0x80, 0x40, 0]).unwrap_err();
    assert!(error.to_string().contains("more values than"), "{error}");
    // Each type holds the one before twice: 2^40 records without a byte.
    let mut schema = r#"{"type":"record","name":"T0","fields":[]}"#.to_owned();
    for level in 1..40 {
        schema = format!(
            r#"{{"type":"record","name":"T{level}","fields":[{{"name":"a","type":{schema}}},{{"name":"b","type":"T{}"}}]}}"#,
            level - 1
        );
    }
    assert!(json_of(&codec(&schema), &[]).is_err());
}

const SCHEMAS: [&str; 4] = [
    NODE,
    r#"{"type":"record","name":"T","fields":[{"name":"v","type":"string"},{"name":"kids","type":{"type":"array","items":"T"}},{"name":"m","type":{"type":"map","values":["null","long","T"]}}]}"#,
    r#"{"type":"record","name":"R","fields":[{"name":"a","type":["null","string"]},{"name":"b","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},{"name":"c","type":{"type":"array","items":["int","string",{"type":"fixed","name":"F","size":3}]}},{"name":"d","type":"double"},{"name":"f","type":"float"},{"name":"e","type":{"type":"enum","name":"E","symbols":["X","Y"]}},{"name":"g","type":{"type":"int","logicalType":"date"}},{"name":"h","type":{"type":"int","connect.type":"int16"}},{"name":"i","type":"boolean"},{"name":"j","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"k","type":{"type":"long","logicalType":"local-timestamp-nanos"}},{"name":"l","type":{"type":"fixed","name":"U","size":12,"logicalType":"duration"}}]}"#,
    r#"["null",{"type":"array","items":{"type":"array","items":"bytes"}}]"#,
];

proptest! {
    /// Any bytes: no panic, both ways agree, and what is written is JSON.
    #[test]
    fn any_bytes_are_read_or_refused(
        schema in 0..SCHEMAS.len(),
        rendering in prop_oneof![Just(Rendering::Connect), Just(Rendering::Natural(Natural::default()))],
        payload in proptest::collection::vec(prop_oneof![0_u8..8, any::<u8>()], 0..200),
    ) {
        let codec = codec(SCHEMAS[schema]);
        // Duplicate keys of a map are one entry as a value.
        let mut straight = Vec::new();
        let payload = Bytes::from(payload);
        let written = codec.write_json(&payload, rendering, &mut straight);
        let decoded = codec.decode(&payload);
        prop_assert_eq!(written.is_ok(), decoded.is_ok());
        if let (Ok(()), Ok(data)) = (written, decoded) {
            let got: serde_json::Value = serde_json::from_slice(&straight).unwrap();
            let mut out = Vec::new();
            json::write(&data, rendering, &mut out).unwrap();
            prop_assert_eq!(got, serde_json::from_slice::<serde_json::Value>(&out).unwrap());
        }
    }

    #[test]
    fn any_schema_is_read_or_refused(text in r#"[\[\]{}",:a-z0-9]{0,60}"#) {
        let _refused = codec_with(&text, options()).is_err();
    }
}

#[test]
fn fixed_values_of_no_bytes_have_a_bound() {
    let fields: Vec<_> = (0..1000)
        .map(|index| format!(r#"{{"name":"f{index}","type":"F"}}"#))
        .collect();
    let codec = codec(&format!(
        r#"{{"type":"array","items":{{"type":"record","name":"R","fields":[{{"name":"f","type":{{"type":"fixed","name":"F","size":0}}}},{}]}}}}"#,
        fields.join(",")
    ));
    // 50 and 200 items.
    assert!(json_of(&codec, &[100, 0]).is_ok());
    let error = json_of(&codec, &[0x90, 0x03, 0]).unwrap_err();
    assert!(error.to_string().contains("more values than"), "{error}");
}

#[test]
fn a_union_of_too_many_branches_is_refused() {
    let branch = |index| format!(r#"{{"type":"record","name":"Branch{index}","fields":[]}}"#);
    let branches: Vec<_> = (0..1000).map(branch).collect();
    let error = codec_with(&format!("[{}]", branches.join(",")), options()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("the union `io.confluent.connect.avro.Union` has too many branches"),
        "{error}"
    );
}

#[test]
fn small_integers_are_digits_whatever_their_name() {
    let codec = codec(r#"{"type":"int","connect.type":"int16","connect.name":"io.debezium.time.Date"}"#);
    let natural = Rendering::Natural(Natural {
        decimals: Decimals::String,
        timestamps: Timestamps::Iso,
    });
    assert_eq!(rendered(&codec, &[2], natural).as_deref(), Ok("1"));
}
