//! What the converters of a schema registry have in common: which schema a record names, fetching it, and keeping what
//! was made of it.

mod framing;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use indexmap::Equivalent;
use klamm_connect_api::config::Validator;
use klamm_connect_api::{
    ConfigDef, ConfigErrors, ConfigKey, ConfigType, ConverterRole, DataError, DataErrorKind, Importance, ParsedConfig,
    RawHeader,
};
use klamm_schema_registry::{
    Cache, Limits, Lookup, RegisteredSchema, SchemaId, SchemaRegistry, SchemaType, config_keys,
};

pub(crate) use self::framing::Framed;

const CACHE_SIZE: &str = "schemas.cache.config";
const LOOK_UP_VERSION: &str = "schema.version.lookup";
const KEY_STRATEGY: &str = "key.subject.name.strategy";
const VALUE_STRATEGY: &str = "value.subject.name.strategy";
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
            unused(
                "use.latest.version",
                ConfigType::Boolean,
                "false",
                "Whether data is brought to the latest version of its subject. Not there yet: data is read by the schema \
                 that it was written with.",
            )
            .validator(Validator::new(|text| {
                if text.eq_ignore_ascii_case("false") {
                    Ok(())
                } else {
                    Err("is not supported, data is read by the schema that it was written with: set it to false".to_owned())
                }
            })),
        )
        .key(
            unused(
                "use.schema.id",
                ConfigType::Int,
                "-1",
                "The schema that data is brought to. Not there yet: data is read by the schema that it was written with.",
            )
            .validator(Validator::between(-1, -1)),
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

/// How a subject's name is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strategy {
    Topic,
    Record,
    TopicRecord,
}

impl Strategy {
    fn of(class: &str) -> Result<Self, String> {
        match class.rsplit('.').next().unwrap_or_default() {
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
    compiled: Cache<Key, Arc<C::Output>, DataError>,
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

    /// Fetches and compiles the schema that the record names.
    pub(crate) async fn prepare(&self, topic: &str, headers: &[RawHeader], bytes: &Bytes) -> Result<(), DataError> {
        self.source(bytes).prepare(topic, headers, bytes).await
    }
}

/// How records name their schemas, and what is known of a schema besides.
#[derive(Debug, Clone, Copy)]
enum Naming {
    /// In a registry with subjects.
    Subjects { strategy: Strategy, looks_up_version: bool },
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
        };
        Ok(Self::new(
            config,
            role,
            compiler,
            SchemaRegistry::try_new(config)?,
            naming,
        ))
    }

    fn of_glue(config: &ParsedConfig, role: ConverterRole, compiler: C) -> Result<Self, ConfigErrors> {
        let registry = SchemaRegistry::try_new_glue(config)?;
        Ok(Self::new(config, role, compiler, registry, Naming::Glue))
    }

    fn new(config: &ParsedConfig, role: ConverterRole, compiler: C, registry: SchemaRegistry, naming: Naming) -> Self {
        Self {
            compiler,
            registry,
            role,
            naming,
            compiled: Cache::new(Limits {
                entries: config.usize(CACHE_SIZE).unwrap_or(1000),
                answers_live: None,
            }),
        }
    }

    fn split(&self, headers: &[RawHeader], bytes: &Bytes) -> Result<Framed, DataError> {
        match self.naming {
            Naming::Subjects { .. } => framing::split(framing::header_name(self.role), headers, bytes),
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
        let fetch = async { self.fetch(topic, id).await.map(Arc::new) };
        self.compiled.get_or_fetch(&key, holds, fetch).await.map(drop)
    }

    async fn fetch(&self, topic: &str, id: SchemaId) -> Result<C::Output, DataError> {
        let (strategy, looks_up_version) = match self.naming {
            Naming::Subjects {
                strategy,
                looks_up_version,
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
                Some(subject) => self.registry.version(&subject, &lookup, &schema.document).await?,
                None => None,
            }
        } else {
            None
        };
        // What reads the schema's data names the subject in its errors.
        if schema.document.subject.is_none()
            && let Some(subject) = &by_topic
        {
            Arc::make_mut(&mut schema.document).subject = Some(Arc::clone(subject));
        }
        self.compiler.compile(&schema, id, version).map_err(named)
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
        let name = self.compiler.record_name(schema)?;
        Ok(name.map(|name| match strategy {
            Strategy::Topic => self.topic_subject(topic),
            Strategy::Record => Arc::from(name),
            Strategy::TopicRecord => Arc::from(format!("{topic}-{name}")),
        }))
    }
}
