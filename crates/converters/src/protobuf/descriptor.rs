//! A `.proto` file as far as it matters here, from its text or from a compiled descriptor.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use klamm_connect_api::DataError;
use prost::Message as _;

use super::meta;

/// A file's `FileDescriptorProto`. Its names are not resolved yet.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct File {
    #[prost(string, optional, tag = "1")]
    pub(super) name: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub(super) package: Option<String>,
    #[prost(string, repeated, tag = "3")]
    pub(super) imports: Vec<String>,
    #[prost(message, repeated, tag = "4")]
    pub(super) messages: Vec<Message>,
    #[prost(message, repeated, tag = "5")]
    pub(super) enums: Vec<Enum>,
    #[prost(string, optional, tag = "12")]
    pub(super) syntax: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Message {
    #[prost(string, optional, tag = "1")]
    pub(super) name: Option<String>,
    #[prost(message, repeated, tag = "2")]
    pub(super) fields: Vec<Field>,
    #[prost(message, repeated, tag = "3")]
    pub(super) messages: Vec<Self>,
    #[prost(message, repeated, tag = "4")]
    pub(super) enums: Vec<Enum>,
    #[prost(message, optional, tag = "7")]
    pub(super) options: Option<MessageOptions>,
    #[prost(message, repeated, tag = "8")]
    pub(super) oneofs: Vec<Oneof>,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct MessageOptions {
    #[prost(bool, optional, tag = "7")]
    pub(super) map_entry: Option<bool>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Oneof {
    #[prost(string, optional, tag = "1")]
    pub(super) name: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Field {
    #[prost(string, optional, tag = "1")]
    pub(super) name: Option<String>,
    #[prost(int32, optional, tag = "3")]
    pub(super) number: Option<i32>,
    #[prost(int32, optional, tag = "4")]
    pub(super) label: Option<i32>,
    /// Absent in files that were text, where it follows from what the name is.
    #[prost(int32, optional, tag = "5")]
    pub(super) kind: Option<i32>,
    #[prost(string, optional, tag = "6")]
    pub(super) type_name: Option<String>,
    #[prost(string, optional, tag = "7")]
    pub(super) default: Option<String>,
    #[prost(message, optional, tag = "8")]
    pub(super) options: Option<FieldOptions>,
    #[prost(int32, optional, tag = "9")]
    pub(super) oneof: Option<i32>,
    #[prost(bool, optional, tag = "17")]
    pub(super) proto3_optional: Option<bool>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct FieldOptions {
    /// Options of a file that was text: nobody has looked up yet what they mean.
    #[prost(message, repeated, tag = "999")]
    uninterpreted: Vec<UninterpretedOption>,
    /// `(confluent.field_meta)`
    #[prost(message, optional, tag = "1088")]
    meta: Option<Meta>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Meta {
    #[prost(btree_map = "string, string", tag = "2")]
    params: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct UninterpretedOption {
    #[prost(message, repeated, tag = "2")]
    name: Vec<NamePart>,
    #[prost(string, optional, tag = "8")]
    aggregate: Option<String>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct NamePart {
    #[prost(string, required, tag = "1")]
    text: String,
    #[prost(bool, required, tag = "2")]
    is_extension: bool,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Enum {
    #[prost(string, optional, tag = "1")]
    pub(super) name: Option<String>,
    #[prost(message, repeated, tag = "2")]
    pub(super) values: Vec<EnumValue>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct EnumValue {
    #[prost(string, optional, tag = "1")]
    pub(super) name: Option<String>,
    #[prost(int32, optional, tag = "2")]
    pub(super) number: Option<i32>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct FileSet {
    #[prost(message, repeated, tag = "1")]
    files: Vec<File>,
}

impl Field {
    /// The parameters that Confluent's converter writes beside a field, such as the scale of a decimal.
    pub(super) fn params(&self) -> BTreeMap<String, String> {
        let Some(options) = &self.options else {
            return BTreeMap::new();
        };
        let mut params = options
            .meta
            .as_ref()
            .map(|meta| meta.params.clone())
            .unwrap_or_default();
        for option in &options.uninterpreted {
            let Some((first, rest)) = option.name.split_first() else {
                continue;
            };
            let is_meta = first.is_extension && first.text.trim_start_matches('.') == "confluent.field_meta";
            let Some(text) = option.aggregate.as_deref().filter(|_| is_meta) else {
                continue;
            };
            match rest {
                [] => params.extend(meta::params(text)),
                [part] if part.text == "params" => params.extend(meta::entry(text)),
                _ => {}
            }
        }
        params
    }
}

/// The files of a document: one for the text of a `.proto` file and for the base64 of its descriptor; several, the
/// main one last, for the base64 of a set of descriptors.
pub(super) fn parse(name: &str, text: &str) -> Result<Vec<File>, DataError> {
    let mut files = match BASE64.decode(text.trim()) {
        // No text of a file is base64: it would have neither spaces nor semicolons.
        Ok(bytes) if !bytes.is_empty() => compiled(&bytes)?,
        _ => vec![source(name, text)?],
    };
    // Others refer to the document by this name, whatever it was called when it was compiled.
    if let Some(main) = files.last_mut() {
        main.name = Some(name.to_owned());
    }
    match files.iter().find_map(|file| file.syntax.as_deref()) {
        None | Some("" | "proto2" | "proto3") => Ok(files),
        Some(syntax) => Err(unknown_syntax(syntax)),
    }
}

fn unknown_syntax(syntax: &str) -> DataError {
    DataError::data(format!(
        "the Protobuf schema is written in `{syntax}`: proto2 and proto3 can be read"
    ))
}

/// The edition that a file begins with: `edition = "2023";`.
fn edition(text: &str) -> Option<&str> {
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        rest = if let Some(comment) = rest.strip_prefix("//") {
            comment.split_once('\n')?.1
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/")?.1
        } else {
            break;
        };
    }
    let value = rest
        .strip_prefix("edition")?
        .trim_start()
        .strip_prefix('=')?
        .trim_start();
    let quote = value.chars().next().filter(|char| matches!(char, '"' | '\''))?;
    Some(value.split(quote).nth(1).unwrap_or_default())
}

fn source(name: &str, text: &str) -> Result<File, DataError> {
    if let Some(edition) = edition(text) {
        return Err(unknown_syntax(&format!("edition {edition}")));
    }
    let mut parsed = protox_parse::parse(name, text).map_err(|error| {
        let line = error.span().and_then(|span| text.get(..span.start)).map(|before| {
            let line = before.bytes().filter(|byte| *byte == b'\n').count();
            format!(" at line {}", line.saturating_add(1))
        });
        DataError::data(format!(
            "the Protobuf schema cannot be parsed{}: {error}",
            line.unwrap_or_default()
        ))
    })?;
    parsed.source_code_info = None;
    File::decode(prost_bytes(&parsed).as_slice()).map_err(|error| unreadable(&error))
}

fn prost_bytes(message: &impl prost::Message) -> Vec<u8> {
    message.encode_to_vec()
}

fn compiled(bytes: &[u8]) -> Result<Vec<File>, DataError> {
    // Both begin with field 1. In a set there is nothing else, and a file with nothing but a name declares nothing.
    if let Ok(file) = File::decode(bytes) {
        let only_name = File {
            name: file.name.clone(),
            ..File::default()
        };
        if file != only_name {
            return Ok(vec![file]);
        }
    }
    let set = FileSet::decode(bytes).map_err(|error| unreadable(&error))?;
    if set.files.is_empty() {
        return Err(DataError::data("the Protobuf schema's descriptor declares nothing"));
    }
    Ok(set.files)
}

fn unreadable(error: &prost::DecodeError) -> DataError {
    DataError::data(format!("the Protobuf schema's descriptor cannot be read: {error}"))
}
