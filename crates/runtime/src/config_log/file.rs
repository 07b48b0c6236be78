use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use klamm_connect_api::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::memory::MemoryConfigLog;
use super::{Appended, ConfigLog, ConfigLogError, ConfigRecord, LogPosition};

/// Configurations may hold secrets: nobody but the worker's user reads them.
const PRIVATE: u32 = 0o600;

/// A config log in one file of `state.dir`: a line a record, `<CRC-32C in hex> {"key":…,"value":…}`.
///
/// A record is acknowledged after `fdatasync`. A line that a crash tore off at the end is cut when the log is opened;
/// superseded records are dropped then, too, so the file does not grow for ever. One process owns the file: the lock of
/// `state.dir` sees to that.
#[derive(Debug)]
pub struct FileConfigLog {
    path: PathBuf,
    file: Mutex<File>,
    memory: MemoryConfigLog,
}

impl FileConfigLog {
    /// Opens the log, or starts an empty one.
    ///
    /// # Errors
    /// If the file cannot be read or written, or is damaged before its end.
    pub fn try_open(path: impl Into<PathBuf>) -> Result<Self, ConfigLogError> {
        let path = path.into();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(io_error(&path, "read", error)),
        };
        let records = compacted(parse(&path, &bytes)?);
        let lines: Vec<u8> = records.iter().flat_map(line).collect();
        if lines != bytes {
            replace(&path, &lines).map_err(|error| io_error(&path, "written", error))?;
        }
        let file = OpenOptions::new().append(true).create(true).mode(PRIVATE).open(&path);
        let file = file.map_err(|error| io_error(&path, "opened", error))?;
        sync_directory(&path).map_err(|error| io_error(&path, "created", error))?;
        Ok(Self {
            path,
            file: Mutex::new(file),
            memory: MemoryConfigLog::with_records(records),
        })
    }

    fn persist(&self, records: &[ConfigRecord]) -> Result<(), ConfigLogError> {
        let lines: Vec<u8> = records.iter().flat_map(line).collect();
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let before = file
            .metadata()
            .map_err(|error| io_error(&self.path, "read", error))?
            .len();
        file.write_all(&lines).and_then(|()| file.sync_data()).map_err(|error| {
            // A half-written line would end up in the middle of the file; without it the append did not happen.
            if let Err(error) = file.set_len(before) {
                tracing::error!(path = %self.path.display(), %error, "config log keeps a torn record, restart the worker to cut it");
            }
            io_error(&self.path, "written", error)
        })
    }
}

impl ConfigLog for FileConfigLog {
    fn read(&self, position: LogPosition) -> BoxFuture<'_, Result<(Vec<ConfigRecord>, LogPosition), ConfigLogError>> {
        Box::pin(async move { Ok(self.memory.read_now(position)) })
    }

    fn append_if(
        &self,
        expected_end: LogPosition,
        records: Vec<ConfigRecord>,
    ) -> BoxFuture<'_, Result<Appended, ConfigLogError>> {
        Box::pin(async move { self.memory.append_now(expected_end, records, |new| self.persist(new)) })
    }

    fn end(&self) -> watch::Receiver<LogPosition> {
        self.memory.end()
    }
}

fn io_error(path: &Path, verb: &'static str, source: io::Error) -> ConfigLogError {
    ConfigLogError::Io {
        path: path.display().to_string(),
        verb,
        source,
    }
}

fn line(record: &ConfigRecord) -> Vec<u8> {
    let (key, value) = record.encode();
    let text = json!({ "key": key, "value": value }).to_string();
    format!("{:08x} {text}\n", crc32c::crc32c(text.as_bytes())).into_bytes()
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<ConfigRecord>, ConfigLogError> {
    let mut records = Vec::new();
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        match parse_line(line) {
            Ok(record) => records.push(record),
            // Appends are acknowledged one after the other, so only the last line can be torn.
            Err(_) if lines.peek().is_none() && !line.ends_with(b"\n") => {
                tracing::warn!(path = %path.display(), line = index + 1, "cut a torn record off the config log");
            }
            Err(what) => {
                return Err(ConfigLogError::Damaged {
                    path: path.display().to_string(),
                    line: index + 1,
                    what,
                });
            }
        }
    }
    Ok(records)
}

fn parse_line(line: &[u8]) -> Result<ConfigRecord, String> {
    let line = line.strip_suffix(b"\n").ok_or("no end of line")?;
    let line = std::str::from_utf8(line).map_err(|_| "not UTF-8")?;
    let (crc, text) = line.split_once(' ').ok_or("no checksum")?;
    if u32::from_str_radix(crc, 16) != Ok(crc32c::crc32c(text.as_bytes())) {
        return Err("the checksum differs".to_owned());
    }
    let mut value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let record = value.get_mut("value").map(Value::take).ok_or("no member `value`")?;
    let key = value.get("key").and_then(Value::as_str).ok_or("no member `key`")?;
    ConfigRecord::decode(key, record)
}

/// What a replay would end with: the last record of each key, deleted connectors and old restarts left out.
fn compacted(records: Vec<ConfigRecord>) -> Vec<ConfigRecord> {
    let last: HashMap<String, usize> = records
        .iter()
        .enumerate()
        .map(|(i, record)| (record.encode().0, i))
        .collect();
    let is_live = |(i, record): &(usize, ConfigRecord)| {
        last.get(&record.encode().0) == Some(i)
            && match record {
                ConfigRecord::Connector { config, .. } => config.is_some(),
                ConfigRecord::TargetState { state, .. } => state.is_some(),
                ConfigRecord::Restart { .. } => false,
            }
    };
    records
        .into_iter()
        .enumerate()
        .filter(is_live)
        .map(|(_, record)| record)
        .collect()
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(PRIVATE)
        .open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    sync_directory(path)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config_log::{Restart, TargetState};

    fn connector(name: &str, topics: Option<&str>) -> ConfigRecord {
        let config = topics.map(|topics| [("topics".to_owned(), topics.to_owned())].into());
        ConfigRecord::Connector {
            name: name.to_owned(),
            config,
        }
    }

    fn target(name: &str, state: TargetState) -> ConfigRecord {
        ConfigRecord::TargetState {
            name: name.to_owned(),
            state: Some(state),
        }
    }

    async fn append(log: &FileConfigLog, record: ConfigRecord) -> Appended {
        let end = *log.end().borrow();
        log.append_if(end, vec![record]).await.unwrap()
    }

    #[tokio::test]
    async fn records_survive_and_superseded_ones_go_when_the_log_is_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.log");
        let log = FileConfigLog::try_open(&path).unwrap();
        append(&log, connector("a", Some("t1"))).await;
        append(&log, connector("b", Some("t2"))).await;
        append(&log, connector("a", Some("t3"))).await;
        append(&log, target("a", TargetState::Stopped)).await;
        append(&log, connector("b", None)).await;
        let restart = Restart {
            include_tasks: true,
            only_failed: false,
        };
        append(
            &log,
            ConfigRecord::Restart {
                name: "a".to_owned(),
                restart,
            },
        )
        .await;
        drop(log);

        let (records, end) = FileConfigLog::try_open(&path)
            .unwrap()
            .read(LogPosition(0))
            .await
            .unwrap();
        assert_eq!(records, [connector("a", Some("t3")), target("a", TargetState::Stopped)]);
        assert_eq!(end, LogPosition(2));
    }

    #[tokio::test]
    async fn nobody_else_may_read_the_file() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.log");
        append(&FileConfigLog::try_open(&path).unwrap(), connector("a", Some("t1"))).await;
        FileConfigLog::try_open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn an_overtaken_writer_gets_the_present_end_and_writes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let log = FileConfigLog::try_open(dir.path().join("config.log")).unwrap();
        append(&log, connector("a", Some("t1"))).await;
        let overtaken = log
            .append_if(LogPosition(0), vec![connector("a", Some("t2"))])
            .await
            .unwrap();
        assert_eq!(overtaken, Appended::Conflict(LogPosition(1)));
        assert_eq!(log.read(LogPosition(0)).await.unwrap().0, [connector("a", Some("t1"))]);
    }

    #[tokio::test]
    async fn a_crash_at_any_byte_of_an_append_loses_only_that_append() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.log");
        let first: Vec<u8> = line(&connector("a", Some("t1")));
        let second: Vec<u8> = line(&connector("b", Some("t2")));
        for cut in 0..second.len() {
            fs::write(&path, [&first[..], &second[..cut]].concat()).unwrap();
            let log = FileConfigLog::try_open(&path).unwrap();
            assert_eq!(
                log.read(LogPosition(0)).await.unwrap().0,
                [connector("a", Some("t1"))],
                "cut at byte {cut}"
            );
        }
    }

    #[test]
    fn damage_before_the_end_is_refused_with_the_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.log");
        let mut bytes: Vec<u8> = [connector("a", Some("t1")), connector("b", Some("t2"))]
            .iter()
            .flat_map(line)
            .collect();
        bytes[20] ^= 1;
        fs::write(&path, bytes).unwrap();
        let error = FileConfigLog::try_open(&path).unwrap_err().to_string();
        assert!(error.contains("is damaged at line 1 (the checksum differs)"), "{error}");
    }
}
