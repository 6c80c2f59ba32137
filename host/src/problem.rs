//! Why orghost did not do what it was asked, for whoever asked: the command line makes an exit code and a report of
//! it, the API a problem document (RFC 9457). Never renders, and never holds a secret.

use std::path::Path;

use crate::model::diagnostic::Diagnostic;
use crate::model::plugin::PluginName;
use crate::template::directory::TemplateDir;

/// Whose turn it is to do something about a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The operator's: the engine, the store, the machine, the network.
    Failed,
    /// The caller's: usage, or an invalid template or plugin.
    Invalid,
    /// The caller's, or the operator's: policy refuses.
    Refused,
    /// The caller's: there is no such thing.
    NotFound,
    /// The caller's: it does not fit with what is there now.
    Conflict,
    /// The caller's: required variables have no value.
    MissingEnv,
    /// Nobody's: there is too much to do just now; later it will work.
    Busy,
}

/// Why something was not done. All of it at once: there may be many errors.
#[derive(Debug)]
pub struct Problem {
    /// What kind of problem it is.
    pub class: Class,
    /// What is wrong, at least one.
    pub errors: Vec<Diagnostic>,
    /// The template that the errors are about: only its files are shown.
    pub template: Option<TemplateDir>,
}

impl Problem {
    /// A problem with one error.
    pub fn one(class: Class, error: Diagnostic) -> Self {
        Self {
            class,
            errors: vec![error],
            template: None,
        }
    }

    /// The same problem, of an installed plugin.
    #[must_use]
    pub fn of_plugin(mut self, name: &PluginName) -> Self {
        for error in &mut self.errors {
            error.message = format!("{name}: {}", error.message);
        }
        self
    }

    /// The same problem, with a file of the operator's as its place.
    #[must_use]
    pub fn in_file(mut self, file: &Path) -> Self {
        for error in &mut self.errors {
            error.file = Some(file.display().to_string());
        }
        self
    }
}
