//! Functions, versions and aliases as they are configured, checked once.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::StartError;
use super::code::Code;
use super::config::{FunctionConfig, FunctionsConfig};
use super::handler::{Handler, HandlerError};

pub(super) const LATEST: &str = "$LATEST";

/// A function that can be called.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) name: Arc<str>,
    pub(super) arn: String,
    pub(super) config: FunctionConfig,
    /// Its versions, the first being `$LATEST`.
    pub(super) versions: Vec<Arc<Version>>,
    /// Calls that may run: its own if it has reserved concurrency, else shared by all.
    pub(super) slots: Arc<Semaphore>,
    /// Of these, those that events may take: half, so that a full queue leaves room for synchronous calls.
    pub(super) event_slots: Arc<Semaphore>,
}

/// What runs when a function is called by a qualifier.
#[derive(Debug)]
pub(super) struct Version {
    pub(super) function: Arc<str>,
    /// `$LATEST` or a number.
    pub(super) number: Arc<str>,
    pub(super) handler: Handler,
    pub(super) code: Arc<Code>,
    pub(super) timeout: Duration,
    pub(super) memory_mb: u32,
    /// All but the address of the Runtime API.
    pub(super) environment: Vec<(OsString, OsString)>,
}

impl Function {
    /// The version that a qualifier means; none is `$LATEST`.
    pub(super) fn version(&self, qualifier: Option<&str>) -> Option<&Arc<Version>> {
        let qualifier = qualifier.unwrap_or(LATEST);
        let number = self.config.aliases.get(qualifier).map_or(qualifier, String::as_str);
        self.versions.iter().find(|version| &*version.number == number)
    }

    pub(super) fn is_switched_off(&self) -> bool {
        self.config.reserved_concurrency == Some(0)
    }
}

pub(super) fn arn_of_functions(config: &FunctionsConfig) -> String {
    format!("arn:aws:lambda:{}:{}:function", config.region, config.account)
}

/// Checks all functions.
pub(super) fn resolve(config: &FunctionsConfig) -> Result<Vec<Arc<Function>>, StartError> {
    let shared = Arc::new(Semaphore::new(config.concurrency.clamp(1, Semaphore::MAX_PERMITS)));
    let mut names = HashMap::new();
    let mut functions = Vec::with_capacity(config.functions.len());
    for function in &config.functions {
        let wrong = |what: String| StartError::Function {
            function: function.name.clone(),
            what,
        };
        check(function).map_err(wrong)?;
        if names.insert(&function.name, ()).is_some() {
            return Err(wrong("it is configured twice".to_owned()));
        }
        functions.push(Arc::new(one(config, function, &shared)?));
    }
    Ok(functions)
}

fn check(function: &FunctionConfig) -> Result<(), String> {
    let is_name = |text: &str, longest: usize| {
        (1..=longest).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if !is_name(&function.name, 64) {
        return Err("a name is 1 to 64 letters, digits, `-` and `_`".to_owned());
    }
    if function.timeout.is_zero() || function.timeout > Duration::from_secs(900) {
        return Err("`timeout` is more than 0 and at most 900 seconds".to_owned());
    }
    for (alias, version) in &function.aliases {
        if !is_name(alias, 128) || alias.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!(
                "alias `{alias}`: a name is 1 to 128 letters, digits, `-` and `_`, and not a number"
            ));
        }
        let is_known = version == LATEST
            || version
                .parse()
                .is_ok_and(|number: u32| function.versions.contains_key(&number));
        if !is_known {
            return Err(format!(
                "alias `{alias}` points to `{version}`, which is neither {LATEST} nor one of `versions`"
            ));
        }
    }
    for name in function.environment.keys() {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(format!("`{name}` is not the name of an environment variable"));
        }
    }
    if let Some((name, _)) = function.environment.iter().find(|(_, value)| value.contains('\0')) {
        return Err(format!("environment variable `{name}` holds a zero byte"));
    }
    Ok(())
}

fn one(config: &FunctionsConfig, function: &FunctionConfig, shared: &Arc<Semaphore>) -> Result<Function, StartError> {
    let name: Arc<str> = function.name.as_str().into();
    let slots = match function.reserved_concurrency {
        Some(reserved) => {
            let reserved = usize::try_from(reserved).unwrap_or(usize::MAX);
            Arc::new(Semaphore::new(reserved.min(Semaphore::MAX_PERMITS)))
        }
        None => Arc::clone(shared),
    };
    let numbered = function
        .versions
        .iter()
        .map(|(number, handler)| (number.to_string(), handler));
    let latest = latest(config, function);
    let resolved = std::iter::once((LATEST.to_owned(), latest))
        .chain(numbered.map(|(number, handler)| (number, resolved(config, function, handler))));
    let mut versions = Vec::new();
    for (number, handler) in resolved {
        let handler = handler.map_err(|source| StartError::Handler {
            function: function.name.clone(),
            source,
        })?;
        versions.push(version(config, function, &name, number, handler));
    }
    Ok(Function {
        arn: format!("{}:{}", arn_of_functions(config), function.name),
        name,
        config: function.clone(),
        versions,
        event_slots: Arc::new(Semaphore::new((slots.available_permits() / 2).max(1))),
        slots,
    })
}

fn resolved(config: &FunctionsConfig, function: &FunctionConfig, handler: &str) -> Result<Handler, HandlerError> {
    Handler::resolve(&config.root, handler, function.runtime.as_deref())
}

/// The first handler whose runtime is there; else what is wrong with the first.
fn latest(config: &FunctionsConfig, function: &FunctionConfig) -> Result<Handler, HandlerError> {
    let mut first = None;
    for handler in std::iter::once(&function.handler).chain(&function.alternatives) {
        match resolved(config, function, handler) {
            Err(error @ HandlerError::NoRuntime { .. }) => {
                first.get_or_insert(error);
            }
            // A handler that is not there is a mistake, and nothing to pass over.
            resolved => return resolved,
        }
    }
    Err(first.expect("the function's own handler was tried and has no runtime"))
}

fn version(
    config: &FunctionsConfig,
    function: &FunctionConfig,
    name: &Arc<str>,
    number: String,
    handler: Handler,
) -> Arc<Version> {
    let environment = environment(config, function, &number, &handler);
    Arc::new(Version {
        function: Arc::clone(name),
        number: number.into(),
        code: Code::of(&handler),
        handler,
        timeout: function.timeout,
        memory_mb: function.memory_mb,
        environment,
    })
}

/// What Lambda sets, under what the function sets itself. The parent's environment comes first: it holds the developer's
/// credentials and paths.
fn environment(
    config: &FunctionsConfig,
    function: &FunctionConfig,
    number: &str,
    handler: &Handler,
) -> Vec<(OsString, OsString)> {
    let path = |path: &Path| path.as_os_str().to_owned();
    let ours: [(&str, OsString); 14] = [
        ("AWS_LAMBDA_FUNCTION_NAME", function.name.clone().into()),
        ("AWS_LAMBDA_FUNCTION_VERSION", number.into()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", function.memory_mb.to_string().into()),
        (
            "AWS_LAMBDA_LOG_GROUP_NAME",
            format!("/aws/lambda/{}", function.name).into(),
        ),
        ("AWS_LAMBDA_LOG_STREAM_NAME", format!("[{number}]local").into()),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".into()),
        (
            "AWS_EXECUTION_ENV",
            format!("AWS_Lambda_{}", handler.language.runtime()).into(),
        ),
        ("AWS_REGION", config.region.clone().into()),
        ("AWS_DEFAULT_REGION", config.region.clone().into()),
        ("LAMBDA_TASK_ROOT", path(&handler.root)),
        ("LAMBDA_RUNTIME_DIR", path(&handler.root)),
        ("_HANDLER", handler.name.clone().into()),
        ("TZ", ":UTC".into()),
        // Two edits within a second leave a stale cache of the first: Python compares whole seconds.
        ("PYTHONDONTWRITEBYTECODE", "1".into()),
    ];
    let mut variables: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
    variables.extend(ours.map(|(name, value)| (name.into(), value)));
    let own = function.environment.iter();
    variables.extend(own.map(|(name, value)| (name.into(), value.into())));
    variables.into_iter().collect()
}
