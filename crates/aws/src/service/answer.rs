//! Answer -> what it means: the errors of SQS, SNS and S3, one table.

use serde::Deserialize;

use super::Declined;
use super::client::{Answer, Client};
use super::target::Place;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It passes by itself.
    Later,
    /// So it does when there is less at once.
    Throttled,
    /// New credentials may be at hand.
    Credentials,
    /// New credentials come by themselves.
    Expired,
    /// It is not there.
    Missing,
    /// Not allowed.
    Denied,
    /// It is in another region.
    Elsewhere,
    TooLong,
    /// Anything else that trying again does not heal.
    Refused,
}
use Fate::{Credentials, Denied, Elsewhere, Expired, Later, Missing, Refused, Throttled};

/// By the error's code, and for codes that are not listed by the status.
const CATALOGUE: &[(&str, Fate)] = &[
    ("ExpiredToken", Expired),
    ("ExpiredTokenException", Expired),
    ("RequestExpired", Expired),
    ("RequestTimeTooSkewed", Credentials),
    ("InvalidClientTokenId", Credentials),
    ("InvalidAccessKeyId", Credentials),
    ("InvalidSecurity", Credentials),
    ("InvalidToken", Credentials),
    ("UnrecognizedClientException", Credentials),
    ("InvalidSignatureException", Credentials),
    ("SignatureDoesNotMatch", Credentials),
    ("IncompleteSignature", Credentials),
    ("MissingAuthenticationToken", Credentials),
    ("AccessDenied", Denied),
    ("AccessDeniedException", Denied),
    ("AuthorizationError", Denied),
    ("AuthorizationErrorException", Denied),
    ("KmsAccessDenied", Denied),
    ("KMSAccessDenied", Denied),
    ("NotAuthorized", Denied),
    ("QueueDoesNotExist", Missing),
    ("AWS.SimpleQueueService.NonExistentQueue", Missing),
    ("NotFound", Missing),
    ("NotFoundException", Missing),
    ("NoSuchBucket", Missing),
    ("PermanentRedirect", Elsewhere),
    ("AuthorizationHeaderMalformed", Elsewhere),
    ("EntityTooLarge", Fate::TooLong),
    ("OverLimit", Throttled),
    ("SlowDown", Throttled),
    ("RequestThrottled", Throttled),
    ("Throttling", Throttled),
    ("ThrottlingException", Throttled),
    ("ThrottledException", Throttled),
    ("KmsThrottled", Throttled),
    ("KMSThrottling", Throttled),
    ("KMSThrottlingException", Throttled),
    ("RequestLimitExceeded", Throttled),
    ("ServiceUnavailable", Later),
    ("InternalError", Later),
    ("InternalFailure", Later),
    ("OperationAborted", Later),
    ("RequestTimeout", Later),
];

fn fate_of_status(status: u16) -> Fate {
    match status {
        301 | 307 => Elsewhere,
        403 => Denied,
        404 => Missing,
        408 | 500..=599 => Later,
        429 => Throttled,
        413 => Fate::TooLong,
        _ => Refused,
    }
}

/// An error of SQS, in JSON.
#[derive(Default, Deserialize)]
struct JsonError {
    #[serde(default, rename = "__type")]
    code: String,
    #[serde(default, alias = "Message")]
    message: String,
}

/// Whether an error of this code is about the credentials that the request was signed with.
pub(crate) fn is_of_credentials(code: &str) -> bool {
    let found = CATALOGUE.iter().find(|(name, _)| *name == code);
    found.is_some_and(|(_, fate)| matches!(fate, Expired | Credentials))
}

pub(crate) fn judge(client: &Client, place: &Place, answer: &Answer) -> Result<(), Declined> {
    let status = answer.status;
    if (200..300).contains(&status) {
        return Ok(());
    }
    let JsonError { code, message } = error(answer);
    let mut fate = CATALOGUE
        .iter()
        .find(|(name, _)| *name == code)
        .map_or_else(|| fate_of_status(status), |(_, fate)| *fate);
    // SQS and SNS have one code for all values that they do not like.
    let is_value = code.contains("InvalidParameter");
    // The payload is what may hold characters that SQS refuses.
    let is_content = code.contains("InvalidMessageContents");
    if is_content
        || is_value && (message.contains("shorter than") || message.contains("too long") || message.contains("bytes"))
    {
        fate = Fate::TooLong;
    }
    let code = if code.is_empty() {
        String::new()
    } else {
        format!(" {code}")
    };
    let said = said(&message);
    let now = |text: String| Err(Declined::Later(text));
    let refused = |text: String| Err(Declined::Refused(text));
    let keys = client.keys;
    match fate {
        Later => now(format!("answered {status}{code}")),
        Throttled => Err(Declined::Throttled(format!("answered {status}{code}"))),
        Expired => {
            client.credentials.refuse(answer.asked_at);
            now(format!(
                "answered {status}{code}: the credentials expired; renew them if they are static"
            ))
        }
        Credentials if client.credentials.refuse(answer.asked_at) => now(format!(
            "answered {status}{code}: the next request will be signed with new credentials"
        )),
        Credentials => refused(format!(
            "answered {status}{code}{said}: check the access key, and the clock of this machine"
        )),
        Denied => refused(format!(
            "answered {status}{code}{said}: grant `{}` on it to the credentials that the connector uses, and the use of its \
             KMS key if it has one",
            place.permission()
        )),
        Missing => refused(format!(
            "answered {status}{code}{said}: create it, or correct `{}` or the region",
            keys.destination
        )),
        Elsewhere => {
            let region = answer
                .headers
                .get("x-amz-bucket-region")
                .and_then(|value| value.to_str().ok());
            let region = region.map_or_else(|| "its own".to_owned(), |region| format!("`{region}`"));
            refused(format!(
                "answered {status}{code}: it is in another region: set `{}` to {region}",
                keys.region
            ))
        }
        Fate::TooLong => Err(Declined::TooLong(format!(
            "answered {status}{code}: the message is longer than it takes: raise its maximum message size"
        ))),
        Refused => refused(format!(
            "answered {status}{code}: this is not an answer of the service: check `{}` and the destination's name",
            keys.endpoint
        )),
    }
}

/// Code and message of an error; empty where the answer has none.
fn error(answer: &Answer) -> JsonError {
    let text = String::from_utf8_lossy(&answer.body);
    let mut error = if text.trim_start().starts_with('{') {
        serde_json::from_slice(&answer.body).unwrap_or_default()
    } else {
        JsonError {
            code: element(&text, "Code").to_owned(),
            message: element(&text, "Message").to_owned(),
        }
    };
    // `com.amazonaws.sqs#QueueDoesNotExist`
    let code = error.code.rsplit('#').next().unwrap_or_default().trim();
    let is_code = code.len() <= 128
        && code
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    error.code = if is_code { code.to_owned() } else { String::new() };
    error
}

/// The text of the first such element of a small XML document without attributes there.
fn element<'a>(text: &'a str, name: &str) -> &'a str {
    let inside = text.split_once(&format!("<{name}>")).map_or("", |(_, rest)| rest);
    inside
        .split_once(&format!("</{name}>"))
        .map_or("", |(inside, _)| inside)
}

/// The service's message, short and on one line.
fn said(message: &str) -> String {
    let plain = message.chars().map(|c| if c.is_control() { ' ' } else { c });
    let words: String = plain.take(300).collect();
    if words.trim().is_empty() {
        String::new()
    } else {
        format!(" \"{}\"", words.trim())
    }
}
