//! `state.dir`: what a worker keeps over its end, and the lock that lets one process use it.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tracing::warn;

/// Why a worker cannot use its `state.dir`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateDirError {
    /// Another process runs on it.
    #[error("`state.dir` {path} is in use by another worker: stop it, or give this one a directory of its own")]
    Locked {
        /// The directory.
        path: String,
    },
    /// The file system refused.
    #[error("`state.dir` {path} cannot be used: check that it is a writable directory")]
    Io {
        /// The directory or a file in it.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A consumer group member of this worker. Left behind by a kill -9, it holds its partitions until its session
/// expires, unless the next life sends LeaveGroup for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct MemberRecord {
    pub(crate) group: String,
    pub(crate) member_id: String,
}

const MEMBERS: &str = "members.json";

/// An open and locked `state.dir`. The lock ends with the process.
#[derive(Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
    members: Mutex<BTreeSet<MemberRecord>>,
    /// Of the last life, not taken yet.
    left_behind: Mutex<Vec<MemberRecord>>,
    _lock: File,
}

impl StateDir {
    /// Creates the directory if need be and locks it.
    pub(crate) fn try_open(path: &Path) -> Result<Self, StateDirError> {
        let io_error = |path: &Path| {
            let path = path.display().to_string();
            move |source| StateDirError::Io { path, source }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(io_error(path))?;
        let lock_path = path.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&lock_path)
            .map_err(io_error(&lock_path))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => StateDirError::Locked {
                path: path.display().to_string(),
            },
            TryLockError::Error(source) => StateDirError::Io {
                path: lock_path.display().to_string(),
                source,
            },
        })?;
        Ok(Self {
            path: path.to_owned(),
            members: Mutex::default(),
            left_behind: Mutex::new(left_behind(&path.join(MEMBERS))),
            _lock: lock,
        })
    }

    pub(crate) fn config_log(&self) -> PathBuf {
        self.path.join("config.log")
    }

    fn members_path(&self) -> PathBuf {
        self.path.join(MEMBERS)
    }

    /// The members of `group` that the last life of this worker left behind; each is given out once, to whoever lets
    /// it leave.
    pub(crate) fn take_left_behind(&self, group: &str) -> Vec<MemberRecord> {
        let mut left_behind = self.left_behind.lock().unwrap_or_else(PoisonError::into_inner);
        left_behind.extract_if(.., |member| member.group == group).collect()
    }

    /// Notes a member before it takes part in its group.
    pub(crate) fn joined(&self, member: MemberRecord) {
        self.change(|members| members.insert(member));
    }

    /// Forgets a member that left.
    pub(crate) fn left(&self, member: &MemberRecord) {
        self.change(|members| members.remove(member));
    }

    fn change(&self, change: impl FnOnce(&mut BTreeSet<MemberRecord>) -> bool) {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        if !change(&mut members) {
            return;
        }
        let path = self.members_path();
        let new = path.with_extension("new");
        let written = serde_json::to_vec(&*members)
            .map_err(io::Error::other)
            .and_then(|bytes| {
                File::create(&new)?.write_all(&bytes)?;
                fs::rename(&new, &path)
            });
        if let Err(error) = written {
            warn!(path = %path.display(), %error, "member ids cannot be kept: after a crash their sessions must expire");
        }
    }
}

/// A file that does not read back costs a session time-out at most, so it is only warned about.
fn left_behind(path: &Path) -> Vec<MemberRecord> {
    let unreadable = |error: &dyn std::error::Error| {
        warn!(path = %path.display(), %error, "member ids of the last run cannot be read, their sessions must expire");
        Vec::new()
    };
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| unreadable(&error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => unreadable(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_serves_one_worker_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = StateDir::try_open(dir.path()).unwrap();
        let second = StateDir::try_open(dir.path()).unwrap_err();
        assert!(matches!(second, StateDirError::Locked { .. }), "{second}");
        drop(first);
        StateDir::try_open(dir.path()).unwrap();
    }

    #[test]
    fn members_that_did_not_leave_are_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let member = |id: &str| MemberRecord {
            group: "connect-a".to_owned(),
            member_id: id.to_owned(),
        };
        let life = StateDir::try_open(dir.path()).unwrap();
        life.joined(member("m1"));
        life.joined(member("m2"));
        life.left(&member("m1"));
        drop(life);
        let next = StateDir::try_open(dir.path()).unwrap();
        assert_eq!(next.take_left_behind("connect-b"), []);
        assert_eq!(next.take_left_behind("connect-a"), [member("m2")]);
        assert_eq!(next.take_left_behind("connect-a"), [], "only once");
    }
}
