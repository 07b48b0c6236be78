//! The SASL mechanisms, as one exchange of opaque bytes each.

use std::sync::Arc;

use super::config::{Credentials, SaslSettings};
use super::msk::MskCredentials;
use super::scram::{Hash, Scram};
use super::token::Tokens;
use super::{host_of, oauth};

/// `sasl.mechanism`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mechanism {
    Plain,
    ScramSha256,
    ScramSha512,
    OAuthBearer,
    AwsMskIam,
}

impl Mechanism {
    pub(super) const ALL: [Self; 5] = [
        Self::Plain,
        Self::ScramSha256,
        Self::ScramSha512,
        Self::OAuthBearer,
        Self::AwsMskIam,
    ];

    /// Its name in SaslHandshake.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::OAuthBearer => "OAUTHBEARER",
            Self::AwsMskIam => "AWS_MSK_IAM",
        }
    }

    /// The login module that a Java client would use for it.
    pub(super) fn module_class(self) -> &'static str {
        match self {
            Self::Plain => "org.apache.kafka.common.security.plain.PlainLoginModule",
            Self::ScramSha256 | Self::ScramSha512 => "org.apache.kafka.common.security.scram.ScramLoginModule",
            Self::OAuthBearer => "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule",
            Self::AwsMskIam => "software.amazon.msk.auth.iam.IAMLoginModule",
        }
    }

    /// [`Mechanism::module_class`] without its package, which shaded clients move.
    pub(super) fn module(self) -> &'static str {
        let class = self.module_class();
        class.rsplit('.').next().unwrap_or(class)
    }
}

/// How the connections of one client prove who they are.
#[derive(Debug)]
pub(crate) struct Login {
    settings: SaslSettings,
    tokens: Option<Tokens>,
    aws: Option<MskCredentials>,
}

impl Login {
    pub(super) fn new(settings: SaslSettings) -> Self {
        let (tokens, aws) = match &settings.credentials {
            Credentials::Password { .. } => (None, None),
            Credentials::OAuth(oauth) => (Some(Tokens::new((**oauth).clone())), None),
            Credentials::MskIam(msk) => (None, Some(MskCredentials::new(msk.clone()))),
        };
        Self { settings, tokens, aws }
    }

    pub(crate) fn mechanism(&self) -> Mechanism {
        self.settings.mechanism
    }

    /// Who we say we are, as far as that is known without asking.
    pub(crate) fn user(&self) -> Option<Arc<str>> {
        match &self.settings.credentials {
            Credentials::Password { username, .. } => Some(Arc::clone(username)),
            Credentials::OAuth(_) => self.tokens.as_ref()?.principal(),
            Credentials::MskIam(_) => self.aws.as_ref()?.access_key_id(),
        }
    }

    /// Begins an exchange with the broker at `address`: its state, and the first bytes to send. May ask a token
    /// endpoint or AWS for credentials.
    ///
    /// # Errors
    /// Why there are no credentials.
    pub(crate) async fn begin(&self, address: &str) -> Result<(Exchange, Vec<u8>), String> {
        match &self.settings.credentials {
            Credentials::Password {
                username,
                password,
                is_token,
            } => {
                let hash = match self.settings.mechanism {
                    Mechanism::ScramSha256 => Hash::Sha256,
                    Mechanism::ScramSha512 => Hash::Sha512,
                    Mechanism::Plain | Mechanism::OAuthBearer | Mechanism::AwsMskIam => {
                        let message = format!("\0{username}\0{}", password.reveal()); // RFC 4616, no authorization id
                        return Ok((Exchange::Single, message.into_bytes()));
                    }
                };
                let nonce = super::random_bytes()?;
                let (scram, first) = Scram::begin(hash, username, password, *is_token, nonce);
                Ok((Exchange::Scram(scram), first))
            }
            Credentials::OAuth(settings) => {
                let tokens = self.tokens.as_ref().ok_or("no token source")?;
                let token = tokens.token().await?;
                let first = oauth::client_first(&token, &settings.extensions);
                Ok((Exchange::OAuth { refused: None }, first))
            }
            Credentials::MskIam(_) => {
                let aws = self.aws.as_ref().ok_or("no credentials source")?;
                let first = aws.payload(host_of(address)).await?;
                Ok((Exchange::Single, first))
            }
        }
    }

    /// The broker refused what was shown: a kept token is not shown again.
    pub(crate) fn refused(&self) {
        if let Some(tokens) = &self.tokens {
            tokens.forget();
        }
    }
}

/// The state of one authentication.
#[derive(Debug)]
pub(crate) enum Exchange {
    /// One message says it all.
    Single,
    Scram(Scram),
    OAuth {
        /// What the broker does not like.
        refused: Option<String>,
    },
}

/// What follows an answer of the broker.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Send(Vec<u8>),
    Done,
}

impl Exchange {
    /// # Errors
    /// The broker failed to prove who it is, or answers what the mechanism does not allow.
    pub(crate) fn next(&mut self, challenge: &[u8]) -> Result<Step, String> {
        match self {
            Self::Single => Ok(Step::Done),
            Self::Scram(scram) => scram.next(challenge),
            Self::OAuth { refused: Some(reason) } => Err(std::mem::take(reason)),
            Self::OAuth { .. } if challenge.is_empty() => Ok(Step::Done),
            Self::OAuth { refused } => {
                // RFC 7628 3.2.3: the client acknowledges the refusal, then the broker says so.
                *refused = Some(oauth::refusal(challenge));
                Ok(Step::Send(vec![1]))
            }
        }
    }

    /// What the broker said about a refusal before it refused.
    pub(crate) fn into_refusal(self) -> Option<String> {
        match self {
            Self::OAuth { refused } => refused,
            Self::Single | Self::Scram(_) => None,
        }
    }
}
