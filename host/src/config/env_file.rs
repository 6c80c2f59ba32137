//! Parses files of `NAME=VALUE` lines. It reads no file itself, and no error shows a value.

use crate::model::diagnostic::Diagnostic;
use crate::model::plan::is_identifier;

/// Parses `NAME=VALUE` lines by the rules of a template's `.env` (`spec/org-template.md` §4), but strictly: an ambiguous
/// line is an error here, because the file is the operator's. In a template it is a warning.
///
/// # Errors
/// A diagnostic with the code `env-file` for the first line that is not an assignment or has an ambiguous value.
pub fn parse(text: &str, file: &str) -> Result<Vec<(String, String)>, Box<Diagnostic>> {
    let mut vars = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (number, line) in (1_u32..).zip(text.split('\n')) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |message: &str, help: &str| {
            let mut problem = Diagnostic::new("env-file", message).file(file).help(help);
            problem.line = Some(number);
            Box::new(problem)
        };
        let assignment = line.split_once('=');
        let assignment = assignment.map(|(name, value)| (without_export(name.trim()), value));
        let Some((name, value)) = assignment.filter(|(name, _)| is_identifier(name)) else {
            let help = "a name has letters, digits and `_`, and does not begin with a digit";
            return Err(wrong("this line is not NAME=VALUE", help));
        };
        let value = unquoted(value).map_err(|(message, help)| wrong(message, help))?;
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

/// Removes the blanks around a value and one pair of quotes. An error is a message and its help.
fn unquoted(written: &str) -> Result<&str, (&'static str, &'static str)> {
    const COMMENT: (&str, &str) = (
        "no comment can follow a value",
        "put the comment on a line of its own, or quote the whole value if the `#` is part of it",
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
            "there is text after the closing quote of this value",
            "quote the whole value or nothing of it",
        )),
        (None, None) => Err((
            "the quote before this value is not closed",
            "close the quote on the same line, or remove it",
        )),
    }
}

/// Whether a `#` follows a blank.
fn has_comment(value: &str) -> bool {
    value
        .match_indices('#')
        .filter_map(|(at, _)| value.get(..at))
        .any(|before| before.ends_with(char::is_whitespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_parsed_as_in_a_templates_env_file() {
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
    fn an_ambiguous_line_is_an_error_with_its_number_and_without_the_value() {
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
