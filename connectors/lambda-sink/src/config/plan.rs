//! From a parsed configuration to the plan of a task: every route with all it needs, or everything that is wrong.

mod checks;
pub(super) mod credentials;
mod filter;
mod grammar;

use std::fmt;
use std::time::Duration;

use http::HeaderValue;
use klamm_aws::{CredentialsPlan, Environment, ObjectPlace, parse_endpoint, regional_endpoint};
use klamm_connect_api::config::Scope;
use klamm_connect_api::delivery::{DeliveryDefaults, DeliverySettings, ErrorPolicy, Ordering};
use klamm_connect_api::sink::{LimitKey, LimitKeys};
use klamm_connect_api::{ConfigError, ParsedConfig, RawConfig, Rendering};
use klamm_java_compat::Pattern;

pub(crate) use self::filter::Filter;
use super::function::{FunctionRef, FunctionTemplate};
use super::keys::REGION_ALIASES;
use super::{
    Answers, CloudEventAttributes, Compression, EventFormat, Formatter, InvocationType, Packing, PayloadPlan,
    SchemaVisibility, Schemaless, cloud_events, foreign, parse_formatter, parse_record_converter,
};
use crate::claim::{self, ClaimPlan};
use crate::usage::Prices;

const FUNCTION: &str = "aws.lambda.function.name";
const MAP: &str = "aws.lambda.topic2function.map";
const MODE: &str = "aws.lambda.configuration.mode";
const REGION: &str = "aws.lambda.region";

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
    pub(crate) function: Callee,
    pub(crate) topics: Topics,
    /// Of the topics' records, those that the route takes.
    pub(crate) filter: Filter,
    /// Of these records, the share by key that the route takes.
    pub(crate) share: Option<Share>,
    pub(crate) region: String,
    pub(crate) endpoint: String,
    pub(crate) credentials: CredentialsPlan,
    pub(crate) invocation: InvocationType,
    pub(crate) payload: PayloadPlan,
    pub(crate) answers: Answers,
    /// Bytes of an answer that are read, if they are set.
    pub(crate) answer_bytes: Option<usize>,
    pub(crate) context: CallContext,
    /// Whether calls ask for the end of the function's log, which says what is billed.
    pub(crate) asks_log: bool,
    pub(crate) prices: Option<Prices>,
    /// Where values go that are too large for a call.
    pub(crate) claim_check: Option<ClaimPlan>,
    pub(crate) delivery: DeliverySettings,
}

/// Whom a route calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Callee {
    Function(FunctionRef),
    /// A function for each topic.
    ByTopic(Box<FunctionTemplate>),
}

impl Callee {
    /// How people call it.
    pub(crate) fn label(&self) -> String {
        match self {
            Self::Function(function) => function.label(),
            Self::ByTopic(template) => template.to_string(),
        }
    }
}

impl fmt::Display for Callee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Function(function) => function.fmt(f),
            Self::ByTopic(template) => template.fmt(f),
        }
    }
}

/// A part of the records, by the hash of their keys: those whose hash, modulo `of`, is in the range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) range: std::ops::Range<u64>,
    pub(crate) of: u64,
}

impl CallContext {
    /// The tenant as a header; it was checked with the configuration.
    pub(crate) fn tenant_header(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(self.tenant_id.as_deref()?).ok()
    }
}

/// What goes along with a call beside its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CallContext {
    /// `X-Amz-Tenant-Id`
    pub(crate) tenant_id: Option<String>,
    /// Whether `X-Amz-Durable-Execution-Name` names the batch.
    pub(crate) names_execution: bool,
    /// Whether `X-Amz-Client-Context` says what the batch holds.
    pub(crate) describes_batch: bool,
}

/// The topics whose records a route takes.
#[derive(Debug, Clone)]
pub(crate) enum Topics {
    All,
    Named(Vec<String>),
    Matching { text: String, pattern: Box<Pattern> },
}

impl RoutePlan {
    /// What Lambda limits together: the calls of a function, whatever its version or alias, and those of an account in a
    /// region. Which account that is, the function's ARN tells, or that of the role whose credentials are used; of other
    /// credentials only Lambda knows whose they are, so that a function's ARN and its bare name are two there. The functions
    /// of a template are one.
    pub(crate) fn limit_keys(&self) -> LimitKeys {
        let callers = self.credentials.account().unwrap_or_default();
        let (owner, function) = match &self.function {
            Callee::Function(function) => (function.account().unwrap_or(callers), function.name().to_owned()),
            Callee::ByTopic(template) => (callers, template.to_string()),
        };
        let account = [self.credentials.identity(), &self.region, &self.endpoint, owner].join("\n");
        LimitKeys {
            function: LimitKey::new(format!("{account}\n{function}")),
            account: LimitKey::new(account),
        }
    }
}

impl Topics {
    fn take(&self, topic: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(topics) => topics.iter().any(|named| named == topic),
            Self::Matching { pattern, .. } => crate::route::matches(pattern, topic),
        }
    }
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

fn visibility(scope: &Scope<'_>, key: &str) -> SchemaVisibility {
    match scope.str(key) {
        Some("none") => SchemaVisibility::None,
        Some("all") => SchemaVisibility::All,
        _ => SchemaVisibility::Min,
    }
}

/// A destination as one of the grammars names it.
struct Destination<'a> {
    name: String,
    /// Prefix of the route's own keys, empty for the shorthands.
    prefix: String,
    function_key: &'a str,
    function: Callee,
    topics: Topics,
    share: Option<Share>,
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

    /// An error that several routes may run into.
    fn error_once(&mut self, key: &str, message: String) {
        let error = ConfigError::new(key, message);
        if !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    fn is_set(&self, key: &str) -> bool {
        self.raw.get(key).is_some_and(|value| !value.trim().is_empty())
    }

    fn plan(&mut self) -> Option<Plan> {
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
        self.check_doubles(&routes);
        self.check_effects(&routes);
        Some(Plan {
            routes,
            unrouted: ErrorPolicy::from_config(&self.parsed.scope()),
            destination_key,
        })
    }

    fn route(&mut self, destination: Destination<'_>) -> Option<RoutePlan> {
        let Destination {
            name,
            prefix,
            function_key,
            function,
            topics,
            share,
        } = destination;
        let scope = Scope::new(self.parsed, &prefix);
        let invocation_type = scope
            .str("invocation.type")
            .or_else(|| scope.str("aws.lambda.invocation.type"));
        let invocation = match invocation_type {
            Some(text) if text.eq_ignore_ascii_case("async") => InvocationType::Async,
            _ => InvocationType::Sync,
        };
        let function_key = format!("{prefix}{function_key}");
        let region = self.region(&scope, &function, &function_key);
        let endpoint = self.endpoint(&scope, region.as_deref());
        let credentials = self.credentials(&scope);
        let format = self.format(&scope);
        let answers = match scope.str("response.format") {
            Some("ignore") => Answers::Ignored,
            Some("failures") => Answers::Failures,
            Some("results") => Answers::Results,
            _ if matches!(format, EventFormat::Esm { .. }) => Answers::Failures,
            _ => Answers::Ignored,
        };
        let answer_bytes = scope.usize("aws.lambda.response.max.bytes");
        let mut delivery = self.delivery(&scope, invocation)?;
        if !prefix.is_empty() && self.parsed.bool(&format!("{prefix}required")) == Some(false) {
            self.make_shadow(&prefix, &mut delivery);
        }
        let payload = PayloadPlan {
            format,
            rendering: Rendering::from_config(&scope),
            packing: if delivery.batch_records == 1 {
                Packing::One
            } else {
                Packing::Array
            },
            compression: match scope.str("payload.compression") {
                Some("gzip") => Compression::Gzip,
                _ => Compression::None,
            },
        };
        self.check_order(&function, share.as_ref(), &delivery, &prefix, &function_key);
        let filter = self.filter(&prefix);
        let context = CallContext {
            tenant_id: scope.str("aws.lambda.tenant.id").map(str::to_owned),
            names_execution: scope.bool("aws.lambda.durable.execution").unwrap_or_default(),
            describes_batch: scope.bool("aws.lambda.client.context").unwrap_or_default(),
        };
        // An asynchronous call is answered before the function runs.
        let asks_log = invocation == InvocationType::Sync && scope.bool("aws.lambda.log.tail").unwrap_or_default();
        let prices = [
            scope.double("aws.lambda.price.request"),
            scope.double("aws.lambda.price.gb.second"),
        ];
        let prices = prices.iter().any(Option::is_some).then(|| Prices {
            request: prices[0].unwrap_or_default(),
            gb_second: prices[1].unwrap_or_default(),
        });
        let claim_check = self.claim_check(&scope, &prefix, region.as_deref());
        Some(RoutePlan {
            name,
            function_key,
            prefix: prefix.clone(),
            function,
            topics,
            filter,
            share,
            region: region?,
            endpoint: endpoint?,
            credentials: credentials?,
            invocation,
            payload,
            answers,
            answer_bytes,
            context,
            asks_log,
            prices,
            claim_check: claim_check?,
            delivery,
        })
    }

    /// The route's claim check, which it need not have; nothing if its settings are wrong.
    fn claim_check(&mut self, scope: &Scope<'_>, prefix: &str, region: Option<&str>) -> Option<Option<ClaimPlan>> {
        let text = |key: &str| scope.str(key).filter(|text| !text.is_empty());
        let key = claim::KEYS.destination;
        let Some(destination) = text(key) else {
            let is_wrong = |key: &str| self.is_set(key) && self.parsed.str(key).is_none();
            return (!is_wrong(key) && !is_wrong(&format!("{prefix}{key}"))).then_some(None);
        };
        let region = text(claim::KEYS.region).or(region)?;
        match ObjectPlace::parse(destination, region, text(claim::KEYS.endpoint), self.environment) {
            Ok(place) => Some(Some(ClaimPlan {
                place,
                min_bytes: scope.usize(claim::MIN_BYTES),
            })),
            Err(why) => {
                // What is wrong with a setting was said when it was parsed; the environment is left.
                self.error_once(claim::KEYS.endpoint, why);
                None
            }
        }
    }

    fn region(&mut self, scope: &Scope<'_>, function: &Callee, function_key: &str) -> Option<String> {
        let region_of_arn = match function {
            Callee::Function(function) => function.region(),
            Callee::ByTopic(_) => None,
        };
        if let Some(region) = scope.str(REGION) {
            if let Some(of_arn) = region_of_arn.filter(|of_arn| *of_arn != region) {
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
        let region = region_of_arn.or_else(|| self.environment.first(&["AWS_REGION", "AWS_DEFAULT_REGION"]));
        let is_given = REGION_ALIASES.iter().chain([&REGION]).any(|key| self.is_set(key));
        if region.is_none() && !is_given {
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
        region.map(|region| regional_endpoint("lambda", region))
    }

    fn format(&self, scope: &Scope<'_>) -> EventFormat {
        match scope.str("event.format") {
            Some("esm") => EventFormat::Esm {
                source_arn: scope.str("esm.event.source.arn").map(str::to_owned),
            },
            Some("nordstrom") => EventFormat::Nordstrom(match scope.str("payload.formatter.class") {
                Some(class) if parse_formatter(class) == Ok(true) => Formatter::Json {
                    key: visibility(scope, "payload.formatter.key.schema.visibility"),
                    value: visibility(scope, "payload.formatter.value.schema.visibility"),
                },
                _ => Formatter::Plain,
            }),
            Some("raw") => EventFormat::Raw,
            Some("cloudevents") => {
                // Keys with an error are complained about already; any template will do for the rest of the checks.
                let template = |key: &str| {
                    let parsed = scope.str(key).map(|text| cloud_events::parse(key, text));
                    parsed.and_then(Result::ok).unwrap_or_default()
                };
                let subject = template(cloud_events::SUBJECT);
                EventFormat::CloudEvents(Box::new(CloudEventAttributes {
                    id: template(cloud_events::ID),
                    source: template(cloud_events::SOURCE),
                    event_type: template(cloud_events::TYPE),
                    subject: (!subject.pieces().is_empty()).then_some(subject),
                }))
            }
            _ => {
                let converter = scope.str("record.converter.class");
                let converter = converter.and_then(|text| parse_record_converter(text).ok());
                EventFormat::Confluent(converter.unwrap_or(Schemaless::Json))
            }
        }
    }

    fn delivery(&mut self, scope: &Scope<'_>, invocation: InvocationType) -> Option<DeliverySettings> {
        let defaults = DeliveryDefaults {
            ordering: match invocation {
                InvocationType::Sync => Ordering::Partition,
                InvocationType::Async | InvocationType::Dry => Ordering::None,
            },
            batch_bytes_limit: invocation.payload_limit(),
            call_timeout: scope
                .millis("aws.lambda.socket.timeout")
                .unwrap_or(Duration::from_secs(50)),
        };
        match DeliverySettings::from_config(scope, &defaults) {
            Ok(settings) => Some(settings),
            Err(error) => {
                self.error_once(&error.key, error.message.clone());
                None
            }
        }
    }
}
