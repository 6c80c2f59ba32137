//! Why an operation could not begin or could not end. What happens to one workspace is an outcome, and not an error.

use super::engine::error::EngineError;
use super::seed::SeedError;
use crate::model::diagnostic::Diagnostic;
use crate::model::names::NamePath;
use crate::model::plan::WorkspaceKey;
use crate::problem::{Class, Problem};
use crate::state::store::StoreError;

/// Why an operation could not begin or could not end.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// The engine does not answer, or refused before any workspace was changed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A seed cannot be read; nothing was made yet.
    #[error("{key}: {error}")]
    Seed {
        /// The workspace.
        key: WorkspaceKey,
        /// Why its seed cannot be read.
        error: SeedError,
    },
    /// A workspace was given no identity, which is a defect of orghost.
    #[error("{0} has no identity")]
    Unidentified(NamePath),
    /// More would be removed than was consented to.
    #[error(transparent)]
    Prune(#[from] TooMuchPruned),
}

/// More than half of the running workspaces would be removed, and there was no consent to that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{doomed} of the {running} workspaces that run are no longer in the template, and would be removed"
)]
pub struct TooMuchPruned {
    /// The number of running workspaces that would be removed.
    pub doomed: usize,
    /// The number of running workspaces of the org.
    pub running: usize,
}

impl From<ProvisionError> for Problem {
    fn from(error: ProvisionError) -> Self {
        match error {
            ProvisionError::Engine(error) => error.into(),
            ProvisionError::Store(error) => error.into(),
            ProvisionError::Prune(error) => error.into(),
            ProvisionError::Seed { key, error } => Self::one(
                Class::Invalid,
                Diagnostic::new("seed", error.to_string())
                    .workspace(key.as_str())
                    .help(
                        "nothing was created; correct the template and run the same command again",
                    ),
            ),
            ProvisionError::Unidentified(_) => Self::one(
                Class::Failed,
                Diagnostic::new("no-identity", error.to_string())
                    .help("this is a defect of orghost: report it"),
            ),
        }
    }
}

impl From<TooMuchPruned> for Problem {
    fn from(error: TooMuchPruned) -> Self {
        let help = "nothing was changed; check the template, and pass --yes (in a request: \"yes\": true) if this is intended";
        let diagnostic = Diagnostic::new("prune-needs-consent", error.to_string()).help(help);
        Self::one(Class::Conflict, diagnostic)
    }
}
