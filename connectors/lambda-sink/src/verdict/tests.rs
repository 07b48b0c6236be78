use bytes::Bytes;
use klamm_connect_api::sink::RouteIndex;
use klamm_connect_api::{Origin, TopicPartition};

use super::*;
use crate::config::Schemaless;

fn destination(invocation: InvocationType, format: EventFormat) -> Destination {
    Destination {
        function: "order-fn".to_owned(),
        function_key: "aws.lambda.function.name".to_owned(),
        region: "eu-west-1".to_owned(),
        invocation,
        format,
    }
}

fn esm() -> EventFormat {
    EventFormat::Esm {
        source_arn: None,
        bootstrap_servers: String::new(),
    }
}

fn call() -> Call {
    let partition = TopicPartition::new("orders", 0);
    let origins = (40..43).map(|offset| Origin {
        topic_partition: partition.clone(),
        offset,
    });
    Call {
        route: RouteIndex(0),
        body: Bytes::new(),
        origins: origins.collect(),
    }
}

fn answer(status: u16, body: &'static str) -> Answer {
    Answer {
        status,
        body: Bytes::from_static(body.as_bytes()),
        body_bytes: body.len(),
        request_id: Some("id-1".to_owned()),
        ..Answer::default()
    }
}

fn judged(invocation: InvocationType, format: EventFormat, answer: Answer) -> Verdict {
    judge(&destination(invocation, format), &call(), Ok(answer), || false)
}

/// The verdict in short, with the asked wait in milliseconds.
fn short(verdict: &Verdict) -> String {
    let wait = |after: &Option<Duration>| after.map_or(String::new(), |after| format!(" {}", after.as_millis()));
    match verdict {
        Verdict::Accepted => "accepted".to_owned(),
        Verdict::PartlyAccepted { failed, .. } => format!("partly {failed:?}"),
        Verdict::Retry { after, outcome, .. } => format!("retry {outcome:?}{}", wait(after)),
        Verdict::Failed { .. } => "failed".to_owned(),
        Verdict::Throttled { by, after, .. } => format!("throttled {by:?}{}", wait(after)),
        Verdict::Poison { .. } => "poison".to_owned(),
        Verdict::Unusable { .. } => "unusable".to_owned(),
    }
}

fn failure(verdict: &Verdict) -> &Failure {
    match verdict {
        Verdict::Accepted => panic!("accepted has no failure"),
        Verdict::PartlyAccepted { failure, .. }
        | Verdict::Retry { failure, .. }
        | Verdict::Failed { failure }
        | Verdict::Throttled { failure, .. }
        | Verdict::Poison { failure }
        | Verdict::Unusable { failure } => failure,
    }
}

#[test]
fn every_exception_of_the_catalogue_has_its_verdict_sync_and_async() {
    let rows = [
        ("TooManyRequestsException", 429, "throttled Function"),
        ("ServiceException", 500, "retry Unknown"),
        ("EC2ThrottledException", 502, "throttled Function"),
        ("EC2UnexpectedException", 502, "retry NotRun"),
        ("ENINotReadyException", 502, "retry NotRun 5000"),
        ("ENILimitReachedException", 502, "retry NotRun 10000"),
        ("SubnetIPAddressLimitReachedException", 502, "retry NotRun 10000"),
        ("ResourceNotReadyException", 502, "retry NotRun 5000"),
        ("ResourceConflictException", 409, "retry NotRun 5000"),
        ("SnapStartNotReadyException", 409, "retry NotRun 5000"),
        ("SnapStartTimeoutException", 408, "retry NotRun"),
        ("SnapStartException", 400, "unusable"),
        ("SnapStartRegenerationFailureException", 409, "retry NotRun 5000"),
        ("CodeArtifactUserPendingException", 409, "retry NotRun 5000"),
        ("CodeArtifactUserDeletedException", 409, "unusable"),
        ("CodeArtifactUserFailedException", 409, "unusable"),
        ("EFSMountTimeoutException", 408, "retry NotRun"),
        ("EFSMountConnectivityException", 408, "retry NotRun"),
        ("EFSIOException", 410, "retry NotRun"),
        ("EFSMountFailureException", 403, "unusable"),
        ("S3FilesMountTimeoutException", 408, "retry NotRun"),
        ("S3FilesMountConnectivityException", 408, "retry NotRun"),
        ("S3FilesMountFailureException", 403, "unusable"),
        ("KMSAccessDeniedException", 502, "unusable"),
        ("KMSDisabledException", 502, "unusable"),
        ("KMSInvalidStateException", 502, "unusable"),
        ("KMSNotFoundException", 502, "unusable"),
        ("EC2AccessDeniedException", 502, "unusable"),
        ("InvalidSecurityGroupIDException", 502, "unusable"),
        ("InvalidSubnetIDException", 502, "unusable"),
        ("InvalidRuntimeException", 502, "unusable"),
        ("InvalidZipFileException", 502, "unusable"),
        ("RuntimeVersionDeletedException", 409, "unusable"),
        ("RuntimeAliasDeletedException", 409, "unusable"),
        ("NoPublishedVersionException", 400, "unusable"),
        ("ModeNotSupportedException", 400, "unusable"),
        ("ResourceNotFoundException", 404, "unusable"),
        ("InvalidParameterValueException", 400, "unusable"),
        ("ServiceQuotaExceededException", 402, "unusable"),
        ("RequestTooLargeException", 413, "poison"),
        ("SerializedRequestEntityTooLargeException", 413, "poison"),
        ("InvalidRequestContentException", 400, "poison"),
        ("UnsupportedMediaTypeException", 415, "unusable"),
        ("RecursiveInvocationException", 400, "unusable"),
        ("DurableExecutionAlreadyStartedException", 409, "poison"),
        ("AccessDeniedException", 403, "unusable"),
        ("ExpiredTokenException", 403, "retry NotRun 5000"),
        ("UnrecognizedClientException", 403, "unusable"),
        ("InvalidSignatureException", 403, "unusable"),
        ("MissingAuthenticationTokenException", 403, "unusable"),
    ];
    assert_eq!(rows.len(), CATALOGUE.len(), "a row of the catalogue has no row here");
    for (exception, status, wanted) in rows {
        assert!(
            CATALOGUE.iter().any(|row| row.0 == exception && row.1 == status),
            "{exception} {status}"
        );
        for invocation in [InvocationType::Sync, InvocationType::Async] {
            for error_type in [
                exception.to_owned(),
                format!("{exception}:http://internal.amazon.com/coral/"),
            ] {
                let answer = Answer {
                    error_type: Some(error_type),
                    ..answer(status, "{}")
                };
                let verdict = judged(invocation, EventFormat::Confluent(Schemaless::Json), answer);
                assert_eq!(short(&verdict), wanted, "{exception}");
                assert_eq!(&*failure(&verdict).class, exception);
                let message = &failure(&verdict).message;
                assert!(message.contains("function `order-fn` in eu-west-1"), "{message}");
            }
        }
    }
}

#[test]
fn an_unknown_error_is_judged_by_its_status() {
    let rows = [
        (204, "unusable", "not an answer of Invoke"),
        (301, "unusable", "another endpoint"),
        (400, "unusable", "never dropped for a reason that nobody knows"),
        (403, "unusable", "permission"),
        (404, "unusable", "missing"),
        (408, "retry NotRun", "time-out"),
        (409, "retry NotRun 5000", "conflict"),
        (413, "poison", "too large"),
        (429, "throttled Function", "without a reason"),
        (500, "retry Unknown", "server"),
        (503, "retry Unknown", "a load balancer's page"),
    ];
    for (status, wanted, why) in rows {
        let verdict = judged(InvocationType::Sync, esm(), answer(status, "<html>"));
        assert_eq!(short(&verdict), wanted, "{status}: {why}");
        assert_eq!(&*failure(&verdict).class, format!("HTTP {status}"));
        assert_eq!(failure(&verdict).request_id.as_deref(), Some("id-1"));
    }
}

#[test]
fn a_throttle_slows_whom_its_reason_names_and_waits_as_asked_within_bounds() {
    let rows = [
        (
            r#"{"Reason":"ReservedFunctionConcurrentInvocationLimitExceeded"}"#,
            None,
            "throttled Function",
        ),
        (
            r#"{"Reason":"ReservedFunctionInvocationRateLimitExceeded"}"#,
            None,
            "throttled Function",
        ),
        (
            r#"{"Reason":"ConcurrentInvocationLimitExceeded"}"#,
            None,
            "throttled Account",
        ),
        (
            r#"{"Reason":"FunctionInvocationRateLimitExceeded"}"#,
            None,
            "throttled Account",
        ),
        (
            r#"{"Reason":"ConcurrentSnapshotCreateLimitExceeded"}"#,
            None,
            "throttled Account",
        ),
        (r#"{"Reason":"CallerRateLimitExceeded"}"#, None, "throttled Caller"),
        (r#"{"retryAfterSeconds":"2"}"#, None, "throttled Function 2000"),
        (r#"{"retryAfterSeconds":0.5}"#, Some(9), "throttled Function 500"),
        (r#"{"retryAfterSeconds":"soon"}"#, Some(3), "throttled Function 3000"),
        (r#"{"retryAfterSeconds":"0"}"#, None, "throttled Function"),
        (r#"{"retryAfterSeconds":-1}"#, None, "throttled Function"),
        (r#"{"retryAfterSeconds":1e300}"#, None, "throttled Function"),
        ("not JSON", Some(86_400), "throttled Function 60000"),
    ];
    for (body, header, wanted) in rows {
        let answer = Answer {
            retry_after: header.map(Duration::from_secs),
            ..answer(429, body)
        };
        assert_eq!(
            short(&judged(InvocationType::Sync, esm(), answer)),
            wanted,
            "{body} {header:?}"
        );
    }
}

#[test]
fn missing_functions_and_permissions_are_named_with_what_to_do() {
    let rows = [
        (
            404,
            "ResourceNotFoundException",
            r#"{"Type":"User","Message":"Function not found: arn:x"}"#,
            "function `order-fn` in eu-west-1 answered 404 \"Function not found: arn:x\": create the function, version or \
             alias, or correct the name or the region (`aws.lambda.function.name`)",
        ),
        (
            403,
            "AccessDeniedException",
            "{}",
            "function `order-fn` in eu-west-1 answered 403: grant `lambda:InvokeFunction` on it to the credentials that the \
             sink uses (`aws.lambda.function.name`)",
        ),
    ];
    for (status, exception, body, wanted) in rows {
        let answer = Answer {
            error_type: Some(exception.to_owned()),
            ..answer(status, body)
        };
        assert_eq!(&*failure(&judged(InvocationType::Sync, esm(), answer)).message, wanted);
    }
}

#[test]
fn refused_credentials_are_replaced_once_if_there_are_new_ones() {
    for (exception, new_ones, wanted) in [
        ("UnrecognizedClientException", true, "retry NotRun"),
        ("InvalidSignatureException", true, "retry NotRun"),
        ("InvalidSignatureException", false, "unusable"),
        ("ExpiredTokenException", true, "retry NotRun 5000"),
    ] {
        let answer = Answer {
            error_type: Some(exception.to_owned()),
            ..answer(403, "{}")
        };
        let verdict = judge(&destination(InvocationType::Sync, esm()), &call(), Ok(answer), || {
            new_ones
        });
        assert_eq!(short(&verdict), wanted, "{exception} {new_ones}");
    }
}

#[test]
fn a_function_error_is_judged_by_its_type_and_never_quoted() {
    let rows = [
        (
            r#"{"errorMessage":"secret","errorType":"ValueError"}"#,
            "failed",
            "ValueError",
            "an application error",
        ),
        (
            r#"{"errorType":"Sandbox.Timedout"}"#,
            "failed",
            "Sandbox.Timedout",
            "a time-out",
        ),
        (
            r#"{"errorType":"Runtime.ExitError"}"#,
            "failed",
            "Runtime.ExitError",
            "a crash",
        ),
        (
            r#"{"errorType":"Runtime.ImportModuleError"}"#,
            "unusable",
            "Runtime.ImportModuleError",
            "cannot be loaded",
        ),
        (
            r#"{"errorType":"Runtime.HandlerNotFound"}"#,
            "unusable",
            "Runtime.HandlerNotFound",
            "cannot be loaded",
        ),
        (
            r#"{"errorType":"Runtime.UserCodeSyntaxError"}"#,
            "unusable",
            "Runtime.UserCodeSyntaxError",
            "cannot be loaded",
        ),
        (
            r#"{"errorType":"Function.ResponseSizeTooLarge"}"#,
            "failed",
            "Function.ResponseSizeTooLarge",
            "the answer counts",
        ),
        (
            r#"{"errorType":"secret of a customer"}"#,
            "failed",
            "FunctionError",
            "data in place of a type",
        ),
        ("secret", "failed", "FunctionError", "not JSON"),
        ("", "failed", "FunctionError", "empty"),
    ];
    for (body, wanted, class, why) in rows {
        let answer = Answer {
            function_error: true,
            ..answer(200, body)
        };
        let verdict = judged(InvocationType::Sync, esm(), answer);
        assert_eq!(
            (short(&verdict).as_str(), &*failure(&verdict).class),
            (wanted, class),
            "{why}"
        );
        assert!(!format!("{verdict:?}").contains("secret"), "{why}");
    }
    let too_large = Answer {
        function_error: true,
        ..answer(200, r#"{"errorType":"Function.ResponseSizeTooLarge"}"#)
    };
    let verdict = judged(
        InvocationType::Sync,
        EventFormat::Confluent(Schemaless::Json),
        too_large,
    );
    assert_eq!(
        verdict,
        Verdict::Accepted,
        "the work was done and nobody reads the answer"
    );
}

#[test]
fn success_is_200_for_sync_and_202_for_async() {
    let rows = [
        (InvocationType::Sync, 200, "accepted"),
        (InvocationType::Async, 202, "accepted"),
        (InvocationType::Async, 200, "accepted"),
        (InvocationType::Sync, 202, "unusable"),
        (InvocationType::Async, 204, "unusable"),
    ];
    for (invocation, status, wanted) in rows {
        assert_eq!(
            short(&judged(invocation, esm(), answer(status, "null"))),
            wanted,
            "{invocation:?} {status}"
        );
    }
}

#[test]
fn batch_item_failures_name_the_records_to_be_sent_again() {
    let rows = [
        ("", "accepted", "nothing"),
        ("null", "accepted", "null"),
        ("{}", "accepted", "an empty object"),
        (r#"{"batchItemFailures":[]}"#, "accepted", "an empty list"),
        (r#"{"batchItemFailures":null}"#, "accepted", "no list"),
        (r#""done""#, "accepted", "a function that does not use it"),
        (
            r#"{"batchItemFailures":[{"itemIdentifier":{"partition":"orders-0","offset":42}},{"itemIdentifier":{"partition":"orders-0","offset":40}},{"itemIdentifier":{"partition":"orders-0","offset":42}}]}"#,
            "partly [0, 2]",
            "ascending, without repetition",
        ),
        (
            r#"{"batchItemFailures":[{"itemIdentifier":{"partition":"orders-0","offset":99}}]}"#,
            "failed",
            "an unknown offset",
        ),
        (
            r#"{"batchItemFailures":[{"itemIdentifier":{"partition":"orders-1","offset":40}}]}"#,
            "failed",
            "an unknown partition",
        ),
        (
            r#"{"batchItemFailures":[{"itemIdentifier":"40"}]}"#,
            "failed",
            "the form of other sources",
        ),
        (r#"{"batchItemFailures":{}}"#, "failed", "not a list"),
        (
            r#"{"batchItemFailures":[{"itemIdentifier":{"partition":"orders-0","offset":42}}]"#,
            "failed",
            "cut off: it may have meant to",
        ),
        (r#"{"batchItemFailures":[],"batchItemFailures":[]}"#, "failed", "twice"),
        ("done", "failed", "no JSON text"),
        ("[1]", "accepted", "no object"),
    ];
    for (body, wanted, why) in rows {
        assert_eq!(
            short(&judged(InvocationType::Sync, esm(), answer(200, body))),
            wanted,
            "{why}"
        );
    }
    let cut = Answer {
        body_bytes: 100,
        ..answer(200, r#"{"batchIt"#)
    };
    assert_eq!(
        short(&judged(InvocationType::Sync, esm(), cut)),
        "failed",
        "an answer that was not read to its end"
    );
    let ignored = answer(
        200,
        r#"{"batchItemFailures":[{"itemIdentifier":{"partition":"orders-0","offset":40}}]}"#,
    );
    let verdict = judged(InvocationType::Sync, EventFormat::Confluent(Schemaless::Json), ignored);
    assert_eq!(verdict, Verdict::Accepted, "the Confluent format has no partial answer");
}

#[test]
fn without_an_answer_only_a_broken_connection_counts_as_an_attempt() {
    let endpoint = || "http://e".to_owned();
    let rows = [
        (
            InvokeError::Credentials("none".to_owned()),
            "retry NotRun",
            "`aws.access.key.id`",
        ),
        (
            InvokeError::Connect {
                endpoint: endpoint(),
                reason: "refused".to_owned(),
            },
            "retry NotRun",
            "http://e cannot be reached: refused",
        ),
        (
            InvokeError::Broken {
                endpoint: endpoint(),
                reason: "reset".to_owned(),
            },
            "retry MayHaveRun",
            "may have run",
        ),
        (InvokeError::Request("odd".to_owned()), "unusable", "odd"),
    ];
    for (error, wanted, text) in rows {
        let verdict = judge(&destination(InvocationType::Sync, esm()), &call(), Err(error), || false);
        assert_eq!(short(&verdict), wanted);
        assert!(failure(&verdict).message.contains(text), "{verdict:?}");
    }
}
