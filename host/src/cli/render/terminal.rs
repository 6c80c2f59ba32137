//! What a program printed, made harmless for a terminal. A control sequence moves the cursor, sets titles, writes to the
//! clipboard, or makes the terminal answer as if its person had typed. None passes, colours neither: `--raw` shows all.

use vte::{Parser, Perform};

use super::text::turns;

/// A filter that bytes go through in pieces of any size: a sequence or a character may be cut anywhere.
#[derive(Default)]
pub struct Harmless {
    /// The beginning of a character.
    begun: Vec<u8>,
    parser: Parser,
    passed: Passed,
}

/// What passed.
#[derive(Default)]
struct Passed {
    text: String,
    /// A carriage return came, and was shown as the end of a line.
    returned: bool,
}

impl Harmless {
    /// The text of the next bytes. What is no UTF-8 is shown as U+FFFD, also a control character (C1) that is one byte.
    pub fn pass(&mut self, bytes: &[u8]) -> String {
        self.begun.extend_from_slice(bytes);
        let whole = self.begun.len() - begun_at_the_end(&self.begun);
        let begun = self.begun.split_off(whole);
        let bytes = std::mem::replace(&mut self.begun, begun);
        for part in String::from_utf8_lossy(&bytes).split_inclusive('\n') {
            let line = part.strip_suffix('\n');
            // The parser gets whole characters: it loses some of those that follow one that was cut.
            self.parser
                .advance(&mut self.passed, line.unwrap_or(part).as_bytes());
            if line.is_some() {
                // A sequence that does not end would hide everything after it: none is longer than its line.
                self.parser = Parser::default();
                self.passed.execute(b'\n');
            }
        }
        std::mem::take(&mut self.passed.text)
    }
}

/// How many bytes at the end are the beginning of a character.
fn begun_at_the_end(bytes: &[u8]) -> usize {
    let last = bytes.utf8_chunks().last();
    let invalid = last.map_or(&[][..], |chunk| chunk.invalid());
    match std::str::from_utf8(invalid) {
        Err(error) if error.error_len().is_none() => invalid.len(),
        _ => 0,
    }
}

impl Perform for Passed {
    fn print(&mut self, c: char) {
        self.returned = false;
        if turns(c) {
            self.text.push('\u{fffd}');
        } else if !c.is_control() {
            self.text.push(c);
        }
    }

    /// A carriage return would write over the line: it ends the line, as a line feed after it would.
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

    fn passed(bytes: &[u8]) -> String {
        Harmless::default().pass(bytes)
    }

    #[test]
    fn what_steers_a_terminal_does_not_pass() {
        let table: &[(&[u8], &str)] = &[
            (b"plain\ttext\n", "plain\ttext\n"),
            ("größer 日本 🦀\n".as_bytes(), "größer 日本 🦀\n"),
            (b"\x1b[31mred\x1b[0m", "red"),
            (b"a\x1b[2J\x1b[1;1Hb", "ab"),
            // A title, the clipboard (OSC 52), a hyperlink; ended by BEL and by ST.
            (b"a\x1b]0;title\x07b", "ab"),
            (b"a\x1b]52;c;cm0gLXJmIH4=\x1b\\b", "ab"),
            (b"\x1b]8;;http://evil\x1b\\here\x1b]8;;\x1b\\", "here"),
            // What a terminal answers to: its status, its name, its settings.
            (b"\x1b[6n\x1b[c\x1b[>q\x05\x1bP$qm\x1b\\x", "x"),
            // APC, PM, SOS.
            (b"a\x1b_Gevil\x1b\\b\x1b^p\x1b\\c\x1bXs\x1b\\d", "abcd"),
            // Character sets, resets, backspace, bell, delete.
            (b"a\x1b(0b\x1bcc\x08d\x07e\x7ff", "abcdef"),
            // C1: as a byte, and as the character that UTF-8 has for it.
            (b"a\x9b2Jb", "a\u{fffd}2Jb"),
            (b"a\xc2\x9b2Jb\xc2\x9d0;t\xc2\x9c", "a2Jb0;t"),
            ("a\u{202e}b".as_bytes(), "a\u{fffd}b"),
            (b"a\xffb", "a\u{fffd}b"),
            // Windows' ends of lines, and a line that is written over.
            (b"a\r\nb\r\n\r\n", "a\nb\n\n"),
            (b"10%\r20%\r\n", "10%\n20%\n"),
        ];
        for (bytes, expected) in table {
            assert_eq!(passed(bytes), *expected, "{:?}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_sequence_that_does_not_end_hides_no_other_line() {
        for begun in ["\u{1b}]0;", "\u{1b}[", "\u{1b}P", "\u{1b}_", "\u{1b}"] {
            let text = format!("a{begun}hidden\nshown\n");
            assert!(passed(text.as_bytes()).ends_with("\nshown\n"), "{begun:?}");
        }
    }

    proptest! {
        /// Bytes that begin sequences often.
        #[test]
        fn nothing_that_passes_steers_and_no_cut_changes_it(
            bytes in proptest::collection::vec(prop_oneof![
                any::<u8>(), Just(0x1b), Just(b'['), Just(b']'), Just(b'\n'), Just(b'\r'), Just(0xc2), Just(0x9b),
            ], 0..200),
            size in 1_usize..9,
        ) {
            let whole = passed(&bytes);
            let steers = |c: char| (c.is_control() && c != '\n' && c != '\t') || turns(c);
            prop_assert!(!whole.chars().any(steers), "{whole:?}");
            let mut filter = Harmless::default();
            let pieces: String = bytes.chunks(size).map(|piece| filter.pass(piece)).collect();
            prop_assert_eq!(pieces, whole);
        }
    }
}
