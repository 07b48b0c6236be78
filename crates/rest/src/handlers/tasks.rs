//! Tasks of a connector.

use axum::http::StatusCode;
use axum::response::IntoResponse;

use super::{Answer, Api};
use crate::answers::{TaskAnswer, TaskStatusAnswer, json};
use crate::error::ApiError;

impl Api {
    pub(super) fn tasks(&self, name: &str) -> Answer {
        let tasks = self.herder.task_configs(name)?;
        let tasks: Vec<TaskAnswer> = tasks
            .into_iter()
            .map(|(task, config)| TaskAnswer::new(name, task, config))
            .collect();
        Ok(json(StatusCode::OK, &tasks))
    }

    pub(super) fn task_status(&self, name: &str, task: i32) -> Answer {
        let unknown = || ApiError::new(StatusCode::NOT_FOUND, format!("No status found for task {name}-{task}"));
        let number = u32::try_from(task).map_err(|_| unknown())?;
        let status = self.herder.task_status(name, number)?;
        let version = self.herder.status(name)?.version;
        Ok(json(
            StatusCode::OK,
            &TaskStatusAnswer::new(number, status, version, &self.about.worker_id),
        ))
    }

    pub(super) async fn restart_task(&self, name: &str, task: i32) -> Answer {
        let number = u32::try_from(task);
        let number =
            number.map_err(|_| ApiError::new(StatusCode::NOT_FOUND, format!("Unknown task: {name}-{task}")))?;
        self.herder.restart_task(name, number).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    }
}
