use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

/// How a record names its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SchemaId {
    /// The id that the registry gave the schema, unique in its context.
    Id(i32),
    /// The identifier that follows from the schema's content.
    Guid(Uuid),
    /// The identifier of a schema version in AWS Glue.
    VersionId(Uuid),
}

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "id {id}"),
            Self::Guid(guid) => write!(f, "GUID {guid}"),
            Self::VersionId(id) => write!(f, "version id {id}"),
        }
    }
}

/// What to ask a registry for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Lookup {
    /// The schema of an id. The subject tells the registry in which context to look, if it is known.
    Id {
        /// The id.
        id: i32,
        /// A subject that holds the schema.
        subject: Option<Arc<str>>,
    },
    /// The schema of a GUID.
    Guid(Uuid),
    /// The schema of a version id of AWS Glue.
    VersionId(Uuid),
    /// A version of a subject.
    Version {
        /// The subject.
        subject: Arc<str>,
        /// The version.
        version: i32,
    },
    /// The newest version of a subject.
    Latest {
        /// The subject.
        subject: Arc<str>,
    },
    /// The newest version of a subject whose metadata has these properties.
    LatestWith {
        /// The subject.
        subject: Arc<str>,
        /// Names and values of the properties.
        metadata: Vec<(String, String)>,
    },
}

impl fmt::Display for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id { id, subject: None } => write!(f, "schema id {id}"),
            Self::Id {
                id,
                subject: Some(subject),
            } => write!(f, "schema id {id} (subject {subject})"),
            Self::Guid(guid) => write!(f, "schema GUID {guid}"),
            Self::VersionId(id) => write!(f, "schema version id {id}"),
            Self::Version { subject, version } => write!(f, "version {version} of subject {subject}"),
            Self::Latest { subject } => write!(f, "the latest version of subject {subject}"),
            Self::LatestWith { subject, metadata } => {
                write!(f, "the latest version of subject {subject} with the metadata")?;
                metadata
                    .iter()
                    .try_for_each(|(name, value)| write!(f, " {name}={value}"))
            }
        }
    }
}

/// The language of a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SchemaType {
    /// Apache Avro
    Avro,
    /// JSON Schema
    Json,
    /// Protocol Buffers
    Protobuf,
}

impl SchemaType {
    /// The type by the registry's name for it; none is Avro.
    pub(crate) fn of(name: Option<&str>) -> Option<Self> {
        match name {
            None | Some("" | "AVRO") => Some(Self::Avro),
            Some("JSON") => Some(Self::Json),
            Some("PROTOBUF") => Some(Self::Protobuf),
            Some(_) => None,
        }
    }
}

impl fmt::Display for SchemaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Avro => "AVRO",
            Self::Json => "JSON",
            Self::Protobuf => "PROTOBUF",
        })
    }
}

/// One schema as the registry holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The id, if the answer named it or it was asked for by id.
    pub id: Option<i32>,
    /// The subject, if the answer named it or the document was asked for with it.
    pub subject: Option<Arc<str>>,
    /// The version in the subject, if the answer named it.
    pub version: Option<i32>,
    /// The language.
    pub schema_type: SchemaType,
    /// The schema's text.
    pub text: String,
    /// The schemas that the text refers to.
    pub references: Vec<Reference>,
}

/// A schema that another one refers to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    /// The name under which the text refers to it: a type's full name, an import, a `$ref`.
    pub name: String,
    /// The subject that holds it.
    pub subject: Arc<str>,
    /// Its version there.
    pub version: i32,
}

/// A schema with everything that it refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredSchema {
    /// The schema itself.
    pub document: Arc<Document>,
    /// What it refers to, directly or not: each once under each of its names, after what it refers to itself.
    pub references: Vec<ReferencedDocument>,
}

/// A document that is referred to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferencedDocument {
    /// The name under which it is referred to.
    pub name: String,
    /// The document.
    pub document: Arc<Document>,
}
