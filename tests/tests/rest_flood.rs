//! The REST API under attack: memory stays bounded, and records reach their function as if nothing were.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "test code")]

use std::io;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use klamm_dev::{Answer, FakeLambda};
use klamm_tests::account::has_all;
use klamm_tests::clients::klamm;
use klamm_tests::connector::lambda_sink;
use klamm_tests::kafka::Broker;
use klamm_tests::produce::{CODECS, Producer};
use klamm_tests::wait;
use klamm_tests::worker::{Builder, Worker};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Records whose way is measured, with and without a flood.
const RECORDS: u64 = 100;
/// No record may take longer, on a machine that other tests share.
const SLOWEST: Duration = Duration::from_secs(5);
/// What requests may take in memory: the worker's bound for bodies, its connections with their buffers, and what the
/// allocator keeps.
const GROWTH: u64 = 160 * 1024 * 1024;

/// Sends `head`, and then `part` again and again with a pause, until the server ends it.
async fn send(address: &str, head: &str, part: &[u8], pause: Duration) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(head.as_bytes()).await?;
    loop {
        stream.write_all(part).await?;
        tokio::time::sleep(pause).await;
    }
}

/// Sends requests whose answers nobody reads.
async fn deaf(address: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    loop {
        stream
            .write_all(b"GET /connector-plugins/AwsLambdaSinkConnector/config HTTP/1.1\r\nHost: x\r\n\r\n")
            .await?;
    }
}

/// Logs in with a wrong password and reads the answer.
async fn guess(address: &str, n: usize) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let credentials = BASE64.encode(format!("ada:{n}"));
    let request =
        format!("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Basic {credentials}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    stream.read_to_end(&mut Vec::new()).await.map(drop)
}

/// The flood, on a thread of its own: the function that records go to runs in this process, too. It ends with the sender.
fn flood(address: String) -> oneshot::Sender<()> {
    let (stop, stopped) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let clients = clients(&address);
            drop(stopped.await);
            drop(clients);
        });
    });
    stop
}

/// Every kind of bad client, many of each, again and again.
fn clients(address: &str) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for n in 0..200_usize {
        let address = address.to_owned();
        clients.spawn(async move {
            let json = "POST /connectors HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
            let sized = format!("{json}Content-Length: 10485760\r\n\r\n{{\"name\":\"");
            let chunked = format!("{json}Transfer-Encoding: chunked\r\n\r\n");
            // Just below the limit of one body, and never ended.
            let almost = format!("{json}Content-Length: 1000000\r\n\r\n{}", " ".repeat(990_000));
            let bytes = [b'x'; 64 * 1024];
            let chunk = [&b"10000\r\n"[..], &bytes, b"\r\n"].concat();
            let header = format!("X-{n}: {}\r\n", "x".repeat(500));
            let (now, slowly) = (Duration::ZERO, Duration::from_millis(200));
            loop {
                // Whatever becomes of one, the next one comes.
                let ended = match n % 8 {
                    0 => send(&address, &sized, &bytes, now).await,
                    1 => send(&address, &chunked, &chunk, now).await,
                    2 => send(&address, "GET / HTTP/1.1\r\n", header.as_bytes(), now).await,
                    3 => send(&address, "GET / HTTP/1.1\r\nX: ", b"x", slowly).await,
                    4 => send(&address, &almost, b" ", slowly).await,
                    5 => deaf(&address).await,
                    6 => guess(&address, n).await,
                    _ => send(&address, "\r\n\0GARBAGE", &bytes, now).await,
                };
                drop(ended);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    }
    clients
}

/// How long single records take from the producer to the function: the median and the slowest.
async fn latencies(producer: &Producer, lambda: &FakeLambda, topic: &str, from: u64) -> (Duration, Duration) {
    let mut all = Vec::new();
    for id in from..from + RECORDS {
        let begun = Instant::now();
        let produced = producer.produce_json(topic, 1, id..id + 1, CODECS[0]).await.unwrap();
        lambda
            .wait_for("the record", |log| has_all(log, "flood-fn", topic, &produced))
            .await
            .unwrap();
        all.push(begun.elapsed());
    }
    all.sort_unstable();
    (all[all.len() / 2], all[all.len() - 1])
}

async fn undisturbed(topic: &str, settings: impl FnOnce(Builder) -> Builder) {
    // Each measures alone.
    static ONE: Mutex<()> = Mutex::const_new(());
    let _turn = ONE.lock().await;
    let Some(kafka) = Broker::shared() else { return };
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    producer.create_topic(topic, 1).await.unwrap();
    let lambda = FakeLambda::start().await.unwrap();
    lambda.function("flood-fn").respond(Answer::success("null"));
    // All come from one address here, and are to be as many as from many.
    let builder = Worker::builder(kafka.bootstrap())
        .property("rest.client.connections.max", "1000")
        .property("rest.client.requests.per.second", "100000");
    let mut connector = lambda_sink(&lambda, topic, &[("aws.lambda.function.name", "flood-fn")]);
    connector["name"] = topic.into();
    let file = builder.dir().join("connector.json");
    std::fs::write(&file, connector.to_string()).unwrap();
    let worker = settings(builder.arg(file.display().to_string())).start().await.unwrap();
    let quiet = latencies(&producer, &lambda, topic, 0).await;
    let before = worker.resident_bytes().unwrap();
    let address = worker.url().trim_start_matches("http://").to_owned();
    let stop = flood(address);
    let mut most = before;
    let flooded = {
        let measured = latencies(&producer, &lambda, topic, RECORDS);
        let mut measured = std::pin::pin!(measured);
        loop {
            tokio::select! {
                latencies = measured.as_mut() => break latencies,
                () = tokio::time::sleep(Duration::from_millis(100)) => {
                    most = most.max(worker.resident_bytes().unwrap());
                }
            }
        }
    };
    drop(stop);
    let grown = most - before;
    eprintln!(
        "{topic}: quiet p50 {:?} max {:?}, flooded p50 {:?} max {:?}, {} MiB more than {} MiB",
        quiet.0,
        quiet.1,
        flooded.0,
        flooded.1,
        grown >> 20,
        before >> 20
    );
    assert!(flooded.1 < SLOWEST, "a record took {:?}", flooded.1);
    assert!(grown < GROWTH, "{grown} bytes more than {before}");
    // Who behaves is answered as soon as the others are gone.
    wait::until("an answer", wait::LIMIT, || async {
        let reply = worker.rest().get("/health").await.ok()?;
        (reply.status == 200).then_some(())
    })
    .await
    .unwrap();
    worker.terminate().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_bad_requests_takes_bounded_memory_and_delays_no_record() {
    undisturbed("flood", |builder| builder).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_logins_delays_no_record() {
    let dir = tempfile::tempdir().unwrap();
    let users = dir.path().join("users");
    let line = klamm(&["user", "ada", "--role", "admin"], b"a password that nobody guesses\n")
        .await
        .unwrap();
    assert!(line.status.success(), "{}", String::from_utf8_lossy(&line.stderr));
    std::fs::write(&users, line.stdout).unwrap();
    let users = users.display().to_string();
    undisturbed("logins", |builder| {
        builder
            .property("rest.auth.users.file", users)
            .property("rest.auth.public.paths", "/health")
    })
    .await;
}
