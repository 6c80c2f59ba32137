//! Collects what is wrong with a template, so that everything is reported at once. It decides nothing, and a
//! text handed to it never holds a value of a variable.

use std::rc::Rc;

use crate::limits;
use crate::{Diagnostic, Place};

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
    /// Path in the composed document, such as `workspaces[0].tier`.
    pub field: Rc<str>,
    pub workspace: Option<Rc<str>>,
}

/// Errors and warnings, bounded by [`limits::DIAGNOSTICS`] each.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
    errors_left_out: usize,
    warnings_left_out: usize,
}

impl Diagnostic {
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            place: None,
            field: None,
            workspace: None,
            help: None,
        }
    }

    pub(crate) fn at(self, at: &At) -> Self {
        Self {
            field: (!at.field.is_empty()).then(|| at.field.to_string()),
            workspace: at.workspace.as_deref().map(str::to_owned),
            ..self.on(&at.pos)
        }
    }

    pub(crate) fn on(mut self, pos: &Pos) -> Self {
        self.place = Some(Place {
            file: pos.file.to_string(),
            line: pos.line,
            column: pos.column,
        });
        self
    }

    pub(crate) fn hint(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
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

impl Problems {
    /// Something for which there is no plan.
    pub fn error(&mut self, diagnostic: Diagnostic) {
        push(&mut self.errors, &mut self.errors_left_out, diagnostic);
    }

    /// Something that the author of the template should know.
    pub fn warn(&mut self, diagnostic: Diagnostic) {
        push(&mut self.warnings, &mut self.warnings_left_out, diagnostic);
    }

    /// How many errors there are.
    pub fn errors(&self) -> usize {
        self.errors.len() + self.errors_left_out
    }

    /// Whether more errors would only be counted: no need then to think about what was meant.
    pub fn is_full(&self) -> bool {
        self.errors.len() >= limits::DIAGNOSTICS || self.warnings.len() >= limits::DIAGNOSTICS
    }

    /// The warnings, or else the errors; both in the order of their places.
    pub fn finish(self) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
        if self.errors.is_empty() {
            Ok(ordered(self.warnings, self.warnings_left_out, "warnings"))
        } else {
            Err(ordered(self.errors, self.errors_left_out, "errors"))
        }
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

/// `, did you mean `x`?` when one of the candidates is near, or nothing.
pub(crate) fn did_you_mean<'a>(
    text: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> String {
    /// Longer texts are no typing errors, and the comparison is quadratic.
    const LONGEST: usize = 40;
    if text.len() > LONGEST {
        return String::new();
    }
    let lower = text.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, _)| *distance <= 1 + text.len() / 5)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| format!(", did you mean `{candidate}`?"))
        .unwrap_or_default()
}

/// Quoted and short enough for a message.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
    }
}
