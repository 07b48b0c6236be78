//! What has to hold for any record.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use klamm_connect_api::{
    ConfigErrors, Converter, ConverterRole, DataError, DataErrorKind, Datum, Decimals, Natural, RawConfig, RawHeader,
    Rendering, Timestamps, json,
};
use rand::Rng as _;
use rand::rngs::StdRng;

use super::alloc;
use super::registry::Registry;

/// Values without a byte of their own that a record may have whatever its length: Avro's arrays may be of empty records.
const VALUES: usize = 100_000;

/// What a payload may grow to as JSON, for each of its bytes: a byte may stand for a whole record of which nothing is
/// there, with all its names, and a few times that in defaults.
fn output_limit(schema: usize, payload: usize) -> usize {
    64 * VALUES + 8 * (schema + 64) * (payload + 1)
}

/// What reading may hold: values take more than their JSON.
fn memory_limit(schema: usize, payload: usize) -> usize {
    256 * VALUES + 400 * (schema + 64) * (payload + 1)
}

/// What making ready may hold, with the request to the registry.
fn compile_limit(schema: usize) -> usize {
    8 * 1024 * 1024 + 8192 * schema
}

/// Converters that are kept: making one costs more than reading its records.
const MOST_CONVERTERS: usize = 100;

const RENDERINGS: [Rendering; 3] = [
    Rendering::Connect,
    Rendering::Natural(Natural {
        decimals: Decimals::String,
        timestamps: Timestamps::Iso,
    }),
    Rendering::Natural(Natural {
        decimals: Decimals::Number,
        timestamps: Timestamps::Epoch,
    }),
];

/// What was seen so far.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) inputs: u64,
    pub(crate) accepted: u64,
    pub(crate) most_bytes: usize,
}

/// A record with what is needed to repeat it.
pub(crate) struct Record<'a> {
    pub(crate) converter: &'a Arc<dyn Converter>,
    pub(crate) settings: &'a str,
    pub(crate) schema: &'a str,
    pub(crate) headers: &'a [RawHeader],
    pub(crate) bytes: Bytes,
    /// How long the payload is before it is compressed, if that is not what is left of the bytes.
    pub(crate) inflated: usize,
    /// JSON that is passed on as it came: its numbers and names are not those of a value.
    pub(crate) is_passed_on: bool,
}

/// A converter with its settings as text.
pub(crate) type Configured = (Arc<dyn Converter>, String);

pub(crate) struct Check {
    pub(crate) registry: Registry,
    pub(crate) counts: Counts,
    made: HashMap<String, Configured>,
    runtime: tokio::runtime::Runtime,
}

impl Check {
    pub(crate) fn new() -> Self {
        Self {
            registry: Registry::start(),
            counts: Counts::default(),
            made: HashMap::new(),
            // One thread, so that what is held can be counted.
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
        }
    }

    /// A converter of any class, with the settings of the registry where it has them.
    ///
    /// It may have read other schemas before.
    pub(crate) fn converter(&mut self, class: &str, settings: &[(&str, &str)]) -> Configured {
        let key = format!("{class} {settings:?}");
        if let Some(made) = self.made.get(&key) {
            return made.clone();
        }
        let made = self.try_converter(class, settings).unwrap();
        if self.made.len() >= MOST_CONVERTERS {
            self.made.clear();
        }
        self.made.insert(key, made.clone());
        made
    }

    /// A new one, with settings that may be refused.
    pub(crate) fn try_converter(&self, class: &str, settings: &[(&str, &str)]) -> Result<Configured, ConfigErrors> {
        let plugin = klamm_converters::converters()
            .into_iter()
            .find(|plugin| plugin.info.class == class)
            .unwrap();
        let def = (plugin.config_def)();
        let common = [
            ("schema.registry.url", self.registry.url.as_str()),
            ("endpoint", self.registry.url.as_str()),
            ("region", "eu-west-1"),
            ("aws.access.key.id", "a"),
            ("aws.secret.access.key", "b"),
            ("max.retries", "0"),
            ("schemas.cache.config", "8"),
            ("max.schemas.per.subject", "8"),
            // Not the machine's certificates, which take milliseconds for each converter.
            (
                "schema.registry.ssl.truststore.location",
                concat!(env!("CARGO_MANIFEST_DIR"), "/../kafka/src/fuzzing/seeds/trust.jks"),
            ),
            ("schema.registry.ssl.truststore.password", "secret"),
        ];
        let known = common
            .iter()
            .filter(|(key, _)| def.keys().iter().any(|known| known.name == *key));
        let raw: RawConfig = known
            .chain(settings)
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let parsed = def.parse(&raw)?;
        let converter = (plugin.create)(&parsed, ConverterRole::Value)?;
        Ok((converter, format!("{class} {settings:?}")))
    }

    /// Settings of a converter that are on or off, by chance.
    pub(crate) fn flags<'a>(names: &[&'a str], rng: &mut StdRng) -> Vec<(&'a str, &'a str)> {
        let values = ["true", "false"];
        let chosen = names.iter().filter_map(|name| {
            let value = values.get(rng.random_range(0..6))?;
            Some((*name, *value))
        });
        chosen.collect()
    }

    /// Reads a record in every way: whether it was accepted.
    ///
    /// # Errors
    /// What is wrong with the converter, with the input.
    pub(crate) fn read(&mut self, record: &Record<'_>) -> Result<bool, String> {
        let told = |what: String| {
            let headers: Vec<_> = record
                .headers
                .iter()
                .map(|(name, value)| (String::from_utf8_lossy(name), value.as_deref().map(hex)))
                .collect();
            format!(
                "{what}\n  settings {}\n  schema {}\n  headers {headers:?}\n  bytes {}",
                record.settings,
                record.schema,
                hex(&record.bytes)
            )
        };
        self.counts.inputs += 1;
        let schema = record.schema.len();
        let payload = record.bytes.len().max(record.inflated);
        let convert = || record.converter.to_connect("t", record.headers, Some(&record.bytes));
        let (first, held) = guarded(convert).map_err(told)?;
        let (datum, held) = match first {
            Err(error) if error.kind() == DataErrorKind::NotReady => {
                let prepare = || {
                    let prepared = record.converter.prepare("t", record.headers, Some(&record.bytes));
                    self.runtime.block_on(prepared)
                };
                let (prepared, held) = guarded(prepare).map_err(told)?;
                if held > compile_limit(schema) {
                    return Err(told(format!("held {held} bytes to make the schema ready")));
                }
                if prepared.is_err() {
                    return Ok(false);
                }
                guarded(convert).map_err(told)?
            }
            first => (first, held),
        };
        if held > memory_limit(schema, payload) {
            return Err(told(format!("held {held} bytes to convert")));
        }
        let Ok(datum) = datum else {
            return Ok(false);
        };
        let mut is_accepted = false;
        for rendering in RENDERINGS {
            let (json, held) = guarded(|| both_ways(&datum, rendering, record.is_passed_on)).map_err(told)?;
            self.counts.most_bytes = self.counts.most_bytes.max(held);
            if held > memory_limit(schema, payload) {
                return Err(told(format!("held {held} bytes to write {rendering:?}")));
            }
            if let Some(json) = json.map_err(|what| told(format!("{rendering:?}: {what}")))? {
                if json.len() > output_limit(schema, payload) {
                    return Err(told(format!("{} bytes of JSON as {rendering:?}", json.len())));
                }
                is_accepted = true;
            }
        }
        self.counts.accepted += u64::from(is_accepted);
        Ok(is_accepted)
    }

    /// Runs what must not panic, and says what it held.
    pub(crate) fn guarded<T>(work: impl FnOnce() -> T) -> Result<(T, usize), String> {
        guarded(work)
    }
}

fn guarded<T>(work: impl FnOnce() -> T) -> Result<(T, usize), String> {
    let (result, held) = alloc::peak(|| catch_unwind(AssertUnwindSafe(work)));
    match result {
        Ok(result) => Ok((result, held)),
        Err(_) => Err("panicked".to_owned()),
    }
}

/// The JSON of a datum, which is the same straight and by way of values; none if both refuse it.
fn both_ways(datum: &Datum, rendering: Rendering, is_passed_on: bool) -> Result<Option<Vec<u8>>, String> {
    let mut straight = Vec::new();
    let written = datum.write_json(rendering, &mut straight);
    let by_values = datum.decode().and_then(|data| {
        let mut out = Vec::new();
        json::write(&data, rendering, &mut out)?;
        Ok::<_, DataError>(out)
    });
    match (written, by_values) {
        (Err(_), Err(_)) => Ok(None),
        (Ok(()), Ok(by_values)) if by_values != straight && !is_passed_on && !repeats_names(&straight, &by_values) => {
            Err(format!(
                "straight {} by way of values {}",
                String::from_utf8_lossy(&straight),
                String::from_utf8_lossy(&by_values)
            ))
        }
        (Ok(()), Ok(_)) => match serde_json::from_slice::<serde::de::IgnoredAny>(&straight) {
            Ok(_) => Ok(Some(straight)),
            Err(error) => Err(format!("no JSON: {error}: {}", String::from_utf8_lossy(&straight))),
        },
        (Ok(()), Err(error)) => Err(format!("accepted straight, by way of values {error}")),
        (Err(error), Ok(_)) => Err(format!("accepted by way of values, straight {error}")),
    }
}

/// Whether a text means another one, of which it only repeats names.
///
/// An Avro map of the wire may have a key twice, though no serializer writes it so. Straight, the member stands there
/// twice, and readers of JSON take the last one, as a map does.
fn repeats_names(straight: &[u8], by_values: &[u8]) -> bool {
    let read = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).ok();
    straight.len() > by_values.len() && read(straight) == read(by_values)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
