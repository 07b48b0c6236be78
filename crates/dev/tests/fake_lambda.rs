//! The stand-in as a client sees it, over a plain hyper connection.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use klamm_dev::{Answer, Credentials, Exception, FakeLambda, Gate, InvocationType, Outcome, Recording, ThrottleReason};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

struct Call {
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

fn call(function: &str) -> Call {
    let path = format!("/2015-03-31/functions/{function}/invocations");
    Call {
        path,
        headers: vec![("host", "localhost".to_owned())],
        body: Bytes::from_static(b"{}"),
    }
}

impl Call {
    fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    async fn send(self, lambda: &FakeLambda) -> Result<Reply, hyper::Error> {
        let stream = TcpStream::connect(lambda.address()).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let mut request = Request::post(self.path);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        let response = sender.send_request(request.body(Full::new(self.body)).unwrap()).await?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Reply {
            status: parts.status,
            headers: parts.headers,
            body,
        })
    }
}

#[tokio::test]
async fn a_function_answers_null_until_told_otherwise_and_the_script_goes_first() {
    let lambda = FakeLambda::start().await.unwrap();
    let orders = lambda.function("order-fn");
    let reply = call("order-fn").send(&lambda).await.unwrap();
    assert_eq!((reply.status, &*reply.body), (StatusCode::OK, &b"null"[..]));
    assert_eq!(reply.header("x-amz-executed-version"), Some("$LATEST"));
    assert!(reply.header("x-amzn-requestid").is_some());

    orders
        .respond(Answer::success("\"default\""))
        .script([Answer::success("1"), Answer::success("2")]);
    for wanted in ["1", "2", "\"default\"", "\"default\""] {
        assert_eq!(call("order-fn").send(&lambda).await.unwrap().body, wanted);
    }
    assert_eq!(orders.script_left(), 0);
    assert_eq!(orders.counts().accepted, 5);
}

#[tokio::test]
async fn names_qualifiers_and_arns_reach_the_same_function() {
    let lambda = FakeLambda::start().await.unwrap();
    lambda
        .function("f")
        .respond_with(|call| Answer::success(json!(call.qualifier).to_string()));
    let cases = [
        // path segment and query, qualifier, executed version, why
        ("f", None, "$LATEST", "a bare name"),
        ("f:7", Some("7"), "7", "a version in the name"),
        ("f%3Aprod", Some("prod"), "1", "an escaped colon"),
        (
            "arn%3Aaws%3Alambda%3Aeu-west-1%3A123456789012%3Afunction%3Af",
            None,
            "$LATEST",
            "an ARN",
        ),
        (
            "arn:aws:lambda:eu-west-1:123456789012:function:f:prod",
            Some("prod"),
            "1",
            "an ARN with an alias",
        ),
        ("123456789012:function:f", None, "$LATEST", "a partial ARN"),
    ];
    for (name, qualifier, version, why) in cases {
        let reply = call(name).send(&lambda).await.unwrap();
        assert_eq!(
            (reply.json(), reply.header("x-amz-executed-version")),
            (json!(qualifier), Some(version)),
            "{why}"
        );
    }
    let mut with_query = call("f");
    with_query.path.push_str("?Qualifier=%24LATEST");
    assert_eq!(with_query.send(&lambda).await.unwrap().json(), json!("$LATEST"));
    let mut contradiction = call("f:1");
    contradiction.path.push_str("?Qualifier=2");
    let reply = contradiction.send(&lambda).await.unwrap();
    assert_eq!(reply.header("x-amzn-errortype"), Some("InvalidParameterValueException"));
}

#[tokio::test]
async fn the_invocation_type_sets_the_status() {
    let lambda = FakeLambda::start().await.unwrap();
    let f = lambda.function("f");
    f.respond(Answer::function_error("Error", "boom"));
    let send = |kind: &'static str| call("f").header("x-amz-invocation-type", kind).send(&lambda);

    let sync = send("RequestResponse").await.unwrap();
    assert_eq!(
        (sync.status, sync.header("x-amz-function-error")),
        (StatusCode::OK, Some("Unhandled"))
    );
    assert_eq!(sync.json()["errorMessage"], "boom");
    let queued = send("Event").await.unwrap();
    assert_eq!(
        (queued.status, queued.header("x-amz-function-error")),
        (StatusCode::ACCEPTED, None)
    );
    assert!(queued.body.is_empty());
    assert_eq!(send("DryRun").await.unwrap().status, StatusCode::NO_CONTENT);
    assert_eq!(send("Later").await.unwrap().status, StatusCode::BAD_REQUEST);

    lambda.with_log(|log| {
        let seen: Vec<_> = log
            .invocations()
            .map(|call| (call.invocation_type, call.outcome))
            .collect();
        assert_eq!(
            seen,
            [
                (InvocationType::RequestResponse, Outcome::FunctionError),
                (InvocationType::Event, Outcome::Accepted),
                (InvocationType::DryRun, Outcome::Accepted),
            ]
        );
    });
}

#[tokio::test]
async fn every_exception_has_its_status_name_and_blame() {
    let lambda = FakeLambda::start().await.unwrap();
    let f = lambda.function("f");
    for &exception in Exception::ALL {
        assert_eq!(Exception::from_name(exception.name()), Some(exception));
        f.script([Answer::exception(exception)]);
        let reply = call("f").send(&lambda).await.unwrap();
        assert_eq!(
            (reply.status, reply.header("x-amzn-errortype")),
            (exception.status(), Some(exception.name()))
        );
        let body = reply.json();
        assert_eq!(
            body["Type"],
            if reply.status.is_server_error() {
                "Server"
            } else {
                "User"
            },
            "{exception:?}"
        );
        assert!(
            body.get("message").or(body.get("Message")).is_some(),
            "{exception:?} has no text"
        );
    }
}

#[tokio::test]
async fn a_throttle_says_why_and_for_how_long() {
    let lambda = FakeLambda::start().await.unwrap();
    lambda
        .function("f")
        .script([Answer::throttled(ThrottleReason::CallerRateLimitExceeded, Some(7))]);
    let reply = call("f").send(&lambda).await.unwrap();
    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (StatusCode::TOO_MANY_REQUESTS, Some("7"))
    );
    assert_eq!(reply.json()["Reason"], "CallerRateLimitExceeded");
    assert_eq!(reply.json()["retryAfterSeconds"], "7");
}

#[tokio::test]
async fn an_unknown_function_is_not_found() {
    let lambda = FakeLambda::start().await.unwrap();
    lambda.function("gone");
    lambda.remove_function("gone");
    for (name, arn) in [
        ("nope", "arn:aws:lambda:us-east-1:000000000000:function:nope"),
        ("gone:prod", "arn:aws:lambda:us-east-1:000000000000:function:gone:prod"),
        (
            "arn:aws:lambda:eu-west-1:1:function:x",
            "arn:aws:lambda:eu-west-1:1:function:x",
        ),
    ] {
        let reply = call(name).send(&lambda).await.unwrap();
        assert_eq!(reply.status, StatusCode::NOT_FOUND);
        assert_eq!(reply.json()["Message"], format!("Function not found: {arn}"));
    }
}

#[tokio::test]
async fn payloads_are_limited_as_aws_limits_them() {
    let lambda = FakeLambda::start().await.unwrap();
    lambda.function("f");
    let text = |bytes: usize| Bytes::from(format!("\"{}\"", "x".repeat(bytes - 2)));
    let cases = [
        // type, bytes, status
        ("RequestResponse", 6_291_456, 200),
        ("RequestResponse", 6_291_457, 413),
        ("Event", 1_048_576, 202),
        ("Event", 1_048_577, 413),
    ];
    for (kind, bytes, status) in cases {
        let reply = call("f")
            .header("x-amz-invocation-type", kind)
            .body(text(bytes))
            .send(&lambda)
            .await
            .unwrap();
        assert_eq!(reply.status, status, "{kind} with {bytes} bytes");
    }
    let reply = call("f").body("{no json").send(&lambda).await.unwrap();
    assert_eq!(reply.header("x-amzn-errortype"), Some("InvalidRequestContentException"));
    lambda.with_log(|log| assert_eq!(log.invocations().next().unwrap().body, text(6_291_456)));
}

#[tokio::test]
async fn broken_connections_are_errors_of_the_caller_and_known_to_the_log() {
    let lambda = FakeLambda::start().await.unwrap();
    let f = lambda.function("f");
    for answer in [
        Answer::close_unread(),
        Answer::close(),
        Answer::reset(),
        Answer::half("[1,2,3,4]"),
    ] {
        f.script([answer.clone()]);
        assert!(call("f").send(&lambda).await.is_err(), "{answer:?} was answered");
    }
    assert_eq!(
        call("f").send(&lambda).await.unwrap().status,
        StatusCode::OK,
        "the server goes on"
    );
    lambda.with_log(|log| {
        let outcomes: Vec<_> = log.invocations_of("f").map(|call| call.outcome).collect();
        assert_eq!(outcomes[..4], [Outcome::Broken; 4]);
    });
}

#[tokio::test]
async fn a_server_that_is_away_refuses_connections_and_comes_back_on_its_port() {
    let lambda = FakeLambda::start().await.unwrap();
    lambda.function("f");
    let mut open = TcpStream::connect(lambda.address()).await.unwrap();
    lambda.refuse_connections(true);
    // It closes what was open; from then on nobody gets through.
    assert_eq!(open.read(&mut [0]).await.unwrap(), 0);
    let refused = loop {
        match TcpStream::connect(lambda.address()).await {
            // Its connections end a moment before it stops to listen.
            Ok(_) => tokio::task::yield_now().await,
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    lambda.refuse_connections(false);
    while TcpStream::connect(lambda.address()).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(call("f").send(&lambda).await.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn half_an_answer_announces_the_whole_and_sends_half() {
    let lambda = FakeLambda::start().await.unwrap();
    lambda.function("f").script([Answer::half("12345678")]);
    let mut stream = TcpStream::connect(lambda.address()).await.unwrap();
    let request = b"POST /2015-03-31/functions/f/invocations HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}";
    stream.write_all(request).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(
        text.contains("content-length: 8") && text.ends_with("\r\n\r\n1234"),
        "{text}"
    );
}

#[tokio::test]
async fn a_reset_is_a_reset_and_a_close_is_an_orderly_end() {
    let lambda = FakeLambda::start().await.unwrap();
    lambda.function("f").script([Answer::reset(), Answer::close()]);
    let mut ends = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(lambda.address()).await.unwrap();
        let request = b"POST /2015-03-31/functions/f/invocations HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}";
        stream.write_all(request).await.unwrap();
        ends.push(stream.read(&mut [0; 64]).await.map_err(|err| err.kind()));
    }
    assert_eq!(ends, [Err(std::io::ErrorKind::ConnectionReset), Ok(0)]);
}

#[tokio::test]
async fn held_answers_wait_for_their_gate_and_concurrency_is_limited() {
    let lambda = FakeLambda::start().await.unwrap();
    let gate = Gate::new();
    let f = lambda.function("f");
    f.respond(Answer::success("1").held_by(&gate))
        .reserve_concurrency(Some(2));
    let mut calls = JoinSet::new();
    let address = lambda.endpoint();
    assert!(address.starts_with("http://127.0.0.1:"));
    let lambda = std::sync::Arc::new(lambda);
    for _ in 0..2 {
        let lambda = std::sync::Arc::clone(&lambda);
        calls.spawn(async move { call("f").send(&lambda).await.unwrap().status });
    }
    lambda
        .wait_for("two calls in flight", |log| log.counts("f").in_flight == 2)
        .await
        .unwrap();
    let third = call("f").send(&lambda).await.unwrap();
    assert_eq!(
        third.json()["Reason"],
        "ReservedFunctionConcurrentInvocationLimitExceeded"
    );
    gate.open();
    assert_eq!(calls.join_all().await, [StatusCode::OK; 2]);
    let counts = f.counts();
    assert_eq!(
        (counts.calls, counts.accepted, counts.failed, counts.in_flight),
        (3, 2, 1, 0)
    );
}

#[tokio::test]
async fn a_caller_that_goes_away_is_logged_as_abandoned() {
    let lambda = std::sync::Arc::new(FakeLambda::start().await.unwrap());
    lambda.function("f").respond(Answer::success("1").held_by(&Gate::new()));
    let mut calls = JoinSet::new();
    let caller = std::sync::Arc::clone(&lambda);
    calls.spawn(async move { call("f").send(&caller).await.map(|reply| reply.status) });
    lambda
        .wait_for("the call", |log| log.counts("f").in_flight == 1)
        .await
        .unwrap();
    calls.shutdown().await;
    let gone = |log: &klamm_dev::Log| log.invocations().all(|call| call.outcome == Outcome::Abandoned);
    lambda.wait_for("the end of the call", gone).await.unwrap();
}

#[tokio::test]
async fn a_delayed_answer_comes_after_its_delay() {
    let lambda = FakeLambda::start().await.unwrap();
    lambda
        .function("f")
        .script([Answer::success("1").after(Duration::from_millis(40))]);
    let begin = tokio::time::Instant::now();
    call("f").send(&lambda).await.unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(40));
}

#[tokio::test]
async fn a_wait_that_fails_says_for_what_and_what_was_seen() {
    let lambda = FakeLambda::builder()
        .wait_limit(Duration::from_millis(1))
        .start()
        .await
        .unwrap();
    lambda.function("f");
    call("f").send(&lambda).await.unwrap();
    let err = lambda
        .wait_for("two calls", |log| log.total().calls == 2)
        .await
        .unwrap_err();
    assert_eq!(
        err.to_string(),
        "waited 1ms for two calls; seen so far: 1 calls; f: 1 calls, 1 accepted, 0 failed, 0 in flight"
    );
}

#[tokio::test]
async fn memory_is_bounded_by_the_recording_and_counting_keeps_no_payload() {
    let lambda = FakeLambda::builder()
        .recording(Recording::Full { limit: 2 })
        .start()
        .await
        .unwrap();
    lambda.function("f");
    for _ in 0..5 {
        call("f").send(&lambda).await.unwrap();
    }
    lambda.with_log(|log| {
        let kept: Vec<_> = log.invocations().map(|call| (call.sequence, call.outcome)).collect();
        assert_eq!(kept, [(3, Outcome::Accepted), (4, Outcome::Accepted)]);
        assert_eq!(log.forgotten(), 3);
    });

    let lambda = FakeLambda::builder()
        .recording(Recording::CountOnly)
        .start()
        .await
        .unwrap();
    let f = lambda.function("f");
    call("f").body(vec![b'x'; 100_000]).send(&lambda).await.unwrap();
    assert_eq!((f.counts().calls, f.counts().payload_bytes), (1, 100_000));
    assert_eq!(lambda.with_log(|log| log.invocations().count()), 0);
}

#[tokio::test]
async fn the_port_is_free_again_after_the_end() {
    let lambda = FakeLambda::start().await.unwrap();
    let port = lambda.address().port();
    lambda.shutdown().await;
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
    FakeLambda::builder().port(port).start().await.unwrap();
}

/// AWS's published example of the signing steps covers GET on IAM; this request was signed with the AWS SDK's signer.
mod signatures {
    use super::*;
    use std::time::{Duration, SystemTime};

    use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
    use aws_sigv4::sign::v4;

    fn credentials(token: Option<&str>) -> Credentials {
        Credentials {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
            session_token: token.map(str::to_owned),
        }
    }

    fn signed(lambda: &FakeLambda, credentials: &Credentials, path: &str, body: &'static [u8]) -> Call {
        let identity = aws_credential_types::Credentials::new(
            &credentials.access_key_id,
            &credentials.secret_access_key,
            credentials.session_token.clone(),
            None,
            "test",
        )
        .into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region("eu-west-1")
            .name("lambda")
            .time(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000))
            .settings(SigningSettings::default())
            .build()
            .unwrap()
            .into();
        let host = lambda.address().to_string();
        let uri = format!("http://{host}{path}");
        let headers = [("host", host.as_str()), ("x-amz-invocation-type", "RequestResponse")];
        let request = SignableRequest::new("POST", uri, headers.into_iter(), SignableBody::Bytes(body)).unwrap();
        let (instructions, _signature) = sign(request, &params).unwrap().into_parts();
        let (signed_headers, _query) = instructions.into_parts();
        let mut call = Call {
            path: path.to_owned(),
            headers: headers
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned()))
                .collect(),
            body: Bytes::from_static(body),
        };
        for header in signed_headers {
            call.headers.push((header.name(), header.value().to_owned()));
        }
        call
    }

    async fn server(credentials: &Credentials) -> FakeLambda {
        let lambda = FakeLambda::builder()
            .verify_signatures(credentials.clone())
            .start()
            .await
            .unwrap();
        lambda.function("f");
        lambda
    }

    const PATHS: [&str; 3] = [
        "/2015-03-31/functions/f/invocations",
        "/2015-03-31/functions/f/invocations?Qualifier=%24LATEST",
        "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu-west-1%3A1%3Afunction%3Af/invocations",
    ];

    #[tokio::test]
    async fn what_the_sdk_signs_is_accepted() {
        for token in [None, Some("session-token")] {
            let credentials = credentials(token);
            let lambda = server(&credentials).await;
            for path in PATHS {
                let reply = signed(&lambda, &credentials, path, b"[1]").send(&lambda).await.unwrap();
                assert_eq!(reply.status, StatusCode::OK, "{path} with {token:?}: {:?}", reply.body);
            }
        }
    }

    #[tokio::test]
    async fn a_wrong_signature_key_or_token_is_refused() {
        let good = credentials(None);
        let lambda = server(&good).await;
        let error_type = async |call: Call| {
            let reply = call.send(&lambda).await.unwrap();
            assert_eq!(reply.status, StatusCode::FORBIDDEN);
            reply.header("x-amzn-errortype").unwrap().to_owned()
        };
        assert_eq!(error_type(call("f")).await, "MissingAuthenticationTokenException");
        let other_body = signed(&lambda, &good, PATHS[0], b"[1]").body("[2]");
        assert_eq!(error_type(other_body).await, "InvalidSignatureException");
        let other_secret = Credentials {
            secret_access_key: "other".to_owned(),
            ..good.clone()
        };
        assert_eq!(
            error_type(signed(&lambda, &other_secret, PATHS[0], b"[1]")).await,
            "InvalidSignatureException"
        );
        let other_key = Credentials {
            access_key_id: "OTHER".to_owned(),
            ..good.clone()
        };
        assert_eq!(
            error_type(signed(&lambda, &other_key, PATHS[0], b"[1]")).await,
            "UnrecognizedClientException"
        );
        let stale_token = credentials(Some("stale"));
        assert_eq!(
            error_type(signed(&lambda, &stale_token, PATHS[0], b"[1]")).await,
            "UnrecognizedClientException"
        );
    }
}
