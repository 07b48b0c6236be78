//! The least that the job can cost: fetch, copy the bytes, sign, call. No records are decoded, nothing is checked, nothing
//! is committed, and one call waits for the other. What the worker costs is measured against this.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail, ensure};
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{ApiKey, FetchRequest, FetchResponse, RequestHeader, ResponseHeader, TopicName};
use kafka_protocol::protocol::{Decodable as _, Encodable as _, StrBytes};
use klamm_tests::worker::cpu_time;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// With topic names, before ids took their place.
const FETCH_VERSION: i16 = 11;
const BATCH_RECORDS: u32 = 100;

/// Delivers `records` records of the topic, and returns the CPU time that it took.
pub(crate) async fn run(
    bootstrap: &str,
    endpoint: &str,
    topic: &str,
    partitions: i32,
    records: u64,
) -> anyhow::Result<Duration> {
    let mut kafka = TcpStream::connect(bootstrap).await.context("no broker")?;
    kafka.set_nodelay(true)?;
    let client = Client::builder(TokioExecutor::new()).build_http();
    let uri = format!("{endpoint}/2015-03-31/functions/bare-fn/invocations");
    let before = cpu_time(std::process::id())?;
    let mut sent = 0;
    for partition in 0..partitions {
        let mut offset = 0;
        let (mut payload, mut held) = (Vec::new(), 0);
        loop {
            let fetched = fetch(&mut kafka, topic, partition, offset).await?;
            let mut batches = fetched.clone();
            let mut has_batch = false;
            // A batch is whole or the answer ends in it.
            while batches.len() > 61 {
                let base = batches.get(0..8).map_or(0, |mut bytes| bytes.get_i64());
                let length = usize::try_from((&batches[8..12]).get_i32())? + 12;
                if batches.len() < length {
                    break;
                }
                let batch = batches.split_to(length);
                let count = (&batch[57..61]).get_u32();
                has_batch = true;
                offset = base + i64::from((&batch[23..27]).get_i32()) + 1;
                // As a share of its batch: what one record takes.
                let share = batch.len() / usize::try_from(count.max(1))?;
                for record in batch.chunks(share.max(1)).take(usize::try_from(count)?) {
                    payload.extend_from_slice(record);
                    held += 1;
                    if held == BATCH_RECORDS {
                        call(&client, &uri, std::mem::take(&mut payload).into()).await?;
                        sent += u64::from(std::mem::take(&mut held));
                    }
                }
            }
            if !has_batch {
                break;
            }
        }
        if held > 0 {
            call(&client, &uri, payload.into()).await?;
            sent += u64::from(held);
        }
    }
    ensure!(sent == records, "{sent} records were there, not {records}");
    Ok(cpu_time(std::process::id())?.saturating_sub(before))
}

async fn fetch(kafka: &mut TcpStream, topic: &str, partition: i32, offset: i64) -> anyhow::Result<Bytes> {
    let of_partition = FetchPartition::default()
        .with_partition(partition)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(4 << 20);
    let request = FetchRequest::default()
        .with_max_wait_ms(500)
        .with_min_bytes(0)
        .with_max_bytes(8 << 20)
        .with_topics(vec![
            FetchTopic::default()
                .with_topic(TopicName(StrBytes::from_string(topic.to_owned())))
                .with_partitions(vec![of_partition]),
        ]);
    let mut bytes = BytesMut::new();
    RequestHeader::default()
        .with_request_api_key(ApiKey::Fetch as i16)
        .with_request_api_version(FETCH_VERSION)
        .encode(&mut bytes, ApiKey::Fetch.request_header_version(FETCH_VERSION))?;
    request.encode(&mut bytes, FETCH_VERSION)?;
    kafka.write_i32(i32::try_from(bytes.len())?).await?;
    kafka.write_all(&bytes).await?;
    let length = usize::try_from(kafka.read_i32().await?)?;
    let mut answer = vec![0; length];
    kafka.read_exact(&mut answer).await?;
    let mut answer = Bytes::from(answer);
    ResponseHeader::decode(&mut answer, ApiKey::Fetch.response_header_version(FETCH_VERSION))?;
    let mut response = FetchResponse::decode(&mut answer, FETCH_VERSION)?;
    let partition = response
        .responses
        .first_mut()
        .and_then(|topic| topic.partitions.first_mut())
        .context("an answer without the partition")?;
    ensure!(
        partition.error_code == 0,
        "fetch failed with code {}",
        partition.error_code
    );
    Ok(partition.records.take().unwrap_or_default())
}

type HttpClient = Client<hyper_util::client::legacy::connect::HttpConnector, Full<Bytes>>;

async fn call(client: &HttpClient, uri: &str, body: Bytes) -> anyhow::Result<()> {
    let identity = Credentials::new("bench", "bench", None, None, "bench").into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region("eu-central-1")
        .name("lambda")
        .time(now())
        .settings(SigningSettings::default())
        .build()?
        .into();
    let signable = SignableRequest::new("POST", uri, std::iter::empty(), SignableBody::Bytes(&body))?;
    let (instructions, _signature) = sign(signable, &params)?.into_parts();
    let mut request = http::Request::post(uri).body(Full::new(body))?;
    for header in instructions.into_parts().0 {
        let name = http::HeaderName::from_static(header.name());
        request.headers_mut().insert(name, header.value().parse()?);
    }
    let response = client.request(request).await?;
    if !response.status().is_success() {
        bail!("the function answers {}", response.status());
    }
    response.into_body().collect().await?;
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a signature needs the real time")]
fn now() -> SystemTime {
    SystemTime::now()
}
