//! Removes control sequences from a workspace's output before it reaches a terminal. A sequence can move the cursor, set
//! titles, write to the clipboard, or make the terminal send input as if the user had typed. Colours are removed too;
//! `--raw` shows everything.

use vte::{Parser, Perform};

use super::text::changes_direction;

/// A filter for bytes in pieces of any size: a piece may end inside a sequence or a character.
#[derive(Default)]
pub struct ControlFilter {
    /// The bytes of a character whose end has not come yet.
    begun: Vec<u8>,
    parser: Parser,
    filtered: Filtered,
}

/// The text that the filter let through.
#[derive(Default)]
struct Filtered {
    text: String,
    /// Whether the last character was a carriage return, which is shown as the end of a line.
    returned: bool,
}

impl ControlFilter {
    /// Gives the text of the next bytes. Invalid UTF-8 becomes U+FFFD; that includes a C1 control character as one byte.
    pub fn filter(&mut self, bytes: &[u8]) -> String {
        self.begun.extend_from_slice(bytes);
        let complete = self.begun.len() - unfinished(&self.begun);
        let begun = self.begun.split_off(complete);
        let bytes = std::mem::replace(&mut self.begun, begun);
        for part in String::from_utf8_lossy(&bytes).split_inclusive('\n') {
            let line = part.strip_suffix('\n');
            // The parser gets complete characters only: it loses characters that follow an incomplete one.
            self.parser
                .advance(&mut self.filtered, line.unwrap_or(part).as_bytes());
            if line.is_some() {
                // A sequence without an end would hide everything after it, so a sequence ends at the latest with its line.
                self.parser = Parser::default();
                self.filtered.execute(b'\n');
            }
        }
        std::mem::take(&mut self.filtered.text)
    }
}

/// How many bytes at the end belong to an unfinished character.
fn unfinished(bytes: &[u8]) -> usize {
    let last = bytes.utf8_chunks().last();
    let invalid = last.map_or(&[][..], |chunk| chunk.invalid());
    match std::str::from_utf8(invalid) {
        Err(error) if error.error_len().is_none() => invalid.len(),
        _ => 0,
    }
}

impl Perform for Filtered {
    fn print(&mut self, c: char) {
        self.returned = false;
        if changes_direction(c) {
            self.text.push('\u{fffd}');
        } else if !c.is_control() {
            self.text.push(c);
        }
    }

    /// A carriage return would let a line be overwritten, so it ends the line like a line feed.
    fn execute(&mut self, byte: u8) {
        match byte {
            b'\t' => self.text.push('\t'),
            b'\n' if self.returned => {}
            b'\n' | b'\r' => self.text.push('\n'),
            _ => return,
        }
        self.returned = byte == b'\r';
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filtered(bytes: &[u8]) -> String {
        ControlFilter::default().filter(bytes)
    }

    #[test]
    fn control_sequences_are_removed() {
        let table: &[(&[u8], &str)] = &[
            (b"plain\ttext\n", "plain\ttext\n"),
            ("größer 日本 🦀\n".as_bytes(), "größer 日本 🦀\n"),
            (b"\x1b[31mred\x1b[0m", "red"),
            (b"a\x1b[2J\x1b[1;1Hb", "ab"),
            // A title, the clipboard (OSC 52), a hyperlink; ended by BEL and by ST.
            (b"a\x1b]0;title\x07b", "ab"),
            (b"a\x1b]52;c;cm0gLXJmIH4=\x1b\\b", "ab"),
            (b"\x1b]8;;http://evil\x1b\\here\x1b]8;;\x1b\\", "here"),
            // Queries that a terminal answers: its status, its name, its settings.
            (b"\x1b[6n\x1b[c\x1b[>q\x05\x1bP$qm\x1b\\x", "x"),
            // APC, PM, SOS.
            (b"a\x1b_Gevil\x1b\\b\x1b^p\x1b\\c\x1bXs\x1b\\d", "abcd"),
            // Character sets, resets, backspace, bell, delete.
            (b"a\x1b(0b\x1bcc\x08d\x07e\x7ff", "abcdef"),
            // C1, as one byte and as a UTF-8 character.
            (b"a\x9b2Jb", "a\u{fffd}2Jb"),
            (b"a\xc2\x9b2Jb\xc2\x9d0;t\xc2\x9c", "a2Jb0;t"),
            ("a\u{202e}b".as_bytes(), "a\u{fffd}b"),
            (b"a\xffb", "a\u{fffd}b"),
            // Windows' line ends, and a line that is overwritten.
            (b"a\r\nb\r\n\r\n", "a\nb\n\n"),
            (b"10%\r20%\r\n", "10%\n20%\n"),
        ];
        for (bytes, expected) in table {
            assert_eq!(filtered(bytes), *expected, "{:?}", bytes.escape_ascii());
        }
    }

    #[test]
    fn an_unfinished_sequence_hides_no_other_line() {
        for begun in ["\u{1b}]0;", "\u{1b}[", "\u{1b}P", "\u{1b}_", "\u{1b}"] {
            let text = format!("a{begun}hidden\nshown\n");
            assert!(
                filtered(text.as_bytes()).ends_with("\nshown\n"),
                "{begun:?}"
            );
        }
    }

    proptest! {
        /// The bytes often begin a sequence.
        #[test]
        fn no_control_character_passes_and_the_pieces_do_not_matter(
            bytes in proptest::collection::vec(prop_oneof![
                any::<u8>(), Just(0x1b), Just(b'['), Just(b']'), Just(b'\n'), Just(b'\r'), Just(0xc2), Just(0x9b),
            ], 0..200),
            size in 1_usize..9,
        ) {
            let at_once = filtered(&bytes);
            let controls = |c: char| (c.is_control() && c != '\n' && c != '\t') || changes_direction(c);
            prop_assert!(!at_once.chars().any(controls), "{at_once:?}");
            let mut filter = ControlFilter::default();
            let pieces: String = bytes.chunks(size).map(|piece| filter.filter(piece)).collect();
            prop_assert_eq!(pieces, at_once);
        }
    }
}
