//! What people see: lines, and in a terminal a view below them that moves.

use std::io::{self, IsTerminal as _, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc};

use super::board::Board;

/// Lines that wait to be shown.
const QUEUE: usize = 4_096;

/// Standard output, shared by all who have something to say.
#[derive(Debug)]
pub(super) struct Show {
    board: Arc<Board>,
    screen: Mutex<Screen>,
    gone: Notify,
}

#[derive(Debug)]
struct Screen {
    lines: mpsc::Receiver<String>,
    /// A terminal, which can take lines back.
    is_live: bool,
    /// The view as it stands below the lines.
    view: Vec<String>,
    is_gone: bool,
}

impl Show {
    /// With a view that moves, if it is wanted and standard output is a terminal.
    pub(super) fn new(wants_view: bool) -> Self {
        let (lines, waiting) = mpsc::channel(QUEUE);
        Self {
            board: Arc::new(Board::new(lines)),
            screen: Mutex::new(Screen {
                lines: waiting,
                is_live: wants_view && io::stdout().is_terminal(),
                view: Vec::new(),
                is_gone: false,
            }),
            gone: Notify::new(),
        }
    }

    pub(super) fn board(&self) -> Arc<Board> {
        Arc::clone(&self.board)
    }

    /// Where log lines go: among the others, so that they do not run into the view.
    pub(super) fn log(&self) -> impl Fn() -> LogLine + Send + Sync + 'static {
        let board = self.board();
        move || LogLine {
            board: Arc::clone(&board),
            text: Vec::new(),
        }
    }

    pub(super) fn line(&self, line: &str) {
        self.board.line(line.to_owned());
        self.refresh();
    }

    /// Shows what there is to show.
    pub(super) fn refresh(&self) {
        let mut screen = self.screen();
        if screen.is_gone {
            return;
        }
        if screen.write(&self.board).is_err() {
            // Whoever read the output has seen enough.
            screen.is_gone = true;
            self.gone.notify_one();
        }
    }

    /// Waits until nobody reads any more.
    pub(super) async fn gone(&self) {
        self.gone.notified().await;
    }

    /// Shows what is left and leaves the view as it stands.
    pub(super) fn close(&self) {
        self.refresh();
        self.screen().view.clear();
    }

    /// Held while lines are written, never across an await.
    fn screen(&self) -> MutexGuard<'_, Screen> {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Screen {
    fn write(&mut self, board: &Board) -> io::Result<()> {
        let view = if self.is_live { board.view() } else { Vec::new() };
        let mut text = Vec::new();
        while let Ok(line) = self.lines.try_recv() {
            writeln!(text, "{line}")?;
        }
        let missed = board.missed();
        if missed > 0 {
            writeln!(text, "… {missed} more lines were not shown")?;
        }
        if text.is_empty() && view == self.view {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        if self.is_live {
            // Back to the first line of the view, and all below is gone.
            if !self.view.is_empty() {
                write!(out, "\x1b[{}A\r\x1b[J", self.view.len())?;
            }
            out.write_all(&text)?;
            // A view that is wider than the terminal is cut, so that each of its lines takes one.
            write!(out, "\x1b[?7l")?;
            for line in &view {
                writeln!(out, "{line}")?;
            }
            write!(out, "\x1b[?7h")?;
            self.view = view;
        } else {
            out.write_all(&text)?;
        }
        out.flush()
    }
}

/// A line of the log, shown when it is whole.
#[derive(Debug)]
pub(super) struct LogLine {
    board: Arc<Board>,
    text: Vec<u8>,
}

impl Write for LogLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogLine {
    fn drop(&mut self) {
        let text = String::from_utf8_lossy(&self.text);
        self.board.line(text.trim_end().to_owned());
    }
}
