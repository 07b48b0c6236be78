//! Answer -> verdict: the whole error catalogue of the Invoke API, one table.
//!
//! The exceptions and their HTTP codes are those of the API reference of `Invoke`. The status alone is not enough: nine
//! of the 502 errors are configuration errors that no retry heals.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use klamm_aws::Declined;
use klamm_connect_api::sink::{Answered, Call, Failure, Outcome, ThrottleScope, Verdict};
use serde::Deserialize;

use crate::answer::{self, Said};
use crate::config::{Answers, InvocationType};
use crate::invoke::{Answer, InvokeError};
use crate::results::results;

#[cfg(test)]
mod tests;

/// Longest wait that an answer can ask for.
const MAX_AFTER: Duration = Duration::from_secs(60);
/// How long a function that is becoming ready is left alone.
const BECOMING_READY: Duration = Duration::from_secs(5);
/// How long a network that ran out of addresses or interfaces is left alone.
const NETWORK_LIMIT: Duration = Duration::from_secs(10);

/// Whom a verdict is about, for its message.
#[derive(Debug, Clone)]
pub(crate) struct Destination {
    pub(crate) function: String,
    /// The setting that names the function.
    pub(crate) function_key: String,
    pub(crate) region: String,
    pub(crate) invocation: InvocationType,
    pub(crate) answers: Answers,
    /// Answers are kept: see [`Verdict::Answered`].
    pub(crate) keeps_results: bool,
    /// The credentials are those of a role that is assumed.
    pub(crate) assumes_role: bool,
}

/// What becomes of a call that the Invoke API refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// May pass, and the function has not run: backoff.
    Retry,
    /// May pass, and the service does not say whether the function ran: backoff.
    ServiceFailed,
    /// The function is becoming ready: a long backoff.
    Wait,
    /// Addresses or interfaces of the function's network ran out.
    NetworkLimit,
    /// Too much at once; the answer's `Reason` says for whom.
    Throttled,
    /// Somebody has to change something, as the text says.
    Unusable(&'static str),
    /// The credentials may only have been replaced: once with new ones, then as `Unusable`.
    Credentials(&'static str),
    /// The credentials expired: new ones come by themselves.
    Expired,
    /// The payload is refused.
    Poison(&'static str),
}
use Fate::{Credentials, Expired, NetworkLimit, Poison, Retry, ServiceFailed, Throttled, Unusable, Wait};

const KMS: &str = "let the function's role use the KMS key of its environment variables, and the key be enabled";
const VPC: &str = "correct the function's VPC configuration or its role's EC2 permissions";
const PACKAGE: &str = "deploy the function again: its package or runtime cannot be started";
const MOUNT: &str = "correct the function's file system configuration and permissions";
const RUNTIME: &str = "move the function to a runtime version that still exists";
const CLOCK: &str = "check the access key, and the clock of this machine";
const PERMISSION: &str = "grant `lambda:InvokeFunction` on it to the credentials that the sink uses";
/// The same, for the credentials of a role.
const PERMISSION_OF_ROLE: &str = "grant `lambda:InvokeFunction` on it to the role `aws.role.arn`";
const TOO_LARGE: &str = "the payload is larger than Lambda takes: lower `delivery.batch.bytes`";

/// Exception, HTTP status, fate.
const CATALOGUE: &[(&str, u16, Fate)] = &[
    ("TooManyRequestsException", 429, Throttled),
    ("ServiceException", 500, ServiceFailed),
    ("EC2ThrottledException", 502, Throttled),
    ("EC2UnexpectedException", 502, Retry),
    ("ENINotReadyException", 502, Wait),
    ("ENILimitReachedException", 502, NetworkLimit),
    ("SubnetIPAddressLimitReachedException", 502, NetworkLimit),
    ("ResourceNotReadyException", 502, Wait),
    ("ResourceConflictException", 409, Wait),
    ("SnapStartNotReadyException", 409, Wait),
    ("SnapStartTimeoutException", 408, Retry),
    (
        "SnapStartException",
        400,
        Unusable("correct the function's hooks that run after a restore"),
    ),
    ("SnapStartRegenerationFailureException", 409, Wait),
    ("CodeArtifactUserPendingException", 409, Wait),
    ("CodeArtifactUserDeletedException", 409, Unusable(PACKAGE)),
    ("CodeArtifactUserFailedException", 409, Unusable(PACKAGE)),
    ("EFSMountTimeoutException", 408, Retry),
    ("EFSMountConnectivityException", 408, Retry),
    ("EFSIOException", 410, Retry),
    ("EFSMountFailureException", 403, Unusable(MOUNT)),
    ("S3FilesMountTimeoutException", 408, Retry),
    ("S3FilesMountConnectivityException", 408, Retry),
    ("S3FilesMountFailureException", 403, Unusable(MOUNT)),
    ("KMSAccessDeniedException", 502, Unusable(KMS)),
    ("KMSDisabledException", 502, Unusable(KMS)),
    ("KMSInvalidStateException", 502, Unusable(KMS)),
    ("KMSNotFoundException", 502, Unusable(KMS)),
    ("EC2AccessDeniedException", 502, Unusable(VPC)),
    ("InvalidSecurityGroupIDException", 502, Unusable(VPC)),
    ("InvalidSubnetIDException", 502, Unusable(VPC)),
    ("InvalidRuntimeException", 502, Unusable(RUNTIME)),
    ("InvalidZipFileException", 502, Unusable(PACKAGE)),
    ("RuntimeVersionDeletedException", 409, Unusable(RUNTIME)),
    ("RuntimeAliasDeletedException", 409, Unusable(RUNTIME)),
    (
        "NoPublishedVersionException",
        400,
        Unusable("publish a version of the function"),
    ),
    (
        "ModeNotSupportedException",
        400,
        Unusable("the function cannot be called this way: change the invocation type"),
    ),
    (
        "ResourceNotFoundException",
        404,
        Unusable("create the function, version or alias, or correct the name or the region"),
    ),
    (
        "InvalidParameterValueException",
        400,
        Unusable("correct the function's name, version or alias"),
    ),
    (
        "ServiceQuotaExceededException",
        402,
        Unusable("a quota of the account is used up: raise it, or free what uses it"),
    ),
    ("RequestTooLargeException", 413, Poison(TOO_LARGE)),
    ("SerializedRequestEntityTooLargeException", 413, Poison(TOO_LARGE)),
    (
        "InvalidRequestContentException",
        400,
        Poison("the payload is not what Lambda takes"),
    ),
    (
        "UnsupportedMediaTypeException",
        415,
        Unusable("the endpoint does not take JSON: check `aws.lambda.endpoint`"),
    ),
    (
        "RecursiveInvocationException",
        400,
        Unusable("the function's output comes back as its input: break the loop"),
    ),
    (
        "DurableExecutionAlreadyStartedException",
        409,
        Poison("a durable execution of this name runs with another payload"),
    ),
    ("AccessDeniedException", 403, Unusable(PERMISSION)),
    ("ExpiredTokenException", 403, Expired),
    ("UnrecognizedClientException", 403, Credentials(CLOCK)),
    ("InvalidSignatureException", 403, Credentials(CLOCK)),
    ("MissingAuthenticationTokenException", 403, Credentials(CLOCK)),
];

/// The fate of an exception that the catalogue does not know, by status.
fn fate_of_status(status: u16) -> Fate {
    match status {
        403 => Unusable(PERMISSION),
        404 => Unusable("create the function, version or alias, or correct the name or the region"),
        408 | 410 => Retry,
        409 => Wait,
        413 => Poison(TOO_LARGE),
        429 => Throttled,
        500..=599 => ServiceFailed,
        _ => Unusable(
            "this is not an answer of the Invoke API: check `aws.lambda.endpoint`, the function's name and the region",
        ),
    }
}

/// Function errors of a function that cannot be loaded: no retry heals them.
const LOAD_ERRORS: [&str; 3] = [
    "Runtime.ImportModuleError",
    "Runtime.HandlerNotFound",
    "Runtime.UserCodeSyntaxError",
];
/// The function did its work, but its answer was too long to be returned.
const ANSWER_TOO_LARGE: &str = "Function.ResponseSizeTooLarge";

/// Judges the result of one call. `refuse_credentials` is asked at most once: it drops the credentials that were
/// refused, and says whether the next call will use new ones.
pub(crate) fn judge(
    destination: &Destination,
    call: &Call,
    result: Result<Answer, InvokeError>,
    refuse_credentials: impl FnOnce() -> bool,
) -> Verdict {
    let answer = match result {
        Ok(answer) => answer,
        Err(error) => return unanswered(destination, &error),
    };
    let accepted = match destination.invocation {
        InvocationType::Sync => answer.status == 200,
        // Some emulators run the function at once and answer as for a synchronous call.
        InvocationType::Async => matches!(answer.status, 200 | 202),
        // The same goes for them here.
        InvocationType::Dry => matches!(answer.status, 200 | 204),
    };
    if answer.function_error {
        function_failed(destination, &answer)
    } else if accepted {
        succeeded(destination, call, &answer)
    } else {
        refused(destination, &answer, refuse_credentials)
    }
}

/// The verdict on a call whose records could not be stored where it refers to: the function was not called.
pub(crate) fn not_stored(destination: &Destination, store: &str, declined: Declined) -> Verdict {
    let failure = |class: &str, why: &str| Failure {
        class: class.into(),
        message: format!(
            "{} is not called, as its records cannot be put into {store}: {why}",
            destination.place()
        )
        .into(),
        request_id: None,
        answered: None,
    };
    match declined {
        // The bucket's limit is not the function's, which other connectors call, too.
        Declined::Throttled(why) => Verdict::Retry {
            after: None,
            outcome: Outcome::NotRun,
            failure: failure("ClaimCheckThrottled", &why),
        },
        Declined::Later(why) => Verdict::Retry {
            after: None,
            outcome: Outcome::NotRun,
            failure: failure("ClaimCheckUnavailable", &why),
        },
        Declined::Refused(why) => Verdict::Unusable {
            failure: failure("ClaimCheckRefused", &why),
        },
        Declined::TooLong(why) => Verdict::Poison {
            failure: failure("ClaimCheckTooLarge", &why),
        },
    }
}

fn unanswered(destination: &Destination, error: &InvokeError) -> Verdict {
    let failure = |class: &str, advice: &str| Failure {
        class: class.into(),
        message: format!("{}: {error}{advice}", destination.place()).into(),
        request_id: None,
        answered: None,
    };
    match error {
        InvokeError::Credentials(_) => Verdict::Retry {
            after: None,
            outcome: Outcome::NotRun,
            failure: failure(
                "CredentialsUnavailable",
                if destination.assumes_role {
                    ": grant `sts:AssumeRole` on `aws.role.arn` to the credentials that assume it, let the role's trust \
                     policy name them, and set `aws.role.external.id` to the external id that it asks for, if it does"
                } else {
                    ": set `aws.access.key.id` and `aws.secret.access.key`, or give the worker credentials by \
                     environment, profile, web identity, container or instance role"
                },
            ),
        },
        InvokeError::Connect { .. } => Verdict::Retry {
            after: None,
            outcome: Outcome::NotRun,
            failure: failure("ConnectFailed", ": check the network and `aws.lambda.endpoint`"),
        },
        InvokeError::Broken { .. } => Verdict::Retry {
            after: None,
            outcome: Outcome::MayHaveRun,
            failure: failure(
                "ConnectionBroken",
                ": the function may have run, and gets the records again",
            ),
        },
        InvokeError::Request(_) => Verdict::Unusable {
            failure: failure("InvalidRequest", ""),
        },
    }
}

fn succeeded(destination: &Destination, call: &Call, answer: &Answer) -> Verdict {
    let is_sync = destination.invocation == InvocationType::Sync;
    // The answer of an asynchronous call is not the function's.
    if !is_sync || destination.answers == Answers::Ignored && !destination.keeps_results {
        return Verdict::Accepted;
    }
    let malformed = |why: &str| Verdict::Failed {
        failure: destination.failure(
            "InvalidBatchResponse",
            &format!("answered {} bytes, and {why}", answer.body_bytes),
            answer,
        ),
    };
    if !answer.is_whole() {
        return malformed("only a part was read: raise `aws.lambda.response.max.bytes` or answer less");
    }
    let failed = match answer::read(destination.answers, call, &answer.body) {
        Said::Whole => None,
        Said::Failed(failed) => {
            let text = format!("reported {} of {} records as failed", failed.len(), call.origins.len());
            Some((failed, destination.failure("BatchItemFailures", &text, answer)))
        }
        Said::Malformed(why) => return malformed(why),
    };
    if destination.keeps_results {
        return match results(&call.origins, &answer.body) {
            Ok(results) => Verdict::Answered { results, rest: failed },
            Err(why) => malformed(why),
        };
    }
    match failed {
        None => Verdict::Accepted,
        Some((failed, failure)) => Verdict::PartlyAccepted { failed, failure },
    }
}

#[derive(Deserialize)]
struct FunctionErrorBody<'a> {
    #[serde(borrow, rename = "errorType")]
    error_type: Option<Cow<'a, str>>,
}

fn function_failed(destination: &Destination, answer: &Answer) -> Verdict {
    // Only the class is taken: message and trace are the function's own words and may hold the records.
    let body: Option<FunctionErrorBody<'_>> = serde_json::from_slice(&answer.body).ok();
    let class = body
        .and_then(|body| body.error_type)
        .filter(|class| is_class(class))
        .unwrap_or(Cow::Borrowed("FunctionError"));
    if class == ANSWER_TOO_LARGE && destination.answers == Answers::Ignored && !destination.keeps_results {
        // The work was done, and nobody reads the answer.
        return Verdict::Accepted;
    }
    let size = answer.body_bytes;
    if LOAD_ERRORS.contains(&class.as_ref()) {
        let text = "cannot be loaded: correct its code, handler or package and deploy it again";
        return Verdict::Unusable {
            failure: destination.failure(&class, text, answer),
        };
    }
    let text = format!("failed and answered {size} bytes: its own log says why");
    Verdict::Failed {
        failure: destination.failure(&class, &text, answer),
    }
}

/// Whether a function's `errorType` looks like the name of a class or error, and not like data.
fn is_class(text: &str) -> bool {
    (1..=256).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'$' | b'-' | b'/' | b'*'))
}

/// The body of an error of the Invoke API. The field names come in several spellings.
#[derive(Default, Deserialize)]
struct ErrorBody<'a> {
    #[serde(borrow, default, alias = "Message")]
    message: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "Reason", alias = "reason")]
    reason: Option<Cow<'a, str>>,
    #[serde(default, rename = "retryAfterSeconds", alias = "RetryAfterSeconds")]
    retry_after: Option<serde_json::Value>,
    #[serde(borrow, default, rename = "__type", alias = "code", alias = "Code")]
    error_type: Option<Cow<'a, str>>,
}

fn refused(destination: &Destination, answer: &Answer, refuse_credentials: impl FnOnce() -> bool) -> Verdict {
    let body: ErrorBody<'_> = serde_json::from_slice(&answer.body).unwrap_or_default();
    // `ResourceNotFoundException:http://…` in the header, `com.amazonaws#ResourceNotFoundException` in a body.
    let exception = answer
        .error_type
        .as_deref()
        .or(body.error_type.as_deref())
        .map(|text| text.split(':').next().unwrap_or(text))
        .map(|text| text.rsplit('#').next().unwrap_or(text).trim())
        .filter(|text| is_class(text));
    let fate = exception
        .and_then(|exception| CATALOGUE.iter().find(|(name, _, _)| *name == exception))
        .map_or_else(|| fate_of_status(answer.status), |(_, _, fate)| *fate);
    let class = exception.map_or_else(|| Cow::Owned(format!("HTTP {}", answer.status)), Cow::Borrowed);
    let failure = |text: &str| destination.failure(&class, text, answer);
    let status = answer.status;
    // A person has to act, so the service's own words go along; for other fates they might quote the payload.
    let unusable = |what_to_do: &str| {
        let words = body.message.as_deref().map(said).unwrap_or_default();
        Verdict::Unusable {
            failure: failure(&format!("answered {status}{words}: {what_to_do}")),
        }
    };
    let asked = body
        .asked_wait()
        .or(answer.retry_after)
        // "At once" is no wish: the engine's own backoff is longer, and has to be.
        .filter(|after| !after.is_zero())
        .map(|after| after.min(MAX_AFTER));
    let retry = |after: Option<Duration>, text: &str| Verdict::Retry {
        after,
        outcome: Outcome::NotRun,
        failure: failure(text),
    };
    match fate {
        Retry => retry(asked, &format!("answered {status}")),
        ServiceFailed => Verdict::Retry {
            after: asked,
            outcome: Outcome::Unknown,
            failure: failure(&format!("answered {status}")),
        },
        Wait => retry(
            asked.or(Some(BECOMING_READY)),
            &format!("answered {status}: it is becoming ready"),
        ),
        NetworkLimit => retry(
            asked.or(Some(NETWORK_LIMIT)),
            &format!("answered {status}: its subnets ran out of addresses or interfaces; if this lasts, give it more"),
        ),
        Throttled => {
            let reason = body
                .reason
                .as_deref()
                .filter(|reason| is_class(reason))
                .unwrap_or_default();
            let because = if reason.is_empty() {
                String::new()
            } else {
                format!(" ({reason})")
            };
            let (by, lasting) = throttled_by(reason);
            Verdict::Throttled {
                by,
                after: asked,
                failure: failure(&format!("answered {status}{because}")),
                lasting,
            }
        }
        Unusable(what_to_do) if what_to_do == PERMISSION || status == 404 => {
            let Destination { function_key, .. } = destination;
            let what_to_do = if what_to_do == PERMISSION && destination.assumes_role {
                PERMISSION_OF_ROLE
            } else {
                what_to_do
            };
            unusable(&format!("{what_to_do} (`{function_key}`)"))
        }
        Unusable(what_to_do) => unusable(what_to_do),
        Credentials(what_to_do) => {
            if refuse_credentials() {
                retry(
                    None,
                    &format!("answered {status}: the call will be signed with new credentials"),
                )
            } else {
                unusable(what_to_do)
            }
        }
        Expired => {
            refuse_credentials();
            retry(
                asked.or(Some(BECOMING_READY)),
                &format!("answered {status}: the credentials expired; renew them if they are static"),
            )
        }
        Poison(why) => Verdict::Poison {
            failure: failure(&format!("answered {status}: {why}")),
        },
    }
}

impl ErrorBody<'_> {
    /// `retryAfterSeconds`, a text in the API model and a number in some answers.
    fn asked_wait(&self) -> Option<Duration> {
        let seconds = match self.retry_after.as_ref()? {
            serde_json::Value::String(text) => text.trim().parse().ok()?,
            number => number.as_f64()?,
        };
        Duration::try_from_secs_f64(seconds).ok()
    }
}

/// A function without concurrency of its own looks like one that is busy for ever.
const SWITCHED_OFF: &str =
    "function switched off (reserved concurrency 0), or others use all of its reserved concurrency";

/// Whom a throttle slows down, and what it is if it never ends.
fn throttled_by(reason: &str) -> (ThrottleScope, Option<&'static str>) {
    match reason {
        "ReservedFunctionConcurrentInvocationLimitExceeded" => (ThrottleScope::Function, Some(SWITCHED_OFF)),
        "ConcurrentInvocationLimitExceeded"
        | "FunctionInvocationRateLimitExceeded"
        | "ConcurrentSnapshotCreateLimitExceeded" => (ThrottleScope::Account, None),
        "CallerRateLimitExceeded" => (ThrottleScope::Caller, None),
        // Also an answer without a reason: slowing one function does the least harm if it was meant for more.
        _ => (ThrottleScope::Function, None),
    }
}

/// The service's message, short and on one line.
fn said(message: &str) -> String {
    let words: String = message
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(300)
        .collect();
    if words.trim().is_empty() {
        String::new()
    } else {
        format!(" \"{}\"", words.trim())
    }
}

impl Destination {
    fn place(&self) -> String {
        format!("function `{}` in {}", self.function, self.region)
    }

    fn failure(&self, class: &str, text: &str, answer: &Answer) -> Failure {
        let request_id = answer.request_id.as_deref().filter(|id| id.len() <= 128);
        Failure {
            class: class.into(),
            message: format!("{} {text}", self.place()).into(),
            request_id: request_id.map(Arc::from),
            answered: Some(Arc::new(Answered {
                status: answer.status,
                version: answer
                    .executed_version
                    .as_deref()
                    .filter(|version| version.len() <= 128)
                    .map(Arc::from),
                function_error: answer.function_error.then(|| "Unhandled".into()),
            })),
        }
    }
}
