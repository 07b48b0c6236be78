//! Where a route's credentials come from.

use klamm_connect_api::Secret;
use klamm_connect_api::config::Scope;

use super::Planner;

const KEY_ID: &str = "aws.access.key.id";
const SESSION_TOKEN: &str = "aws.session.token";
const SECRET_KEY: &str = "aws.secret.access.key";
/// The role that is taken on with these credentials.
pub(crate) const ROLE_ARN: &str = "aws.role.arn";
pub(crate) const ROLE_SESSION: &str = "aws.role.session.name";
pub(crate) const ROLE_EXTERNAL_ID: &str = "aws.role.external.id";

/// Where credentials come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CredentialsPlan {
    /// From the configuration.
    Static {
        key_id: Secret,
        secret_key: Secret,
        session_token: Option<Secret>,
    },
    /// The default chain of the AWS SDKs.
    DefaultChain,
    /// A role, taken on with the credentials of another plan.
    Role(Box<Self>, RolePlan),
}

impl CredentialsPlan {
    /// Whose they are, as far as the configuration says it: never shown.
    pub(super) fn identity(&self) -> &str {
        match self {
            Self::Static { key_id, .. } => key_id.reveal(),
            Self::DefaultChain => "",
            Self::Role(_, role) => &role.arn,
        }
    }
}

/// A role that is taken on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RolePlan {
    pub(crate) arn: String,
    pub(crate) session_name: String,
    pub(crate) external_id: Option<String>,
}

impl Planner<'_> {
    pub(super) fn credentials(&mut self, scope: &Scope<'_>) -> Option<CredentialsPlan> {
        let base = self.base_credentials(scope)?;
        // What belongs to a role comes from where its ARN stands.
        let arn = scope.str(ROLE_ARN).filter(|arn| !arn.is_empty());
        let is_own = scope.key(ROLE_ARN) != ROLE_ARN;
        let of_role = |key: &str| scope.str(key).filter(|_| !is_own || scope.key(key) != key);
        Some(match arn {
            Some(arn) => CredentialsPlan::Role(
                Box::new(base),
                RolePlan {
                    arn: arn.to_owned(),
                    session_name: of_role(ROLE_SESSION).unwrap_or("klamm").to_owned(),
                    external_id: of_role(ROLE_EXTERNAL_ID).map(str::to_owned),
                },
            ),
            None => base,
        })
    }

    fn base_credentials(&mut self, scope: &Scope<'_>) -> Option<CredentialsPlan> {
        // What belongs together comes from one place: a route with keys of its own takes none of the connector's.
        let is_own = |key: &str| scope.key(key) != key;
        let has_own = [KEY_ID, SECRET_KEY, SESSION_TOKEN].into_iter().any(is_own);
        let given = |key| {
            let secret = scope.secret(key).filter(|_| is_own(key) == has_own);
            secret.filter(|secret| !secret.reveal().is_empty()).cloned()
        };
        let missing = match (given(KEY_ID), given(SECRET_KEY)) {
            (Some(key_id), Some(secret_key)) => {
                let session_token = given(SESSION_TOKEN);
                return Some(CredentialsPlan::Static {
                    key_id,
                    secret_key,
                    session_token,
                });
            }
            (None, None) if self.parsed.str("authentication.method").is_none() => {
                return Some(CredentialsPlan::DefaultChain);
            }
            (None, None) => [KEY_ID, SECRET_KEY].as_slice(),
            (None, Some(_)) => &[KEY_ID],
            (Some(_), None) => &[SECRET_KEY],
        };
        for key in missing {
            if !self.errors.iter().any(|error| error.key == *key) {
                self.error(*key, format!("is missing: `{KEY_ID}` and `{SECRET_KEY}` go together; leave both out for the AWS default chain"));
            }
        }
        None
    }
}
