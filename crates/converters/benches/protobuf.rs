//! What a Protobuf message of about 800 bytes costs from the wire to a JSON payload: straight, by way of values, and for
//! comparison with prost-reflect and with schema_registry_converter, each followed by serde_json. Also what finding the
//! schema of a record costs.
#![allow(missing_docs, clippy::unwrap_used, reason = "benchmark")]

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::FutureExt as _;
use klamm_connect_api::{Converter, ConverterRole, RawConfig, Rendering};
use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet};
use prost_reflect::{DescriptorPool, DynamicMessage, Value};
use schema_registry_converter::async_impl::proto_decoder::ProtoDecoder;
use schema_registry_converter::async_impl::schema_registry::SrSettings;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const SCHEMA: &str = r#"syntax = "proto3";
package shop;
message Order {
  int64 id = 1;
  Customer customer = 2;
  int64 created = 3;
  State state = 4;
  repeated Item items = 5;
  optional string comment = 6;
}
message Customer {
  string id = 1;
  string city = 2;
  optional string mail = 3;
}
message Item {
  string sku = 1;
  string name = 2;
  int32 quantity = 3;
  bool gift = 4;
  optional string note = 5;
}
enum State {
  NEW = 0;
  PAID = 1;
  SENT = 2;
}
"#;

fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap());
}

fn number(field: u64, number: u64, out: &mut Vec<u8>) {
    varint(field << 3, out);
    varint(number, out);
}

fn bytes(field: u64, bytes: &[u8], out: &mut Vec<u8>) {
    varint(field << 3 | 2, out);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn order() -> Vec<u8> {
    let mut out = vec![];
    number(1, 7_251_966, &mut out);
    let mut customer = vec![];
    bytes(1, b"c-829110", &mut customer);
    bytes(2, "Kraków".as_bytes(), &mut customer);
    bytes(3, b"a.kowalska@example.com", &mut customer);
    bytes(2, &customer, &mut out);
    number(3, 1_714_558_830_123, &mut out);
    number(4, 1, &mut out);
    for index in 0..8 {
        let mut item = vec![];
        bytes(1, format!("A-{index:05}").as_bytes(), &mut item);
        let name = b"Wide-brimmed hat, straw, natural, with a black ribbon of silk and a pin";
        bytes(2, name, &mut item);
        number(3, index + 1, &mut item);
        bytes(5, &item, &mut out);
    }
    bytes(6, b"leave at the door, please", &mut out);
    out
}

/// The file as protoc compiles it: prost-reflect reads no text.
fn pool() -> DescriptorPool {
    let field = |name: &str, number, kind: i32, type_name: Option<&str>| FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        label: Some(1),
        r#type: Some(kind),
        type_name: type_name.map(str::to_owned),
        ..FieldDescriptorProto::default()
    };
    let message = |name: &str, field| DescriptorProto {
        name: Some(name.to_owned()),
        field,
        ..DescriptorProto::default()
    };
    let mut items = field("items", 5, 11, Some(".shop.Item"));
    items.label = Some(3);
    let state = prost_reflect::prost_types::EnumDescriptorProto {
        name: Some("State".to_owned()),
        value: ["NEW", "PAID", "SENT"]
            .into_iter()
            .zip(0..)
            .map(|(name, number)| prost_reflect::prost_types::EnumValueDescriptorProto {
                name: Some(name.to_owned()),
                number: Some(number),
                options: None,
            })
            .collect(),
        ..prost_reflect::prost_types::EnumDescriptorProto::default()
    };
    let file = FileDescriptorProto {
        name: Some("shop.proto".to_owned()),
        package: Some("shop".to_owned()),
        syntax: Some("proto3".to_owned()),
        message_type: vec![
            message(
                "Order",
                vec![
                    field("id", 1, 3, None),
                    field("customer", 2, 11, Some(".shop.Customer")),
                    field("created", 3, 3, None),
                    field("state", 4, 14, Some(".shop.State")),
                    items,
                    field("comment", 6, 9, None),
                ],
            ),
            message(
                "Customer",
                vec![
                    field("id", 1, 9, None),
                    field("city", 2, 9, None),
                    field("mail", 3, 9, None),
                ],
            ),
            message(
                "Item",
                vec![
                    field("sku", 1, 9, None),
                    field("name", 2, 9, None),
                    field("quantity", 3, 5, None),
                    field("gift", 4, 8, None),
                    field("note", 5, 9, None),
                ],
            ),
        ],
        enum_type: vec![state],
        ..FileDescriptorProto::default()
    };
    DescriptorPool::decode(FileDescriptorSet { file: vec![file] }.encode_to_vec().as_slice()).unwrap()
}

/// A registry that answers everything with the schema.
async fn registry() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let body = serde_json::json!({ "schema": SCHEMA, "schemaType": "PROTOBUF" }).to_string();
    #[expect(clippy::disallowed_methods, reason = "ends with the benchmark")]
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        while stream.read(&mut request).await.unwrap() > 0 {
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    url
}

fn converter(runtime: &tokio::runtime::Runtime, value: &Bytes) -> Arc<dyn Converter> {
    let plugin = klamm_converters::converters()
        .into_iter()
        .find(|plugin| plugin.info.class.ends_with("ProtobufConverter"))
        .unwrap();
    runtime.block_on(async {
        let raw = RawConfig::from([("schema.registry.url".to_owned(), registry().await)]);
        let parsed = (plugin.config_def)().parse(&raw).unwrap();
        let converter = (plugin.create)(&parsed, ConverterRole::Value).unwrap();
        converter.prepare("orders", &[], Some(value)).await.unwrap();
        converter
    })
}

fn protobuf(criterion: &mut Criterion) {
    let payload = order();
    let value = Bytes::from([&[0, 0, 0, 0, 7, 0][..], &payload].concat());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let converter = converter(&runtime, &value);
    let mut group = criterion.benchmark_group(format!("protobuf {} bytes", payload.len()));
    group.throughput(Throughput::Elements(1));
    group.bench_function("find the schema", |bencher| {
        bencher.iter(|| converter.to_connect("orders", &[], Some(black_box(&value))).unwrap());
    });
    let mut out = Vec::with_capacity(4096);
    group.bench_function("to json", |bencher| {
        bencher.iter(|| {
            out.clear();
            let datum = converter.to_connect("orders", &[], Some(black_box(&value))).unwrap();
            datum.write_json(Rendering::Connect, &mut out).unwrap();
            black_box(out.len())
        });
    });
    group.bench_function("decode and write", |bencher| {
        bencher.iter(|| {
            out.clear();
            let mut datum = converter.to_connect("orders", &[], Some(black_box(&value))).unwrap();
            datum.decoded().unwrap();
            datum.write_json(Rendering::Connect, &mut out).unwrap();
            black_box(out.len())
        });
    });
    let descriptor = pool().get_message_by_name("shop.Order").unwrap();
    group.bench_function("prost-reflect and serde_json", |bencher| {
        bencher.iter(|| {
            out.clear();
            let message = DynamicMessage::decode(descriptor.clone(), black_box(payload.as_slice())).unwrap();
            serde_json::to_writer(&mut out, &message).unwrap();
            black_box(out.len())
        });
    });
    let decoder = runtime.block_on(async {
        let decoder = ProtoDecoder::new(SrSettings::new(registry().await));
        decoder.decode(Some(&value)).await.unwrap();
        decoder
    });
    group.bench_function("schema_registry_converter and serde_json", |bencher| {
        bencher.iter(|| {
            out.clear();
            // Its schema is there, so it has nothing to wait for.
            let decoded = decoder.decode(Some(black_box(&value))).now_or_never().unwrap();
            let Value::Message(message) = decoded.unwrap() else {
                unreachable!("a record with a schema holds a message");
            };
            serde_json::to_writer(&mut out, &message).unwrap();
            black_box(out.len())
        });
    });
    group.finish();
}

criterion_group!(benches, protobuf);
criterion_main!(benches);
