//! SASL over an open connection: SaslHandshake, then SaslAuthenticate until both sides are content (KIP-43, KIP-152).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{SaslAuthenticateRequest, SaslHandshakeRequest};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;

use super::Connection;
use crate::error::code_of;
use crate::security::{Login, Step, said};
use crate::{KafkaError, SecurityProtocol};

/// No mechanism takes as many messages.
const MAX_MESSAGES: usize = 8;

/// How long the broker lets a login live (KIP-368).
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    /// When the last message of the login went out: the broker began to count later.
    pub(super) began: Instant,
    pub(super) length: Duration,
}

/// Logs in; until when, if the broker sets an end.
pub(super) async fn authenticate(
    connection: &Connection,
    login: &Login,
    protocol: SecurityProtocol,
    credentials_timeout: Duration,
    timeout: Duration,
) -> Result<Option<Lease>, KafkaError> {
    let address = &connection.inner.address;
    let mechanism = login.mechanism().name();
    let refused = |reason: String| KafkaError::Authentication {
        address: Arc::clone(address),
        protocol,
        mechanism,
        user: login.user().unwrap_or_else(|| Arc::from("unknown")),
        reason: reason.into(),
    };
    // Credentials first: asking for a token may take longer than a broker waits between two messages.
    let begun = tokio::time::timeout(credentials_timeout, login.begin(address)).await;
    let begun = begun.unwrap_or_else(|_| Err(format!("no credentials within {} ms", credentials_timeout.as_millis())));
    let (mut exchange, mut message) = begun.map_err(refused)?;

    let handshake = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(mechanism));
    // Version 0 would send the mechanism's messages bare.
    let version = connection
        .version::<SaslHandshakeRequest>(1)
        .map_err(|_| refused(no_sasl(protocol)))?;
    let answer = connection
        .request_version(&handshake, version, timeout)
        .await
        .map_err(|err| hung_up(err, &refused))?;
    match code_of(answer.error_code) {
        None => {}
        Some(ResponseError::UnsupportedSaslMechanism) => {
            let offered: Vec<&str> = answer.mechanisms.iter().map(StrBytes::as_str).collect();
            return Err(refused(format!(
                "the broker does not offer {mechanism} at this port, it offers {}: set `sasl.mechanism` to one of them, \
                 or enable it there (`sasl.enabled.mechanisms`)",
                said(&offered.join(", "))
            )));
        }
        Some(ResponseError::IllegalSaslState) => return Err(refused(no_sasl(protocol))),
        Some(code) => return Err(refused(format!("{code:?} ({code})"))),
    }
    for _ in 0..MAX_MESSAGES {
        let request = SaslAuthenticateRequest::default().with_auth_bytes(Bytes::from(std::mem::take(&mut message)));
        let began = Instant::now();
        let answer = connection
            .request(&request, timeout)
            .await
            .map_err(|err| hung_up(err, &refused))?;
        if let Some(code) = code_of(answer.error_code) {
            login.refused();
            let message = answer.error_message.filter(|message| !message.is_empty());
            let told = message.map_or_else(|| format!("{code:?}"), |message| said(&message));
            let before = exchange
                .into_refusal()
                .map(|reason| format!("{reason}: "))
                .unwrap_or_default();
            let advice = "check the credentials in `sasl.jaas.config` and what the broker knows of them";
            return Err(refused(format!("{before}{told}: {advice}")));
        }
        // SCRAM hashes as often as the broker says: too long for a thread that serves others.
        let challenge = answer.auth_bytes;
        let answered = tokio::task::spawn_blocking(move || {
            let step = exchange.next(&challenge);
            (exchange, step)
        });
        let step;
        (exchange, step) = answered.await.map_err(|err| refused(err.to_string()))?;
        match step.map_err(refused)? {
            Step::Send(next) => message = next,
            Step::Done => {
                let lifetime = u64::try_from(answer.session_lifetime_ms).ok().filter(|ms| *ms > 0);
                return Ok(lifetime.map(|ms| Lease {
                    began,
                    length: Duration::from_millis(ms),
                }));
            }
        }
    }
    Err(refused(format!("the login was not over after {MAX_MESSAGES} messages")))
}

fn no_sasl(protocol: SecurityProtocol) -> String {
    let without = match protocol {
        SecurityProtocol::SaslSsl | SecurityProtocol::Ssl => SecurityProtocol::Ssl,
        SecurityProtocol::SaslPlaintext | SecurityProtocol::Plaintext => SecurityProtocol::Plaintext,
    };
    format!("the broker takes no logins at this port: check the port, or set `security.protocol={without}`")
}

/// Brokers of old, and those that mean a mistake in the protocol, hang up instead of answering.
fn hung_up(err: KafkaError, refused: &impl Fn(String) -> KafkaError) -> KafkaError {
    match err {
        KafkaError::Disconnected { reason, .. } => refused(format!("the connection closed during the login: {reason}")),
        other => other,
    }
}
