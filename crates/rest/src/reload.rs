//! What is read from files and read again when they change: certificates, users, tokens.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

type Stamps = Vec<(PathBuf, Option<(SystemTime, u64)>)>;
/// One file may name another, so which there are is asked at each look.
type Files = Box<dyn Fn() -> Vec<PathBuf> + Send + Sync>;
type Load<T> = Box<dyn Fn() -> Result<T, String> + Send + Sync>;

/// The present content of some files.
pub(crate) struct Reloaded<T> {
    what: &'static str,
    files: Files,
    load: Load<T>,
    current: RwLock<Arc<T>>,
    /// The files as they were when they were last read, whether they were usable or not.
    stamps: Mutex<Stamps>,
}

impl<T> fmt::Debug for Reloaded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloaded")
            .field("what", &self.what)
            .finish_non_exhaustive()
    }
}

impl<T> Reloaded<T> {
    /// Reads the files.
    ///
    /// # Errors
    /// Those of `load`.
    pub(crate) fn try_new(
        what: &'static str,
        files: impl Fn() -> Vec<PathBuf> + Send + Sync + 'static,
        load: impl Fn() -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        // Before they are read: what changes meanwhile is seen at the next look.
        let stamps = stamps(files());
        let current = load()?;
        Ok(Self {
            what,
            files: Box::new(files),
            load: Box::new(load),
            current: RwLock::new(Arc::new(current)),
            stamps: Mutex::new(stamps),
        })
    }

    /// What they hold.
    pub(crate) fn current(&self) -> Arc<T> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Something to look at from time to time. Reads files: not for a thread that others wait for.
pub(crate) trait Reload: Send + Sync {
    /// Takes over what changed. What cannot be used is warned about once, and the last that could stays in use.
    fn look(&self);
}

impl<T: Send + Sync> Reload for Reloaded<T> {
    fn look(&self) {
        let mut known = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps((self.files)());
        if *known == stamps {
            return;
        }
        *known = stamps;
        match (self.load)() {
            Ok(loaded) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
                let files: Vec<&PathBuf> = known.iter().map(|(file, _)| file).collect();
                info!(?files, "{} changed and were read again", self.what);
            }
            Err(error) => warn!(%error, "changed {} cannot be used, the last ones stay in use", self.what),
        }
    }
}

fn stamps(files: Vec<PathBuf>) -> Stamps {
    let stamp = |file: PathBuf| {
        let stamp = klamm_keystore::stamp(&file);
        (file, stamp)
    };
    files.into_iter().map(stamp).collect()
}

/// Looks at all of them until it is dropped.
pub(crate) async fn look_from_time_to_time(reloads: Vec<Arc<dyn Reload>>) {
    if reloads.is_empty() {
        return;
    }
    let reloads = Arc::new(reloads);
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let reloads = Arc::clone(&reloads);
        let looked = tokio::task::spawn_blocking(move || reloads.iter().for_each(|reload| reload.look()));
        if let Err(error) = looked.await {
            warn!(%error, "changed files cannot be read again");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn changes_are_taken_over_and_what_is_unusable_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n");
        let write = |text: &str| {
            // The times of files are too coarse for a test: the length tells as well.
            fs::write(&path, text).unwrap();
        };
        write("1");
        let file = path.clone();
        let load = move || {
            let text = fs::read_to_string(&file).map_err(|error| error.to_string())?;
            text.trim().parse::<u32>().map_err(|error| error.to_string())
        };
        let files = vec![path.clone()];
        let reloaded = Reloaded::try_new("numbers", move || files.clone(), load).unwrap();
        write("22");
        assert_eq!(*reloaded.current(), 1);
        reloaded.look();
        assert_eq!(*reloaded.current(), 22);
        write("not a number");
        reloaded.look();
        assert_eq!(*reloaded.current(), 22, "unusable");
        fs::remove_file(&path).unwrap();
        reloaded.look();
        assert_eq!(*reloaded.current(), 22, "gone");
        write("4444");
        reloaded.look();
        assert_eq!(*reloaded.current(), 4444, "back again");
    }

    #[test]
    fn a_file_that_another_names_later_is_looked_at_too() {
        let dir = tempfile::tempdir().unwrap();
        let (first, named) = (dir.path().join("first"), dir.path().join("named"));
        fs::write(&first, "").unwrap();
        fs::write(&named, "1").unwrap();
        let (of, other) = (first.clone(), named.clone());
        let files = move || {
            let mut files = vec![of.clone()];
            files.extend(
                fs::read_to_string(&of)
                    .is_ok_and(|text| !text.is_empty())
                    .then(|| other.clone()),
            );
            files
        };
        let other = named.clone();
        let load = move || fs::read_to_string(&other).map_err(|error| error.to_string());
        let reloaded = Reloaded::try_new("texts", files, load).unwrap();
        fs::write(&named, "22").unwrap();
        reloaded.look();
        assert_eq!(*reloaded.current(), "1", "nobody named it");
        fs::write(&first, "named").unwrap();
        reloaded.look();
        fs::write(&named, "333").unwrap();
        reloaded.look();
        assert_eq!(*reloaded.current(), "333");
    }
}
