//! A document -> the request that hands it over.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use klamm_connect_api::failures::FailedRecord;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::target::Place;
use crate::regional_endpoint;

const TARGET: HeaderName = HeaderName::from_static("x-amz-target");
/// What RFC 3986 does not reserve stays as it is.
const IN_FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const IN_PATH: &AsciiSet = &IN_FORM.remove(b'/');

/// A request that is not signed yet.
#[derive(Debug)]
pub(super) struct Unsigned {
    pub(super) method: Method,
    pub(super) uri: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// `base` is the endpoint; `has_own_endpoint` says that it is not the region's.
pub(super) fn of(
    place: &Place,
    base: &str,
    has_own_endpoint: bool,
    region: &str,
    record: &FailedRecord,
    document: String,
) -> Unsigned {
    let mut headers = HeaderMap::new();
    match place {
        Place::Queue { account, name } => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.0"));
            headers.insert(TARGET, HeaderValue::from_static("AmazonSQS.SendMessage"));
            let queue = format!("{base}/{account}/{name}");
            let body = serde_json::json!({ "QueueUrl": queue, "MessageBody": document });
            Unsigned {
                method: Method::POST,
                uri: format!("{base}/"),
                headers,
                body: body.to_string().into(),
            }
        }
        Place::Topic { arn } => {
            headers.insert(
                CONTENT_TYPE,
                HeaderValue::from_static("application/x-www-form-urlencoded"),
            );
            let body = format!(
                "Action=Publish&Version=2010-03-31&TopicArn={}&Message={}",
                utf8_percent_encode(arn, IN_FORM),
                utf8_percent_encode(&document, IN_FORM)
            );
            Unsigned {
                method: Method::POST,
                uri: format!("{base}/"),
                headers,
                body: body.into(),
            }
        }
        Place::Bucket { bucket, prefix } => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let key = key(prefix, record);
            let key = utf8_percent_encode(&key, IN_PATH);
            // A bucket has a host name of its own where the certificate covers it.
            let uri = if has_own_endpoint || bucket.contains('.') {
                format!("{base}/{bucket}/{key}")
            } else {
                let host = regional_endpoint("s3", region);
                let host = host.trim_start_matches("https://");
                format!("https://{bucket}.{host}/{key}")
            };
            Unsigned {
                method: Method::PUT,
                uri,
                headers,
                body: document.into(),
            }
        }
    }
}

/// The same record has the same key, so that a repetition overwrites itself. The timestamp keeps apart the records of a
/// topic that was made again.
fn key(prefix: &str, record: &FailedRecord) -> String {
    let of = &record.origin.topic_partition;
    let route = record.delivery.as_ref().map(|delivery| format!("-{}", delivery.route));
    // A connector's name may be anything, also longer than a key.
    let connector: String = record.connector.chars().take(100).collect();
    format!(
        "{prefix}{connector}/{}/{}/{:020}-{}{}.json",
        of.topic(),
        of.partition(),
        record.origin.offset,
        record.timestamp.unwrap_or_default(),
        route.unwrap_or_default(),
    )
}
