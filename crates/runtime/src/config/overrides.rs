//! Which client settings a connector may set for itself (KIP-458, KIP-1188).

use std::collections::BTreeSet;

use klamm_connect_api::RawConfig;

use super::connector::REPORTER_SERVERS;

/// Prefixes of a connector's own client settings.
const PREFIXES: [&str; 4] = [
    "consumer.override.",
    "producer.override.",
    "admin.override.",
    "reporter.producer.",
];

/// `connector.client.config.override.policy`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OverridePolicy {
    /// Everything may be set; Connect's default.
    All,
    /// Nothing may be set.
    None,
    /// `security.protocol`, `sasl.mechanism` and `sasl.jaas.config` may be set.
    Principal,
    /// What `connector.client.config.override.allowlist` names may be set.
    Allowlist(BTreeSet<String>),
}

impl OverridePolicy {
    /// Reads a policy by its short name or Connect's class name, as Connect finds plugins by both.
    ///
    /// # Errors
    /// What is accepted.
    pub(crate) fn parse(text: &str, allowlist: &[String]) -> Result<Self, String> {
        let name = text.trim();
        let name = name
            .strip_prefix("org.apache.kafka.connect.connector.policy.")
            .unwrap_or(name);
        let name = name.strip_suffix("ConnectorClientConfigOverridePolicy").unwrap_or(name);
        match name {
            "All" => Ok(Self::All),
            "None" => Ok(Self::None),
            "Principal" => Ok(Self::Principal),
            "Allowlist" => Ok(Self::Allowlist(allowlist.iter().cloned().collect())),
            _ => Err("accepted: `All`, `None`, `Principal`, `Allowlist`".to_owned()),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::All => "All",
            Self::None => "None",
            Self::Principal => "Principal",
            Self::Allowlist(_) => "Allowlist",
        }
    }

    fn allows(&self, setting: &str) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Principal => klamm_kafka::ClientConfig::is_principal_key(setting),
            Self::Allowlist(allowed) => allowed.contains(setting),
        }
    }

    /// The keys of a connector that this policy forbids, each with the reason.
    pub(super) fn refused(&self, raw: &RawConfig) -> Vec<(String, String)> {
        let setting = |key: &str| {
            if key == REPORTER_SERVERS {
                return Some("bootstrap.servers".to_owned());
            }
            PREFIXES
                .iter()
                .find_map(|prefix| key.strip_prefix(prefix))
                .map(str::to_owned)
        };
        let overridden: Vec<_> = raw
            .iter()
            .filter_map(|(key, value)| Some((key, value, setting(key)?)))
            .collect();
        let sent = overridden
            .iter()
            .filter(|(_, value, setting)| setting == TOKEN_URL && names_a_file(value));
        let sent = sent.map(|(key, ..)| {
            // Whatever the policy: any file of the worker would be sent to any broker as a token (CVE-2025-27817 in Java).
            let reason = "a connector cannot have a file of the worker sent as a token: give an `https://` URL here, or set \
                          the file for all connectors, in the worker's `consumer.` and `producer.` settings";
            ((*key).clone(), reason.to_owned())
        });
        let refused = overridden.iter().filter(|(_, _, setting)| !self.allows(setting));
        let refused = refused.map(|(key, _, setting)| {
            let reason = format!(
                "The '{}' policy does not allow '{setting}' to be overridden in the connector configuration. \
                     The worker's `connector.client.config.override.policy` decides that.",
                self.name()
            );
            ((*key).clone(), reason)
        });
        sent.chain(refused).collect()
    }
}

const TOKEN_URL: &str = "sasl.oauthbearer.token.endpoint.url";

fn names_a_file(url: &str) -> bool {
    url.trim()
        .get(..5)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("file:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_policy_allows_what_connects_policy_of_that_name_allows() {
        let keys = [
            "consumer.override.sasl.jaas.config",
            "consumer.override.max.poll.records",
            "producer.override.security.protocol",
            "admin.override.retries",
            "transforms.consumer.override.x",
        ];
        let raw: RawConfig = keys.iter().map(|key| ((*key).to_owned(), "v".to_owned())).collect();
        let cases: &[(&str, &[&str])] = &[
            ("All", &[]),
            ("None", &[keys[3], keys[1], keys[0], keys[2]]),
            ("Principal", &[keys[3], keys[1]]),
            ("PrincipalConnectorClientConfigOverridePolicy", &[keys[3], keys[1]]),
            (
                "org.apache.kafka.connect.connector.policy.AllowlistConnectorClientConfigOverridePolicy",
                &[keys[3], keys[0], keys[2]],
            ),
        ];
        for (policy, wanted) in cases {
            let policy = OverridePolicy::parse(policy, &["max.poll.records".to_owned()]).unwrap();
            let refused = policy.refused(&raw);
            assert_eq!(
                refused.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(),
                *wanted,
                "{policy:?}"
            );
        }
        assert!(OverridePolicy::parse("Some", &[]).unwrap_err().contains("`Principal`"));
        let refused = OverridePolicy::None.refused(&raw);
        assert!(
            refused[0]
                .1
                .starts_with("The 'None' policy does not allow 'retries' to be overridden")
        );
    }
}
