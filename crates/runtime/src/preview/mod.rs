//! What converters and transforms make of a record, without Kafka and without the sink.
//!
//! **Owns** the form of records and outcomes (`tests/golden/README.md` describes it), and how a record is taken through the
//! converters and the chain that a configuration names: as a task does, but for the sink.
//! **Does not know** where records come from and where outcomes go.
//! **Invariant:** there is one outcome for each record, whatever is wrong with the record or the configuration.

mod read;
mod record;
mod text;
mod write;

use std::fmt;
use std::time::Duration;

use klamm_connect_api::{ConfigError, ConfigErrors, DataError, DataErrorKind, Datum, Origin, RawHeader, Record};
use klamm_smt::{Stage, StageError, StageOutcome};
use tokio::time::Instant;

pub use self::record::PreviewRecord;
pub use self::text::{Story, describe};

use self::record::PreviewDatum;
use self::text::{datum_text, matched};
use self::write::{check, member, text_member, write_record};
use crate::config::{ConfiguredConverter, Conversion, SubmittedConfig, WorkerConfig};
use crate::plugins::Plugins;

/// How often something that may pass is tried, such as a registry that does not answer…
const ATTEMPTS: u32 = 3;
/// …and how long after the first try another one may begin: a registry's client has tried again by itself then.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);
/// What the steps of one record may take as JSON; those beyond are told without the record.
const STEPS_BYTES: usize = 4 * 1024 * 1024;

/// Takes records through the converters and transforms of a connector's configuration.
///
/// ```
/// # use klamm_runtime::{Plugins, Preview, PreviewRecord, SubmittedConfig, WorkerConfig};
/// # async fn preview(worker: &WorkerConfig, plugins: &Plugins) -> Result<(), String> {
/// let config = SubmittedConfig::from([
///     ("transforms".to_owned(), Some("route".to_owned())),
///     ("transforms.route.type".to_owned(), Some("RegexRouter".to_owned())),
///     ("transforms.route.regex".to_owned(), Some("(.*)-raw".to_owned())),
///     ("transforms.route.replacement".to_owned(), Some("$1".to_owned())),
/// ]);
/// let preview = Preview::new(&config, worker, plugins);
/// let record = PreviewRecord::parse(br#"{"topic": "orders-raw", "value": {"payload": {"id": 7}}}"#)?;
/// println!("{}", preview.run(&record).await.to_json());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Preview {
    conversion: Result<Conversion, ConfigErrors>,
}

/// What becomes of a record.
#[derive(Debug)]
pub enum Outcome {
    /// The record as the sink would get it.
    Record(Box<Record>),
    /// A transform dropped it.
    Dropped,
    /// It gets nowhere.
    Failed(Failure),
}

/// A part of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The key
    Key,
    /// The value
    Value,
    /// A header
    Headers,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Value => "value",
            Self::Headers => "headers",
        }
    }
}

/// Why a record gets nowhere. No text holds what the record holds.
#[derive(Debug)]
pub enum Failure {
    /// What was to be previewed is no record.
    Input(String),
    /// The configuration is refused.
    Config(ConfigErrors),
    /// A converter failed.
    Convert {
        /// Where the record is.
        origin: Origin,
        /// What was converted.
        part: Part,
        /// Why.
        error: DataError,
    },
    /// A transform or its predicate failed.
    Transform {
        /// Where the record is.
        origin: Origin,
        /// Which one, and why.
        failure: StageError,
    },
    /// There is a result, but the JSON converter cannot write it.
    Encode {
        /// Where the record is.
        origin: Origin,
        /// What cannot be written.
        part: Part,
        /// Why.
        error: DataError,
        /// The datum in a readable form.
        text: String,
    },
}

impl Failure {
    /// Where it failed: `input`, `config`, `convert`, `transform` or `encode`.
    #[must_use]
    pub fn stage(&self) -> &'static str {
        match self {
            Self::Input(_) => "input",
            Self::Config(_) => "config",
            Self::Convert { .. } => "convert",
            Self::Transform { .. } => "transform",
            Self::Encode { .. } => "encode",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(message) => f.write_str(message),
            Self::Config(errors) => fmt::Display::fmt(errors, f),
            Self::Convert { origin, part, error } => {
                write!(f, "record {origin}: the {} cannot be converted: {error}", part.name())
            }
            Self::Transform { origin, failure } => write!(f, "record {origin}: {failure}"),
            Self::Encode {
                origin, part, error, ..
            } => {
                write!(
                    f,
                    "record {origin}: the {} cannot be written as JSON: {error}",
                    part.name()
                )
            }
        }
    }
}

/// One step of a record's way.
#[derive(Debug)]
pub enum Step<'a> {
    /// The converters are done, and made this.
    Converted(&'a Record),
    /// A stage of the chain is done.
    Stage(&'a Stage, StageOutcome<'a>),
}

/// Looks on at the steps of a record.
pub type Observer<'a> = &'a mut (dyn FnMut(Step<'_>) + Send);

impl Outcome {
    /// The outcome as one line of JSON: an object with `record`, `dropped` or `error`.
    #[must_use]
    pub fn to_json(&self) -> String {
        self.json_with(None)
    }

    /// The same with `steps` beside it.
    #[must_use]
    pub fn to_json_with(&self, steps: &StepsJson) -> String {
        self.json_with(Some(steps))
    }

    fn json_with(&self, steps: Option<&StepsJson>) -> String {
        let mut out = b"{".to_vec();
        self.write_members(&mut out);
        if let Some(steps) = steps {
            member("steps", &mut out);
            out.push(b'[');
            out.extend_from_slice(&steps.json);
            out.push(b']');
        }
        out.push(b'}');
        // Only text and ASCII was appended.
        String::from_utf8(out).unwrap_or_default()
    }
}

/// The steps of one record as JSON, of bounded size.
#[derive(Debug, Default)]
pub struct StepsJson {
    json: Vec<u8>,
}

impl StepsJson {
    /// Adds a step.
    pub fn add(&mut self, step: &Step<'_>) {
        let out = &mut self.json;
        if !out.is_empty() {
            out.push(b',');
        }
        out.push(b'{');
        let record = match step {
            Step::Converted(record) => {
                text_member("step", "convert", out);
                Some(*record)
            }
            Step::Stage(stage, outcome) => {
                text_member("step", "transform", out);
                text_member("transform", stage.alias(), out);
                text_member("class", stage.class(), out);
                if let Some((predicate, _)) = stage.condition() {
                    text_member("predicate", predicate, out);
                    member("matched", out);
                    out.extend_from_slice(if matched(stage, outcome) { b"true" } else { b"false" });
                }
                match outcome {
                    StageOutcome::Skipped => {
                        member("skipped", out);
                        out.extend_from_slice(b"true");
                        None
                    }
                    StageOutcome::Applied(None) => {
                        member("dropped", out);
                        out.extend_from_slice(b"true");
                        None
                    }
                    StageOutcome::Applied(Some(record)) => Some(*record),
                }
            }
        };
        if let Some(record) = record {
            let start = out.len();
            if start < STEPS_BYTES {
                member("record", out);
                write_record(record, out);
            }
            if out.len() > STEPS_BYTES {
                out.truncate(start);
                member("record", out);
                out.extend_from_slice(b"\"not shown: the steps of this record are too large\"");
            }
        }
        out.push(b'}');
    }
}

impl Preview {
    /// Reads converters and transforms of a configuration. What only the sink or Kafka knows is not checked, so that
    /// `name`, `topics` and `connector.class` may be missing. A refused configuration is the outcome of every record.
    /// References to config providers, which only a worker has, are wrong here, but for those of transforms: these show.
    #[must_use]
    pub fn new(config: &SubmittedConfig, worker: &WorkerConfig, plugins: &Plugins) -> Self {
        let settings = Conversion::settings(config.clone(), plugins);
        let outside = Conversion::outside_references(&settings);
        let errors =
            outside.map(|key| ConfigError::new(key, "only a worker resolves `${provider:…}`: give the value itself"));
        match ConfigErrors::check(errors.collect()) {
            Ok(()) => Self::of_values(config, worker, plugins),
            Err(errors) => Self::refused(errors),
        }
    }

    /// As [`Preview::new`] with a configuration in which values stand for references already.
    #[must_use]
    pub(crate) fn of_values(config: &SubmittedConfig, worker: &WorkerConfig, plugins: &Plugins) -> Self {
        Self {
            conversion: Conversion::parse(config, worker, plugins),
        }
    }

    /// As [`Preview::new`] with a configuration that was already found wrong.
    #[must_use]
    pub(crate) fn refused(errors: ConfigErrors) -> Self {
        Self {
            conversion: Err(errors),
        }
    }

    /// Settings of transforms and predicates that change nothing, with the ones that may have been meant.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        self.conversion.as_ref().map_or(&[], |conversion| &conversion.warnings)
    }

    /// Takes a record through.
    ///
    /// # Cancel safety
    /// Safe: a preview changes nothing.
    pub async fn run(&self, record: &PreviewRecord) -> Outcome {
        self.run_observed(record, &mut |_| ()).await
    }

    /// As [`Preview::run`], with every step shown to `observe`.
    ///
    /// # Cancel safety
    /// As [`Preview::run`].
    pub async fn run_observed(&self, record: &PreviewRecord, observe: Observer<'_>) -> Outcome {
        match self.steps(record, observe).await {
            Ok(Some(record)) => Outcome::Record(Box::new(record)),
            Ok(None) => Outcome::Dropped,
            Err(failure) => Outcome::Failed(failure),
        }
    }

    /// The outcome of what was to be a record and is none, with the reason. A refused configuration is the reason of all.
    #[must_use]
    pub fn run_bad_input(&self, message: &str) -> Outcome {
        Outcome::Failed(match &self.conversion {
            Ok(_) => Failure::Input(message.to_owned()),
            Err(errors) => Failure::Config(errors.clone()),
        })
    }

    async fn steps(&self, input: &PreviewRecord, observe: Observer<'_>) -> Result<Option<Record>, Failure> {
        let conversion = self
            .conversion
            .as_ref()
            .map_err(|errors| Failure::Config(errors.clone()))?;
        let record = convert(conversion, input)
            .await
            .map_err(|(part, error)| Failure::Convert {
                origin: input.origin.clone(),
                part,
                error,
            })?;
        observe(Step::Converted(&record));
        let transformed = conversion
            .chain
            .apply_observed(record, |stage, outcome| observe(Step::Stage(stage, outcome)))
            .map_err(|failure| Failure::Transform {
                origin: input.origin.clone(),
                failure,
            })?;
        transformed.map(writable).transpose()
    }
}

/// The record, if the JSON converter can write it.
fn writable(record: Record) -> Result<Record, Failure> {
    let mut scratch = Vec::new();
    let headers = record.headers.iter().map(|header| (Part::Headers, &header.value));
    let parts = [(Part::Key, &record.key), (Part::Value, &record.value)];
    for (part, datum) in parts.into_iter().chain(headers) {
        if let Err(error) = check(datum, &mut scratch) {
            return Err(Failure::Encode {
                origin: record.origin().clone(),
                part,
                error,
                text: datum_text(datum),
            });
        }
    }
    Ok(record)
}

async fn convert(conversion: &Conversion, input: &PreviewRecord) -> Result<Record, (Part, DataError)> {
    let wire = input.raw_headers();
    let key = converted(&conversion.key_converter, input, &wire, &input.key).await;
    let key = key.map_err(|error| (Part::Key, error))?;
    let value = converted(&conversion.value_converter, input, &wire, &input.value).await;
    let value = value.map_err(|error| (Part::Value, error))?;
    let mut record = Record::new(input.origin.clone(), key, value);
    record.topic.clone_from(&input.topic);
    record.timestamp = input.timestamp;
    record.timestamp_type = input.timestamp_type;
    let topic = input.origin.topic_partition.topic();
    for (key, value) in &input.headers {
        let key = String::from_utf8_lossy(key);
        let bytes = match value {
            PreviewDatum::Raw(bytes) => bytes.as_ref(),
            PreviewDatum::Null => None,
            PreviewDatum::Data(data) => {
                record.headers.add(key, data.clone());
                continue;
            }
        };
        let value = conversion.header_converter.to_connect_header(topic, &key, bytes);
        let value = value.and_then(decodes).map_err(|error| (Part::Headers, error))?;
        record.headers.add(key, value);
    }
    Ok(record)
}

/// The datum, with what its converter lacks fetched.
async fn converted(
    converter: &ConfiguredConverter,
    input: &PreviewRecord,
    wire: &[RawHeader],
    datum: &PreviewDatum,
) -> Result<Datum, DataError> {
    let topic = input.origin.topic_partition.topic();
    let bytes = match datum {
        PreviewDatum::Raw(bytes) => bytes.as_ref(),
        PreviewDatum::Null if converter.is_workers => return Ok(Datum::NULL),
        PreviewDatum::Null => None,
        PreviewDatum::Data(data) => return Ok(Datum::Decoded(data.clone())),
    };
    let converter = &converter.converter;
    let datum = match converter.to_connect(topic, wire, bytes) {
        Err(error) if error.kind() == DataErrorKind::NotReady => {
            patiently(|| converter.prepare(topic, wire, bytes)).await?;
            converter.to_connect(topic, wire, bytes)
        }
        outcome => outcome,
    };
    datum.and_then(decodes)
}

/// A codec may report late what its converter left open; that is the converter's failure.
fn decodes(datum: Datum) -> Result<Datum, DataError> {
    datum.decode()?;
    Ok(datum)
}

/// Tries what may pass a few times.
async fn patiently<F>(attempt: impl Fn() -> F) -> Result<(), DataError>
where
    F: Future<Output = Result<(), DataError>>,
{
    let begin = Instant::now();
    let mut left = ATTEMPTS;
    loop {
        left -= 1;
        match attempt().await {
            Err(error) if error.is_retriable() && left > 0 && begin.elapsed() < PATIENCE => {
                tokio::time::sleep(PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests;
