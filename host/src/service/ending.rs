//! Stores how an operation ended, and updates the workspaces that waited for it.

use super::Service;
use super::tasks::Broken;
use crate::model::diagnostic::Diagnostic;
use crate::model::event::{Event, Failure, Step, What};
use crate::model::ids::{OperationId, OrgId};
use crate::model::plan::WorkspaceKey;
use crate::problem::Problem;
use crate::state::store::{OperationRow, OperationState, StoreError, Subject, WorkspaceRow};

/// How an operation ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// It was executed, and its end is stored.
    Completed,
    /// It was cancelled, or the host is stopping.
    Interrupted,
}

impl Service {
    /// Stores the end of an operation, unless it is stored already.
    pub(super) async fn record_end(&self, row: &OperationRow, ended: Result<Ended, &Problem>) {
        let store = &self.0.store;
        let stored = match ended {
            Ok(Ended::Completed) => Ok(()),
            Ok(Ended::Interrupted) => self.record_interrupted(row).await,
            Err(problem) => {
                let errors = &problem.errors;
                let failed = self.fail_workspaces(row, errors).await;
                let closed = store.close(&row.id, OperationState::Failed, errors).await;
                failed.and(closed)
            }
        };
        if let Err(error) = stored {
            tracing::error!(%error, operation = row.id.as_str(), "the end of an operation was not stored");
        }
        self.cancellations().remove(&row.id);
    }

    /// Puts an operation back into the queue when the host is stopping, unless it was cancelled.
    async fn record_interrupted(&self, row: &OperationRow) -> Result<(), StoreError> {
        let is_stopping = self.0.tasks.stopping().is_cancelled();
        if is_stopping && self.0.store.requeue(&row.id).await? {
            return Ok(());
        }
        self.record_cancelled(row).await
    }

    /// Ends a cancelled operation, and the workspaces that waited for it.
    pub(super) async fn record_cancelled(&self, row: &OperationRow) -> Result<(), StoreError> {
        let reason = "cancelled".to_owned();
        self.end_waiting_workspaces(row, &What::Skipped { reason })
            .await?;
        let store = &self.0.store;
        store.close(&row.id, OperationState::Cancelled, &[]).await
    }

    /// Tells the workspaces that waited for an operation why it could not be executed.
    async fn fail_workspaces(
        &self,
        row: &OperationRow,
        errors: &[Diagnostic],
    ) -> Result<(), StoreError> {
        let Some(error) = errors.first() else {
            return Ok(());
        };
        let failure = Failure {
            step: Step::Prepare,
            code: "operation-failed".into(),
            reason: error.message.clone(),
            help: error.help.clone().unwrap_or_default(),
            last_lines: Vec::new(),
            is_cancelled: false,
            exit_code: None,
            left_behind: Vec::new(),
            before: None,
        };
        self.end_waiting_workspaces(row, &What::Failed(Box::new(failure)))
            .await
    }

    /// Appends an event for each workspace that would otherwise wait for this operation forever.
    async fn end_waiting_workspaces(
        &self,
        row: &OperationRow,
        what: &What,
    ) -> Result<(), StoreError> {
        let is_stuck = |w: &&WorkspaceRow| {
            let subject = row.workspace.as_ref();
            let is_subject = subject.is_none_or(|subject| subject.id.as_ref() == Some(&w.id));
            is_subject && w.outcome.is_on_its_way()
        };
        let org = OrgId::known(self.0.store.instance().clone(), &row.org);
        let store = &self.0.store;
        for workspace in store.workspaces(&row.org).await?.iter().filter(is_stuck) {
            let event = Event::of_workspace(&org, &workspace.key, &workspace.id, what.clone());
            store.append(&row.id, &event).await?;
        }
        Ok(())
    }

    /// Ends an operation whose task panicked or took too long: an event, and failed workspaces.
    pub(super) async fn record_broken_task(
        &self,
        id: &OperationId,
        org: &str,
        workspace: Option<&Subject>,
        how: Broken,
    ) {
        let reason = match how {
            Broken::Panicked(message) => format!("a defect of orghost: {message}"),
            Broken::TooLong(limit) => format!("it took longer than {} s", limit.as_secs()),
        };
        let errors = [Diagnostic::new("operation-broke", &reason)];
        let event = Event {
            org: org.to_owned(),
            workspace: workspace.and_then(|subject| WorkspaceKey::new(&subject.key).ok()),
            workspace_id: workspace.and_then(|subject| subject.id.clone()),
            what: What::Broke { reason },
        };
        let store = &self.0.store;
        let stored = async {
            store.append(id, &event).await?;
            store.close(id, OperationState::Failed, &errors).await
        };
        if let Err(error) = stored.await {
            tracing::error!(%error, operation = id.as_str(), "the end of an operation was not stored");
        }
        self.cancellations().remove(id);
    }
}
