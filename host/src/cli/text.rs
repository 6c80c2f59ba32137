//! Text for a terminal. What comes from a template or a plugin must not steer it.

use std::borrow::Cow;

/// The text without control characters other than line feed and tab: no
/// escape sequence of a template reaches the terminal.
pub fn printable(text: &str) -> Cow<'_, str> {
    let steers = |c: char| c.is_control() && c != '\n' && c != '\t';
    if text.chars().any(steers) {
        Cow::Owned(text.replace(steers, "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// `1 workspace`, `2 workspaces`.
pub fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}
