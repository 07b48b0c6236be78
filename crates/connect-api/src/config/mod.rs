//! Typed configuration keys: one definition gives the parsed configuration, the REST validation answer and the
//! generated reference.

mod def;
mod nearest;
mod parsed;
mod user_info;
mod validator;

use std::collections::BTreeMap;
use std::fmt;

pub use def::{ConfigDef, ConfigKey, Evaluated, EvaluatedKey};
pub use nearest::nearest;
pub use parsed::{ConfigValue, ParsedConfig, Scope};
pub use user_info::without_user_info;
pub use validator::Validator;

/// A configuration as users give it: every value is text.
pub type RawConfig = BTreeMap<String, String>;

/// A configuration as `Debug` may show it: keys without values, any of which may be a secret.
pub struct KeysOnly<'a, V>(pub &'a BTreeMap<String, V>);

impl<V> fmt::Debug for KeysOnly<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The types of Connect's configuration definitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConfigType {
    /// `true` or `false`, in any case
    Boolean,
    /// Text
    String,
    /// 32-bit signed integer
    Int,
    /// 16-bit signed integer
    Short,
    /// 64-bit signed integer
    Long,
    /// Floating-point number
    Double,
    /// Comma-separated list
    List,
    /// Name of a class: an identifier of a plugin here
    Class,
    /// Text that is never shown
    Password,
}

impl ConfigType {
    /// Connect's upper-case name, as in the answer of a validation.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Boolean => "BOOLEAN",
            Self::String => "STRING",
            Self::Int => "INT",
            Self::Short => "SHORT",
            Self::Long => "LONG",
            Self::Double => "DOUBLE",
            Self::List => "LIST",
            Self::Class => "CLASS",
            Self::Password => "PASSWORD",
        }
    }
}

/// How wide a user interface should show a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Width {
    /// Not said.
    None,
    /// A number or a word.
    Short,
    /// A name.
    Medium,
    /// A list.
    Long,
}

impl Width {
    /// Connect's upper-case name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Short => "SHORT",
            Self::Medium => "MEDIUM",
            Self::Long => "LONG",
        }
    }
}

/// How much a user needs to know a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Importance {
    /// Nearly everybody sets it.
    High,
    /// Worth knowing.
    Medium,
    /// Rarely set.
    Low,
}

impl Importance {
    /// Connect's upper-case name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::High => "HIGH",
            Self::Medium => "MEDIUM",
            Self::Low => "LOW",
        }
    }
}

/// Text that must never be seen: its `Debug` and `Display` print `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that has to send or compute with it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
