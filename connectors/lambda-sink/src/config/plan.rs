//! From a parsed configuration to the plan of a task: every route with all it needs, or everything that is wrong.

mod grammar;

use std::time::Duration;

use klamm_connect_api::config::Scope;
use klamm_connect_api::delivery::{DeliveryDefaults, DeliverySettings, ErrorPolicy, Ordering};
use klamm_connect_api::{ConfigError, ParsedConfig, RawConfig, Rendering, Secret};
use klamm_java_compat::Pattern;

use super::function::FunctionRef;
use super::keys::{aliases, route_key_names};
use super::{
    Environment, EventFormat, Flavour, InvocationType, MAX_ANSWER_BYTES, Schemaless, foreign, parse_endpoint,
    parse_record_converter, regional_endpoint,
};

const FUNCTION: &str = "aws.lambda.function.name";
const MAP: &str = "aws.lambda.topic2function.map";
const MODE: &str = "aws.lambda.configuration.mode";
const REGION: &str = "aws.lambda.region";
const KEY_ID: &str = "aws.access.key.id";
const SESSION_TOKEN: &str = "aws.session.token";
const SECRET_KEY: &str = "aws.secret.access.key";

/// What a task does.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) routes: Vec<RoutePlan>,
    /// What happens to a record that no route takes.
    pub(crate) unrouted: ErrorPolicy,
    /// The setting that names a destination for a topic.
    pub(crate) destination_key: &'static str,
}

/// One route.
#[derive(Debug)]
pub(crate) struct RoutePlan {
    pub(crate) name: String,
    /// Prefix of the route's own settings; empty if it has none.
    pub(crate) prefix: String,
    /// The setting that names the function.
    pub(crate) function_key: String,
    pub(crate) function: FunctionRef,
    pub(crate) topics: Topics,
    pub(crate) region: String,
    pub(crate) endpoint: String,
    pub(crate) credentials: CredentialsPlan,
    pub(crate) invocation: InvocationType,
    pub(crate) format: EventFormat,
    pub(crate) rendering: Rendering,
    /// Bytes of an answer that are read.
    pub(crate) answer_bytes: usize,
    pub(crate) delivery: DeliverySettings,
}

/// Which records a route takes.
#[derive(Debug)]
pub(crate) enum Topics {
    All,
    Named(Vec<String>),
    Matching(Box<Pattern>),
}

impl Topics {
    fn take(&self, topic: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(topics) => topics.iter().any(|named| named == topic),
            Self::Matching(pattern) => crate::route::matches(pattern, topic),
        }
    }
}

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
}

impl Plan {
    /// The plan of a configuration whose single keys were parsed. `parsed` holds only the keys without an error, so a
    /// key that `raw` sets and `parsed` lacks has been complained about already.
    pub(crate) fn try_new(
        raw: &RawConfig,
        parsed: &ParsedConfig,
        environment: &Environment,
    ) -> Result<Self, Vec<ConfigError>> {
        let mut planner = Planner {
            raw,
            parsed,
            environment,
            errors: foreign::errors(raw),
        };
        let plan = planner.plan();
        match plan {
            Some(plan) if planner.errors.is_empty() => Ok(plan),
            _ => Err(planner.errors),
        }
    }
}

/// A destination as one of the grammars names it.
struct Destination<'a> {
    name: String,
    /// Prefix of the route's own keys, empty for the shorthands.
    prefix: String,
    function_key: &'a str,
    function: FunctionRef,
    topics: Topics,
}

struct Planner<'a> {
    raw: &'a RawConfig,
    parsed: &'a ParsedConfig,
    environment: &'a Environment,
    errors: Vec<ConfigError>,
}

impl Planner<'_> {
    fn error(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.errors.push(ConfigError::new(key, message));
    }

    fn is_set(&self, key: &str) -> bool {
        self.raw.get(key).is_some_and(|value| !value.trim().is_empty())
    }

    fn plan(&mut self) -> Option<Plan> {
        self.check_event_format();
        let by_routes = self.is_set("routes");
        self.check_stray_route_keys();
        let destinations = if by_routes { self.routes() } else { self.shorthand() };
        let destination_key = match (by_routes, self.parsed.str(MODE)) {
            (true, _) => "routes",
            (false, Some(mode)) if mode.eq_ignore_ascii_case("multiple") => MAP,
            _ => FUNCTION,
        };
        self.check_topics(&destinations, destination_key);
        let routes: Option<Vec<_>> = destinations
            .into_iter()
            .map(|destination| self.route(destination))
            .collect();
        let routes = routes.filter(|routes| !routes.is_empty())?;
        self.check_renderings(&routes);
        Some(Plan {
            routes,
            unrouted: ErrorPolicy::from_config(&self.parsed.scope()),
            destination_key,
        })
    }

    fn check_event_format(&mut self) {
        if Flavour::of(self.raw) == Flavour::Nordstrom && !self.is_set("event.format") {
            self.error(
                "event.format",
                "the payload of Nordstrom's connector is not supported yet: set `confluent` or `esm`, and let the function \
                 read that",
            );
        }
    }

    /// A key under `routes.` that no route reads would be a setting lost in silence.
    fn check_stray_route_keys(&mut self) {
        let aliases = aliases(self.raw);
        let names = route_key_names();
        for key in self.raw.keys() {
            let Some(rest) = key.strip_prefix("routes.") else {
                continue;
            };
            let (alias, name) = rest.split_once('.').unwrap_or((rest, ""));
            if !aliases.iter().any(|known| known == alias) {
                self.errors.push(ConfigError::new(
                    key,
                    format!("`routes` does not list `{alias}`: add it there, or leave this out"),
                ));
            } else if !names.iter().any(|known| known == name) {
                self.errors.push(ConfigError::new(
                    key,
                    format!(
                        "no setting of a route is called `{name}`: accepted are {}",
                        names.join(", ")
                    ),
                ));
            }
        }
    }

    /// Every topic that is consumed has a route. A transform may rename topics, so with transforms only records tell.
    fn check_topics(&mut self, destinations: &[Destination<'_>], key: &str) {
        if self.is_set("transforms") || !self.errors.is_empty() || destinations.is_empty() {
            return;
        }
        let topics = self.raw.get("topics").map_or("", String::as_str);
        for topic in topics.split(',').map(str::trim).filter(|topic| !topic.is_empty()) {
            if !destinations.iter().any(|destination| destination.topics.take(topic)) {
                self.errors.push(ConfigError::new(
                    key,
                    format!("topic `{topic}` of `topics` has no function: give it one, or take it out of `topics`"),
                ));
            }
        }
    }

    /// What only the natural rendering looks at has no effect where no route has it.
    fn check_renderings(&mut self, routes: &[RoutePlan]) {
        for key in Rendering::NATURAL_KEYS {
            let own = |route: &RoutePlan| route.prefix.clone() + key;
            let of_routes = routes.iter().filter(|route| !route.prefix.is_empty());
            let without_effect: Vec<String> = of_routes
                .filter(|route| route.rendering == Rendering::Connect)
                .map(own)
                .chain(
                    routes
                        .iter()
                        .all(|route| route.rendering == Rendering::Connect)
                        .then(|| key.to_owned()),
                )
                .filter(|key| self.is_set(key))
                .collect();
            for key in without_effect {
                self.error(
                    key,
                    format!(
                        "has no effect without `{}=natural`: set that, or leave this out",
                        Rendering::KEY
                    ),
                );
            }
        }
    }

    fn route(&mut self, destination: Destination<'_>) -> Option<RoutePlan> {
        let Destination {
            name,
            prefix,
            function_key,
            function,
            topics,
        } = destination;
        let scope = Scope::new(self.parsed, &prefix);
        let invocation_type = scope
            .str("invocation.type")
            .or_else(|| scope.str("aws.lambda.invocation.type"));
        let invocation = match invocation_type {
            Some(text) if text.eq_ignore_ascii_case("async") => InvocationType::Async,
            _ => InvocationType::Sync,
        };
        let region = self.region(&scope, &function, &format!("{prefix}{function_key}"));
        let endpoint = self.endpoint(&scope, region.as_deref());
        let credentials = self.credentials(&scope);
        let format = self.format(&scope);
        let rendering = Rendering::from_config(&scope);
        let answer_bytes = scope.usize("aws.lambda.response.max.bytes").unwrap_or(match &format {
            EventFormat::Confluent(_) => 65_536,
            EventFormat::Esm { .. } => usize::try_from(MAX_ANSWER_BYTES).unwrap_or(usize::MAX),
        });
        let delivery = self.delivery(&scope, invocation);
        Some(RoutePlan {
            name,
            function_key: format!("{prefix}{function_key}"),
            prefix: prefix.clone(),
            function,
            topics,
            region: region?,
            endpoint: endpoint?,
            credentials: credentials?,
            invocation,
            format,
            rendering,
            answer_bytes,
            delivery: delivery?,
        })
    }

    fn region(&mut self, scope: &Scope<'_>, function: &FunctionRef, function_key: &str) -> Option<String> {
        if let Some(region) = scope.str(REGION) {
            if let Some(of_arn) = function.region().filter(|of_arn| *of_arn != region) {
                self.error(
                    function_key,
                    format!(
                        "`{function}` is in {of_arn}, but `{}` is {region}: a function is called in its own region",
                        scope.key(REGION)
                    ),
                );
                return None;
            }
            return Some(region.to_owned());
        }
        let region = function
            .region()
            .or_else(|| self.environment.first(&["AWS_REGION", "AWS_DEFAULT_REGION"]));
        if region.is_none() && !self.is_set(REGION) && !self.is_set("aws.region") {
            if !self.errors.iter().any(|error| error.key == REGION) {
                self.error(
                    REGION,
                    "is not set, and neither is AWS_REGION: set it to the functions' region, such as `eu-central-1`",
                );
            }
            return None;
        }
        region.map(str::to_owned)
    }

    fn endpoint(&mut self, scope: &Scope<'_>, region: Option<&str>) -> Option<String> {
        if let Some(endpoint) = scope.str("aws.lambda.endpoint").filter(|text| !text.is_empty()) {
            return parse_endpoint(endpoint).ok();
        }
        for name in ["AWS_ENDPOINT_URL_LAMBDA", "AWS_ENDPOINT_URL"] {
            if let Some(endpoint) = self.environment.first(&[name]) {
                return match parse_endpoint(endpoint) {
                    Ok(endpoint) => Some(endpoint),
                    Err(why) => {
                        self.error(
                            "aws.lambda.endpoint",
                            format!("the environment's {name} is wrong: {why}"),
                        );
                        None
                    }
                };
            }
        }
        region.map(regional_endpoint)
    }

    fn credentials(&mut self, scope: &Scope<'_>) -> Option<CredentialsPlan> {
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

    fn format(&self, scope: &Scope<'_>) -> EventFormat {
        let is_esm = scope
            .str("event.format")
            .is_some_and(|text| text.eq_ignore_ascii_case("esm"));
        if is_esm {
            let servers = self.raw.get("consumer.override.bootstrap.servers");
            return EventFormat::Esm {
                source_arn: scope.str("esm.event.source.arn").map(str::to_owned),
                bootstrap_servers: servers.map_or_else(String::new, |text| text.trim().to_owned()),
            };
        }
        let converter = scope
            .str("record.converter.class")
            .and_then(|text| parse_record_converter(text).ok());
        EventFormat::Confluent(converter.unwrap_or(Schemaless::Json))
    }

    fn delivery(&mut self, scope: &Scope<'_>, invocation: InvocationType) -> Option<DeliverySettings> {
        let defaults = DeliveryDefaults {
            ordering: match invocation {
                InvocationType::Sync => Ordering::Partition,
                InvocationType::Async => Ordering::None,
            },
            batch_bytes_limit: invocation.payload_limit(),
            call_timeout: scope
                .millis("aws.lambda.socket.timeout")
                .unwrap_or(Duration::from_secs(50)),
        };
        match DeliverySettings::from_config(scope, &defaults) {
            Ok(settings) => Some(settings),
            Err(error) => {
                // Several routes may run into the same connector-wide setting.
                if !self.errors.contains(&error) {
                    self.errors.push(error);
                }
                None
            }
        }
    }
}
