use crate::config::{ConfigKey, ConfigType, Importance, Scope, Validator};

/// How Connect data is shown as JSON (`payload.rendering`).
///
/// `docs/converters.md` shows both side by side for every type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Rendering {
    /// What Connect's `JsonConverter` with `schemas.enable=false` writes.
    #[default]
    Connect,
    /// What people want to read: unions are the value that they hold, Decimals have digits, times are ISO 8601, and
    /// maps whose keys are numbers or booleans are objects.
    Natural(Natural),
}

/// What can be chosen in [`Rendering::Natural`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Natural {
    /// `payload.decimals`
    pub decimals: Decimals,
    /// `payload.timestamps`
    pub timestamps: Timestamps,
}

/// How a Decimal is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decimals {
    /// `"12.50"`, which no reader rounds.
    String,
    /// `12.50`, which most readers make a binary floating-point number.
    Number,
}

/// How dates, times and timestamps are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Timestamps {
    /// ISO 8601 text.
    Iso,
    /// The number that stands for it, as in [`Rendering::Connect`].
    Epoch,
}

const GROUP: &str = "Payload";

impl Rendering {
    /// The setting that chooses one.
    pub const KEY: &'static str = "payload.rendering";
    /// The settings that mean something with `natural` only.
    pub const NATURAL_KEYS: [&'static str; 2] = ["payload.decimals", "payload.timestamps"];

    /// The definition of the settings, for sinks whose payload is JSON.
    #[must_use]
    pub fn config_keys() -> Vec<ConfigKey> {
        let key = |name: &str, choices: &'static [&'static str], documentation: &str| {
            ConfigKey::new(name, ConfigType::String, Importance::Medium, documentation)
                .default(choices.first().copied().unwrap_or_default())
                .validator(Validator::one_of(choices))
                .recommended(choices.iter().copied())
                .group(GROUP)
        };
        let [decimals, timestamps] = Self::NATURAL_KEYS;
        vec![
            key(
                Self::KEY,
                &["connect", "natural"],
                "How keys and values are written as JSON: `connect` as Kafka Connect's JsonConverter does; `natural` with \
                 unions as the value that they hold, Decimals in digits and ISO 8601 times.",
            ),
            key(
                decimals,
                &["string", "number"],
                "How `payload.rendering=natural` writes Decimals: `string` as \"12.50\", which no reader rounds; `number` \
                 as 12.50.",
            ),
            key(
                timestamps,
                &["iso", "epoch"],
                "How `payload.rendering=natural` writes dates, times and timestamps: `iso` as ISO 8601 text; `epoch` as the \
                 numbers that `connect` writes.",
            ),
        ]
    }

    /// What the settings of [`Rendering::config_keys`] say.
    #[must_use]
    pub fn from_config(scope: &Scope<'_>) -> Self {
        let is = |key: &str, choice: &str| scope.str(key).is_some_and(|text| text.eq_ignore_ascii_case(choice));
        if !is(Self::KEY, "natural") {
            return Self::Connect;
        }
        let [decimals, timestamps] = Self::NATURAL_KEYS;
        Self::Natural(Natural {
            decimals: if is(decimals, "number") {
                Decimals::Number
            } else {
                Decimals::String
            },
            timestamps: if is(timestamps, "epoch") {
                Timestamps::Epoch
            } else {
                Timestamps::Iso
            },
        })
    }

    /// The choices of the natural rendering; none for Connect's.
    #[must_use]
    #[inline]
    pub fn natural(self) -> Option<Natural> {
        match self {
            Self::Connect => None,
            Self::Natural(natural) => Some(natural),
        }
    }
}

impl Default for Natural {
    fn default() -> Self {
        Self {
            decimals: Decimals::String,
            timestamps: Timestamps::Iso,
        }
    }
}
