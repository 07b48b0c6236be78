use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::BoxFuture;
use crate::config::{ConfigDef, ParsedConfig};
use crate::datum::{Datum, SchemaAndValue};
use crate::error::{ConfigErrors, DataError};
use crate::record::Record;

/// What a plugin is, in the words of `GET /connector-plugins`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PluginKind {
    /// A sink connector
    Sink,
    /// A single message transform
    Transformation,
    /// A predicate
    Predicate,
    /// A converter of keys and values
    Converter,
    /// A converter of header values
    HeaderConverter,
}

impl PluginKind {
    /// Connect's word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sink => "sink",
            Self::Transformation => "transformation",
            Self::Predicate => "predicate",
            Self::Converter => "converter",
            Self::HeaderConverter => "header_converter",
        }
    }
}

/// How a plugin is known.
///
/// Besides `class` and `aliases` the registry accepts what Connect accepts: the simple class name, and that without
/// the suffix of its kind (`FooSinkConnector` → `FooSink`, `FooConverter` → `Foo`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginInfo {
    /// Kind of plugin.
    pub kind: PluginKind,
    /// Full Java class name, under which the plugin is listed.
    pub class: &'static str,
    /// Further names that users have in their configurations.
    pub aliases: &'static [&'static str],
    /// Version that the REST API shows.
    pub version: &'static str,
}

/// What a converter converts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConverterRole {
    /// Record keys
    Key,
    /// Record values
    Value,
    /// Header values
    Header,
}

/// A header as it stands on the wire: key and value are any bytes, the value may be null.
pub type RawHeader = (Bytes, Option<Bytes>);

/// Turns the bytes of a record's key or value into Connect data.
pub trait Converter: Send + Sync + fmt::Debug {
    /// Converts `bytes`, which are absent for null. May leave the datum encoded once it has checked what it must;
    /// whatever the codec reports later counts as this converter's failure.
    ///
    /// # Errors
    /// If the bytes do not hold what the converter reads. [`DataErrorKind::NotReady`](crate::DataErrorKind::NotReady)
    /// is no failure: the converter needs [`Converter::prepare`] before it can answer.
    fn to_connect(&self, topic: &str, headers: &[RawHeader], bytes: Option<&Bytes>) -> Result<Datum, DataError>;

    /// Fetches what the converter needs for these bytes, such as the schema that they name, and keeps it: the next
    /// call of [`Converter::to_connect`] finds it. For converters that need nothing there is nothing to do.
    ///
    /// # Errors
    /// If it cannot be had. After a retriable error the caller waits and calls again; it never drops the record.
    ///
    /// # Cancel safety
    /// Safe: what was fetched so far stays.
    fn prepare<'a>(
        &'a self,
        _topic: &'a str,
        _headers: &'a [RawHeader],
        _bytes: Option<&'a Bytes>,
    ) -> BoxFuture<'a, Result<(), DataError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Asks whatever [`Converter::prepare`] fetches things from whether it answers; none for a converter that needs nothing.
    fn probe(&self) -> Option<Probe<'_>> {
        None
    }
}

/// See [`Converter::probe`].
pub type Probe<'a> = BoxFuture<'a, Result<(), DataError>>;

/// Turns the bytes of a header's value into Connect data.
pub trait HeaderConverter: Send + Sync + fmt::Debug {
    /// Converts `bytes`, which are absent for null. May leave the datum encoded, as [`Converter::to_connect`].
    ///
    /// # Errors
    /// If the bytes do not hold what the converter reads.
    fn to_connect_header(&self, topic: &str, key: &str, bytes: Option<&Bytes>) -> Result<Datum, DataError>;

    /// The value of a header written as text, such as the `value.literal` of `InsertHeader`.
    ///
    /// # Errors
    /// As [`HeaderConverter::to_connect_header`].
    fn parse(&self, text: &str) -> Result<SchemaAndValue, DataError> {
        self.to_connect_header("", "", Some(&Bytes::copy_from_slice(text.as_bytes())))?
            .decode()
    }
}

/// Changes a record, or drops it. Called in the order of a partition's records, from one thread at a time per
/// partition; partitions may share an instance.
pub trait Transform: Send + Sync + fmt::Debug {
    /// The changed record, or none to drop it: its offset still advances.
    ///
    /// # Errors
    /// If the record does not fit the transform; `errors.*` decides what happens to it.
    fn apply(&self, record: Record) -> Result<Option<Record>, DataError>;
}

/// Decides whether a transform runs for a record.
pub trait Predicate: Send + Sync + fmt::Debug {
    /// Whether the record matches. It is only `mut` so that a lazy datum that is looked at is decoded once.
    ///
    /// # Errors
    /// If the record has to be decoded for the answer and cannot be.
    fn test(&self, record: &mut Record) -> Result<bool, DataError>;
}

/// Makes a converter for keys or values.
pub type CreateConverter = fn(&ParsedConfig, ConverterRole) -> Result<Arc<dyn Converter>, ConfigErrors>;

/// A converter that can be named in `key.converter` and `value.converter`.
#[derive(Debug, Clone)]
pub struct ConverterPlugin {
    /// Names and version.
    pub info: PluginInfo,
    /// Its settings, without the `key.converter.` or `value.converter.` in front.
    pub config_def: fn() -> ConfigDef,
    /// Makes one.
    pub create: CreateConverter,
}

/// A converter that can be named in `header.converter`.
#[derive(Debug, Clone)]
pub struct HeaderConverterPlugin {
    /// Names and version.
    pub info: PluginInfo,
    /// Its settings, without the `header.converter.` in front.
    pub config_def: fn() -> ConfigDef,
    /// Makes one.
    pub create: fn(&ParsedConfig) -> Result<Arc<dyn HeaderConverter>, ConfigErrors>,
}

/// A transform that can be named in `transforms.<alias>.type`.
#[derive(Debug, Clone)]
pub struct TransformPlugin {
    /// Names and version.
    pub info: PluginInfo,
    /// Its settings, without the `transforms.<alias>.` in front.
    pub config_def: fn() -> ConfigDef,
    /// Makes one. Errors name the keys without the prefix.
    pub create: fn(&ParsedConfig) -> Result<Arc<dyn Transform>, ConfigErrors>,
}

/// A predicate that can be named in `predicates.<alias>.type`.
#[derive(Debug, Clone)]
pub struct PredicatePlugin {
    /// Names and version.
    pub info: PluginInfo,
    /// Its settings, without the `predicates.<alias>.` in front.
    pub config_def: fn() -> ConfigDef,
    /// Makes one. Errors name the keys without the prefix.
    pub create: fn(&ParsedConfig) -> Result<Arc<dyn Predicate>, ConfigErrors>,
}
