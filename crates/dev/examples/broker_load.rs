//! What the development broker does for a CPU-second of its own: `cargo run --release -p klamm-dev --example broker_load`.
//!
//! The broker runs on one thread, whose CPU time is measured; the client, on another, sends prepared requests over
//! loopback, ten in flight.
#![allow(clippy::print_stdout, reason = "its purpose")]

use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::{BufMut as _, Bytes, BytesMut};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ApiKey, ProduceRequest, RequestHeader};
use kafka_protocol::protocol::{Encodable as _, StrBytes, encode_request_header_into_buffer};
use klamm_dev::broker::{Broker, Settings};
use rustix::time::{ClockId, clock_gettime};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

const RECORDS: usize = 1_500_000;
const VALUE_BYTES: usize = 1024;
const IN_FLIGHT: usize = 10;
const TOPIC: &str = "load";

fn main() -> anyhow::Result<()> {
    for batch in [16, 100, 1000] {
        let (tell, told) = std::sync::mpsc::channel();
        let (end, ended) = tokio::sync::oneshot::channel();
        let server = std::thread::spawn(move || serve(&tell, ended));
        let bootstrap = told.recv().context("the broker starts")?;
        let client = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let took = client.block_on(load(&bootstrap, batch))?;
        end.send(()).map_err(|()| anyhow::anyhow!("the broker ended early"))?;
        let (cpu, kept) = server.join().map_err(|_| anyhow::anyhow!("the broker panicked"))??;
        println!(
            "batches of {batch:>4}: {:>9.0} records of {VALUE_BYTES} bytes for each CPU-second of the broker, {:>9.0} a second; {:.1} MiB kept",
            rate(cpu),
            rate(took),
            f64::from(u32::try_from(kept >> 10).unwrap_or(u32::MAX)) / 1024.0,
        );
    }
    Ok(())
}

fn rate(time: Duration) -> f64 {
    f64::from(u32::try_from(RECORDS).unwrap_or(u32::MAX)) / time.as_secs_f64()
}

/// Returns the CPU time of the broker's thread, and what it holds in the end.
fn serve(
    tell: &std::sync::mpsc::Sender<String>,
    ended: tokio::sync::oneshot::Receiver<()>,
) -> anyhow::Result<(Duration, u64)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let broker = Broker::start(Settings::default()).await?;
        broker.create_topic(TOPIC, 1)?;
        let before = cpu_time();
        tell.send(broker.bootstrap())?;
        ended.await?;
        let cpu = cpu_time().saturating_sub(before);
        let kept = broker.stored_bytes();
        broker.stop().await?;
        Ok((cpu, kept))
    })
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

async fn load(bootstrap: &str, batch: usize) -> anyhow::Result<Duration> {
    let mut stream = TcpStream::connect(bootstrap).await?;
    stream.set_nodelay(true)?;
    let request = request(batch)?;
    let requests = RECORDS / batch;
    let started = Instant::now();
    let (mut reading, mut writing) = stream.split();
    let permits = tokio::sync::Semaphore::new(IN_FLIGHT);
    let write = async {
        for _ in 0..requests {
            permits.acquire().await?.forget();
            writing.write_all(&request).await?;
        }
        anyhow::Ok(())
    };
    let read = async {
        for _ in 0..requests {
            let size = usize::try_from(reading.read_i32().await?)?;
            let mut answer = vec![0; size];
            reading.read_exact(&mut answer).await?;
            // Correlation id, one topic with its name, one partition with its number, then the code.
            let code = answer
                .get(4 + 4 + 2 + TOPIC.len() + 4 + 4..)
                .and_then(|rest| rest.first_chunk());
            ensure!(code == Some(&[0, 0]), "the broker refused: {answer:?}");
            permits.add_permits(1);
        }
        anyhow::Ok(())
    };
    tokio::try_join!(write, read)?;
    Ok(started.elapsed())
}

/// A Produce request of version 7 with one batch.
fn request(records: usize) -> anyhow::Result<Bytes> {
    const VERSION: i16 = 7;
    let data = PartitionProduceData::default().with_records(Some(batch(records)?));
    let topic = TopicProduceData::default()
        .with_name(StrBytes::from_static_str(TOPIC).into())
        .with_partition_data(vec![data]);
    let request = ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(30_000)
        .with_topic_data(vec![topic]);
    let header = RequestHeader::default()
        .with_request_api_key(ApiKey::Produce as i16)
        .with_request_api_version(VERSION)
        .with_client_id(Some(StrBytes::from_static_str("load")));
    let mut out = BytesMut::new();
    out.put_i32(0);
    encode_request_header_into_buffer(&mut out, &header)?;
    request.encode(&mut out, VERSION)?;
    let size = i32::try_from(out.len() - 4)?;
    out.first_chunk_mut::<4>()
        .context("there is room")?
        .copy_from_slice(&size.to_be_bytes());
    Ok(out.freeze())
}

fn batch(records: usize) -> anyhow::Result<Bytes> {
    let mut covered = BytesMut::new();
    covered.put_i16(0);
    covered.put_i32(i32::try_from(records)? - 1);
    covered.put_i64(4_000_000_000_000);
    covered.put_i64(4_000_000_000_000);
    covered.put_i64(-1);
    covered.put_i16(-1);
    covered.put_i32(-1);
    covered.put_i32(i32::try_from(records)?);
    for delta in 0..records {
        let mut record = vec![0];
        varint(&mut record, 0);
        varint(&mut record, i64::try_from(delta)?);
        varint(&mut record, -1);
        varint(&mut record, i64::try_from(VALUE_BYTES)?);
        record.extend([b'x'; VALUE_BYTES]);
        varint(&mut record, 0);
        let mut length = Vec::new();
        varint(&mut length, i64::try_from(record.len())?);
        covered.extend(length);
        covered.extend(record);
    }
    let mut batch = BytesMut::new();
    batch.put_i64(0);
    batch.put_i32(i32::try_from(9 + covered.len())?);
    batch.put_i32(-1);
    batch.put_u8(2);
    batch.put_u32(crc32c::crc32c(&covered));
    batch.extend(covered);
    Ok(batch.freeze())
}

/// Zigzag.
fn varint(out: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push(u8::try_from(rest & 0x7f).unwrap_or(0) | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).unwrap_or(0));
}
