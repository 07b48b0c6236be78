//! `JsonSchemaConverter`: JSON with its JSON Schema in a registry, as Confluent's converter reads it, or AWS's for Glue.
//!
//! `document` reads the schema's JSON and follows its references, `types` tells the types of JSON Schema apart,
//! `connect` makes the Connect schema of them; `read` makes Connect data of a record, `transcode` the JSON of it at
//! once. `variant` is the binary form of values of any type, `validate` what a data contract asks for.

mod connect;
mod document;
mod read;
mod transcode;
mod types;
mod validate;
mod variant;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use klamm_connect_api::config::Validator;
use klamm_connect_api::{
    BoxFuture, ConfigDef, ConfigErrors, ConfigKey, ConfigType, Converter, ConverterPlugin, ConverterRole, DataError,
    DataErrorKind, Datum, DatumCodec, Importance, ParsedConfig, PluginInfo, PluginKind, Probe, RawHeader, Rendering,
    SchemaAndValue, SchemaMetadata, SchemaRef, json,
};
use klamm_schema_registry::{RegisteredSchema, SchemaId, SchemaType};

use self::connect::{Graph, Options};
use self::document::{Documents, Json};
use self::transcode::Plan;
use self::types::Types;
use self::validate::Contract;
use crate::json::scan::{Kind, Scanner};
use crate::json::text;
use crate::registry::{self, Compile, Schemas, Vendor};

const CLASS: &str = "io.confluent.connect.json.JsonSchemaConverter";
const GLUE_CLASS: &str = "com.amazonaws.services.schemaregistry.kafkaconnect.jsonschema.JsonSchemaConverter";
/// Its simple name is Confluent's.
const GLUE_ALIASES: &[&str] = &["AWSKafkaJsonSchemaConverter", "AWSKafkaJsonSchema"];
const OPTIONAL_FOR_NONREQUIRED: &str = "use.optional.for.nonrequired";
const GENERALIZED: &str = "generalized.sum.type.support";
const IGNORE_MODERN: &str = "ignore.modern.dialects";
const PRESERVE_ADDITIONAL: &str = "preserve.additional.properties";
const FAIL_INVALID: &str = "json.fail.invalid.schema";
const DECIMAL_FORMAT: &str = "decimal.format";

pub(crate) fn converter_plugin() -> ConverterPlugin {
    ConverterPlugin {
        info: crate::info(PluginKind::Converter, CLASS),
        config_def,
        create: |config, role| Ok(Arc::new(JsonSchemaConverter::try_new(config, role)?)),
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
        create: |config, role| Ok(Arc::new(JsonSchemaConverter::try_new_glue(config, role)?)),
    }
}

fn glue_config_def() -> ConfigDef {
    let shared = config_def().keys().to_vec().into_iter();
    let unused =
        |name, documentation| ConfigKey::new(name, ConfigType::String, Importance::Low, documentation).optional();
    registry::glue_config_def()
        .with(shared.filter(|key| {
            matches!(
                key.name.as_str(),
                OPTIONAL_FOR_NONREQUIRED | FAIL_INVALID | DECIMAL_FORMAT
            )
        }))
        .key(
            ConfigKey::new(
                "connect.meta.data",
                ConfigType::Boolean,
                Importance::Low,
                "Whether Connect's own keywords go into schemas when data is written. A sink only reads.",
            )
            .default("true"),
        )
        .key(unused(
            "jacksonSerializationFeatures",
            "Features of AWS's JSON writer. A sink only reads.",
        ))
        .key(unused(
            "jacksonDeserializationFeatures",
            "Features of AWS's JSON reader. They have no effect: any JSON is read.",
        ))
        .key(unused(
            "registerJavaTimeModule",
            "Java class that knows Java's dates. It has no effect: Connect data comes out without Java classes.",
        ))
        .key(unused(
            "objectMapperFactory",
            "Java class that makes AWS's JSON reader. It has no effect.",
        ))
}

fn config_def() -> ConfigDef {
    let key = |name, default: &str, documentation: &str| {
        ConfigKey::new(name, ConfigType::Boolean, Importance::Medium, documentation).default(default)
    };
    registry::config_def()
        .key(key(
            OPTIONAL_FOR_NONREQUIRED,
            "false",
            "Whether properties that `required` does not list become optional fields. Without it every property is a \
             required field, and a record that lacks one is an error.",
        ))
        .key(key(
            GENERALIZED,
            "false",
            "Whether enums and unions are marked the same way in all formats of a schema registry.",
        ))
        .key(key(
            IGNORE_MODERN,
            "false",
            "Whether schemas of draft 2019-09 and 2020-12 are read by the rules of draft 7.",
        ))
        .key(key(
            PRESERVE_ADDITIONAL,
            "false",
            "Whether members that a schema does not name are kept: as Variants in a map that is the field \
             `__connect_additional_properties__` of their struct. Without it they are dropped.",
        ))
        .key(key(
            FAIL_INVALID,
            "false",
            "Whether a record has to be valid by its JSON Schema. Without it a value of another type than declared is \
             coerced: text where a number is declared is 0.",
        ))
        .key(key(
            "object.additional.properties",
            "true",
            "Whether schemas admit additional properties when data is written. A sink only reads.",
        ))
        .key(key(
            "ignore.default.for.nullables",
            "false",
            "Whether null stays null in a field with a default when data is written. A sink only reads.",
        ))
        .key(
            ConfigKey::new(
                DECIMAL_FORMAT,
                ConfigType::String,
                Importance::Low,
                "How Decimals are written, BASE64 or NUMERIC; both are read. A sink only reads.",
            )
            .default("BASE64")
            .validator(Validator::new(|text| {
                if text.eq_ignore_ascii_case("BASE64") || text.eq_ignore_ascii_case("NUMERIC") {
                    Ok(())
                } else {
                    Err("must be BASE64 or NUMERIC".to_owned())
                }
            })),
        )
}

#[derive(Debug)]
struct JsonSchemaConverter {
    schemas: Schemas<JsonCompiler>,
}

impl JsonSchemaConverter {
    fn try_new(config: &ParsedConfig, role: ConverterRole) -> Result<Self, ConfigErrors> {
        let flag = |key| config.bool(key) == Some(true);
        let compiler = JsonCompiler {
            options: Options {
                vendor: Vendor::Confluent,
                optional_for_nonrequired: flag(OPTIONAL_FOR_NONREQUIRED),
                generalized: flag(GENERALIZED),
                preserve_additional: flag(PRESERVE_ADDITIONAL),
            },
            ignore_modern: flag(IGNORE_MODERN),
            validates: flag(FAIL_INVALID),
        };
        Ok(Self {
            schemas: Schemas::try_new(config, role, compiler)?,
        })
    }

    fn try_new_glue(config: &ParsedConfig, role: ConverterRole) -> Result<Self, ConfigErrors> {
        let compiler = JsonCompiler {
            options: Options {
                vendor: Vendor::Glue,
                optional_for_nonrequired: config.bool(OPTIONAL_FOR_NONREQUIRED) == Some(true),
                generalized: false,
                preserve_additional: false,
            },
            ignore_modern: false,
            validates: config.bool(FAIL_INVALID) == Some(true),
        };
        Ok(Self {
            schemas: Schemas::try_new_glue(config, role, compiler)?,
        })
    }
}

impl Converter for JsonSchemaConverter {
    fn to_connect(&self, topic: &str, headers: &[RawHeader], bytes: Option<&Bytes>) -> Result<Datum, DataError> {
        let Some(bytes) = bytes else {
            return Ok(Datum::NULL);
        };
        let (framed, codec) = self.schemas.of(topic, headers, bytes)?;
        codec.datum(framed.payload)
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
struct JsonCompiler {
    options: Options,
    ignore_modern: bool,
    validates: bool,
}

impl Compile for JsonCompiler {
    type Output = JsonCodec;

    const SCHEMA_TYPE: SchemaType = SchemaType::Json;

    fn compile(
        &self,
        schema: &RegisteredSchema,
        id: SchemaId,
        version: Option<i32>,
    ) -> Result<Self::Output, DataError> {
        let documents = Documents::parse(schema)?;
        let graph = {
            let types = Types::read(&documents, self.ignore_modern)?;
            Graph::build(&types, self.options, version)?
        };
        // Unrolled so often, each node is met once with all that is in it.
        let mut schemas = graph.schemas(graph.heads.len())?;
        let connect = schemas.of(graph.root)?;
        let plan = if self.options.preserve_additional {
            None
        } else {
            Some(Plan::new(&graph, &mut schemas)?)
        };
        let contract = if self.validates {
            Some(Contract::try_new(&documents, self.ignore_modern)?)
        } else {
            None
        };
        let title = documents
            .root()
            .json
            .get("title")
            .and_then(Json::as_str)
            .map(str::to_owned);
        let what = title.map_or_else(|| "JSON Schema".to_owned(), |title| format!("JSON Schema `{title}`"));
        Ok(JsonCodec {
            plan,
            schema: connect,
            recursive: (!graph.heads.is_empty()).then(|| Recursive {
                graph,
                unrolled: Mutex::default(),
            }),
            contract,
            place: registry::place(schema, id, &what),
            metadata: registry::schema_metadata("JSON", id),
        })
    }

    fn record_name(&self, schema: &RegisteredSchema) -> Result<Option<String>, DataError> {
        let json = Json::alone(&schema.document.text)?;
        Ok(json.get("title").and_then(Json::as_str).map(str::to_owned))
    }
}

/// Reads the data of one schema.
struct JsonCodec {
    /// None where data is written as JSON by way of its value only.
    plan: Option<Plan>,
    schema: SchemaRef,
    recursive: Option<Recursive>,
    contract: Option<Contract>,
    /// For errors: which schema.
    place: String,
    metadata: SchemaMetadata,
}

impl fmt::Debug for JsonCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonCodec")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// A schema that refers to itself has a Connect schema for each depth of its data.
#[derive(Debug)]
struct Recursive {
    graph: Graph,
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
        let schema = self.graph.schemas(depth)?.of(self.graph.root)?;
        unrolled.insert(depth, SchemaRef::clone(&schema));
        Ok(schema)
    }
}

impl JsonCodec {
    fn datum(self: Arc<Self>, payload: Bytes) -> Result<Datum, DataError> {
        match self.starts(&payload) {
            Ok(false) => Ok(Datum::Encoded {
                bytes: payload,
                codec: self,
            }),
            Ok(true) => Ok(Datum::Decoded(SchemaAndValue::new(
                SchemaRef::clone(&self.schema),
                read::null(&self.schema).map_err(|error| error.at(&self.place))?,
            ))),
            Err(error) => Err(error.at(&self.place)),
        }
    }

    /// Whether the record is null; and whether it is as its contract asks.
    fn starts(&self, payload: &Bytes) -> Result<bool, DataError> {
        let text = text(payload)?;
        if let Some(contract) = &self.contract {
            contract.check(&text)?;
        }
        Ok(Scanner::new(&text).kind()? == Kind::Null)
    }

    fn value(&self, payload: &Bytes) -> Result<SchemaAndValue, DataError> {
        let text = text(payload)?;
        let schema = match &self.recursive {
            None => SchemaRef::clone(&self.schema),
            Some(recursive) => recursive.schema(depth(&text)?)?,
        };
        let mut scanner = Scanner::new(&text);
        let value = read::value(&schema, &mut scanner)?;
        strict(&scanner)?;
        Ok(SchemaAndValue::new(schema, value))
    }

    fn json(&self, payload: &Bytes, rendering: Rendering, out: &mut Vec<u8>) -> Result<(), DataError> {
        let (Some(plan), Rendering::Connect) = (&self.plan, rendering) else {
            // The natural rendering shows unions as their value: it goes by way of the data.
            return json::write(&self.value(payload)?, rendering, out);
        };
        let text = text(payload)?;
        let mut scanner = Scanner::new(&text);
        plan.write(&mut scanner, out)?;
        strict(&scanner)
    }
}

/// Jackson takes leading zeros where `JsonConverter` asks it to, and only there.
fn strict(scanner: &Scanner<'_>) -> Result<(), DataError> {
    if scanner.is_strict() {
        return Ok(());
    }
    Err(DataError::new(
        DataErrorKind::Serialization,
        "not JSON: a number with leading zeros",
    ))
}

/// How many arrays and objects are inside each other at most.
fn depth(text: &str) -> Result<usize, DataError> {
    let mut scanner = Scanner::new(text);
    scanner.skip()?;
    let json = scanner.text_from(0).as_bytes();
    let (mut depth, mut deepest, mut is_text, mut is_escaped) = (0_usize, 0, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b'{' | b'[' if !is_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !is_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(deepest)
}

impl DatumCodec for JsonCodec {
    fn may_hold_null(&self) -> bool {
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
