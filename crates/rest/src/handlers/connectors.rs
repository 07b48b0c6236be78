//! Connectors: their configuration, their state, and what they are told to do.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use klamm_connect_api::PluginInfo;
use klamm_runtime::{ConnectorInfo, ConnectorStatus, HerderError, Put, Restart, TargetState};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::{Answer, Api};
use crate::answers::{ConnectorAnswer, Expanded, ExpandedConnectors, StatusAnswer, json};
use crate::body;
use crate::route::flag;

/// What a name in a `Location` must not hold as it is, so that the location can be requested. Connect leaves `/` and
/// `%` as they are, and cannot serve the location then.
const LOCATION: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'/')
    .add(b';')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

impl Api {
    pub(super) fn connectors(&self, parameters: &[(String, String)]) -> Response {
        let names = self.herder.connectors();
        let asks = |value: &str| parameters.iter().any(|(key, given)| key == "expand" && given == value);
        if !parameters.iter().any(|(key, _)| key == "expand") {
            return json(StatusCode::OK, &names);
        }
        let expand = |name: &str| -> Result<Expanded, HerderError> {
            Ok(Expanded {
                info: asks("info")
                    .then(|| self.herder.connector(name).map(|info| self.info(info)))
                    .transpose()?,
                status: asks("status").then(|| self.status(name)).transpose()?,
            })
        };
        // One that was deleted meanwhile, or has no status yet, is left out, as in Connect.
        let expanded: ExpandedConnectors = names
            .into_iter()
            .filter_map(|name| expand(&name).ok().map(|expanded| (name, expanded)))
            .collect();
        json(StatusCode::OK, &expanded)
    }

    pub(super) async fn create(&self, headers: &HeaderMap, body: Body) -> Answer {
        let create = body::create(&body::read(body).await?)?;
        let body::Create {
            name,
            config,
            initial_state,
            initial_offsets,
        } = create;
        let (info, offsets_status) = match initial_offsets {
            None => (self.herder.create(&name, config, initial_state).await?, None),
            Some(offsets) => {
                let created = self.herder.create_at(&name, config, initial_state, &offsets).await?;
                (created, Some(super::offsets::ALTERED))
            }
        };
        Ok(self.created(headers, info, offsets_status))
    }

    pub(super) async fn put_config(&self, name: &str, headers: &HeaderMap, body: Body) -> Answer {
        let config = body::config(&body::read(body).await?)?;
        match self.herder.put_config(name, config).await? {
            (Put::Created, info) => Ok(self.created(headers, info, None)),
            (Put::Updated, info) => Ok(json(StatusCode::OK, &self.info(info))),
        }
    }

    pub(super) async fn patch_config(&self, name: &str, body: Body) -> Answer {
        let changes = body::config(&body::read(body).await?)?;
        let info = self.herder.patch_config(name, changes).await?;
        Ok(json(StatusCode::OK, &self.info(info)))
    }

    fn created(&self, headers: &HeaderMap, info: ConnectorInfo, offsets_status: Option<&'static str>) -> Response {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let base = host.map(|host| format!("http://{host}")).unwrap_or_default();
        let location = format!("{base}/connectors/{}", utf8_percent_encode(&info.name, LOCATION));
        // A new connector has no tasks yet; those of a deleted one of the same name may still be ending.
        let info = ConnectorInfo {
            tasks: Vec::new(),
            ..info
        };
        let mut response = json(
            StatusCode::CREATED,
            &self.info(info).with_offsets_status(offsets_status),
        );
        // Printable ASCII after encoding; a host that is none was refused before.
        if let Ok(location) = HeaderValue::from_str(&location) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response
    }

    pub(super) async fn target(&self, name: &str, target: TargetState, done: StatusCode) -> Answer {
        self.herder.set_target_state(name, target).await?;
        Ok(done.into_response())
    }

    pub(super) async fn restart(&self, name: &str, parameters: &[(String, String)]) -> Answer {
        let restart = Restart {
            include_tasks: flag(parameters, "includeTasks", false),
            only_failed: flag(parameters, "onlyFailed", false),
        };
        if !restart.include_tasks && !restart.only_failed {
            self.herder.restart_connector(name).await?;
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        let status = self.herder.restart(name, restart).await?;
        Ok(json(StatusCode::ACCEPTED, &self.shown(name, status)))
    }

    pub(super) fn info(&self, info: ConnectorInfo) -> ConnectorAnswer {
        let kind = kind(self.herder.connector_plugin(&info.name));
        ConnectorAnswer::new(info, kind)
    }

    pub(super) fn status(&self, name: &str) -> Result<StatusAnswer, HerderError> {
        Ok(self.shown(name, self.herder.status(name)?))
    }

    fn shown(&self, name: &str, mut status: ConnectorStatus) -> StatusAnswer {
        let plugin = self.herder.connector_plugin(name);
        // One that is stopped has no plugin running: then it is the version that would run.
        status.version = status.version.or(plugin.map(|plugin| plugin.version));
        StatusAnswer::new(name, status, kind(plugin), &self.about.worker_id)
    }
}

fn kind(plugin: Option<&PluginInfo>) -> &'static str {
    plugin.map_or("unknown", |plugin| plugin.kind.name())
}
