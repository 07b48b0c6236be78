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

/// Numbers, words and short names.
fn measurements() -> Bytes {
    let points: Vec<_> = (0..34)
        .map(|i| serde_json::json!({"x": i * 37, "y": -0.25 * f64::from(i), "ok": i % 3 == 0}))
        .collect();
    Bytes::from(serde_json::json!({ "points": points }).to_string())
}

/// Doubles as Jackson writes them, half of them with exponents.
fn doubles() -> Bytes {
    let points: Vec<_> = (1..30)
        .map(|i| format!(r#"{{"x":1.{i}E7,"y":-0.{i},"z":2.5E-{i}}}"#))
        .collect();
    Bytes::from(format!(r#"{{"points":[{}]}}"#, points.join(",")))
}

/// Few members, most bytes in long strings.
fn log_line() -> Bytes {
    let line = serde_json::json!({
        "timestamp": "2024-05-01T10:20:30.123Z", "level": "INFO", "service": "checkout",
        "host": "ip-10-0-3-17.eu-central-1.compute.internal", "thread": "http-nio-8080-exec-7",
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "span_id": "00f067aa0ba902b7",
        "message": "payment authorised for order 7251966 in 182 ms, the customer was sent to the confirmation page \
                    and a mail was queued; the parcel is expected to leave the warehouse within two working days",
        "context": {
            "order_id": "7251966", "customer_id": "c-829110", "path": "/api/v2/orders/7251966/payment", "status": 200,
            "duration_ms": 182, "retry": false,
            "user_agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0 Safari",
        },
        "stack": "at com.example.checkout.PaymentService.authorise(PaymentService.java:214) \
                  at com.example.checkout.OrderController.pay(OrderController.java:88) \
                  at jdk.internal.reflect.GeneratedMethodAccessor71.invoke(Unknown Source)",
    });
    Bytes::from(line.to_string())
}

/// Objects and arrays inside each other, little in them.
fn nested() -> Bytes {
    let mut value = serde_json::json!({"v": 1, "ok": true});
    for level in 0..24 {
        value = serde_json::json!({"a": {"b": [value], "n": level}, "c": [[], {}, [1, 2]]});
    }
    Bytes::from(value.to_string())
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
    for (name, bytes) in [
        ("order", order()),
        ("measurements", measurements()),
        ("doubles", doubles()),
        ("log line", log_line()),
        ("nested", nested()),
    ] {
        document(criterion, name, &bytes);
    }
}

fn document(criterion: &mut Criterion, name: &str, bytes: &Bytes) {
    let plain = converter("false");
    let mut group = criterion.benchmark_group(format!("json {name}, {} bytes", bytes.len()));
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    let mut out = Vec::with_capacity(4096);
    group.bench_function("validate", |bencher| {
        bencher.iter(|| plain.to_connect("t", &[], Some(black_box(bytes))).unwrap());
    });
    group.bench_function("validate and write", |bencher| {
        bencher.iter(|| {
            out.clear();
            let datum = plain.to_connect("t", &[], Some(black_box(bytes))).unwrap();
            datum.write_json(Rendering::Connect, &mut out).unwrap();
            black_box(out.len())
        });
    });
    group.bench_function("decode and write", |bencher| {
        bencher.iter(|| {
            out.clear();
            let mut datum = plain.to_connect("t", &[], Some(black_box(bytes))).unwrap();
            datum.decoded().unwrap();
            datum.write_json(Rendering::Connect, &mut out).unwrap();
            black_box(out.len())
        });
    });
    group.bench_function("serde_json skips it (for comparison)", |bencher| {
        bencher.iter(|| serde_json::from_slice::<&serde_json::value::RawValue>(black_box(bytes)).unwrap());
    });
    group.finish();
}

criterion_group!(benches, json);
criterion_main!(benches);
