use bytes::Bytes;
use klamm_connect_api::sink::RouteIndex;
use klamm_connect_api::{Origin, TopicPartition};

use super::*;

fn destination(invocation: InvocationType, answers: Answers) -> Destination {
    Destination {
        function: "order-fn".to_owned(),
        function_key: "aws.lambda.function.name".to_owned(),
        region: "eu-west-1".to_owned(),
        invocation,
        answers,
        keeps_results: false,
        assumes_role: false,
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
        timestamps: [None; 3].into(),
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

fn judged(invocation: InvocationType, answers: Answers, answer: Answer) -> Verdict {
    judge(&destination(invocation, answers), &call(), Ok(answer), || false)
}

/// The verdict in short, with the asked wait in milliseconds.
fn short(verdict: &Verdict) -> String {
    let wait = |after: &Option<Duration>| after.map_or(String::new(), |after| format!(" {}", after.as_millis()));
    match verdict {
        Verdict::Accepted => "accepted".to_owned(),
        Verdict::Answered { results, rest: None } => format!("answered {results:?}"),
        Verdict::Answered {
            results,
            rest: Some((failed, _)),
        } => format!("answered {results:?} but {failed:?}"),
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
        Verdict::Accepted | Verdict::Answered { rest: None, .. } => panic!("accepted has no failure"),
        Verdict::Answered {
            rest: Some((_, failure)),
            ..
        } => failure,
        Verdict::PartlyAccepted { failure, .. }
        | Verdict::Retry { failure, .. }
        | Verdict::Failed { failure }
        | Verdict::Throttled { failure, .. }
        | Verdict::Poison { failure }
        | Verdict::Unusable { failure } => failure,
    }
}

#[test]
fn every_error_has_its_verdict_sync_and_async_for_a_batch_and_for_one_record() {
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
        for error_type in [
            exception.to_owned(),
            format!("{exception}:http://internal.amazon.com/coral/"),
        ] {
            let answer = Answer {
                error_type: Some(error_type),
                ..answer(status, "{}")
            };
            for (way, verdict) in every_way(|| Ok(answer.clone())) {
                assert_eq!(short(&verdict), wanted, "{exception} {way}");
                assert_eq!(&*failure(&verdict).class, exception, "{way}");
                let message = &failure(&verdict).message;
                assert!(message.contains("function `order-fn` in eu-west-1"), "{way}: {message}");
            }
        }
    }
    // What a function does is seen by who waits for it; a call that is only queued answers 202 before it runs.
    let function_errors = [
        ("Sandbox.Timedout", "failed"),
        ("Runtime.ExitError", "failed"),
        ("ValueError", "failed"),
        ("Runtime.ImportModuleError", "unusable"),
        ("Runtime.HandlerNotFound", "unusable"),
        ("Runtime.UserCodeSyntaxError", "unusable"),
        ("Function.ResponseSizeTooLarge", "accepted"),
    ];
    for (class, wanted) in function_errors {
        let body = format!(r#"{{"errorType":"{class}"}}"#);
        let answer = Answer {
            function_error: true,
            body: body.clone().into(),
            body_bytes: body.len(),
            ..answer(200, "")
        };
        for (way, verdict) in every_way(|| Ok(answer.clone())) {
            assert_eq!(short(&verdict), wanted, "{class} {way}");
        }
    }
    let endpoint = || "http://e".to_owned();
    let reason = || "why".to_owned();
    type MakeError<'a> = &'a dyn Fn() -> InvokeError;
    let without_answer: [(MakeError<'_>, &str); 4] = [
        (&|| InvokeError::Credentials(reason()), "retry NotRun"),
        (
            &|| InvokeError::Connect {
                endpoint: endpoint(),
                reason: reason(),
            },
            "retry NotRun",
        ),
        (
            &|| InvokeError::Broken {
                endpoint: endpoint(),
                reason: reason(),
            },
            "retry MayHaveRun",
        ),
        (&|| InvokeError::Request(reason()), "unusable"),
    ];
    for (error, wanted) in without_answer {
        for (way, verdict) in every_way(|| Err(error())) {
            assert_eq!(short(&verdict), wanted, "{:?} {way}", error());
        }
    }
}

/// The verdicts on a result of synchronous and asynchronous calls with several records and with one: what may be split,
/// and what stands alone, is for the engine to know.
fn every_way(result: impl Fn() -> Result<Answer, InvokeError>) -> Vec<(&'static str, Verdict)> {
    let batch = call();
    let single = Call {
        origins: batch.origins.iter().take(1).cloned().collect(),
        timestamps: [None].into(),
        ..call()
    };
    let ways = [
        ("sync, a batch", InvocationType::Sync, &batch),
        ("sync, one record", InvocationType::Sync, &single),
        ("async, a batch", InvocationType::Async, &batch),
        ("async, one record", InvocationType::Async, &single),
    ];
    let judged = ways.map(|(way, invocation, call)| {
        let destination = destination(invocation, Answers::Ignored);
        (way, judge(&destination, call, result(), || false))
    });
    judged.into()
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
        let verdict = judged(InvocationType::Sync, Answers::Failures, answer(status, "<html>"));
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
            short(&judged(InvocationType::Sync, Answers::Failures, answer)),
            wanted,
            "{body} {header:?}"
        );
    }
}

#[test]
fn a_function_without_concurrency_is_told_from_a_busy_one_by_how_long_that_lasts() {
    let rows = [
        (
            r#"{"Reason":"ReservedFunctionConcurrentInvocationLimitExceeded"}"#,
            true,
            "that of the function itself",
        ),
        (
            r#"{"Reason":"ReservedFunctionInvocationRateLimitExceeded"}"#,
            false,
            "a rate ends by itself",
        ),
        (
            r#"{"Reason":"ConcurrentInvocationLimitExceeded"}"#,
            false,
            "the account's",
        ),
    ];
    for (body, wanted, why) in rows {
        let verdict = judged(InvocationType::Sync, Answers::Failures, answer(429, body));
        let Verdict::Throttled { lasting, failure, .. } = verdict else {
            panic!("{body} is a throttle");
        };
        let is_switched_off =
            lasting.is_some_and(|text| text.starts_with("function switched off (reserved concurrency 0)"));
        assert_eq!(is_switched_off, wanted, "{body}: {why}");
        assert!(failure.message.contains("LimitExceeded)"), "{failure}");
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
        assert_eq!(
            &*failure(&judged(InvocationType::Sync, Answers::Failures, answer)).message,
            wanted
        );
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
        let verdict = judge(
            &destination(InvocationType::Sync, Answers::Failures),
            &call(),
            Ok(answer),
            || new_ones,
        );
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
        let verdict = judged(InvocationType::Sync, Answers::Failures, answer);
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
    let verdict = judged(InvocationType::Sync, Answers::Ignored, too_large);
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
            short(&judged(invocation, Answers::Failures, answer(status, "null"))),
            wanted,
            "{invocation:?} {status}"
        );
    }
}

#[test]
fn what_an_answer_says_counts_where_it_is_read_and_was_read_whole() {
    let named = r#"{"batchItemFailures":[{"itemIdentifier":{"partition":"orders-0","offset":42}},{"itemIdentifier":{"partition":"orders-0","offset":40}}]}"#;
    let rows = [
        (Answers::Failures, "", "accepted", "nothing"),
        (Answers::Failures, "null", "accepted", "null"),
        (Answers::Failures, "{}", "accepted", "an empty object"),
        (
            Answers::Failures,
            r#"{"batchItemFailures":[]}"#,
            "accepted",
            "an empty list",
        ),
        (
            Answers::Failures,
            r#"{"batchItemFailures":null}"#,
            "accepted",
            "no list",
        ),
        (
            Answers::Failures,
            r#""done""#,
            "accepted",
            "a function that does not use it",
        ),
        (Answers::Failures, "[1]", "accepted", "no object"),
        (Answers::Failures, named, "partly [0, 2]", "ascending"),
        (Answers::Failures, r#"{"batchItemFailures":{}}"#, "failed", "not a list"),
        (
            Answers::Failures,
            r#"{"batchItemFailures":[{"itemIdentifier":{"partition":"orders-0","offset":42}}]"#,
            "failed",
            "cut off: it may have meant to",
        ),
        (
            Answers::Failures,
            r#"{"batchItemFailures":[],"batchItemFailures":[]}"#,
            "failed",
            "twice",
        ),
        (Answers::Failures, "done", "failed", "no JSON text"),
        (Answers::Results, named, "failed", "the shape of the other setting"),
        (Answers::Ignored, named, "accepted", "nobody reads it"),
        (Answers::Ignored, "done", "accepted", "nobody reads it"),
    ];
    for (answers, body, wanted, why) in rows {
        assert_eq!(
            short(&judged(InvocationType::Sync, answers, answer(200, body))),
            wanted,
            "{why}"
        );
        assert_eq!(
            short(&judged(InvocationType::Async, answers, answer(202, body))),
            "accepted",
            "{why}: what Lambda says when it queues is not the function's answer"
        );
    }
    let cut = Answer {
        body_bytes: 100,
        // What was read would do as an answer.
        ..answer(200, "{}")
    };
    for (answers, wanted) in [
        (Answers::Failures, "failed"),
        (Answers::Results, "failed"),
        (Answers::Ignored, "accepted"),
    ] {
        assert_eq!(
            short(&judged(InvocationType::Sync, answers, cut.clone())),
            wanted,
            "an answer that was not read to its end"
        );
    }
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
        let verdict = judge(
            &destination(InvocationType::Sync, Answers::Failures),
            &call(),
            Err(error),
            || false,
        );
        assert_eq!(short(&verdict), wanted);
        assert!(failure(&verdict).message.contains(text), "{verdict:?}");
    }
}

#[test]
fn what_to_do_about_a_role_is_said_of_the_role() {
    let of_role = Destination {
        assumes_role: true,
        ..destination(InvocationType::Sync, Answers::Ignored)
    };
    let denied = answer(403, r#"{"__type":"AccessDeniedException"}"#);
    let unavailable = Err(InvokeError::Credentials("the role was refused".to_owned()));
    for (result, wanted) in [
        (unavailable, "trust policy name them, and set `aws.role.external.id`"),
        (
            Ok(denied),
            "grant `lambda:InvokeFunction` on it to the role `aws.role.arn`",
        ),
    ] {
        let verdict = judge(&of_role, &call(), result, || false);
        assert!(failure(&verdict).message.contains(wanted), "{verdict:?}");
    }
}

#[test]
fn answers_are_kept_where_somebody_wants_them() {
    let cut = Answer {
        body_bytes: 100,
        ..answer(200, "[1")
    };
    let too_large = Answer {
        function_error: true,
        ..answer(200, r#"{"errorType":"Function.ResponseSizeTooLarge"}"#)
    };
    let failures = r#"{"batchItemFailures":[{"itemIdentifier":{"partition":"orders-0","offset":41}}]}"#;
    let of_all = |text: &str| format!("{:?}", vec![Some(Bytes::from(text.to_owned())); 3]);
    let cases = [
        // invocation, answers, answer, verdict, why
        (
            InvocationType::Sync,
            Answers::Ignored,
            answer(200, "{\"n\":1}"),
            format!("answered {}", of_all("{\"n\":1}")),
            "everybody's",
        ),
        (
            InvocationType::Sync,
            Answers::Ignored,
            answer(200, ""),
            format!("answered {}", of_all("null")),
            "nothing is said",
        ),
        (
            InvocationType::Sync,
            Answers::Failures,
            answer(200, failures),
            format!("answered {} but [1]", of_all(failures)),
            "one failed",
        ),
        (
            InvocationType::Sync,
            Answers::Ignored,
            answer(200, "oops"),
            "failed".to_owned(),
            "no JSON",
        ),
        (
            InvocationType::Sync,
            Answers::Ignored,
            cut,
            "failed".to_owned(),
            "only a part was read",
        ),
        (
            InvocationType::Sync,
            Answers::Ignored,
            too_large,
            "failed".to_owned(),
            "the answer counts now",
        ),
        (
            InvocationType::Async,
            Answers::Ignored,
            answer(202, ""),
            "accepted".to_owned(),
            "not the function's answer",
        ),
    ];
    for (invocation, answers, answer, wanted, why) in cases {
        let destination = Destination {
            keeps_results: true,
            ..destination(invocation, answers)
        };
        let verdict = judge(&destination, &call(), Ok(answer), || false);
        assert_eq!(short(&verdict), wanted, "{why}");
    }
}

#[test]
fn a_failure_says_what_was_answered() {
    let failed = Answer {
        function_error: true,
        executed_version: Some("7".to_owned()),
        ..answer(200, r#"{"errorType":"ValueError"}"#)
    };
    let verdict = judged(InvocationType::Sync, Answers::Failures, failed);
    let answered = failure(&verdict).answered.as_deref().unwrap();
    assert_eq!((answered.status, answered.version.as_deref()), (200, Some("7")));
    assert_eq!(answered.function_error.as_deref(), Some("Unhandled"));
    let refused = judged(InvocationType::Sync, Answers::Failures, answer(403, ""));
    let answered = failure(&refused).answered.as_deref().unwrap();
    assert_eq!((answered.status, &answered.function_error), (403, &None));
}

#[test]
fn what_cannot_be_stored_is_waited_for_or_says_what_to_do_and_is_no_attempt() {
    let rows = [
        (
            Declined::Throttled("answered 503 SlowDown".to_owned()),
            "retry NotRun",
            "ClaimCheckThrottled",
        ),
        (
            Declined::Later("answered 500".to_owned()),
            "retry NotRun",
            "ClaimCheckUnavailable",
        ),
        (
            Declined::Refused("answered 403: grant it".to_owned()),
            "unusable",
            "ClaimCheckRefused",
        ),
        (
            Declined::TooLong("answered 400".to_owned()),
            "poison",
            "ClaimCheckTooLarge",
        ),
    ];
    for (declined, wanted, class) in rows {
        let said = declined.to_string();
        let destination = destination(InvocationType::Sync, Answers::Ignored);
        let verdict = not_stored(&destination, "S3 bucket `b` in eu-west-1", declined);
        assert_eq!((&*short(&verdict), &*failure(&verdict).class), (wanted, class));
        assert_eq!(
            *failure(&verdict).message,
            *format!(
                "function `order-fn` in eu-west-1 is not called, as its records cannot be put into S3 bucket `b` in \
                 eu-west-1: {said}"
            )
        );
    }
}
