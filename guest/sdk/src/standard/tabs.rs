//! Finds lines of a YAML file that are indented with tabs. YAML forbids them where indentation matters, and the
//! parser's message about such a line does not mention the tab.

use memchr::memchr;

/// The lines of a file. Empty when no line is indented with a tab, and for a file in brackets (JSON), in which
/// indentation does not matter.
pub(crate) struct Tabs<'a>(Vec<&'a str>);

impl<'a> Tabs<'a> {
    pub fn of(text: &'a str) -> Self {
        if memchr(b'\t', text.as_bytes()).is_none() {
            return Self(Vec::new());
        }
        let lines: Vec<&str> = text.lines().collect();
        let brackets = text.trim_start().starts_with(['[', '{']);
        let tabs = lines.iter().any(|line| indentation(line).contains('\t'));
        Self(if tabs && !brackets { lines } else { Vec::new() })
    }

    /// Whether a node is the first one in its line and follows a tab. `line` is its line, from 1, and `characters` the
    /// number of characters before it.
    pub fn are_before(&self, line: usize, characters: usize) -> bool {
        let indentation = indentation(self.line(line));
        indentation.contains('\t') && characters <= indentation.len()
    }

    /// The first line that begins with a tab, up to the line after `line`. The parser can report an error one line
    /// before the tab, where the text that should continue begins.
    pub fn first_until(&self, line: usize) -> Option<usize> {
        let mut lines = (1..).zip(&self.0).take(line.saturating_add(1));
        let found = lines.find(|(_, line)| line.starts_with('\t') && !line.trim().is_empty());
        found.map(|(number, _)| number)
    }

    fn line(&self, number: usize) -> &'a str {
        let place = number.checked_sub(1);
        place
            .and_then(|place| self.0.get(place))
            .copied()
            .unwrap_or_default()
    }
}

/// The blanks and tabs before the first word, one byte each. Empty for a line without words.
fn indentation(line: &str) -> &str {
    let words = line.trim_start_matches([' ', '\t']);
    if words.trim().is_empty() {
        return "";
    }
    line.get(..line.len() - words.len()).unwrap_or_default()
}
