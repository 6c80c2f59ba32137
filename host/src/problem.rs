//! Why a request failed. The command line turns a problem into an exit code and a report, the API into a problem document
//! (RFC 9457). A problem renders nothing and never holds a secret.

use std::path::Path;

pub use crate::model::diagnostic::Class;
use crate::model::diagnostic::Diagnostic;
use crate::model::plugin::PluginName;
use crate::template::directory::TemplateDir;

/// Why a request failed. It holds all errors, so that the caller can correct them at once.
#[derive(Debug)]
pub struct Problem {
    /// What happened.
    pub class: Class,
    /// The errors, at least one.
    pub errors: Vec<Diagnostic>,
    /// The template that the errors are about. The report shows lines of its files only.
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

    /// Puts the name of an installed plugin before each message.
    #[must_use]
    pub fn of_plugin(mut self, name: &PluginName) -> Self {
        for error in &mut self.errors {
            error.message = format!("{name}: {}", error.message);
        }
        self
    }

    /// Sets the file of each error.
    #[must_use]
    pub fn in_file(mut self, file: &Path) -> Self {
        for error in &mut self.errors {
            error.file = Some(file.display().to_string());
        }
        self
    }
}
