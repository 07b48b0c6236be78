use std::sync::Arc;

use klamm_aws::Environment;
use klamm_connect_api::sink::{Predicates, PreflightError, Sink, SinkConnector, SinkContext};
use klamm_connect_api::{
    BoxFuture, ConfigDef, ConfigError, ConfigErrors, ParsedConfig, PluginInfo, PluginKind, Predicate, PredicatePlugin,
    RawConfig,
};
use tracing::{info, warn};

use crate::claim::ClaimPlan;
use crate::config::{
    CAMEL_CLASS, CLASS, CLOUD_CLASS, NORDSTROM_CLASS, Notices, PREFLIGHT, Plan, RoutePlan, definition, notice_lines,
    notices, skips_by_default,
};
use crate::invoke::Clients;
use crate::preflight::preflight;
use crate::route::Condition;
use crate::sink::LambdaSink;

const INFO: PluginInfo = PluginInfo {
    kind: PluginKind::Sink,
    class: CLASS,
    aliases: &[
        "AwsLambdaSink",
        "AwsLambdaSinkConnector",
        CLOUD_CLASS,
        NORDSTROM_CLASS,
        CAMEL_CLASS,
    ],
    version: env!("CARGO_PKG_VERSION"),
};

/// The plugin: makes sinks that invoke AWS Lambda functions.
///
/// All its sinks share one HTTP client, and those with the same endpoint, region and credentials one Lambda client.
///
/// ```
/// use klamm_connect_api::RawConfig;
/// use klamm_connect_api::sink::{Predicates, SinkConnector, SinkContext};
/// use klamm_lambda_sink::LambdaSinkConnector;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let raw: RawConfig = [
///     ("connector.class", "AwsLambdaSink"),
///     ("aws.lambda.configuration.mode", "multiple"),
///     ("aws.lambda.topic2function.map", "orders;order-fn:prod,payments;pay-fn"),
///     ("aws.lambda.region", "eu-central-1"),
/// ]
/// .map(|(key, value)| (key.to_owned(), value.to_owned()))
/// .into();
/// let connector = LambdaSinkConnector::default();
/// let config = connector.config_def(&raw).parse(&raw)?;
/// let predicates = Predicates::new();
/// let context = SinkContext {
///     connector: "functions",
///     task: 0,
///     raw: &raw,
///     config: &config,
///     predicates: &predicates,
///     bootstrap_servers: &[],
///     keeps_results: false,
/// };
/// let sink = connector.open(context)?;
/// assert_eq!(&*sink.routes()[0].destination, "order-fn:prod (sync)");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct LambdaSinkConnector {
    environment: Environment,
    clients: Clients,
    /// What reads the patterns of routes.
    patterns: Option<PredicatePlugin>,
}

impl LambdaSinkConnector {
    /// A plugin that reads region and endpoint from `environment` where a configuration names none.
    #[must_use]
    pub fn new(environment: Environment) -> Self {
        let clients = Clients::new(environment.clock());
        Self {
            environment,
            clients,
            patterns: None,
        }
    }

    /// Lets `routes.<alias>.pattern` be read by `plugin`, a predicate with a setting `pattern`.
    #[must_use]
    pub fn with_patterns(mut self, plugin: PredicatePlugin) -> Self {
        self.patterns = Some(plugin);
        self
    }

    fn pattern(&self, route: &RoutePlan, text: &str) -> Result<Arc<dyn Predicate>, ConfigErrors> {
        let key = format!("{}pattern", route.prefix);
        let Some(plugin) = &self.patterns else {
            return Err(ConfigError::new(key, "this worker has no plugin for event patterns").into());
        };
        let raw = RawConfig::from([("pattern".to_owned(), text.to_owned())]);
        let made = (plugin.config_def)()
            .parse(&raw)
            .and_then(|parsed| (plugin.create)(&parsed));
        made.map_err(|errors| {
            let messages: Vec<_> = errors.into_iter().map(|error| error.message).collect();
            ConfigError::new(key, messages.join("; ")).into()
        })
    }

    /// What records have to pass to take a route.
    fn conditions(&self, route: &RoutePlan, declared: &Predicates) -> Result<Vec<Condition>, ConfigErrors> {
        let mut conditions = Vec::new();
        if let Some(name) = &route.filter.predicate {
            let predicate = declared.get(name).map(Arc::clone).ok_or_else(|| {
                let key = format!("{}predicate", route.prefix);
                ConfigErrors::from(ConfigError::new(key, format!("there is no predicate `{name}`")))
            })?;
            conditions.push(Condition {
                predicate,
                wanted: !route.filter.negate,
            });
        }
        if let Some(text) = &route.filter.pattern {
            conditions.push(Condition {
                predicate: self.pattern(route, text)?,
                wanted: true,
            });
        }
        Ok(conditions)
    }
}

impl Default for LambdaSinkConnector {
    /// The plugin in the process's own environment.
    fn default() -> Self {
        Self::new(Environment::process())
    }
}

impl SinkConnector for LambdaSinkConnector {
    fn info(&self) -> &PluginInfo {
        &INFO
    }

    fn config_def(&self, raw: &RawConfig) -> ConfigDef {
        definition(raw)
    }

    fn validate(&self, raw: &RawConfig, parsed: &ParsedConfig) -> Vec<ConfigError> {
        let plan = match Plan::try_new(raw, parsed, &self.environment) {
            Ok(plan) => plan,
            Err(errors) => return errors,
        };
        let mut errors = Vec::new();
        for route in &plan.routes {
            if let Some(Err(wrong)) = route.filter.pattern.as_deref().map(|text| self.pattern(route, text)) {
                errors.extend(
                    wrong
                        .into_iter()
                        .filter(|error| !errors.contains(error))
                        .collect::<Vec<_>>(),
                );
            }
        }
        errors
    }

    fn preflight<'a>(&'a self, context: SinkContext<'a>) -> BoxFuture<'a, Vec<PreflightError>> {
        Box::pin(async move {
            if context.config.bool(PREFLIGHT) != Some(true) {
                return Vec::new();
            }
            self.probe(context).await
        })
    }

    fn notices(&self, raw: &RawConfig) -> Vec<ConfigError> {
        notice_lines(raw, &definition(raw))
    }

    fn probe<'a>(&'a self, context: SinkContext<'a>) -> BoxFuture<'a, Vec<PreflightError>> {
        Box::pin(async move {
            let Ok(plan) = Plan::try_new(context.raw, context.config, &self.environment) else {
                return Vec::new();
            };
            preflight(&plan.routes, |route| self.clients.client(route)).await
        })
    }

    fn open(&self, context: SinkContext<'_>) -> Result<Arc<dyn Sink>, ConfigErrors> {
        let plan = match Plan::try_new(context.raw, context.config, &self.environment) {
            Ok(plan) => plan,
            Err(errors) => {
                ConfigErrors::check(errors)?;
                return Err(ConfigError::new("routes", "no route can be made of this configuration").into());
            }
        };
        if context.task == 0 {
            tell(context.connector, context.raw);
        }
        let client = |route: &RoutePlan| self.clients.client(route);
        let conditions = |route: &RoutePlan| self.conditions(route, context.predicates);
        let store = |route: &RoutePlan, claim: &ClaimPlan| self.clients.store(route, claim);
        let sink = LambdaSink::new(&context, plan, client, store, conditions)?;
        Ok(Arc::new(sink))
    }
}

/// Says once, when the connector starts, what its configuration sets in vain and what it may not expect.
fn tell(connector: &str, raw: &RawConfig) {
    let Notices {
        unknown,
        without_effect,
    } = notices(raw, &definition(raw));
    if !unknown.is_empty() {
        let keys = unknown.join(", ");
        warn!(
            connector,
            keys, "settings that this connector does not have: check their spelling"
        );
    }
    if !without_effect.is_empty() {
        let keys = without_effect.join(", ");
        warn!(connector, keys, "settings without effect here");
    }
    if skips_by_default(raw) {
        info!(
            connector,
            "records whose attempts run out are skipped with a line in the log: the default of this class; set \
             `behavior.on.error=fail` to stop the task instead"
        );
    }
}
