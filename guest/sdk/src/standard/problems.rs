//! Collects what is wrong with a template, so that everything is reported at once. It decides nothing, and a
//! text handed to it never holds a value of a variable.

use std::fmt;
use std::rc::Rc;

use super::limits;
use crate::{Diagnostic, Refusal};

/// Where something stands in a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pos {
    pub file: Rc<str>,
    /// From 1; 0 when it is about the whole file.
    pub line: u32,
    /// In characters, from 1; 0 when it is about the whole line.
    pub column: u32,
}

/// Where something stands, and what it is: its file, its field and its workspace.
#[derive(Debug, Clone)]
pub(crate) struct At {
    pub pos: Pos,
    pub field: FieldPath,
    pub workspace: Option<Rc<str>>,
    /// Where the alias stands through which it is used; `pos` is then in what the alias stands for.
    pub alias: Option<Rc<Pos>>,
}

/// Path in the composed document, such as `workspaces[0].tier`. What is above is shared, so that a place costs the
/// same however deep it is; the text is made when there is something to say.
#[derive(Debug, Clone, Default)]
pub(crate) struct FieldPath(Option<Rc<(FieldPath, Step)>>);

#[derive(Debug)]
enum Step {
    Key(Rc<str>),
    Index(usize),
}

/// Errors and warnings, bounded by [`limits::DIAGNOSTICS`] each.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
    errors_left_out: usize,
    warnings_left_out: usize,
    suggestions: usize,
}

impl At {
    /// A place that is no field: a file or a line of it.
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

    /// The last key and what follows it: `tier` of `workspaces[0].tier`, `workspaces[0]` of itself.
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
    /// Where it stands, and what it is about.
    pub(crate) fn about(self, at: &At) -> Self {
        Self {
            field: Some(at.field.to_string()).filter(|field| !field.is_empty()),
            workspace: at.workspace.as_deref().map(str::to_owned),
            ..self.used(at.alias.as_deref()).on(&at.pos)
        }
    }

    /// Says where the alias stands that brought the problem to where it is one.
    fn used(mut self, alias: Option<&Pos>) -> Self {
        if let Some(alias) = alias {
            self.message += &format!("; an alias in {alias} uses this");
        }
        self
    }

    /// Where it stands.
    pub(crate) fn on(self, pos: &Pos) -> Self {
        self.at(&*pos.file, pos.line, pos.column)
    }
}

impl Pos {
    /// A whole file, or a line of it.
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
    /// Something for which there is no plan.
    pub fn error(&mut self, diagnostic: Diagnostic) {
        push(&mut self.errors, &mut self.errors_left_out, diagnostic);
    }

    /// Something that the author of the template should know.
    pub fn warn(&mut self, diagnostic: Diagnostic) {
        push(&mut self.warnings, &mut self.warnings_left_out, diagnostic);
    }

    /// As [`Problems::error`], but only the first of its code is kept.
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

    /// How many errors there are.
    pub fn errors(&self) -> usize {
        self.errors.len() + self.errors_left_out
    }

    /// `, did you mean `x`?` when one of the candidates is near, or nothing.
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

    /// The warnings, or else the errors; both in the order of their places.
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

/// By file, line and column; what is about the same place stays in the order in which it was found.
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
    /// Longer texts are no typing errors, and the comparison is quadratic.
    const LONGEST: usize = 40;
    if text.len() > LONGEST {
        return String::new();
    }
    let lower = text.to_lowercase();
    let farthest = 1 + text.len() / 5;
    candidates
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(text.len()) <= farthest)
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

/// The first few of a list of names, separated by commas.
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

/// Quoted and short enough for a message.
pub(crate) fn quoted(text: &str) -> String {
    match shortened(text) {
        (text, false) => format!("{text:?}"),
        (text, true) => format!("{text:?}…"),
    }
}

/// What of a text fits into a message, and whether that is less than all.
fn shortened(text: &str) -> (&str, bool) {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        None => (text, false),
        Some((end, _)) => (text.get(..end).unwrap_or_default(), true),
    }
}
