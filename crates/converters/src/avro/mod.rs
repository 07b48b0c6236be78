//! `AvroConverter`: Avro with its schema in a registry, as Confluent's converter reads it.
//!
//! `schema` reads the Avro schema, `connect` makes the Connect schema of it, `plan` works out how data is read;
//! `cursor` takes the bytes apart, for `read` into values and for `transcode` straight into JSON; `resolve` brings data to
//! a later schema first, as `resolver` has worked out.

mod connect;
mod cursor;
mod encode;
mod plan;
mod read;
mod resolve;
mod resolver;
mod schema;
mod transcode;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use klamm_connect_api::config::Validator;
use klamm_connect_api::{
    BoxFuture, ConfigDef, ConfigErrors, ConfigKey, ConfigType, Converter, ConverterPlugin, ConverterRole, DataError,
    Datum, DatumCodec, Importance, ParsedConfig, PluginKind, Probe, RawHeader, Rendering, SchemaAndValue,
    SchemaMetadata, SchemaRef, Value, json,
};
use klamm_schema_registry::{RegisteredSchema, SchemaId, SchemaType};

use self::connect::{Builder, Dialect, Options, Order};
use self::cursor::Cursor;
use self::plan::{Branch, Node, Plan, Planner};
use self::read::Reader;
use self::resolve::Resolution;
use self::schema::{Kind, Name, TypeId, Types};
use self::transcode::Transcoder;
use crate::failure::Failure;
use crate::registry::{self, Compile, Schemas};

const CLASS: &str = "io.confluent.connect.avro.AvroConverter";
const GLUE_CLASS: &str = "com.amazonaws.services.schemaregistry.kafkaconnect.AWSKafkaAvroConverter";
const ENHANCED: &str = "enhanced.avro.schema.support";
const META_DATA: &str = "connect.meta.data";
const FLATTEN_SINGLETONS: &str = "flatten.singleton.unions";
const GENERALIZED: &str = "generalized.sum.type.support";
const DISCARD_TYPE_DOC: &str = "discard.type.doc.default";

pub(crate) fn converter_plugin() -> ConverterPlugin {
    ConverterPlugin {
        info: crate::info(PluginKind::Converter, CLASS),
        config_def,
        create: |config, role| Ok(Arc::new(AvroConverter::try_new(config, role)?)),
    }
}

/// With its schema in AWS Glue, as AWS's converter reads it.
pub(crate) fn glue_converter_plugin() -> ConverterPlugin {
    ConverterPlugin {
        info: crate::info(PluginKind::Converter, GLUE_CLASS),
        config_def: glue_config_def,
        create: |config, role| Ok(Arc::new(AvroConverter::try_new_glue(config, role)?)),
    }
}

fn glue_config_def() -> ConfigDef {
    let avro = config_def().keys().to_vec().into_iter();
    registry::glue_config_def()
        .with(avro.filter(|key| matches!(key.name.as_str(), ENHANCED | META_DATA)))
        .key(
            ConfigKey::new(
                "avroRecordType",
                ConfigType::String,
                Importance::Low,
                "Which Java class data is read into. It has no effect: Connect data comes out of either.",
            )
            .optional()
            .validator(Validator::one_of(&["GENERIC_RECORD", "SPECIFIC_RECORD", "UNKNOWN"])),
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
            "Whether the branches of unions are named with their namespace.",
        ))
        .key(key(
            META_DATA,
            "true",
            "Whether documentation and parameters go into the Connect schema.",
        ))
        .key(key(
            FLATTEN_SINGLETONS,
            "true",
            "Whether a union of one type is that type rather than a struct with one field.",
        ))
        .key(key(
            GENERALIZED,
            "false",
            "Whether enums and unions are marked the same way in all formats of a schema registry.",
        ))
        .key(key(
            DISCARD_TYPE_DOC,
            "false",
            "Whether documentation of fields becomes the documentation of their schemas, and marks of defaults are left \
             out.",
        ))
        .key(key(
            "scrub.invalid.names",
            "false",
            "Whether names that Avro does not allow are changed when data is written. A sink only reads.",
        ))
        .key(key(
            "allow.optional.map.keys",
            "false",
            "Whether maps may have optional keys when data is written. A sink only reads.",
        ))
        .key(key(
            "ignore.default.for.nullables",
            "false",
            "Whether null stays null in a field with a default when data is written. A sink only reads.",
        ))
}

#[derive(Debug)]
struct AvroConverter {
    schemas: Schemas<AvroCompiler>,
}

impl AvroConverter {
    fn try_new(config: &ParsedConfig, role: ConverterRole) -> Result<Self, ConfigErrors> {
        let flag = |key| config.bool(key) == Some(true);
        let compiler = AvroCompiler(Options {
            dialect: Dialect::Confluent,
            enhanced: flag(ENHANCED),
            meta_data: flag(META_DATA),
            flatten_singletons: flag(FLATTEN_SINGLETONS),
            generalized: flag(GENERALIZED),
            discard_type_doc_default: flag(DISCARD_TYPE_DOC),
        });
        Ok(Self {
            schemas: Schemas::try_new(config, role, compiler)?,
        })
    }

    fn try_new_glue(config: &ParsedConfig, role: ConverterRole) -> Result<Self, ConfigErrors> {
        let compiler = AvroCompiler(Options {
            dialect: Dialect::Glue,
            enhanced: config.bool(ENHANCED) == Some(true),
            meta_data: config.bool(META_DATA) == Some(true),
            flatten_singletons: false,
            generalized: false,
            discard_type_doc_default: false,
        });
        Ok(Self {
            schemas: Schemas::try_new_glue(config, role, compiler)?,
        })
    }
}

impl Converter for AvroConverter {
    fn to_connect(&self, topic: &str, headers: &[RawHeader], bytes: Option<&Bytes>) -> Result<Datum, DataError> {
        let Some(bytes) = bytes else {
            return Ok(Datum::NULL);
        };
        let (framed, codec) = self.schemas.of(topic, headers, bytes)?;
        let payload = codec.brought(framed.payload)?;
        if codec.is_null(&payload)? {
            return Ok(Datum::NULL);
        }
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
struct AvroCompiler(Options);

impl AvroCompiler {
    fn read(schema: &RegisteredSchema) -> Result<(Types, TypeId), DataError> {
        let mut types = Types::default();
        let mut read: Vec<&Arc<_>> = Vec::new();
        for reference in &schema.references {
            // One document may be referred to under several names.
            if read.iter().any(|document| Arc::ptr_eq(document, &reference.document)) {
                continue;
            }
            types
                .read(&reference.document.text)
                .map_err(|error| error.at(&format!("reference `{}`", reference.name)))?;
            read.push(&reference.document);
        }
        let root = types.read(&schema.document.text)?;
        Ok((types, root))
    }
}

impl Compile for AvroCompiler {
    type Output = AvroCodec;

    const SCHEMA_TYPE: SchemaType = SchemaType::Avro;

    fn compile(&self, schema: &RegisteredSchema, id: SchemaId, version: Option<i32>) -> Result<AvroCodec, DataError> {
        let (types, root) = Self::read(schema)?;
        let order = Order::of(&types, root);
        // Unrolled so often, each record is met once with all its fields.
        let connect = Builder::new(&types, &self.0, &order).build(root, version, order.heads.len())?;
        let plan = Planner::new(&types, &self.0, &order).plan(root, &connect)?;
        let place = match types.get(root).kind.name() {
            Some(name) => registry::place(schema, id, &format!("Avro `{}`", name.full())),
            None => registry::place(schema, id, &format!("Avro {}", types.get(root).kind.word())),
        };
        let recursive = (!order.heads.is_empty()).then(|| Recursive {
            types,
            root,
            order,
            version,
            options: self.0.clone(),
            unrolled: Mutex::default(),
        });
        Ok(AvroCodec {
            plan,
            schema: connect,
            recursive,
            place,
            metadata: registry::schema_metadata("AVRO", id),
            resolution: None,
        })
    }

    fn compile_for(
        &self,
        writer: &RegisteredSchema,
        reader: &RegisteredSchema,
        id: SchemaId,
        version: Option<i32>,
    ) -> Result<AvroCodec, DataError> {
        let (written, from) = Self::read(writer)?;
        let (read, to) = Self::read(reader)?;
        let mut codec = self.compile(reader, id, version)?;
        codec.resolution = Some(Resolution::new((&written, from), (&read, to))?);
        Ok(codec)
    }

    fn record_name(&self, schema: &RegisteredSchema) -> Result<Option<String>, DataError> {
        let (types, root) = Self::read(schema)?;
        Ok(match &types.get(root).kind {
            Kind::Record { name, .. } => Some(Name::full(name)),
            _ => None,
        })
    }
}

/// Reads the data of one schema.
struct AvroCodec {
    plan: Plan,
    schema: SchemaRef,
    recursive: Option<Recursive>,
    /// For errors: which schema.
    place: String,
    metadata: SchemaMetadata,
    /// From the schema that the data was written with to this one, if it is another one.
    resolution: Option<Resolution>,
}

impl fmt::Debug for AvroCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AvroCodec")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// A schema that refers to itself has a Connect schema for each depth of its data.
struct Recursive {
    types: Types,
    root: TypeId,
    order: Order,
    version: Option<i32>,
    options: Options,
    /// By depth, which is a power of two: data of nearly the same depth shares a schema.
    unrolled: Mutex<HashMap<usize, SchemaRef>>,
}

impl Recursive {
    fn schema(&self, depth: usize) -> Result<SchemaRef, DataError> {
        let depth = depth.saturating_add(1).next_power_of_two();
        let mut unrolled = self.unrolled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(schema) = unrolled.get(&depth) {
            return Ok(SchemaRef::clone(schema));
        }
        let schema = Builder::new(&self.types, &self.options, &self.order).build(self.root, self.version, depth)?;
        unrolled.insert(depth, SchemaRef::clone(&schema));
        Ok(schema)
    }
}

impl AvroCodec {
    /// The payload as data of this codec's schema.
    fn brought(&self, payload: Bytes) -> Result<Bytes, DataError> {
        match &self.resolution {
            None => Ok(payload),
            Some(resolution) => {
                let brought = resolution.bring(&payload).map_err(|error| error.at(&self.place))?;
                Ok(Bytes::from(brought))
            }
        }
    }

    /// Whether the payload is the null of a union.
    fn is_null(&self, payload: &Bytes) -> Result<bool, DataError> {
        let mut cursor = Cursor::new(payload);
        let is_null: Result<bool, Failure> = match self.plan.node(self.plan.root) {
            Node::Nullable { null_branch, .. } => cursor.index(2, "branch").map(|index| index == *null_branch),
            Node::Union(branches) => cursor
                .index(branches.len(), "branch")
                .map(|index| matches!(branches.get(index), Some(Branch::Null(_)))),
            _ => Ok(false),
        };
        is_null.map_err(|failure| failure.at(&self.place).into())
    }

    fn value(&self, payload: &Bytes) -> Result<SchemaAndValue, DataError> {
        let schema = match &self.recursive {
            None => SchemaRef::clone(&self.schema),
            Some(recursive) => {
                let mut cursor = Cursor::new(payload);
                self.transcoder(Rendering::Connect, 0)
                    .write(self.plan.root, &mut cursor, &mut Vec::new())?;
                recursive.schema(cursor.deepest())?
            }
        };
        if self.plan.is_raw {
            let value = match self.plan.node(self.plan.root) {
                Node::Decimal { .. } => read::decimal(&schema, payload)?,
                _ => Value::Bytes(payload.clone()),
            };
            return Ok(SchemaAndValue::new(schema, value));
        }
        let mut reader = Reader {
            plan: &self.plan,
            cursor: Cursor::new(payload),
            payload,
        };
        let value = reader.value(self.plan.root, &schema)?;
        Ok(SchemaAndValue::new(schema, value))
    }

    fn transcoder(&self, rendering: Rendering, start: usize) -> Transcoder<'_> {
        Transcoder {
            plan: &self.plan,
            rendering,
            start,
        }
    }

    fn json(&self, payload: &Bytes, rendering: Rendering, out: &mut Vec<u8>) -> Result<(), DataError> {
        let start = out.len();
        let transcoder = self.transcoder(rendering, start);
        if !self.plan.is_raw {
            transcoder.write(self.plan.root, &mut Cursor::new(payload), out)?;
            return json::check_length(start, out);
        }
        match self.plan.node(self.plan.root) {
            Node::Decimal { .. } if payload.is_empty() => Err(DataError::data("a decimal without bytes")),
            Node::Decimal { scale, .. } => Ok(transcoder.decimal(payload, *scale, out)?),
            _ => {
                json::write_base64(payload, out);
                Ok(())
            }
        }
    }
}

impl DatumCodec for AvroCodec {
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
        self.json(bytes, rendering, out).map_err(|error| error.at(&self.place))
    }
}

#[cfg(test)]
mod tests;
