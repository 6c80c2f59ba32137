//! Finds orgs by the names that people use, and workspaces by their ids.

use super::Service;
use crate::model::diagnostic::Diagnostic;
use crate::problem::{Class, Problem};
use crate::state::store::{OrgRow, WorkspaceRow};

impl Service {
    /// An org by its slug or its name.
    ///
    /// # Errors
    /// [`Class::NotFound`] when this host has no such org.
    pub async fn org(&self, name: &str) -> Result<OrgRow, Problem> {
        let orgs = self.0.store.orgs_called(name, name).await?;
        orgs.into_iter().next().ok_or_else(|| {
            let message = format!("there is no org {name:?} on this host");
            Problem::one(Class::NotFound, Diagnostic::new("unknown-org", message))
        })
    }

    /// A workspace that this host runs, by its id, and the slug of its org.
    ///
    /// # Errors
    /// [`Class::NotFound`] when this host has no such workspace, [`Class::Conflict`] when it runs elsewhere.
    pub(super) async fn managed_workspace(
        &self,
        id: &str,
    ) -> Result<(String, WorkspaceRow), Problem> {
        let found = self.0.store.workspace(id).await?;
        let (org, workspace) = found.ok_or_else(|| unknown_workspace(id))?;
        if workspace.external {
            let message = format!(
                "{} runs elsewhere: this host does not run it",
                workspace.key
            );
            let diagnostic = Diagnostic::new("external-workspace", message);
            return Err(Problem::one(Class::Conflict, diagnostic));
        }
        Ok((org, workspace))
    }
}

/// There is no workspace of this id or key.
pub(super) fn unknown_workspace(name: &str) -> Problem {
    let message = format!("there is no workspace {name:?} on this host");
    Problem::one(
        Class::NotFound,
        Diagnostic::new("unknown-workspace", message),
    )
}
