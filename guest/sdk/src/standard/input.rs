//! The characters of a YAML file, as the parser reads them. They are borrowed, and most are ASCII.
//!
//! The parser's own input for texts reserves 128 bytes for each scalar, and looks at comments character by character.

use memchr::memchr;
use saphyr_parser::Input;
use saphyr_parser::input::{is_blank, is_breakz};

/// The rest of a file.
pub(crate) struct Characters<'a>(pub &'a str);

impl Characters<'_> {
    fn byte(&self, place: usize) -> Option<u8> {
        self.0.as_bytes().get(place).copied()
    }

    /// Whether the rest is a `---` or `...` on a line of its own, or before a blank.
    fn is_marker(&self, mark: u8) -> bool {
        let after = self.byte(3).map_or('\0', char::from);
        (0..3).all(|place| self.byte(place) == Some(mark)) && (is_blank(after) || is_breakz(after))
    }
}

/// The parser takes `\0` for the end.
impl Input for Characters<'_> {
    /// Everything is here already.
    fn lookahead(&mut self, _count: usize) {}

    #[inline]
    fn buflen(&self) -> usize {
        self.bufmaxlen()
    }

    /// How many bytes the parser reserves at a time.
    #[inline]
    fn bufmaxlen(&self) -> usize {
        32
    }

    #[inline]
    fn raw_read_ch(&mut self) -> char {
        let next = self.peek();
        self.skip();
        next
    }

    #[inline]
    fn raw_read_non_breakz_ch(&mut self) -> Option<char> {
        let next = self
            .peek_opt()
            .filter(|next| !is_breakz(*next) && *next != '\u{feff}')?;
        self.skip();
        Some(next)
    }

    #[inline]
    fn skip(&mut self) {
        let mut rest = self.0.chars();
        rest.next();
        self.0 = rest.as_str();
    }

    fn skip_n(&mut self, count: usize) {
        for _ in 0..count {
            self.skip();
        }
    }

    #[inline]
    fn peek(&self) -> char {
        self.peek_opt().unwrap_or('\0')
    }

    #[inline]
    fn peek_nth(&self, n: usize) -> char {
        self.0.chars().nth(n).unwrap_or('\0')
    }

    #[inline]
    fn peek_opt(&self) -> Option<char> {
        self.0.chars().next()
    }

    fn next_is_document_indicator(&self) -> bool {
        self.is_marker(b'-') || self.is_marker(b'.')
    }

    fn next_is_document_start(&self) -> bool {
        self.is_marker(b'-')
    }

    fn next_is_document_end(&self) -> bool {
        self.is_marker(b'.')
    }

    /// Skips a comment.
    fn skip_while_non_breakz(&mut self) -> usize {
        let line = memchr(b'\n', self.0.as_bytes()).and_then(|end| self.0.get(..end));
        let line = line.unwrap_or(self.0);
        let end = line.find(|next| is_breakz(next) || next == '\u{feff}');
        let (comment, rest) = self
            .0
            .split_at_checked(end.unwrap_or(line.len()))
            .unwrap_or((self.0, ""));
        self.0 = rest;
        comment.chars().count()
    }
}
