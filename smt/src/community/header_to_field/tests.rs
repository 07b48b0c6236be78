use klamm_connect_api::{Datum, Origin, RawConfig, TopicPartition};

use super::*;
use crate::{Chain, predicates, transforms};

/// The columns of `conversions.txt`.
const TYPES: [&str; 12] = [
    "BOOLEAN",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "FLOAT32",
    "FLOAT64",
    "STRING",
    "BYTES(Decimal[scale=2])",
    "INT32(Date)",
    "INT32(Time)",
    "INT64(Timestamp)",
];

fn data(schema_type: SchemaType, value: Value) -> SchemaAndValue {
    SchemaAndValue::new(Schema::builder(schema_type).build().unwrap(), value)
}

/// A header of the table.
fn header(kind: &str, text: &str) -> SchemaAndValue {
    let instant = |builder: klamm_connect_api::SchemaBuilder| {
        let ms = text.strip_prefix('@').unwrap().parse().unwrap();
        SchemaAndValue::new(builder.build().unwrap(), Value::Instant(ms))
    };
    match kind {
        "STRING" => data(SchemaType::String, Value::from(unquoted(text))),
        "BOOLEAN" => data(SchemaType::Boolean, Value::Boolean(text.parse().unwrap())),
        "INT8" => data(SchemaType::Int8, Value::Int8(text.parse().unwrap())),
        "INT16" => data(SchemaType::Int16, Value::Int16(text.parse().unwrap())),
        "INT32" => data(SchemaType::Int32, Value::Int32(text.parse().unwrap())),
        "INT64" => data(SchemaType::Int64, Value::Int64(text.parse().unwrap())),
        "FLOAT32" => data(SchemaType::Float32, Value::Float32(text.parse().unwrap())),
        "FLOAT64" => data(SchemaType::Float64, Value::Float64(text.parse().unwrap())),
        "Decimal" => {
            let number: BigDecimal = text.parse().unwrap();
            let (_, scale) = number.as_bigint_and_exponent();
            let schema = logical::decimal(scale.try_into().unwrap()).build().unwrap();
            SchemaAndValue::new(schema, Value::Decimal(Box::new(number)))
        }
        "Date" => instant(logical::date()),
        "Time" => instant(logical::time()),
        "Timestamp" => instant(logical::timestamp()),
        other => panic!("{other}"),
    }
}

fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap()
}

/// A value as the table writes it.
fn shown(value: &Value) -> String {
    match value {
        Value::Boolean(value) => value.to_string(),
        Value::Int8(number) => number.to_string(),
        Value::Int16(number) => number.to_string(),
        Value::Int32(number) => number.to_string(),
        Value::Int64(number) => number.to_string(),
        Value::Float32(number) => number::f32_to_string(*number),
        Value::Float64(number) => number::f64_to_string(*number),
        Value::String(text) => format!("\"{text}\""),
        Value::Instant(ms) => format!("@{ms}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn headers_are_converted_as_connect_does() {
    let table = include_str!("conversions.txt");
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let columns: Vec<&str> = line.split(" | ").collect();
        assert_eq!(columns.len(), 2 + TYPES.len(), "{line}");
        let header = header(columns[0], columns[1]);
        for (name, wanted) in TYPES.iter().zip(&columns[2..]) {
            let target = Target::of(name).unwrap();
            let got = target.convert(&header);
            if let Ok(value) = &got {
                value.validate(&target.schema().unwrap()).unwrap();
            }
            if let Target::Decimal { scale } = target {
                decimal_fits(line, name, scale, wanted, got);
                continue;
            }
            // Recorded by Java 17, which writes some floats with a digit more than they need.
            let wanted = match (target, *wanted) {
                (_, "!") => "!".to_owned(),
                (Target::Float32, wanted) => number::f32_to_string(wanted.parse().unwrap()),
                (Target::Float64, wanted) => number::f64_to_string(wanted.parse().unwrap()),
                (_, wanted) => wanted.to_owned(),
            };
            let got = got.map_or_else(|_| "!".to_owned(), |value| shown(&value));
            assert_eq!(got, wanted, "{name} of {line}");
        }
    }
}

/// Connect keeps the scale of the number; here it is that of the field, or an error.
fn decimal_fits(line: &str, name: &str, scale: i32, wanted: &str, got: Result<Value, DataError>) {
    let wanted = number::parse_decimal(wanted);
    match (wanted, got) {
        (None, Err(_)) => {}
        (Some(wanted), Ok(Value::Decimal(got))) => {
            assert!(number::compare_decimals(&wanted, &got).is_eq(), "{name} of {line}");
            assert_eq!(got.as_bigint_and_exponent().1, i64::from(scale), "{name} of {line}");
        }
        (Some(wanted), Err(error)) => {
            let has_more_places = wanted.normalized().as_bigint_and_exponent().1 > i64::from(scale);
            assert!(has_more_places, "{name} of {line}: {error}");
        }
        (None, Ok(got)) => panic!("{name} of {line}: {got:?}"),
        (Some(_), Ok(other)) => panic!("{name} of {line}: {other:?}"),
    }
}

#[test]
fn composite_headers_are_text_as_connect_writes_it() {
    let schema = Schema::structure()
        .field("id", Schema::int32())
        .field(
            "s",
            Schema::builder(SchemaType::String)
                .optional()
                .default_value(Value::from("d"))
                .build()
                .unwrap(),
        )
        .field("at", logical::timestamp().build().unwrap())
        .build()
        .unwrap();
    let mut data = Struct::try_new(Arc::clone(&schema)).unwrap();
    data.put("id", Value::Int32(1)).unwrap();
    data.put("at", Value::Instant(1_714_558_830_123)).unwrap();
    let map = klamm_connect_api::Map::from_iter([
        (Value::from("b"), Value::Bytes(vec![1, 2].into())),
        (
            Value::from("l"),
            Value::Array(vec![
                Value::Boolean(true),
                Value::Int64(2),
                Value::Decimal(Box::new("1.50".parse().unwrap())),
                Value::Instant(0),
            ]),
        ),
    ]);
    let cases = [
        (Value::Bytes(vec![1, 2, 255].into()), "AQL/"),
        (Value::Array(vec![Value::from("a\"b"), Value::Null]), r#"["a\"b",null]"#),
        (Value::Map(map), r#"{"b":"AQI=","l":[true,2,1.50,00:00:00.000Z]}"#),
        (
            Value::Struct(Box::new(data)),
            r#"{"id":1,"s":"d","at":2024-05-01T10:20:30.123Z}"#,
        ),
    ];
    for (value, wanted) in cases {
        let header = SchemaAndValue::schemaless(value);
        assert_eq!(Target::String.convert(&header), Ok(Value::from(wanted)));
        assert!(Target::Int32.convert(&header).is_err(), "{wanted}");
    }
    let bytes = SchemaAndValue::schemaless(Value::Bytes(vec![1, 2, 255].into()));
    let decimal = Target::Decimal { scale: 2 }.convert(&bytes);
    assert_eq!(decimal, Ok(Value::Decimal(Box::new("663.03".parse().unwrap()))));
    // Without a schema nothing says what an instant is, so it is what is asked for.
    let instant = SchemaAndValue::schemaless(Value::Instant(5));
    assert_eq!(Target::Timestamp.convert(&instant), Ok(Value::Instant(5)));
    assert!(Target::Int64.convert(&instant).is_err());
    for target in [Target::String, Target::Int8, Target::Float32, Target::Boolean] {
        assert_eq!(target.convert(&SchemaAndValue::NULL), Ok(Value::Null));
    }
    assert!(Target::Date.convert(&SchemaAndValue::NULL).is_err());
}

fn chain(mappings: &str) -> Result<Chain, String> {
    let class = "com.github.jcustenborder.kafka.connect.transform.common.HeaderToField$Value";
    let raw = RawConfig::from([
        ("transforms".to_owned(), "t".to_owned()),
        ("transforms.t.type".to_owned(), class.to_owned()),
        ("transforms.t.header.mappings".to_owned(), mappings.to_owned()),
    ]);
    Chain::build(&raw, &transforms(), &predicates()).map_err(|errors| errors.to_string())
}

fn record(value: SchemaAndValue) -> Record {
    let origin = Origin {
        topic_partition: TopicPartition::new("orders", 0),
        offset: 7,
    };
    let mut record = Record::new(origin, Datum::NULL, value.into());
    for text in ["1", "2"] {
        record
            .headers
            .add("n", SchemaAndValue::new(Schema::string(), Value::from(text)));
    }
    record
}

#[test]
fn fields_are_added_to_structs_with_the_attributes_of_theirs() {
    let chain = chain("n:int32, n:STRING:text , gone:INT64(timestamp):at").unwrap();
    let schema = Schema::structure()
        .name("V")
        .version(3)
        .doc("d")
        .optional()
        .field("id", Schema::int32())
        .build()
        .unwrap();
    let mut data = Struct::try_new(Arc::clone(&schema)).unwrap();
    data.put("id", Value::Int32(5)).unwrap();
    let value = SchemaAndValue::new(schema, Value::Struct(Box::new(data)));
    let record_out = chain.apply(record(value)).unwrap().unwrap();
    let data = record_out.value.decode().unwrap();
    let schema = data.schema.as_ref().unwrap();
    data.value.validate(schema).unwrap();
    assert_eq!(
        (schema.name(), schema.version(), schema.doc()),
        (Some("V"), Some(3), Some("d"))
    );
    assert!(schema.is_optional());
    let names: Vec<&str> = schema.fields().iter().map(|field| &*field.name).collect();
    assert_eq!(names, ["id", "n", "text", "at"]);
    assert!(schema.fields()[1..].iter().all(|field| field.schema.is_optional()));
    let Value::Struct(data) = &data.value else {
        panic!("no struct")
    };
    let wanted = [Value::Int32(5), Value::Int32(2), Value::from("2"), Value::Null];
    assert_eq!(data.values(), wanted, "the last header of a name counts");
    assert_eq!(record_out.headers.iter().count(), 2, "headers stay");

    let passed = chain.apply(record(SchemaAndValue::NULL)).unwrap().unwrap();
    assert!(passed.value.is_absent());
    let text = SchemaAndValue::new(Schema::string(), Value::from("x"));
    let map = SchemaAndValue::schemaless(klamm_converters::parse_json(r#"{"a":1}"#).unwrap());
    for value in [text, map] {
        let error = chain.apply(record(value)).unwrap_err().to_string();
        assert!(error.contains("the value has to be a struct"), "{error}");
    }
}

#[test]
fn an_existing_field_and_a_header_that_does_not_fit_fail_the_record() {
    let schema = Schema::structure().field("n", Schema::int32()).build().unwrap();
    let mut data = Struct::try_new(Arc::clone(&schema)).unwrap();
    data.put("n", Value::Int32(5)).unwrap();
    let value = SchemaAndValue::new(schema, Value::Struct(Box::new(data)));
    let error = chain("n:INT8").unwrap().apply(record(value.clone())).unwrap_err();
    assert!(error.to_string().contains("`n`"), "{error}");
    let error = chain("n:BOOLEAN:a,n:INT32(Date):d").unwrap();
    assert!(error.apply(record(value.clone())).unwrap().is_some());
    let mut bad = record(value);
    bad.headers
        .add("n", SchemaAndValue::new(Schema::string(), Value::from("s3cret")));
    let error = error.apply(bad).unwrap_err().to_string();
    assert!(error.contains("header `n`: the text is no number"), "{error}");
    assert!(!error.contains("s3cret"), "{error}");
}

#[test]
fn mappings_that_mean_nothing_are_refused_with_the_configuration() {
    for mappings in [
        "n",
        "n:STRING:a:b",
        "n:NOPE",
        "n:BYTES",
        "n:ARRAY",
        "n:INT64(Date)",
        "n:BYTES(Decimal[scale=50])",
        "n:BYTES(Decimal[scale=02])",
        "n:INT32(Time",
        ":STRING",
    ] {
        let error = chain(mappings).unwrap_err();
        assert!(error.contains("header.mappings"), "{mappings}: {error}");
    }
    for mappings in [
        "",
        "n:string:",
        "n:BYTES(org.apache.kafka.connect.data.Decimal[scale=49])",
        "n:INT64(org.apache.kafka.connect.data.Timestamp)",
    ] {
        assert!(chain(mappings).is_ok(), "{mappings}");
    }
}
