//! The data directory: what outlives a restart.
//!
//! `topics.json` names the topics; `logs/ID/PARTITION.log` holds their batches one after the other, `.start` the first
//! offset where it is not the first batch's; `offsets.json` and `producers.json` hold what groups committed and the
//! next producer id, at most a second old after a crash. Nothing is synced to the disk: what the operating system did
//! not write when it went down is lost. A file that ends within a batch is cut there.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::batch::{Header, has_valid_crc};
use super::log::{Log, Stored};

/// A file is written anew when it is this much larger than what the log still holds, and twice as large.
const SLACK_BYTES: u64 = 1024 * 1024;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SavedTopic {
    pub(crate) name: String,
    #[serde(with = "as_text")]
    pub(crate) id: Uuid,
    pub(crate) partitions: i32,
    pub(crate) replication_factor: i16,
    pub(crate) configs: BTreeMap<String, String>,
}

mod as_text {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};
    use uuid::Uuid;

    pub(super) fn serialize<S: Serializer>(id: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Uuid, D::Error> {
        let text = String::deserialize(deserializer)?;
        Uuid::parse_str(&text).map_err(D::Error::custom)
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SavedOffset {
    pub(crate) group: String,
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: String,
    pub(crate) committed_ms: i64,
}

#[derive(Debug, Default)]
pub(crate) struct Saved {
    pub(crate) topics: Vec<SavedTopic>,
    pub(crate) offsets: Vec<SavedOffset>,
    pub(crate) next_producer_id: i64,
}

#[derive(Debug)]
pub(crate) struct Storage {
    dir: PathBuf,
    saved_producer_id: AtomicI64,
}

impl Storage {
    pub(crate) fn open(dir: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(dir.join("logs"))?;
        Ok(Self {
            dir,
            saved_producer_id: AtomicI64::new(-1),
        })
    }

    pub(crate) fn load(&self) -> io::Result<Saved> {
        Ok(Saved {
            topics: self.read_json("topics.json")?.unwrap_or_default(),
            offsets: self.read_json("offsets.json")?.unwrap_or_default(),
            next_producer_id: self.read_json("producers.json")?.unwrap_or_default(),
        })
    }

    pub(crate) fn save_topics(&self, topics: Vec<SavedTopic>) -> io::Result<()> {
        self.write_json("topics.json", &topics)
    }

    pub(crate) fn save_offsets(&self, offsets: Vec<SavedOffset>) -> io::Result<()> {
        self.write_json("offsets.json", &offsets)
    }

    pub(crate) fn save_next_producer_id(&self, id: i64) -> io::Result<()> {
        if self.saved_producer_id.swap(id, Ordering::Relaxed) == id {
            return Ok(());
        }
        self.write_json("producers.json", &id)
    }

    fn read_json<T: DeserializeOwned>(&self, name: &str) -> io::Result<Option<T>> {
        let path = self.dir.join(name);
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|err| io::Error::other(format!("{} cannot be read: {err}", path.display()))),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(err) => Err(err),
        }
    }

    /// All of it or nothing: by a new file that takes the old one's name.
    fn write_json(&self, name: &str, value: &impl Serialize) -> io::Result<()> {
        let path = self.dir.join(name);
        let new = path.with_extension("new");
        fs::write(&new, serde_json::to_vec_pretty(value).map_err(io::Error::other)?)?;
        fs::rename(new, path)
    }

    pub(crate) fn open_log(&self, topic: Uuid, partition: i32, now_ms: i64) -> io::Result<(Log, LogFile)> {
        let dir = self.dir.join("logs").join(topic.to_string());
        fs::create_dir_all(&dir)?;
        LogFile::open(dir.join(format!("{partition}.log")), now_ms)
    }

    /// Files that cannot be removed are left: no topic has this id any more.
    pub(crate) fn delete(&self, topic: Uuid) {
        let dir = self.dir.join("logs").join(topic.to_string());
        if let Err(err) = fs::remove_dir_all(&dir) {
            tracing::warn!(dir = %dir.display(), error = %err, "the files of a deleted topic stay");
        }
    }
}

/// The file of a partition.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    file: File,
    size: u64,
    start_offset: i64,
}

impl LogFile {
    fn open(path: PathBuf, now_ms: i64) -> io::Result<(Log, Self)> {
        let mut log = Log::default();
        let start_offset = read_start(&path)?;
        let bytes = match fs::read(&path) {
            Ok(bytes) => Bytes::from(bytes),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Bytes::new(),
            Err(err) => return Err(err),
        };
        let mut rest = bytes.clone();
        while let Ok(header) = Header::parse(&rest)
            && rest.get(..header.size).is_some_and(has_valid_crc)
        {
            // A copy, so that retention can free the file's bytes batch by batch.
            let batch = Bytes::copy_from_slice(&rest.split_to(header.size));
            if !log.restore(batch, header, now_ms) {
                break;
            }
        }
        log.restore_start(start_offset);
        log.delete_before(start_offset.min(log.end_offset())).ok();
        let size = u64::try_from(bytes.len() - rest.len()).unwrap_or(u64::MAX);
        if !rest.is_empty() {
            tracing::warn!(path = %path.display(), bytes = rest.len(), "a log is cut after its last whole batch");
        }
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)?;
        file.set_len(size)?;
        file.seek(SeekFrom::End(0))?;
        let this = Self {
            path,
            file,
            size,
            start_offset,
        };
        Ok((log, this))
    }

    pub(crate) fn append(&mut self, stored: &Stored) -> io::Result<()> {
        self.file.write_all(&stored.bytes)?;
        self.size = self
            .size
            .saturating_add(u64::try_from(stored.bytes.len()).unwrap_or(u64::MAX));
        Ok(())
    }

    /// Keeps up with a log that lost records: its start at once, its bytes when that is worth it.
    pub(crate) fn rewrite(&mut self, log: &Log) -> io::Result<()> {
        if log.start_offset() != self.start_offset {
            self.start_offset = log.start_offset();
            fs::write(start_path(&self.path), self.start_offset.to_string())?;
        }
        if self.size < log.size().saturating_mul(2).saturating_add(SLACK_BYTES) {
            return Ok(());
        }
        self.replace(log)
    }

    /// Writes all of a log that was changed at its end.
    pub(crate) fn replace(&mut self, log: &Log) -> io::Result<()> {
        let new = self.path.with_extension("new");
        let mut file = File::create(&new)?;
        for stored in log.batches() {
            file.write_all(&stored.bytes)?;
        }
        fs::rename(&new, &self.path)?;
        self.file = file;
        self.size = log.size();
        Ok(())
    }
}

fn start_path(log: &Path) -> PathBuf {
    log.with_extension("start")
}

fn read_start(log: &Path) -> io::Result<i64> {
    match fs::read_to_string(start_path(log)) {
        Ok(text) => Ok(text.trim().parse().unwrap_or(0)),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(err) => Err(err),
    }
}
