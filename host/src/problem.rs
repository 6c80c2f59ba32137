//! Why a request failed. The command line turns a problem into an exit code and a report, the API into a problem document
//! (RFC 9457). A problem renders nothing and never holds a secret.

use std::path::Path;

use crate::model::diagnostic::Diagnostic;
use crate::model::plugin::PluginName;
use crate::template::directory::TemplateDir;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The engine, the store, the machine or the network failed. The operator can do something about it.
    Failed,
    /// The request, the template or the plugin is not valid. The caller can correct it.
    Invalid,
    /// Policy or a missing permission forbids it. The operator can allow it.
    Refused,
    /// What the caller named does not exist.
    NotFound,
    /// The request contradicts the present state, such as a start of a workspace that was removed.
    Conflict,
    /// Required variables have no value. The caller can set them.
    MissingEnv,
    /// The host has too much to do or is stopping. The caller can try again later.
    Busy,
}

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
