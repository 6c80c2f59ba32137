//! Accepts operations on one workspace: restart, stop, start and remove. A workspace has one running operation at a time, and
//! nothing is started that was not seeded and verified.

mod execution;
pub mod liveness;
pub(super) mod queue;

use serde_json::{Value, json};

use super::Service;
use super::execute::flag;
use crate::limits;
use crate::model::diagnostic::Diagnostic;
use crate::model::event::Operation;
use crate::model::ids::WorkspaceId;
use crate::model::names::NamePath;
use crate::model::plan::WorkspaceKey;
use crate::problem::{Class, Problem};
use crate::state::store::{LastOutcome, OperationRow, Start, Subject, WorkspaceRow};

/// Names a workspace of this host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct WorkspaceRef {
    /// The slug of its org.
    pub(super) org: String,
    /// Its id.
    pub(super) id: WorkspaceId,
}

/// What is removed together with a workspace. The default is nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Removal {
    /// The workspaces below it.
    pub cascade: bool,
    /// The volumes with the agents' own work.
    pub volumes: bool,
}

impl Service {
    /// Accepts the restart of a workspace: notify, stop, seed again, start. Also used when its configuration changed. Never
    /// refused for lack of capacity, because a workspace has at most two operations: one running and one next.
    ///
    /// # Errors
    /// [`Class::NotFound`] for an unknown workspace, [`Class::Conflict`] for an external or removed one.
    pub async fn restart(&self, id: &str) -> Result<OperationRow, Problem> {
        let (org, workspace) = self.managed_workspace(id).await?;
        if workspace.outcome == LastOutcome::Removed {
            return Err(workspace_removed(&workspace.key));
        }
        self.accept_for_workspace(org, workspace, Operation::Restart, Value::Null)
            .await
    }

    /// Accepts the stop of a workspace. It stays stopped until it is started, or its org is imported.
    ///
    /// # Errors
    /// As [`Service::restart`]; [`Class::Busy`] when the host has too many open operations.
    pub async fn stop(&self, id: &str) -> Result<OperationRow, Problem> {
        self.check_capacity()?;
        let (org, workspace) = self.managed_workspace(id).await?;
        if workspace.outcome == LastOutcome::Removed {
            return Err(workspace_removed(&workspace.key));
        }
        self.accept_for_workspace(org, workspace, Operation::Stop, Value::Null)
            .await
    }

    /// Accepts the start of a workspace. It is seeded again first, unless it runs and equals its plan.
    ///
    /// # Errors
    /// As [`Service::stop`], except that a removed workspace can be started.
    pub async fn start(&self, id: &str) -> Result<OperationRow, Problem> {
        self.check_capacity()?;
        let (org, workspace) = self.managed_workspace(id).await?;
        self.accept_for_workspace(org, workspace, Operation::Start, Value::Null)
            .await
    }

    /// Accepts the removal of a workspace.
    ///
    /// # Errors
    /// As [`Service::stop`]; [`Class::Conflict`] also while there are workspaces below it, unless `cascade` removes them.
    pub async fn remove(&self, id: &str, how: Removal) -> Result<OperationRow, Problem> {
        self.check_capacity()?;
        let (org, workspace) = self.managed_workspace(id).await?;
        if !how.cascade {
            self.check_childless(&org, &workspace.path).await?;
        }
        let request = json!({ "cascade": how.cascade, "volumes": how.volumes });
        self.accept_for_workspace(org, workspace, Operation::Remove, request)
            .await
    }

    /// Accepts an operation, in a task of its own: it is stored and started although the caller may disconnect meanwhile.
    async fn accept_for_workspace(
        &self,
        org: String,
        workspace: WorkspaceRow,
        operation: Operation,
        request: Value,
    ) -> Result<OperationRow, Problem> {
        let name = format!("accept {} {org}/{}", operation.as_str(), workspace.key);
        let this = self.clone();
        let work = async move {
            this.coalesce_or_accept(org, workspace, operation, request)
                .await
        };
        self.run_detached(name, work).await
    }

    /// Returns the next operation of the workspace if that includes the requested one. Otherwise stores a new operation,
    /// which becomes the next one.
    async fn coalesce_or_accept(
        &self,
        org: String,
        workspace: WorkspaceRow,
        operation: Operation,
        request: Value,
    ) -> Result<OperationRow, Problem> {
        let host = &self.0;
        let name = WorkspaceRef {
            org,
            id: workspace.id.clone(),
        };
        let _one = host.acceptance.of(&name.org).await;
        if let Some(next) = self.next_operation(&name) {
            if includes(&next, operation, &request) {
                return Ok(next);
            }
            if next.operation == Operation::Remove {
                return Err(workspace_removed(&workspace.key));
            }
        }
        let subject = Subject {
            id: Some(workspace.id),
            key: workspace.key.as_str().to_owned(),
        };
        let id = host
            .store
            .enqueue(&name.org, operation, Some(subject), request, Start::Queued);
        let id = id.await?;
        let row = host.store.operation(id.as_str()).await?;
        let row = row.ok_or_else(|| {
            let message = "the operation that was just stored is not in the store";
            Problem::one(Class::Failed, Diagnostic::new("store", message))
        })?;
        #[cfg(feature = "fault-injection")]
        crate::fault::at("accepted");
        self.enqueue_for_workspace(name, row.clone(), limits::ENGINE_AWAY)
            .await?;
        Ok(row)
    }

    /// Checks that no workspace of this host is below a path.
    ///
    /// # Errors
    /// [`Class::Conflict`] names those that are.
    async fn check_childless(&self, org: &str, path: &NamePath) -> Result<(), Problem> {
        let rows = self.0.store.workspaces(org).await?;
        let is_present = |row: &&WorkspaceRow| row.outcome != LastOutcome::Removed && !row.external;
        let children = rows.iter().filter(|row| row.path.is_below(path));
        let children: Vec<&str> = children
            .filter(is_present)
            .map(|r| r.key.as_str())
            .collect();
        if children.is_empty() {
            return Ok(());
        }
        let message = format!("{} has {} below it", path.name(), children.join(", "));
        let diagnostic = Diagnostic::new("has-children", message)
            .help("remove those first, or all of them together: ?cascade=true");
        Err(Problem::one(Class::Conflict, diagnostic))
    }
}

/// Whether an operation that has not begun includes a requested one. Each includes the restart of a dead workspace.
fn includes(next: &OperationRow, operation: Operation, request: &Value) -> bool {
    let is_same = next.operation == operation && next.request == *request;
    let is_full_restart =
        next.operation == Operation::Restart && !flag(&next.request, "looks_dead");
    is_same
        || flag(request, "looks_dead")
        || (is_full_restart && matches!(operation, Operation::Start | Operation::Restart))
}

/// The request needs a workspace that was removed.
fn workspace_removed(key: &WorkspaceKey) -> Problem {
    let message = format!("{key} was removed, or is about to be");
    let diagnostic = Diagnostic::new("workspace-removed", message)
        .help("start makes it again from its org's template");
    Problem::one(Class::Conflict, diagnostic)
}
