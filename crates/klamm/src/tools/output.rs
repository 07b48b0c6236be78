//! Standard output.

use std::io::{self, BufWriter, StdoutLock};

/// Large enough that a fast reader costs few system calls.
const BUFFER_BYTES: usize = 256 * 1024;

/// Standard output for this thread alone; flushed only where the caller says so.
pub(crate) fn stdout() -> BufWriter<StdoutLock<'static>> {
    BufWriter::with_capacity(BUFFER_BYTES, io::stdout().lock())
}
