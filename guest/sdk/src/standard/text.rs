//! Checks the characters of texts, and normalises prompts.

use std::fmt;

use super::problems::Pos;

/// A character that a text must not contain, and its position.
pub(crate) struct Forbidden {
    character: char,
    line: u32,
    column: u32,
}

/// The first character that is not printable, except line feeds, CR LF and tabs.
///
/// Control characters, the line separators of Unicode and byte order marks are invisible, YAML 1.1 and YAML 1.2 read
/// them differently, and they are always mistakes.
pub(crate) fn forbidden(text: &str) -> Option<Forbidden> {
    let (mut line, mut column) = (1, 0);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        column += 1;
        let allowed = match character {
            '\n' => {
                (line, column) = (line + 1, 0);
                true
            }
            '\t' => true,
            '\r' => characters.peek() == Some(&'\n'),
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => false,
            other => !other.is_control(),
        };
        if !allowed {
            return Some(Forbidden {
                character,
                line,
                column,
            });
        }
    }
    None
}

impl Forbidden {
    /// Its position, in a file with this text.
    pub fn pos(&self, file: &str) -> Pos {
        Pos {
            file: file.into(),
            line: self.line,
            column: self.column,
        }
    }
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "U+{:04X}", u32::from(self.character))
    }
}

/// Normalises a prompt (org-template.md §6): trims the whole and the end of each line, and ends it with one line feed.
/// `None` when nothing is left.
pub(crate) fn prompt(text: &str) -> Option<String> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return None;
    }
    let mut prompt = String::with_capacity(trimmed.len() + 1);
    for line in trimmed.split('\n') {
        prompt.push_str(line.trim_end_matches([' ', '\t', '\r']));
        prompt.push('\n');
    }
    Some(prompt)
}

/// Cuts a text at a character boundary to at most `bytes`. Returns whether it was longer.
pub(crate) fn cut(text: &mut String, bytes: usize) -> bool {
    let fits = text.len() <= bytes;
    text.truncate(text.floor_char_boundary(bytes));
    !fits
}
