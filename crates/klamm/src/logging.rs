//! The log: of a worker on standard error, of a local world among what it shows.

use klamm::{LogLevel, LogLevels};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Level, Metadata, warn};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Filter, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// The credentials chain logs each provider that has none, at each try; delivery says it once.
const LOGGERS: &[(&str, LogLevel)] = &[("aws_config", LogLevel::Error)];

/// Logs to standard error as `KLAMM_LOG` says, else information, and as the levels say later.
pub(crate) fn to_stderr(is_json: bool) -> LogLevels {
    start(std::io::stderr, is_json, LogLevel::Info)
}

/// Logs to this writer as `KLAMM_LOG` says, else warnings, and as the levels say later.
pub(crate) fn to(writer: impl for<'w> MakeWriter<'w> + Send + Sync + 'static) -> LogLevels {
    start(writer, false, LogLevel::Warn)
}

fn start(
    writer: impl for<'w> MakeWriter<'w> + Send + Sync + 'static,
    is_json: bool,
    default: LogLevel,
) -> LogLevels {
    let wish = std::env::var("KLAMM_LOG").ok();
    let parsed = wish.as_deref().map(str::parse::<Targets>);
    let refused = parsed.as_ref().and_then(|parsed| parsed.as_ref().err()).map(ToString::to_string);
    let levels = match parsed {
        Some(Ok(targets)) => {
            let root = targets.default_level().map_or(LogLevel::Error, named);
            LogLevels::new(root, targets.iter().map(|(target, level)| (target.to_owned(), named(level))))
        }
        Some(Err(_)) | None => {
            LogLevels::new(default, LOGGERS.iter().map(|(logger, level)| ((*logger).to_owned(), *level)))
        }
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(false);
    let lines = if is_json { lines.json().boxed() } else { lines.boxed() };
    tracing_subscriber::registry()
        .with(lines.with_filter(ByLevels(levels.clone())))
        .init();
    if let Some(error) = refused {
        warn!(%error, "`KLAMM_LOG` is not a valid filter, the default is used: {default:?}, and errors of `aws_config`");
    }
    levels
}

fn named(level: LevelFilter) -> LogLevel {
    match level.into_level() {
        None => LogLevel::Off,
        Some(Level::ERROR) => LogLevel::Error,
        Some(Level::WARN) => LogLevel::Warn,
        Some(Level::INFO) => LogLevel::Info,
        Some(Level::DEBUG) => LogLevel::Debug,
        Some(Level::TRACE) => LogLevel::Trace,
    }
}

/// Lets pass what its logger's level lets pass.
struct ByLevels(LogLevels);

impl ByLevels {
    fn passes(&self, metadata: &Metadata<'_>) -> bool {
        let most = match self.0.level(metadata.target()) {
            LogLevel::Off => return false,
            LogLevel::Fatal | LogLevel::Error => Level::ERROR,
            LogLevel::Warn => Level::WARN,
            LogLevel::Info => Level::INFO,
            LogLevel::Debug => Level::DEBUG,
            LogLevel::Trace | LogLevel::All => Level::TRACE,
        };
        *metadata.level() <= most
    }
}

impl<S> Filter<S> for ByLevels {
    fn enabled(&self, metadata: &Metadata<'_>, _context: &Context<'_, S>) -> bool {
        self.passes(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.passes(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }
}
