//! What an Avro value of about 800 bytes costs from the wire to a JSON payload: straight, by way of values, and for
//! comparison with apache-avro and with schema_registry_converter, each followed by serde_json. Also what finding the
//! schema of a record costs.
#![allow(missing_docs, clippy::unwrap_used, reason = "benchmark")]

use std::hint::black_box;
use std::sync::Arc;

use apache_avro::reader::datum::GenericDatumReader;
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::FutureExt as _;
use klamm_connect_api::{Converter, ConverterRole, RawConfig, Rendering};
use schema_registry_converter::async_impl::avro::AvroDecoder;
use schema_registry_converter::async_impl::schema_registry::SrSettings;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const SCHEMA: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[
    {"name":"id","type":"long"},
    {"name":"customer","type":{"type":"record","name":"Customer","fields":[
        {"name":"id","type":"string"},{"name":"city","type":"string"},{"name":"mail","type":["null","string"]}]}},
    {"name":"created","type":{"type":"long","logicalType":"timestamp-millis"}},
    {"name":"state","type":{"type":"enum","name":"State","symbols":["NEW","PAID","SENT"]}},
    {"name":"items","type":{"type":"array","items":{"type":"record","name":"Item","fields":[
        {"name":"sku","type":"string"},{"name":"name","type":"string"},{"name":"quantity","type":"int"},
        {"name":"gift","type":"boolean"},{"name":"note","type":["null","string"]}]}}},
    {"name":"comment","type":["null","string"]}]}"#;

fn varint(number: i64, out: &mut Vec<u8>) {
    let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).unwrap());
}

fn text(text: &str, out: &mut Vec<u8>) {
    varint(i64::try_from(text.len()).unwrap(), out);
    out.extend_from_slice(text.as_bytes());
}

fn order() -> Vec<u8> {
    let mut out = vec![];
    varint(7_251_966, &mut out);
    text("c-829110", &mut out);
    text("Kraków", &mut out);
    varint(1, &mut out);
    text("a.kowalska@example.com", &mut out);
    varint(1_714_558_830_123, &mut out);
    varint(1, &mut out);
    varint(9, &mut out);
    for index in 0..9 {
        text(&format!("A-{index:05}"), &mut out);
        text(
            "Wide-brimmed hat, straw, natural, with a black ribbon of silk and a pin",
            &mut out,
        );
        varint(index, &mut out);
        out.push(0);
        varint(0, &mut out);
    }
    varint(0, &mut out);
    varint(1, &mut out);
    text("leave at the door, please", &mut out);
    out
}

/// A registry that answers everything with the schema.
async fn registry() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let body = serde_json::json!({ "schema": SCHEMA }).to_string();
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
        .find(|plugin| plugin.info.class.ends_with("AvroConverter"))
        .unwrap();
    runtime.block_on(async {
        let raw = RawConfig::from([("schema.registry.url".to_owned(), registry().await)]);
        let parsed = (plugin.config_def)().parse(&raw).unwrap();
        let converter = (plugin.create)(&parsed, ConverterRole::Value).unwrap();
        converter.prepare("orders", &[], Some(value)).await.unwrap();
        converter
    })
}

fn avro(criterion: &mut Criterion) {
    let payload = order();
    let value = Bytes::from([&[0, 0, 0, 0, 7][..], &payload].concat());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let converter = converter(&runtime, &value);
    let mut group = criterion.benchmark_group(format!("avro {} bytes", payload.len()));
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
    let schema = apache_avro::Schema::parse_str(SCHEMA).unwrap();
    let reader = GenericDatumReader::builder(&schema).build().unwrap();
    group.bench_function("apache-avro and serde_json", |bencher| {
        bencher.iter(|| {
            out.clear();
            let read = reader.read_value(&mut black_box(&payload[..])).unwrap();
            let json = serde_json::Value::try_from(read).unwrap();
            serde_json::to_writer(&mut out, &json).unwrap();
            black_box(out.len())
        });
    });
    let decoder = runtime.block_on(async {
        let decoder = AvroDecoder::new(SrSettings::new(registry().await));
        decoder.decode(Some(&value)).await.unwrap();
        decoder
    });
    group.bench_function("schema_registry_converter and serde_json", |bencher| {
        bencher.iter(|| {
            out.clear();
            // Its schema is there, so it has nothing to wait for.
            let decoded = decoder.decode(Some(black_box(&value))).now_or_never().unwrap();
            let json = serde_json::Value::try_from(decoded.unwrap().value).unwrap();
            serde_json::to_writer(&mut out, &json).unwrap();
            black_box(out.len())
        });
    });
    group.finish();
}

criterion_group!(benches, avro);
criterion_main!(benches);
