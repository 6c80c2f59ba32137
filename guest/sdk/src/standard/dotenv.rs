//! Parses `.env` files (org-template.md §4). It interpolates nothing, and no message of it shows what a file holds.

use std::collections::BTreeMap;

use super::expand::{self, Variables};
use super::problems::{Pos, Problems};
use crate::Diagnostic;

/// The pairs of a file; the last one of a name wins. Lines that are no pairs are skipped, with a warning where
/// something looks like a pair whose name is invalid.
pub(crate) fn read(file: &str, text: &str, problems: &mut Problems) -> Variables {
    let mut variables = Variables::new();
    for (line, number) in text.split('\n').zip(1..) {
        let Some((name, value)) = pair(line) else {
            continue;
        };
        if expand::is_name(name) {
            variables.insert(name.to_owned(), value.to_owned());
        } else {
            // Not the name: it may be a part of a secret that goes over several lines.
            let message =
                "the name before the `=` is not a name of a variable; the line is skipped";
            let help = "names have letters, digits and `_`, and do not begin with a digit";
            let pos = Pos::of_file(file, number);
            problems.warn(
                Diagnostic::new("env-name-invalid", message)
                    .on(&pos)
                    .help(help),
            );
        }
    }
    variables
}

/// The pairs of a `.env` file and its warnings; `file` is its path, for their places. The last pair of a name wins,
/// and nothing is interpolated.
///
/// ```
/// use orghost_plugin::standard::dotenv;
///
/// let (variables, warnings) = dotenv::parse(".env", "# who\nexport USER='ada'\n");
/// assert_eq!(variables["USER"], "ada");
/// assert!(warnings.is_empty());
/// ```
pub fn parse(file: &str, text: &str) -> (BTreeMap<String, String>, Vec<Diagnostic>) {
    let mut problems = Problems::default();
    let variables = read(file, text, &mut problems);
    // A line that is wrong is skipped with a warning: there are no errors.
    (variables, problems.finish().unwrap_or_default())
}

fn pair(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    let (name, value) = line.split_once('=')?;
    let (name, value) = (without_export(name.trim()), without_quotes(value.trim()));
    (!name.is_empty() && !value.is_empty()).then_some((name, value))
}

fn without_export(name: &str) -> &str {
    match name.strip_prefix("export") {
        Some(rest) if rest.starts_with(char::is_whitespace) => rest.trim_start(),
        _ => name,
    }
}

/// Removes one pair of quotes, not more.
fn without_quotes(value: &str) -> &str {
    let inside = |quote| value.strip_prefix(quote)?.strip_suffix(quote);
    inside('"').or_else(|| inside('\'')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_of_the_specification() {
        let table: &[(&str, &[(&str, &str)])] = &[
            ("", &[]),
            ("A=1", &[("A", "1")]),
            ("A=1\r\nB=2\r\n", &[("A", "1"), ("B", "2")]),
            ("A=1\rB=2", &[("A", "1\rB=2")]),
            ("# A=1\n  #B=2\n\n \t \nC=3", &[("C", "3")]),
            ("A=b=c", &[("A", "b=c")]),
            ("no pair", &[]),
            ("\u{a0} A\u{3000}= 1 \u{2003}", &[("A", "1")]),
            ("A=\"x y\"\nB='x'", &[("A", "x y"), ("B", "x")]),
            ("A=\"\"x\"\"", &[("A", "\"x\"")]),
            ("A='\"x\"'", &[("A", "\"x\"")]),
            ("A=\"x'", &[("A", "\"x'")]),
            ("A=\"", &[("A", "\"")]),
            ("A=\"\"\nB=''", &[]),
            ("A=\nB=  ", &[]),
            ("=1", &[]),
            ("A=1\nA=2", &[("A", "2")]),
            ("A=1\nA=", &[("A", "1")]),
            ("A=1 # x", &[("A", "1 # x")]),
            ("A=$B\nB=${A}", &[("A", "$B"), ("B", "${A}")]),
            ("A=x\\ny", &[("A", "x\\ny")]),
            ("export A=1\nexport\tB=2", &[("A", "1"), ("B", "2")]),
            ("exportA=1\nexport=2", &[("exportA", "1"), ("export", "2")]),
        ];
        for (text, pairs) in table {
            let mut problems = Problems::default();
            let parsed = read(".env", text, &mut problems);
            let expected: Variables = pairs
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect();
            assert_eq!(parsed, expected, "{text:?}");
            assert_eq!(problems.finish(), Ok(vec![]), "{text:?}");
        }
    }

    #[test]
    fn an_invalid_name_is_a_warning_without_what_the_line_says() {
        let mut problems = Problems::default();
        let parsed = read(
            "pm/.env",
            "A=1\nMIIcanary=hush\nMII/canary==\n1A=x",
            &mut problems,
        );
        assert_eq!(parsed.len(), 2, "{parsed:?}");
        let warnings = problems.finish().unwrap();
        let lines: Vec<u32> = warnings
            .iter()
            .map(|w| w.place.as_ref().unwrap().line)
            .collect();
        assert_eq!(lines, [3, 4]);
        assert!(!format!("{warnings:?}").contains("canary"));
    }
}
