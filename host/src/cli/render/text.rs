//! Writes text to standard output and standard error. Text from a template or a plugin must not control the terminal, and a
//! reader that closes the pipe must not stop the program.

use std::borrow::Cow;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use indicatif::MultiProgress;

/// Replaces characters that control a terminal: control characters other than line feed and tab, and those that change the
/// direction of writing.
pub fn printable(text: &str) -> Cow<'_, str> {
    let controls = |c: char| (c.is_control() && c != '\n' && c != '\t') || changes_direction(c);
    if text.chars().any(controls) {
        Cow::Owned(text.replace(controls, "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Like [`printable`], on one line: for table cells and headings.
pub fn in_line(text: &str) -> String {
    printable(text).replace(['\n', '\t'], " ")
}

/// Whether a character changes the direction of writing.
pub fn changes_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Formats a number with its noun: `1 workspace`, `2 workspaces`.
pub fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// Whether output was lost although its reader did not close the pipe.
static LOST: AtomicBool = AtomicBool::new(false);

/// Writes to standard output; false if that failed. A reader may close the pipe; any other error (a full disk) makes the
/// program fail at its end, through [`is_lost`].
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

/// Prints a line on standard output.
pub fn print_line(line: &str) {
    write(format!("{line}\n").as_bytes());
}

/// The progress that is being drawn at the end of the terminal.
static DRAWN: Mutex<Option<MultiProgress>> = Mutex::new(None);

/// Makes [`note`] print above this progress from now on; `None` when it is no longer drawn.
pub fn print_above(progress: Option<MultiProgress>) {
    *DRAWN.lock().unwrap_or_else(PoisonError::into_inner) = progress;
}

/// Prints a line for a person on standard error.
pub fn note(line: &str) {
    let write = || drop(writeln!(io::stderr().lock(), "{line}"));
    match &*DRAWN.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(progress) => progress.suspend(write),
        None => write(),
    }
}
