//! Expands references in a text (expander.md). It never fails, never looks at a result again, and never puts a
//! granted value into other text.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Environment, Expansion, Origin, Variable};

/// Names and values.
pub(crate) type Variables = BTreeMap<String, Value>;

/// The value of a variable, and who set it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Value {
    pub text: String,
    pub origin: Origin,
}

/// Where the values of references come from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sources<'a> {
    /// Expands everywhere.
    pub vars: &'a Variables,
    /// Expands where a whole text is one reference.
    pub granted: &'a Variables,
}

/// Expands the references in a text. One pass from left to right, linear in the length of the text.
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

/// Variables of the operator. The last of several with the same name wins.
pub(crate) fn variables(list: &[Variable]) -> Variables {
    let value = |var: &Variable| Value {
        text: var.value.clone(),
        origin: Origin::Operator,
    };
    list.iter()
        .map(|var| (var.name.clone(), value(var)))
        .collect()
}

/// Whether a text has a reference at all, well-formed or not.
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
        // A value that references make up, and that is empty, is as good as missing.
        let unresolved = if out.is_empty() { all } else { unresolved };
        Expansion {
            text: out,
            unresolved: unresolved.list,
            malformed: malformed.list,
        }
    }
}

/// Texts in the order of their first appearance, each once.
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

/// What a text consists of.
#[derive(Debug, PartialEq)]
enum Piece<'a> {
    Literal(&'a str),
    /// `$NAME` or `${NAME}`.
    Reference {
        name: &'a str,
        written: &'a str,
    },
    /// `${…}` around anything but a name.
    Malformed(&'a str),
}

/// Takes a text apart. All positions are ASCII characters, so that no slice splits a character.
struct Scanner<'a> {
    rest: &'a str,
    /// No `}` remains: what makes a long run of `${` linear.
    no_close: bool,
    /// Bytes that were looked at, for the test that the work is linear.
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
        // A literal ends before a `$`; a `$` that begins nothing is a literal by itself.
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

    /// Where the next `}` is.
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

    /// How many bytes at the beginning of a text are a name, `[A-Za-z_][A-Za-z0-9_]*`.
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
    let goes_on = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    text.bytes().take_while(goes_on).count()
}

/// Whether a text is the name of a variable, `[A-Za-z_][A-Za-z0-9_]*`.
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty() && name_length(text) == text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many bytes the scanner looks at.
    fn work(text: &str) -> usize {
        let mut scanner = Scanner::new(text);
        while scanner.next().is_some() {}
        scanner.examined
    }

    #[test]
    fn the_work_is_linear() {
        for unit in [
            "${", "$", "${A}", "${A", "$A", "a", "}", "${}", "{$", "${ ", "é$",
        ] {
            for end in ["", "}"] {
                let text = unit.repeat(100_000) + end;
                // Two searches and one name may look at the same byte.
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
