use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use klamm_connect_api::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::memory::{MemoryConfigLog, Records};
use super::record::compacted;
use super::{Appended, ConfigLog, ConfigLogError, ConfigRecord, LogPosition};

/// Configurations may hold secrets: nobody but the worker's user reads them.
const PRIVATE: u32 = 0o600;

/// A config log in one file of `state.dir`: a line an append, `<CRC-32C in hex> [{"key":…,"value":…}, …]`.
///
/// An append is acknowledged after `fdatasync`, and is in the log as a whole or not at all: a line that a crash tore off
/// at the end is cut when the log is opened. Superseded records are dropped then, and when they are most of the file, so it
/// does not grow for ever. One process owns the file: the lock of `state.dir` sees to that.
#[derive(Debug)]
pub struct FileConfigLog {
    path: PathBuf,
    writer: Mutex<Writer>,
    memory: MemoryConfigLog,
}

/// Bytes beyond twice those that still counted before the others are dropped.
const COMPACT_AFTER: u64 = 1024 * 1024;

#[derive(Debug)]
struct Writer {
    path: PathBuf,
    file: File,
    /// Length of the file when it was last compacted.
    compacted_to: u64,
    /// The file has its name, and it is unknown whether a crash would leave it that: nothing is acknowledged before.
    is_name_unsure: bool,
    /// Where a line begins that could be neither written nor taken back. It goes before anything is appended: in the
    /// middle of the file it would be damage.
    torn_at: Option<u64>,
}

impl Writer {
    fn new(path: PathBuf, file: File) -> Self {
        Self {
            path,
            compacted_to: file.metadata().map_or(0, |metadata| metadata.len()),
            file,
            is_name_unsure: false,
            torn_at: None,
        }
    }

    fn is_mostly_superseded(&self) -> bool {
        let length = self.file.metadata().map_or(0, |metadata| metadata.len());
        length > 2 * self.compacted_to + COMPACT_AFTER
    }

    /// Puts a file of these lines, which hold all that counts, in the place of the present one. Until it is there whole and
    /// durable, the present one counts.
    fn compact(&mut self, lines: &[u8]) -> io::Result<()> {
        let (beside, file) = write_beside(&self.path, lines)?;
        fs::rename(beside, &self.path)?;
        self.file = file;
        self.torn_at = None;
        self.compacted_to = lines.len() as u64;
        self.is_name_unsure = true;
        self.ensure_name()
    }

    fn ensure_name(&mut self) -> io::Result<()> {
        if self.is_name_unsure {
            sync_directory(&self.path)?;
            self.is_name_unsure = false;
        }
        Ok(())
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        self.ensure_name()?;
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
        let file = OpenOptions::new().append(true).create(true).mode(PRIVATE).open(&path);
        let file = file.map_err(|error| io_error(&path, "opened", error))?;
        let mut writer = Writer::new(path.clone(), file);
        if lines != bytes {
            writer
                .compact(&lines)
                .map_err(|error| io_error(&path, "written", error))?;
        }
        sync_directory(&path).map_err(|error| io_error(&path, "created", error))?;
        Ok(Self {
            path,
            writer: Mutex::new(writer),
            memory: MemoryConfigLog::with_records(records),
        })
    }

    fn persist(&self, present: &Records, new: &[ConfigRecord]) -> Result<(), ConfigLogError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let appended = writer.append(&line(new));
        appended.map_err(|error| io_error(&self.path, "written", error))?;
        if writer.is_mostly_superseded() {
            let records = compacted(present.all().chain(new).cloned().collect());
            let lines: Vec<u8> = records.chunks(1).flat_map(line).collect();
            if let Err(error) = writer.compact(&lines) {
                // What was appended is durable where it is.
                tracing::warn!(path = %self.path.display(), %error, "the config log cannot be compacted, it goes on growing");
            }
        }
        Ok(())
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
        Box::pin(async move {
            self.memory
                .append_now(expected_end, records, |present, new| self.persist(present, new))
        })
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
            // Appends are acknowledged one after the other, so only the last line can be torn: it has no end, or blocks in
            // it were never written, which read as zeros. Everything else that differs was once acknowledged.
            Err(_) if lines.peek().is_none() && (!line.ends_with(b"\n") || line.contains(&0)) => {
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

/// The file that is to take the place of `path`, written and durable, open for appends.
fn write_beside(path: &Path, bytes: &[u8]) -> io::Result<(PathBuf, File)> {
    let beside = path.with_extension("new");
    // What a crash left of an earlier one.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .append(true)
        .create_new(true)
        .mode(PRIVATE)
        .open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok((beside, file))
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

    /// A log of several appends, and after each of them its length and what is in it.
    async fn history(path: &Path) -> (Vec<u8>, Vec<(usize, Vec<ConfigRecord>)>) {
        let log = FileConfigLog::try_open(path).unwrap();
        let mut states = vec![(0, Vec::new())];
        let appends = [
            vec![target("a", TargetState::Paused), connector("a", Some("t1"))],
            vec![connector("b", Some("t2"))],
            vec![connector("a", Some("t3 \u{0}ü\n"))],
            vec![connector("b", None)],
            vec![connector("c", Some("t4"))],
        ];
        for append in appends {
            let end = *log.end().borrow();
            log.append_if(end, append).await.unwrap();
            let records = log.read(LogPosition(0)).await.unwrap().0;
            states.push((fs::read(path).unwrap().len(), compacted(records)));
        }
        (fs::read(path).unwrap(), states)
    }

    /// What a log of these bytes holds when it is opened, and that it takes appends and holds the same when it is opened
    /// again.
    async fn reopened(path: &Path, bytes: &[u8]) -> Vec<ConfigRecord> {
        fs::write(path, bytes).unwrap();
        let log = FileConfigLog::try_open(path).unwrap();
        let records = log.read(LogPosition(0)).await.unwrap().0;
        append(&log, connector("z", Some("t"))).await;
        drop(log);
        let again = FileConfigLog::try_open(path)
            .unwrap()
            .read(LogPosition(0))
            .await
            .unwrap()
            .0;
        assert_eq!(again, [&records[..], &[connector("z", Some("t"))]].concat());
        records
    }

    #[tokio::test]
    async fn a_kill_at_any_byte_keeps_every_append_that_was_acknowledged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.log");
        let (bytes, states) = history(&path).await;
        for cut in 0..=bytes.len() {
            let (_, wanted) = states.iter().rev().find(|(length, _)| *length <= cut).unwrap();
            assert_eq!(&reopened(&path, &bytes[..cut]).await, wanted, "cut at byte {cut}");
        }
    }

    // The length of a file may reach the disk before what it counts: blocks of zeros, with or without the line's end.
    #[tokio::test]
    async fn blocks_that_were_never_written_lose_only_the_append_that_was_not_acknowledged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.log");
        let (bytes, states) = history(&path).await;
        let [.., (begin, wanted), (end, _)] = &states[..] else {
            unreachable!("several appends")
        };
        for from in *begin..*end {
            for to in [from + 1, (from + end) / 2 + 1, *end] {
                let mut torn = bytes.clone();
                torn[from..to.min(*end)].fill(0);
                assert_eq!(&reopened(&path, &torn).await, wanted, "zeros from {from} to {to}");
            }
        }
        let zeros = [&bytes[..], &[0; 4096]].concat();
        assert_eq!(
            &reopened(&path, &zeros).await,
            &states[states.len() - 1].1,
            "an append of which nothing arrived"
        );
    }

    #[tokio::test]
    async fn a_log_that_is_written_to_for_ever_stays_small() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.log");
        let log = FileConfigLog::try_open(&path).unwrap();
        append(&log, connector("kept", Some("t"))).await;
        let topics = "t".repeat(100_000);
        let mut longest = 0;
        for _ in 0..100 {
            append(&log, connector("a", Some(&topics))).await;
            longest = longest.max(fs::metadata(&path).unwrap().len());
        }
        assert!(longest < 2 * COMPACT_AFTER, "{longest}");
        // What is acknowledged after a compaction is in the file that has the name.
        append(&log, connector("b", Some("u"))).await;
        drop(log);
        let records = FileConfigLog::try_open(&path)
            .unwrap()
            .read(LogPosition(0))
            .await
            .unwrap()
            .0;
        let wanted = [
            connector("kept", Some("t")),
            connector("a", Some(&topics)),
            connector("b", Some("u")),
        ];
        assert_eq!(records, wanted);
    }

    #[tokio::test]
    async fn a_kill_during_compaction_keeps_everything() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.log");
        let (bytes, states) = history(&path).await;
        let wanted = &states[states.len() - 1].1;
        FileConfigLog::try_open(&path).unwrap();
        let compacted = fs::read(&path).unwrap();
        assert!(compacted.len() < bytes.len());
        // The new file takes the old one's place when it is whole; until then the old one counts, whatever is beside it.
        for cut in 0..=compacted.len() {
            fs::write(path.with_extension("new"), &compacted[..cut]).unwrap();
            assert_eq!(&reopened(&path, &bytes).await, wanted, "cut at byte {cut}");
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
        let mut writer = Writer::new(path.clone(), file);
        writer.torn_at = torn_at;
        writer.append(&second).unwrap();
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
