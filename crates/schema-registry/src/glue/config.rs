//! The settings of Glue's registry, under the names that AWS's converters have for them.

use klamm_connect_api::config::Validator;
use klamm_connect_api::{ConfigError, ConfigErrors, ConfigKey, ConfigType, Importance, ParsedConfig};

use super::credentials::{CredentialsPlan, Keys, Role};
use crate::config::{HttpSettings, Retries, is_url};
use crate::tls::TlsPlan;

const GROUP: &str = "AWS Glue Schema Registry";
const REGION: &str = "region";
const ENDPOINT: &str = "endpoint";
const CACHE_SIZE: &str = "cacheSize";
const PROXY: &str = "proxyUrl";
const KEY_ID: &str = "aws.access.key.id";
const SECRET_KEY: &str = "aws.secret.access.key";
const SESSION_TOKEN: &str = "aws.session.token";
const ROLE: &str = "assumeRoleArn";
const SESSION: &str = "assumeRoleSessionName";
const EXTERNAL_ID: &str = "assumeRoleExternalId";
const STS_ENDPOINT: &str = "assumeRoleEndpoint";

/// The settings of a client of Glue's registry. Those of [`config_keys`](crate::config_keys) belong to them: how
/// requests are made and tried again, and the second registry, if there is one.
#[must_use]
pub fn config_keys() -> Vec<ConfigKey> {
    use ConfigType::{Int, Password, String};
    use Importance::{High, Low, Medium};
    let key = |name: &str, config_type, importance, documentation: &str| {
        ConfigKey::new(name, config_type, importance, documentation)
            .group(GROUP)
            .optional()
    };
    let mut keys = vec![
        key(
            REGION,
            String,
            High,
            "Region of the registry. Default: AWS_REGION or AWS_DEFAULT_REGION of the environment.",
        )
        .validator(Validator::new(is_region)),
        key(
            ENDPOINT,
            String,
            Medium,
            "Base URL of Glue's API, such as that of a VPC endpoint. Default: AWS_ENDPOINT_URL_GLUE or AWS_ENDPOINT_URL of \
             the environment, else the region's own.",
        )
        .validator(Validator::new(is_url)),
        key(KEY_ID, Password, Medium, "Id of a static access key; without it the AWS default chain is asked."),
        key(SECRET_KEY, Password, Medium, "Secret of the static access key."),
        key(SESSION_TOKEN, Password, Low, "Session token of a temporary access key."),
        key(
            ROLE,
            String,
            Medium,
            "ARN of a role to take on, such as that of the account that has the registry.",
        ),
        key(SESSION, String, Low, "Name of the sessions of that role.").default("kafka-connect-session"),
        key(EXTERNAL_ID, String, Low, "External id that the role asks for."),
        key(
            STS_ENDPOINT,
            String,
            Low,
            "Base URL of the API that hands out the role's credentials. Default: the region's own.",
        )
        .validator(Validator::new(is_url)),
        key(PROXY, String, Medium, "URL of an HTTP proxy, such as http://proxy:3128.").validator(Validator::new(|text| {
            proxy(text).map(drop)
        })),
        key(CACHE_SIZE, Int, Low, "How many schemas are kept in memory.")
            .default("200")
            .validator(Validator::at_least(1)),
    ];
    let unused = [
        (
            "registry.name",
            "Registry that schemas are registered in. A record names its schema by an id, whichever registry it is in.",
        ),
        (
            "schemaName",
            "Name under which schemas are registered. A sink only reads.",
        ),
        (
            "schemaNameGenerationClass",
            "Class that names schemas. A sink only reads.",
        ),
        (
            "schemaAutoRegistrationEnabled",
            "Whether schemas are registered when data is written. A sink only reads.",
        ),
        (
            "compatibility",
            "Compatibility of schemas that are registered. A sink only reads.",
        ),
        (
            "description",
            "Description of schemas that are registered. A sink only reads.",
        ),
        ("tags", "Tags of schemas that are registered. A sink only reads."),
        (
            "metadata",
            "Metadata of schemas that are registered. A sink only reads.",
        ),
        (
            "dataFormat",
            "Format in which data is written. A sink only reads; the record's schema says its format.",
        ),
        (
            "compression",
            "How data is compressed when it is written. The record says whether it is.",
        ),
        (
            "timeToLiveMillis",
            "How long a schema is kept. The schema of an id never changes, so it is kept for good.",
        ),
        ("userAgentApp", "Part of the user agent. It has no effect."),
    ];
    keys.extend(unused.map(|(name, documentation)| key(name, String, Low, documentation)));
    keys
}

/// Everything that a client needs.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) endpoint: String,
    pub(crate) region: String,
    pub(crate) credentials: CredentialsPlan,
    pub(crate) http: HttpSettings,
    pub(crate) retries: Retries,
    pub(crate) max_schemas: usize,
}

impl Settings {
    /// `environment` answers with the process's variables.
    pub(crate) fn try_new(
        config: &ParsedConfig,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigErrors> {
        let mut errors = Vec::new();
        let text = |key| config.str(key).filter(|text| !text.is_empty()).map(str::to_owned);
        let first = |names: [&str; 2]| {
            let mut values = names.into_iter().filter_map(&environment);
            values.find(|value| !value.is_empty())
        };
        let region = text(REGION).or_else(|| first(["AWS_REGION", "AWS_DEFAULT_REGION"]));
        if region.is_none() {
            errors.push(ConfigError::new(
                REGION,
                "is not set, and neither is AWS_REGION: set it to the registry's region, such as `eu-central-1`",
            ));
        }
        let region = region.unwrap_or_default();
        let endpoint = text(ENDPOINT)
            .or_else(|| first(["AWS_ENDPOINT_URL_GLUE", "AWS_ENDPOINT_URL"]))
            .unwrap_or_else(|| regional_endpoint(&region));
        if let Err(why) = is_url(&endpoint) {
            errors.push(ConfigError::new(
                ENDPOINT,
                format!("the environment's AWS_ENDPOINT_URL_GLUE or AWS_ENDPOINT_URL {why}"),
            ));
        }
        let secret = |key| config.secret(key).filter(|secret| !secret.reveal().is_empty()).cloned();
        let keys = match (secret(KEY_ID), secret(SECRET_KEY)) {
            (Some(id), Some(secret_key)) => Some(Keys {
                id,
                secret: secret_key,
                session_token: secret(SESSION_TOKEN),
            }),
            (None, None) => None,
            (id, _) => {
                let missing = if id.is_none() { KEY_ID } else { SECRET_KEY };
                errors.push(ConfigError::new(
                    missing,
                    format!("is missing: `{KEY_ID}` and `{SECRET_KEY}` go together; leave both out for the AWS default chain"),
                ));
                None
            }
        };
        let role = text(ROLE).map(|arn| Role {
            arn,
            session: text(SESSION).unwrap_or_else(|| "kafka-connect-session".to_owned()),
            external_id: text(EXTERNAL_ID),
            sts_endpoint: text(STS_ENDPOINT),
        });
        let tls = TlsPlan::try_new(config).unwrap_or_else(|error| {
            errors.push(error);
            TlsPlan::default()
        });
        ConfigErrors::check(errors)?;
        let proxy = text(PROXY).and_then(|text| proxy(&text).ok());
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            region,
            credentials: CredentialsPlan { keys, role },
            http: HttpSettings::new(config, proxy, Some(tls)),
            retries: Retries::of(config),
            max_schemas: config.usize(CACHE_SIZE).unwrap_or(200),
        })
    }
}

fn is_region(text: &str) -> Result<(), String> {
    let is_id = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if text.contains('-') && text.len() <= 32 && text.bytes().all(is_id) {
        Ok(())
    } else {
        Err("must be a region's id, such as eu-central-1".to_owned())
    }
}

fn proxy(text: &str) -> Result<http::Uri, String> {
    let wrong = || "must be a URL such as http://proxy.example.com:3128".to_owned();
    is_url(text).map_err(|_| wrong())?;
    let uri: http::Uri = text.parse().map_err(|_| wrong())?;
    let is_plain = uri.scheme_str() == Some("http") && !text.contains('@');
    if is_plain { Ok(uri) } else { Err(wrong()) }
}

/// The region's own endpoint, with its partition's domain.
fn regional_endpoint(region: &str) -> String {
    let domain = match region.split('-').take(2).collect::<Vec<_>>().as_slice() {
        ["cn", _] => "amazonaws.com.cn",
        ["us", "iso"] => "c2s.ic.gov",
        ["us", "isob"] => "sc2s.sgov.gov",
        ["us", "isof"] => "csp.hci.ic.gov",
        ["eu", "isoe"] => "cloud.adc-e.uk",
        ["eusc", _] => "amazonaws.eu",
        _ => "amazonaws.com",
    };
    format!("https://glue.{region}.{domain}")
}

#[cfg(test)]
mod tests {
    use klamm_connect_api::{ConfigDef, RawConfig};

    use super::*;

    fn settings(entries: &[(&str, &str)], environment: &[(&str, &str)]) -> Result<Settings, String> {
        let raw: RawConfig = entries
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let variable = |name: &str| {
            let found = environment.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let shared = crate::config_keys().into_iter().map(ConfigKey::optional);
        ConfigDef::new()
            .with(shared.collect::<Vec<_>>())
            .with(config_keys())
            .parse(&raw)
            .and_then(|parsed| Settings::try_new(&parsed, variable))
            .map_err(|errors| errors.to_string())
    }

    #[test]
    fn region_and_endpoint_come_from_the_setting_then_from_the_environment() {
        type Pairs<'a> = &'a [(&'a str, &'a str)];
        let cases: [(Pairs<'_>, Pairs<'_>, &str, &str); 5] = [
            (
                &[(REGION, "eu-west-1")],
                &[("AWS_REGION", "us-east-1")],
                "eu-west-1",
                "https://glue.eu-west-1.amazonaws.com",
            ),
            (
                &[],
                &[("AWS_REGION", ""), ("AWS_DEFAULT_REGION", "cn-north-1")],
                "cn-north-1",
                "https://glue.cn-north-1.amazonaws.com.cn",
            ),
            (
                &[(REGION, "eusc-de-east-1")],
                &[],
                "eusc-de-east-1",
                "https://glue.eusc-de-east-1.amazonaws.eu",
            ),
            (
                &[(REGION, "eu-west-1")],
                &[("AWS_ENDPOINT_URL", "http://a"), ("AWS_ENDPOINT_URL_GLUE", "http://b/")],
                "eu-west-1",
                "http://b",
            ),
            (
                &[(REGION, "eu-west-1"), (ENDPOINT, "http://c/x/")],
                &[("AWS_ENDPOINT_URL", "http://a")],
                "eu-west-1",
                "http://c/x",
            ),
        ];
        for (entries, environment, region, endpoint) in cases {
            let settings = settings(entries, environment).unwrap();
            assert_eq!(
                (settings.region.as_str(), settings.endpoint.as_str()),
                (region, endpoint)
            );
        }
    }

    #[test]
    fn mistakes_name_the_setting_and_what_is_missing() {
        let region = (REGION, "eu-west-1");
        let cases: [(&[(&str, &str)], &str); 7] = [
            (&[], "`region`: is not set"),
            (&[(REGION, "Ireland")], "must be a region's id"),
            (&[region, (KEY_ID, "AKIA")], "`aws.secret.access.key`: is missing"),
            (&[region, (SECRET_KEY, "sesame")], "`aws.access.key.id`: is missing"),
            (&[region, (ENDPOINT, "glue")], "must be a URL"),
            (&[region, (PROXY, "https://p:1")], "must be a URL such as http://proxy"),
            (
                &[region, (PROXY, "http://a:b@p:1")],
                "must be a URL such as http://proxy",
            ),
        ];
        for (entries, wanted) in cases {
            let error = settings(entries, &[]).unwrap_err();
            assert!(
                error.contains(wanted) && !error.contains("sesame"),
                "{entries:?}: {error}"
            );
        }
        let error = settings(&[region], &[("AWS_ENDPOINT_URL", "glue")]).unwrap_err();
        assert!(error.contains("AWS_ENDPOINT_URL must be a URL"), "{error}");
    }

    #[test]
    fn secrets_do_not_show() {
        let settings = settings(
            &[
                (REGION, "eu-west-1"),
                (KEY_ID, "open"),
                (SECRET_KEY, "sesame"),
                (SESSION_TOKEN, "tok"),
            ],
            &[],
        );
        let text = format!("{:?}", settings.unwrap());
        assert!(
            !text.contains("open") && !text.contains("sesame") && !text.contains("tok\""),
            "{text}"
        );
    }
}
