//! What a record of about 1 KB with a JSON Schema costs from the wire to a JSON payload: straight, by way of values,
//! with its fields out of order, and with validation.
#![allow(missing_docs, clippy::unwrap_used, reason = "benchmark")]

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use klamm_connect_api::{Converter, ConverterRole, RawConfig, Rendering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const SCHEMA: &str = r##"{"$schema":"http://json-schema.org/draft-07/schema#","title":"Order","type":"object","properties":{
    "id":{"type":"integer"},
    "customer":{"type":"object","properties":{"id":{"type":"string"},"city":{"type":"string"},
        "mail":{"oneOf":[{"type":"null"},{"type":"string"}]}}},
    "created":{"type":"integer","title":"org.apache.kafka.connect.data.Timestamp","connect.type":"int64"},
    "state":{"type":"string","enum":["NEW","PAID","SENT"]},
    "total":{"type":"number"},
    "items":{"type":"array","items":{"$ref":"#/definitions/Item"}},
    "comment":{"type":["null","string"]}},
    "definitions":{"Item":{"type":"object","properties":{"sku":{"type":"string"},"name":{"type":"string"},
        "quantity":{"type":"integer","connect.type":"int32"},"gift":{"type":"boolean"},"note":{"type":["null","string"]}}}}}"##;

fn order(is_in_order: bool) -> String {
    let items: Vec<String> = (0..7)
        .map(|index| {
            format!(
                r#"{{"sku":"A-{index:05}","name":"Wide-brimmed hat, straw, natural, with a black ribbon of silk","quantity":{index},"gift":false,"note":null}}"#
            )
        })
        .collect();
    let items = items.join(",");
    let head = r#""id":7251966,"customer":{"id":"c-829110","city":"Kraków","mail":"a.kowalska@example.com"}"#;
    let tail = r#""created":1714558830123,"state":"PAID","total":349.93"#;
    let comment = r#""comment":"leave at the door, please""#;
    if is_in_order {
        format!(r#"{{{head},{tail},"items":[{items}],{comment}}}"#)
    } else {
        format!(r#"{{{comment},"items":[{items}],{tail},{head}}}"#)
    }
}

/// A registry that answers everything with the schema.
async fn registry() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let body = serde_json::json!({ "schema": SCHEMA, "schemaType": "JSON" }).to_string();
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

fn converter(runtime: &tokio::runtime::Runtime, value: &Bytes, validates: bool) -> Arc<dyn Converter> {
    let plugin = klamm_converters::converters()
        .into_iter()
        .find(|plugin| plugin.info.class.ends_with("JsonSchemaConverter"))
        .unwrap();
    runtime.block_on(async {
        let raw = RawConfig::from([
            ("schema.registry.url".to_owned(), registry().await),
            ("json.fail.invalid.schema".to_owned(), validates.to_string()),
        ]);
        let parsed = (plugin.config_def)().parse(&raw).unwrap();
        let converter = (plugin.create)(&parsed, ConverterRole::Value).unwrap();
        converter.prepare("orders", &[], Some(value)).await.unwrap();
        converter
    })
}

fn json_schema(criterion: &mut Criterion) {
    let framed = |text: &str| Bytes::from([&[0, 0, 0, 0, 7][..], text.as_bytes()].concat());
    let (ordered, disordered) = (framed(&order(true)), framed(&order(false)));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let plain = converter(&runtime, &ordered, false);
    let validating = converter(&runtime, &ordered, true);
    let mut group = criterion.benchmark_group(format!("json schema {} bytes", ordered.len()));
    group.throughput(Throughput::Elements(1));
    let mut out = Vec::with_capacity(4096);
    let cases = [
        ("to json", &plain, &ordered),
        ("to json, fields out of order", &plain, &disordered),
        ("validate, to json", &validating, &ordered),
    ];
    for (name, converter, value) in cases {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                let datum = converter.to_connect("orders", &[], Some(black_box(value))).unwrap();
                datum.write_json(Rendering::Connect, &mut out).unwrap();
                black_box(out.len())
            });
        });
    }
    group.bench_function("decode and write", |bencher| {
        bencher.iter(|| {
            out.clear();
            let mut datum = plain.to_connect("orders", &[], Some(black_box(&ordered))).unwrap();
            datum.decoded().unwrap();
            datum.write_json(Rendering::Connect, &mut out).unwrap();
            black_box(out.len())
        });
    });
    group.finish();
}

criterion_group!(benches, json_schema);
criterion_main!(benches);
