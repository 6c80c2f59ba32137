//! Collects the errors and warnings about a template, so that they are reported together.
//!
//! Callers never put the value of a variable into a text.

use std::fmt;
use std::rc::Rc;

use super::limits;
use crate::{Diagnostic, Refusal};

/// A position in a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pos {
    pub file: Rc<str>,
    /// Counts from 1; 0 stands for the whole file.
    pub line: u32,
    /// In characters, counts from 1; 0 stands for the whole line.
    pub column: u32,
}

/// The place of a value: its position, its field and its workspace.
#[derive(Debug, Clone)]
pub(crate) struct At {
    pub pos: Pos,
    pub field: FieldPath,
    pub workspace: Option<Rc<str>>,
    /// The position of the alias that uses the value. `pos` is then inside the anchored node.
    pub alias: Option<Rc<Pos>>,
}

/// A path in the composed document, such as `workspaces[0].tier`. Paths share their parents, so a path takes the same
/// memory at any depth. Its text is made only for a message.
#[derive(Debug, Clone, Default)]
pub(crate) struct FieldPath(Option<Rc<(FieldPath, Step)>>);

#[derive(Debug)]
enum Step {
    Key(Rc<str>),
    Index(usize),
}

/// Errors and warnings, at most [`limits::DIAGNOSTICS`] of each.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
    errors_left_out: usize,
    warnings_left_out: usize,
    suggestions: usize,
}

impl At {
    /// A place outside of the fields: a file, or a line of it.
    pub fn outside(pos: Pos) -> Self {
        Self {
            pos,
            field: FieldPath::default(),
            workspace: None,
            alias: None,
        }
    }
}

impl FieldPath {
    pub fn key(&self, key: impl Into<Rc<str>>) -> Self {
        Self(Some(Rc::new((self.clone(), Step::Key(key.into())))))
    }

    pub fn index(&self, index: usize) -> Self {
        Self(Some(Rc::new((self.clone(), Step::Index(index)))))
    }

    /// The last key and the indices after it: `tier` for `workspaces[0].tier`, and `workspaces[0]` for `workspaces[0]`.
    pub fn last(&self) -> String {
        let mut below = Vec::new();
        for step in self.up() {
            below.push(step);
            if matches!(step, Step::Key(_)) {
                break;
            }
        }
        below.into_iter().rev().map(Step::to_string).collect()
    }

    fn up(&self) -> impl Iterator<Item = &Step> {
        let mut here = self;
        std::iter::from_fn(move || {
            let (above, step) = here.0.as_deref()?;
            here = above;
            Some(step)
        })
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps: Vec<&Step> = self.up().collect();
        for (number, step) in steps.into_iter().rev().enumerate() {
            if number > 0 && matches!(step, Step::Key(_)) {
                f.write_str(".")?;
            }
            write!(f, "{step}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => match shortened(key) {
                (key, false) => f.write_str(key),
                (key, true) => write!(f, "{key}…"),
            },
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}

impl Diagnostic {
    /// Sets the place, the field and the workspace.
    pub(crate) fn about(self, at: &At) -> Self {
        Self {
            field: Some(at.field.to_string()).filter(|field| !field.is_empty()),
            workspace: at.workspace.as_deref().map(str::to_owned),
            ..self.used(at.alias.as_deref()).on(&at.pos)
        }
    }

    /// Adds the position of the alias that uses the wrong value.
    fn used(mut self, alias: Option<&Pos>) -> Self {
        if let Some(alias) = alias {
            self.message += &format!("; an alias in {alias} uses this");
        }
        self
    }

    /// Sets the place.
    pub(crate) fn on(self, pos: &Pos) -> Self {
        self.at(&*pos.file, pos.line, pos.column)
    }
}

impl Pos {
    /// A line of a file; line 0 stands for the whole file.
    pub fn of_file(file: &str, line: u32) -> Self {
        Self {
            file: file.into(),
            line,
            column: 0,
        }
    }
}

/// `org.yaml:7`
impl fmt::Display for Pos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl Problems {
    /// Adds an error: there is no plan.
    pub fn error(&mut self, diagnostic: Diagnostic) {
        push(&mut self.errors, &mut self.errors_left_out, diagnostic);
    }

    /// Adds a warning, which goes into the plan.
    pub fn warn(&mut self, diagnostic: Diagnostic) {
        push(&mut self.warnings, &mut self.warnings_left_out, diagnostic);
    }

    /// Adds an error, unless there is one with the same code.
    pub fn error_once(&mut self, diagnostic: Diagnostic) {
        if self
            .errors
            .iter()
            .any(|known| known.code == diagnostic.code)
        {
            self.errors_left_out += 1;
        } else {
            self.error(diagnostic);
        }
    }

    /// The number of errors so far.
    pub fn errors(&self) -> usize {
        self.errors.len() + self.errors_left_out
    }

    /// `, did you mean `x`?` when the text is similar to a candidate, and nothing otherwise.
    pub fn did_you_mean<'a>(
        &mut self,
        text: &str,
        candidates: impl IntoIterator<Item = &'a str>,
    ) -> String {
        self.suggestions += 1;
        if self.suggestions > limits::SUGGESTIONS {
            return String::new();
        }
        did_you_mean(text, candidates)
    }

    /// The warnings, sorted by place.
    ///
    /// # Errors
    /// The errors, sorted by place, when there are any.
    pub fn finish(self) -> Result<Vec<Diagnostic>, Refusal> {
        let errors = ordered(self.errors, self.errors_left_out, "errors");
        Refusal::unless_empty(errors)?;
        Ok(ordered(self.warnings, self.warnings_left_out, "warnings"))
    }
}

fn push(list: &mut Vec<Diagnostic>, left_out: &mut usize, diagnostic: Diagnostic) {
    if list.len() < limits::DIAGNOSTICS {
        list.push(diagnostic);
    } else {
        *left_out += 1;
    }
}

/// Sorts by file, line and column. Diagnostics with the same place keep their order.
fn ordered(mut list: Vec<Diagnostic>, left_out: usize, what: &str) -> Vec<Diagnostic> {
    list.sort_by(|a, b| place(a).cmp(&place(b)));
    if left_out > 0 {
        let message = format!("there are {left_out} more {what}");
        list.push(Diagnostic::new("too-many-problems", message));
    }
    list
}

fn place(diagnostic: &Diagnostic) -> Option<(&str, u32, u32)> {
    let place = diagnostic.place.as_ref()?;
    Some((&place.file, place.line, place.column))
}

fn did_you_mean<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    /// Bytes. A longer text is rarely a typing error, and the comparison takes quadratic time.
    const LONGEST: usize = 40;
    if text.len() > LONGEST {
        return String::new();
    }
    let lower = text.to_lowercase();
    let farthest = 1 + text.len() / 5;
    candidates
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(text.len()) <= farthest)
        .filter(|candidate| letters_apart(&lower, candidate) <= farthest)
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, _)| *distance <= farthest)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| format!(", did you mean `{candidate}`?"))
        .unwrap_or_default()
}

/// A lower bound of the distance of two texts, which is computed faster than the distance.
fn letters_apart(a: &str, b: &str) -> usize {
    if !a.is_ascii() || !b.is_ascii() {
        return 0;
    }
    // Letters with the same last five bits, such as small and capital ones, count as equal.
    let mut counts = [0_i32; 32];
    let mut count = |text: &str, by: i32| {
        for byte in text.bytes() {
            if let Some(count) = counts.get_mut(usize::from(byte & 31)) {
                *count += by;
            }
        }
    };
    count(a, 1);
    count(b, -1);
    let more: i32 = counts.iter().filter(|count| **count > 0).sum();
    let less: i32 = counts.iter().filter(|count| **count < 0).sum();
    usize::try_from(more.max(-less)).unwrap_or_default()
}

/// The first names of a list, separated by commas, and the number of the others.
pub(crate) fn listed(names: impl IntoIterator<Item = String>) -> String {
    const SHOWN: usize = 10;
    let mut names = names.into_iter();
    let short = |name: String| match shortened(&name) {
        (_, false) => name,
        (name, true) => format!("{name}…"),
    };
    let shown: Vec<String> = names.by_ref().take(SHOWN).map(short).collect();
    match names.count() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// A text in quotes, cut to a length that suits a message.
pub(crate) fn quoted(text: &str) -> String {
    match shortened(text) {
        (text, false) => format!("{text:?}"),
        (text, true) => format!("{text:?}…"),
    }
}

/// The beginning of a text, short enough for a message, and whether the text was cut.
fn shortened(text: &str) -> (&str, bool) {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        None => (text, false),
        Some((end, _)) => (text.get(..end).unwrap_or_default(), true),
    }
}
