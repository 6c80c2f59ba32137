//! Checks the characters of texts, and normalises prompts.

use std::fmt;

use memchr::memchr;

use super::problems::Pos;

/// A character that a text must not contain, and its position.
pub(crate) struct Forbidden {
    character: char,
    line: u32,
    column: u32,
}

/// The characters of a text that are neither printable ASCII, nor a line feed, nor a tab, with their offsets in bytes.
/// Most texts have few, and the search looks at many bytes at once.
pub(crate) fn unusual(text: &str) -> impl Iterator<Item = (usize, char)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let rest = text.get(from..).unwrap_or_default();
        let at = from + usual(rest.as_bytes());
        let character = text.get(at..).unwrap_or_default().chars().next()?;
        from = at + character.len_utf8();
        Some((at, character))
    })
}

/// The length of the longest beginning without an unusual byte.
fn usual(bytes: &[u8]) -> usize {
    /// Bytes that are checked without a branch, so that the compiler uses vector instructions.
    const CHUNK: usize = 16;
    let unusual = |byte: &u8| !matches!(byte, b' '..=b'~' | b'\n' | b'\t');
    let mask = |byte: &u8| if unusual(byte) { u8::MAX } else { 0 };
    let clean = |chunk: &[u8; CHUNK]| chunk.iter().map(mask).fold(0, |a, b| a | b) == 0;
    let (chunks, _) = bytes.as_chunks();
    let clean = chunks.iter().take_while(|chunk| clean(chunk)).count();
    let rest = bytes.get(clean * CHUNK..).unwrap_or_default();
    clean * CHUNK + rest.iter().position(unusual).unwrap_or(rest.len())
}

/// The first character that is not printable, except line feeds, CR LF and tabs.
///
/// Control characters, the line separators of Unicode and byte order marks are invisible, YAML 1.1 and YAML 1.2 read
/// them differently, and they are always mistakes.
pub(crate) fn forbidden(text: &str) -> Option<Forbidden> {
    let after = |at: usize| text.as_bytes().get(at + 1);
    let (at, character) = unusual(text).find(|(at, character)| match character {
        '\r' => after(*at) != Some(&b'\n'),
        '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => true,
        other => other.is_control(),
    })?;
    let before = text.get(..at).unwrap_or_default();
    let line = before.rsplit('\n').next().unwrap_or_default();
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Some(Forbidden {
        character,
        line: number(1 + before.bytes().filter(|byte| *byte == b'\n').count()),
        column: number(1 + line.chars().count()),
    })
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

/// The text with LF instead of CR LF.
pub(crate) fn line_feeds(text: &str) -> String {
    match memchr(b'\r', text.as_bytes()) {
        None => text.to_owned(),
        Some(_) => text.replace("\r\n", "\n"),
    }
}

/// The lines of a text, without their line feeds. An empty last line is left out.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text).filter(|text| !text.is_empty());
    std::iter::from_fn(move || {
        let text = rest?;
        let end = memchr(b'\n', text.as_bytes()).unwrap_or(text.len());
        let (line, after) = text.split_at_checked(end)?;
        rest = after.get(1..).filter(|after| !after.is_empty());
        Some(line)
    })
}

/// Normalises a prompt (org-template.md §6): trims the whole and the end of each line, and ends it with one line feed.
/// `None` when nothing is left.
pub(crate) fn prompt(text: &str) -> Option<String> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return None;
    }
    let mut prompt = String::with_capacity(trimmed.len() + 1);
    for line in lines(trimmed) {
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
