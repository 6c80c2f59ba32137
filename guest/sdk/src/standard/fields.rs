//! Reads typed values from nodes, as leniently as org-template.md §1 says, and reports values of a wrong type. It knows
//! the types of fields, and not the fields of a template.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::node::{Node, Pair, Value};
use super::problems::{At, FieldPath, Problems, quoted};
use super::{limits, text};
use crate::Diagnostic;

/// A text of a template, and its place.
#[derive(Debug, Clone)]
pub(crate) struct Text {
    pub text: String,
    pub at: At,
}

/// A number of a template, and its place.
#[derive(Debug, Clone)]
pub(crate) struct Number {
    pub number: i64,
    pub at: At,
}

/// The state of reading a template: the problems, and the unknown keys that were reported already.
pub(crate) struct Reader<'a> {
    pub problems: &'a mut Problems,
    /// Files and keys.
    unknown: BTreeSet<(Rc<str>, Rc<str>)>,
}

/// A value of any type, and its place.
#[derive(Debug, Clone)]
pub(crate) struct Field<'a> {
    pub node: &'a Node,
    pub at: At,
}

/// A mapping whose fields are read one after the other. The keys that were never asked for are unknown keys.
pub(crate) struct Fields<'a> {
    pairs: &'a [Pair],
    /// Whether each pair was asked for.
    asked: Vec<bool>,
    pub at: At,
    known: Vec<&'static str>,
}

impl<'a> Reader<'a> {
    pub fn new(problems: &'a mut Problems) -> Self {
        Self {
            problems,
            unknown: BTreeSet::new(),
        }
    }

    fn wrong_type(&mut self, field: &Field<'_>, wanted: &str) {
        let found = match &field.node.value {
            Value::Scalar { text, .. } if !field.node.is_null() => quoted(text),
            _ => field.node.kind().to_owned(),
        };
        let name = name_of(&field.at.field);
        let message = format!("{name} is {wanted}, and this is {found}");
        self.problems
            .error(Diagnostic::new("wrong-type", message).about(&field.at));
    }
}

fn name_of(field: &FieldPath) -> String {
    match field.last().as_str() {
        "" => "the document".to_owned(),
        name => format!("`{name}`"),
    }
}

impl<'a> Field<'a> {
    /// The whole document.
    pub fn root(node: &'a Node) -> Self {
        Self {
            node,
            at: At::outside(node.pos.clone()),
        }
    }

    /// A scalar as it is spelled. `None` for null, for an empty text, and after a reported problem.
    pub fn text(&self, reader: &mut Reader<'_>) -> Option<Text> {
        match &self.node.value {
            _ if self.node.is_null() => None,
            Value::Scalar { text, .. } => {
                if let Some(found) = text::forbidden(text) {
                    let message = format!("{} has the character {found}", name_of(&self.at.field));
                    let help = "texts are made of printable characters, tabs and line feeds";
                    let problem = Diagnostic::new("control-character", message)
                        .about(&self.at)
                        .help(help);
                    reader.problems.error(problem);
                    return None;
                }
                let text = text::line_feeds(text);
                (!text.is_empty()).then(|| Text {
                    text,
                    at: self.at.clone(),
                })
            }
            Value::Omitted => None,
            _ => {
                reader.wrong_type(self, "a text");
                None
            }
        }
    }

    fn number(&self, reader: &mut Reader<'_>) -> Option<Number> {
        let parsed = match &self.node.value {
            Value::Scalar { text, .. } => integer(text),
            _ => None,
        };
        if parsed.is_none() {
            reader.wrong_type(self, "a whole number");
        }
        parsed.map(|number| Number {
            number,
            at: self.at.clone(),
        })
    }

    fn decimal(&self, reader: &mut Reader<'_>) -> Option<f64> {
        let parsed = match &self.node.value {
            Value::Scalar { text, .. } => {
                text.parse::<f64>().ok().filter(|number| number.is_finite())
            }
            _ => None,
        };
        if parsed.is_none() {
            reader.wrong_type(self, "a number");
        }
        parsed
    }

    fn flag(&self, reader: &mut Reader<'_>) -> Option<bool> {
        let parsed = match &self.node.value {
            Value::Scalar { text, .. } => boolean(text),
            _ => None,
        };
        if parsed.is_none() {
            reader.wrong_type(self, "`true` or `false`");
        }
        parsed
    }

    /// The items of a list. Empty for null, and after a reported problem.
    pub fn items(&self, reader: &mut Reader<'_>) -> Vec<Field<'a>> {
        match &self.node.value {
            Value::Omitted => Vec::new(),
            _ if self.node.is_null() => Vec::new(),
            Value::List(list) => list
                .iter()
                .enumerate()
                .filter(|(_, node)| !matches!(node.value, Value::Omitted))
                .map(|(index, node)| Field {
                    at: self.at.below(self.at.field.index(index), node),
                    node,
                })
                .collect(),
            _ => {
                reader.wrong_type(self, "a list");
                Vec::new()
            }
        }
    }

    /// The items of a list of texts, without empty ones.
    pub fn texts(&self, reader: &mut Reader<'_>) -> Vec<Text> {
        self.items(reader)
            .iter()
            .filter_map(|item| item.text(reader))
            .collect()
    }

    /// The pairs of a mapping with any keys. Empty for null, and after a reported problem.
    pub fn entries(&self, reader: &mut Reader<'_>) -> Vec<(Rc<str>, Field<'a>)> {
        let Value::Map(pairs) = &self.node.value else {
            if !self.node.is_null() && !matches!(self.node.value, Value::Omitted) {
                reader.wrong_type(self, "a mapping");
            }
            return Vec::new();
        };
        let mut entries = Vec::with_capacity(pairs.len());
        for pair in pairs
            .iter()
            .filter(|pair| !matches!(pair.value.value, Value::Omitted))
        {
            let key = &pair.key;
            let wrong = match text::forbidden(key) {
                Some(found) => Some(("control-character", format!("has the character {found}"))),
                None if key.chars().nth(limits::KEY_CHARS).is_some() => {
                    let why = format!("has more than {} characters", limits::KEY_CHARS);
                    Some(("key-too-long", why))
                }
                None => None,
            };
            if let Some((code, why)) = wrong {
                let message = format!("the key {} {why}", quoted(key));
                let problem = Diagnostic::new(code, message).about(&self.at).on(&pair.pos);
                reader.problems.error(problem);
                continue;
            }
            entries.push((Rc::clone(key), Field::of(pair, &self.at)));
        }
        entries
    }

    /// A mapping with known keys. `None` after a reported problem.
    pub fn fields(&self, reader: &mut Reader<'_>) -> Option<Fields<'a>> {
        let Value::Map(pairs) = &self.node.value else {
            if !matches!(self.node.value, Value::Omitted) {
                reader.wrong_type(self, "a mapping");
            }
            return None;
        };
        Some(Fields {
            pairs,
            asked: vec![false; pairs.len()],
            at: self.at.clone(),
            known: Vec::with_capacity(32),
        })
    }

    /// The value of a pair of the mapping at `above`.
    fn of(pair: &'a Pair, above: &At) -> Self {
        let mut at = above.below(above.field.key(Rc::clone(&pair.key)), &pair.value);
        if let (None, Some(merged)) = (&above.alias, &pair.alias) {
            at.alias = Some(Rc::new(merged.clone()));
        }
        Self {
            node: &pair.value,
            at,
        }
    }
}

impl At {
    fn below(&self, field: FieldPath, node: &Node) -> Self {
        Self {
            pos: node.pos.clone(),
            field,
            workspace: self.workspace.clone(),
            // A message names the outermost alias, because that one is in the place where the value is used.
            alias: self
                .alias
                .clone()
                .or_else(|| node.alias.clone().map(Rc::new)),
        }
    }
}

impl<'a> Fields<'a> {
    /// A field; `None` when it is missing or null.
    pub fn get(&mut self, key: &'static str) -> Option<Field<'a>> {
        self.known.push(key);
        let mut pairs = self.pairs.iter().zip(&mut self.asked);
        let (pair, asked) = pairs.find(|(pair, _)| *pair.key == *key)?;
        *asked = true;
        let absent = pair.value.is_null() || matches!(pair.value.value, Value::Omitted);
        (!absent).then(|| Field::of(pair, &self.at))
    }

    /// A required text. It is an error when it is missing or blank. `what` has the field, as in "a workspace".
    pub fn required(
        &mut self,
        key: &'static str,
        what: &str,
        reader: &mut Reader<'_>,
    ) -> Option<Text> {
        let before = reader.problems.errors();
        let text = self
            .text(key, reader)
            .filter(|text| !text.text.trim().is_empty());
        let pair = self.pairs.iter().find(|pair| *pair.key == *key);
        let explained = reader.problems.errors() > before
            || pair.is_some_and(|pair| matches!(pair.value.value, Value::Omitted));
        if text.is_none() && !explained {
            let mut at = self.at.clone();
            at.field = at.field.key(key);
            at.pos = pair.map_or(at.pos, |pair| pair.value.pos.clone());
            let code = format!("{}-missing", key.replace('_', "-"));
            reader
                .problems
                .error(Diagnostic::new(&code, format!("{what} needs `{key}`")).about(&at));
        }
        text
    }

    pub fn text(&mut self, key: &'static str, reader: &mut Reader<'_>) -> Option<Text> {
        self.get(key)?.text(reader)
    }

    pub fn number(&mut self, key: &'static str, reader: &mut Reader<'_>) -> Option<Number> {
        self.get(key)?.number(reader)
    }

    pub fn decimal(&mut self, key: &'static str, reader: &mut Reader<'_>) -> Option<f64> {
        self.get(key)?.decimal(reader)
    }

    pub fn flag(&mut self, key: &'static str, reader: &mut Reader<'_>) -> Option<bool> {
        self.get(key)?.flag(reader)
    }

    pub fn texts(&mut self, key: &'static str, reader: &mut Reader<'_>) -> Vec<Text> {
        self.get(key)
            .map(|field| field.texts(reader))
            .unwrap_or_default()
    }

    /// The items of a list, each read by `read`.
    pub fn list<T>(
        &mut self,
        key: &'static str,
        reader: &mut Reader<'_>,
        mut read: impl FnMut(&Field<'a>, &mut Reader<'_>) -> Option<T>,
    ) -> Vec<T> {
        let items = self
            .get(key)
            .map(|field| field.items(reader))
            .unwrap_or_default();
        items.iter().filter_map(|item| read(item, reader)).collect()
    }

    /// Warns of the unknown keys, once per key and file.
    pub fn finish(self, reader: &mut Reader<'_>) {
        let pairs = self.pairs.iter().zip(&self.asked);
        let unknown = pairs.filter(|(_, asked)| !**asked).map(|(pair, _)| pair);
        let mut unknown: Vec<&Pair> = unknown.collect();
        unknown.sort_by(|a, b| a.key.cmp(&b.key));
        for pair in unknown {
            let key = &*pair.key;
            let place = (Rc::clone(&pair.pos.file), Rc::clone(&pair.key));
            if !reader.unknown.insert(place) {
                continue;
            }
            let known = self.known.iter().copied();
            let near = reader.problems.did_you_mean(key, known);
            let message = format!("the key {} has no effect here{near}", quoted(key));
            let warning = Diagnostic::new("unknown-key", message)
                .about(&Field::of(pair, &self.at).at)
                .on(&pair.pos);
            reader.problems.warn(warning);
        }
    }
}

/// Reads the spellings of YAML 1.1, because templates use them.
fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "y" | "yes" | "on" => Some(true),
        "false" | "n" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// Reads a whole number: `-12`, `0x1f`, `0o17`, `0b11`.
fn integer(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let prefixed = |prefix| digits.strip_prefix(prefix);
    let (digits, radix) = match (prefixed("0x"), prefixed("0o"), prefixed("0b")) {
        (Some(digits), _, _) => (digits, 16),
        (_, Some(digits), _) => (digits, 8),
        (_, _, Some(digits)) => (digits, 2),
        _ => (digits, 10),
    };
    if !digits.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return None;
    }
    i64::from_str_radix(&format!("{sign}{digits}"), radix).ok()
}
