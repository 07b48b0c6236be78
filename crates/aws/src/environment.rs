use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

/// What is taken from the surroundings instead of a configuration: environment variables and the clock that requests are
/// signed with.
#[derive(Clone)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    now: fn() -> SystemTime,
}

impl Environment {
    const VARIABLES: [&'static str; 9] = [
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_ENDPOINT_URL_LAMBDA",
        "AWS_ENDPOINT_URL_SQS",
        "AWS_ENDPOINT_URL_SNS",
        "AWS_ENDPOINT_URL_S3",
        "AWS_ENDPOINT_URL_SECRETS_MANAGER",
        "AWS_ENDPOINT_URL_SSM",
        "AWS_ENDPOINT_URL",
    ];

    /// The variables given, and `now` as the clock.
    pub fn new<K: Into<String>, V: Into<String>>(
        variables: impl IntoIterator<Item = (K, V)>,
        now: fn() -> SystemTime,
    ) -> Self {
        Self {
            variables: variables
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            now,
        }
    }

    /// The process's own variables and the system's clock.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where this crate meets the real clock"
    )]
    pub fn process() -> Self {
        let variables = Self::VARIABLES
            .into_iter()
            .filter_map(|name| std::env::var(name).ok().map(|value| (name, value)));
        Self::new(variables, SystemTime::now)
    }

    /// The same with another variable, or with another value for one.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    /// The first of `names` that is set and not blank.
    #[must_use]
    pub fn first(&self, names: &[&str]) -> Option<&str> {
        names
            .iter()
            .filter_map(|name| self.variables.get(*name))
            .map(|value| value.trim())
            .find(|value| !value.is_empty())
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> fn() -> SystemTime {
        self.now
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("variables", &self.variables)
            .finish_non_exhaustive()
    }
}
