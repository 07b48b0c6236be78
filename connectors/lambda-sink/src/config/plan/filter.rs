//! Which of a topic's records a route takes.

use super::Planner;

/// Conditions on a record, all of which have to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    /// Name of a predicate in `predicates`.
    pub(crate) predicate: Option<String>,
    /// Whether the predicate must not hold.
    pub(crate) negate: bool,
    /// An event pattern.
    pub(crate) pattern: Option<String>,
}

impl Filter {
    pub(crate) fn is_empty(&self) -> bool {
        self.predicate.is_none() && self.pattern.is_none()
    }
}

impl Planner<'_> {
    /// The conditions under a route's prefix; the shorthands have none.
    pub(super) fn filter(&mut self, prefix: &str) -> Filter {
        if prefix.is_empty() {
            return Filter::default();
        }
        let parsed = self.parsed;
        let text = |name: &str| parsed.str(&format!("{prefix}{name}")).filter(|text| !text.is_empty());
        let filter = Filter {
            predicate: text("predicate").map(str::to_owned),
            negate: parsed.bool(&format!("{prefix}negate")).unwrap_or_default(),
            pattern: text("pattern").map(str::to_owned),
        };
        let declared = self.raw.get("predicates").map_or("", String::as_str);
        if let Some(name) = &filter.predicate
            && !declared.split(',').any(|known| known.trim() == name)
        {
            self.error_once(
                &format!("{prefix}predicate"),
                format!("`predicates` does not list `{name}`: declare it there, with `predicates.{name}.type`"),
            );
        }
        if filter.negate && filter.predicate.is_none() {
            self.error_once(
                &format!("{prefix}negate"),
                format!("has no effect without `{prefix}predicate`: set that, or leave this out"),
            );
        }
        filter
    }
}
