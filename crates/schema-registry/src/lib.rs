//! Schemas by id, GUID or subject and version, from a schema registry that speaks Confluent's REST API; or by version id
//! from AWS Glue.
//!
//! **Owns** the registries' settings under Confluent's and AWS's names, authentication, failover between URLs, retries, and the
//! cache of what the registry answered.
//! **Does not know** Kafka, and no schema language: a schema is text with the texts it refers to.
//! **Invariants:** what may pass is never cached as an answer; every answer, cache, wait and retry is bounded; no error
//! and no log holds a password, a token or a key.
#![forbid(unsafe_code)]

mod auth;
mod cache;
mod config;
mod connector;
mod error;
pub mod glue;
mod http_client;
mod registry;
mod rest;
mod schema;
mod tls;

pub use cache::{Cache, Limits};
pub use config::config_keys;
pub use error::RegistryError;
pub use registry::SchemaRegistry;
pub use schema::{Document, Lookup, Reference, ReferencedDocument, RegisteredSchema, SchemaId, SchemaType};

/// An error with its causes on one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        // Some types print their source as well.
        if !text.ends_with(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
