//! Finds lines of a YAML file that are indented with tabs. YAML does not allow that where indentation counts, and readers
//! of it guess what is meant. It reads no YAML.

/// The lines of a file, where one of them is indented with a tab; none otherwise, and none of a file in brackets (JSON),
/// in which indentation does not count.
pub(crate) struct Tabs<'a>(Vec<&'a str>);

impl<'a> Tabs<'a> {
    pub fn of(text: &'a str) -> Self {
        let lines: Vec<&str> = text.lines().collect();
        let brackets = text.trim_start().starts_with(['[', '{']);
        let tabs = lines.iter().any(|line| indentation(line).contains('\t'));
        Self(if tabs && !brackets { lines } else { Vec::new() })
    }

    /// Whether what begins here, at a line from 1 and after so many characters, is the first in a line after a tab.
    pub fn are_before(&self, line: usize, characters: usize) -> bool {
        let indentation = indentation(self.line(line));
        indentation.contains('\t') && characters <= indentation.len()
    }

    /// The first line that begins with a tab, among those up to one after `line`: a reader may notice the tab only when
    /// it knows that the text before does not go on.
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

/// The blanks before the first word; none in a line without words. Each is a byte.
fn indentation(line: &str) -> &str {
    let words = line.trim_start_matches([' ', '\t']);
    if words.trim().is_empty() {
        return "";
    }
    line.get(..line.len() - words.len()).unwrap_or_default()
}
