//! Schemas in the JSON form that the envelope of `JsonConverter` carries.
#![warn(clippy::indexing_slicing)]

use std::borrow::Cow;

use klamm_connect_api::{DataError, Schema, SchemaBuilder, SchemaRef, SchemaType};

use super::scan::{Kind, Scanner};
use super::typed::{self, NullWithDefault};

/// The schema that `text` holds; none for `null`.
///
/// # Errors
/// If it is no schema: what is missing or wrong, never the text itself.
pub(super) fn parse(text: &str, null_with_default: NullWithDefault) -> Result<Option<SchemaRef>, DataError> {
    let mut scanner = Scanner::new(text);
    if scanner.kind()? == Kind::Null {
        return Ok(None);
    }
    let attributes = Attributes::read(&mut scanner, null_with_default)?;
    attributes.build(null_with_default).map(Some)
}

/// What a schema's JSON object says. An attribute of another JSON type than it should have counts as absent, as in
/// Connect.
#[derive(Default)]
struct Attributes<'a> {
    type_name: Option<Cow<'a, str>>,
    optional: bool,
    name: Option<Cow<'a, str>>,
    version: Option<i32>,
    doc: Option<Cow<'a, str>>,
    parameters: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// Text of the default, which can be read once the type is known.
    default: Option<&'a str>,
    items: Option<SchemaRef>,
    keys: Option<SchemaRef>,
    values: Option<SchemaRef>,
    fields: Option<Vec<(Option<String>, SchemaRef)>>,
    /// Name of the field that this schema stands in.
    field: Option<Cow<'a, str>>,
}

impl<'a> Attributes<'a> {
    fn read(scanner: &mut Scanner<'a>, nulls: NullWithDefault) -> Result<Self, DataError> {
        let mut attributes = Self::default();
        if scanner.kind()? != Kind::Object {
            scanner.skip()?;
            return Ok(attributes);
        }
        scanner.enter_object()?;
        let mut is_first = true;
        while let Some(name) = scanner.next_member(is_first)? {
            is_first = false;
            attributes.set(&name, scanner, nulls)?;
        }
        Ok(attributes)
    }

    fn set(&mut self, name: &str, scanner: &mut Scanner<'a>, nulls: NullWithDefault) -> Result<(), DataError> {
        let kind = scanner.kind()?;
        match (name, kind) {
            ("type", Kind::String) => self.type_name = Some(scanner.string()?),
            ("optional", Kind::Boolean) => self.optional = scanner.boolean()?,
            ("name", Kind::String) => self.name = Some(scanner.string()?),
            ("version", Kind::Number) => self.version = scanner.number()?.text.parse().ok(),
            ("doc", Kind::String) => self.doc = Some(scanner.string()?),
            ("field", Kind::String) => self.field = Some(scanner.string()?),
            ("parameters", Kind::Object) => self.read_parameters(scanner)?,
            ("default", _) => {
                let start = scanner.at();
                scanner.skip()?;
                self.default = Some(scanner.text_from(start));
            }
            ("items" | "keys" | "values", Kind::Null) => scanner.null()?,
            ("items", _) => self.items = Some(Self::read(scanner, nulls)?.build(nulls)?),
            ("keys", _) => self.keys = Some(Self::read(scanner, nulls)?.build(nulls)?),
            ("values", _) => self.values = Some(Self::read(scanner, nulls)?.build(nulls)?),
            ("fields", Kind::Array) => self.read_fields(scanner, nulls)?,
            _ => scanner.skip()?,
        }
        Ok(())
    }

    fn read_parameters(&mut self, scanner: &mut Scanner<'a>) -> Result<(), DataError> {
        scanner.enter_object()?;
        let mut is_first = true;
        while let Some(name) = scanner.next_member(is_first)? {
            is_first = false;
            if scanner.kind()? != Kind::String {
                return Err(DataError::data(format!(
                    "the schema's parameter `{name}` is not a string"
                )));
            }
            self.parameters.push((name, scanner.string()?));
        }
        Ok(())
    }

    fn read_fields(&mut self, scanner: &mut Scanner<'a>, nulls: NullWithDefault) -> Result<(), DataError> {
        scanner.enter_array()?;
        let mut fields = Vec::new();
        while scanner.next_element(fields.is_empty())? {
            let attributes = Self::read(scanner, nulls)?;
            let name = attributes.field.as_deref().map(str::to_owned);
            fields.push((name, attributes.build(nulls)?));
        }
        self.fields = Some(fields);
        Ok(())
    }

    fn build(self, nulls: NullWithDefault) -> Result<SchemaRef, DataError> {
        let Some(type_name) = self.type_name else {
            return Err(DataError::data("the schema has no `type`"));
        };
        let missing = |what: &str| DataError::data(format!("the schema of type {type_name} has no `{what}`"));
        let builder = match &*type_name {
            "array" => Schema::array(self.items.ok_or_else(|| missing("items"))?),
            "map" => Schema::map(
                self.keys.ok_or_else(|| missing("keys"))?,
                self.values.ok_or_else(|| missing("values"))?,
            ),
            "struct" => with_fields(self.fields.ok_or_else(|| missing("fields"))?)?,
            name => Schema::builder(primitive(name)?),
        };
        let mut builder = builder.with_optional(self.optional);
        if let Some(name) = self.name {
            builder = builder.name(&*name);
        }
        if let Some(version) = self.version {
            builder = builder.version(version);
        }
        if let Some(doc) = self.doc {
            builder = builder.doc(&*doc);
        }
        for (name, value) in self.parameters {
            builder = builder.parameter(name, value);
        }
        let schema = builder.build()?;
        let Some(default) = self.default else {
            return Ok(schema);
        };
        let default = typed::read(&schema, &mut Scanner::new(default), nulls)
            .map_err(|error| error.at("default value of the schema"))?;
        if default.is_null() {
            return Ok(schema);
        }
        schema.to_builder().default_value(default).build()
    }
}

fn with_fields(fields: Vec<(Option<String>, SchemaRef)>) -> Result<SchemaBuilder, DataError> {
    fields
        .into_iter()
        .try_fold(Schema::structure(), |builder, (name, schema)| {
            let name = name.ok_or_else(|| DataError::data("a field of the struct schema has no name in `field`"))?;
            Ok(builder.field(name, schema))
        })
}

fn primitive(name: &str) -> Result<SchemaType, DataError> {
    Ok(match name {
        "boolean" => SchemaType::Boolean,
        "int8" => SchemaType::Int8,
        "int16" => SchemaType::Int16,
        "int32" => SchemaType::Int32,
        "int64" => SchemaType::Int64,
        "float" => SchemaType::Float32,
        "double" => SchemaType::Float64,
        "bytes" => SchemaType::Bytes,
        "string" => SchemaType::String,
        _ => {
            return Err(DataError::data(
                "the schema's `type` is unknown; known are boolean, int8, int16, int32, int64, float, double, bytes, \
                 string, array, map, struct",
            ));
        }
    })
}
