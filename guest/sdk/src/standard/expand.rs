//! Expands references in a text (expander.md). It never fails, it does not expand a value a second time, and it never
//! puts a granted value into other text.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Environment, Expansion, Origin, Variable};

/// Variables by name.
pub(crate) type Variables = BTreeMap<String, Value>;

/// The value of a variable, and who set it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Value {
    pub text: String,
    pub origin: Origin,
}

/// The values of references.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sources<'a> {
    /// Values that expand everywhere.
    pub vars: &'a Variables,
    /// Values that expand only where the whole text is one reference.
    pub granted: &'a Variables,
}

/// Expands the references in a text, in one pass from left to right. The time is linear in the length of the text.
///
/// ```
/// use orghost_plugin::{Environment, Variable, expand};
///
/// let vars = vec![Variable { name: "USER".into(), value: "ada".into() }];
/// let environment = Environment { vars, granted: vec![] };
/// assert_eq!(expand("/home/$USER", &environment).text, "/home/ada");
/// ```
pub fn expand(text: &str, environment: &Environment) -> Expansion {
    let (vars, granted) = (
        variables(&environment.vars),
        variables(&environment.granted),
    );
    let sources = Sources {
        vars: &vars,
        granted: &granted,
    };
    sources.expand(text)
}

/// The variables of the operator. The last one with a name wins.
pub(crate) fn variables(list: &[Variable]) -> Variables {
    let value = |var: &Variable| Value {
        text: var.value.clone(),
        origin: Origin::Operator,
    };
    list.iter()
        .map(|var| (var.name.clone(), value(var)))
        .collect()
}

/// Whether a text contains a reference, even a malformed one.
pub(crate) fn has_reference(text: &str) -> bool {
    let mut scanner = Scanner::new(text);
    std::iter::from_fn(|| scanner.next()).any(|piece| !matches!(piece, Piece::Literal(_)))
}

impl Sources<'_> {
    pub fn expand(self, text: &str) -> Expansion {
        let mut out = String::with_capacity(text.len());
        let (mut unresolved, mut malformed, mut all) =
            (Names::default(), Names::default(), Names::default());
        let mut scanner = Scanner::new(text);
        while let Some(piece) = scanner.next() {
            match piece {
                Piece::Literal(literal) => out.push_str(literal),
                Piece::Malformed(group) => {
                    malformed.add(group);
                    out.push_str(group);
                }
                Piece::Reference { name, written } => {
                    all.add(name);
                    let whole = written.len() == text.len();
                    let granted = || self.granted.get(name).filter(|_| whole);
                    match self.vars.get(name).or_else(granted) {
                        Some(value) => out.push_str(&value.text),
                        None => {
                            unresolved.add(name);
                            out.push_str(if whole { "" } else { written });
                        }
                    }
                }
            }
        }
        // A text with references that expands to nothing counts as missing, so all its references are unresolved.
        let unresolved = if out.is_empty() { all } else { unresolved };
        Expansion {
            text: out,
            unresolved: unresolved.list,
            malformed: malformed.list,
        }
    }
}

/// A list of distinct names, in the order of their first appearance.
#[derive(Default)]
struct Names<'a> {
    list: Vec<String>,
    seen: BTreeSet<&'a str>,
}

impl<'a> Names<'a> {
    fn add(&mut self, name: &'a str) {
        if self.seen.insert(name) {
            self.list.push(name.to_owned());
        }
    }
}

/// A part of a text.
#[derive(Debug, PartialEq)]
enum Piece<'a> {
    Literal(&'a str),
    /// `$NAME` or `${NAME}`.
    Reference {
        name: &'a str,
        written: &'a str,
    },
    /// `${…}` whose inside is not a name.
    Malformed(&'a str),
}

/// Splits a text into its pieces. It cuts only at ASCII characters, so no cut splits a character.
struct Scanner<'a> {
    rest: &'a str,
    /// Whether the rest has no `}`. Without this the time for a long run of `${` would be quadratic.
    no_close: bool,
    /// How many bytes were looked at. A test checks that this is linear in the length of the text.
    #[cfg(test)]
    examined: usize,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            rest: text,
            no_close: false,
            #[cfg(test)]
            examined: 0,
        }
    }

    fn next(&mut self) -> Option<Piece<'a>> {
        let rest = self.rest;
        if rest.is_empty() {
            return None;
        }
        // A literal ends before a `$`. A `$` that begins no reference is a literal of its own.
        let Some(after) = rest.strip_prefix('$') else {
            let end = self.find(rest, '$').unwrap_or(rest.len());
            return Some(Piece::Literal(self.take(end)));
        };
        let bare = self.name_length(after);
        if bare > 0 {
            let written = self.take(1 + bare);
            let name = written.trim_start_matches('$');
            return Some(Piece::Reference { name, written });
        }
        let close = if after.starts_with('{') {
            self.close(after)
        } else {
            None
        };
        let Some(close) = close else {
            return Some(Piece::Literal(self.take(1)));
        };
        let written = self.take(1 + close + 1);
        let inside = written.get(2..written.len() - 1).unwrap_or_default();
        if !inside.is_empty() && self.name_length(inside) == inside.len() {
            Some(Piece::Reference {
                name: inside,
                written,
            })
        } else {
            Some(Piece::Malformed(written))
        }
    }

    fn take(&mut self, end: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }

    /// The position of the next `}`.
    fn close(&mut self, text: &'a str) -> Option<usize> {
        if self.no_close {
            return None;
        }
        let found = self.find(text, '}');
        self.no_close = found.is_none();
        found
    }

    fn find(&mut self, text: &str, character: char) -> Option<usize> {
        let found = text.find(character);
        self.count(found.unwrap_or(text.len()));
        found
    }

    /// The length of the name, `[A-Za-z_][A-Za-z0-9_]*`, with which a text begins, in bytes. 0 when there is none.
    fn name_length(&mut self, text: &str) -> usize {
        let length = name_length(text);
        self.count(length + 1);
        length
    }

    #[cfg(test)]
    fn count(&mut self, bytes: usize) {
        self.examined += bytes;
    }

    #[cfg(not(test))]
    fn count(&mut self, _bytes: usize) {}
}

fn name_length(text: &str) -> usize {
    let begins = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    if !text.as_bytes().first().is_some_and(begins) {
        return 0;
    }
    let continues = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    text.bytes().take_while(continues).count()
}

/// Whether a text is the name of a variable, `[A-Za-z_][A-Za-z0-9_]*`.
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty() && name_length(text) == text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of bytes that the scanner looks at.
    fn work(text: &str) -> usize {
        let mut scanner = Scanner::new(text);
        while scanner.next().is_some() {}
        scanner.examined
    }

    #[test]
    fn the_work_is_linear_in_the_length_of_the_text() {
        for unit in [
            "${", "$", "${A}", "${A", "$A", "a", "}", "${}", "{$", "${ ", "é$",
        ] {
            for end in ["", "}"] {
                let text = unit.repeat(100_000) + end;
                // Two searches and one name can look at the same byte.
                assert!(
                    work(&text) <= 4 * text.len(),
                    "{unit:?}: {} for {} bytes",
                    work(&text),
                    text.len()
                );
            }
        }
    }
}
