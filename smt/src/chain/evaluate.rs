//! Reads `transforms`, `predicates` and everything under them: the chain, and the validation answer key by key.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use klamm_connect_api::config::{Evaluated, EvaluatedKey, Width, nearest};
use klamm_connect_api::{
    ConfigDef, ConfigError, ConfigErrors, ConfigKey, ConfigType, Importance, ParsedConfig, PluginInfo, Predicate,
    PredicatePlugin, RawConfig, TransformPlugin,
};

use super::{Chain, Condition, Stage};

const TRANSFORMS: &str = "transforms";
const PREDICATES: &str = "predicates";

/// The two lists of aliases, for the definition of a connector's common settings.
#[must_use]
pub fn chain_config_def() -> ConfigDef {
    let list = |name, group, display, documentation: &str| {
        ConfigKey::new(name, ConfigType::List, Importance::Low, documentation)
            .default("")
            .group(group)
            .display(display, Width::Long)
    };
    ConfigDef::new()
        .key(list(
            TRANSFORMS,
            "Transforms",
            "Transforms",
            "Aliases for the transformations to be applied to records.",
        ))
        .key(list(
            PREDICATES,
            "Predicates",
            "Predicates",
            "Aliases for the predicates used by transformations.",
        ))
}

/// One key of a transform or predicate, as a validation answer shows it.
#[derive(Debug, Clone)]
pub struct ChainKey {
    /// The definition, under the full name such as `transforms.route.regex`.
    pub key: ConfigKey,
    /// `Transforms: <alias>` or `Predicates: <alias>`.
    pub group: String,
    /// The trimmed text, or the default. Secrets are here in clear: whoever shows it masks PASSWORD keys.
    pub value: Option<String>,
    /// Error texts.
    pub errors: Vec<String>,
}

/// What `transforms` and `predicates` of a connector amount to.
#[derive(Debug, Clone)]
pub struct ChainEvaluation {
    /// The keys of all aliases: transforms first, in order.
    pub keys: Vec<ChainKey>,
    /// What is wrong with the lists `transforms` and `predicates` themselves.
    pub errors: Vec<ConfigError>,
    /// Keys that change nothing, with the one that may have been meant; Connect ignores them without a word.
    pub warnings: Vec<String>,
    /// The chain, unless anything is wrong.
    pub chain: Option<Chain>,
    /// The predicates that could be made, by alias, for whoever else asks them.
    pub predicates: BTreeMap<String, Arc<dyn Predicate>>,
}

impl ChainEvaluation {
    /// The chain.
    ///
    /// # Errors
    /// Everything that is wrong, with full keys.
    pub fn into_chain(self) -> Result<Chain, ConfigErrors> {
        let of_keys = self.keys.iter().flat_map(|key| {
            let errors = key.errors.iter();
            errors.map(|message| ConfigError::new(key.key.name.clone(), message.clone()))
        });
        ConfigErrors::check(self.errors.into_iter().chain(of_keys).collect())?;
        Ok(self.chain.unwrap_or_default())
    }
}

/// Evaluates the transforms and predicates of a connector with the plugins that there are.
#[must_use]
pub fn evaluate(raw: &RawConfig, transforms: &[TransformPlugin], predicates: &[PredicatePlugin]) -> ChainEvaluation {
    let mut errors = Vec::new();
    let predicate_aliases = aliases(raw, PREDICATES, &mut errors);
    let mut predicate_keys = Vec::new();
    let mut groups = Vec::new();
    let mut known = BTreeMap::new();
    for alias in &predicate_aliases {
        let mut group = Group::new(raw, "predicate", PREDICATES, alias);
        let plugins = predicates.iter().map(|plugin| &plugin.info);
        let plugin = group.plugin(plugins).and_then(|index| predicates.get(index));
        let created = plugin.and_then(|plugin| group.create(plugin.config_def, plugin.create));
        known.insert(alias.clone(), created);
        groups.push(group.known(plugin.is_some()));
        predicate_keys.extend(group.keys);
    }
    let mut keys = Vec::new();
    let mut stages = Vec::new();
    let transform_aliases = aliases(raw, TRANSFORMS, &mut errors);
    for alias in &transform_aliases {
        let mut group = Group::new(raw, "transformation", TRANSFORMS, alias);
        let plugins = transforms.iter().map(|plugin| &plugin.info);
        let plugin = group.plugin(plugins).and_then(|index| transforms.get(index));
        let transform = plugin.and_then(|plugin| group.create(plugin.config_def, plugin.create));
        let condition = group.condition(&known);
        groups.push(group.known(plugin.is_some()));
        if let (Some(plugin), Some(transform)) = (plugin, transform) {
            stages.push(Stage {
                alias: alias.as_str().into(),
                class: plugin.info.class,
                transform,
                condition,
            });
        }
        keys.extend(group.keys);
    }
    keys.extend(predicate_keys);
    let is_fine = errors.is_empty() && keys.iter().all(|key| key.errors.is_empty());
    let mut warnings = unknown_keys(raw, TRANSFORMS, &transform_aliases, &groups);
    warnings.extend(unknown_keys(raw, PREDICATES, &predicate_aliases, &groups));
    ChainEvaluation {
        keys,
        errors,
        warnings,
        predicates: known
            .into_iter()
            .filter_map(|(alias, made)| Some((alias, made?)))
            .collect(),
        chain: is_fine.then(|| Chain { stages: stages.into() }),
    }
}

/// What one alias knows.
struct KnownKeys {
    /// `transforms.a.`
    prefix: String,
    /// The full keys; none if its class is not known, so that any key may be right.
    keys: Option<HashSet<String>>,
}

/// What to say of the keys under a list that mean nothing.
fn unknown_keys(raw: &RawConfig, list: &str, aliases: &[String], groups: &[KnownKeys]) -> Vec<String> {
    let under = format!("{list}.");
    let is_known = |key: &str| {
        groups
            .iter()
            .any(|group| group.keys.as_ref().is_some_and(|keys| keys.contains(key)))
    };
    let unknown = raw.keys().filter(|key| key.starts_with(&under) && !is_known(key));
    unknown
        .filter_map(|key| {
            // An alias may hold dots: the longest one that fits is meant.
            let fitting = groups.iter().filter(|group| key.starts_with(&group.prefix));
            let advice = match fitting.max_by_key(|group| group.prefix.len()) {
                Some(group) => advice_on_key(key, &group.prefix, group.keys.as_ref()?),
                None => {
                    let alias = key.strip_prefix(&under).and_then(|rest| rest.split('.').next());
                    let alias = alias.unwrap_or_default();
                    match nearest(alias, aliases.iter().map(String::as_str)) {
                        Some(listed) => format!("`{list}` does not list `{alias}`; did you mean `{listed}`?"),
                        None => format!("`{list}` does not list `{alias}`"),
                    }
                }
            };
            Some(format!("`{key}` is unknown and changes nothing: {advice}"))
        })
        .collect()
}

fn advice_on_key(key: &str, prefix: &str, known: &HashSet<String>) -> String {
    let mut known: Vec<&str> = known.iter().filter_map(|known| known.strip_prefix(prefix)).collect();
    known.sort_unstable();
    match nearest(key.strip_prefix(prefix).unwrap_or(key), known.iter().copied()) {
        Some(meant) => format!("did you mean `{prefix}{meant}`?"),
        None => format!("under `{prefix}` there are {}", known.join(", ")),
    }
}

/// The aliases of a list, each once.
fn aliases(raw: &RawConfig, key: &str, errors: &mut Vec<ConfigError>) -> Vec<String> {
    let text = raw.get(key).map(|text| text.trim()).unwrap_or_default();
    if text.is_empty() {
        return Vec::new();
    }
    let mut seen = HashSet::new();
    let mut aliases = Vec::new();
    for alias in text.split(',').map(str::trim) {
        if alias.is_empty() {
            let message = format!("Invalid value {text} for configuration {key}: an alias is empty.");
            errors.push(ConfigError::new(key, message));
        } else if !seen.insert(alias) {
            let message = format!("Invalid value {text} for configuration {key}: Duplicate alias provided.");
            errors.push(ConfigError::new(key, message));
        } else {
            aliases.push(alias.to_owned());
        }
    }
    aliases
}

/// The keys of one alias.
struct Group<'a> {
    raw: &'a RawConfig,
    /// `transformation` or `predicate`, for texts.
    what: &'static str,
    /// `transforms.a.`
    prefix: String,
    /// `Transforms: a`
    name: String,
    alias: &'a str,
    keys: Vec<ChainKey>,
}

impl<'a> Group<'a> {
    fn new(raw: &'a RawConfig, what: &'static str, list: &'static str, alias: &'a str) -> Self {
        let title = if list == TRANSFORMS { "Transforms" } else { "Predicates" };
        Self {
            raw,
            what,
            prefix: format!("{list}.{alias}."),
            name: format!("{title}: {alias}"),
            alias,
            keys: Vec::new(),
        }
    }

    /// The keys that have been added, with their other names.
    fn known(&self, has_plugin: bool) -> KnownKeys {
        let names = self.keys.iter().flat_map(|known| {
            let aliases = known.key.aliases.iter().map(|alias| format!("{}{alias}", self.prefix));
            std::iter::once(known.key.name.clone()).chain(aliases)
        });
        KnownKeys {
            prefix: self.prefix.clone(),
            keys: has_plugin.then(|| names.collect()),
        }
    }

    fn add(&mut self, evaluated: &EvaluatedKey<'_>) {
        let mut key = evaluated.key.clone();
        key.name = format!("{}{}", self.prefix, evaluated.name);
        self.keys.push(ChainKey {
            key,
            group: self.name.clone(),
            value: evaluated.value.clone(),
            errors: evaluated.errors_under(&self.prefix),
        });
    }

    /// Adds a key of the chain itself; the parsed value, if it is set and right.
    fn add_own(&mut self, key: ConfigKey) -> ParsedConfig {
        let name = key.name.clone();
        let def = ConfigDef::new().key(key);
        let raw = self.raw.get(&format!("{}{name}", self.prefix));
        let raw = raw.map(|text| (name, text.clone())).into_iter().collect();
        let Evaluated { keys, parsed } = def.evaluate(&raw);
        keys.iter().for_each(|key| self.add(key));
        parsed
    }

    fn error(&mut self, key: &str, message: impl Into<String>) {
        let name = format!("{}{key}", self.prefix);
        // `type` comes first: what belongs to no key stands there.
        let place = self.keys.iter().position(|known| known.key.name == name).unwrap_or(0);
        if let Some(known) = self.keys.get_mut(place) {
            known.errors.push(message.into());
        }
    }

    /// Adds `type` and `plugin.version`; the index of the plugin, if there is one of that name.
    fn plugin<'p>(&mut self, plugins: impl Iterator<Item = &'p PluginInfo> + Clone) -> Option<usize> {
        let (what, alias) = (self.what, self.alias);
        let initial: String = what.chars().take(1).flat_map(char::to_uppercase).collect();
        let title = format!("{initial}{}", what.get(1..).unwrap_or_default());
        let classes = plugins.clone().map(|info| info.class);
        let parsed = self.add_own(
            ConfigKey::new(
                "type",
                ConfigType::Class,
                Importance::High,
                format!("Class for the '{alias}' {what}."),
            )
            .display(format!("{title} type for {alias}"), Width::Long)
            .recommended(classes.clone()),
        );
        let index = parsed.str("type").and_then(|class| {
            let found = plugins.clone().position(|info| answers_to(info, class));
            if found.is_none() {
                let name = format!("{}type", self.prefix);
                let message = format!(
                    "Invalid value {class} for configuration {name}: Class {class} could not be found. {}",
                    advice(class, classes.clone())
                );
                self.error("type", message);
            }
            found
        });
        let version = ConfigKey::new(
            "plugin.version",
            ConfigType::String,
            Importance::High,
            format!("Version of the '{alias}' {what}. There is one version of each, so this changes nothing."),
        )
        .display(format!("{title} version for {alias}"), Width::Long);
        let version = match index.and_then(|index| plugins.clone().nth(index)) {
            Some(info) => version.default(info.version).recommended([info.version]),
            None => version.optional(),
        };
        self.add_own(version);
        index
    }

    /// Adds the plugin's own keys and makes one, if they are all right.
    fn create<T: ?Sized>(
        &mut self,
        config_def: fn() -> ConfigDef,
        create: fn(&ParsedConfig) -> Result<Arc<T>, ConfigErrors>,
    ) -> Option<Arc<T>> {
        let own = ["type", "plugin.version", "predicate", "negate"];
        let raw: RawConfig = self
            .raw
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(&self.prefix)?, value)))
            .filter(|(key, _)| !own.contains(key))
            .map(|(key, value)| (key.to_owned(), value.clone()))
            .collect();
        let def = config_def();
        let evaluated = def.evaluate(&raw);
        evaluated.keys.iter().for_each(|key| self.add(key));
        if !evaluated.errors().is_empty() {
            return None;
        }
        match create(&evaluated.parsed) {
            Ok(created) => Some(created),
            Err(errors) => {
                for error in errors {
                    self.error(&error.key, error.message);
                }
                None
            }
        }
    }

    /// Adds `negate` and `predicate`; the condition, if there is one and it is right.
    fn condition(&mut self, known: &BTreeMap<String, Option<Arc<dyn Predicate>>>) -> Option<Condition> {
        let negate = self.add_own(
            ConfigKey::new(
                "negate",
                ConfigType::Boolean,
                Importance::Medium,
                "Whether the configured predicate should be negated.",
            )
            .default("false"),
        );
        let predicate = self.add_own(
            ConfigKey::new(
                "predicate",
                ConfigType::String,
                Importance::Medium,
                "The alias of a predicate used to determine whether to apply this transformation.",
            )
            .optional()
            .recommended(known.keys().cloned()),
        );
        let Some(alias) = predicate.str("predicate") else {
            if self.raw.contains_key(&format!("{}negate", self.prefix)) {
                let message = format!(
                    "Config '{0}negate' was provided but there is no config '{0}predicate' defining a predicate to be \
                     negated.",
                    self.prefix
                );
                self.error("type", message);
            }
            return None;
        };
        let Some(found) = known.get(alias) else {
            let declared = known.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let message = format!("predicate `{alias}` is not declared: `{PREDICATES}` lists [{declared}]");
            self.error("predicate", message);
            return None;
        };
        Some(Condition {
            alias: alias.into(),
            predicate: Arc::clone(found.as_ref()?),
            negate: negate.bool("negate")?,
        })
    }
}

/// Connect's rule: the class name, the simple class name, or that without the suffix of its kind; and the plugin's
/// own aliases. Nested classes such as `Cast$Value` only have their full names: Java calls them `Value`.
fn answers_to(info: &PluginInfo, name: &str) -> bool {
    let simple = info.class.rsplit('.').next().unwrap_or(info.class);
    let suffix = if info.kind == klamm_connect_api::PluginKind::Predicate {
        "Predicate"
    } else {
        "Transformation"
    };
    let is_simple = !simple.contains('$') && (simple == name || simple.strip_suffix(suffix) == Some(name));
    info.class == name || is_simple || info.aliases.contains(&name)
}

/// Classes that users have in their configurations and that are left out on purpose, each with what does their work.
const LEFT_OUT: [(&str, &str); 6] = [
    (
        "io.debezium.transforms.ByLogicalTableRouter",
        "it routes records on their way into Kafka; on the way out use RegexRouter",
    ),
    (
        "io.debezium.transforms.ContentBasedRouter",
        "it runs scripts, which are not supported: use io.confluent.connect.transforms.ExtractTopic$Value, or RegexRouter \
         under the predicate io.klamm.transforms.predicates.EventPattern",
    ),
    (
        "io.debezium.transforms.Filter",
        "it runs scripts, which are not supported: use io.confluent.connect.transforms.Filter$Value, or \
         org.apache.kafka.connect.transforms.Filter under the predicate io.klamm.transforms.predicates.EventPattern",
    ),
    (
        "io.debezium.transforms.outbox.EventRouter",
        "it routes records on their way into Kafka; on the way out use io.confluent.connect.transforms.ExtractTopic$Value",
    ),
    (
        "io.debezium.transforms.ToLogicalTopicRouter",
        "it routes records on their way into Kafka; on the way out use RegexRouter",
    ),
    (
        "io.confluent.connect.cloud.transforms.TopicRegexRouter",
        "use org.apache.kafka.connect.transforms.RegexRouter, whose patterns are Java's",
    ),
];

/// Which classes the user may have meant.
fn advice<'p>(class: &str, known: impl Iterator<Item = &'p str>) -> String {
    if let Some((_, instead)) = LEFT_OUT.iter().find(|(left_out, _)| *left_out == class) {
        return format!("It is left out on purpose: {instead}");
    }
    let known: Vec<&str> = known.collect();
    let simple = |class: &str| class.rsplit('.').next().unwrap_or_default().to_owned();
    let variants: Vec<&str> = known
        .iter()
        .copied()
        .filter(|known| simple(known).split('$').next() == simple(class).split(['$', '.']).next())
        .collect();
    if variants.is_empty() {
        let meant = nearest(
            &simple(class),
            known.iter().map(|known| known.rsplit('.').next().unwrap_or(known)),
        )
        .and_then(|meant| known.iter().find(|known| known.ends_with(meant)));
        let meant = meant.map(|meant| format!("Did you mean {meant}? ")).unwrap_or_default();
        format!("{meant}There are: {}", known.join(", "))
    } else {
        format!("Did you mean {}?", variants.join(", "))
    }
}
