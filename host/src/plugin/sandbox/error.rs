//! Why the sandbox does not start, why a plugin is not loaded, and why a call fails, with their translation into problems.

use orghost_build::inspect::{ContractError, InspectError};

use crate::model::diagnostic::Diagnostic;
use crate::problem::{Class, Problem};
use crate::template::directory::TemplateDir;

/// The WebAssembly engine does not start, so this process can run no plugins.
#[derive(Debug, thiserror::Error)]
#[error("the WebAssembly engine does not start: {0:#}")]
pub struct SandboxError(pub(super) wasmtime::Error);

/// Why a plugin was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file is not a WebAssembly component.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// The component violates the contract, such as by an import that is not granted.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// wasmtime refused the component.
    #[error("the component is not valid: {0}")]
    Invalid(String),
}

/// Why a call into a plugin gave no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The plugin rejected the template because of these errors.
    #[error("the template has {} error(s)", .0.len())]
    Rejected(Vec<Diagnostic>),
    /// The plugin trapped or exceeded a limit.
    #[error("the plugin failed: {reason}")]
    Failed {
        /// The trap or the limit.
        reason: String,
        /// Who can correct it, and how.
        help: &'static str,
    },
    /// The plugin's answer violates the contract.
    #[error("the plugin returned a plan that violates the contract: {0}")]
    InvalidAnswer(String),
    /// The plugin does not export this interface.
    #[error("the plugin does not export `{0}`")]
    NotExported(&'static str),
}

impl From<SandboxError> for Problem {
    fn from(error: SandboxError) -> Self {
        let help = "orghost needs 64-bit Linux or macOS, and free address space (see `ulimit -v`)";
        Self::one(
            Class::Failed,
            Diagnostic::new("sandbox", error.to_string()).help(help),
        )
    }
}

impl From<LoadError> for Problem {
    fn from(error: LoadError) -> Self {
        let code = match &error {
            LoadError::Inspect(_) => "plugin-not-a-component",
            LoadError::Contract(_) => "plugin-contract",
            LoadError::Invalid(_) => "plugin-invalid",
        };
        Self::one(Class::Invalid, Diagnostic::new(code, error.to_string()))
    }
}

impl CallError {
    /// Translates the error of a call about `template` into a problem.
    pub fn into_problem(self, template: Option<&TemplateDir>) -> Problem {
        let message = self.to_string();
        let diagnostic = match self {
            Self::Rejected(errors) => {
                return Problem {
                    class: Class::Invalid,
                    errors,
                    template: template.cloned(),
                };
            }
            Self::Failed { help, .. } => Diagnostic::new("plugin-broke", message).help(help),
            Self::InvalidAnswer(_) => Diagnostic::new("plugin-lied", message)
                .help("nothing was created; this is a defect of the plugin: report it to its author, or use another plugin"),
            Self::NotExported(_) => {
                Diagnostic::new("not-exported", message)
                    .help("use a plugin that exports it, such as the built-in plugin")
            }
        };
        Problem::one(Class::Invalid, diagnostic)
    }
}
