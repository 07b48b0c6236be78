//! What a 1 KB JSON value costs from the wire to a payload: check and copy, and decode and write for comparison.
#![allow(missing_docs, clippy::unwrap_used, reason = "benchmark")]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use klamm_connect_api::{Converter, ConverterRole, RawConfig, Rendering};

fn order() -> Bytes {
    let items: Vec<_> = (0..7)
        .map(|i| {
            serde_json::json!({
                "sku": format!("A-{i:05}"), "name": "Wide-brimmed hat, straw, natural", "quantity": i, "price": 12.5,
                "gift": i % 2 == 0, "note": null,
            })
        })
        .collect();
    let order = serde_json::json!({
        "id": 7_251_966, "customer": {"id": "c-829110", "city": "Kraków", "mail": "a.kowalska@example.com"},
        "created": "2024-05-01T10:20:30.123Z", "items": items, "total": 87.5, "comment": "leave at the door, please",
    });
    Bytes::from(order.to_string())
}

fn converter(schemas: &str) -> std::sync::Arc<dyn Converter> {
    let plugin = klamm_converters::converters()
        .into_iter()
        .find(|plugin| plugin.info.class.ends_with("JsonConverter"))
        .unwrap();
    let raw: RawConfig = [("schemas.enable".to_owned(), schemas.to_owned())]
        .into_iter()
        .collect();
    (plugin.create)(&(plugin.config_def)().parse(&raw).unwrap(), ConverterRole::Value).unwrap()
}

fn json(criterion: &mut Criterion) {
    let bytes = order();
    let plain = converter("false");
    let mut group = criterion.benchmark_group(format!("json {} bytes", bytes.len()));
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    let mut out = Vec::with_capacity(4096);
    group.bench_function("validate", |bencher| {
        bencher.iter(|| plain.to_connect("t", &[], Some(black_box(&bytes))).unwrap());
    });
    group.bench_function("validate and write", |bencher| {
        bencher.iter(|| {
            out.clear();
            let datum = plain.to_connect("t", &[], Some(black_box(&bytes))).unwrap();
            datum.write_json(Rendering::Connect, &mut out).unwrap();
            black_box(out.len())
        });
    });
    group.bench_function("decode and write", |bencher| {
        bencher.iter(|| {
            out.clear();
            let mut datum = plain.to_connect("t", &[], Some(black_box(&bytes))).unwrap();
            datum.decoded().unwrap();
            datum.write_json(Rendering::Connect, &mut out).unwrap();
            black_box(out.len())
        });
    });
    group.bench_function("serde_json skips it (for comparison)", |bencher| {
        bencher.iter(|| serde_json::from_slice::<&serde_json::value::RawValue>(black_box(&bytes)).unwrap());
    });
    group.finish();
}

criterion_group!(benches, json);
criterion_main!(benches);
