//! What converters ask: schemas with their references, cached.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use klamm_connect_api::{BoxFuture, ConfigErrors, ParsedConfig};
use uuid::Uuid;

use crate::cache::{Cache, Limits};
use crate::config::Settings;
use crate::error::RegistryError;
use crate::glue::{self, GlueClient};
use crate::rest::RestClient;
use crate::schema::{Document, Lookup, ReferencedDocument, RegisteredSchema};

/// What is wrong or not there is asked for again after this long: somebody may have mended it.
const NEGATIVE_HOLDS: Duration = Duration::from_secs(10);
/// References inside references, at most.
const MAX_DEPTH: usize = 64;
/// References of one schema, at most.
const MAX_REFERENCES: usize = 1000;

/// Where documents come from.
pub(crate) trait Backend: Send + Sync + fmt::Debug {
    /// The document of a lookup. What may pass has been tried again.
    fn document<'a>(&'a self, lookup: &'a Lookup) -> BoxFuture<'a, Result<Document, RegistryError>>;

    /// The version of a document in a subject; none if the subject does not hold it.
    fn version<'a>(
        &'a self,
        subject: &'a str,
        document: &'a Document,
    ) -> BoxFuture<'a, Result<Option<i32>, RegistryError>>;

    /// How long after a failure that may pass nobody asks again.
    fn failure_holds(&self) -> Duration;
}

type Answers<K, V> = Cache<K, V, RegistryError>;

/// A schema registry, and what it answered so far.
///
/// One request is made however many partitions ask for a schema at a time. Answers are kept, the least recently used
/// ones forgotten beyond `max.schemas.per.subject`; failures are not.
#[derive(Debug)]
pub struct SchemaRegistry {
    backend: Box<dyn Backend>,
    documents: Answers<Lookup, Arc<Document>>,
    latest: Answers<Lookup, Arc<Document>>,
    versions: Cache<(Arc<str>, Lookup), i32, NoVersion>,
    /// Something to ask for that need not be there.
    probe: Lookup,
}

/// Why there is no version. Neither is kept for good: a schema may be registered under a subject later.
#[derive(Debug, Clone)]
enum NoVersion {
    /// The subject does not hold the schema.
    NotThere,
    Unknown(RegistryError),
}

impl SchemaRegistry {
    /// The client of the registry that the settings name. Nothing is asked yet.
    ///
    /// # Errors
    /// Settings that are missing or do not fit together, and certificates that cannot be read.
    pub fn try_new(config: &ParsedConfig) -> Result<Self, ConfigErrors> {
        let settings = Settings::try_new(config)?;
        let (max_schemas, latest_lives) = (settings.max_schemas, settings.latest_lives);
        Ok(Self::new(
            max_schemas,
            latest_lives,
            Box::new(RestClient::new(settings)),
            Lookup::Id {
                id: i32::MAX,
                subject: None,
            },
        ))
    }

    /// The client of AWS Glue's registry. Nothing is asked yet.
    ///
    /// # Errors
    /// As [`SchemaRegistry::try_new`].
    pub fn try_new_glue(config: &ParsedConfig) -> Result<Self, ConfigErrors> {
        let settings = glue::Settings::try_new(config, |name| std::env::var(name).ok())?;
        Ok(Self::new(
            settings.max_schemas,
            None,
            Box::new(GlueClient::new(settings)),
            Lookup::VersionId(Uuid::nil()),
        ))
    }

    fn new(max_schemas: usize, latest_lives: Option<Duration>, backend: Box<dyn Backend>, probe: Lookup) -> Self {
        let limits = |answers_live| Limits {
            entries: max_schemas,
            answers_live,
        };
        Self {
            documents: Cache::new(limits(None)),
            latest: Cache::new(limits(latest_lives)),
            versions: Cache::new(limits(None)),
            backend,
            probe,
        }
    }

    /// Asks the registry for something that need not be there, to see whether it answers and lets us in.
    ///
    /// # Errors
    /// It does not.
    ///
    /// # Cancel safety
    /// Safe: nothing is kept.
    pub async fn probe(&self) -> Result<(), RegistryError> {
        match self.backend.document(&self.probe).await {
            Ok(_) | Err(RegistryError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The schema of a lookup with everything that it refers to.
    ///
    /// # Errors
    /// Why it cannot be had: [`RegistryError::is_retriable`] says whether that may pass.
    ///
    /// # Cancel safety
    /// Safe: what was fetched so far stays.
    pub async fn schema(&self, lookup: &Lookup) -> Result<RegisteredSchema, RegistryError> {
        let document = self.document(lookup).await?;
        let mut references = Vec::new();
        if !document.references.is_empty() {
            self.resolve(lookup, &document, &mut Vec::new(), &mut references)
                .await?;
        }
        Ok(RegisteredSchema { document, references })
    }

    /// The version of a schema in a subject; none if the subject does not hold it, which is asked again after ten seconds.
    ///
    /// # Errors
    /// As [`SchemaRegistry::schema`].
    pub async fn version(
        &self,
        subject: &Arc<str>,
        lookup: &Lookup,
        document: &Document,
    ) -> Result<Option<i32>, RegistryError> {
        if document.version.is_some() && document.subject.as_ref() == Some(subject) {
            return Ok(document.version);
        }
        let key = (Arc::clone(subject), lookup.clone());
        let fetch = async {
            match self.backend.version(subject, document).await {
                Ok(version) => version.ok_or(NoVersion::NotThere),
                Err(error) => Err(NoVersion::Unknown(error)),
            }
        };
        let holds = |why: &NoVersion| match why {
            NoVersion::NotThere => NEGATIVE_HOLDS,
            NoVersion::Unknown(error) => self.holds(error),
        };
        match self.versions.get_or_fetch(&key, holds, fetch).await {
            Ok(version) => Ok(Some(version)),
            Err(NoVersion::NotThere) => Ok(None),
            Err(NoVersion::Unknown(error)) => Err(error),
        }
    }

    async fn document(&self, lookup: &Lookup) -> Result<Arc<Document>, RegistryError> {
        let cache = match lookup {
            Lookup::Latest { .. } | Lookup::LatestWith { .. } => &self.latest,
            Lookup::Id { .. } | Lookup::Guid(_) | Lookup::VersionId(_) | Lookup::Version { .. } => &self.documents,
        };
        let fetch = async { self.backend.document(lookup).await.map(Arc::new) };
        cache.get_or_fetch(lookup, |error| self.holds(error), fetch).await
    }

    fn holds(&self, error: &RegistryError) -> Duration {
        if error.is_retriable() {
            error.retry_after().unwrap_or_else(|| self.backend.failure_holds())
        } else {
            NEGATIVE_HOLDS
        }
    }

    /// Adds what a document refers to, after what that refers to itself.
    fn resolve<'a>(
        &'a self,
        root: &'a Lookup,
        document: &'a Document,
        path: &'a mut Vec<Lookup>,
        found: &'a mut Vec<ReferencedDocument>,
    ) -> BoxFuture<'a, Result<(), RegistryError>> {
        Box::pin(async move {
            let impossible = |reason: String| RegistryError::References {
                what: root.to_string(),
                reason,
            };
            for reference in &document.references {
                let lookup = Lookup::Version {
                    subject: Arc::clone(&reference.subject),
                    version: reference.version,
                };
                if path.contains(&lookup) {
                    return Err(impossible(format!("{lookup} refers to itself")));
                }
                if path.len() >= MAX_DEPTH || found.len() >= MAX_REFERENCES {
                    return Err(impossible(format!(
                        "they are more than {MAX_REFERENCES}, or more than {MAX_DEPTH} levels deep"
                    )));
                }
                let referenced = self.document(&lookup).await?;
                let is_known = found
                    .iter()
                    .any(|known| known.name == reference.name && known.document == referenced);
                if is_known {
                    continue;
                }
                path.push(lookup);
                self.resolve(root, &referenced, path, found).await?;
                path.pop();
                found.push(ReferencedDocument {
                    name: reference.name.clone(),
                    document: referenced,
                });
            }
            Ok(())
        })
    }
}
