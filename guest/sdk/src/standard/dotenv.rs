//! Parses `.env` files (org-template.md §4). It expands no references, and its messages show no values.
//!
//! It warns of every line that is not empty, not a comment and not a pair. It also warns of values that are probably
//! mistakes: a value with an opening quote and no closing one, and a value that contains something like a comment.

use std::collections::BTreeMap;

use super::expand::{self, Value, Variables};
use super::problems::{Pos, Problems};
use crate::{Diagnostic, Origin, Place};

/// Reads the pairs of a file. The last pair with a name wins, and the origin of the variable is the line of that pair.
pub(crate) fn read(file: &str, text: &str, problems: &mut Problems) -> Variables {
    let mut variables = Variables::new();
    let mut lines = text.split('\n').zip(1..).peekable();
    while let Some((line, number)) = lines.next() {
        let mut warn = |code: &str, message: String, help: &str| {
            let warning = Diagnostic::new(code, message).on(&Pos::of_file(file, number));
            problems.warn(warning.help(help));
        };
        match Line::of(line) {
            Line::Nothing => {}
            Line::NoPair => {
                // A secret over several lines is one mistake, so there is one warning for all its lines.
                let more = std::iter::from_fn(|| {
                    lines.next_if(|(next, _)| matches!(Line::of(next), Line::NoPair))
                });
                let message = match more.count() {
                    0 => "this line has no `NAME=value` and is skipped".to_owned(),
                    more => format!(
                        "this line and the {more} after it have no `NAME=value` and are skipped"
                    ),
                };
                warn("env-line-ignored", message, "a value stands on one line");
            }
            // The message does not show the name: it may be part of a secret over several lines.
            Line::Pair { name, .. } if !expand::is_name(name) => warn(
                "env-name-invalid",
                "the name before the `=` is not a name of a variable; the line is skipped"
                    .to_owned(),
                "names have letters, digits and `_`, and do not begin with a digit",
            ),
            Line::Pair { name, value } => {
                let (text, doubt) = unquoted(value);
                if let Some(doubt) = doubt {
                    let (code, message, help) = doubt.words();
                    warn(code, format!("{name}: {message}"), help);
                }
                // An empty value does not replace an earlier one.
                if text.is_empty() {
                    continue;
                }
                let value = Value {
                    text: text.to_owned(),
                    origin: Origin::Template(Place {
                        file: file.to_owned(),
                        line: number,
                        column: 0,
                    }),
                };
                variables.insert(name.to_owned(), value);
            }
        }
    }
    variables
}

/// Reads the pairs of a `.env` file, and returns them with the warnings. The last pair with a name wins, and no
/// references are expanded. `file` is the path that the warnings name.
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
    let variables = read(file, text, &mut problems).into_iter();
    let variables = variables.map(|(name, value)| (name, value.text)).collect();
    // There are no errors: a wrong line is skipped with a warning.
    (variables, problems.finish().unwrap_or_default())
}

/// A line of a `.env` file.
enum Line<'a> {
    /// Empty, or a comment.
    Nothing,
    /// `NAME=value`. `value` is everything after the `=`, without the blanks at the end of the line.
    Pair { name: &'a str, value: &'a str },
    /// Anything else.
    NoPair,
}

impl<'a> Line<'a> {
    fn of(line: &'a str) -> Self {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return Self::Nothing;
        }
        match line.split_once('=') {
            Some((name, value)) => Self::Pair {
                name: without_export(name.trim()),
                value,
            },
            None => Self::NoPair,
        }
    }
}

fn without_export(name: &str) -> &str {
    match name.strip_prefix("export") {
        Some(rest) if rest.starts_with(char::is_whitespace) => rest.trim_start(),
        _ => name,
    }
}

/// Why a value is probably a mistake.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Doubt {
    OpenQuote,
    AfterQuote,
    Comment,
}

impl Doubt {
    /// Code, message and help.
    fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::OpenQuote => (
                "env-quote-open",
                "the quote before the value is not closed in this line, and is a part of the value",
                "a value stands on one line, with quotes on both sides or on none",
            ),
            Self::AfterQuote => (
                "env-quote-inside",
                "something follows the closing quote, so that the quotes are parts of the value",
                "a value has quotes on both sides or on none",
            ),
            Self::Comment => (
                "env-comment-in-value",
                "no comment can follow a value: the `#` and what is after it are parts of the value",
                "put the comment on a line of its own, or the whole value in quotes if it is one",
            ),
        }
    }
}

/// A value without the blanks around it and without one pair of quotes, and the doubt about it.
fn unquoted(written: &str) -> (&str, Option<Doubt>) {
    let value = written.trim();
    let Some(quote) = value.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
        return (value, has_comment(written).then_some(Doubt::Comment));
    };
    let after = value.strip_prefix(quote).unwrap_or_default();
    match after.strip_suffix(quote) {
        Some(inside) => (inside, None),
        None => {
            let doubt = match after.split_once(quote) {
                None => Doubt::OpenQuote,
                Some((_, rest)) if rest.trim_start().starts_with('#') => Doubt::Comment,
                Some(_) => Doubt::AfterQuote,
            };
            (value, Some(doubt))
        }
    }
}

/// Whether a `#` follows a blank.
fn has_comment(value: &str) -> bool {
    let after = value
        .match_indices('#')
        .map(|(place, _)| value.split_at(place));
    let mut before = after.map(|(before, _)| before);
    before.any(|before| before.ends_with(char::is_whitespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names and texts.
    fn texts(variables: Variables) -> Vec<(String, String)> {
        let pair = |(name, value): (String, Value)| (name, value.text);
        variables.into_iter().map(pair).collect()
    }

    #[test]
    fn pairs_are_read_as_the_specification_says() {
        let table: &[(&str, &[(&str, &str)])] = &[
            ("", &[]),
            ("A=1", &[("A", "1")]),
            ("A=1\r\nB=2\r\n", &[("A", "1"), ("B", "2")]),
            ("A=1\rB=2", &[("A", "1\rB=2")]),
            ("# A=1\n  #B=2\n\n \t \nC=3", &[("C", "3")]),
            ("A=b=c", &[("A", "b=c")]),
            ("\u{a0} A\u{3000}= 1 \u{2003}", &[("A", "1")]),
            ("A=\"x y\"\nB='x'", &[("A", "x y"), ("B", "x")]),
            ("A=\"\"x\"\"", &[("A", "\"x\"")]),
            ("A='\"x\"'", &[("A", "\"x\"")]),
            ("A=\"\"\nB=''", &[]),
            ("A=\nB=  ", &[]),
            ("A=1\nA=2", &[("A", "2")]),
            ("A=1\nA=", &[("A", "1")]),
            (
                "A=#fff\nB=a#b\nC='a # b'",
                &[("A", "#fff"), ("B", "a#b"), ("C", "a # b")],
            ),
            ("A=$B\nB=${A}", &[("A", "$B"), ("B", "${A}")]),
            ("A=x\\ny", &[("A", "x\\ny")]),
            ("export A=1\nexport\tB=2", &[("A", "1"), ("B", "2")]),
            ("exportA=1\nexport=2", &[("export", "2"), ("exportA", "1")]),
        ];
        for (text, pairs) in table {
            let mut problems = Problems::default();
            let parsed = read(".env", text, &mut problems);
            let expected: Vec<(String, String)> = pairs
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect();
            assert_eq!(texts(parsed), expected, "{text:?}");
            assert_eq!(problems.finish(), Ok(vec![]), "{text:?}");
        }
    }

    #[test]
    fn the_warning_about_an_invalid_name_does_not_quote_the_line() {
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

    /// The warning does not change the value.
    #[test]
    fn a_probable_mistake_is_a_warning_with_its_line() {
        type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [(&'a str, u32)]);
        let table: &[Row<'_>] = &[
            ("\nno pair\nA=1", &[("A", "1")], &[("env-line-ignored", 2)]),
            ("A: 1", &[], &[("env-line-ignored", 1)]),
            ("export A", &[], &[("env-line-ignored", 1)]),
            ("=1", &[], &[("env-name-invalid", 1)]),
            ("NAME WITH BLANK=1", &[], &[("env-name-invalid", 1)]),
            ("A=\"x", &[("A", "\"x")], &[("env-quote-open", 1)]),
            ("A=\"x'", &[("A", "\"x'")], &[("env-quote-open", 1)]),
            ("A='", &[("A", "'")], &[("env-quote-open", 1)]),
            ("A=\"x # y", &[("A", "\"x # y")], &[("env-quote-open", 1)]),
            ("A=\"x\"y", &[("A", "\"x\"y")], &[("env-quote-inside", 1)]),
            (
                "A=   # note",
                &[("A", "# note")],
                &[("env-comment-in-value", 1)],
            ),
            ("A=1 # x", &[("A", "1 # x")], &[("env-comment-in-value", 1)]),
            (
                "A=a#b\t#",
                &[("A", "a#b\t#")],
                &[("env-comment-in-value", 1)],
            ),
            (
                "A=\"a # b\" # c",
                &[("A", "\"a # b\" # c")],
                &[("env-comment-in-value", 1)],
            ),
            // A private key over several lines: one warning for the lines that are not pairs.
            (
                "A=\"-----BEGIN\nMIIE\nAAAA\nAA\n-----END\"\nB=1",
                &[("A", "\"-----BEGIN"), ("B", "1")],
                &[("env-quote-open", 1), ("env-line-ignored", 2)],
            ),
        ];
        for (text, pairs, doubts) in table {
            let mut problems = Problems::default();
            let parsed = texts(read(".env", text, &mut problems));
            let parsed: Vec<(&str, &str)> = parsed.iter().map(|(n, v)| (&**n, &**v)).collect();
            assert_eq!(parsed, *pairs, "{text:?}");
            let warnings = problems.finish().unwrap();
            let found: Vec<(&str, u32)> = warnings
                .iter()
                .map(|w| (&*w.code, w.place.as_ref().unwrap().line))
                .collect();
            assert_eq!(found, *doubts, "{text:?}");
        }
    }

    #[test]
    fn the_origin_of_a_variable_is_the_line_that_set_it_last() {
        let mut problems = Problems::default();
        let parsed = read("pm/.env", "A=1\n\nA=2\nA=\n", &mut problems);
        let Origin::Template(place) = &parsed["A"].origin else {
            panic!("{parsed:?}");
        };
        assert_eq!(
            (&*parsed["A"].text, &*place.file, place.line),
            ("2", "pm/.env", 3)
        );
    }
}
