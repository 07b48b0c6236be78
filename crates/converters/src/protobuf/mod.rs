//! `ProtobufConverter`: Protobuf with its schema in a registry, as Confluent's converter reads it, or AWS's for Glue.
//!
//! `descriptor` reads one file, `types` puts a schema and what it imports together, `plan` (made by `planner`)
//! says how data is read and `connect` makes the Connect schema of that; `index` says which message a record holds, `wire` takes the bytes
//! apart, `scan` finds the fields of a message in them, for `read` into values and for `transcode` straight into JSON,
//! which needs no finding where `stream` takes fields in the order of their numbers.

mod connect;
mod descriptor;
mod index;
mod known;
mod logical;
mod meta;
mod plan;
mod planner;
mod read;
mod scan;
mod stream;
mod transcode;
mod types;
mod wire;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use klamm_connect_api::config::Validator;
use klamm_connect_api::{
    BoxFuture, ConfigDef, ConfigErrors, ConfigKey, ConfigType, Converter, ConverterPlugin, ConverterRole, DataError,
    DataErrorKind, Datum, DatumCodec, Importance, ParsedConfig, PluginInfo, PluginKind, Probe, RawHeader, Rendering,
    SchemaAndValue, SchemaMetadata, SchemaRef,
};
use klamm_schema_registry::{RegisteredSchema, SchemaId, SchemaType};
use smallvec::smallvec;

use self::connect::{Builder, Order};
use self::plan::{Options, Plan};
use self::read::Reader;
use self::transcode::{Way, Writer};
use self::types::{MessageId, Types};
use crate::registry::{self, Compile, Schemas, Vendor};

const CLASS: &str = "io.confluent.connect.protobuf.ProtobufConverter";
const GLUE_CLASS: &str = "com.amazonaws.services.schemaregistry.kafkaconnect.protobuf.ProtobufSchemaConverter";
/// Beside Confluent's names AWS's own do not tell whose they are.
const GLUE_ALIASES: &[&str] = &["AWSKafkaProtobufConverter", "AWSKafkaProtobuf"];
const ENHANCED: &str = "enhanced.protobuf.schema.support";
const GENERALIZED: &str = "generalized.sum.type.support";
const INT_FOR_ENUMS: &str = "int.for.enums";
const OPTIONAL_FOR_NULLABLES: &str = "optional.for.nullables";
const OPTIONAL_FOR_PROTO2: &str = "optional.for.proto2";
const WRAPPER_FOR_NULLABLES: &str = "wrapper.for.nullables";
const WRAPPER_FOR_RAW_PRIMITIVES: &str = "wrapper.for.raw.primitives";
const STRUCT_FOR_NULLS: &str = "generate.struct.for.nulls";
const INDEX_FOR_UNIONS: &str = "generate.index.for.unions";
const FLATTEN_UNIONS: &str = "flatten.unions";

pub(crate) fn converter_plugin() -> ConverterPlugin {
    ConverterPlugin {
        info: crate::info(PluginKind::Converter, CLASS),
        config_def,
        create: |config, role| Ok(Arc::new(ProtobufConverter::try_new(config, role)?)),
    }
}

/// With its schema in AWS Glue, as AWS's converter reads it.
pub(crate) fn glue_converter_plugin() -> ConverterPlugin {
    ConverterPlugin {
        info: PluginInfo {
            aliases: GLUE_ALIASES,
            ..crate::info(PluginKind::Converter, GLUE_CLASS)
        },
        config_def: glue_config_def,
        create: |config, role| Ok(Arc::new(ProtobufConverter::try_new_glue(config, role)?)),
    }
}

fn glue_config_def() -> ConfigDef {
    registry::glue_config_def().key(
        ConfigKey::new(
            "protobufMessageType",
            ConfigType::String,
            Importance::Low,
            "Which Java class data is read into. It has no effect: Connect data comes out of either.",
        )
        .optional()
        .validator(Validator::one_of(&["POJO", "DYNAMIC_MESSAGE", "UNKNOWN"])),
    )
}

fn config_def() -> ConfigDef {
    let key = |name, default: &str, documentation: &str| {
        ConfigKey::new(name, ConfigType::Boolean, Importance::Medium, documentation).default(default)
    };
    registry::config_def()
        .key(key(
            ENHANCED,
            "false",
            "Whether messages and enums are named with their package.",
        ))
        .key(key(
            GENERALIZED,
            "false",
            "Whether enums and unions are marked the same way in all formats of a schema registry.",
        ))
        .key(key(
            INT_FOR_ENUMS,
            "false",
            "Whether enums are the number of their value rather than its name.",
        ))
        .key(key(
            OPTIONAL_FOR_NULLABLES,
            "false",
            "Whether only those fields may be null that the schema calls optional; of the others numbers, texts and \
             enums are required.",
        ))
        .key(key(
            OPTIONAL_FOR_PROTO2,
            "true",
            "Whether an optional field of proto2 that is absent is null rather than its default.",
        ))
        .key(key(
            WRAPPER_FOR_NULLABLES,
            "false",
            "Whether only those numbers and texts may be null that are in one of Protobuf's wrappers.",
        ))
        .key(key(
            WRAPPER_FOR_RAW_PRIMITIVES,
            "true",
            "Whether a message of google/protobuf/wrappers.proto is the value in it rather than a struct.",
        ))
        .key(key(
            STRUCT_FOR_NULLS,
            "false",
            "Whether a message that is absent is a struct of defaults rather than null.",
        ))
        .key(key(
            INDEX_FOR_UNIONS,
            "true",
            "Whether the field of a oneof is named with its position: `method_0` rather than `method`.",
        ))
        .key(key(
            FLATTEN_UNIONS,
            "false",
            "Whether the fields of a oneof are fields of their message rather than of a struct of their own.",
        ))
        .key(key(
            "scrub.invalid.names",
            "false",
            "Whether names that Protobuf does not allow are changed when data is written. A sink only reads.",
        ))
}

#[derive(Debug)]
struct ProtobufConverter {
    schemas: Schemas<ProtobufCompiler>,
}

impl ProtobufConverter {
    fn try_new(config: &ParsedConfig, role: ConverterRole) -> Result<Self, ConfigErrors> {
        let flag = |key| config.bool(key) == Some(true);
        let compiler = ProtobufCompiler(Options {
            vendor: Vendor::Confluent,
            enhanced: flag(ENHANCED),
            generalized: flag(GENERALIZED),
            int_for_enums: flag(INT_FOR_ENUMS),
            optional_for_nullables: flag(OPTIONAL_FOR_NULLABLES),
            optional_for_proto2: flag(OPTIONAL_FOR_PROTO2),
            wrapper_for_nullables: flag(WRAPPER_FOR_NULLABLES),
            wrapper_for_raw_primitives: flag(WRAPPER_FOR_RAW_PRIMITIVES),
            struct_for_nulls: flag(STRUCT_FOR_NULLS),
            index_for_unions: flag(INDEX_FOR_UNIONS),
            flatten_unions: flag(FLATTEN_UNIONS),
        });
        Ok(Self {
            schemas: Schemas::try_new(config, role, compiler)?,
        })
    }

    fn try_new_glue(config: &ParsedConfig, role: ConverterRole) -> Result<Self, ConfigErrors> {
        let compiler = ProtobufCompiler(Options {
            vendor: Vendor::Glue,
            enhanced: false,
            generalized: false,
            int_for_enums: false,
            optional_for_nullables: false,
            optional_for_proto2: false,
            wrapper_for_nullables: false,
            wrapper_for_raw_primitives: false,
            struct_for_nulls: false,
            index_for_unions: false,
            flatten_unions: false,
        });
        Ok(Self {
            schemas: Schemas::try_new_glue(config, role, compiler)?,
        })
    }
}

impl Converter for ProtobufConverter {
    fn to_connect(&self, topic: &str, headers: &[RawHeader], bytes: Option<&Bytes>) -> Result<Datum, DataError> {
        let Some(bytes) = bytes else {
            return Ok(Datum::NULL);
        };
        let (framed, schema) = self.schemas.of(topic, headers, bytes)?;
        let mut payload = framed.payload;
        let codec = match framed.header_rest {
            Some(mut rest) => schema.codec(&mut rest)?,
            None => schema.codec(&mut payload)?,
        };
        Ok(Datum::Encoded { bytes: payload, codec })
    }

    fn prepare<'a>(
        &'a self,
        topic: &'a str,
        headers: &'a [RawHeader],
        bytes: Option<&'a Bytes>,
    ) -> BoxFuture<'a, Result<(), DataError>> {
        Box::pin(async move {
            match bytes {
                Some(bytes) => self.schemas.prepare(topic, headers, bytes).await,
                None => Ok(()),
            }
        })
    }

    fn probe(&self) -> Option<Probe<'_>> {
        Some(Box::pin(self.schemas.probe()))
    }
}

#[derive(Debug, Clone)]
struct ProtobufCompiler(Options);

impl Compile for ProtobufCompiler {
    type Output = ProtobufSchema;

    const SCHEMA_TYPE: SchemaType = SchemaType::Protobuf;

    fn compile(
        &self,
        schema: &RegisteredSchema,
        id: SchemaId,
        version: Option<i32>,
    ) -> Result<ProtobufSchema, DataError> {
        let types = Types::read(schema)?;
        let plan = Arc::new(Plan::new(&types, &self.0)?);
        let place = match &schema.document.subject {
            Some(subject) => format!("schema {id} (subject {subject})"),
            None => format!("schema {id}"),
        };
        Ok(ProtobufSchema {
            place,
            metadata: registry::schema_metadata("PROTOBUF", id),
            version,
            codecs: types.messages.iter().map(|_| OnceLock::new()).collect(),
            by_name: matches!(id, SchemaId::VersionId(_)).then(|| types.by_name()),
            types,
            plan,
            options: self.0.clone(),
        })
    }

    fn record_name(&self, schema: &RegisteredSchema) -> Result<Option<String>, DataError> {
        Ok(Types::read(schema)?.first().map(|message| message.full.clone()))
    }
}

/// A schema, of which records hold one message or another.
struct ProtobufSchema {
    /// For errors: which schema.
    place: String,
    metadata: SchemaMetadata,
    version: Option<i32>,
    types: Types,
    /// The messages by AWS's index, if records have that; else they have a path.
    by_name: Option<Vec<MessageId>>,
    plan: Arc<Plan>,
    options: Options,
    /// One for each message, as far as records have asked for it.
    codecs: Box<[MadeOnce]>,
}

/// The codec of a message, or why there is none.
type MadeOnce = OnceLock<Result<Arc<ProtobufCodec>, DataError>>;

impl fmt::Debug for ProtobufSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProtobufSchema")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl ProtobufSchema {
    /// What reads the message that a record says it holds; takes that off the front of `bytes`.
    fn codec(&self, bytes: &mut Bytes) -> Result<Arc<ProtobufCodec>, DataError> {
        let found = match &self.by_name {
            None => index::take(bytes).map(|path| (self.types.at(&path), path)),
            Some(by_name) => index::take_glue(bytes).map(|index| (by_name.get(index).copied(), smallvec![index])),
        };
        let (root, path) = found.map_err(|error| error.at(&self.place))?;
        let Some((root, codec)) = root.and_then(|root| Some((root, self.codecs.get(root)?))) else {
            let path = path.as_slice();
            let message = format!("it has no message at {path:?}, which the record says it holds");
            return Err(DataError::new(DataErrorKind::Serialization, message).at(&self.place));
        };
        codec.get_or_init(|| self.make(root).map(Arc::new)).clone()
    }

    fn make(&self, root: MessageId) -> Result<ProtobufCodec, DataError> {
        let place = format!("{}, message `{}`", self.place, self.plan.message(root).full);
        let connect = ConnectSchema::try_new(&self.plan, &self.options, root, self.version);
        Ok(ProtobufCodec {
            plan: Arc::clone(&self.plan),
            root,
            connect: connect.map_err(|error| error.at(&place))?,
            place,
            metadata: self.metadata.clone(),
        })
    }
}

/// The Connect schema of a message.
enum ConnectSchema {
    Plain(SchemaRef),
    /// A message that refers to itself has one for each depth of its data.
    Recursive {
        order: Order,
        options: Options,
        version: Option<i32>,
        /// By depth, which is a power of two: data of nearly the same depth shares a schema.
        unrolled: Mutex<HashMap<usize, SchemaRef>>,
    },
}

impl ConnectSchema {
    fn try_new(plan: &Plan, options: &Options, root: MessageId, version: Option<i32>) -> Result<Self, DataError> {
        let order = Order::try_of(plan, root)?;
        // Unrolled once, a message that refers to itself shows what is wrong with its fields.
        let schema = Builder::new(plan, options).build(&order, root, version, 1)?;
        if !order.is_recursive {
            return Ok(Self::Plain(schema));
        }
        Ok(Self::Recursive {
            order,
            options: options.clone(),
            version,
            unrolled: Mutex::default(),
        })
    }
}

/// Reads one message of a schema.
struct ProtobufCodec {
    plan: Arc<Plan>,
    root: MessageId,
    connect: ConnectSchema,
    /// For errors: which schema and message.
    place: String,
    metadata: SchemaMetadata,
}

impl fmt::Debug for ProtobufCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProtobufCodec")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl ProtobufCodec {
    fn schema(&self, payload: &Bytes) -> Result<SchemaRef, DataError> {
        let (order, options, version, unrolled) = match &self.connect {
            ConnectSchema::Plain(schema) => return Ok(SchemaRef::clone(schema)),
            ConnectSchema::Recursive {
                order,
                options,
                version,
                unrolled,
            } => (order, options, version, unrolled),
        };
        let mut writer = Writer::try_new(&self.plan, payload, Rendering::Connect, Way::Scan)?;
        writer.root(self.root, &mut Vec::new())?;
        let depth = writer.scanner.deepest().next_power_of_two();
        let mut unrolled = unrolled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(schema) = unrolled.get(&depth) {
            return Ok(SchemaRef::clone(schema));
        }
        let schema = Builder::new(&self.plan, options).build(order, self.root, *version, depth)?;
        unrolled.insert(depth, SchemaRef::clone(&schema));
        Ok(schema)
    }

    fn value(&self, payload: &Bytes) -> Result<SchemaAndValue, DataError> {
        let schema = self.schema(payload)?;
        let value = Reader::try_new(&self.plan, payload)?.root(self.root, &schema)?;
        Ok(SchemaAndValue::new(schema, value))
    }
}

impl DatumCodec for ProtobufCodec {
    fn may_hold_null(&self) -> bool {
        false
    }

    fn is_self_contained(&self) -> bool {
        false
    }

    fn schema_metadata(&self) -> Option<&SchemaMetadata> {
        Some(&self.metadata)
    }

    fn decode(&self, bytes: &Bytes) -> Result<SchemaAndValue, DataError> {
        self.value(bytes).map_err(|error| error.at(&self.place))
    }

    fn write_json(&self, bytes: &Bytes, rendering: Rendering, out: &mut Vec<u8>) -> Result<(), DataError> {
        transcode::write(&self.plan, self.root, bytes, rendering, out).map_err(|error| error.at(&self.place))
    }
}

#[cfg(test)]
mod tests;
