//! The configuration files of variables. It reads none by itself, and no error shows a value.

use crate::model::diagnostic::Diagnostic;
use crate::model::plan::is_identifier;

/// Reads a file of `NAME=VALUE` lines, by the rules of a template's `.env` (`spec/org-template.md` §4) but strictly: this
/// one is the operator's, and what may not be meant is an error where a template gets a warning.
///
/// # Errors
/// The first line that is no assignment, or whose value is not what it looks like, with its place.
pub fn parse(text: &str, file: &str) -> Result<Vec<(String, String)>, Box<Diagnostic>> {
    let mut vars = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (number, line) in (1_u32..).zip(text.split('\n')) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let told = |message: &str, help: &str| {
            let mut problem = Diagnostic::new("env-file", message).file(file).help(help);
            problem.line = Some(number);
            Box::new(problem)
        };
        let assignment = line.split_once('=');
        let assignment = assignment.map(|(name, value)| (without_export(name.trim()), value));
        let Some((name, value)) = assignment.filter(|(name, _)| is_identifier(name)) else {
            let help = "a name has letters, digits and `_`, and does not begin with a digit";
            return Err(told("this line is not NAME=VALUE", help));
        };
        let value = unquoted(value).map_err(|(message, help)| told(message, help))?;
        vars.push((name.to_owned(), value.to_owned()));
    }
    Ok(vars)
}

fn without_export(name: &str) -> &str {
    match name.strip_prefix("export") {
        Some(rest) if rest.starts_with(char::is_whitespace) => rest.trim_start(),
        _ => name,
    }
}

/// A value without blanks around it and without one pair of quotes, or a message and what to do.
fn unquoted(written: &str) -> Result<&str, (&'static str, &'static str)> {
    const COMMENT: (&str, &str) = (
        "no comment can follow a value",
        "put the comment on a line of its own, or the whole value in quotes if the `#` is a part of it",
    );
    let value = written.trim();
    let Some(quote) = value.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
        return if has_comment(written) {
            Err(COMMENT)
        } else {
            Ok(value)
        };
    };
    let after = value.strip_prefix(quote).unwrap_or_default();
    match (after.strip_suffix(quote), after.split_once(quote)) {
        (Some(inside), _) => Ok(inside),
        (None, Some((_, rest))) if rest.trim_start().starts_with('#') => Err(COMMENT),
        (None, Some(_)) => Err((
            "something follows the closing quote of this value",
            "a value has quotes on both sides or on none",
        )),
        (None, None) => Err((
            "the quote before this value is not closed",
            "a value stands on one line, with quotes on both sides or on none",
        )),
    }
}

/// Whether a `#` follows a blank.
fn has_comment(value: &str) -> bool {
    let hashes = value.match_indices('#').map(|(place, _)| place);
    hashes
        .filter_map(|place| value.get(..place))
        .any(|before| before.ends_with(char::is_whitespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_a_templates_env_file() {
        for (line, value) in [
            ("A=1", "1"),
            ("  export\tA = 1 ", "1"),
            ("A=\"a # b\"", "a # b"),
            ("A=''", ""),
            ("A=#fff", "#fff"),
            ("A='\"x\"'", "\"x\""),
            ("\u{feff}A=b=c", "b=c"),
        ] {
            let parsed = parse(line, "f").unwrap();
            assert_eq!(parsed, [("A".to_owned(), value.to_owned())], "{line:?}");
        }
    }

    #[test]
    fn what_may_not_be_meant_is_an_error_with_its_line_and_without_the_value() {
        for line in [
            "hush",
            "A: hush",
            "=hush",
            "1A=hush",
            "A B=hush",
            "A=\"hush",
            "A='hush\"",
            "A=\"hush\" # note",
            "A=\"hush\"x",
            "A=hush # note",
            "A=   # hush",
        ] {
            let error = parse(&format!("# vars\nB=1\n{line}\n"), "f.env").unwrap_err();
            assert_eq!(
                (error.code.as_str(), error.line),
                ("env-file", Some(3)),
                "{line:?}"
            );
            assert_eq!(error.file.as_deref(), Some("f.env"));
            assert!(!format!("{error:?}").contains("hush"), "{error:?}");
        }
    }
}
