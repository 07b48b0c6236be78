//! What is logged, by the names of loggers, while the worker runs.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

/// Name of the logger that every other one is below.
const ROOT: &str = "root";
/// Loggers that may be set: what clients name stays in memory.
const MAX_LOGGERS: usize = 1_000;

/// A level in Log4j's words, the quietest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// As [`LogLevel::Error`]: nothing here is worse.
    Fatal,
    /// What a person has to mend.
    Error,
    /// What may need a person.
    Warn,
    /// What happens.
    Info,
    /// How it happens.
    Debug,
    /// Every step.
    Trace,
    /// As [`LogLevel::Trace`].
    All,
}

impl LogLevel {
    const NAMES: [(Self, &'static str); 8] = [
        (Self::Off, "OFF"),
        (Self::Fatal, "FATAL"),
        (Self::Error, "ERROR"),
        (Self::Warn, "WARN"),
        (Self::Info, "INFO"),
        (Self::Debug, "DEBUG"),
        (Self::Trace, "TRACE"),
        (Self::All, "ALL"),
    ];

    /// Reads a name in any case.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let mut names = Self::NAMES.into_iter();
        names.find_map(|(level, known)| known.eq_ignore_ascii_case(name).then_some(level))
    }

    /// Its name in upper case.
    #[must_use]
    pub fn name(self) -> &'static str {
        let mut names = Self::NAMES.into_iter();
        names
            .find_map(|(level, name)| (level == self).then_some(name))
            .unwrap_or_default()
    }
}

/// A logger that has a level of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Logger {
    /// Its level.
    pub level: LogLevel,
    /// When it was last set through the REST API, milliseconds since 1970.
    pub last_modified: Option<i64>,
}

/// The levels of all loggers, shared by those who set them and the one who filters by them. A logger is a module's path,
/// `klamm_rest::server`; what has no level of its own has that of the nearest one above it.
#[derive(Debug, Clone)]
pub struct LogLevels(Arc<RwLock<BTreeMap<String, Logger>>>);

impl LogLevels {
    /// The levels that hold at first: of the root, and of single loggers.
    pub fn new(root: LogLevel, loggers: impl IntoIterator<Item = (String, LogLevel)>) -> Self {
        let loggers = loggers.into_iter().chain([(ROOT.to_owned(), root)]);
        let logger = |(name, level)| {
            let last_modified = None;
            (name, Logger { level, last_modified })
        };
        Self(Arc::new(RwLock::new(loggers.map(logger).collect())))
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, Logger>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The loggers that have a level of their own, by name.
    #[must_use]
    pub fn all(&self) -> BTreeMap<String, Logger> {
        self.read().clone()
    }

    /// A logger that has a level of its own.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Logger> {
        self.read().get(name).copied()
    }

    /// The level that a logger has, by itself or from above.
    #[must_use]
    pub fn level(&self, name: &str) -> LogLevel {
        level_of(&self.read(), name)
    }

    /// Sets a logger and every one below it, and returns the names of those that changed. None if there are too many
    /// loggers with a level of their own.
    #[must_use]
    pub fn set(&self, name: &str, level: LogLevel) -> Option<Vec<String>> {
        let mut loggers = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let is_new = !loggers.contains_key(name);
        let had = level_of(&loggers, name);
        if is_new && loggers.len() >= MAX_LOGGERS {
            return None;
        }
        let mut changed: Vec<String> = loggers
            .iter()
            .filter(|(other, logger)| *other != name && is_below(other, name) && logger.level != level)
            .map(|(other, _)| other.clone())
            .collect();
        if had != level {
            changed.push(name.to_owned());
        }
        changed.sort();
        let logger = Logger {
            level,
            last_modified: Some(crate::wall_clock::now_ms()),
        };
        for changed in &changed {
            loggers.insert(changed.clone(), logger);
        }
        drop(loggers);
        // Places in the code remember whether they log.
        tracing::callsite::rebuild_interest_cache();
        Some(changed)
    }
}

fn level_of(loggers: &BTreeMap<String, Logger>, name: &str) -> LogLevel {
    let above = loggers.iter().filter(|(other, _)| is_below(name, other));
    let nearest = above.max_by_key(|(other, _)| if *other == ROOT { 0 } else { other.len() });
    nearest.map_or(LogLevel::Info, |(_, logger)| logger.level)
}

/// Whether `name` is `above` or below it. `a::bc` is not below `a::b`.
fn is_below(name: &str, above: &str) -> bool {
    above == ROOT
        || name
            .strip_prefix(above)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("::") || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_holds_for_what_is_below_and_a_change_tells_what_changed() {
        let levels = LogLevels::new(LogLevel::Info, [("aws_config".to_owned(), LogLevel::Error)]);
        assert_eq!(levels.level("klamm_rest::server"), LogLevel::Info);
        assert_eq!(levels.level("aws_config::sso"), LogLevel::Error);
        let set = |name: &str, level| levels.set(name, level).unwrap();
        assert!(
            set("klamm_rest", LogLevel::Info).is_empty(),
            "it has that level already"
        );
        assert_eq!(set("klamm_rest::server", LogLevel::Trace), ["klamm_rest::server"]);
        assert_eq!(
            set("klamm_rest", LogLevel::Debug),
            ["klamm_rest", "klamm_rest::server"],
            "those below, too"
        );
        assert_eq!(levels.level("klamm_rest::server"), LogLevel::Debug);
        assert_eq!(levels.level("klamm_restive"), LogLevel::Info, "cut at the separator");
        assert_eq!(levels.get("klamm_rest::route"), None, "it has no level of its own");
        assert!(levels.get("klamm_rest").unwrap().last_modified.is_some());
        assert_eq!(
            levels.get("aws_config").unwrap().last_modified,
            None,
            "nobody has set it"
        );
        assert_eq!(
            set("root", LogLevel::Warn),
            ["aws_config", "klamm_rest", "klamm_rest::server", "root"]
        );
        assert_eq!(levels.level("aws_config::sso"), LogLevel::Warn);
    }

    #[test]
    fn names_of_loggers_take_a_bounded_place() {
        let levels = LogLevels::new(LogLevel::Info, []);
        for number in 1..MAX_LOGGERS {
            assert!(levels.set(&format!("l{number}"), LogLevel::Warn).is_some());
        }
        assert_eq!(levels.set("one-more", LogLevel::Warn), None);
        assert!(levels.set("l1", LogLevel::Debug).is_some(), "one that is there");
    }
}
