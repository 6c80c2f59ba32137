//! Text for people. What comes from a template or a plugin must not steer the
//! terminal; and nobody who stops reading ends the program half-way.

use std::borrow::Cow;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use indicatif::MultiProgress;

/// The text without characters that steer: control characters other than line
/// feed and tab, and those that turn the direction of writing.
pub fn printable(text: &str) -> Cow<'_, str> {
    let steers = |c: char| (c.is_control() && c != '\n' && c != '\t') || turns(c);
    if text.chars().any(steers) {
        Cow::Owned(text.replace(steers, "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// As [`printable`], in one line: for cells and headings.
pub fn in_line(text: &str) -> String {
    printable(text).replace(['\n', '\t'], " ")
}

/// Whether it turns the direction of writing.
pub fn turns(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `1 workspace`, `2 workspaces`.
pub fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// Something could not be written to standard output, and its reader wanted it.
static LOST: AtomicBool = AtomicBool::new(false);

/// Writes to standard output. Whoever reads it may stop reading; anything else
/// that goes wrong (a full disk) makes the program fail at its end: see [`is_lost`].
pub fn write(bytes: &[u8]) -> bool {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => true,
        Err(error) => {
            if error.kind() != io::ErrorKind::BrokenPipe {
                LOST.store(true, Ordering::Relaxed);
            }
            false
        }
    }
}

/// Whether some output was lost.
pub fn is_lost() -> bool {
    LOST.load(Ordering::Relaxed)
}

/// A line on standard output.
pub fn print_line(line: &str) {
    write(format!("{line}\n").as_bytes());
}

/// The progress that is being drawn at the end of the terminal.
static DRAWN: Mutex<Option<MultiProgress>> = Mutex::new(None);

/// From now on, notes stand above this progress; `None` when it is drawn no longer.
pub fn stand_above(progress: Option<MultiProgress>) {
    *DRAWN.lock().unwrap_or_else(PoisonError::into_inner) = progress;
}

/// A line on standard error: what a person should know, and no program reads.
pub fn note(line: &str) {
    let write = || drop(writeln!(io::stderr().lock(), "{line}"));
    match &*DRAWN.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(progress) => progress.suspend(write),
        None => write(),
    }
}
