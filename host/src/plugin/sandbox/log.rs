//! The log of a call: lines that a plugin writes for debugging. Its size is limited and control characters are replaced. It
//! is not part of the plan.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::limits;

/// The log of one call. A clone shares the same lines.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Lines>>);

/// A stream of bytes that is split into lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Stdout,
    Stderr,
}

#[derive(Default)]
struct Lines {
    /// The complete lines.
    complete: Vec<String>,
    /// The incomplete last line of each stream.
    incomplete: [Vec<u8>; 2],
    /// The number of bytes that were kept.
    kept: usize,
    /// Whether the limit was exceeded and bytes were dropped.
    dropped: bool,
}

impl Log {
    /// Writes one line.
    pub fn line(&self, text: &str) {
        let mut lines = self.lock();
        let kept = lines.admit(text.as_bytes(), 1).to_vec();
        if !kept.is_empty() || !lines.dropped {
            lines.finish(&kept);
        }
    }

    /// Writes bytes of a stream.
    pub fn write(&self, source: Source, bytes: &[u8]) {
        let mut lines = self.lock();
        let kept = lines.admit(bytes, 0);
        for piece in kept.split_inclusive(|byte| *byte == b'\n') {
            let mut line = std::mem::take(lines.incomplete(source));
            match piece.strip_suffix(b"\n") {
                Some(end) => {
                    line.extend_from_slice(end);
                    lines.finish(&line);
                }
                None => {
                    line.extend_from_slice(piece);
                    *lines.incomplete(source) = line;
                }
            }
        }
    }

    /// Takes all lines, including incomplete ones.
    pub fn take(&self) -> Vec<String> {
        let mut lines = std::mem::take(&mut *self.lock());
        for source in [Source::Stdout, Source::Stderr] {
            let line = std::mem::take(lines.incomplete(source));
            if !line.is_empty() {
                lines.finish(&line);
            }
        }
        if lines.dropped {
            let limit = limits::PLUGIN_LOG_BYTES >> 10;
            lines.complete.push(format!(
                "(orghost dropped the rest: the log of a call has at most {limit} KiB)"
            ));
        }
        lines.complete
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    /// The part of the bytes that still fits. `extra` bytes are counted in addition, so that the number of empty lines is
    /// limited too.
    fn admit<'a>(&mut self, bytes: &'a [u8], extra: usize) -> &'a [u8] {
        let room = limits::PLUGIN_LOG_BYTES.saturating_sub(self.kept);
        let kept = bytes
            .get(..room.saturating_sub(extra).min(bytes.len()))
            .unwrap_or_default();
        self.dropped |= kept.len() < bytes.len() || room < extra;
        self.kept += kept.len() + extra.min(room);
        kept
    }

    fn incomplete(&mut self, source: Source) -> &mut Vec<u8> {
        let [stdout, stderr] = &mut self.incomplete;
        match source {
            Source::Stdout => stdout,
            Source::Stderr => stderr,
        }
    }

    fn finish(&mut self, line: &[u8]) {
        // Control characters could change the terminal that shows the line.
        let is_control = |c: char| c.is_control() && c != '\t';
        let line = String::from_utf8_lossy(line);
        self.complete
            .push(line.trim_end_matches('\r').replace(is_control, "\u{fffd}"));
    }
}
