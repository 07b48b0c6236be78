use crate::error::{ConfigError, ConfigErrors};

use super::parsed::ConfigValue;
use super::{ConfigType, Importance, ParsedConfig, RawConfig, Secret, Validator, Width, without_user_info};

/// One key of a definition.
#[derive(Debug, Clone)]
pub struct ConfigKey {
    /// Name of the key.
    pub name: String,
    /// Type of its values.
    pub config_type: ConfigType,
    /// Text that stands in when the key is not set.
    pub default: Option<String>,
    /// Whether a configuration without the key is refused.
    pub required: bool,
    /// Checks beyond the type.
    pub validators: Vec<Validator>,
    /// How much a user needs to know it.
    pub importance: Importance,
    /// Group for user interfaces and the reference.
    pub group: &'static str,
    /// What it means, with unit and accepted values.
    pub documentation: String,
    /// Other names that users have for it. Setting two names at once is an error.
    pub aliases: &'static [&'static str],
    /// Values that a user interface may offer.
    pub recommended: Vec<String>,
    /// Name for people.
    pub display_name: String,
    /// How wide a user interface should show it.
    pub width: Width,
}

impl ConfigKey {
    /// A required key of the group `Common`.
    pub fn new(
        name: impl Into<String>,
        config_type: ConfigType,
        importance: Importance,
        documentation: impl Into<String>,
    ) -> Self {
        let name = name.into();
        Self {
            display_name: name.clone(),
            width: Width::None,
            name,
            config_type,
            default: None,
            required: true,
            validators: Vec::new(),
            importance,
            group: "Common",
            documentation: documentation.into(),
            aliases: &[],
            recommended: Vec::new(),
        }
    }

    /// Sets the default.
    #[must_use]
    pub fn default(mut self, text: impl Into<String>) -> Self {
        self.default = Some(text.into());
        self.required = false;
        self
    }

    /// Lets the key be absent.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.required = false;
        self
    }

    /// Adds a check.
    #[must_use]
    pub fn validator(mut self, validator: Validator) -> Self {
        self.validators.push(validator);
        self
    }

    /// Sets the group.
    #[must_use]
    pub fn group(mut self, group: &'static str) -> Self {
        self.group = group;
        self
    }

    /// Sets the other names.
    #[must_use]
    pub fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    /// Sets the values that a user interface may offer.
    #[must_use]
    pub fn recommended(mut self, values: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.recommended = values.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the name for people and the width in a user interface.
    #[must_use]
    pub fn display(mut self, name: impl Into<String>, width: Width) -> Self {
        self.display_name = name.into();
        self.width = width;
        self
    }

    /// The name under which the key is set in `raw`: its own, or an alias.
    #[must_use]
    pub fn name_in<'a>(&'a self, raw: &RawConfig) -> Option<&'a str> {
        std::iter::once(self.name.as_str())
            .chain(self.aliases.iter().copied())
            .find(|name| raw.contains_key(*name))
    }

    fn parse(&self, text: &str) -> Result<ConfigValue, String> {
        let integer = |number: Option<i64>| {
            number
                .map(ConfigValue::Integer)
                .ok_or_else(|| format!("Not a number of type {}", self.config_type.name()))
        };
        match self.config_type {
            ConfigType::Boolean if text.eq_ignore_ascii_case("true") => Ok(ConfigValue::Boolean(true)),
            ConfigType::Boolean if text.eq_ignore_ascii_case("false") => Ok(ConfigValue::Boolean(false)),
            ConfigType::Boolean => Err("Expected value to be either true or false".to_owned()),
            ConfigType::String | ConfigType::Class => Ok(ConfigValue::String(text.to_owned())),
            ConfigType::Password => Ok(ConfigValue::Secret(Secret::new(text))),
            ConfigType::Int => integer(text.parse::<i32>().ok().map(i64::from)),
            ConfigType::Short => integer(text.parse::<i16>().ok().map(i64::from)),
            ConfigType::Long => integer(text.parse().ok()),
            ConfigType::Double => text
                .parse()
                .map(ConfigValue::Double)
                .map_err(|_| "Not a number of type DOUBLE".to_owned()),
            ConfigType::List if text.is_empty() => Ok(ConfigValue::List(Vec::new())),
            ConfigType::List => Ok(ConfigValue::List(
                text.split(',').map(|item| item.trim().to_owned()).collect(),
            )),
        }
    }

    /// A value as it is shown: lists without the spaces around their commas.
    fn shown(&self, text: &str) -> String {
        match self.config_type {
            ConfigType::List => text.split(',').map(str::trim).collect::<Vec<_>>().join(","),
            _ => text.to_owned(),
        }
    }

    fn check(&self, text: &str) -> Result<ConfigValue, String> {
        let mut value = self.parse(text)?;
        for validator in &self.validators {
            let items = match &mut value {
                ConfigValue::List(items) => items.iter_mut(),
                ConfigValue::String(text) => std::slice::from_mut(text).iter_mut(),
                _ => {
                    validator.check(text)?;
                    continue;
                }
            };
            for item in items {
                validator.check(item)?;
                if let Some(spelling) = validator.spelling(item) {
                    spelling.clone_into(item);
                }
            }
        }
        Ok(value)
    }

    fn evaluate<'a>(&'a self, raw: &RawConfig) -> (EvaluatedKey<'a>, Option<ConfigValue>) {
        let name = self.name_in(raw);
        let second = self
            .aliases
            .iter()
            .find(|alias| name.is_some_and(|n| n != **alias) && raw.contains_key(**alias));
        let given = name.and_then(|name| raw.get(name)).map(|text| text.trim());
        let text = given.or(self.default.as_deref());
        let mut evaluated = EvaluatedKey {
            key: self,
            name: name.unwrap_or(&self.name),
            value: text.map(|text| self.shown(text)),
            errors: Vec::new(),
            is_missing: false,
        };
        if let (Some(name), Some(second)) = (name, second) {
            evaluated.errors.push(format!(
                "`{name}` and `{second}` are names of one setting: keep one of them"
            ));
            return (evaluated, None);
        }
        let Some(text) = text else {
            if self.required {
                evaluated.is_missing = true;
                evaluated.errors.push(missing(&self.name));
            }
            return (evaluated, None);
        };
        match self.check(text) {
            Ok(value) => (evaluated, Some(value)),
            Err(why) => {
                let shown = if self.config_type == ConfigType::Password {
                    "[hidden]"
                } else {
                    text
                };
                let message = format!("Invalid value {shown} for configuration {}: {why}", evaluated.name);
                evaluated.errors.push(without_user_info(&message).into_owned());
                (evaluated, None)
            }
        }
    }
}

/// A key with what a configuration sets it to.
#[derive(Debug, Clone)]
pub struct EvaluatedKey<'a> {
    /// The definition.
    pub key: &'a ConfigKey,
    /// The name it was set under, or its own.
    pub name: &'a str,
    /// The trimmed text, or the default, in the form in which it is shown. Secrets are here in clear: whoever shows it masks PASSWORD keys.
    pub value: Option<String>,
    /// Error texts as Connect writes them.
    pub errors: Vec<String>,
    /// Whether what is wrong is that it is not set.
    is_missing: bool,
}

impl EvaluatedKey<'_> {
    /// The error texts of a key that users write with `prefix` in front, such as `transforms.a.`. As in Connect, a missing
    /// key is named in full, and a wrong value by the plugin's own name for its key.
    #[must_use]
    pub fn errors_under(&self, prefix: &str) -> Vec<String> {
        if self.is_missing {
            vec![missing(&format!("{prefix}{}", self.name))]
        } else {
            self.errors.clone()
        }
    }
}

fn missing(name: &str) -> String {
    format!("Missing required configuration \"{name}\" which has no default value.")
}

/// What a definition makes of a configuration.
#[derive(Debug, Clone)]
pub struct Evaluated<'a> {
    /// All keys, in the order of the definition.
    pub keys: Vec<EvaluatedKey<'a>>,
    /// The values without an error.
    pub parsed: ParsedConfig,
}

impl Evaluated<'_> {
    /// All errors, each with the key it belongs to as the user wrote it.
    #[must_use]
    pub fn errors(&self) -> Vec<ConfigError> {
        self.keys
            .iter()
            .flat_map(|key| {
                key.errors
                    .iter()
                    .map(|message| ConfigError::new(key.name, message.clone()))
            })
            .collect()
    }
}

/// A list of keys, in the order in which they are shown.
#[derive(Debug, Clone, Default)]
pub struct ConfigDef {
    keys: Vec<ConfigKey>,
    prefixes: Vec<&'static str>,
}

impl ConfigDef {
    /// A definition without keys.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key.
    #[must_use]
    pub fn key(mut self, key: ConfigKey) -> Self {
        self.keys.push(key);
        self
    }

    /// Adds several keys.
    #[must_use]
    pub fn with(mut self, keys: impl IntoIterator<Item = ConfigKey>) -> Self {
        self.keys.extend(keys);
        self
    }

    /// Takes every key that begins with `prefix`, such as `request.header.`, as text that is never shown: see
    /// [`ParsedConfig::prefixed`].
    #[must_use]
    pub fn prefix(mut self, prefix: &'static str) -> Self {
        self.prefixes.push(prefix);
        self
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &[ConfigKey] {
        &self.keys
    }

    /// The beginnings of keys that [`ConfigDef::prefix`] added.
    #[must_use]
    pub fn prefixes(&self) -> &[&'static str] {
        &self.prefixes
    }

    /// Parses and checks every key. Unknown keys of `raw` are left alone, as in Connect.
    #[must_use]
    pub fn evaluate<'a>(&'a self, raw: &RawConfig) -> Evaluated<'a> {
        let mut parsed = ParsedConfig::default();
        let mut keys = Vec::with_capacity(self.keys.len());
        for key in &self.keys {
            let (evaluated, value) = key.evaluate(raw);
            if let Some(value) = value {
                parsed.set(&key.name, value);
            }
            keys.push(evaluated);
        }
        for (key, text) in raw {
            if self.prefixes.iter().any(|prefix| key.starts_with(prefix)) {
                parsed.set(key, ConfigValue::Secret(Secret::new(text.trim())));
            }
        }
        Evaluated { keys, parsed }
    }

    /// The parsed configuration.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(&self, raw: &RawConfig) -> Result<ParsedConfig, ConfigErrors> {
        let evaluated = self.evaluate(raw);
        ConfigErrors::check(evaluated.errors())?;
        Ok(evaluated.parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Settings<'a> = &'a [(&'a str, &'a str)];

    fn raw(entries: Settings<'_>) -> RawConfig {
        entries
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    fn def() -> ConfigDef {
        ConfigDef::new()
            .key(ConfigKey::new("function", ConfigType::String, Importance::High, "").aliases(&["aws.function"]))
            .key(
                ConfigKey::new("size", ConfigType::Int, Importance::Low, "")
                    .default("20")
                    .validator(Validator::at_least(1)),
            )
            .key(ConfigKey::new("topics", ConfigType::List, Importance::Low, "").optional())
            .key(ConfigKey::new("secret", ConfigType::Password, Importance::Low, "").optional())
            .key(
                ConfigKey::new("order", ConfigType::String, Importance::Low, "")
                    .optional()
                    .validator(Validator::one_of(&["none", "USER_INFO"])),
            )
            .key(
                ConfigKey::new("kinds", ConfigType::List, Importance::Low, "")
                    .optional()
                    .validator(Validator::one_of(&["none", "all"])),
            )
    }

    #[test]
    fn errors_name_the_key_the_value_and_what_is_accepted() {
        let cases: [(Settings<'_>, &str, &str); 5] = [
            (
                &[],
                "`function`: Missing required configuration \"function\" which has no default value.",
                "required",
            ),
            (
                &[("function", "f"), ("size", "x")],
                "`size`: Invalid value x for configuration size: Not a number of type INT",
                "type",
            ),
            (
                &[("function", "f"), ("size", "0")],
                "`size`: Invalid value 0 for configuration size: Value must be at least 1",
                "range",
            ),
            (
                &[("function", "f"), ("aws.function", "g")],
                "`function`: `function` and `aws.function` are names of one setting: keep one of them",
                "an alias may not contradict",
            ),
            (
                &[("function", "f"), ("size", "3000000000")],
                "`size`: Invalid value 3000000000 for configuration size: Not a number of type INT",
                "32 bits",
            ),
        ];
        for (given, wanted, why) in cases {
            assert_eq!(def().parse(&raw(given)).unwrap_err().to_string(), wanted, "{why}");
        }
    }

    // `delivery.ordering=Partition` passed, and then meant nothing: readers compare with the listed spelling.
    #[test]
    fn a_name_in_another_case_is_parsed_as_it_is_listed() {
        let parsed = def()
            .parse(&raw(&[
                ("function", "f"),
                ("order", " user_Info"),
                ("kinds", "ALL,None"),
            ]))
            .unwrap();
        assert_eq!(parsed.str("order"), Some("USER_INFO"));
        assert_eq!(parsed.list("kinds"), ["all", "none"]);
    }

    #[test]
    fn values_are_trimmed_and_aliases_and_defaults_apply() {
        let parsed = def()
            .parse(&raw(&[("aws.function", " f "), ("topics", "a, b"), ("secret", "s")]))
            .unwrap();
        assert_eq!(parsed.str("function"), Some("f"));
        assert_eq!(parsed.usize("size"), Some(20));
        assert_eq!(parsed.list("topics"), ["a", "b"]);
        assert_eq!(format!("{:?}", parsed.secret("secret")), "Some(***)");
    }
}
