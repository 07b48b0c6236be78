use klamm_connect_api::{Schema, Value};
use klamm_java_compat::literal::MAX_DEPTH;
use proptest::prelude::*;

use super::*;

fn json(text: &str) -> String {
    let mut out = Vec::new();
    Literal
        .write_json(&Bytes::copy_from_slice(text.as_bytes()), Rendering::Connect, &mut out)
        .unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_number_or_time_has_to_be_the_whole_text() {
    for text in ["10:20:30", "1,2,3", "12:34", "5}", "2024-05-01,x", "5.:e0"] {
        let data = literal::parse(text);
        assert_eq!((data.schema, data.value), (Some(Schema::string()), Value::from(text)));
    }
}

#[test]
fn nested_elements_are_converted_on_every_level() {
    let cases = [
        ("[[1],[2.5]]", "[[1.0],[2.5]]"),
        (r#"[{"a":1},{"a":300}]"#, r#"[{"a":1},{"a":300}]"#),
        ("[[1],[\"a\"]]", "[[1],[\"a\"]]"),
        ("{}", "{}"),
        (r#"{"b":300,1:2}"#, r#"[["b",300],[1,2]]"#),
        ("[10:20:30.123Z, 00:00:00.000Z]", "[37230123,0]"),
    ];
    for (text, wanted) in cases {
        assert_eq!(json(text), wanted, "{text}");
        let data = literal::parse(text);
        data.value.validate(&data.schema.unwrap()).unwrap();
    }
}

#[test]
fn short_texts_of_huge_numbers_stay_short() {
    assert_eq!(json("1e999999999"), "\"AQ==\"");
    assert_eq!(json("1e-999999999"), "0.0");
    assert_eq!(json("1e99999999999"), "\"1e99999999999\"");
}

#[test]
fn deep_nesting_is_a_string() {
    let deep = "[".repeat(MAX_DEPTH + 1) + &"]".repeat(MAX_DEPTH + 1);
    assert_eq!(literal::parse(&deep).value, Value::from(deep.as_str()));
    let fits = "[".repeat(MAX_DEPTH) + &"]".repeat(MAX_DEPTH);
    assert_eq!(json(&fits), fits);
}

proptest! {
    #[test]
    fn any_bytes_are_a_literal_that_can_be_written(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let mut out = Vec::new();
        Literal.write_json(&Bytes::from(bytes), Rendering::Connect, &mut out).unwrap();
        serde_json::from_slice::<serde_json::Value>(&out).unwrap();
    }

    #[test]
    fn any_literal_like_text_fits_its_schema_and_can_be_written(text in "[\\[\\]{}:,\"\\\\ 0-9a.eTZ+-]{0,24}|(\\[|\\{)[1-3\":, \\[\\]{}null.]{0,16}(\\]|\\})") {
        let data = literal::parse(&text);
        if let Some(schema) = &data.schema {
            prop_assert!(data.value.validate(schema).is_ok(), "{:?}", data);
        }
        serde_json::from_str::<serde_json::Value>(&json(&text)).unwrap();
    }
}
