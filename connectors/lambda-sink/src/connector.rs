use std::sync::Arc;

use klamm_connect_api::sink::{Sink, SinkConnector, SinkContext};
use klamm_connect_api::{ConfigDef, ConfigError, ConfigErrors, ParsedConfig, PluginInfo, PluginKind, RawConfig};
use tracing::{info, warn};

use crate::config::{
    CLASS, CLOUD_CLASS, Environment, NORDSTROM_CLASS, Notices, Plan, definition, notices, skips_by_default,
};
use crate::invoke::Clients;
use crate::sink::LambdaSink;

const INFO: PluginInfo = PluginInfo {
    kind: PluginKind::Sink,
    class: CLASS,
    aliases: &["AwsLambdaSink", "AwsLambdaSinkConnector", CLOUD_CLASS, NORDSTROM_CLASS],
    version: env!("CARGO_PKG_VERSION"),
};

/// The plugin: makes sinks that invoke AWS Lambda functions.
///
/// All its sinks share one HTTP client, and those with the same endpoint, region and credentials one Lambda client.
///
/// ```
/// use klamm_connect_api::RawConfig;
/// use klamm_connect_api::sink::{SinkConnector, SinkContext};
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
/// let sink = connector.open(SinkContext { connector: "functions", task: 0, raw: &raw, config: &config })?;
/// assert_eq!(&*sink.routes()[0].destination, "order-fn:prod (sync)");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct LambdaSinkConnector {
    environment: Environment,
    clients: Clients,
}

impl LambdaSinkConnector {
    /// A plugin that reads region and endpoint from `environment` where a configuration names none.
    #[must_use]
    pub fn new(environment: Environment) -> Self {
        let clients = Clients::new(environment.clock());
        Self { environment, clients }
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
        Plan::try_new(raw, parsed, &self.environment).err().unwrap_or_default()
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
        Ok(Arc::new(LambdaSink::new(plan, |route| self.clients.client(route))))
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
