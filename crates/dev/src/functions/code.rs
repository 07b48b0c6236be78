//! Whether code changed: a fingerprint of names, times and sizes of the source files.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::handler::{Handler, Language};

/// Files that are looked at; further ones change nothing.
const FILES: usize = 2_000;
/// Folders below the task root that hold no code of the function itself.
const SKIPPED: &[&str] = &["node_modules", "__pycache__", "target", "venv", "site-packages"];
/// A look that took a while is repeated no sooner than this many times as long.
const REST: u32 = 10;

/// What the fingerprint is made of.
#[derive(Debug)]
pub(super) struct Code {
    file: PathBuf,
    root: PathBuf,
    extensions: &'static [&'static str],
    last: Mutex<Option<Look>>,
}

#[derive(Clone, Copy, Debug)]
struct Look {
    fingerprint: u64,
    next: Instant,
}

impl Code {
    pub(super) fn of(handler: &Handler) -> Arc<Self> {
        Arc::new(Self {
            file: handler.file.clone(),
            root: handler.root.clone(),
            extensions: match handler.language {
                Language::Python => &["py"],
                Language::Node => &["js", "mjs", "cjs"],
                Language::Executable => &[],
            },
            last: Mutex::new(None),
        })
    }

    /// The fingerprint now: a look at the files takes microseconds, so each call can afford one.
    pub(super) async fn fingerprint(self: &Arc<Self>) -> u64 {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = last
            && Instant::now() < last.next
        {
            return last.fingerprint;
        }
        let code = Arc::clone(self);
        let began = Instant::now();
        let looked = tokio::task::spawn_blocking(move || code.look()).await;
        // Nothing in `look` panics; at the runtime's end an old fingerprint does no harm.
        let fingerprint = looked.unwrap_or_else(|_| last.map_or(0, |last| last.fingerprint));
        let took = began.elapsed();
        let rest = if took < Duration::from_millis(1) {
            Duration::ZERO
        } else {
            took * REST
        };
        let next = Instant::now() + rest;
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Look { fingerprint, next });
        fingerprint
    }

    fn look(&self) -> u64 {
        let mut files = vec![self.file.clone()];
        if !self.extensions.is_empty() {
            self.collect(&mut files);
        }
        // The order of a folder is no part of its content.
        files.sort();
        let mut hasher = DefaultHasher::new();
        for file in files {
            let metadata = file.metadata().ok();
            file.hash(&mut hasher);
            metadata.as_ref().map(std::fs::Metadata::len).hash(&mut hasher);
            metadata.and_then(|metadata| metadata.modified().ok()).hash(&mut hasher);
        }
        hasher.finish()
    }

    fn collect(&self, files: &mut Vec<PathBuf>) {
        let mut folders = vec![self.root.clone()];
        let mut seen = 0;
        while let Some(folder) = folders.pop() {
            let Ok(entries) = std::fs::read_dir(&folder) else {
                continue;
            };
            for entry in entries.flatten() {
                seen += 1;
                if seen > FILES {
                    return;
                }
                let path = entry.path();
                let name = entry.file_name();
                let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else {
                    continue;
                };
                // A link to a folder is not followed: it could lead round in a circle.
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    if !SKIPPED.contains(&name) {
                        folders.push(path);
                    }
                } else if has_extension(&path, self.extensions) && path != self.file {
                    files.push(path);
                }
            }
        }
    }
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|extension| extensions.contains(&extension))
}
