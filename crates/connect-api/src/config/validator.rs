use std::fmt;
use std::sync::Arc;

type Check = dyn Fn(&str) -> Result<(), String> + Send + Sync;

/// A check of one value beyond its type. The error says what is accepted.
#[derive(Clone)]
pub struct Validator {
    check: Arc<Check>,
    /// The spellings that values have once they are parsed.
    names: &'static [&'static str],
}

impl Validator {
    /// A check of its own. It sees the trimmed text; for a list, each element.
    #[must_use]
    pub fn new(check: impl Fn(&str) -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self {
            check: Arc::new(check),
            names: &[],
        }
    }

    /// A number of at least `minimum`.
    #[must_use]
    pub fn at_least(minimum: i64) -> Self {
        Self::new(move |text| match text.parse::<i64>() {
            Ok(number) if number < minimum => Err(format!("Value must be at least {minimum}")),
            _ => Ok(()),
        })
    }

    /// A number from `minimum` to `maximum`.
    #[must_use]
    pub fn between(minimum: i64, maximum: i64) -> Self {
        Self::new(move |text| match text.parse::<i64>() {
            Ok(number) if number < minimum => Err(format!("Value must be at least {minimum}")),
            Ok(number) if number > maximum => Err(format!("Value must be no more than {maximum}")),
            _ => Ok(()),
        })
    }

    /// One of `names`, in any case; the parsed value has the case of `names`, so that whoever reads it compares exactly.
    #[must_use]
    pub fn one_of(names: &'static [&'static str]) -> Self {
        let check = Self::new(move |text| {
            if names.iter().any(|name| name.eq_ignore_ascii_case(text)) {
                Ok(())
            } else {
                Err(format!("Value must be one of: {}", names.join(", ")))
            }
        });
        Self { names, ..check }
    }

    /// Not empty.
    #[must_use]
    pub fn non_empty() -> Self {
        Self::new(|text| {
            if text.is_empty() {
                Err("Value must not be empty".to_owned())
            } else {
                Ok(())
            }
        })
    }

    /// Whether `text` passes.
    ///
    /// # Errors
    /// What is accepted.
    pub fn check(&self, text: &str) -> Result<(), String> {
        (self.check)(text)
    }

    /// The spelling in which a value that passes is parsed.
    pub(super) fn spelling(&self, text: &str) -> Option<&'static str> {
        self.names.iter().copied().find(|name| name.eq_ignore_ascii_case(text))
    }
}

impl fmt::Debug for Validator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Validator")
    }
}
