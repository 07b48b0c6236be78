#![expect(clippy::indexing_slicing, reason = "tests")]

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::super::scan::Scanner;
use super::*;

/// Everything that JSON has, in texts that the blocks are meant to take.
const TEXTS: [&str; 7] = [
    r#"{"id":7251966,"customer":{"id":"c-829110","city":"Kraków"},"items":[{"n":0,"price":12.5,"gift":true,"note":null},{}],"total":-0.75}"#,
    r#"[1,-2,30,0,-0.5,10.25,true,false,null,"",[],{},[[[1],[2]],[{"a":[{"b":{}}]}]],"x",{"":""}]"#,
    r#"{"x":1.0E7,"y":[-2.5e-300,0e0,-0E+00,1e5],"z":12e007,"beyond":1e999,"below":4.9E-324}"#,
    r#"{"quoted":"{\"a\":[1,\"\\\\\"],\"b\":\"\\u00e9\\n\"}","path":"C:\\dir\\","tab":"\t\/","e":"\\"}"#,
    "{ \"spread\" :\r\n\t[ 1 , true ,\n \"a\" , { } , [ ] , { \"b\" : null } ] }",
    r#"{"текст":"Съешь же ещё этих мягких французских булок, да выпей чаю","emoji":["😀","é","日本語"],"ascii":"plain text that is longer than a block, so that a whole block of it stands in one string"}"#,
    r#"{"a":{"b":{"c":{"d":[[[[[[{"e":[true,[false,[null,[12.5]]]]}]]]]]]}}},"z":[[],[],[{}],{"y":[]}]}"#,
];

fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(text).is_ok()
}

/// The invariant of this module: what is accepted is strict JSON, to the last byte, for two other readers.
fn check(text: &[u8]) -> bool {
    let is_accepted = is_document(text);
    // The same on older processors.
    #[cfg(target_arch = "x86_64")]
    if let (Some(sse2), Some(b'{' | b'[')) = (Level::new().as_sse2(), text.first()) {
        assert_eq!(are_blocks_valid(sse2, text), is_accepted);
        if let Some(avx2) = Level::new().as_avx2() {
            assert_eq!(are_blocks_valid(avx2, text), is_accepted);
        }
    }
    if is_accepted {
        let shown = String::from_utf8_lossy(text);
        assert!(is_json(text), "no JSON: {shown}");
        let mut scanner = Scanner::new(std::str::from_utf8(text).unwrap());
        scanner.skip().unwrap();
        assert!(scanner.is_strict() && scanner.at() == text.len(), "not strict: {shown}");
    }
    is_accepted
}

/// The text with blanks behind its first byte, so that the rest moves through a block.
fn moved(text: &[u8], by: usize) -> Vec<u8> {
    let (first, rest) = text.split_at(1);
    [first, &vec![b' '; by], rest].concat()
}

#[test]
fn json_is_accepted_wherever_blocks_split_it() {
    for text in TEXTS {
        for by in 0..BLOCK {
            assert!(check(&moved(text.as_bytes(), by)), "{text} moved by {by}");
        }
    }
}

#[test]
fn a_damaged_byte_is_judged_as_by_another_reader_wherever_blocks_split_the_text() {
    let bytes = b"\"\\{}[]:,0179-+.eEtfn \n\x01\x7f\x80\xc3";
    for text in TEXTS {
        for place in 1..text.len() {
            for (index, byte) in bytes.iter().enumerate() {
                let mut damaged = text.as_bytes().to_vec();
                damaged[place] = *byte;
                // All places and bytes, each in a few of the splits.
                for by in [(place + index) % BLOCK, BLOCK - 1 - place % BLOCK] {
                    let damaged = moved(&damaged, by);
                    let shown = String::from_utf8_lossy(&damaged);
                    assert_eq!(check(&damaged), is_json(&damaged), "{shown}");
                }
            }
        }
    }
}

#[test]
fn what_is_no_document_is_left_to_the_scanner() {
    let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    let digits = |count: usize| format!("[{}]", "7".repeat(count));
    let cases: [(&str, bool, &str); 58] = [
        (&deep(63), true, "as deep as the stack of bits is"),
        (&deep(64), false, "deeper"),
        (&digits(63), true, "as long as a number may be wherever it stands"),
        (&digits(200), false, "a number that fills a block"),
        ("", false, "nothing"),
        ("1", false, "no object or array"),
        ("{}x", false, "more behind it"),
        ("{} {}", false, "two of them"),
        ("{},{}", false, "two of them, with a comma"),
        ("{},\"a\":{}", false, "a member of nothing"),
        ("[]]", false, "closed twice"),
        ("[[]", false, "not closed"),
        ("[}", false, "closed by the other kind"),
        ("{]", false, "closed by the other kind"),
        ("{\"a\":[}]", false, "crossed"),
        ("{\"a\"}", false, "a name alone"),
        ("{\"a\":}", false, "no value"),
        ("{\"a\":1,}", false, "no member behind the comma"),
        ("{\"a\":1,2}", false, "an element in an object"),
        ("{\"a\":1,\"b\"}", false, "a string in an object"),
        ("{\"a\":1,[]}", false, "an array in an object"),
        ("{\"a\":\"b\":1}", false, "two colons"),
        ("{\"a\"::1}", false, "two colons"),
        ("{\"a\" \"b\":1}", false, "no colon"),
        ("{:1}", false, "no name"),
        ("{1:1}", false, "a number for a name"),
        ("{,}", false, "a comma alone"),
        ("[,1]", false, "nothing before the comma"),
        ("[1,]", false, "nothing behind the comma"),
        ("[1,,2]", false, "nothing between commas"),
        ("[1 2]", false, "no comma"),
        ("[\"a\":1]", false, "a member in an array"),
        ("[1,\"a\":1]", false, "a member in an array"),
        ("[[]\"a\"]", false, "no comma"),
        ("[[][]]", false, "no comma"),
        ("[1e5]", true, "an exponent"),
        ("[1E-05,0.0e+0]", true, "exponents"),
        ("[1e]", false, "no digit in the exponent"),
        ("[1e+]", false, "no digit in the exponent"),
        ("[1.5E-,2]", false, "no digit in the exponent"),
        ("[e5]", false, "no digit before the exponent"),
        ("[-e5]", false, "no digit before the exponent"),
        ("[1.e5]", false, "no digit before the exponent"),
        ("[1e5.5]", false, "a dot in the exponent"),
        ("[1e-5.5]", false, "a dot in the exponent"),
        ("[1e5e5]", false, "two exponents"),
        ("[1ee5]", false, "two exponents"),
        ("[1e+-5]", false, "two signs"),
        ("[1e5-]", false, "a sign behind the exponent"),
        ("[1+5]", false, "a sign without exponent"),
        ("[01]", false, "a leading zero"),
        ("[-01]", false, "a leading zero"),
        ("[-]", false, "a minus alone"),
        ("[1.]", false, "no digit behind the dot"),
        ("[.5]", false, "no digit before the dot"),
        ("[1.2.3]", false, "two dots"),
        ("[truefalse]", false, "two words"),
        ("[tru]", false, "half a word"),
    ];
    for (text, wanted, why) in cases {
        for by in 0..BLOCK {
            let text = if text.is_empty() {
                Vec::new()
            } else {
                moved(text.as_bytes(), by)
            };
            let is_single = text.first() == Some(&b'1');
            assert_eq!(
                check(&text),
                wanted && !is_single,
                "{why}: {}",
                String::from_utf8_lossy(&text)
            );
        }
    }
}

fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        (-1e6..1e6).prop_map(|value| format!("{value:.3}")),
        "-?(0|[1-9][0-9]{0,17})([.][0-9]{1,17})?[eE][+-]?[0-9]{1,20}",
        any::<String>().prop_map(|value| serde_json::json!(value).to_string()),
        "[a-z \\\\\"]{0,90}".prop_map(|value| serde_json::json!(value).to_string()),
    ];
    let value = leaf.prop_recursive(5, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec(("[a-z\"é]{0,9}", inner), 0..6).prop_map(|members| {
                let members = members.iter();
                let members: Vec<_> = members
                    .map(|(name, value)| format!("{}: {value}", serde_json::json!(name)))
                    .collect();
                format!("{{{}}}", members.join(", "))
            }),
        ]
    });
    value.prop_map(|value| format!("[{value}]"))
}

proptest! {
    #[test]
    fn generated_json_is_accepted_wherever_blocks_split_it(text in json()) {
        for by in 0..BLOCK {
            prop_assert!(check(&moved(text.as_bytes(), by)));
        }
    }

    #[test]
    fn damaged_json_is_accepted_only_if_it_is_json(
        text in json(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..3, prop::sample::select(b"\"\\{}[]:,019-+.eEtrufalsn \t\n\x00\x1f\x7f\x80\xc3\xff".to_vec())), 1..4),
    ) {
        let mut text = text.into_bytes();
        for (place, what, byte) in damage {
            let place = place.index(text.len());
            match what {
                0 => text[place] = byte,
                1 => text.insert(place, byte),
                _ if text.len() > 1 => { text.remove(place); }
                _ => {}
            }
        }
        for by in 0..BLOCK {
            check(&moved(&text, by));
        }
    }

    #[test]
    fn exponents_are_accepted_if_and_only_if_they_are_json(
        numbers in prop::collection::vec("-?[0-9]{0,3}[.]?[0-9]{0,3}[eE]{0,2}[+-]{0,2}[0-9]{0,3}[.e-]?", 1..4),
    ) {
        let text = format!("[{}]", numbers.join(","));
        // The scanner takes leading zeros, which are no JSON.
        let is_json = is_json(text.as_bytes());
        for by in 0..BLOCK {
            prop_assert_eq!(check(&moved(text.as_bytes(), by)), is_json, "{}", text);
        }
    }

    #[test]
    fn random_bytes_are_accepted_only_if_they_are_json(text in prop::collection::vec(prop::sample::select(b"\"\\{}[]:,01-.true nul\xc3\xb3".to_vec()), 1..80)) {
        for by in [0, 40, 50, 60, 62, 63] {
            check(&moved(&text, by));
        }
    }
}
