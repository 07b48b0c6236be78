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

/// A config log in one file of `state.dir`: a line an append, `<CRC-32C in hex> [{"key":…,"value":…}, …]`.
///
/// An append is acknowledged after `fdatasync`, and is in the log as a whole or not at all: a line that a crash tore off
/// at the end is cut when the log is opened. Superseded records are dropped then, too, so the file does not grow for
/// ever. One process owns the file: the lock of `state.dir` sees to that.
#[derive(Debug)]
pub struct FileConfigLog {
    path: PathBuf,
    writer: Mutex<Writer>,
    memory: MemoryConfigLog,
}

#[derive(Debug)]
struct Writer {
    file: File,
    /// Where a line begins that could be neither written nor taken back. It goes before anything is appended: in the
    /// middle of the file it would be damage.
    torn_at: Option<u64>,
}

impl Writer {
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if let Some(end) = self.torn_at {
            self.file.set_len(end)?;
            self.torn_at = None;
        }
        let before = self.file.metadata()?.len();
        self.file
            .write_all(line)
            .and_then(|()| self.file.sync_data())
            .inspect_err(|_| {
                if self.file.set_len(before).is_err() {
                    self.torn_at = Some(before);
                }
            })
    }
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
        let lines: Vec<u8> = records.chunks(1).flat_map(line).collect();
        if lines != bytes {
            replace(&path, &lines).map_err(|error| io_error(&path, "written", error))?;
        }
        let file = OpenOptions::new().append(true).create(true).mode(PRIVATE).open(&path);
        let file = file.map_err(|error| io_error(&path, "opened", error))?;
        sync_directory(&path).map_err(|error| io_error(&path, "created", error))?;
        Ok(Self {
            path,
            writer: Mutex::new(Writer { file, torn_at: None }),
            memory: MemoryConfigLog::with_records(records),
        })
    }

    fn persist(&self, records: &[ConfigRecord]) -> Result<(), ConfigLogError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer
            .append(&line(records))
            .map_err(|error| io_error(&self.path, "written", error))
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

fn line(records: &[ConfigRecord]) -> Vec<u8> {
    let records = records.iter().map(|record| {
        let (key, value) = record.encode();
        json!({ "key": key, "value": value })
    });
    let text = Value::from_iter(records).to_string();
    format!("{:08x} {text}\n", crc32c::crc32c(text.as_bytes())).into_bytes()
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<ConfigRecord>, ConfigLogError> {
    let mut records = Vec::new();
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        match parse_line(line) {
            Ok(appended) => records.extend(appended),
            // Appends are acknowledged one after the other, so only the last line can be torn.
            Err(_) if lines.peek().is_none() && !line.ends_with(b"\n") => {
                tracing::warn!(path = %path.display(), line = index + 1, "cut a torn append off the config log");
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

fn parse_line(line: &[u8]) -> Result<Vec<ConfigRecord>, String> {
    let line = line.strip_suffix(b"\n").ok_or("no end of line")?;
    let line = std::str::from_utf8(line).map_err(|_| "not UTF-8")?;
    let (crc, text) = line.split_once(' ').ok_or("no checksum")?;
    if u32::from_str_radix(crc, 16) != Ok(crc32c::crc32c(text.as_bytes())) {
        return Err("the checksum differs".to_owned());
    }
    let records: Vec<Value> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let decode = |mut record: Value| {
        let value = record.get_mut("value").map(Value::take).ok_or("no member `value`")?;
        let key = record.get("key").and_then(Value::as_str).ok_or("no member `key`")?;
        ConfigRecord::decode(key, value)
    };
    records.into_iter().map(decode).collect()
}

/// What a replay would end with: the last record of each key; deleted connectors and old restarts left out.
fn compacted(records: Vec<ConfigRecord>) -> Vec<ConfigRecord> {
    let mut last = HashMap::new();
    let mut has_config = HashMap::new();
    for (i, record) in records.iter().enumerate() {
        last.insert(record.encode().0, i);
        if let ConfigRecord::Connector { name, config } = record {
            has_config.insert(name.clone(), config.is_some());
        }
    }
    let is_live = |(i, record): &(usize, ConfigRecord)| {
        let is_wanted = match record {
            ConfigRecord::Connector { config, .. } => config.is_some(),
            ConfigRecord::TargetState { name, state } => state.is_some() && has_config.get(name) == Some(&true),
            ConfigRecord::Restart { .. } => false,
        };
        is_wanted && last.get(&record.encode().0) == Some(i)
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
        let first: Vec<u8> = line(&[connector("a", Some("t1"))]);
        // A connector that is created stopped: with its target state alone, a later one of that name would not run.
        let second: Vec<u8> = line(&[target("b", TargetState::Stopped), connector("b", Some("t2"))]);
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

    // A torn line that stays was in the middle of the file after the next append, and no worker started any more.
    #[test]
    fn a_torn_line_that_could_not_be_taken_back_goes_before_the_next_append() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.log");
        let first = line(&[connector("a", Some("t1"))]);
        fs::write(&path, [&first[..], b"0badbad [{"].concat()).unwrap();
        let file = OpenOptions::new().append(true).open(&path).unwrap();
        let torn_at = Some(u64::try_from(first.len()).unwrap());
        let second = line(&[connector("b", Some("t2"))]);
        Writer { file, torn_at }.append(&second).unwrap();
        assert_eq!(fs::read(&path).unwrap(), [first, second].concat());
    }

    #[test]
    fn damage_before_the_end_is_refused_with_the_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.log");
        let mut bytes: Vec<u8> = [connector("a", Some("t1")), connector("b", Some("t2"))]
            .chunks(1)
            .flat_map(line)
            .collect();
        bytes[20] ^= 1;
        fs::write(&path, bytes).unwrap();
        let error = FileConfigLog::try_open(&path).unwrap_err().to_string();
        assert!(error.contains("is damaged at line 1 (the checksum differs)"), "{error}");
    }
}
