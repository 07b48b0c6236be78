//! The table of errors, through the delivery engine: what becomes of the records, and what is said of it.
//! Time is paused, so a wait is as long as it was meant to be.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use klamm_aws::Environment;
use klamm_connect_api::sink::Predicates;
use klamm_connect_api::{Datum, Origin, RawConfig, SchemaAndValue, TopicPartition, Value};
use klamm_delivery::{
    About, Delivery, Destinations, Engine, EngineConfig, GivenUp, Intake, Letter, LetterRefused, Letters,
    LimitSettings, PartitionLimits, RouteHealth, WorkerLimits, WorkerMemory,
};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::*;
use crate::config::definition;

const RECORDS: i64 = 4;
const ATTEMPTS: u32 = 3;
/// A record that a function cannot bear.
const BAD: i64 = 2;

type Outcome = Result<Answer, InvokeError>;
type Script = Box<dyn Fn(usize, &str) -> Outcome + Send + Sync>;

/// Answers by the number of the call and its payload.
struct Scripted {
    script: Script,
    calls: Mutex<Vec<Seen>>,
}

/// A call: when it came, and the offsets of its records.
#[derive(Debug, Clone)]
struct Seen {
    at: Instant,
    offsets: Vec<i64>,
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scripted")
    }
}

impl Scripted {
    fn new(script: impl Fn(usize, &str) -> Outcome + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            script: Box::new(script),
            calls: Mutex::default(),
        })
    }

    fn calls(&self) -> Vec<Seen> {
        self.calls.lock().unwrap().clone()
    }
}

/// Never answers.
const HANGS: &str = "hangs";

impl Invoke for Scripted {
    fn invoke<'a>(&'a self, request: Request<'a>) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let body = String::from_utf8(request.body.to_vec()).unwrap();
            let payload: Vec<serde_json::Value> = serde_json::from_str(&body).unwrap();
            let offset = |record: &serde_json::Value| record["payload"]["offset"].as_i64().unwrap();
            let number = {
                let mut calls = self.calls.lock().unwrap();
                calls.push(Seen {
                    at: Instant::now(),
                    offsets: payload.iter().map(offset).collect(),
                });
                calls.len() - 1
            };
            let outcome = (self.script)(number, &body);
            if matches!(&outcome, Err(InvokeError::Request(text)) if text == HANGS) {
                std::future::pending::<()>().await;
            }
            outcome
        })
    }

    fn describe<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Outcome> {
        unreachable!("only a preflight asks for it")
    }

    fn refuse_credentials(&self, _: Instant) -> bool {
        false
    }
}

/// Keeps what was given up, by offset.
#[derive(Debug, Default)]
struct Kept(Mutex<BTreeMap<i64, Arc<GivenUp>>>);

impl Letters for Kept {
    fn write(&self, letters: Vec<Letter>) -> BoxFuture<'_, Result<(), LetterRefused>> {
        for letter in letters {
            let About::GivenUp(given_up) = letter.about else {
                panic!("{letter:?}")
            };
            self.0.lock().unwrap().insert(letter.origin.offset, given_up);
        }
        Box::pin(std::future::ready(Ok(())))
    }
}

/// How functions are called.
#[derive(Debug, Clone, Copy)]
struct Way {
    invocation: &'static str,
    batch: usize,
}

const WAYS: [Way; 4] = [
    Way {
        invocation: "sync",
        batch: 4,
    },
    Way {
        invocation: "sync",
        batch: 1,
    },
    Way {
        invocation: "async",
        batch: 4,
    },
    Way {
        invocation: "async",
        batch: 1,
    },
];

impl Way {
    fn accepted(self) -> Answer {
        Answer {
            status: if self.invocation == "sync" { 200 } else { 202 },
            ..Answer::default()
        }
    }

    /// Records of a call that holds all it may.
    fn records(self) -> u64 {
        u64::try_from(self.batch).unwrap()
    }
}

struct World {
    engine: Engine,
    kept: Arc<Kept>,
    sink: Arc<LambdaSink>,
    intake: Intake,
    _actors: JoinSet<()>,
}

impl World {
    async fn start(way: Way, settings: &[(&str, &str)], client: &Arc<Scripted>) -> Self {
        let batch = way.batch.to_string();
        let attempts = ATTEMPTS.to_string();
        let all = [
            ("aws.lambda.function.name", "order-fn"),
            ("aws.lambda.region", "eu-west-1"),
            ("aws.lambda.invocation.type", way.invocation),
            ("aws.access.key.id", "AKID"),
            ("aws.secret.access.key", "secret"),
            ("behavior.on.error", "dlq"),
            ("delivery.ordering", "partition"),
            ("delivery.batch.size", &batch),
            ("delivery.retry.max.attempts", &attempts),
        ];
        let all = all.iter().chain(settings);
        let raw: RawConfig = all
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let parsed = definition(&raw).parse(&raw).unwrap();
        let environment = Environment::new([("", ""); 0], || SystemTime::UNIX_EPOCH);
        let plan = Plan::try_new(&raw, &parsed, &environment).unwrap();
        let predicates = Predicates::new();
        let context = SinkContext {
            connector: "orders",
            task: 0,
            raw: &raw,
            config: &parsed,
            predicates: &predicates,
            bootstrap_servers: &[],
            keeps_results: false,
        };
        let invoke = |_: &RoutePlan| Arc::<Scripted>::clone(client) as Arc<dyn Invoke>;
        let store = |_: &RoutePlan, _: &ClaimPlan| unreachable!("no claim check is set");
        let sink = LambdaSink::new(&context, plan, invoke, store, |_| Ok::<_, ()>(Vec::new())).unwrap();
        let sink = Arc::new(sink);
        let kept = Arc::new(Kept::default());
        let config = EngineConfig {
            connector: "orders".into(),
            task: 0,
            limits: PartitionLimits::default(),
            worker_limits: Arc::new(WorkerLimits::new(LimitSettings::default())),
            seed: 1,
            wall_clock: Arc::new(|| 0),
            letters: Some(Arc::<Kept>::clone(&kept)),
            reports_skipped: false,
        };
        let mut actors = JoinSet::new();
        let memory = Arc::new(WorkerMemory::new(64 << 20));
        let (engine, _events) = Engine::start(config, Arc::<LambdaSink>::clone(&sink), memory, &mut actors);
        let intake = engine.assign(TopicPartition::new("t", 0), 1, 0);
        let mut world = Self {
            engine,
            kept,
            sink,
            intake,
            _actors: actors,
        };
        let records = (0..RECORDS).map(|offset| world.delivery(offset)).collect();
        world.intake.push(records, RECORDS).await.unwrap();
        world
    }

    fn delivery(&self, offset: i64) -> Delivery {
        let origin = Origin {
            topic_partition: TopicPartition::new("t", 0),
            offset,
        };
        let value: Datum = SchemaAndValue::schemaless(Value::Int64(offset)).into();
        let record = Record::new(origin.clone(), Datum::NULL, value);
        let encoded = self.sink.encode(RouteIndex(0), &record).unwrap();
        Delivery {
            origin,
            timestamp: None,
            key_hash: None,
            routes: Destinations::from_iter([(RouteIndex(0), encoded)]),
            original: Some(Bytes::from_static(b"original")),
            dead_letter: None,
        }
    }

    /// Waits until all records are done.
    async fn done(&self, why: &str) {
        let limit = Instant::now() + Duration::from_secs(3600);
        while self.intake.committable() < RECORDS {
            assert!(Instant::now() < limit, "{why}: {:#?}", self.engine.status());
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Waits until the route shows why it takes nothing.
    async fn outage(&self, why: &str) -> RouteHealth {
        let limit = Instant::now() + Duration::from_secs(600);
        loop {
            let health = self.engine.status().routes.remove(0).health;
            if health != RouteHealth::Up {
                return health;
            }
            assert!(Instant::now() < limit, "{why}: no outage is shown");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn exception(name: &str, status: u16) -> Answer {
    Answer {
        status,
        error_type: Some(name.to_owned()),
        request_id: Some("id-1".to_owned()),
        ..Answer::default()
    }
}

fn function_error(class: &str) -> Answer {
    let body = format!(r#"{{"errorType":"{class}","errorMessage":"secret"}}"#);
    Answer {
        status: 200,
        function_error: true,
        body_bytes: body.len(),
        body: body.into(),
        ..Answer::default()
    }
}

/// How an outage is shown.
#[derive(Debug, Clone, Copy)]
enum Shown {
    Throttled,
    Unreachable,
    /// A person has to act, as the text says.
    Unusable(&'static str),
}
use Shown::{Throttled, Unreachable, Unusable};

const VPC: &str = "correct the function's VPC configuration";
const KMS: &str = "use the KMS key";
const MOUNT: &str = "correct the function's file system";
const PACKAGE: &str = "deploy the function again";
const RUNTIME: &str = "move the function to a runtime";
const CLOCK: &str = "check the access key, and the clock";

/// Exception, status, what is shown, the least first wait in milliseconds, whether a second delivery is possible.
const WAITED_FOR: &[(&str, u16, Shown, u64, bool)] = &[
    ("TooManyRequestsException", 429, Throttled, 0, false),
    ("ServiceException", 500, Unreachable, 0, true),
    ("EC2ThrottledException", 502, Throttled, 0, false),
    ("EC2UnexpectedException", 502, Unreachable, 0, false),
    ("ENINotReadyException", 502, Unreachable, 5000, false),
    ("ENILimitReachedException", 502, Unreachable, 10_000, false),
    ("SubnetIPAddressLimitReachedException", 502, Unreachable, 10_000, false),
    ("ResourceNotReadyException", 502, Unreachable, 5000, false),
    ("ResourceConflictException", 409, Unreachable, 5000, false),
    ("SnapStartNotReadyException", 409, Unreachable, 5000, false),
    ("SnapStartTimeoutException", 408, Unreachable, 0, false),
    (
        "SnapStartException",
        400,
        Unusable("hooks that run after a restore"),
        0,
        false,
    ),
    ("SnapStartRegenerationFailureException", 409, Unreachable, 5000, false),
    ("CodeArtifactUserPendingException", 409, Unreachable, 5000, false),
    ("CodeArtifactUserDeletedException", 409, Unusable(PACKAGE), 0, false),
    ("CodeArtifactUserFailedException", 409, Unusable(PACKAGE), 0, false),
    ("EFSMountTimeoutException", 408, Unreachable, 0, false),
    ("EFSMountConnectivityException", 408, Unreachable, 0, false),
    ("EFSIOException", 410, Unreachable, 0, false),
    ("EFSMountFailureException", 403, Unusable(MOUNT), 0, false),
    ("S3FilesMountTimeoutException", 408, Unreachable, 0, false),
    ("S3FilesMountConnectivityException", 408, Unreachable, 0, false),
    ("S3FilesMountFailureException", 403, Unusable(MOUNT), 0, false),
    ("KMSAccessDeniedException", 502, Unusable(KMS), 0, false),
    ("KMSDisabledException", 502, Unusable(KMS), 0, false),
    ("KMSInvalidStateException", 502, Unusable(KMS), 0, false),
    ("KMSNotFoundException", 502, Unusable(KMS), 0, false),
    ("EC2AccessDeniedException", 502, Unusable(VPC), 0, false),
    ("InvalidSecurityGroupIDException", 502, Unusable(VPC), 0, false),
    ("InvalidSubnetIDException", 502, Unusable(VPC), 0, false),
    ("InvalidRuntimeException", 502, Unusable(RUNTIME), 0, false),
    ("InvalidZipFileException", 502, Unusable(PACKAGE), 0, false),
    ("RuntimeVersionDeletedException", 409, Unusable(RUNTIME), 0, false),
    ("RuntimeAliasDeletedException", 409, Unusable(RUNTIME), 0, false),
    (
        "NoPublishedVersionException",
        400,
        Unusable("publish a version"),
        0,
        false,
    ),
    (
        "ModeNotSupportedException",
        400,
        Unusable("change the invocation type"),
        0,
        false,
    ),
    (
        "ResourceNotFoundException",
        404,
        Unusable("create the function"),
        0,
        false,
    ),
    (
        "InvalidParameterValueException",
        400,
        Unusable("correct the function's name"),
        0,
        false,
    ),
    (
        "ServiceQuotaExceededException",
        402,
        Unusable("a quota of the account is used up"),
        0,
        false,
    ),
    (
        "UnsupportedMediaTypeException",
        415,
        Unusable("check `aws.lambda.endpoint`"),
        0,
        false,
    ),
    (
        "RecursiveInvocationException",
        400,
        Unusable("break the loop"),
        0,
        false,
    ),
    (
        "AccessDeniedException",
        403,
        Unusable("grant `lambda:InvokeFunction`"),
        0,
        false,
    ),
    ("ExpiredTokenException", 403, Unreachable, 5000, false),
    ("UnrecognizedClientException", 403, Unusable(CLOCK), 0, false),
    ("InvalidSignatureException", 403, Unusable(CLOCK), 0, false),
    ("MissingAuthenticationTokenException", 403, Unusable(CLOCK), 0, false),
    ("an unknown one", 503, Unreachable, 0, true),
    ("an unknown one", 404, Unusable("create the function"), 0, false),
];

/// Faults in a row: more than a record has attempts.
const FAULTS: usize = 7;

/// A destination that takes nothing for a while: nothing is split, no attempt is spent, the status says what and whom it
/// is about, and in the end each record arrives.
async fn is_waited_for(
    name: &str,
    way: Way,
    shown: Shown,
    first_wait: u64,
    may_have_run: bool,
    fault: impl Fn() -> Outcome + Send + Sync + 'static,
) {
    let why = format!("{name} {way:?}");
    let client = Scripted::new(move |call, _| if call < FAULTS { fault() } else { Ok(way.accepted()) });
    let world = World::start(way, &[], &client).await;
    let (failure, advice) = match (world.outage(&why).await, shown) {
        (RouteHealth::Throttled { failure, .. }, Throttled)
        | (RouteHealth::Unreachable { failure, .. }, Unreachable) => (failure, ""),
        (RouteHealth::Unusable { failure, .. }, Unusable(advice)) => (failure, advice),
        (found, _) => panic!("{why}: {found:?}"),
    };
    assert!(
        failure.message.contains("function `order-fn` in eu-west-1"),
        "{why}: {failure}"
    );
    assert!(failure.message.contains(advice), "{why}: {failure}");
    world.done(&why).await;
    let calls = client.calls();
    let first: Vec<i64> = (0..RECORDS).take(way.batch).collect();
    for call in calls.iter().take(FAULTS + 1) {
        assert_eq!(call.offsets, first, "{why}: it is sent again as it was");
    }
    let waited = calls[1].at - calls[0].at;
    assert!(waited >= Duration::from_millis(first_wait), "{why}: {waited:?}");
    let status = &world.engine.status().routes[0];
    assert_eq!(status.health, RouteHealth::Up, "{why}");
    let duplicates = if may_have_run { 7 * way.records() } else { 0 };
    assert_eq!(status.possible_duplicates, duplicates, "{why}");
    let fates = (
        status.delivered_records,
        status.dead_lettered_records,
        status.skipped_records,
    );
    assert_eq!(fates, (4, 0, 0), "{why}");
}

#[tokio::test(start_paused = true)]
async fn what_the_destination_lacks_is_waited_for_whatever_the_exception() {
    for &(name, status, shown, first_wait, may_have_run) in WAITED_FOR {
        for way in WAYS {
            is_waited_for(name, way, shown, first_wait, may_have_run, move || {
                Ok(exception(name, status))
            })
            .await;
        }
    }
    for way in WAYS {
        for class in [
            "Runtime.ImportModuleError",
            "Runtime.HandlerNotFound",
            "Runtime.UserCodeSyntaxError",
        ] {
            let advice = Unusable("correct its code, handler or package");
            is_waited_for(class, way, advice, 0, false, || Ok(function_error(class))).await;
        }
        let away = || {
            Err(InvokeError::Connect {
                endpoint: "http://e".to_owned(),
                reason: "refused".to_owned(),
            })
        };
        is_waited_for("no connection", way, Unreachable, 0, false, away).await;
        let without = || Err(InvokeError::Credentials("none".to_owned()));
        is_waited_for("no credentials", way, Unreachable, 0, false, without).await;
        let throttled = || {
            let body = r#"{"Reason":"CallerRateLimitExceeded","retryAfterSeconds":"20"}"#;
            let answer = exception("TooManyRequestsException", 429);
            Ok(Answer {
                body: body.into(),
                body_bytes: body.len(),
                ..answer
            })
        };
        // A limit that is closed lets one call go every 5 s.
        is_waited_for("a throttle that asks for 20 s", way, Throttled, 5_000, false, throttled).await;
        let after = || {
            Ok(Answer {
                retry_after: Some(Duration::from_secs(8)),
                ..exception("ServiceException", 500)
            })
        };
        is_waited_for("an outage that asks for 8 s", way, Unreachable, 8_000, true, after).await;
    }
}

/// What happens to a record that fails whenever it is sent: the good ones arrive, it goes to the error policy.
async fn is_given_up(
    name: &str,
    way: Way,
    class: &str,
    attempts: u32,
    is_duplicate: bool,
    fault: impl Fn() -> Outcome + Send + Sync + 'static,
) {
    let why = format!("{name} {way:?}");
    let has_bad = |body: &str| body.contains(&format!("\"offset\":{BAD},"));
    let client = Scripted::new(move |_, body| if has_bad(body) { fault() } else { Ok(way.accepted()) });
    let world = World::start(way, &[], &client).await;
    world.done(&why).await;
    let status = &world.engine.status().routes[0];
    assert_eq!(status.health, RouteHealth::Up, "{why}: it is no outage");
    assert_eq!(
        (status.delivered_records, status.dead_lettered_records),
        (3, 1),
        "{why}"
    );
    let kept = world.kept.0.lock().unwrap();
    let (offset, given_up) = kept.first_key_value().unwrap();
    assert_eq!(
        (*offset, given_up.attempts, &*given_up.failure.class),
        (BAD, attempts, class),
        "{why}"
    );
    let message = &given_up.failure.message;
    assert!(
        class == "CallTimeout" || message.contains("function `order-fn` in eu-west-1"),
        "{why}: {message}"
    );
    assert!(!message.contains("secret"), "{why}: a function's words stay out of it");
    let with_bad: Vec<Seen> = client
        .calls()
        .into_iter()
        .filter(|call| call.offsets.contains(&BAD))
        .collect();
    let sizes: Vec<usize> = with_bad.iter().map(|call| call.offsets.len()).collect();
    let wanted: &[usize] = match (way.batch, attempts) {
        (1, 0) => &[1],
        (1, _) => &[1; ATTEMPTS as usize],
        // At once in halves, down to the record.
        (_, 0) => &[4, 2, 1],
        // Once more as it was, then in halves; alone it has one call left.
        _ => &[4, 4, 2, 1],
    };
    assert_eq!(sizes, wanted, "{why}: {with_bad:?}");
    let duplicates: usize = if is_duplicate { sizes.iter().sum() } else { 0 };
    assert_eq!(status.possible_duplicates, u64::try_from(duplicates).unwrap(), "{why}");
    let good: Vec<i64> = (0..RECORDS).filter(|offset| *offset != BAD).collect();
    for offset in good {
        let times = client
            .calls()
            .iter()
            .filter(|call| call.offsets.contains(&offset) && !call.offsets.contains(&BAD))
            .count();
        assert_eq!(times, 1, "{why}: {offset} arrives once without the bad one");
    }
}

#[tokio::test(start_paused = true)]
async fn what_records_are_to_blame_for_is_tried_split_and_given_up() {
    for way in WAYS {
        let refusals = [
            ("RequestTooLargeException", 413),
            ("SerializedRequestEntityTooLargeException", 413),
            ("InvalidRequestContentException", 400),
            ("DurableExecutionAlreadyStartedException", 409),
        ];
        for (name, status) in refusals {
            is_given_up(name, way, name, 0, false, move || Ok(exception(name, status))).await;
        }
        for class in ["Sandbox.Timedout", "Runtime.ExitError", "ValueError"] {
            let attempts = counted(way);
            is_given_up(class, way, class, attempts, false, || Ok(function_error(class))).await;
        }
        let broken = || {
            Err(InvokeError::Broken {
                endpoint: "http://e".to_owned(),
                reason: "reset".to_owned(),
            })
        };
        is_given_up("a reset", way, "ConnectionBroken", counted(way), true, broken).await;
        let hangs = || Err(InvokeError::Request(HANGS.to_owned()));
        is_given_up("no answer", way, "CallTimeout", counted(way), true, hangs).await;
    }
    // Its work is done, and nobody asked for what it could not return.
    for way in WAYS {
        let client = Scripted::new(|_, _| Ok(function_error("Function.ResponseSizeTooLarge")));
        let world = World::start(way, &[], &client).await;
        world.done("an answer too large").await;
        assert_eq!(world.engine.status().routes[0].delivered_records, 4, "{way:?}");
    }
}

/// Calls that count for a record that fails whenever it is sent.
fn counted(way: Way) -> u32 {
    if way.batch == 1 { ATTEMPTS } else { ATTEMPTS + 1 }
}

/// The error policy decides over what is given up, and over nothing else.
#[tokio::test(start_paused = true)]
async fn each_error_policy_is_applied_to_the_record_alone() {
    let cases = [
        // policy, delivered, skipped, dead letters, failed
        ("dlq", 3, 0, 1, 0),
        ("log", 3, 1, 0, 0),
        ("ignore", 3, 1, 0, 0),
        ("fail", 2, 0, 0, 1),
    ];
    for (policy, delivered, skipped, dead, failed) in cases {
        for way in WAYS {
            let fault = |body: &str| body.contains(&format!("\"offset\":{BAD},"));
            let client = Scripted::new(move |_, body| match fault(body) {
                true => Ok(function_error("ValueError")),
                false => Ok(way.accepted()),
            });
            let world = World::start(way, &[("behavior.on.error", policy)], &client).await;
            let why = format!("{policy} {way:?}");
            if policy == "fail" {
                let limit = Instant::now() + Duration::from_secs(3600);
                while world.engine.status().failed_records == 0 {
                    assert!(Instant::now() < limit, "{why}");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                assert_eq!(world.intake.committable(), BAD, "{why}: its offset is not committed");
            } else {
                world.done(&why).await;
            }
            let status = world.engine.status();
            let route = &status.routes[0];
            assert_eq!(
                (
                    route.delivered_records,
                    route.skipped_records,
                    route.dead_lettered_records,
                    status.failed_records
                ),
                (delivered, skipped, dead, failed),
                "{why}"
            );
        }
    }
}
