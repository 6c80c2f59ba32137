//! What a plugin writes for whoever debugs it: lines, bounded, and without
//! characters that steer a terminal. It never reaches the plan.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::limits;

/// The log of one call. Clones are the same log.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Lines>>);

/// What writes bytes, and ends a line only sometimes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Stdout,
    Stderr,
}

#[derive(Default)]
struct Lines {
    done: Vec<String>,
    /// The beginning of a line of each source.
    begun: [Vec<u8>; 2],
    /// Bytes that were kept.
    kept: usize,
    dropped: bool,
}

impl Log {
    /// One whole line.
    pub fn line(&self, text: &str) {
        let mut lines = self.lock();
        let kept = lines.admit(text.as_bytes(), 1).to_vec();
        if !kept.is_empty() || !lines.dropped {
            lines.finish(&kept);
        }
    }

    /// Bytes of a stream, in which lines end.
    pub fn write(&self, source: Source, bytes: &[u8]) {
        let mut lines = self.lock();
        let kept = lines.admit(bytes, 0);
        for piece in kept.split_inclusive(|byte| *byte == b'\n') {
            let mut line = std::mem::take(lines.begun(source));
            match piece.strip_suffix(b"\n") {
                Some(end) => {
                    line.extend_from_slice(end);
                    lines.finish(&line);
                }
                None => {
                    line.extend_from_slice(piece);
                    *lines.begun(source) = line;
                }
            }
        }
    }

    /// All lines; what was begun is taken as a line too.
    pub fn take(&self) -> Vec<String> {
        let mut lines = std::mem::take(&mut *self.lock());
        for source in [Source::Stdout, Source::Stderr] {
            let begun = std::mem::take(lines.begun(source));
            if !begun.is_empty() {
                lines.finish(&begun);
            }
        }
        if lines.dropped {
            let limit = limits::PLUGIN_LOG_BYTES >> 10;
            lines.done.push(format!(
                "(orghost dropped the rest: the lines of a call have at most {limit} KiB)"
            ));
        }
        lines.done
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    /// What of the bytes there is room for; they cost `extra` on top, so that empty lines are not free.
    fn admit<'a>(&mut self, bytes: &'a [u8], extra: usize) -> &'a [u8] {
        let room = limits::PLUGIN_LOG_BYTES.saturating_sub(self.kept);
        let kept = bytes
            .get(..room.saturating_sub(extra).min(bytes.len()))
            .unwrap_or_default();
        self.dropped |= kept.len() < bytes.len() || room < extra;
        self.kept += kept.len() + extra.min(room);
        kept
    }

    fn begun(&mut self, source: Source) -> &mut Vec<u8> {
        let [stdout, stderr] = &mut self.begun;
        match source {
            Source::Stdout => stdout,
            Source::Stderr => stderr,
        }
    }

    fn finish(&mut self, line: &[u8]) {
        let steers = |c: char| c.is_control() && c != '\t';
        let line = String::from_utf8_lossy(line);
        self.done
            .push(line.trim_end_matches('\r').replace(steers, "\u{fffd}"));
    }
}
