//! Offsets of connectors (KIP-875).

use axum::body::Body;
use axum::http::StatusCode;

use super::{Answer, Api};
use crate::answers::{MessageAnswer, OffsetsAnswer, json};
use crate::body;

/// What is said of offsets that were set.
pub(super) const ALTERED: &str = "The offsets for this connector have been altered successfully";
const RESET: &str = "The offsets for this connector have been reset successfully";

impl Api {
    pub(super) async fn offsets(&self, name: &str) -> Answer {
        let offsets = self.herder.offsets(name).await?;
        Ok(json(StatusCode::OK, &OffsetsAnswer::new(offsets)))
    }

    pub(super) async fn alter_offsets(&self, name: &str, body: Body) -> Answer {
        let entries = body::offsets(&body::read(body).await?)?;
        // Connect looks at the connector before it looks into the entries.
        self.herder.check_stopped(name)?;
        self.herder.alter_offsets(name, &body::altered(&entries)?).await?;
        Ok(json(StatusCode::OK, &MessageAnswer { message: ALTERED }))
    }

    /// Moves the connector to where timestamps lead, and tells where that is. Not in Connect.
    pub(super) async fn seek_offsets(&self, name: &str, body: Body) -> Answer {
        let entries = body::times(&body::read(body).await?)?;
        self.herder.check_stopped(name)?;
        let set = self.herder.alter_offsets(name, &body::sought(&entries)?).await?;
        Ok(json(StatusCode::OK, &OffsetsAnswer::new(set)))
    }

    pub(super) async fn reset_offsets(&self, name: &str) -> Answer {
        self.herder.reset_offsets(name).await?;
        Ok(json(StatusCode::OK, &MessageAnswer { message: RESET }))
    }
}
