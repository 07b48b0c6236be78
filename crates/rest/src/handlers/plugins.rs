//! Plugins: what there is, its settings, and whether a configuration is right.

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;
use klamm_connect_api::PluginKind;
use klamm_runtime::{SubmittedConfig, connector_config_def};

use super::observe::wants_extensions;
use super::{Answer, Api};
use crate::answers::{Definition, PluginAnswer, ValidationAnswer, json};
use crate::body;
use crate::error::ApiError;
use crate::extensions::{Extended, ValidationExtension};
use crate::route::flag;

/// Live checks at once; others wait.
pub(super) const MAX_LIVE_CHECKS: usize = 4;

impl Api {
    pub(super) fn plugins(&self, connectors_only: bool) -> Response {
        let infos = self
            .herder
            .plugins()
            .infos()
            .filter(|info| !connectors_only || info.kind == PluginKind::Sink);
        json(StatusCode::OK, &infos.map(PluginAnswer::new).collect::<Vec<_>>())
    }

    pub(super) fn plugin_config(&self, name: &str) -> Answer {
        let info = self.herder.plugin(name)?;
        let unknown = || ApiError::new(StatusCode::NOT_FOUND, format!("Unknown plugin {name}."));
        let own = self.herder.plugins().config_def(name).ok_or_else(unknown)?;
        // A connector has the settings of every connector as well.
        let common = (info.kind == PluginKind::Sink).then(|| connector_config_def(self.herder.plugins()));
        let keys = own.keys().iter().chain(common.iter().flat_map(|common| common.keys()));
        Ok(json(StatusCode::OK, &Definition::list(keys)))
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
