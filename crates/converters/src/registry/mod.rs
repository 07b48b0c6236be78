//! What the converters of a schema registry have in common: which schema a record names, fetching it, and keeping what
//! was made of it.

mod framing;
pub(crate) mod unrolled;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use indexmap::Equivalent;
use klamm_connect_api::config::Validator;
use klamm_connect_api::{
    ConfigDef, ConfigError, ConfigErrors, ConfigKey, ConfigType, ConverterRole, DataError, DataErrorKind, Importance,
    ParsedConfig, RawHeader, SchemaMetadata,
};
use klamm_schema_registry::{
    Cache, Limits, Lookup, RegisteredSchema, SchemaId, SchemaRegistry, SchemaType, config_keys,
};

use uuid::Uuid;

pub(crate) use self::framing::Framed;
use self::framing::IdPlace;

const CACHE_SIZE: &str = "schemas.cache.config";
const LOOK_UP_VERSION: &str = "schema.version.lookup";
const KEY_STRATEGY: &str = "key.subject.name.strategy";
const VALUE_STRATEGY: &str = "value.subject.name.strategy";
const KEY_DESERIALIZER: &str = "key.schema.id.deserializer";
const VALUE_DESERIALIZER: &str = "value.schema.id.deserializer";
const DUAL_DESERIALIZER: &str = "DualSchemaIdDeserializer";
const PREFIX_DESERIALIZER: &str = "PrefixSchemaIdDeserializer";
const HEADER_DESERIALIZER: &str = "HeaderSchemaIdDeserializer";
const CONFIG_DESERIALIZER: &str = "ConfigSchemaIdDeserializer";
const USE_ID: &str = "use.schema.id";
const USE_GUID: &str = "use.schema.guid";
const USE_LATEST: &str = "use.latest.version";
const USE_LATEST_WITH_METADATA: &str = "use.latest.with.metadata";
const LATEST_TTL: &str = "latest.cache.ttl.sec";
const SECONDARY: &str = "secondaryDeserializer";
/// A schema that could not be compiled is looked at again after this long.
const FAILURE_HOLDS: Duration = Duration::from_secs(10);
/// A registry that did not answer is asked again at once by the next one: its client has its own pause.
const RETRIABLE_HOLDS: Duration = Duration::ZERO;

/// The settings that these converters share.
pub(crate) fn config_def() -> ConfigDef {
    let strategy = |name| {
        ConfigKey::new(
            name,
            ConfigType::Class,
            Importance::Medium,
            "How the subject of a schema is made: TopicNameStrategy (`<topic>-key`, `<topic>-value`), RecordNameStrategy \
             (the record type's name) or TopicRecordNameStrategy (`<topic>-<name>`).",
        )
        .default("io.confluent.kafka.serializers.subject.TopicNameStrategy")
        .validator(Validator::new(|name| Strategy::of(name).map(drop)))
    };
    let deserializer = |name| {
        ConfigKey::new(
            name,
            ConfigType::Class,
            Importance::Low,
            "Where records name their schema: DualSchemaIdDeserializer (in a header, or else in front of their bytes), \
             PrefixSchemaIdDeserializer, HeaderSchemaIdDeserializer, or ConfigSchemaIdDeserializer (nowhere: \
             `use.schema.id` or `use.schema.guid` names the schema of all of them).",
        )
        .default("io.confluent.kafka.serializers.schema.id.DualSchemaIdDeserializer")
        .validator(Validator::new(|class| match short(class) {
            DUAL_DESERIALIZER | PREFIX_DESERIALIZER | HEADER_DESERIALIZER | CONFIG_DESERIALIZER => Ok(()),
            _ => Err(format!(
                "must be one of: {DUAL_DESERIALIZER}, {PREFIX_DESERIALIZER}, {HEADER_DESERIALIZER}, {CONFIG_DESERIALIZER}"
            )),
        }))
    };
    let unused = |name, config_type, default: &str, documentation: &str| {
        ConfigKey::new(name, config_type, Importance::Low, documentation).default(default)
    };
    ConfigDef::new()
        .key(crate::type_key())
        .with(config_keys())
        .prefix("request.header.")
        .key(strategy(KEY_STRATEGY))
        .key(strategy(VALUE_STRATEGY))
        .key(
            ConfigKey::new(
                CACHE_SIZE,
                ConfigType::Int,
                Importance::Low,
                "How many schemas are kept in their compiled form.",
            )
            .default("1000")
            .validator(Validator::at_least(1)),
        )
        .key(
            ConfigKey::new(
                LOOK_UP_VERSION,
                ConfigType::Boolean,
                Importance::Low,
                "Whether the version that a schema has in its subject is looked up and becomes the version of the \
                 Connect schema: one more request for each schema, for transforms that show it.",
            )
            .default("false"),
        )
        .key(
            ConfigKey::new(
                USE_LATEST,
                ConfigType::Boolean,
                Importance::Medium,
                "Whether data is read by the latest version of its subject instead of the schema that it was written \
                 with: Avro data is resolved to it, JSON and Protobuf data is read as if it had been written with it. \
                 `latest.cache.ttl.sec` says how soon a newer version is noticed.",
            )
            .default("false"),
        )
        .key(
            ConfigKey::new(
                USE_LATEST_WITH_METADATA,
                ConfigType::List,
                Importance::Medium,
                "As `use.latest.version`, with the latest version that has these properties in its metadata, such as \
                 `major=2,stage=prod`. It goes before `use.latest.version`.",
            )
            .optional()
            .validator(Validator::new(|text| metadata(text).map(drop))),
        )
        .key(deserializer(KEY_DESERIALIZER))
        .key(deserializer(VALUE_DESERIALIZER))
        .key(
            ConfigKey::new(
                USE_ID,
                ConfigType::Int,
                Importance::Low,
                "The id of the schema that all records have, with ConfigSchemaIdDeserializer. With the others it only \
                 matters when data is written, and is not looked at.",
            )
            .default("-1")
            .validator(Validator::at_least(-1)),
        )
        .key(
            ConfigKey::new(
                USE_GUID,
                ConfigType::String,
                Importance::Low,
                "The GUID of that schema, in place of `use.schema.id`.",
            )
            .optional()
            .validator(Validator::new(|text| {
                Uuid::parse_str(text).map(drop).map_err(|_| "must be a GUID".to_owned())
            })),
        )
        .key(unused(
            "auto.register.schemas",
            ConfigType::Boolean,
            "true",
            "Whether schemas are registered when data is written. A sink only reads.",
        ))
        .key(unused(
            "normalize.schemas",
            ConfigType::Boolean,
            "false",
            "Whether schemas are normalized when data is written. A sink only reads.",
        ))
        .key(unused(
            "latest.compatibility.strict",
            ConfigType::Boolean,
            "true",
            "Whether the latest version has to be compatible when data is written. A sink only reads.",
        ))
}

/// The text after the last dot of a class name.
fn short(class: &str) -> &str {
    class.rsplit('.').next().unwrap_or_default()
}

fn metadata(text: &str) -> Result<Vec<(String, String)>, String> {
    let pairs = text.split(',').filter(|pair| !pair.trim().is_empty());
    pairs
        .map(|pair| match pair.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
            _ => Err("must be pairs such as `major=2,stage=prod`".to_owned()),
        })
        .collect()
}

/// Where records name their schema, by the settings of the role.
fn id_place(config: &ParsedConfig, role: ConverterRole) -> Result<IdPlace, ConfigErrors> {
    let key = match role {
        ConverterRole::Key => KEY_DESERIALIZER,
        ConverterRole::Value | ConverterRole::Header => VALUE_DESERIALIZER,
    };
    match config.str(key).map(short) {
        Some(PREFIX_DESERIALIZER) => return Ok(IdPlace::Prefix),
        Some(HEADER_DESERIALIZER) => return Ok(IdPlace::Header),
        Some(CONFIG_DESERIALIZER) => {}
        _ => return Ok(IdPlace::Dual),
    }
    let guid = config.str(USE_GUID).and_then(|text| Uuid::parse_str(text).ok());
    let id = config
        .int(USE_ID)
        .and_then(|id| i32::try_from(id).ok())
        .filter(|id| *id >= 0);
    match (guid, id) {
        (Some(guid), _) => Ok(IdPlace::Fixed(SchemaId::Guid(guid))),
        (None, Some(id)) => Ok(IdPlace::Fixed(SchemaId::Id(id))),
        (None, None) => {
            let message = format!("is needed by `{key}={CONFIG_DESERIALIZER}`, or `{USE_GUID}`");
            ConfigErrors::check(vec![ConfigError::new(USE_ID, message)]).map(|()| IdPlace::Dual)
        }
    }
}

/// By which schema data is read.
#[derive(Debug)]
enum Reading {
    /// The one that it was written with.
    Written,
    /// The latest version of the subject.
    Latest,
    /// The latest version of the subject that has these properties.
    LatestWith(Vec<(String, String)>),
}

impl Reading {
    fn of(config: &ParsedConfig) -> Self {
        let pairs = metadata(&config.list(USE_LATEST_WITH_METADATA).join(",")).unwrap_or_default();
        if !pairs.is_empty() {
            Self::LatestWith(pairs)
        } else if config.bool(USE_LATEST) == Some(true) {
            Self::Latest
        } else {
            Self::Written
        }
    }
}

/// Which schema a record has, for its errors: `what` is the schema's language and name.
pub(crate) fn place(schema: &RegisteredSchema, id: SchemaId, what: &str) -> String {
    match &schema.document.subject {
        Some(subject) => format!("schema {id} (subject {subject}, {what})"),
        None => format!("schema {id} ({what})"),
    }
}

/// Which schema a record was written with, for payloads that say it.
pub(crate) fn schema_metadata(data_format: &'static str, id: SchemaId) -> SchemaMetadata {
    let schema_id = match id {
        SchemaId::Id(id) => id.to_string(),
        SchemaId::Guid(id) | SchemaId::VersionId(id) => id.to_string(),
    };
    SchemaMetadata {
        data_format,
        schema_id: schema_id.into(),
    }
}

/// The settings that converters of AWS Glue's registry share: its own, and those of a second registry, which is not
/// needed.
pub(crate) fn glue_config_def() -> ConfigDef {
    let second = config_def()
        .keys()
        .to_vec()
        .into_iter()
        .map(|key| match key.name.as_str() {
            "schema.registry.url" => key.optional(),
            _ => key,
        });
    ConfigDef::new()
        .with(klamm_schema_registry::glue::config_keys())
        .with(second)
        .prefix("request.header.")
        .key(
            ConfigKey::new(
                SECONDARY,
                ConfigType::Class,
                Importance::Medium,
                "Confluent's deserializer, such as io.confluent.kafka.serializers.KafkaAvroDeserializer, for records \
                 without AWS Glue's header: they are read with the registry of `schema.registry.url`.",
            )
            .optional()
            .validator(Validator::new(|class| {
                if class.is_empty() || class.starts_with("io.confluent.kafka.serializers.") {
                    Ok(())
                } else {
                    Err("must be a deserializer of Confluent, such as \
                         io.confluent.kafka.serializers.KafkaAvroDeserializer: classes of your own cannot be loaded"
                        .to_owned())
                }
            })),
        )
}

/// Whose converter shows what Connect data looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vendor {
    /// Confluent's.
    Confluent,
    /// AWS's, for its Glue registry.
    Glue,
}

/// How a subject's name is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strategy {
    Topic,
    Record,
    TopicRecord,
}

impl Strategy {
    fn of(class: &str) -> Result<Self, String> {
        match short(class) {
            // The newer default asks the registry for associations first and falls back to this.
            "TopicNameStrategy" | "AssociatedNameStrategy" => Ok(Self::Topic),
            "RecordNameStrategy" => Ok(Self::Record),
            "TopicRecordNameStrategy" => Ok(Self::TopicRecord),
            _ => Err("must be one of: TopicNameStrategy, RecordNameStrategy, TopicRecordNameStrategy".to_owned()),
        }
    }
}

/// Makes of a registered schema what reads its data.
pub(crate) trait Compile: Send + Sync + fmt::Debug {
    type Output: Send + Sync + fmt::Debug;

    const SCHEMA_TYPE: SchemaType;

    /// What reads data of the schema; `version` is the one in the record's subject, if it was looked up.
    fn compile(&self, schema: &RegisteredSchema, id: SchemaId, version: Option<i32>)
    -> Result<Self::Output, DataError>;

    /// What reads data of the schema `writer` and brings it to `reader`, a later version of it.
    ///
    /// # Errors
    /// As [`Compile::compile`].
    fn compile_for(
        &self,
        _writer: &RegisteredSchema,
        reader: &RegisteredSchema,
        id: SchemaId,
        version: Option<i32>,
    ) -> Result<Self::Output, DataError> {
        self.compile(reader, id, version)
    }

    /// The full name of the record type, for subjects that are named after it.
    fn record_name(&self, schema: &RegisteredSchema) -> Result<Option<String>, DataError>;
}

/// Compiled schemas of one registry by what records name.
#[derive(Debug)]
struct Source<C: Compile> {
    compiler: C,
    registry: SchemaRegistry,
    role: ConverterRole,
    naming: Naming,
    reading: Reading,
    compiled: Cache<Key, Arc<C::Output>, DataError>,
    /// How long what was compiled is used; none: for good.
    compiled_lives: Option<Duration>,
}

/// Compiled schemas by what records name, with the registry or registries behind.
#[derive(Debug)]
pub(crate) struct Schemas<C: Compile> {
    first: Source<C>,
    /// For records without AWS Glue's header, if the first one is Glue.
    second: Option<Source<C>>,
}

impl<C: Compile> Schemas<C> {
    pub(crate) fn try_new(config: &ParsedConfig, role: ConverterRole, compiler: C) -> Result<Self, ConfigErrors> {
        Ok(Self {
            first: Source::of_confluent(config, role, compiler)?,
            second: None,
        })
    }

    /// Those of AWS Glue, and of the registry that `secondaryDeserializer` stands for.
    pub(crate) fn try_new_glue(config: &ParsedConfig, role: ConverterRole, compiler: C) -> Result<Self, ConfigErrors>
    where
        C: Clone,
    {
        let second = match config.str(SECONDARY) {
            Some(class) if !class.is_empty() => Some(Source::of_confluent(config, role, compiler.clone())?),
            _ => None,
        };
        Ok(Self {
            first: Source::of_glue(config, role, compiler)?,
            second,
        })
    }

    fn source(&self, bytes: &Bytes) -> &Source<C> {
        match &self.second {
            Some(second) if !framing::is_of_glue(bytes) => second,
            _ => &self.first,
        }
    }

    /// The record's framing, and what reads its payload.
    ///
    /// # Errors
    /// Bytes that name no schema; [`DataErrorKind::NotReady`] if the schema has to be fetched first.
    pub(crate) fn of(
        &self,
        topic: &str,
        headers: &[RawHeader],
        bytes: &Bytes,
    ) -> Result<(Framed, Arc<C::Output>), DataError> {
        self.source(bytes).of(topic, headers, bytes)
    }

    /// Asks the registries whether they answer.
    pub(crate) async fn probe(&self) -> Result<(), DataError> {
        for source in std::iter::once(&self.first).chain(&self.second) {
            source.registry.probe().await?;
        }
        Ok(())
    }

    /// Fetches and compiles the schema that the record names.
    pub(crate) async fn prepare(&self, topic: &str, headers: &[RawHeader], bytes: &Bytes) -> Result<(), DataError> {
        self.source(bytes).prepare(topic, headers, bytes).await
    }
}

/// How records name their schemas, and what is known of a schema besides.
#[derive(Debug, Clone, Copy)]
enum Naming {
    /// In a registry with subjects.
    Subjects {
        id_place: IdPlace,
        strategy: Strategy,
        looks_up_version: bool,
    },
    /// By version ids of AWS Glue, which say all.
    Glue,
}

/// An id means something in the context of its topic's subject only.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    topic: Arc<str>,
    id: SchemaId,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&*self.topic, self.id).hash(state);
    }
}

/// [`Key`] without owning the topic.
#[derive(Hash)]
struct KeyRef<'a>(&'a str, SchemaId);

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.1 == key.id && *self.0 == *key.topic
    }
}

impl<C: Compile> Source<C> {
    fn of_confluent(config: &ParsedConfig, role: ConverterRole, compiler: C) -> Result<Self, ConfigErrors> {
        let strategy = match role {
            ConverterRole::Key => KEY_STRATEGY,
            ConverterRole::Value | ConverterRole::Header => VALUE_STRATEGY,
        };
        let naming = Naming::Subjects {
            strategy: config
                .str(strategy)
                .and_then(|name| Strategy::of(name).ok())
                .unwrap_or(Strategy::Topic),
            looks_up_version: config.bool(LOOK_UP_VERSION) == Some(true),
            id_place: id_place(config, role)?,
        };
        Ok(Self::new(
            config,
            role,
            compiler,
            SchemaRegistry::try_new(config)?,
            naming,
            Reading::of(config),
        ))
    }

    fn of_glue(config: &ParsedConfig, role: ConverterRole, compiler: C) -> Result<Self, ConfigErrors> {
        let registry = SchemaRegistry::try_new_glue(config)?;
        Ok(Self::new(
            config,
            role,
            compiler,
            registry,
            Naming::Glue,
            Reading::Written,
        ))
    }

    fn new(
        config: &ParsedConfig,
        role: ConverterRole,
        compiler: C,
        registry: SchemaRegistry,
        naming: Naming,
        reading: Reading,
    ) -> Self {
        Self {
            compiler,
            registry,
            role,
            naming,
            compiled: Cache::new(Limits {
                entries: config.usize(CACHE_SIZE).unwrap_or(1000),
                answers_live: None,
            }),
            compiled_lives: match reading {
                Reading::Written => None,
                // A newer version is noticed when the old one is looked for again.
                Reading::Latest | Reading::LatestWith(_) => config
                    .int(LATEST_TTL)
                    .and_then(|seconds| u64::try_from(seconds).ok())
                    // What was made ready has to be there when the record is converted.
                    .map(|seconds| Duration::from_secs(seconds.max(1))),
            },
            reading,
        }
    }

    fn split(&self, headers: &[RawHeader], bytes: &Bytes) -> Result<Framed, DataError> {
        match self.naming {
            Naming::Subjects { id_place, .. } => {
                framing::split(id_place, framing::header_name(self.role), headers, bytes)
            }
            Naming::Glue => framing::split_glue(bytes),
        }
    }

    fn of(&self, topic: &str, headers: &[RawHeader], bytes: &Bytes) -> Result<(Framed, Arc<C::Output>), DataError> {
        let framed = self.split(headers, bytes)?;
        match self.compiled.get(&KeyRef(topic, framed.id)) {
            Some(compiled) => Ok((framed.inflated()?, compiled)),
            None => Err(DataError::new(DataErrorKind::NotReady, String::new())),
        }
    }

    async fn prepare(&self, topic: &str, headers: &[RawHeader], bytes: &Bytes) -> Result<(), DataError> {
        let id = self.split(headers, bytes)?.id;
        let key = Key {
            topic: Arc::from(topic),
            id,
        };
        let holds = |error: &DataError| {
            if error.is_retriable() {
                RETRIABLE_HOLDS
            } else {
                FAILURE_HOLDS
            }
        };
        let fetch = async {
            let (compiled, life) = self.fetch(topic, id).await?;
            Ok((Arc::new(compiled), life))
        };
        let made = self.compiled.get_or_fetch_for_a_time(&key, holds, fetch);
        made.await.map(drop)
    }

    /// What reads the data of a schema, and for how long.
    async fn fetch(&self, topic: &str, id: SchemaId) -> Result<(C::Output, Option<Duration>), DataError> {
        let (strategy, looks_up_version) = match self.naming {
            Naming::Subjects {
                strategy,
                looks_up_version,
                ..
            } => (Some(strategy), looks_up_version),
            Naming::Glue => (None, false),
        };
        let by_topic = (strategy == Some(Strategy::Topic)).then(|| self.topic_subject(topic));
        let lookup = match id {
            SchemaId::Id(id) => Lookup::Id {
                id,
                subject: by_topic.clone(),
            },
            SchemaId::Guid(guid) => Lookup::Guid(guid),
            SchemaId::VersionId(id) => Lookup::VersionId(id),
        };
        let mut schema = self.registry.schema(&lookup).await?;
        let named = |error: DataError| match &by_topic {
            Some(subject) => error.at(&format!("schema {id} (subject {subject})")),
            None => error.at(&format!("schema {id}")),
        };
        let found = schema.document.schema_type;
        if found != C::SCHEMA_TYPE {
            return Err(named(DataError::data(format!(
                "it is of type {found}, and this converter reads {}: use the converter of that type",
                C::SCHEMA_TYPE
            ))));
        }
        let version = if let Some(strategy) = strategy.filter(|_| looks_up_version) {
            let subject = match by_topic.clone() {
                Some(subject) => Some(subject),
                None => self.record_subject(strategy, topic, &schema).map_err(named)?,
            };
            match subject {
                Some(subject) => match self.registry.version(&subject, &lookup, &schema.document).await {
                    // Data can be read without it, so that an outage does not stop schemas that are known.
                    Err(error) if error.is_retriable() => {
                        tracing::warn!(schema = %id, %subject, %error, "the schema has no version in Connect for now");
                        None
                    }
                    version => version?,
                },
                None => None,
            }
        } else {
            None
        };
        let life = if looks_up_version && version.is_none() {
            // It may be registered under the subject later.
            Some(
                self.compiled_lives
                    .map_or(FAILURE_HOLDS, |life| life.min(FAILURE_HOLDS)),
            )
        } else {
            self.compiled_lives
        };
        // What reads the schema's data names the subject in its errors.
        if schema.document.subject.is_none()
            && let Some(subject) = &by_topic
        {
            Arc::make_mut(&mut schema.document).subject = Some(Arc::clone(subject));
        }
        let compiled = match self.reader(topic, &schema).await? {
            Some(reader) => {
                let reader_place = reader
                    .document
                    .version
                    .map_or_else(String::new, |version| format!(" read by version {version}"));
                self.compiler
                    .compile_for(&schema, &reader, id, version)
                    .map_err(|error| named(error.at(&format!("{}{reader_place}", C::SCHEMA_TYPE))))
            }
            None => self.compiler.compile(&schema, id, version).map_err(named),
        };
        Ok((compiled?, life))
    }

    /// The schema that data is brought to, if that is another one than it was written with.
    async fn reader(&self, topic: &str, writer: &RegisteredSchema) -> Result<Option<RegisteredSchema>, DataError> {
        let (Naming::Subjects { strategy, .. }, Reading::Latest | Reading::LatestWith(_)) =
            (self.naming, &self.reading)
        else {
            return Ok(None);
        };
        let Some(subject) = self.record_subject(strategy, topic, writer)? else {
            return Err(DataError::data(
                "the schema has no name, so there is no subject whose latest version it could be brought to",
            ));
        };
        let lookup = match &self.reading {
            Reading::Written => return Ok(None),
            Reading::Latest => Lookup::Latest { subject },
            Reading::LatestWith(metadata) => Lookup::LatestWith {
                subject,
                metadata: metadata.clone(),
            },
        };
        let reader = self.registry.schema(&lookup).await?;
        let found = reader.document.schema_type;
        if found != C::SCHEMA_TYPE {
            return Err(DataError::data(format!(
                "{lookup} is of type {found}, and this converter reads {}",
                C::SCHEMA_TYPE
            )));
        }
        let is_same = reader.document.text == writer.document.text && reader.references == writer.references;
        Ok((!is_same).then_some(reader))
    }

    fn topic_subject(&self, topic: &str) -> Arc<str> {
        let suffix = match self.role {
            ConverterRole::Key => "key",
            ConverterRole::Value | ConverterRole::Header => "value",
        };
        Arc::from(format!("{topic}-{suffix}"))
    }

    fn record_subject(
        &self,
        strategy: Strategy,
        topic: &str,
        schema: &RegisteredSchema,
    ) -> Result<Option<Arc<str>>, DataError> {
        if strategy == Strategy::Topic {
            return Ok(Some(self.topic_subject(topic)));
        }
        let name = self.compiler.record_name(schema)?;
        Ok(name.map(|name| match strategy {
            Strategy::Topic => self.topic_subject(topic),
            Strategy::Record => Arc::from(name),
            Strategy::TopicRecord => Arc::from(format!("{topic}-{name}")),
        }))
    }
}
