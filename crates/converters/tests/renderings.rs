//! The two renderings side by side: `docs/converters.md` has its table from here, so that no example drifts.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::fmt::Write as _;
use std::path::Path;

use bytes::Bytes;
use klamm_connect_api::{
    Decimals, Map, Natural, Rendering, Schema, SchemaAndValue, SchemaBuilder, SchemaRef, SchemaType, Semantic, Struct,
    Timestamps, Unit, Value, json, logical,
};

const BEGIN: &str = "<!-- renderings: made by crates/converters/tests/renderings.rs -->\n";
const END: &str = "<!-- end of renderings -->\n";

fn plain(schema_type: SchemaType, value: Value) -> SchemaAndValue {
    SchemaAndValue::new(Schema::builder(schema_type).build().unwrap(), value)
}

fn noted(schema_type: SchemaType, semantic: Semantic, value: Value) -> SchemaAndValue {
    SchemaAndValue::new(Schema::builder(schema_type).semantic(semantic).build().unwrap(), value)
}

fn structure(name: Option<&str>, fields: &[(&str, SchemaRef, Value)]) -> SchemaAndValue {
    let mut builder = Schema::structure().optional();
    if let Some(name) = name {
        builder = builder.name(name);
    }
    filled(builder, fields)
}

fn noted_structure(semantic: Semantic, fields: &[(&str, SchemaRef, Value)]) -> SchemaAndValue {
    filled(Schema::structure().semantic(semantic), fields)
}

fn filled(mut builder: SchemaBuilder, fields: &[(&str, SchemaRef, Value)]) -> SchemaAndValue {
    for (field, schema, _) in fields {
        builder = builder.field(*field, SchemaRef::clone(schema));
    }
    let schema = builder.build().unwrap();
    let mut data = Struct::try_new(SchemaRef::clone(&schema)).unwrap();
    for (field, _, value) in fields {
        data.put(field, value.clone()).unwrap();
    }
    SchemaAndValue::new(schema, Value::Struct(Box::new(data)))
}

fn map(keys: SchemaRef, key: Value) -> SchemaAndValue {
    let schema = Schema::map(keys, Schema::string()).build().unwrap();
    SchemaAndValue::new(
        schema,
        Value::Map([(key, Value::from("a"))].into_iter().collect::<Map>()),
    )
}

fn sum_type(name: &str, branches: [&str; 2]) -> SchemaAndValue {
    structure(
        Some(name),
        &[
            (branches[0], Schema::optional_string(), Value::Null),
            (branches[1], Schema::optional_int32(), Value::Int32(5)),
        ],
    )
}

/// The rows of the table.
fn examples() -> Vec<(&'static str, SchemaAndValue)> {
    use SchemaType::{Boolean, Bytes as Raw, Float64, Int32, Int64, String};
    let instant = |schema: SchemaBuilder, ms| SchemaAndValue::new(schema.build().unwrap(), Value::Instant(ms));
    let oneof = sum_type("io.confluent.connect.protobuf.Union.method", ["iban", "voucher"]);
    let nothing = SchemaAndValue::new(SchemaRef::clone(oneof.schema.as_ref().unwrap()), Value::Null);
    let message = |oneof: SchemaAndValue| {
        structure(
            Some("Payment"),
            &[
                ("method_0", oneof.schema.unwrap(), oneof.value),
                ("id", Schema::string(), Value::from("p")),
            ],
        )
    };
    let point = structure(
        None,
        &[
            ("x", Schema::int32(), Value::Int32(1)),
            ("y", Schema::optional_int32(), Value::Null),
        ],
    );
    let with_default = Schema::builder(Int32)
        .optional()
        .default_value(Value::Int32(7))
        .build()
        .unwrap();
    let composite = map(SchemaRef::clone(point.schema.as_ref().unwrap()), point.value.clone());
    let decimal = Value::Decimal(Box::new("12.50".parse().unwrap()));
    let wrapped = noted_structure(Semantic::Held, &[("value", Schema::int32(), Value::Int32(5))]);
    let mask = noted_structure(
        Semantic::FieldMask,
        &[(
            "paths",
            Schema::array(Schema::string()).build().unwrap(),
            Value::Array(vec![Value::from("user.display_name"), Value::from("photo")]),
        )],
    );
    let duration = [1_u32, 2, 3_004].map(u32::to_le_bytes).concat();
    vec![
        ("BOOLEAN", plain(Boolean, Value::Boolean(true))),
        ("INT8, INT16, INT32, INT64", plain(Int64, Value::Int64(42))),
        ("FLOAT32, FLOAT64", plain(Float64, Value::Float64(1.5))),
        ("… that are no number", plain(Float64, Value::Float64(f64::NAN))),
        ("STRING, enum", plain(String, Value::from("é\""))),
        (
            "BYTES, fixed",
            plain(Raw, Value::Bytes(Bytes::from_static(&[0, 1, 255]))),
        ),
        (
            "null in an optional place",
            SchemaAndValue::new(Schema::optional_int32(), Value::Null),
        ),
        (
            "null in a place with the default 7",
            SchemaAndValue::new(with_default, Value::Null),
        ),
        (
            "ARRAY",
            SchemaAndValue::new(
                Schema::array(Schema::int32()).build().unwrap(),
                Value::Array(vec![Value::Int32(1), Value::Int32(2)]),
            ),
        ),
        ("MAP with STRING keys", map(Schema::string(), Value::from("k"))),
        ("MAP with other primitive keys", map(Schema::int32(), Value::Int32(1))),
        ("MAP with STRUCT, MAP or ARRAY keys", composite),
        ("STRUCT", point),
        (
            "Avro union",
            sum_type("io.confluent.connect.avro.Union", ["string", "int"]),
        ),
        (
            "JSON Schema oneOf, anyOf",
            sum_type(
                "io.confluent.connect.json.OneOf",
                [
                    "io.confluent.connect.json.OneOf.field.0",
                    "io.confluent.connect.json.OneOf.field.1",
                ],
            ),
        ),
        ("Protobuf oneof in its message", message(oneof)),
        ("… of which nothing is set", message(nothing)),
        (
            "Decimal",
            SchemaAndValue::new(logical::decimal(2).build().unwrap(), decimal),
        ),
        ("Date", instant(logical::date(), 19_844 * 86_400_000)),
        ("Time", instant(logical::time(), 36_930_005)),
        ("Timestamp", instant(logical::timestamp(), 1_714_558_830_123)),
        (
            "Avro time-micros",
            noted(Int64, Semantic::Time(Unit::Micros), Value::Int64(36_930_000_005)),
        ),
        (
            "Avro timestamp-micros",
            noted(
                Int64,
                Semantic::Timestamp(Unit::Micros),
                Value::Int64(1_714_558_830_123_456),
            ),
        ),
        (
            "Avro timestamp-nanos",
            noted(
                Int64,
                Semantic::Timestamp(Unit::Nanos),
                Value::Int64(1_714_558_830_123_456_789),
            ),
        ),
        (
            "Avro local-timestamp-millis (-micros, -nanos)",
            noted(
                Int64,
                Semantic::LocalTimestamp(Unit::Millis),
                Value::Int64(1_714_558_830_123),
            ),
        ),
        (
            "Avro uuid that is a fixed",
            noted(
                Raw,
                Semantic::Uuid,
                Value::Bytes((0..16).map(|index| index * 17).collect()),
            ),
        ),
        (
            "Avro duration",
            noted(Raw, Semantic::Duration, Value::Bytes(duration.into())),
        ),
        (
            "Protobuf uint64, fixed64",
            noted(Int64, Semantic::Unsigned, Value::Int64(-1)),
        ),
        ("Protobuf Struct, Value, ListValue, wrappers", wrapped),
        (
            "Protobuf Duration",
            noted_structure(
                Semantic::Seconds,
                &[
                    ("seconds", Schema::int64(), Value::Int64(3)),
                    ("nanos", Schema::int32(), Value::Int32(4_000_000)),
                ],
            ),
        ),
        ("Protobuf FieldMask", mask),
    ]
}

fn rendered(data: &SchemaAndValue, rendering: Rendering) -> String {
    let mut out = Vec::new();
    json::write(data, rendering, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    serde_json::from_str::<serde_json::Value>(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
    text
}

fn table() -> String {
    let mut table =
        "| Data | `connect` | `natural` | `natural` with `payload.decimals=number`, `payload.timestamps=epoch` |\n\
                     |---|---|---|---|\n"
            .to_owned();
    let other = Natural {
        decimals: Decimals::Number,
        timestamps: Timestamps::Epoch,
    };
    for (name, data) in examples() {
        let connect = rendered(&data, Rendering::Connect);
        let natural = rendered(&data, Rendering::Natural(Natural::default()));
        let epoch = rendered(&data, Rendering::Natural(other));
        // What is the same is written once.
        let natural_cell = if natural == connect {
            "the same".to_owned()
        } else {
            format!("`{natural}`")
        };
        let epoch_cell = if epoch == natural {
            String::new()
        } else {
            format!("`{epoch}`")
        };
        writeln!(table, "| {name} | `{connect}` | {natural_cell} | {epoch_cell} |").unwrap();
    }
    table
}

#[test]
fn the_documentation_shows_what_is_written() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/converters.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (shown, after) = rest.split_once(END).unwrap();
    let wanted = table();
    if std::env::var_os("KLAMM_UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{wanted}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(
        shown, wanted,
        "docs/converters.md is stale: run KLAMM_UPDATE_DOCS=1 cargo test -p klamm-converters --test renderings"
    );
}
