//! Who the client is to Kafka's authorizer.

use std::sync::Arc;

use super::Security;

/// In whose name requests are made, as far as the client knows: the broker may map it by its own rules
/// (`ssl.principal.mapping.rules`, `principal.builder.class`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// The user name, the token's subject, or the access key id; `unknown` before there is one.
    User(Arc<str>),
    /// Whom the client certificate names (`security.protocol=SSL`), if the broker asks for one.
    Certificate,
    /// Nobody in particular: there is no login.
    Anonymous,
}

impl std::fmt::Display for Principal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User(user) => write!(f, "principal `{user}`"),
            Self::Certificate => f.write_str("the principal of the client certificate"),
            Self::Anonymous => f.write_str("principal `ANONYMOUS`"),
        }
    }
}

impl Security {
    /// Whom Kafka takes the client for, and by which mechanism: that of SASL, else the protocol's name.
    pub(crate) fn principal(&self) -> (Principal, &'static str) {
        let Some(login) = &self.login else {
            let has_certificate = self.tls.as_ref().is_some_and(super::tls::Tls::has_identity);
            let principal = if has_certificate {
                Principal::Certificate
            } else {
                Principal::Anonymous
            };
            return (principal, self.protocol.name());
        };
        let user = login.user().unwrap_or_else(|| Arc::from("unknown"));
        (Principal::User(user), login.mechanism().name())
    }
}
