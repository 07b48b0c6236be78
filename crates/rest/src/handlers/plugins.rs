//! Plugins: what there is, its settings, and whether a configuration is right.

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;
use klamm_connect_api::{ConfigKey, PluginInfo, PluginKind};
use klamm_runtime::{SubmittedConfig, connector_config_def};

use super::observe::wants_extensions;
use super::{Answer, Api};
use crate::answers::{Definition, PluginAnswer, ValidationAnswer, json};
use crate::body;
use crate::error::ApiError;
use crate::extensions::{Extended, ValidationExtension};
use crate::route::{flag, parameter};
use crate::version::Versions;

/// Live checks at once; others wait.
pub(super) const MAX_LIVE_CHECKS: usize = 4;

impl Api {
    pub(super) fn plugins(&self, connectors_only: bool) -> Response {
        let mut infos: Vec<&PluginInfo> = self
            .herder
            .plugins()
            .infos()
            .filter(|info| !connectors_only || info.kind == PluginKind::Sink)
            .collect();
        infos.sort_by_key(|info| (place(info.kind), info.class));
        json(
            StatusCode::OK,
            &infos.into_iter().map(PluginAnswer::new).collect::<Vec<_>>(),
        )
    }

    pub(super) fn plugin_config(&self, name: &str, parameters: &[(String, String)]) -> Answer {
        let info = self.herder.plugin(name)?;
        check_version(name, info, parameter(parameters, "version"))?;
        let unknown = || ApiError::new(StatusCode::NOT_FOUND, format!("Unknown plugin {name}."));
        let own = self.herder.plugins().config_def(name).ok_or_else(unknown)?;
        // A connector has the settings of every connector as well.
        let common = (info.kind == PluginKind::Sink).then(|| connector_config_def(self.herder.plugins()));
        let common = common
            .iter()
            .flat_map(|common| common.keys())
            .map(|key| match &*key.name {
                "connector.plugin.version" => key.clone().default(info.version),
                _ => key.clone(),
            });
        let keys: Vec<ConfigKey> = own.keys().iter().cloned().chain(common).collect();
        Ok(json(StatusCode::OK, &Definition::list(&keys)))
    }

    pub(super) async fn validate(&self, kind: &str, parameters: &[(String, String)], body: Body) -> Answer {
        let config = body::config(&body::read(body).await?)?;
        let class = class_of_kind(&config, kind)?;
        let is_live = flag(parameters, "live", false);
        let wants_more = is_live || wants_extensions(parameters);
        let validation = self.herder.validate(config.clone()).await?;
        let live = if is_live {
            // Never closed.
            let _turn = self.live_checks.acquire().await;
            Some(self.about.live_checks.check(config).await?)
        } else {
            None
        };
        let extensions = wants_more.then(|| ValidationExtension::new(&validation, live));
        let answer = ValidationAnswer::new(class, &validation);
        Ok(json(StatusCode::OK, &Extended::new(answer, extensions)))
    }
}

/// Connect's order of kinds.
fn place(kind: PluginKind) -> usize {
    match kind {
        PluginKind::Sink => 0,
        PluginKind::Transformation => 1,
        PluginKind::Predicate => 2,
        PluginKind::Converter => 3,
        PluginKind::HeaderConverter => 4,
    }
}

/// Refuses a version that is not there. A worker has one version of each plugin.
fn check_version(name: &str, info: &PluginInfo, wanted: Option<&str>) -> Result<(), ApiError> {
    let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty() && *wanted != "latest") else {
        return Ok(());
    };
    let versions = Versions::parse(wanted)
        .ok_or_else(|| ApiError::bad_request(format!("Invalid version specification: {wanted}")))?;
    if versions.include(info.version) {
        return Ok(());
    }
    Err(ApiError::bad_request(format!(
        "Plugin {name} not found that matches the version range {versions}, available versions: [{}]",
        info.version
    )))
}

/// The class of a configuration that was sent for connectors of `kind`; empty if it has none.
pub(super) fn class_of_kind(config: &SubmittedConfig, kind: &str) -> Result<String, ApiError> {
    let class = config.get("connector.class").cloned().flatten().unwrap_or_default();
    let short = |name: &str| name.strip_suffix("Connector").unwrap_or(name).to_owned();
    if !class.is_empty() && !short(&class).ends_with(&short(kind)) {
        let text = format!("Included connector type {class} does not match request type {kind}");
        return Err(ApiError::bad_request(text));
    }
    Ok(class)
}
