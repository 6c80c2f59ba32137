//! Words for what is wrong: one problem after the other, and all of them together. It decides nothing.

use std::fmt;

use crate::{Diagnostic, Place};

impl Diagnostic {
    /// A problem or a warning: a stable, lower-case code such as `include-cycle`, and one sentence that says what is
    /// wrong. No text may hold a value of a variable, whole or in part.
    ///
    /// ```
    /// use orghost_plugin::Diagnostic;
    ///
    /// let problem = Diagnostic::new("no-owner", "the workspace has no owner")
    ///     .at("org.yaml", 7, 5)
    ///     .field("workspaces[0].owner")
    ///     .workspace("PM")
    ///     .help("add `owner`");
    /// assert_eq!(problem.place.map(|place| place.line), Some(7));
    /// ```
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            place: None,
            field: None,
            workspace: None,
            help: None,
        }
    }

    /// Where it stands: a path in the template, the line and the column, in characters. Both count from 1, and 0
    /// means unknown.
    #[must_use]
    pub fn at(mut self, file: impl Into<String>, line: u32, column: u32) -> Self {
        self.place = Some(Place {
            file: file.into(),
            line,
            column,
        });
        self
    }

    /// The field, as a path: `workspaces[0].tier`.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// The name of the workspace.
    #[must_use]
    pub fn workspace(mut self, name: impl Into<String>) -> Self {
        self.workspace = Some(name.into());
        self
    }

    /// What to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Place { file, line, column }) = &self.place {
            write!(f, "{file}:{line}:{column}: ")?;
        }
        write!(f, "{} [{}]", self.message, self.code)?;
        if let Some(help) = &self.help {
            write!(f, "; {help}")?;
        }
        Ok(())
    }
}

/// Why there is no plan: at least one problem. `?` makes it of a single [`Diagnostic`].
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal(
    /// Never empty.
    Vec<Diagnostic>,
);

impl Refusal {
    /// Refuses when there is any problem.
    ///
    /// ```
    /// use orghost_plugin::{Diagnostic, Refusal};
    ///
    /// fn check(names: &[&str]) -> Result<(), Refusal> {
    ///     let nameless = names.iter().filter(|name| name.is_empty());
    ///     Refusal::unless_empty(nameless.map(|_| Diagnostic::new("no-name", "it has no name")))
    /// }
    /// assert!(check(&["a"]).is_ok());
    /// assert_eq!(check(&["", ""]).unwrap_err().iter().count(), 2);
    /// ```
    ///
    /// # Errors
    /// The problems, when there are any.
    pub fn unless_empty(problems: impl IntoIterator<Item = Diagnostic>) -> Result<(), Self> {
        let problems: Vec<Diagnostic> = problems.into_iter().collect();
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Self(problems))
        }
    }

    /// The problems, in their order.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Refusal {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl From<Diagnostic> for Refusal {
    fn from(problem: Diagnostic) -> Self {
        Self(vec![problem])
    }
}

impl From<Refusal> for Vec<Diagnostic> {
    fn from(refusal: Refusal) -> Self {
        refusal.0
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.iter().enumerate() {
            let line = if number > 0 { "\n" } else { "" };
            write!(f, "{line}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}
