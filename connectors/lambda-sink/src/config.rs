//! The configuration: its definition, and the plan that a task runs by.

pub(crate) mod cloud_events;
mod foreign;
mod function;
mod keys;
mod notices;
mod plan;
#[cfg(test)]
mod tests;

use klamm_connect_api::{RawConfig, Rendering};

use crate::template::Template;

pub(crate) use function::{FunctionRef, FunctionTemplate};
pub(crate) use keys::{PREFLIGHT, definition};
pub(crate) use notices::{Notices, lines as notice_lines, notices, skips_by_default};
pub(crate) use plan::{CallContext, Callee, Plan, RoutePlan, Share, Topics};

/// Longest answer of a synchronous invoke: 6 MiB (Lambda quotas).
pub(crate) const MAX_ANSWER_BYTES: i64 = 6 * 1024 * 1024;

/// The class under which the connector is listed.
pub(crate) const CLASS: &str = "io.confluent.connect.aws.lambda.AwsLambdaSinkConnector";
/// The class name that Confluent Cloud uses.
pub(crate) const CLOUD_CLASS: &str = "LambdaSink";
/// The class of Nordstrom's connector.
pub(crate) const NORDSTROM_CLASS: &str = "com.nordstrom.kafka.connect.lambda.LambdaSinkConnector";

/// The class of Camel's connector.
pub(crate) const CAMEL_CLASS: &str = "org.apache.camel.kafkaconnector.awslambdasink.CamelAwslambdasinkSinkConnector";

/// Whose connector a configuration was written for: some defaults differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    Confluent,
    Cloud,
    Nordstrom,
    Camel,
}

impl Flavour {
    pub(crate) fn of(raw: &RawConfig) -> Self {
        match raw.get("connector.class").map(|class| class.trim()) {
            Some(CLOUD_CLASS) => Self::Cloud,
            Some(NORDSTROM_CLASS) => Self::Nordstrom,
            Some(CAMEL_CLASS) => Self::Camel,
            _ => Self::Confluent,
        }
    }
}

/// Synchronous or asynchronous.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum InvocationType {
    /// `RequestResponse`: the answer is the function's.
    Sync,
    /// `Event`: the answer says that Lambda queued the payload.
    Async,
    /// `DryRun`: the answer says whether the function may be called. No route has it.
    Dry,
}

impl InvocationType {
    /// The word of `aws.lambda.invocation.type`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Async => "async",
            Self::Dry => "dry",
        }
    }

    /// The value of `X-Amz-Invocation-Type`.
    pub(crate) fn header(self) -> &'static str {
        match self {
            Self::Sync => "RequestResponse",
            Self::Async => "Event",
            Self::Dry => "DryRun",
        }
    }

    /// Longest payload (Lambda quotas): 6 MiB synchronous, 1 MiB asynchronous.
    pub(crate) fn payload_limit(self) -> usize {
        match self {
            Self::Sync | Self::Dry => 6 * 1024 * 1024,
            Self::Async => 1024 * 1024,
        }
    }
}

/// How the Confluent format shows data without a schema (`record.converter.class`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Schemaless {
    /// As JSON.
    Json,
    /// As JSON text inside a string.
    EscapedJson,
}

/// How much of a schema Nordstrom's JSON formatter shows (`payload.formatter.{key,value}.schema.visibility`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SchemaVisibility {
    /// Nothing.
    None,
    /// Its name and version.
    Min,
    /// These, and the data in Connect's envelope of schema and payload.
    All,
}

/// Nordstrom's formatters (`payload.formatter.class`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Formatter {
    /// Keys and values as the text that Java's `toString` gives.
    Plain,
    /// Keys and values as JSON.
    Json {
        key: SchemaVisibility,
        value: SchemaVisibility,
    },
}

/// The attributes of CloudEvents that a configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CloudEventAttributes {
    pub(crate) id: Template,
    pub(crate) source: Template,
    pub(crate) event_type: Template,
    /// None leaves the attribute out.
    pub(crate) subject: Option<Template>,
}

/// What a function gets (`event.format`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EventFormat {
    /// Confluent's array of payloads.
    Confluent(Schemaless),
    /// The event of Lambda's event source mapping.
    Esm {
        /// `eventSourceArn`; with it the event is that of a managed cluster.
        source_arn: Option<String>,
    },
    /// Nordstrom's records.
    Nordstrom(Formatter),
    /// The values themselves.
    Raw,
    /// CloudEvents 1.0 in the structured mode.
    CloudEvents(Box<CloudEventAttributes>),
}

impl EventFormat {
    /// The words of `event.format`.
    pub(crate) const NAMES: [&'static str; 5] = ["confluent", "esm", "nordstrom", "raw", "cloudevents"];
}

/// What stands around records in the formats that are either one record or an array of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    /// Nothing: a call has one record (`delivery.batch.size=1`).
    One,
    /// An array.
    Array,
}

/// How a payload is made small (`payload.compression`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    /// gzip in base64, inside a small JSON object.
    Gzip,
}

/// All that decides how a route's payloads look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PayloadPlan {
    pub(crate) format: EventFormat,
    pub(crate) rendering: Rendering,
    pub(crate) packing: Packing,
    pub(crate) compression: Compression,
}

/// Which answers of a function say something about single records (`response.format`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answers {
    /// None: an answer without an error is the success of all records.
    Ignored,
    /// `batchItemFailures` names the records that failed.
    Failures,
    /// A list of results, as Confluent's reporter takes it, names the records that succeeded.
    Results,
}

impl Answers {
    /// Bytes of an answer that are read unless they are set: all of one that somebody looks at.
    pub(crate) fn bytes(self, keeps_results: bool) -> usize {
        match self {
            Self::Ignored if !keeps_results => 65_536,
            Self::Ignored | Self::Failures | Self::Results => usize::try_from(MAX_ANSWER_BYTES).unwrap_or(usize::MAX),
        }
    }
}

fn parse_record_converter(text: &str) -> Result<Schemaless, String> {
    let name = text
        .strip_prefix("io.confluent.connect.aws.lambda.converters.")
        .unwrap_or(text);
    match name {
        "JsonKeyValueConverter" => Ok(Schemaless::Json),
        "EscapedJsonKeyValueConverter" => Ok(Schemaless::EscapedJson),
        _ => Err(
            "accepted are `JsonKeyValueConverter` and `EscapedJsonKeyValueConverter`, short or with their package: \
                  classes of your own cannot be loaded"
                .to_owned(),
        ),
    }
}

/// Whether Nordstrom's formatter class writes JSON.
fn parse_formatter(text: &str) -> Result<bool, String> {
    let name = text
        .strip_prefix("com.nordstrom.kafka.connect.formatters.")
        .unwrap_or(text);
    match name {
        "PlainPayloadFormatter" => Ok(false),
        "JsonPayloadFormatter" => Ok(true),
        _ => Err(
            "accepted are `PlainPayloadFormatter` and `JsonPayloadFormatter`, short or with their package: classes of your \
             own cannot be loaded"
                .to_owned(),
        ),
    }
}
