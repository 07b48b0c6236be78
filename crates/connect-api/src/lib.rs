//! Connect's data model, configuration definitions and the contracts that plugins implement.
//!
//! **Owns** [`Schema`], [`Value`], [`Record`] with its [`Origin`], the lazy [`Datum`], [`Headers`],
//! [`ConfigDef`], and the traits of converters, transforms, predicates and sinks.
//! **Does not know** Kafka's protocol, any format, any destination, and no async runtime: futures are boxed,
//! timers and spawning belong to the engine that calls a plugin.
//! **Invariant:** no transform can change a record's [`Origin`], so commits and logs always name the record as
//! it was consumed.
#![forbid(unsafe_code)]

pub mod config;
mod datum;
pub mod delivery;
mod error;
pub mod failures;
mod headers;
pub mod java_number;
pub mod json;
pub mod logical;
mod map;
mod plugin;
pub mod provider;
mod record;
mod rendering;
mod schema;
mod semantic;
pub mod sink;
mod value;

pub use config::{ConfigDef, ConfigKey, ConfigType, Importance, ParsedConfig, RawConfig, Secret};
pub use datum::{Datum, DatumCodec, SchemaAndValue, SchemaMetadata};
pub use error::{ConfigError, ConfigErrors, DataError, DataErrorKind};
pub use headers::{Header, Headers};
pub use map::Map;
pub use plugin::{
    Converter, ConverterPlugin, ConverterRole, CreateConverter, HeaderConverter, HeaderConverterPlugin, PluginInfo,
    PluginKind, Predicate, PredicatePlugin, Probe, RawHeader, Transform, TransformPlugin,
};
pub use record::{Origin, Record, Timestamp, TimestampType, TopicPartition};
pub use rendering::{Decimals, Natural, Rendering, Timestamps};
pub use schema::{Field, Schema, SchemaBuilder, SchemaRef, SchemaType};
pub use semantic::{Semantic, Unit};
pub use smol_str::SmolStr;
pub use value::{Struct, Value};

/// A boxed future, so that plugin traits name no runtime.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
