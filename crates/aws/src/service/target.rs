//! Which queue, topic or bucket a setting names.

use klamm_connect_api::config::without_user_info;

use crate::Service;

/// Longest message of a queue: 1 MiB, including attributes (SQS quotas).
const SQS_BYTES: usize = 1024 * 1024;
/// Longest message of a topic unless its `MaximumMessageSize` is raised (SNS quotas).
const SNS_BYTES: usize = 256 * 1024;
/// Longest object that one request may put: 5 GB (S3 quotas); no Kafka record comes near.
const S3_BYTES: usize = 5_000_000_000;

const ACCEPTED: &str = "accepted are the ARN of an SQS queue, of an SNS topic or of an S3 bucket with `/<prefix>` behind it, \
                        a queue's URL, and `s3://<bucket>/<prefix>`";

/// A destination as it is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) place: Place,
    /// If the name tells it.
    pub(crate) region: Option<String>,
    /// Of a queue that is named by its URL.
    pub(crate) endpoint: Option<String>,
}

/// What it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Queue { account: String, name: String },
    Topic { arn: String },
    Bucket { bucket: String, prefix: String },
}

impl Target {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let wrong = || format!("`{}` names no destination: {ACCEPTED}", without_user_info(text));
        if let Some(rest) = text.strip_prefix("s3://") {
            return bucket(rest).map(|place| Self::of(place, None)).ok_or_else(wrong);
        }
        if let Some(arn) = text.strip_prefix("arn:") {
            let parts: Vec<&str> = arn.splitn(5, ':').collect();
            let [_partition, service, region, account, resource] = parts.as_slice() else {
                return Err(wrong());
            };
            let is_whole = !region.is_empty() && !account.is_empty() && !resource.is_empty() && !resource.contains(':');
            return match *service {
                "sqs" | "sns" if !is_whole => Err(wrong()),
                "sqs" | "sns" if resource.ends_with(".fifo") => Err(format!(
                    "`{text}` is first-in-first-out, which waits for one message after the other: use a standard one"
                )),
                "sqs" => Ok(Self::of(queue(account, resource), Some(region))),
                "sns" => Ok(Self::of(Place::Topic { arn: text.to_owned() }, Some(region))),
                "s3" => bucket(resource).map(|place| Self::of(place, None)).ok_or_else(wrong),
                _ => Err(wrong()),
            };
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        let [host, account, name] = rest.split('/').collect::<Vec<_>>()[..] else {
            return Err(wrong());
        };
        let has_user = host.contains('@');
        let is_account = !account.is_empty() && account.bytes().all(|byte| byte.is_ascii_digit());
        if !matches!(scheme, "http" | "https") || host.is_empty() || has_user || !is_account || name.is_empty() {
            return Err(wrong());
        }
        if name.ends_with(".fifo") {
            return Err(format!(
                "`{text}` is first-in-first-out, which waits for one message after the other: use a standard queue"
            ));
        }
        let mut labels = host.split('.');
        let region = labels
            .next()
            .filter(|label| *label == "sqs")
            .and_then(|_| labels.next());
        Ok(Self {
            endpoint: Some(format!("{scheme}://{host}")),
            ..Self::of(queue(account, name), region)
        })
    }

    fn of(place: Place, region: Option<&str>) -> Self {
        Self {
            place,
            region: region.map(str::to_owned),
            endpoint: None,
        }
    }
}

fn queue(account: &str, name: &str) -> Place {
    Place::Queue {
        account: account.to_owned(),
        name: name.to_owned(),
    }
}

/// `<bucket>` or `<bucket>/<prefix>`.
fn bucket(text: &str) -> Option<Place> {
    let (bucket, prefix) = text.split_once('/').unwrap_or((text, ""));
    let is_bucket_byte = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    let is_bucket = (3..=63).contains(&bucket.len()) && bucket.bytes().all(is_bucket_byte);
    // S3's keys have at most 1,024 bytes; the rest is for connector, topic, partition and offset.
    (is_bucket && prefix.len() <= 256).then(|| Place::Bucket {
        bucket: bucket.to_owned(),
        prefix: match prefix.trim_end_matches('/') {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        },
    })
}

impl Place {
    pub(crate) fn service(&self) -> Service {
        match self {
            Self::Queue { .. } => Service::Sqs,
            Self::Topic { .. } => Service::Sns,
            Self::Bucket { .. } => Service::S3,
        }
    }

    /// For people.
    pub(crate) fn name(&self, region: &str) -> String {
        match self {
            Self::Queue { name, .. } => format!("SQS queue `{name}` in {region}"),
            Self::Topic { arn } => format!("SNS topic `{arn}`"),
            Self::Bucket { bucket, .. } => format!("S3 bucket `{bucket}` in {region}"),
        }
    }

    /// What whoever writes there needs.
    pub(crate) fn permission(&self) -> &'static str {
        match self {
            Self::Queue { .. } => "sqs:SendMessage",
            Self::Topic { .. } => "sns:Publish",
            Self::Bucket { .. } => "s3:PutObject",
        }
    }

    pub(crate) fn limit_bytes(&self) -> usize {
        match self {
            Self::Queue { .. } => SQS_BYTES,
            Self::Topic { .. } => SNS_BYTES,
            Self::Bucket { .. } => S3_BYTES,
        }
    }
}
