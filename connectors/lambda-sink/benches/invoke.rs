//! The sink's share of a record and of a call: encoding, packing, signing, and the whole call over loopback.
#![allow(clippy::unwrap_used, missing_docs, reason = "bench code")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use klamm_connect_api::sink::{Call, Predicates, RouteIndex, Sink, SinkConnector, SinkContext};
use klamm_connect_api::{
    DataError, Datum, DatumCodec, Origin, RawConfig, Record, Rendering, SchemaAndValue, TopicPartition,
};
use klamm_lambda_sink::{Environment, LambdaSinkConnector};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const ROUTE: RouteIndex = RouteIndex(0);

/// JSON text that goes through unchanged, as the JSON converter leaves it.
#[derive(Debug)]
struct JsonText;

impl DatumCodec for JsonText {
    fn decode(&self, _bytes: &Bytes) -> Result<SchemaAndValue, DataError> {
        Err(DataError::data("not decoded here"))
    }

    fn write_json(&self, bytes: &Bytes, _: Rendering, out: &mut Vec<u8>) -> Result<(), DataError> {
        out.extend_from_slice(bytes);
        Ok(())
    }
}

fn sink(endpoint: &str, format: &str) -> Arc<dyn Sink> {
    let raw: RawConfig = [
        ("aws.lambda.region", "eu-west-1"),
        ("aws.lambda.endpoint", endpoint),
        ("aws.access.key.id", "AKIDEXAMPLE"),
        ("aws.secret.access.key", "example-secret"),
        ("aws.lambda.function.name", "order-fn"),
        ("event.format", format),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect();
    let connector = LambdaSinkConnector::new(Environment::process());
    let parsed = connector.config_def(&raw).parse(&raw).unwrap();
    connector
        .open(SinkContext {
            connector: "bench",
            task: 0,
            raw: &raw,
            config: &parsed,
            predicates: &Predicates::new(),
            bootstrap_servers: &[],
            keeps_results: false,
        })
        .unwrap()
}

fn record(offset: i64) -> Record {
    let value = format!("{{\"id\":{offset},\"text\":\"{}\"}}", "x".repeat(1000));
    let datum = |bytes: Bytes| Datum::Encoded {
        bytes,
        codec: Arc::new(JsonText),
    };
    let origin = Origin {
        topic_partition: TopicPartition::new("orders", 3),
        offset,
    };
    let mut record = Record::new(origin, datum(Bytes::from_static(b"\"key-1\"")), datum(value.into()));
    record.timestamp = Some(1_700_000_000_123);
    record
}

fn body(sink: &dyn Sink, records: i64) -> (Bytes, Arc<[Origin]>) {
    let mut builder = sink.payload_builder(ROUTE);
    let records: Vec<_> = (0..records).map(record).collect();
    for record in &records {
        builder.push(record.origin(), &sink.encode(ROUTE, record).unwrap());
    }
    (
        builder.finish(),
        records.iter().map(|record| record.origin().clone()).collect(),
    )
}

fn envelope(c: &mut Criterion) {
    for format in ["confluent", "esm"] {
        let sink = sink("http://127.0.0.1:1", format);
        let records: Vec<_> = (0..100).map(record).collect();
        let mut group = c.benchmark_group(format);
        group.throughput(Throughput::Elements(1));
        group.bench_function("encode 1 KB", |b| {
            b.iter(|| sink.encode(ROUTE, black_box(&records[0])).unwrap());
        });
        let encoded: Vec<_> = records
            .iter()
            .map(|record| sink.encode(ROUTE, record).unwrap())
            .collect();
        let mut builder = sink.payload_builder(ROUTE);
        group.throughput(Throughput::Elements(100));
        group.bench_function("pack 100", |b| {
            b.iter(|| {
                for (record, encoded) in records.iter().zip(&encoded) {
                    builder.push(record.origin(), encoded);
                }
                builder.finish()
            });
        });
        group.finish();
    }
}

fn signature(c: &mut Criterion) {
    let sink = sink("http://127.0.0.1:1", "confluent");
    let identity = Credentials::new("AKIDEXAMPLE", "example-secret", None, None, "bench").into();
    let mut group = c.benchmark_group("sign");
    for records in [1, 100] {
        let (body, _) = body(&*sink, records);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(format!("{records} KB"), |b| {
            b.iter(|| {
                let params = v4::SigningParams::builder()
                    .identity(&identity)
                    .region("eu-west-1")
                    .name("lambda")
                    .time(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000))
                    .settings(SigningSettings::default())
                    .build()
                    .unwrap()
                    .into();
                let headers = [
                    ("content-type", "application/json"),
                    ("x-amz-invocation-type", "RequestResponse"),
                ];
                let request = SignableRequest::new(
                    "POST",
                    "https://lambda.eu-west-1.amazonaws.com/2015-03-31/functions/order-fn/invocations",
                    headers.into_iter(),
                    SignableBody::Bytes(black_box(&body)),
                );
                sign(request.unwrap(), &params).unwrap().into_parts()
            });
        });
    }
    group.finish();
}

/// A server that reads a request of known length and answers at once: as little work as a server can do.
async fn serve(listener: tokio::net::TcpListener) {
    let (mut stream, _) = listener.accept().await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut buffer = vec![0; 256 * 1024];
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await.unwrap();
        if read == 0 {
            return;
        }
        filled += read;
        let Some(head) = buffer[..filled].windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let text = std::str::from_utf8(&buffer[..head]).unwrap().to_ascii_lowercase();
        let length = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .unwrap();
        if filled >= head + 4 + length.trim().parse::<usize>().unwrap() {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnull")
                .await
                .unwrap();
            filled = 0;
        }
    }
}

/// Client and server on one thread: the figure holds the server's share as well.
fn call(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut group = c.benchmark_group("call with server");
    for records in [1, 100] {
        let (sink, server) = runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let sink = sink(&format!("http://{}", listener.local_addr().unwrap()), "confluent");
            let mut server = tokio::task::JoinSet::new();
            server.spawn(serve(listener));
            (sink, server)
        });
        let (body, origins) = body(&*sink, records);
        group.bench_function(format!("{records} KB"), |b| {
            b.iter_batched(
                || Call {
                    route: ROUTE,
                    body: body.clone(),
                    origins: Arc::clone(&origins),
                    timestamps: origins.iter().map(|_| None).collect(),
                },
                |call| runtime.block_on(sink.send(call)),
                BatchSize::SmallInput,
            );
        });
        drop(server);
    }
    group.finish();
}

criterion_group!(benches, envelope, signature, call);
criterion_main!(benches);
