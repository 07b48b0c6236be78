//! Lambda's Invoke API as it looks on the wire: what every endpoint that speaks it shares.
//!
//! Source of paths, headers, statuses and limits: AWS Lambda API Reference, "Invoke", and Developer Guide, "Quotas".

mod exception;
mod request;

pub use exception::{Exception, ThrottleReason};
pub use request::InvocationType;
pub(crate) use request::{Received, Refusal, Target, check_json, qualifier, receive, split_name};
