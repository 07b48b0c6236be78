use klamm_connect_api::{Decimals, Natural, Timestamps, Value, json};
use klamm_schema_registry::{Document, ReferencedDocument};
use proptest::prelude::*;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage};

use super::*;

fn options() -> Options {
    Options {
        vendor: Vendor::Confluent,
        enhanced: false,
        generalized: false,
        int_for_enums: false,
        optional_for_nullables: false,
        optional_for_proto2: true,
        wrapper_for_nullables: false,
        wrapper_for_raw_primitives: true,
        struct_for_nulls: false,
        index_for_unions: true,
        flatten_unions: false,
    }
}

fn document(text: &str) -> Arc<Document> {
    Arc::new(Document {
        id: Some(7),
        subject: Some(Arc::from("t-value")),
        version: None,
        schema_type: SchemaType::Protobuf,
        text: text.to_owned(),
        references: Vec::new(),
    })
}

fn schema_with(text: &str, references: &[(&str, &str)], options: Options) -> Result<ProtobufSchema, DataError> {
    let referenced = references.iter().map(|(name, text)| ReferencedDocument {
        name: (*name).to_owned(),
        document: document(text),
    });
    let schema = RegisteredSchema {
        document: document(text),
        references: referenced.collect(),
    };
    ProtobufCompiler(options).compile(&schema, SchemaId::Id(7), None)
}

fn proto3(body: &str) -> String {
    format!("syntax = \"proto3\";\npackage t;\n{body}")
}

/// Reads the first message of a proto3 schema.
fn codec(body: &str) -> Arc<ProtobufCodec> {
    codec_with(&proto3(body), options()).unwrap()
}

fn codec_with(text: &str, options: Options) -> Result<Arc<ProtobufCodec>, DataError> {
    schema_with(text, &[], options)?.codec(&mut Bytes::from_static(&[0]))
}

fn json_of(codec: &ProtobufCodec, payload: &[u8]) -> Result<String, DataError> {
    rendered(codec, payload, Rendering::Connect)
}

/// The value as JSON, by way of values and straight, which has to be the same.
fn rendered(codec: &ProtobufCodec, payload: &[u8], rendering: Rendering) -> Result<String, DataError> {
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

/// Bytes from text such as `0a 01 'x' 10 05`.
fn hex(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in text.split_whitespace() {
        match word.strip_prefix('\'') {
            Some(quoted) => bytes.extend_from_slice(quoted.trim_end_matches('\'').as_bytes()),
            None => bytes.push(u8::from_str_radix(word, 16).unwrap()),
        }
    }
    bytes
}

const NODE: &str = "message Node { int32 v = 1; Node next = 2; }";

#[test]
fn messages_are_written_as_json_converter_writes_them() {
    let cases = [
        (
            "message M { int32 a = 1; int32 b = 2; }",
            "10 02 08 01",
            r#"{"a":1,"b":2}"#,
            "in the order of the schema",
        ),
        (
            "message M { string a = 1; }",
            "0a 01 'x' 0a 01 'y'",
            r#"{"a":"y"}"#,
            "the last one wins",
        ),
        (
            "message M { int32 a = 1; }",
            "0a 01 'x'",
            r#"{"a":0}"#,
            "another wire type is an unknown field",
        ),
        (
            "message M { int32 a = 1; }",
            "1b 20 01 1c 08 05",
            r#"{"a":5}"#,
            "an unknown group",
        ),
        (
            "message M { optional int32 a = 1; }",
            "",
            r#"{"a":null}"#,
            "an optional field tells that it is absent",
        ),
        (
            "message M { oneof o { string a = 1; N n = 2; } } message N { int32 x = 1; int32 y = 2; }",
            "12 02 08 01 0a 01 'x' 12 02 10 02",
            r#"{"o_0":{"a":null,"n":{"x":0,"y":2}}}"#,
            "a field of a oneof forgets what was there of the others",
        ),
        (
            "message M { oneof o { string a = 1; N n = 2; } } message N { int32 x = 1; int32 y = 2; }",
            "12 02 08 01 12 02 10 02",
            r#"{"o_0":{"a":null,"n":{"x":1,"y":2}}}"#,
            "parts of one message are one message",
        ),
        (
            "message M { repeated int32 a = 1; repeated string b = 2; }",
            "08 01 12 01 'x' 0a 02 02 03 12 00 08 04 0a 00",
            r#"{"a":[1,2,3,4],"b":["x",""]}"#,
            "lists in parts, packed and not",
        ),
        (
            "message M { map<string, N> m = 1; } message N { int32 x = 1; }",
            "0a 03 0a 01 'a' 0a 07 0a 01 'a' 12 02 08 02 0a 00",
            r#"{"m":{"a":{"x":2},"":{"x":0}}}"#,
            "of entries with one key the last counts; keys and values may be left out",
        ),
        (
            "message M { map<sint32, bool> m = 1; }",
            "0a 04 08 03 10 01",
            r#"{"m":[[-2,true]]}"#,
            "other keys than texts",
        ),
        (
            "message M { repeated PairEntry pairs = 1; message PairEntry { double key = 1; string value = 2; } }",
            "0a 00",
            r#"{"pairs":[[0.0,""]]}"#,
            "a list of entries is a map",
        ),
        (
            "message M { E e = 1; repeated E es = 2; } enum E { A = 0; B = 1; }",
            "08 01 12 02 00 07",
            r#"{"e":"B","es":["A","UNKNOWN_ENUM_VALUE_E_7"]}"#,
            "enums, and a number that has no name",
        ),
        (
            "message M { E e = 1; } enum E { option allow_alias = true; A = 0; B = 0; N = -1; }",
            "08 00",
            r#"{"e":"A"}"#,
            "of two names for a number the first",
        ),
        (
            "import \"google/protobuf/wrappers.proto\"; message M { google.protobuf.Int32Value a = 1; \
             repeated google.protobuf.StringValue b = 2; }",
            "0a 00 12 03 0a 01 'x' 12 00",
            r#"{"a":0,"b":["x",""]}"#,
            "a wrapper is the value in it",
        ),
        (
            "import \"google/protobuf/timestamp.proto\"; message M { google.protobuf.Timestamp a = 1; \
             google.protobuf.Timestamp b = 2; }",
            "0a 11 08 ff ff ff ff ff ff ff ff ff 01 10 80 c6 86 8f 01",
            r#"{"a":-700,"b":null}"#,
            "nanoseconds count up from the second before",
        ),
        (
            "import \"google/protobuf/struct.proto\"; message M { google.protobuf.Struct a = 1; }",
            "0a 0a 0a 08 0a 01 'k' 12 03 1a 01 'v'",
            "{\"a\":{\"fields\":{\"k\":{\"kind_0\":{\"null_value\":null,\"number_value\":null,\"string_value\":\"v\",\
             \"bool_value\":null,\"struct_value\":null,\"list_value\":null}}}}}",
            "a well-known type that refers to itself",
        ),
        (
            "import \"confluent/type/decimal.proto\"; message M { confluent.type.Decimal a = 1 \
             [(confluent.field_meta).params = { key: \"scale\", value: \"2\" }]; }",
            "0a 08 0a 04 00 00 04 d2 18 02",
            r#"{"a":"BNI="}"#,
            "the shortest form of a decimal",
        ),
        (
            "message M { double a = 1; float b = 2; }",
            "09 00 00 00 00 00 00 f0 7f 15 cd cc cc 3d",
            r#"{"a":"Infinity","b":0.1}"#,
            "floats",
        ),
        (
            "message M { Empty e = 1; } message Empty {}",
            "0a 00",
            r#"{"e":{}}"#,
            "a message without fields",
        ),
        (
            NODE,
            "08 01 12 04 08 02 12 00",
            r#"{"v":1,"next":{"v":2,"next":{"v":0,"next":null}}}"#,
            "a type that refers to itself",
        ),
        (
            "message A { B b = 1; } message B { repeated A as = 1; C c = 2; } message C { A a = 1; }",
            "0a 06 0a 00 12 02 0a 00",
            r#"{"b":{"as":[{"b":null}],"c":{"a":{"b":null}}}}"#,
            "types that refer to each other",
        ),
        (
            "message M { int32 far = 536870911; int32 x = 2000; }",
            "f8 ff ff ff 0f 01 80 7d 02",
            r#"{"far":1,"x":2}"#,
            "great numbers",
        ),
    ];
    for (schema, payload, wanted, why) in cases {
        assert_eq!(json_of(&codec(schema), &hex(payload)).as_deref(), Ok(wanted), "{why}");
    }
}

/// All that a message may hold which is written while it is read, and all that is not as serializers write it.
#[test]
fn fields_count_in_any_order() {
    let empty =
        r#"{"a":0,"b":null,"c":null,"d":[],"e":[],"g":"","h":[],"i":false,"j":0,"k":[],"l":0.0,"m":0,"n":null}"#;
    let with = |members: &[(&str, &str)]| {
        members.iter().fold(empty.to_owned(), |text, (name, value)| {
            let name = format!("\"{name}\":");
            let (before, rest) = text.split_once(&name).unwrap();
            let (_, after) = rest.split_at(rest.find([',', '}']).unwrap());
            format!("{before}{name}{value}{after}")
        })
    };
    let inner = r#"{"a":7,"b":"y","c":null}"#;
    let cases: [(&str, Option<String>, &str); 13] = [
        ("", Some(empty.to_owned()), "nothing"),
        (
            "08 05 12 01 'x' 22 02 01 02 2a 01 'p' 2a 00",
            Some(with(&[
                ("e", r#"["p",""]"#),
                ("d", "[1,2]"),
                ("b", r#""x""#),
                ("a", "5"),
            ])),
            "in order",
        ),
        (
            "12 01 'x' 08 05",
            Some(with(&[("b", r#""x""#), ("a", "5")])),
            "not in order",
        ),
        ("08 05 08 06", Some(with(&[("a", "6")])), "twice"),
        (
            "08 05 a0 06 01 12 01 'x'",
            Some(with(&[("b", r#""x""#), ("a", "5")])),
            "between them a field that is unknown",
        ),
        ("08 05 a0 06 01", Some(with(&[("a", "5")])), "behind them"),
        ("0d 01 02 03 04", Some(empty.to_owned()), "written as another type"),
        (
            "20 01 22 02 02 03 20 04",
            Some(with(&[("d", "[1,2,3,4]")])),
            "runs and single elements",
        ),
        (
            "20 01 08 05 20 02",
            Some(with(&[("d", "[1,2]"), ("a", "5")])),
            "a list in two places",
        ),
        (
            "1a 02 08 07 1a 03 12 01 'y'",
            Some(with(&[("c", inner)])),
            "a message in parts",
        ),
        (
            "1a 05 12 01 'y' 08 07",
            Some(with(&[("c", inner)])),
            "inside of a message not in order",
        ),
        ("00 05", None, "a field of number 0"),
        ("08 05 12 05 'x'", None, "an end too early"),
    ];
    let codec = codec(FLAT);
    for (payload, wanted, why) in cases {
        assert_eq!(json_of(&codec, &hex(payload)).ok(), wanted, "{why}");
    }
}

#[test]
fn proto2_has_defaults_groups_and_closed_enums() {
    let text = "syntax = \"proto2\"; message M { optional string s = 1 [default = \"d\"]; optional bytes b = 2 \
                [default = \"\\001\\xff\"]; optional E e = 3 [default = B]; repeated E es = 4; optional group G = 5 { \
                optional int32 x = 1; } optional double d = 6 [default = -inf]; optional int32 i = 7 [default = -5]; \
                optional bool t = 8 [default = true]; } enum E { A = 1; B = 2; }";
    let cases = [
        (
            true,
            "",
            r#"{"s":null,"b":null,"e":null,"es":[],"g":null,"d":null,"i":null,"t":null}"#,
        ),
        (
            false,
            "",
            r#"{"s":"d","b":"Af8=","e":"B","es":[],"g":null,"d":"-Infinity","i":-5,"t":true}"#,
        ),
        (
            true,
            "18 07 20 01 20 07 22 02 02 09",
            r#"{"s":null,"b":null,"e":null,"es":["A","B"],"g":null,"d":null,"i":null,"t":null}"#,
        ),
        (
            true,
            "2b 08 03 2c 2b 10 01 2c",
            r#"{"s":null,"b":null,"e":null,"es":[],"g":{"x":3},"d":null,"i":null,"t":null}"#,
        ),
        (
            true,
            "0a 01 ff",
            "{\"s\":\"\u{fffd}\",\"b\":null,\"e\":null,\"es\":[],\"g\":null,\"d\":null,\"i\":null,\"t\":null}",
        ),
    ];
    for (optional_for_proto2, payload, wanted) in cases {
        let options = Options {
            optional_for_proto2,
            ..options()
        };
        let codec = codec_with(text, options).unwrap();
        assert_eq!(json_of(&codec, &hex(payload)).as_deref(), Ok(wanted), "{payload}");
    }
}

#[test]
fn settings_change_what_is_read() {
    let union = "message M { oneof o { string a = 1; int32 b = 2; } N n = 3; } message N { int32 x = 1; N2 m = 2; } \
                 message N2 { string s = 1; }";
    let wrapped = "import \"google/protobuf/wrappers.proto\"; message M { google.protobuf.Int32Value a = 1; }";
    let enumeration = "message M { E e = 1; map<string, E> m = 2; } enum E { A = 0; B = 1; }";
    type Change = fn(&mut Options);
    let cases: [(Change, &str, &str, &str); 7] = [
        (
            |options| options.flatten_unions = true,
            union,
            "10 05",
            r#"{"a":null,"b":5,"n":null}"#,
        ),
        (
            |options| options.index_for_unions = false,
            union,
            "10 05",
            r#"{"o":{"a":null,"b":5},"n":null}"#,
        ),
        (
            |options| options.struct_for_nulls = true,
            union,
            "",
            r#"{"o_0":null,"n":{"x":0,"m":{"s":""}}}"#,
        ),
        (
            |options| options.int_for_enums = true,
            enumeration,
            "08 01 12 02 10 07",
            r#"{"e":1,"m":{"":7}}"#,
        ),
        (
            |options| options.wrapper_for_raw_primitives = false,
            wrapped,
            "0a 02 08 03",
            r#"{"a":{"value":3}}"#,
        ),
        (
            |options| {
                options.wrapper_for_raw_primitives = false;
                options.wrapper_for_nullables = true;
            },
            wrapped,
            "0a 02 08 03",
            r#"{"a":3}"#,
        ),
        (
            |options| options.optional_for_nullables = true,
            union,
            "",
            r#"{"o_0":null,"n":null}"#,
        ),
    ];
    for (change, schema, payload, wanted) in cases {
        let mut options = options();
        change(&mut options);
        let codec = codec_with(&proto3(schema), options.clone()).unwrap();
        assert_eq!(json_of(&codec, &hex(payload)).as_deref(), Ok(wanted), "{options:?}");
    }
}

#[test]
fn the_natural_rendering_is_what_people_want_to_read() {
    let union = "message M { oneof o { string a = 1; N n = 2; } oneof p { int32 x = 3; } map<int32, bool> m = 4; } \
                 message N { oneof q { bool t = 1; } }";
    let logical = "import \"google/protobuf/timestamp.proto\"; import \"google/type/date.proto\"; \
                   import \"google/type/timeofday.proto\"; import \"confluent/type/decimal.proto\"; \
                   message M { google.protobuf.Timestamp a = 1; google.type.Date b = 2; \
                   google.type.TimeOfDay c = 3; confluent.type.Decimal d = 4 \
                   [(confluent.field_meta) = { params: [{ key: \"scale\", value: \"2\" }] }]; }";
    let values = "0a 02 08 01 12 07 08 e8 0f 10 05 18 01 1a 02 08 0a 22 06 0a 02 04 d2 18 02";
    let natural = Natural::default();
    let numbers = Natural {
        decimals: Decimals::Number,
        timestamps: Timestamps::Epoch,
    };
    let cases = [
        (
            union,
            "12 02 08 01 22 04 08 05 10 01",
            natural,
            r#"{"n":{"t":true},"m":{"5":true}}"#,
        ),
        (union, "18 07", natural, r#"{"x":7,"m":{}}"#),
        (union, "12 00", natural, r#"{"n":{},"m":{}}"#),
        (
            logical,
            values,
            natural,
            r#"{"a":"1970-01-01T00:00:01.000Z","b":"2024-05-01","c":"10:00:00.000","d":"12.34"}"#,
        ),
        (
            logical,
            values,
            numbers,
            r#"{"a":1000,"b":19844,"c":36000000,"d":12.34}"#,
        ),
        (logical, "", natural, r#"{"a":null,"b":null,"c":null,"d":null}"#),
    ];
    for (schema, payload, natural, wanted) in cases {
        let got = rendered(&codec(schema), &hex(payload), Rendering::Natural(natural));
        assert_eq!(got.as_deref(), Ok(wanted), "{payload}");
    }
    let generalized = Options {
        generalized: true,
        ..options()
    };
    let codec = codec_with(&proto3(union), generalized).unwrap();
    let got = rendered(&codec, &hex("0a 01 'x'"), Rendering::Natural(natural));
    assert_eq!(
        got.as_deref(),
        Ok(r#"{"o_0":"x","p_1":null,"m":{}}"#),
        "marked as in all formats"
    );
}

#[test]
fn the_natural_rendering_has_protobufs_own_forms() {
    let schema = "import \"google/protobuf/struct.proto\"; import \"google/protobuf/duration.proto\"; \
                  import \"google/protobuf/field_mask.proto\"; import \"google/protobuf/wrappers.proto\"; \
                  message M { google.protobuf.Struct a = 1; google.protobuf.Value b = 2; \
                  google.protobuf.ListValue c = 3; google.protobuf.Duration d = 4; google.protobuf.FieldMask e = 5; \
                  google.protobuf.UInt64Value f = 6; uint64 g = 7; repeated fixed64 h = 8; map<uint64, string> i = 9; \
                  google.protobuf.NullValue j = 10; }";
    let nothing = r#"{"a":null,"b":null,"c":null,"d":null,"e":null,"f":null,"g":0,"h":[],"i":{},"j":null}"#;
    let cases = [
        ("", nothing.to_owned(), "nothing"),
        (
            "0a 14 0a 09 0a 01 'n' 12 04 1a 02 'hi' 0a 07 0a 01 'z' 12 02 08 00",
            nothing.replace(r#""a":null"#, r#""a":{"n":"hi","z":null}"#),
            "a struct of a text and a null",
        ),
        (
            "12 0b 2a 09 0a 07 0a 01 'k' 12 02 20 01",
            nothing.replace(r#""b":null"#, r#""b":{"k":true}"#),
            "a value that is a struct",
        ),
        ("12 00", nothing.to_owned(), "a value of which nothing is set"),
        (
            "1a 1b 0a 09 11 00 00 00 00 00 00 f8 3f 0a 04 32 02 0a 00 0a 02 2a 00 0a 04 1a 02 c3 a9",
            nothing.replace(r#""c":null"#, r#""c":[1.5,[null],{},"é"]"#),
            "a list",
        ),
        (
            "22 08 08 01 10 80 ca b5 ee 01",
            nothing.replace(r#""d":null"#, r#""d":"1.500s""#),
            "a length of time",
        ),
        ("22 00", nothing.replace(r#""d":null"#, r#""d":"0s""#), "none of it"),
        (
            "22 0d 08 01 10 ff ff ff ff ff ff ff ff ff 01",
            nothing.replace(r#""d":null"#, r#""d":{"seconds":1,"nanos":-1}"#),
            "signs that differ are no length of time",
        ),
        (
            "2a 0b 0a 03 'a_b' 0a 04 'c.d1'",
            nothing.replace(r#""e":null"#, r#""e":"aB,c.d1""#),
            "names of fields",
        ),
        ("2a 00", nothing.replace(r#""e":null"#, r#""e":"""#), "no names"),
        (
            "2a 04 0a 02 'aB'",
            nothing.replace(r#""e":null"#, r#""e":{"paths":["aB"]}"#),
            "a name that could not be read back",
        ),
        (
            "32 0b 08 ff ff ff ff ff ff ff ff ff 01 38 ff ff ff ff ff ff ff ff ff 01 \
             42 08 ff ff ff ff ff ff ff ff 4a 0e 08 ff ff ff ff ff ff ff ff ff 01 12 01 'm' 50 00",
            nothing
                .replace(r#""f":null"#, r#""f":18446744073709551615"#)
                .replace(r#""g":0"#, r#""g":18446744073709551615"#)
                .replace(r#""h":[]"#, r#""h":[18446744073709551615]"#)
                .replace(r#""i":{}"#, r#""i":{"18446744073709551615":"m"}"#),
            "numbers without a sign",
        ),
    ];
    let settings = [
        options(),
        Options {
            flatten_unions: true,
            ..options()
        },
        Options {
            generalized: true,
            ..options()
        },
        Options {
            wrapper_for_raw_primitives: false,
            ..options()
        },
    ];
    for options in settings {
        let codec = codec_with(&proto3(schema), options.clone()).unwrap();
        for (payload, wanted, why) in &cases {
            let got = rendered(&codec, &hex(payload), Rendering::Natural(Natural::default()));
            assert_eq!(got.unwrap_or_default(), *wanted, "{why}, {options:?}");
        }
    }
    let default = "syntax = \"proto2\"; message M { optional uint64 a = 1 [default = 18446744073709551615]; }";
    let zero = Options {
        optional_for_proto2: false,
        ..options()
    };
    let codec = codec_with(default, zero).unwrap();
    let got = rendered(&codec, &[], Rendering::Natural(Natural::default()));
    assert_eq!(got.as_deref(), Ok(r#"{"a":18446744073709551615}"#));
    assert_eq!(json_of(&codec, &[]).as_deref(), Ok(r#"{"a":-1}"#));
}

#[test]
fn names_say_their_package_if_wanted() {
    let text = proto3("message M { N.E e = 1; } message N { enum E { A = 0; } }");
    let enhanced = Options {
        enhanced: true,
        ..options()
    };
    for (options, wanted) in [(options(), ["M", "E"]), (enhanced, ["t.M", "t.N.E"])] {
        let data = codec_with(&text, options).unwrap().decode(&Bytes::new()).unwrap();
        let schema = data.schema.unwrap();
        let names = [schema.name(), schema.field("e").unwrap().schema.name()];
        assert_eq!(names, wanted.map(Some));
    }
}

#[test]
fn a_record_says_which_message_it_holds() {
    let text = proto3(
        "message A { map<string, string> m = 1; message B { int32 b = 1; } message C { int32 c = 1; } } \
         message D { int32 d = 1; }",
    );
    let schema = schema_with(&text, &[], options()).unwrap();
    let cases: [(&[u8], &str); 5] = [
        (&[0], r#"{"m":{}}"#),
        (&[2, 0], r#"{"m":{}}"#),
        (&[2, 2], r#"{"d":0}"#),
        (&[4, 0, 0], r#"{"b":0}"#),
        (&[4, 0, 2], r#"{"c":0}"#),
    ];
    for (path, wanted) in cases {
        let mut bytes = Bytes::copy_from_slice(path);
        let codec = schema.codec(&mut bytes).unwrap();
        assert!(bytes.is_empty());
        assert_eq!(json_of(&codec, &[]).as_deref(), Ok(wanted), "{path:?}");
    }
    for path in [&[2, 4][..], &[4, 2, 0], &[6, 0, 0, 0], &[1], &[]] {
        let error = schema.codec(&mut Bytes::copy_from_slice(path)).unwrap_err();
        assert!(
            error.to_string().starts_with("schema id 7 (subject t-value): "),
            "{path:?}: {error}"
        );
    }
}

#[test]
fn schemas_come_as_text_or_compiled_with_what_they_import() {
    let common = "syntax = \"proto3\"; package c; message Meta { string source = 1; }";
    let main = "syntax = \"proto3\"; package t; import \"common.proto\"; import \"not/there.proto\"; \
                message M { c.Meta meta = 1; }";
    let compile = |name: &str, text: &str| protox_parse::parse(name, text).unwrap();
    let base64 = |bytes: Vec<u8>| {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(bytes)
    };
    let one = base64(compile("main.proto", main).encode_to_vec());
    let set = base64(
        prost_reflect::prost_types::FileDescriptorSet {
            file: vec![compile("common.proto", common), compile("main.proto", main)],
        }
        .encode_to_vec(),
    );
    let common_compiled = base64(compile("common.proto", common).encode_to_vec());
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);
    let cases: [Case<'_>; 5] = [
        (main, &[("common.proto", common)], "text with text"),
        (&one, &[("common.proto", common)], "a compiled file with text"),
        (main, &[("common.proto", &common_compiled)], "text with a compiled file"),
        (&set, &[], "a set of compiled files"),
        (
            main,
            &[("common.proto", common), ("again/common.proto", common)],
            "under two names",
        ),
    ];
    for (text, references, why) in cases {
        let schema = schema_with(text, references, options()).unwrap_or_else(|error| panic!("{why}: {error}"));
        let codec = schema.codec(&mut Bytes::from_static(&[0])).unwrap();
        assert_eq!(
            json_of(&codec, &hex("0a 03 0a 01 'x'")).as_deref(),
            Ok(r#"{"meta":{"source":"x"}}"#),
            "{why}"
        );
    }
    let error = schema_with(main, &[], options()).unwrap_err().to_string();
    assert!(
        error.contains("field `meta`: its type `c.Meta` is not defined"),
        "{error}"
    );
    assert!(error.contains("common.proto"), "{error}");
}

#[test]
fn options_of_ones_own_mean_nothing() {
    let schema = "syntax = \"proto3\"; package t; import \"google/protobuf/descriptor.proto\"; \
                  extend google.protobuf.FieldOptions { string mask = 50000; Rule rule = 50001; } \
                  extend google.protobuf.MessageOptions { optional string owner = 50002; } \
                  message M { option (owner) = \"shop\"; string a = 1 [(mask) = \"all\", (t.rule) = { least: 3 }]; \
                  extend google.protobuf.FieldOptions { int32 inner = 50003; } } \
                  message Rule { int32 least = 1; }";
    let codec = codec_with(schema, options()).unwrap();
    assert_eq!(json_of(&codec, &hex("0a 01 'x'")).as_deref(), Ok(r#"{"a":"x"}"#));
    let declared = "import \"google/protobuf/descriptor.proto\"; message M { google.protobuf.FieldOptions a = 1; }";
    let error = codec_with(&proto3(declared), options()).unwrap_err().to_string();
    assert!(
        error.contains("field `a`: its type `google.protobuf.FieldOptions` is not defined"),
        "{error}"
    );
    assert!(error.contains("imports `google/protobuf/descriptor.proto`"), "{error}");
}

#[test]
fn every_well_known_file_can_be_imported() {
    for name in known::NAMES {
        let text = proto3(&format!("import \"{name}\"; message M {{}}"));
        let schema = schema_with(&text, &[], options()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(schema.types.messages.len() + schema.types.enums.len() > 1, "{name}");
    }
}

#[test]
fn what_does_not_fit_says_where() {
    let nested = "message M { N n = 1; repeated N ns = 2; } message N { string s = 1; repeated int32 i = 2; }";
    let int8 = "message M { int32 a = 1 [(confluent.field_meta) = { params: [{ key: \"connect.type\", value: \"int8\" }] }]; }";
    let logical = "import \"google/protobuf/timestamp.proto\"; import \"google/type/date.proto\"; \
                   import \"google/type/timeofday.proto\"; import \"confluent/type/decimal.proto\"; \
                   message M { google.protobuf.Timestamp a = 1; google.type.Date b = 2; \
                   google.type.TimeOfDay c = 3; confluent.type.Decimal d = 4; }";
    let cases = [
        (
            nested,
            "0a 03 0a 01 ff",
            "schema id 7 (subject t-value), message `t.M`: field `n`: field `s`: the bytes are no Protobuf",
        ),
        (nested, "12 00 12 03 0a 01 ff", "field `ns`: element 1: field `s`: "),
        (
            nested,
            "0a 02 0a 05",
            "field `n`: field `s`: the bytes are no Protobuf message of this type: the bytes end before",
        ),
        (nested, "0a 03 12 01 ff", "field `i`: element 0: "),
        (nested, "0a ff ff ff ff 0f", "the bytes end before the value does"),
        (nested, "0c", "the end of a group that has not begun"),
        (nested, "0f", "wire type that does not exist"),
        (nested, "00", "a field of number 0"),
        (nested, "20 ff ff ff ff ff ff ff ff ff ff 01", "more than ten bytes"),
        (int8, "08 80 01", "field `a`: a number that is no int8"),
        (
            logical,
            "0a 0a 08 ff ff ff ff ff ff ff ff 7f",
            "field `a`: a timestamp that is not within",
        ),
        (
            logical,
            "0a 0b 10 ff ff ff ff ff ff ff ff ff 01",
            "field `a`: a timestamp that is not within",
        ),
        (logical, "12 00", "field `b`: a date without"),
        (logical, "1a 02 08 18", "field `c`: a time of day that is not within"),
        (logical, "22 00", "field `d`: a decimal without bytes"),
    ];
    for (schema, payload, wanted) in cases {
        let error = json_of(&codec(schema), &hex(payload)).unwrap_err().to_string();
        assert!(error.contains(wanted), "{payload}: {error}");
    }
    let text = "syntax = \"proto2\"; message M { required int32 a = 1; optional M m = 2; }";
    let required = codec_with(text, options()).unwrap();
    for (payload, wanted) in [("", "required field `a` is missing"), ("08 01 12 00", "field `m`: ")] {
        let error = json_of(&required, &hex(payload)).unwrap_err().to_string();
        assert!(error.contains(wanted), "{payload}: {error}");
    }
}

#[test]
fn schemas_that_mean_nothing_are_refused() {
    let field = |body: &str| proto3(&format!("message M {{ {body} }}"));
    let compiled_edition = {
        use base64::Engine as _;
        let mut file = protox_parse::parse("t.proto", &proto3("message M {}")).unwrap();
        file.syntax = Some("editions".to_owned());
        base64::engine::general_purpose::STANDARD.encode(file.encode_to_vec())
    };
    let cases = [
        ("".to_owned(), "it has no message at [0]"),
        ("not a schema".to_owned(), "cannot be parsed at line 1"),
        (proto3("message M {\n string = 1; }"), "cannot be parsed at line 4"),
        (
            "// A file\n/* of an */ edition = \"2023\"; message M {}".to_owned(),
            "is written in `edition 2023`: proto2 and proto3 can be read",
        ),
        (
            compiled_edition,
            "is written in `editions`: proto2 and proto3 can be read",
        ),
        ("AAAA".to_owned(), "descriptor cannot be read"),
        (
            field("Nope a = 1;"),
            "message `t.M`, field `a`: its type `Nope` is not defined",
        ),
        (field("int32 a = 1; int32 b = 1;"), "another field has the number 1 too"),
        (field("int32 a = 1; int32 a = 2;"), "already has a field `a`"),
        (
            field("oneof a { int32 b = 1; } int32 a_0 = 2;"),
            "already has a field `a_0`",
        ),
        (proto3("message M {} message M {}"), "defines `t.M` twice"),
        (
            proto3("message M { E e = 1; } enum E {}"),
            "the Protobuf enum `t.E` has no values",
        ),
    ];
    for (text, wanted) in cases {
        let error = codec_with(&text, options()).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(wanted), "{text}: {error}");
    }
}

/// A message inside another one, `levels` times.
fn nested(levels: usize) -> Vec<u8> {
    let mut payload = Vec::new();
    for _ in 0..levels {
        let mut outer = vec![0x12];
        let mut rest = payload.len();
        while rest >= 0x80 {
            outer.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
            rest >>= 7;
        }
        outer.push(u8::try_from(rest).unwrap());
        outer.extend_from_slice(&payload);
        payload = outer;
    }
    payload
}

#[test]
fn depth_is_bounded_in_data_and_in_schemas() {
    let node = codec(NODE);
    assert!(json_of(&node, &nested(100)).is_ok());
    for levels in [101, 5000] {
        let error = json_of(&node, &nested(levels)).unwrap_err().to_string();
        assert!(error.contains("nested more than 100"), "{error}");
    }
    let chain = |length: usize| {
        let links = (1..length).map(|index| format!("message T{} {{ T{index} t = 1; }}", index - 1));
        format!("{} message T{} {{}}", links.collect::<String>(), length - 1)
    };
    assert_eq!(json_of(&codec(&chain(200)), &[]).as_deref(), Ok(r#"{"t":null}"#));
    assert!(codec_with(&proto3(&chain(5000)), options()).is_err());
    let declared = format!("{}{}", "message M {".repeat(100_000), "}".repeat(100_000));
    assert!(codec_with(&proto3(&declared), options()).is_err());
}

#[test]
fn little_data_does_not_stand_for_fields_without_end() {
    let options = Options {
        struct_for_nulls: true,
        ..options()
    };
    // Each message holds the one before twice: 2^40 structs of an empty record.
    let mut messages = "message T0 { int32 x = 1; }".to_owned();
    for level in 1..40 {
        let inner = level - 1;
        messages = format!("message T{level} {{ T{inner} a = 1; T{inner} b = 2; }} {messages}");
    }
    let doubled = codec_with(&proto3(&messages), options.clone()).unwrap();
    let error = json_of(&doubled, &[]).unwrap_err().to_string();
    assert!(error.contains("more fields"), "{error}");
    let endless = codec_with(&proto3(NODE), options).unwrap();
    assert!(
        json_of(&endless, &[])
            .unwrap_err()
            .to_string()
            .contains("nested more than")
    );
}

#[test]
fn many_entries_of_a_map_keep_one_for_each_key() {
    let codec = codec("message M { map<int64, int64> m = 1; }");
    let entry = |key: u8, value: u8| [0x0a, 4, 0x08, key, 0x10, value];
    let payload: Vec<u8> = (0..100).flat_map(|index| entry(index % 20, index)).collect();
    let wanted: Vec<String> = (80..100).map(|value| format!("[{},{value}]", value % 20)).collect();
    assert_eq!(
        json_of(&codec, &payload),
        Ok(format!("{{\"m\":[{}]}}", wanted.join(",")))
    );
}

#[test]
fn bytes_are_a_part_of_the_payload() {
    let codec = codec("message M { bytes b = 1; }");
    let payload = Bytes::from_static(&[0x0a, 2, 7, 8]);
    let Value::Struct(data) = codec.decode(&payload).unwrap().value else {
        panic!("no struct");
    };
    assert_eq!(data.values(), [Value::Bytes(payload.slice(2..))]);
}

const ALL: &str = "
message M {
  int32 a = 1;
  string s = 2;
  M m = 3;
  repeated sint32 p = 4;
  repeated string r = 5;
  map<string, M> u = 6;
  oneof o { string x = 7; M y = 8; bool z = 9; }
  E e = 10;
  repeated E es = 11;
  optional double d = 12;
  fixed32 f = 13;
  bytes b = 14;
  repeated M ms = 15;
}
enum E { A = 0; B = 1; C = 5; }
";

fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap());
}

fn tagged(field: u64, wire: u64, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    varint(field << 3 | wire, &mut out);
    if wire == 2 {
        varint(content.len() as u64, &mut out);
    }
    out.extend_from_slice(content);
    out
}

/// Fields of [`ALL`], in any order and as often as it comes.
fn fields() -> impl Strategy<Value = Vec<u8>> {
    let number = || {
        any::<u64>().prop_map(|number| {
            let mut out = Vec::new();
            varint(number >> (number % 64), &mut out);
            out
        })
    };
    let text = || "[a-c\"é]{0,3}".prop_map(|text| text.into_bytes());
    let run = || proptest::collection::vec(number(), 0..4).prop_map(|run| run.concat());
    let leaf = prop_oneof![
        (
            prop_oneof![Just(1_u64), Just(9), Just(10), Just(11), Just(4), Just(200)],
            number()
        )
            .prop_map(|(field, number)| tagged(field, 0, &number)),
        (prop_oneof![Just(2_u64), Just(5), Just(7), Just(14), Just(201)], text())
            .prop_map(|(field, text)| tagged(field, 2, &text)),
        (prop_oneof![Just(4_u64), Just(11)], run()).prop_map(|(field, run)| tagged(field, 2, &run)),
        any::<f64>().prop_map(|number| tagged(12, 1, &number.to_le_bytes())),
        any::<u32>().prop_map(|number| tagged(13, 5, &number.to_le_bytes())),
    ];
    leaf.prop_recursive(4, 60, 6, move |inner| {
        let message = proptest::collection::vec(inner, 0..6).prop_map(|fields| fields.concat());
        prop_oneof![
            (prop_oneof![Just(3_u64), Just(8), Just(15)], message.clone())
                .prop_map(|(field, message)| tagged(field, 2, &message)),
            (text(), message.clone())
                .prop_map(|(key, message)| { tagged(6, 2, &[tagged(1, 2, &key), tagged(2, 2, &message)].concat()) }),
            message,
        ]
    })
}

/// [`ALL`] without what keeps its messages from being written while they are read.
const FLAT: &str = "message M { int32 a = 1; optional string b = 2; N c = 3; repeated int32 d = 4; repeated string e = 5; \
                    bytes g = 7; repeated N h = 8; bool i = 9; sint32 j = 10; repeated sint64 k = 11; double l = 12; \
                    fixed32 m = 13; N n = 15; } \
                    message N { uint64 a = 1; string b = 2; N c = 3; }";

const SCHEMAS: [&str; 5] = [
    NODE,
    ALL,
    FLAT,
    "import \"google/protobuf/struct.proto\"; message M { google.protobuf.Value v = 1; repeated float f = 2; }",
    "import \"google/protobuf/wrappers.proto\"; import \"google/protobuf/timestamp.proto\"; \
     import \"google/type/date.proto\"; import \"google/type/timeofday.proto\"; \
     message M { google.protobuf.BytesValue a = 1; repeated google.protobuf.Timestamp b = 2; google.type.Date c = 3; \
     repeated google.type.TimeOfDay d = 4; map<int32, google.protobuf.Int64Value> e = 5; optional bool f = 6; }",
];

fn same(codec: &ProtobufCodec, payload: &Bytes) -> Result<(), TestCaseError> {
    let decoded = codec.decode(payload);
    for rendering in [Rendering::Connect, Rendering::Natural(Natural::default())] {
        let mut straight = Vec::new();
        let written = codec.write_json(payload, rendering, &mut straight);
        prop_assert_eq!(written.as_ref().err(), decoded.as_ref().err());
        if let (Ok(()), Ok(data)) = (written, &decoded) {
            let mut by_values = Vec::new();
            json::write(data, rendering, &mut by_values).unwrap();
            prop_assert_eq!(String::from_utf8_lossy(&straight), String::from_utf8_lossy(&by_values));
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&straight).is_ok());
        }
    }
    Ok(())
}

fn descriptor(text: &str) -> prost_reflect::MessageDescriptor {
    let mut pool = DescriptorPool::new();
    pool.add_file_descriptor_proto(protox_parse::parse("t.proto", &proto3(text)).unwrap())
        .unwrap();
    pool.get_message_by_name("t.M").unwrap()
}

proptest! {
    /// Any bytes: no panic, both ways agree, and what is written is JSON.
    #[test]
    fn any_bytes_are_read_or_refused(
        schema in 0..SCHEMAS.len(),
        payload in proptest::collection::vec(prop_oneof![0_u8..32, any::<u8>()], 0..200),
    ) {
        same(&codec(SCHEMAS[schema]), &Bytes::from(payload))?;
    }

    /// Messages with a byte that is another one.
    #[test]
    fn broken_messages_are_read_or_refused(
        payload in proptest::collection::vec(fields(), 0..8),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut payload = payload.concat();
        if !payload.is_empty() {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        let payload = Bytes::from(payload);
        same(&codec(ALL), &payload)?;
        same(&codec(FLAT), &payload)?;
    }

    /// Fields in the order of their numbers, as serializers write them, and as they come.
    #[test]
    fn messages_are_the_same_in_any_order(payload in proptest::collection::vec(fields(), 0..8)) {
        let payload = payload.concat();
        let codec = codec(FLAT);
        let read = DynamicMessage::decode(descriptor(FLAT), payload.as_slice()).unwrap();
        same(&codec, &Bytes::from(payload))?;
        same(&codec, &Bytes::from(read.encode_to_vec()))?;
    }

    /// Another reader finds the same in a message: what it writes again, each field once and in order, means the same.
    #[test]
    fn messages_mean_what_they_mean_to_prost_reflect(payload in proptest::collection::vec(fields(), 0..8)) {
        let payload = payload.concat();
        let codec = codec(ALL);
        let read = DynamicMessage::decode(descriptor(ALL), payload.as_slice()).unwrap();
        let parse = |payload: &[u8]| {
            let text = json_of(&codec, payload).unwrap();
            serde_json::from_str::<serde_json::Value>(&text).unwrap()
        };
        prop_assert_eq!(parse(&payload), parse(&read.encode_to_vec()));
    }

    #[test]
    fn any_schema_is_read_or_refused(text in r#"(syntax = "proto3";)?(message [A-C] \{( [A-C] [a-c] = [0-9];| oneof [a-c] \{|[{}\[\]<>;=. a-z0-9"]{0,5})*\}){0,3}"#) {
        let _refused = codec_with(&text, options()).is_err();
    }

    #[test]
    fn any_compiled_schema_is_read_or_refused(
        bytes in proptest::collection::vec(prop_oneof![0_u8..16, any::<u8>()], 0..100),
        at in any::<prop::sample::Index>(),
    ) {
        use base64::Engine as _;
        let encode = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
        let _refused = codec_with(&encode(&bytes), options()).is_err();
        // The same inside of what is one.
        let mut compiled = protox_parse::parse("t.proto", &proto3(ALL)).unwrap().encode_to_vec();
        let at = at.index(compiled.len());
        compiled.splice(at..at, bytes);
        let _refused = codec_with(&encode(&compiled), options()).is_err();
    }
}

#[test]
fn a_oneof_of_too_many_fields_is_refused() {
    let fields: String = (1..=1500)
        .map(|number| format!("string field{number} = {number}; "))
        .collect();
    let error = codec_with(
        &proto3(&format!("message M {{ oneof choice {{ {fields} }} }}")),
        options(),
    )
    .unwrap_err();
    assert!(
        error.to_string().contains("the union `choice` has too many branches"),
        "{error}"
    );
}
