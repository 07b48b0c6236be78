//! A document -> the request that hands it over.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use klamm_connect_api::failures::FailedRecord;
use percent_encoding::utf8_percent_encode;

use crate::objects::{self, IN_FORM};
use crate::service::client::Unsigned;
use crate::service::target::Place;

const TARGET: HeaderName = HeaderName::from_static("x-amz-target");

/// `base` is the endpoint; `is_regional` says that it is the region's own.
pub(super) fn of(
    place: &Place,
    base: &str,
    is_regional: bool,
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
            let base = (!is_regional).then_some(base);
            let key = key(prefix, record);
            objects::put(bucket, base, region, &key, "application/json", document.into())
        }
    }
}

/// The same record has the same key, so that a repetition overwrites itself. The timestamp keeps apart the records of a
/// topic that was made again.
fn key(prefix: &str, record: &FailedRecord) -> String {
    let route = record.delivery.as_ref().map(|delivery| format!("-{}", delivery.route));
    format!(
        "{}-{}{}.json",
        objects::key_of(prefix, &record.connector, &record.origin),
        record.timestamp.unwrap_or_default(),
        route.unwrap_or_default(),
    )
}
