use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use klamm_connect_api::failures::FailedDelivery;
use klamm_connect_api::sink::Answered;
use klamm_connect_api::{Origin, TimestampType, TopicPartition};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;

/// 2024-01-02T03:04:05Z
const NOW: fn() -> SystemTime = || SystemTime::UNIX_EPOCH + Duration::from_secs(1_704_164_645);
const QUEUE: &str = "arn:aws:sqs:eu-central-1:123456789012:failed";
/// Such a URL is a mistake, and its password no part of what is said of it.
const WITH_PASSWORD: &str = "https://me:hunter2@sqs.us-east-2.amazonaws.com/123456789012/failed";
const TOPIC: &str = "arn:aws:sns:eu-central-1:123456789012:failed";

fn record() -> FailedRecord {
    FailedRecord {
        connector: "orders sink".into(),
        task: 3,
        bootstrap_servers: "b1:9092,b2:9092".into(),
        failed_at: 1_704_164_645_678,
        origin: Origin {
            topic_partition: TopicPartition::new("orders", 7),
            offset: 42,
        },
        timestamp: Some(1_700_000_000_123),
        timestamp_type: TimestampType::CreateTime,
        key: Some(Bytes::from_static(b"k\xff")),
        value: Some(Bytes::from_static(b"{\"total\":12}")),
        headers: vec![
            (Bytes::from_static(b"trace"), Some(Bytes::from_static(b"ab"))),
            (Bytes::from_static(b"trace"), None),
        ],
        stage: "TASK_PUT".into(),
        class: "ValueError".into(),
        message: "function `f` failed\nand \u{ffff} answered".into(),
        delivery: Some(FailedDelivery {
            route: "audit".into(),
            resource: "arn:aws:lambda:eu-central-1:123456789012:function:f".into(),
            attempts: 5,
            request_id: Some("r-1".into()),
            answered: Some(Arc::new(Answered {
                status: 200,
                version: Some("$LATEST".into()),
                function_error: Some("Unhandled".into()),
            })),
        }),
    }
}

/// A request as a service saw it.
#[derive(Debug, Clone)]
struct Seen {
    method: String,
    path: String,
    target: String,
    authorization: String,
    checksum: String,
    body: String,
}

/// Answers in this order, then 200 for ever.
struct Service {
    endpoint: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    _tasks: JoinSet<()>,
}

impl Service {
    async fn start(answers: &[(u16, &str)]) -> Self {
        let answers: VecDeque<(u16, String)> = answers.iter().map(|(code, body)| (*code, (*body).to_owned())).collect();
        let answers = Arc::new(Mutex::new(answers));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let mut tasks = JoinSet::new();
        let log = Arc::clone(&seen);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (answers, log) = (Arc::clone(&answers), Arc::clone(&log));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (answers, log) = (Arc::clone(&answers), Arc::clone(&log));
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        let header = |name: &str| {
                            let value = head.headers.get(name).and_then(|value| value.to_str().ok());
                            value.unwrap_or_default().to_owned()
                        };
                        log.lock().unwrap().push(Seen {
                            method: head.method.to_string(),
                            path: head.uri.path().to_owned(),
                            target: header("x-amz-target"),
                            authorization: header("authorization"),
                            checksum: header("x-amz-content-sha256"),
                            body: String::from_utf8(body.to_vec()).unwrap(),
                        });
                        let (code, body) = answers.lock().unwrap().pop_front().unwrap_or((200, String::new()));
                        let response = Response::builder().status(code).body(Full::new(Bytes::from(body)));
                        Ok::<_, Infallible>(response.unwrap())
                    }
                });
                connections.spawn(async move {
                    let connection = hyper::server::conn::http1::Builder::new();
                    connection.serve_connection(TokioIo::new(stream), service).await.ok();
                });
            }
        });
        Self {
            endpoint,
            seen,
            _tasks: tasks,
        }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

fn raw(entries: &[(&str, &str)]) -> RawConfig {
    let keys = [(KEY_ID, "AKID"), (SECRET_KEY, "secret-key")];
    let all = keys.iter().chain(entries);
    all.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// The destination, or what is wrong, as `key: message` lines.
fn open_in(environment: &[(&str, &str)], raw: &RawConfig) -> Result<Option<Arc<dyn FailureDestination>>, String> {
    let queues = FailureQueues::new(Environment::new(environment.iter().copied(), NOW));
    let def = queues.config_def();
    let evaluated = def.evaluate(raw);
    let mut errors = evaluated.errors();
    let opened = queues.open(raw, &evaluated.parsed);
    if let Err(more) = &opened {
        errors.extend(more.iter().cloned());
    }
    if errors.is_empty() {
        return Ok(opened.unwrap());
    }
    let lines: Vec<String> = errors
        .iter()
        .map(|error| format!("{}: {}", error.key, error.message))
        .collect();
    Err(lines.join("\n"))
}

fn open(entries: &[(&str, &str)]) -> Arc<dyn FailureDestination> {
    open_in(&[], &raw(entries)).unwrap().unwrap()
}

#[tokio::test]
async fn a_queue_gets_the_document_without_the_record() {
    let service = Service::start(&[]).await;
    let queue = open(&[(DESTINATION, QUEUE), (ENDPOINT, &service.endpoint)]);
    assert_eq!(queue.name(), "SQS queue `failed` in eu-central-1");
    queue.write(&record()).await.unwrap();
    let [seen] = service.seen().try_into().unwrap();
    assert_eq!(
        (&*seen.method, &*seen.path, &*seen.target),
        ("POST", "/", "AmazonSQS.SendMessage")
    );
    let scope = "Credential=AKID/20240102/eu-central-1/sqs/aws4_request";
    assert!(seen.authorization.contains(scope), "{}", seen.authorization);
    let body: Value = serde_json::from_str(&seen.body).unwrap();
    assert_eq!(body["QueueUrl"], format!("{}/123456789012/failed", service.endpoint));
    let document: Value = serde_json::from_str(body["MessageBody"].as_str().unwrap()).unwrap();
    let size = document["KafkaBatchInfo"]["payloadSize"].as_u64().unwrap();
    assert!(size > 200, "{size}");
    assert_eq!(
        document,
        json!({
            "requestContext": {
                "requestId": "r-1",
                "functionArn": "arn:aws:lambda:eu-central-1:123456789012:function:f",
                "condition": "RetryAttemptsExhausted",
                "approximateInvokeCount": 5,
            },
            "responseContext": { "statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled" },
            "version": "1.0",
            "timestamp": "2024-01-02T03:04:05.678Z",
            "KafkaBatchInfo": {
                "batchSize": 1,
                "eventSourceArn": null,
                "bootstrapServers": "b1:9092,b2:9092",
                "payloadSize": size,
                "recordsInfo": { "orders-7": {
                    "firstRecordOffset": "42",
                    "lastRecordOffset": "42",
                    "firstRecordTimestamp": "2023-11-14T22:13:20.123Z",
                    "lastRecordTimestamp": "2023-11-14T22:13:20.123Z",
                } },
            },
            "errorContext": {
                "connector": "orders sink", "task": 3, "route": "audit", "stage": "TASK_PUT", "class": "ValueError",
                "message": "function `f` failed and \u{fffd} answered",
            },
        })
    );
}

#[tokio::test]
async fn a_topic_gets_it_as_a_form() {
    let service = Service::start(&[]).await;
    let topic = open(&[(DESTINATION, TOPIC), (ENDPOINT, &service.endpoint), (PAYLOAD, "true")]);
    topic.write(&record()).await.unwrap();
    let [seen] = service.seen().try_into().unwrap();
    let fields: Vec<(&str, &str)> = seen
        .body
        .split('&')
        .map(|field| field.split_once('=').unwrap())
        .collect();
    let decoded = |text: &str| {
        percent_encoding::percent_decode_str(text)
            .decode_utf8()
            .unwrap()
            .into_owned()
    };
    assert_eq!(fields[..2], [("Action", "Publish"), ("Version", "2010-03-31")]);
    assert_eq!((fields[2].0, &*decoded(fields[2].1)), ("TopicArn", TOPIC));
    let document: Value = serde_json::from_str(&decoded(fields[3].1)).unwrap();
    assert_eq!(document["requestContext"]["requestId"], "r-1");
    assert!(document["payload"].is_string(), "asked for");
    assert!(
        seen.authorization.contains("/eu-central-1/sns/"),
        "{}",
        seen.authorization
    );
}

#[tokio::test]
async fn a_bucket_gets_an_object_with_the_record_byte_for_byte() {
    let service = Service::start(&[]).await;
    let bucket = open(&[
        (DESTINATION, "arn:aws:s3:::my-failures/klamm/eu"),
        (REGION, "eu-west-1"),
        (ENDPOINT, &service.endpoint),
    ]);
    bucket.write(&record()).await.unwrap();
    bucket.write(&record()).await.unwrap();
    let [seen, again] = service.seen().try_into().unwrap();
    assert_eq!(seen.path, again.path, "a repetition overwrites itself");
    assert_eq!(seen.method, "PUT");
    assert_eq!(
        seen.path,
        "/my-failures/klamm/eu/orders%20sink/orders/7/00000000000000000042-1700000000123-audit.json"
    );
    assert_eq!(
        seen.checksum.len(),
        64,
        "the body's checksum is signed: {}",
        seen.checksum
    );
    assert!(seen.authorization.contains("/eu-west-1/s3/"), "{}", seen.authorization);
    let document: Value = serde_json::from_str(&seen.body).unwrap();
    let event: Value = serde_json::from_str(document["payload"].as_str().unwrap()).unwrap();
    assert_eq!(
        event,
        json!({
            "eventSource": "aws:SelfManagedKafka",
            "bootstrapServers": "b1:9092,b2:9092",
            "records": { "orders-7": [{
                "topic": "orders", "partition": 7, "offset": 42, "timestamp": 1_700_000_000_123_u64,
                "timestampType": "CREATE_TIME",
                "key": BASE64.encode(b"k\xff"), "value": BASE64.encode("{\"total\":12}"),
                "headers": [{ "trace": [97, 98] }, { "trace": null }],
            }] },
        })
    );
    assert_eq!(
        document["KafkaBatchInfo"]["payloadSize"],
        document["payload"].as_str().unwrap().len()
    );
}

#[tokio::test]
async fn a_record_that_failed_before_delivery_has_no_request() {
    let service = Service::start(&[]).await;
    let queue = open(&[(DESTINATION, QUEUE), (ENDPOINT, &service.endpoint)]);
    let mut failed = record();
    failed.delivery = None;
    failed.stage = "VALUE_CONVERTER".into();
    failed.timestamp = None;
    queue.write(&failed).await.unwrap();
    let body: Value = serde_json::from_str(&service.seen()[0].body).unwrap();
    let document: Value = serde_json::from_str(body["MessageBody"].as_str().unwrap()).unwrap();
    assert_eq!(document["responseContext"], Value::Null);
    assert_eq!(
        document["requestContext"],
        json!({
            "requestId": null, "functionArn": null, "condition": "DESERIALIZATION_ERROR", "approximateInvokeCount": 0,
        })
    );
    assert_eq!(
        document["KafkaBatchInfo"]["recordsInfo"]["orders-7"]["firstRecordTimestamp"],
        Value::Null
    );
}

#[tokio::test]
async fn a_record_goes_along_where_it_fits_and_is_left_out_where_it_does_not() {
    let too_long = r#"{"__type":"com.amazonaws.sqs#InvalidParameterValue","message":"One or more parameters are invalid. Reason: Message must be shorter than 2048 bytes."}"#;
    let has_payload = |seen: &Seen| {
        let body: Value = serde_json::from_str(&seen.body).unwrap();
        body["MessageBody"].as_str().unwrap().contains("\"payload\"")
    };
    let cases = [
        // bytes of the value, answers, with the record, why
        (1000, &[][..], vec![true], "it fits"),
        (1_100_000, &[], vec![false], "longer than SQS takes"),
        (
            3000,
            &[(400, too_long)],
            vec![true, false],
            "longer than this queue takes",
        ),
    ];
    for (bytes, answers, wanted, why) in cases {
        let service = Service::start(answers).await;
        let queue = open(&[(DESTINATION, QUEUE), (ENDPOINT, &service.endpoint), (PAYLOAD, "true")]);
        let mut large = record();
        large.value = Some(Bytes::from(vec![b'x'; bytes]));
        queue.write(&large).await.unwrap();
        let found: Vec<bool> = service.seen().iter().map(has_payload).collect();
        assert_eq!(found, wanted, "{why}");
        assert!(service.seen().iter().all(|seen| seen.body.len() < 1_200_000), "{why}");
    }
    let service = Service::start(&[(400, too_long), (400, too_long)]).await;
    let queue = open(&[(DESTINATION, QUEUE), (ENDPOINT, &service.endpoint)]);
    let Err(NotTaken::Refused(text)) = queue.write(&record()).await else {
        panic!("not refused");
    };
    assert!(text.contains("raise its maximum message size"), "{text}");
}

#[tokio::test]
async fn every_answer_is_waited_for_or_says_what_to_do() {
    let later = |text: &'static str| NotTaken::Now(text.to_owned());
    let xml = |code: &str| {
        format!("<ErrorResponse><Error><Code>{code}</Code><Message>the words</Message></Error></ErrorResponse>")
    };
    let cases = [
        // status, body, wanted, why
        (503, xml("SlowDown"), Some("answered 503 SlowDown"), "S3 is busy"),
        (500, String::new(), Some("answered 500"), "no words"),
        (
            403,
            r#"{"__type":"com.amazonaws.sqs#RequestThrottled","message":"x"}"#.to_owned(),
            Some("answered 403 RequestThrottled"),
            "SQS throttles with 403",
        ),
        (
            400,
            r#"{"__type":"ThrottlingException"}"#.to_owned(),
            Some("answered 400 ThrottlingException"),
            "a code without a namespace",
        ),
        (
            403,
            xml("ExpiredToken"),
            Some("answered 403 ExpiredToken: the credentials expired; renew them if they are static"),
            "renewed by somebody",
        ),
        (
            403,
            xml("AccessDenied"),
            None,
            "answered 403 AccessDenied \"the words\": grant `sqs:SendMessage` on it to the credentials that the connector uses, and the use of its KMS key if it has one",
        ),
        (
            400,
            r#"{"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"no queue"}"#.to_owned(),
            None,
            "answered 400 QueueDoesNotExist \"no queue\": create it, or correct `errors.deadletterqueue.destination` or the region",
        ),
        (
            403,
            xml("InvalidClientTokenId"),
            None,
            "answered 403 InvalidClientTokenId \"the words\": check the access key, and the clock of this machine",
        ),
        (
            301,
            xml("PermanentRedirect"),
            None,
            "answered 301 PermanentRedirect: it is in another region: set `errors.deadletterqueue.destination.region` to its own",
        ),
        (
            418,
            "<html>secret</html>".to_owned(),
            None,
            "answered 418: this is not an answer of the service: check `errors.deadletterqueue.destination.endpoint` and the destination's name",
        ),
    ];
    for (status, body, wanted, why) in cases {
        let service = Service::start(&[(status, &body)]).await;
        let queue = open(&[(DESTINATION, QUEUE), (ENDPOINT, &service.endpoint)]);
        let found = queue.write(&record()).await.unwrap_err();
        match wanted {
            Some(text) => assert_eq!(found, later(text), "{why}"),
            None => assert_eq!(found, NotTaken::Refused(why.to_owned())),
        }
        queue.write(&record()).await.unwrap();
    }
}

#[tokio::test]
async fn a_service_that_is_away_is_waited_for() {
    let queue = open(&[(DESTINATION, QUEUE), (ENDPOINT, "http://127.0.0.1:1")]);
    let Err(NotTaken::Now(text)) = queue.write(&record()).await else {
        panic!("not waited for");
    };
    assert!(text.starts_with("127.0.0.1:1 cannot be reached"), "{text}");
}

#[test]
fn what_names_no_destination_is_refused_with_its_key() {
    type Pairs<'a> = &'a [(&'a str, &'a str)];
    let cases: [(Pairs<'_>, Pairs<'_>, &str); 13] = [
        // environment, settings, error ("" is none)
        (&[], &[(DESTINATION, QUEUE)], ""),
        (
            &[],
            &[(DESTINATION, "https://sqs.us-east-2.amazonaws.com/123456789012/failed")],
            "",
        ),
        (
            &[("AWS_REGION", "eu-west-1")],
            &[(DESTINATION, "s3://my-failures/x")],
            "",
        ),
        (
            &[],
            &[(DESTINATION, "s3://my-failures/x")],
            "errors.deadletterqueue.destination.region: `errors.deadletterqueue.destination` does not tell its region, and AWS_REGION is not set: set this",
        ),
        (
            &[],
            &[(DESTINATION, QUEUE), (REGION, "eu-west-1")],
            "errors.deadletterqueue.destination.region: is eu-west-1, but `errors.deadletterqueue.destination` is in eu-central-1: leave this out",
        ),
        (
            &[],
            &[(DESTINATION, "arn:aws:lambda:eu-central-1:123456789012:function:f")],
            "names no destination",
        ),
        (
            &[],
            &[(DESTINATION, "arn:aws:sqs:eu-central-1:123456789012:failed.fifo")],
            "use a standard one",
        ),
        (&[], &[(DESTINATION, "failed")], "names no destination"),
        (
            &[],
            &[(DESTINATION, WITH_PASSWORD)],
            "`https://***@sqs.us-east-2.amazonaws.com/123456789012/failed` names no destination",
        ),
        (
            &[("AWS_ENDPOINT_URL", "https://me:hunter2@host")],
            &[(DESTINATION, QUEUE)],
            "the environment's AWS_ENDPOINT_URL is wrong: `https://***@host` is no base URL",
        ),
        (
            &[],
            &[(REGION, "eu-west-1")],
            "errors.deadletterqueue.destination.region: has no effect without `errors.deadletterqueue.destination`",
        ),
        (
            &[],
            &[(DESTINATION, QUEUE), (ENDPOINT, "nowhere")],
            "errors.deadletterqueue.destination.endpoint: ",
        ),
        (
            &[("AWS_ENDPOINT_URL_SQS", "nowhere")],
            &[(DESTINATION, QUEUE)],
            "the environment's AWS_ENDPOINT_URL_SQS is wrong",
        ),
    ];
    for (environment, settings, wanted) in cases {
        match open_in(environment, &raw(settings)) {
            Ok(opened) => assert!(wanted.is_empty() && opened.is_some(), "{settings:?} was accepted"),
            Err(found) => assert!(!wanted.is_empty() && found.contains(wanted), "{settings:?}: {found}"),
        }
    }
    assert!(open_in(&[], &raw(&[])).unwrap().is_none(), "none is named");
    let mut half = raw(&[(DESTINATION, QUEUE)]);
    half.remove(SECRET_KEY);
    let found = open_in(&[], &half).unwrap_err();
    assert!(
        found.contains("needs both `aws.access.key.id` and `aws.secret.access.key`"),
        "{found}"
    );
}

#[test]
fn a_role_is_taken_on_with_the_connectors_own_credentials() {
    let role = [(ROLE_ARN, "arn:aws:iam::123456789012:role/r"), (ROLE_EXTERNAL_ID, "x")];
    let CredentialsPlan::Role(base, role) = credentials(&raw(&role)).unwrap() else {
        panic!("no role");
    };
    assert!(matches!(*base, CredentialsPlan::Static { .. }));
    assert_eq!((&*role.session_name, role.external_id.as_deref()), ("klamm", Some("x")));
    assert_eq!(credentials(&RawConfig::new()).unwrap(), CredentialsPlan::DefaultChain);
}

#[test]
fn a_bucket_has_a_host_of_its_own_at_s3s_own_endpoint() {
    let place = Target::parse("s3://my-failures").unwrap().place;
    let dotted = Target::parse("s3://my.failures").unwrap().place;
    let uri = |place: &Place, base: &str, is_regional: bool| {
        request::of(place, base, is_regional, "eu-west-1", &record(), String::new()).uri
    };
    let base = "https://s3.eu-west-1.amazonaws.com";
    assert!(uri(&place, base, true).starts_with("https://my-failures.s3.eu-west-1.amazonaws.com/orders%20sink/"));
    assert!(uri(&dotted, base, true).starts_with("https://s3.eu-west-1.amazonaws.com/my.failures/"));
    assert!(uri(&place, "http://e:1", false).starts_with("http://e:1/my-failures/"));
}
