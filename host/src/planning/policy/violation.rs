//! A rule that a plan breaks, and how the checks of the policy collect them.

use serde::Serialize;

use crate::limits;
use crate::model::diagnostic::Diagnostic;
use crate::model::plan::{Plan, WorkspaceKey};

/// One rule that a plan breaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// A stable, lower-case code such as `tier-not-allowed`.
    pub code: &'static str,
    /// The workspace that breaks the rule; absent when the whole org does.
    pub workspace: Option<WorkspaceKey>,
    /// What is not allowed.
    pub message: String,
    /// How to allow it, or what to change.
    pub help: String,
    /// The template file that breaks the rule, when it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line in that file, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
}

/// A plan that policy refused, with every rule that it breaks.
#[derive(Debug)]
pub struct Rejected {
    /// The plan, to be shown beside the violations.
    pub plan: Plan,
    /// The violations: at least one, and at most [`limits::VIOLATIONS`].
    pub violations: Vec<Violation>,
}

impl Violation {
    fn new(
        code: &'static str,
        workspace: Option<&WorkspaceKey>,
        message: String,
        help: &str,
    ) -> Self {
        Self {
            code,
            workspace: workspace.cloned(),
            message,
            help: help.to_owned(),
            file: None,
            line: None,
        }
    }
}

impl From<&Violation> for Diagnostic {
    fn from(violation: &Violation) -> Self {
        let mut diagnostic = Self::new(violation.code, &violation.message).help(&violation.help);
        diagnostic.workspace = violation.workspace.as_ref().map(ToString::to_string);
        diagnostic.file.clone_from(&violation.file);
        diagnostic.line = violation.line;
        diagnostic
    }
}

/// The violations found so far. Keeps the first [`limits::VIOLATIONS`] of them.
#[derive(Default)]
pub(super) struct Violations {
    pub(super) list: Vec<Violation>,
}

impl Violations {
    /// Adds a violation of the whole org.
    pub(super) fn org(&mut self, code: &'static str, message: String, help: &str) {
        self.add(Violation::new(code, None, message, help));
    }

    pub(super) fn add(&mut self, violation: Violation) {
        if self.list.len() < limits::VIOLATIONS {
            self.list.push(violation);
        }
    }
}

/// Collects the violations of one workspace.
pub(super) struct WorkspaceViolations<'a> {
    pub(super) key: &'a WorkspaceKey,
    pub(super) violations: &'a mut Violations,
}

impl WorkspaceViolations<'_> {
    pub(super) fn add(&mut self, code: &'static str, message: String, help: &str) {
        let violation = Violation::new(code, Some(self.key), message, help);
        self.violations.add(violation);
    }
}

/// The first five names of a list and the number of the others: a message with 42 names is not read.
pub(super) fn listed(names: &[&str]) -> String {
    const SHOWN: usize = 5;
    match names.get(..SHOWN) {
        Some(first) if names.len() > SHOWN => {
            format!("{} and {} more", first.join(", "), names.len() - SHOWN)
        }
        _ => names.join(", "),
    }
}
