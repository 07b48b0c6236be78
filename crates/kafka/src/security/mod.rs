//! Who the client is to the brokers, and who they are to it: TLS and SASL under Kafka's own settings.
//!
//! **Owns** keystores, JAAS, the SASL mechanisms, tokens and their renewal. **Does not know** the Kafka protocol beyond
//! the bytes of a SASL exchange, which `connection` carries.
//! **Invariant:** no secret is in a log line, an error or a `Debug` text.

mod config;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod http;
mod jaas;
mod mechanism;
mod msk;
mod oauth;
mod principal;
mod scram;
mod secret;
mod tls;
mod token;

use std::time::SystemTime;

pub use config::{SecurityConfig, SecurityProtocol};
pub(crate) use mechanism::{Login, Mechanism, Step};
pub use principal::Principal;
pub use secret::Secret;
pub(crate) use tls::{host_of, mismatch, tls_failure};

/// The security of one client: what its connections share, made once.
#[derive(Debug)]
pub(crate) struct Security {
    protocol: SecurityProtocol,
    pub(crate) tls: Option<tls::Tls>,
    pub(crate) login: Option<Login>,
}

impl Security {
    pub(crate) fn new(config: &SecurityConfig) -> Self {
        Self {
            protocol: config.protocol(),
            tls: config.tls.clone().map(tls::Tls::new),
            login: config.sasl.clone().map(Login::new),
        }
    }

    pub(crate) fn protocol(&self) -> SecurityProtocol {
        self.protocol
    }
}

/// The time of day: tokens and signatures expire by it.
fn wall_clock() -> SystemTime {
    #[expect(
        clippy::disallowed_methods,
        reason = "what the other side checks is its own time of day, so ours must be the real one"
    )]
    SystemTime::now()
}

/// Random bytes that nobody can guess.
///
/// # Errors
/// The operating system gives none.
fn random_bytes<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    let random = rustls::crypto::ring::default_provider().secure_random;
    random
        .fill(&mut bytes)
        .map_err(|_| "the operating system gives no random bytes".to_owned())?;
    Ok(bytes)
}

/// What the other side says, for a log line that it can neither fill nor end.
pub(crate) fn said(text: &str) -> String {
    let one_line = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(200).map(one_line).collect()
}
