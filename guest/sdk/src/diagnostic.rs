//! Diagnostics: one error or warning, and a refusal with all errors.

use std::fmt;

use crate::{Diagnostic, Place};

impl Diagnostic {
    /// An error or a warning. `code` is stable and in lower case, such as `include-cycle`. `message` is one sentence
    /// that says what is wrong. No text may hold the value of a variable, or a part of one.
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

    /// Sets the place: a path in the template, the line, and the column in characters. Lines and columns count from 1,
    /// and 0 means unknown.
    #[must_use]
    pub fn at(mut self, file: impl Into<String>, line: u32, column: u32) -> Self {
        self.place = Some(Place {
            file: file.into(),
            line,
            column,
        });
        self
    }

    /// Sets the field, as a path: `workspaces[0].tier`.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Sets the name of the workspace.
    #[must_use]
    pub fn workspace(mut self, name: impl Into<String>) -> Self {
        self.workspace = Some(name.into());
        self
    }

    /// Sets the help: what to do about it.
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

/// The errors because of which there is no plan. `?` converts a single [`Diagnostic`].
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal(
    /// Never empty.
    Vec<Diagnostic>,
);

impl Refusal {
    /// Refuses when there are errors.
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
    /// The refusal, when `problems` is not empty.
    pub fn unless_empty(problems: impl IntoIterator<Item = Diagnostic>) -> Result<(), Self> {
        let problems: Vec<Diagnostic> = problems.into_iter().collect();
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Self(problems))
        }
    }

    /// The errors, in their order.
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
