use std::borrow::Cow;

use klamm_connect_api::{Map, Rendering, SchemaAndValue, Value, json};
use klamm_converters::parse_json;
use proptest::prelude::*;

use super::{JsonPath, Selection, Stop};

const R: &str = r#"{"shop":"us","n":5,"s":"5","nul":null,"key":{"nestedKey":"value1"},"items":[{"p":1},{"p":20}],
    "tags":["a","b"],"empty":[],"b":true,"a.b":7,"f":5.0,"text":"Grüße\n","mix":[1,"1",null,2.5,{"p":3}],"eo":{}}"#;

/// What a path selects, as text: `refused`, `not found`, `unfit`, `failed`, or the value or values.
fn outcome(path: &str, document: &Value) -> String {
    let Ok(path) = JsonPath::parse(path) else {
        return "refused".to_owned();
    };
    let value = match path.select(document) {
        Ok(Selection::One(value)) => value.into_owned(),
        Ok(Selection::Many(values)) => Value::Array(values.into_iter().map(Cow::into_owned).collect()),
        Err(Stop::NotFound) => return "not found".to_owned(),
        Err(Stop::Unfit(_)) => return "unfit".to_owned(),
        Err(Stop::Failed(_)) => return "failed".to_owned(),
    };
    let mut out = Vec::new();
    json::write(&SchemaAndValue::schemaless(value), Rendering::Connect, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// Recorded from Jayway's JsonPath 2.10.
#[test]
fn paths_select_what_they_select_in_jayways_json_path() {
    let document = parse_json(R).unwrap();
    let cases = [
        ("$.shop", r#""us""#),
        ("shop", r#""us""#),
        ("@.shop", r#""us""#),
        ("$.nul", "null"),
        ("$.absent", "not found"),
        ("$.key.absent", "not found"),
        ("$.absent.deep", "not found"),
        ("$.items[5].p", "not found"),
        ("$.absent[?(@.x == 1)]", "not found"),
        ("$.shop[?(@.x == 1)]", "unfit"),
        ("$.nul[?(@.x == 1)]", "unfit"),
        ("$..p", "[1,20,3]"),
        ("$..zzz", "[]"),
        ("$.items[*].p", "[1,20]"),
        ("$.items[?(@.p > 10)]", r#"[{"p":20}]"#),
        ("$.items[?(@.p > 100)]", "[]"),
        ("$['a.b']", "7"),
        ("$['a.b','n']", r#"{"a.b":7,"n":5}"#),
        ("$['zz','yy']", "{}"),
        ("$.key['nestedKey']", r#""value1""#),
        ("$.items[-1]", r#"{"p":20}"#),
        ("$.items[0, 1].p", "[1,20]"),
        ("$.mix[1:3]", r#"["1",null]"#),
        ("$.mix[-2:]", r#"[2.5,{"p":3}]"#),
        ("$.mix[:-3]", r#"[1,"1"]"#),
        ("$.mix[0:-1]", "[]"),
        ("$.mix[-2:-1]", "[2.5]"),
        ("$.items.length()", "2"),
        ("$.mix.sum()", "3.5"),
        ("$.mix.max()", "2.5"),
        ("$.mix.avg()", "1.75"),
        ("$..p.sum()", "24.0"),
        ("$.empty.sum()", "failed"),
        ("$.shop.length()", "null"),
        ("$..[0]", r#"[{"p":1},"a",1]"#),
        ("$.key.*", r#"["value1"]"#),
        ("$.mix[?(@ == 1)]", r#"[1,"1"]"#),
        ("$.mix[?(@ == '1')]", r#"[1,"1"]"#),
        ("$.mix[?(@.p == 3)].p", "[3]"),
        ("$.items[?($.n)]", "[]"),
        ("$.items[?($.n == 5)]", r#"[{"p":1},{"p":20}]"#),
        ("$[?@.shop == 'us']", "refused"),
        ("$.shop == 'us'", "refused"),
        ("$[?(@.shop = 'us')]", "refused"),
        ("$[?(@.shop == us)]", "refused"),
        ("$[?(@.shop == 'us' AND @.n == 5)]", "refused"),
        ("$[?(@.shop == 'us') && (@.n == 5)]", "refused"),
        ("$[?()]", "refused"),
        ("$[?(@.n ==)]", "refused"),
        ("$[?(5)]", "refused"),
        ("$[?(@.n == +5)]", "refused"),
        ("$.", "refused"),
        ("$..", "refused"),
        ("$...p", "refused"),
        ("$a", "refused"),
        ("$.sh op", "refused"),
        ("$['shop", "refused"),
        ("$['shop',]", "refused"),
        ("$.items[a]", "refused"),
        ("$.items[:]", "refused"),
        ("", "refused"),
    ];
    for (path, wanted) in cases {
        assert_eq!(outcome(path, &document), wanted, "{path}");
    }
}

/// Recorded from Jayway's JsonPath 2.10, but for what is marked.
#[test]
fn filters_decide_as_in_jayways_json_path() {
    let document = parse_json(R).unwrap();
    let cases = [
        ("@.shop == 'us'", true),
        ("@.shop == 'uk'", false),
        ("@.shop", true),
        ("@.absent", false),
        ("!@.absent", true),
        ("@.absent == 'x'", false),
        ("@.absent == null", false),
        ("@.absent != 'x'", true),
        ("@.nul", true),
        ("@.nul == null", true),
        ("@.nul != null", false),
        ("@.n > 4", true),
        ("@.n == 5.0", true),
        ("@.n == 5e0", true),
        ("@.n == '5'", true),
        ("@.s == 5", true),
        ("@.s == 5.0", false),
        ("@.n === '5'", false),
        ("@.n !== '5'", true),
        ("@.n < 'a'", false),
        ("@.shop >= 'ur'", true),
        ("@.shop =~ /u/", false),
        ("@.shop =~ /.*s$/", true),
        ("@.n >= 5 && @.shop =~ /U.*/i", true),
        ("/us/ =~ @.shop", true),
        ("@.f =~ /5\\.0/", true),
        ("@.absent =~ /.*/", true),
        ("@.tags =~ /b/", true),
        ("@.text =~ /.*/", false),
        ("@.text =~ /.*/s", true),
        ("@.text =~ /Grüße$/", false),
        ("@.text =~ /gRüßE./is", true),
        ("@.text =~ /GRÜSSE./is", false),
        ("@.text =~ /GRÜßE./is", false),
        ("@.text =~ /GRÜßE./isu", true),
        ("@.shop in ['us','uk']", true),
        ("@.shop nin ['us']", false),
        ("@.shop IN ['us']", true),
        ("'a' in @.tags", true),
        ("@.n in ['5']", true),
        ("@.nul in [null]", true),
        ("@.n in 5", false),
        ("@.b || @.n in 5", true),
        ("@.n in 5 || @.b", false),
        ("@.tags contains 'a'", true),
        ("@.shop contains 's'", true),
        ("@.tags size 2", true),
        ("@.shop size 2", true),
        ("@.tags empty false", true),
        ("@.empty empty true", true),
        // An object fails there: Jayway takes it for a list.
        ("@.eo empty true", true),
        ("@.tags anyof ['b']", true),
        ("@.tags subsetof ['a','b','c']", true),
        ("@.tags noneof ['z']", true),
        ("@.tags == ['a','b']", true),
        ("@.key == {'nestedKey':\"value1\"}", true),
        ("@.b", true),
        ("@.b == true", true),
        ("@.b == 'true'", false),
        ("@['a.b'] == 7", true),
        ("@.key.nestedKey == 'value1'", true),
        ("@.items[0].p == 1", true),
        ("@.items[*].p", true),
        ("@.items[*].zz", false),
        ("@.empty[*]", true),
        ("@..zzz", true),
        ("@..p contains 20", true),
        ("@.items[?(@.p > 10)].p contains 20", true),
        ("@.items[?(@.p > 100)] empty true", true),
        ("@.length() > 3", true),
        ("@.items.length() == 2 && @.b", true),
        ("$.n == 5", true),
        ("!(@.n == 5)", false),
        ("(@.n == 4 || @.n == 5) && @.b", true),
        ("@.n == 5&&@.b == true", true),
        ("5 == 5", true),
    ];
    for (filter, matches) in cases {
        let path = format!("$[?({filter})]");
        let got = outcome(&path, &document);
        assert!(got.starts_with('['), "{path}: {got}");
        assert_eq!(got != "[]", matches, "{path}");
        // The tolerated dot, and a number of the dialect's blanks.
        assert_eq!(outcome(&format!("$.[ ?( {filter} ) ]"), &document), got, "{path}");
    }
}

#[test]
fn numbers_compare_exactly_whatever_their_size() {
    let document = parse_json(r#"{"n":9007199254740993,"e":"1e999999999","f":0.1}"#).unwrap();
    let cases = [
        ("@.n == 9007199254740993", true),
        ("@.n == 9007199254740992", false),
        ("1e999999998 < @.n", false),
        ("1e999999999 == @.e", true),
        ("1e999999998 == @.e", false),
        ("@.f == 0.10", true),
        ("@.f < 0.1000000000000000000001", true),
    ];
    for (filter, matches) in cases {
        assert_eq!(
            outcome(&format!("$[?({filter})]"), &document) != "[]",
            matches,
            "{filter}"
        );
    }
}

#[test]
fn what_would_take_for_ever_ends_in_an_error() {
    let wide = Value::Array(vec![Value::Array(vec![Value::Int64(1); 200]); 200]);
    let mut nested = wide.clone();
    for _ in 0..900 {
        nested = Value::Map(Map::from_iter([(Value::from("a"), nested)]));
    }
    let mut deep = Value::Int64(1);
    for _ in 0..2000 {
        deep = Value::Map(Map::from_iter([(Value::from("a"), deep)]));
    }
    let cases = [
        ("$..[?($..x == 1)]", &wide),
        ("$[*][?(@ in $..[0])]", &wide),
        ("$[?($..* contains $..*)]", &nested),
        ("$..a", &deep),
        ("$..[?(@..zz)]", &deep),
    ];
    for (path, document) in cases {
        assert!(outcome(path, document) == "failed", "{path}");
    }
    let text = parse_json(&format!(r#"{{"a":"{}"}}"#, "a".repeat(64))).unwrap();
    assert_eq!(outcome(r"$[?(@.a =~ /(a+)+\1b/)]", &text), "failed");
}

// Each item had the average of all of them worked out again, which counted as one step.
#[test]
fn a_function_costs_what_it_looks_at() {
    let items: Vec<String> = (0..3_000).map(|number| number.to_string()).collect();
    let document = parse_json(&format!("{{\"items\":[{}]}}", items.join(","))).unwrap();
    assert_eq!(outcome("$.items.avg()", &document), "1499.5");
    assert_eq!(outcome("$.items[?($.items.avg() < @)]", &document), "failed");
}

#[test]
fn paths_without_end_are_refused() {
    for path in [
        format!("$[?({}@.a{})]", "(".repeat(500), ")".repeat(500)),
        format!("${}", "[?(@".repeat(500)),
        format!("${}@.a{}", "[?(@".repeat(200), ")]".repeat(200)),
        format!("$[?({}(@.a))]", "!".repeat(500)),
        format!("${}", ".a".repeat(500)),
        format!("$.{}", "a".repeat(10_000)),
    ] {
        assert!(JsonPath::parse(&path).is_err(), "{path}");
    }
}

proptest! {
    #[test]
    fn any_path_is_read_or_refused_and_ends(path in r"\$[\[\]().*@?'a-c0-3:,=<>!&|~/ {}\\-]{0,24}") {
        if let Ok(path) = JsonPath::parse(&path) {
            let document = parse_json(r#"{"a":{"b":[1,{"c":"a"}]},"b":[0,1,2],"c":null}"#).unwrap();
            match path.select(&document) {
                Ok(Selection::One(_)) => prop_assert!(path.is_definite()),
                Ok(Selection::Many(_)) => prop_assert!(!path.is_definite()),
                Err(_) => {}
            }
        }
    }
}
