use klamm_connect_api::RawConfig;
use klamm_connect_api::Value;
use klamm_connect_api::json::MAX_DEPTH;
use proptest::prelude::*;

use super::*;

fn converter(settings: &[(&str, &str)]) -> JsonConverter {
    let raw: RawConfig = settings
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    JsonConverter::try_new(&config_def().parse(&raw).unwrap()).unwrap()
}

fn plain() -> JsonConverter {
    converter(&[(SCHEMAS_ENABLE, "false")])
}

fn read(converter: &JsonConverter, bytes: &[u8]) -> Result<Datum, DataError> {
    converter.datum(Some(&Bytes::copy_from_slice(bytes)))
}

fn written(datum: &Datum) -> String {
    let mut out = Vec::new();
    datum.write_json(Rendering::Connect, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn plain_json_is_passed_on_as_it_is_and_lenient_json_as_strict_json() {
    let cases: [(&[u8], &str, &str); 9] = [
        (b"{\"a\":1e5, \"a\":2}", "{\"a\":1e5, \"a\":2}", "nothing is decoded"),
        (b" [1]\n", "[1]", "blanks around are cut off"),
        (b"{\"a\":1} x", "{\"a\":1}", "text after the value is ignored"),
        (b"12345678901234567890", "12345678901234567890", "no digit is lost"),
        (b"[007,-01]", "[7,-1]", "leading zeros are no JSON"),
        (b"\xef\xbb\xbf{}", "{}", "neither is a byte order mark"),
        (b"\x00[\x001\x00]", "[1]", "UTF-16BE"),
        (b"\xff\xfe[\x001\x00]\x00", "[1]", "UTF-16LE with a mark"),
        (b" null x", "null", "null is null"),
    ];
    for (bytes, wanted, why) in cases {
        let datum = read(&plain(), bytes).unwrap();
        assert_eq!(written(&datum), wanted, "{why}");
    }
    assert!(read(&plain(), b"null").unwrap().is_absent());
    assert!(read(&plain(), b" ").unwrap().is_absent());
}

#[test]
fn errors_say_where_and_never_repeat_the_payload() {
    let cases: [(&[u8], &str); 10] = [
        (
            b"{\"secret\":",
            "not JSON: the text ends at byte 10 where a value is due",
        ),
        (b"{\"a\" 1}", "not JSON: `:` is due at byte 5"),
        (b"[1,]", "not JSON: a value is due at byte 3"),
        (b"[1 2]", "not JSON: `,` or `]` is due at byte 3"),
        (b"\"a\nb\"", "not JSON: an escaped control character is due at byte 2"),
        (b"\"\\x\"", "not JSON: a JSON escape is due at byte 1"),
        (b"nullx", "not JSON: `true`, `false` or `null` is due at byte 0"),
        (b"5x", "not JSON: a blank after a number is due at byte 1"),
        (b"[1.]", "not JSON: a digit is due at byte 3"),
        (b"\"\xff\"", "not JSON: the bytes are not UTF-8 at byte 1"),
    ];
    for (bytes, wanted) in cases {
        assert_eq!(read(&plain(), bytes).unwrap_err().to_string(), wanted);
    }
    let with_schemas = read(&converter(&[]), b"{\"secret\":1}").unwrap_err().to_string();
    assert!(
        with_schemas.contains("for plain JSON set schemas.enable=false"),
        "{with_schemas}"
    );
}

#[test]
fn nesting_is_bounded_and_what_is_within_the_bound_can_be_decoded_and_written() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let deepest = nested(MAX_DEPTH);
    let mut datum = read(&plain(), deepest.as_bytes()).unwrap();
    datum.decoded().unwrap();
    assert_eq!(written(&datum), deepest);
    let error = read(&plain(), nested(MAX_DEPTH + 1).as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "the JSON text is nested more than 1000 levels deep");
    let objects = "{\"a\":".repeat(100_000);
    assert!(read(&plain(), objects.as_bytes()).is_err());
    let schema = "{\"type\":\"array\",\"items\":".repeat(100_000);
    assert!(read(&converter(&[]), schema.as_bytes()).is_err());
}

#[test]
fn every_bracket_is_closed_by_its_own_kind() {
    let open = "{\"a\":[1,".repeat(200);
    let close = "]}".repeat(200);
    assert!(read(&plain(), format!("{open}2{close}").as_bytes()).is_ok());
    for at in [0, 1, 63, 64, 127, 128, 129, 255, 256, 399] {
        let mut wrong = close.clone().into_bytes();
        wrong[at] = if wrong[at] == b']' { b'}' } else { b']' };
        let text = [open.as_bytes(), b"2", &wrong].concat();
        assert!(read(&plain(), &text).is_err(), "bracket {at} is of the wrong kind");
    }
}

#[test]
fn escapes_are_resolved() {
    let cases = [
        (r#""\\\\n\"\/\b""#, "\\\\n\"/\u{8}"),
        (r#""\\\n""#, "\\\n"),
        (r#""\ud83d\ude00x""#, "😀x"),
        (r#""\ud83dx\ude00""#, "\u{fffd}x\u{fffd}"),
        (r#""\ud83d""#, "\u{fffd}"),
        (r#""\u00e9\u0041""#, "éA"),
    ];
    for (text, wanted) in cases {
        let data = read(&plain(), text.as_bytes()).unwrap().decode().unwrap();
        assert_eq!(data.value, Value::from(wanted), "{text}");
    }
}

#[test]
fn a_payload_that_does_not_fit_its_schema_is_an_error() {
    let cases = [
        (
            r#"{"type":"int8"}"#,
            "128",
            "a number that is no int8 is declared as one",
        ),
        (
            r#"{"type":"int64"}"#,
            "9223372036854775808.5",
            "a number that is no int64 is declared as one",
        ),
        (
            r#"{"type":"struct","fields":[{"field":"a","type":"struct","fields":[{"field":"b","type":"int8"}]}]}"#,
            r#"{"a":{"b":300}}"#,
            "field `a`: field `b`: a number that is no int8 is declared as one",
        ),
        (
            r#"{"type":"struct","fields":[{"field":"a","type":"string"}]}"#,
            r#"{"a":5}"#,
            "field `a`: null for a required string",
        ),
        (
            r#"{"type":"map","keys":{"type":"int8"},"values":{"type":"int8"}}"#,
            "[[1]]",
            "a map with other keys than strings is an array of [key, value] pairs",
        ),
        (
            r#"{"type":"map","keys":{"type":"string"},"values":{"type":"int8"}}"#,
            "5",
            "a number where map (an object) is declared",
        ),
    ];
    for (schema, payload, wanted) in cases {
        let text = format!(r#"{{"schema":{schema},"payload":{payload}}}"#);
        let error = read(&converter(&[]), text.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), wanted, "{text}");
    }
}

#[test]
fn primitives_of_another_type_are_coerced_as_by_jackson() {
    let cases = [
        (r#"{"type":"int32"}"#, r#""12""#, Value::Int32(0), "a text is no number"),
        (
            r#"{"type":"int8"}"#,
            "1e2",
            Value::Int8(100),
            "a whole number, however written",
        ),
        (r#"{"type":"int64"}"#, "-1.9", Value::Int64(-1), "the fraction goes"),
        (r#"{"type":"boolean"}"#, "1", Value::Boolean(false), "only true is true"),
        (
            r#"{"type":"double"}"#,
            "[1]",
            Value::Float64(0.0),
            "a list is no number",
        ),
        (r#"{"type":"string"}"#, "5", Value::Null, "only a text is a text"),
        (
            r#"{"type":"array","items":{"type":"int8"}}"#,
            r#"{"a":1,"b":2}"#,
            Value::Array(vec![Value::Int8(1), Value::Int8(2)]),
            "the children of the node",
        ),
        (
            r#"{"type":"array","items":{"type":"int8"}}"#,
            "5",
            Value::Array(Vec::new()),
            "it has none",
        ),
    ];
    for (schema, payload, wanted, why) in cases {
        let text = format!(r#"{{"schema":{schema},"payload":{payload}}}"#);
        let data = read(&converter(&[]), text.as_bytes()).unwrap().decode().unwrap();
        assert_eq!(data.value, wanted, "{why}");
    }
}

#[test]
fn schema_content_is_the_schema_of_all_texts_and_checked_at_the_start() {
    let converter_of = |content| {
        let raw: RawConfig = [(SCHEMA_CONTENT.to_owned(), String::from(content))]
            .into_iter()
            .collect();
        JsonConverter::try_new(&config_def().parse(&raw).unwrap())
    };
    let of_int8 = converter_of(r#"{"type":"int8"}"#).unwrap();
    assert_eq!(read(&of_int8, b"5").unwrap().decode().unwrap().value, Value::Int8(5));
    let error = converter_of(r#"{"type":"int9"}"#).unwrap_err().to_string();
    assert!(
        error.starts_with("`schema.content`: not the JSON form of a schema: "),
        "{error}"
    );
}

/// JSON that serde_json writes, to be mutated.
fn json_text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|v| v.to_string()),
        any::<i64>().prop_map(|v| v.to_string()),
        any::<f64>().prop_map(|v| serde_json::json!(v).to_string()),
        any::<String>().prop_map(|v| serde_json::json!(v).to_string()),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec((any::<String>(), inner), 0..5).prop_map(|members| {
                let members: Vec<_> = members
                    .iter()
                    .map(|(name, value)| format!("{} : {value}", serde_json::json!(name)))
                    .collect();
                format!("{{{}}}", members.join(" ,\n"))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn what_another_writer_writes_is_accepted_and_means_the_same(text in json_text()) {
        let mut datum = read(&plain(), text.as_bytes()).unwrap();
        prop_assert!(datum.is_absent() || written(&datum) == text);
        datum.decoded().unwrap();
        let wanted: serde_json::Value = serde_json::from_str(&text).unwrap();
        let got: serde_json::Value = serde_json::from_str(&written(&datum)).unwrap();
        prop_assert_eq!(got, wanted);
    }

    #[test]
    fn mutated_json_is_accepted_only_if_it_is_json(text in json_text(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        for converter in [plain(), converter(&[])] {
            if let Ok(datum) = read(&converter, &bytes) {
                datum.decode().unwrap();
                serde_json::from_str::<&serde_json::value::RawValue>(&written(&datum)).unwrap();
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        for converter in [plain(), converter(&[])] {
            if let Ok(datum) = read(&converter, &bytes) {
                datum.decode().unwrap();
            }
        }
    }

    #[test]
    fn mutated_envelopes_never_panic(at in any::<prop::sample::Index>(), byte in prop::sample::select(b"\"{}[]:,019.enultxd \\".to_vec())) {
        let mut bytes = br#"{"schema":{"type":"struct","optional":true,"fields":[{"field":"a","type":"map","keys":{"type":"int8"},"values":{"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"},"default":"AQ=="}}]},"payload":{"a":[[1,"BOI="],[2,12.50]]}}"#.to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(datum) = read(&converter(&[]), &bytes) {
            // A coerced null may have no JSON form, which is an error then.
            let data = datum.decode().unwrap();
            if let (Some(schema), Ok(())) = (&data.schema, json::write(&data, Rendering::Connect, &mut Vec::new())) {
                prop_assert!(schema.is_optional() || !data.value.is_null());
            }
        }
    }
}

#[test]
fn absent_fields_of_a_record_have_a_bound() {
    let record = |fields: usize, items: usize| {
        let field = |index| format!(r#"{{"type":"int32","optional":true,"field":"f{index}"}}"#);
        let fields: Vec<_> = (0..fields).map(field).collect();
        let items = vec!["{}"; items].join(",");
        let schema = format!(
            r#"{{"type":"array","items":{{"type":"struct","fields":[{}]}}}}"#,
            fields.join(",")
        );
        format!(r#"{{"schema":{schema},"payload":[{items}]}}"#)
    };
    let enveloped = converter(&[(SCHEMAS_ENABLE, "true")]);
    assert!(read(&enveloped, record(1000, 900).as_bytes()).is_ok());
    let error = read(&enveloped, record(1000, 1100).as_bytes()).unwrap_err();
    assert!(
        error.to_string().contains("more fields, most of them absent"),
        "{error}"
    );
}

#[test]
fn defaults_of_a_record_have_a_bound() {
    let default = vec!["1"; 10_000].join(",");
    let items = vec!["null"; 200].join(",");
    let record = format!(
        r#"{{"schema":{{"type":"array","items":{{"type":"array","items":{{"type":"int32"}},"default":[{default}]}}}},"payload":[{items}]}}"#
    );
    let error = read(&converter(&[(SCHEMAS_ENABLE, "true")]), record.as_bytes()).unwrap_err();
    assert!(
        error.to_string().contains("more fields, most of them absent"),
        "{error}"
    );
}
