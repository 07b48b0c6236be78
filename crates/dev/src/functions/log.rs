//! What a process writes: its lines for whoever watches, its last 4 KB for `X-Amz-Log-Result`.

use std::fs::File;
use std::io::{self, PipeReader, Read as _};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::unix::pipe;

use super::happening::{Happening, Watcher};

/// What `X-Amz-Log-Result` holds.
const TAIL_BYTES: usize = 4 * 1024;
/// A longer line is cut in pieces.
const LINE_BYTES: usize = 16 * 1024;
/// Read at one go; then others have their turn.
const DRAINED_BYTES: usize = 1024 * 1024;

/// The log of one process.
#[derive(Debug)]
pub(super) struct Log {
    /// The same end of the pipe as the reader's, read without tokio.
    pipe: File,
    function: Arc<str>,
    watcher: Watcher,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The beginning of a line whose end did not come yet.
    line: Vec<u8>,
    /// At most twice the tail's size.
    tail: Vec<u8>,
}

/// Reads until all who could write are gone.
pub(super) struct Reader {
    log: Arc<Log>,
    pipe: pipe::Receiver,
}

impl Log {
    pub(super) fn try_new(pipe: PipeReader, function: Arc<str>, watcher: Watcher) -> io::Result<(Arc<Self>, Reader)> {
        let pipe = OwnedFd::from(pipe);
        let direct = File::from(pipe.try_clone()?);
        // This makes reads of both return at once.
        let pipe = pipe::Receiver::from_owned_fd(pipe)?;
        let log = Arc::new(Self {
            pipe: direct,
            function,
            watcher,
            state: Mutex::default(),
        });
        let reader = Reader {
            log: Arc::clone(&log),
            pipe,
        };
        Ok((log, reader))
    }

    /// Held for a few lines, never across an await.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what was written before now: a handler's output reached the pipe before its answer was sent, so nothing
    /// of a call that has answered is missing afterwards.
    pub(super) fn catch_up(&self) {
        let mut state = self.lock();
        let mut buffer = [0; 16 * 1024];
        let mut pipe = &self.pipe;
        let mut left = DRAINED_BYTES;
        while left > 0 {
            match pipe.read(&mut buffer) {
                Ok(0) => return,
                Ok(n) => {
                    let (read, _) = buffer.split_at(n);
                    self.take_in(&mut state, read);
                    left = left.saturating_sub(n);
                }
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                // Nothing more for now; what else can be wrong with a pipe ends the reader, too.
                Err(_) => return,
            }
        }
    }

    /// A line of Lambda's own: START, END, REPORT. It goes into the tail only.
    pub(super) fn note(&self, line: &str) {
        let mut state = self.lock();
        // A handler that did not end its line does not swallow ours.
        if !state.tail.is_empty() && !state.tail.ends_with(b"\n") {
            state.append(b"\n");
        }
        state.append(line.as_bytes());
        state.append(b"\n");
    }

    /// The last 4 KB since the last call ended, which begins a new one. Tells the rest of an unfinished line.
    pub(super) fn end_call(&self) -> Vec<u8> {
        let mut state = self.lock();
        let rest = std::mem::take(&mut state.line);
        if !rest.is_empty() {
            self.tell(&rest);
        }
        let tail = std::mem::take(&mut state.tail);
        let begin = tail.len().saturating_sub(TAIL_BYTES);
        tail.get(begin..).unwrap_or_default().to_vec()
    }

    fn take_in(&self, state: &mut State, bytes: &[u8]) {
        state.append(bytes);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, is_whole) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            for part in text.chunks(LINE_BYTES) {
                if state.line.len() + part.len() > LINE_BYTES {
                    self.tell(&std::mem::take(&mut state.line));
                }
                state.line.extend_from_slice(part);
            }
            if is_whole {
                self.tell(&std::mem::take(&mut state.line));
            }
        }
    }

    fn tell(&self, line: &[u8]) {
        self.watcher.tell(&Happening::Line {
            function: Arc::clone(&self.function),
            text: String::from_utf8_lossy(line).trim_end_matches('\r').into(),
        });
    }
}

impl State {
    fn append(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        if self.tail.len() > 2 * TAIL_BYTES {
            self.tail.drain(..self.tail.len() - TAIL_BYTES);
        }
    }
}

impl Reader {
    /// Ends when nobody is left who could write: the process and all that it started are gone.
    pub(super) async fn run(self) {
        let mut buffer = vec![0; 16 * 1024];
        while self.pipe.readable().await.is_ok() {
            let mut state = self.log.lock();
            let mut left = DRAINED_BYTES;
            while left > 0 {
                match self.pipe.try_read(&mut buffer) {
                    Ok(0) => return,
                    Ok(n) => {
                        self.log.take_in(&mut state, buffer.get(..n).unwrap_or_default());
                        left = left.saturating_sub(n);
                    }
                    Err(err) if err.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => return,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[tokio::test]
    async fn lines_are_told_whole_and_the_tail_is_the_last_4_kilobytes() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&told);
        let watcher = Watcher::new(move |happening| match happening {
            Happening::Line { text, .. } => keep.lock().unwrap().push(text.to_string()),
            other => panic!("{other:?}"),
        });
        let lines = || std::mem::take(&mut *told.lock().unwrap());
        let (reader, mut writer) = io::pipe().unwrap();
        let (log, _reader) = Log::try_new(reader, "f".into(), watcher).unwrap();
        writer.write_all("one\r\ntw".as_bytes()).unwrap();
        log.catch_up();
        assert_eq!(lines(), ["one"]);
        writer.write_all(b"o\n\nthree").unwrap();
        log.catch_up();
        log.note("END");
        assert_eq!(log.end_call(), b"one\r\ntwo\n\nthree\nEND\n");
        assert_eq!(lines(), ["two", "", "three"]);

        writer.write_all(&[b'x'; LINE_BYTES + 10]).unwrap();
        log.catch_up();
        log.note("END");
        let tail = log.end_call();
        assert_eq!((tail.len(), tail.ends_with(b"xx\nEND\n")), (TAIL_BYTES, true));
        assert_eq!(lines().iter().map(String::len).collect::<Vec<_>>(), [LINE_BYTES, 10]);
    }
}
