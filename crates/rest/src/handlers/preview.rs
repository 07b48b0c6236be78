//! Previews: what would become of a record.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use klamm_runtime::{Preview, PreviewRecord, StepsJson};
use serde_json::value::RawValue;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::plugins::class_of_kind;
use super::{Answer, Api};
use crate::answers::json_text;
use crate::auth::Role;
use crate::body;
use crate::error::ApiError;
use crate::route::flag;

/// How long the records of a preview may take together, waiting for a registry included.
const PREVIEW_TIMEOUT: Duration = Duration::from_secs(60);
/// What the outcomes of a preview may take.
const MAX_OUTCOMES_BYTES: usize = 16 * 1024 * 1024;
/// Previews at once; others wait.
pub(super) const MAX_PREVIEWS: usize = 4;

impl Api {
    /// `role` is that of the caller; nobody has one where everybody may do everything.
    pub(super) async fn preview(
        &self,
        name: &str,
        parameters: &[(String, String)],
        role: Option<Role>,
        body: Body,
    ) -> Answer {
        let body::Preview { config, records } = body::preview(&body::read(body).await?)?;
        if config.is_some() && role.is_some_and(|role| role < Role::Admin) {
            let text = "A preview with other settings than the stored ones needs the role `admin`: they name what the worker \
                        talks to. Leave `config` out";
            return Err(ApiError::new(StatusCode::FORBIDDEN, text));
        }
        let preview = self.herder.preview(name, config).await?;
        self.outcomes(preview, records, flag(parameters, "explain", false))
            .await
    }

    pub(super) async fn preview_proposed(&self, kind: &str, parameters: &[(String, String)], body: Body) -> Answer {
        self.herder.plugin(kind)?;
        let body::Preview { config, records } = body::preview(&body::read(body).await?)?;
        let missing = || ApiError::bad_request("Field `config` is missing: it holds the connector's settings");
        let config = config.ok_or_else(missing)?;
        class_of_kind(&config, kind)?;
        let preview = self.herder.preview_config(config).await;
        self.outcomes(preview, records, flag(parameters, "explain", false))
            .await
    }

    /// The outcome of each record, in order.
    async fn outcomes(&self, preview: Preview, records: Vec<Box<RawValue>>, explain: bool) -> Answer {
        let count = records.len();
        let mut done = 0;
        let run = async {
            // Never closed.
            let turn = Arc::clone(&self.previews).acquire_owned().await;
            let (outcomes_tx, mut outcomes_rx) = mpsc::channel(1);
            let runtime = Handle::current();
            let thread = tokio::task::spawn_blocking(move || {
                // Kept until the thread is free again, which is later than this request if that is given up.
                let _turn = turn;
                runtime.block_on(run_preview(&preview, &records, explain, &outcomes_tx));
            });
            let mut outcomes = String::from("[");
            while let Some(outcome) = outcomes_rx.recv().await {
                if done > 0 {
                    outcomes.push(',');
                }
                outcomes.push_str(&outcome);
                done += 1;
                if outcomes.len() > MAX_OUTCOMES_BYTES {
                    let text = format!(
                        "The outcomes take more than {MAX_OUTCOMES_BYTES} bytes after {done} of {count} records: send fewer"
                    );
                    return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, text));
                }
            }
            if thread.await.is_err() {
                let text = format!("The preview of record {} of {count} panicked", done + 1);
                return Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, text));
            }
            outcomes.push(']');
            Ok(json_text(outcomes))
        };
        let ended = tokio::time::timeout(PREVIEW_TIMEOUT, run).await;
        ended.unwrap_or_else(|_| {
            let text = format!(
                "The preview did not end within {} s, {done} of {count} records are done: send fewer, and see whether the \
                 schema registry answers",
                PREVIEW_TIMEOUT.as_secs()
            );
            Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text))
        })
    }
}

/// Hands out one outcome after the other, until there are no more records or nobody takes them any more. Runs on a
/// thread where it may take its time: what a record costs is CPU, and the runtime's threads belong to everybody.
async fn run_preview(preview: &Preview, records: &[Box<RawValue>], explain: bool, outcomes: &mpsc::Sender<String>) {
    for record in records {
        let outcome = tokio::select! {
            biased;
            () = outcomes.closed() => return,
            outcome = outcome(preview, record, explain) => outcome,
        };
        if outcomes.send(outcome).await.is_err() {
            return;
        }
    }
}

/// One outcome as JSON.
async fn outcome(preview: &Preview, record: &RawValue, explain: bool) -> String {
    let record = match PreviewRecord::parse(record.get().as_bytes()) {
        Ok(record) => record,
        Err(message) => return preview.run_bad_input(&message).to_json(),
    };
    if !explain {
        return preview.run(&record).await.to_json();
    }
    let mut steps = StepsJson::default();
    let outcome = preview.run_observed(&record, &mut |step| steps.add(&step)).await;
    outcome.to_json_with(&steps)
}
