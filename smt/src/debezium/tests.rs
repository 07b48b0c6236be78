use std::sync::Arc;

use klamm_connect_api::{
    Datum, Origin, RawConfig, Record, Rendering, Schema, SchemaAndValue, Struct, TopicPartition, Value,
};

use crate::{Chain, predicates, transforms};

fn record() -> Record {
    let inner = Schema::structure().field("x", Schema::int32()).build().unwrap();
    let schema = Schema::structure()
        .name("V")
        .field("id", Schema::int64())
        .field("in", Arc::clone(&inner))
        .build()
        .unwrap();
    let mut nested = Struct::try_new(inner).unwrap();
    nested.put("x", Value::Int32(1)).unwrap();
    let mut value = Struct::try_new(Arc::clone(&schema)).unwrap();
    value.put("id", Value::Int64(7)).unwrap();
    value.put("in", Value::Struct(Box::new(nested))).unwrap();
    let origin = Origin {
        topic_partition: TopicPartition::new("orders", 0),
        offset: 7,
    };
    let value = SchemaAndValue::new(schema, Value::Struct(Box::new(value)));
    let mut record = Record::new(origin, Datum::NULL, Datum::from(value));
    for (name, value) in [("h", "a"), ("g", "b"), ("twice", "c"), ("twice", "d")] {
        record
            .headers
            .add(name, SchemaAndValue::new(Schema::string(), Value::from(value)));
    }
    record.headers.add("bare", SchemaAndValue::schemaless(Value::Int64(1)));
    record
}

/// The value's text and the names of the headers, or the error.
fn moved(headers: &str, fields: &str, operation: &str, record: Record) -> Result<(String, String), String> {
    let settings = [
        ("transforms", "t"),
        ("transforms.t.type", "HeaderToValue"),
        ("transforms.t.headers", headers),
        ("transforms.t.fields", fields),
        ("transforms.t.operation", operation),
    ];
    let raw = RawConfig::from(settings.map(|(key, value)| (key.to_owned(), value.to_owned())));
    let chain = Chain::build(&raw, &transforms(), &predicates()).map_err(|errors| errors.to_string())?;
    // Twice, to go by the remembered schema as well.
    chain.apply(record.clone()).map_err(|error| error.to_string())?;
    let mut record = chain.apply(record).map_err(|error| error.to_string())?.unwrap();
    let data = record.value.decoded().unwrap();
    if let Some(schema) = &data.schema {
        data.value.validate(schema).unwrap();
    }
    let mut out = Vec::new();
    record.value.write_json(Rendering::Connect, &mut out).unwrap();
    let names: Vec<&str> = record.headers.iter().map(|header| &*header.key).collect();
    Ok((String::from_utf8(out).unwrap(), names.join(",")))
}

#[test]
fn headers_become_fields_and_leave_or_stay() {
    let all = "h,g,twice,twice,bare";
    let cases = [
        ("h,g", "a,b", "copy", r#"{"id":7,"in":{"x":1},"a":"a","b":"b"}"#, all),
        (
            "h,g",
            "a,b",
            "move",
            r#"{"id":7,"in":{"x":1},"a":"a","b":"b"}"#,
            "twice,twice,bare",
        ),
        ("h", "in.a", "copy", r#"{"id":7,"in":{"x":1,"a":"a"}}"#, all),
        ("absent,h", "a,b", "copy", r#"{"id":7,"in":{"x":1},"b":"a"}"#, all),
        ("absent", "a", "move", r#"{"id":7,"in":{"x":1}}"#, all),
    ];
    for (headers, fields, operation, value, left) in cases {
        let got = moved(headers, fields, operation, record());
        assert_eq!(
            got,
            Ok((value.to_owned(), left.to_owned())),
            "{headers} {fields} {operation}"
        );
    }
    let mut tombstone = record();
    tombstone.value = Datum::NULL;
    assert_eq!(
        moved("h", "a", "move", tombstone),
        Ok(("null".to_owned(), all.to_owned()))
    );
}

#[test]
fn what_fits_no_field_is_refused() {
    let cases = [
        ("h", "id", "copy", "id"),
        ("h", "id.a", "copy", "field `id`: a int64 has no fields"),
        ("h", "absent.a", "copy", "no field `absent`"),
        ("twice", "a", "copy", "several headers `twice`"),
        ("bare", "a", "copy", "header `bare` has no schema"),
        ("h,g", "a", "copy", "same number"),
        ("h", "a", "keep", "move, copy"),
    ];
    for (headers, fields, operation, part) in cases {
        let error = moved(headers, fields, operation, record()).unwrap_err();
        assert!(error.contains(part), "{headers} {fields} {operation}: {error}");
    }
    let mut schemaless = record();
    schemaless.value = Datum::from(SchemaAndValue::schemaless(Value::Map(klamm_connect_api::Map::new())));
    assert!(moved("h", "a", "copy", schemaless).unwrap_err().contains("a struct"));
}
