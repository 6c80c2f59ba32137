//! The running and the next operation of each workspace.
//!
//! Requests are coalesced: while an operation runs, all new requests wait as one next operation. So any number of requests
//! leads to at most one more run, which begins after the last of them and sees its effect.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;

use super::WorkspaceRef;
use crate::limits;
use crate::problem::Problem;
use crate::service::Service;
use crate::state::store::{OperationRow, OperationState};

/// The queue of each workspace. A workspace without a running or a next operation has no entry.
#[derive(Default)]
pub(in crate::service) struct WorkspaceQueues(Mutex<HashMap<WorkspaceRef, WorkspaceQueue>>);

#[derive(Default)]
pub(super) struct WorkspaceQueue {
    is_running: bool,
    next: Option<NextOperation>,
}

/// The operation that runs after the current one.
struct NextOperation {
    row: OperationRow,
    /// How long to wait for an engine that does not answer.
    patience: Duration,
}

/// Marks the operation of a workspace as running. When this is dropped, the next operation starts.
struct RunningGuard {
    service: Service,
    workspace: WorkspaceRef,
}

impl Drop for RunningGuard {
    fn drop(&mut self) {
        let mut queues = self.service.workspace_queues();
        if let Some(queue) = queues.get_mut(&self.workspace) {
            queue.is_running = false;
        }
        drop(queues);
        self.service.start_next(&self.workspace);
    }
}

impl Service {
    /// Makes a stored operation the next one of its workspace. It supersedes the one that was next until now.
    pub(in crate::service) async fn enqueue_for_workspace(
        &self,
        workspace: WorkspaceRef,
        row: OperationRow,
        patience: Duration,
    ) -> Result<(), Problem> {
        let cancel = self.0.tasks.stopping().child_token();
        self.cancellations().insert(row.id.clone(), cancel);
        let superseded = {
            let mut queues = self.workspace_queues();
            let queue = queues.entry(workspace.clone()).or_default();
            queue.next.replace(NextOperation { row, patience })
        };
        if let Some(NextOperation { row, .. }) = superseded {
            let state = OperationState::Superseded;
            self.0.store.close(&row.id, state, &[]).await?;
            self.cancellations().remove(&row.id);
        }
        self.start_next(&workspace);
        Ok(())
    }

    /// The operation of a workspace that waits for the running one.
    pub(super) fn next_operation(&self, workspace: &WorkspaceRef) -> Option<OperationRow> {
        let queues = self.workspace_queues();
        let next = queues.get(workspace)?.next.as_ref()?;
        Some(next.row.clone())
    }

    /// Starts the next operation of a workspace, unless one is running.
    fn start_next(&self, workspace: &WorkspaceRef) {
        let NextOperation { row, patience } = {
            let mut queues = self.workspace_queues();
            let Some(queue) = queues.get_mut(workspace) else {
                return;
            };
            if queue.is_running {
                return;
            }
            let Some(next) = queue.next.take() else {
                queues.remove(workspace);
                return;
            };
            queue.is_running = true;
            next
        };
        // Shared by the work and by what runs when the work breaks; the later one of them starts the next operation.
        let guard = Arc::new(RunningGuard {
            service: self.clone(),
            workspace: workspace.clone(),
        });
        let WorkspaceRef { org, id } = workspace.clone();
        let key = row.workspace.as_ref().map_or("", |subject| &subject.key);
        let name = format!("{} {org}/{key}", row.operation.as_str());
        let cancel = self.cancellations().get(&row.id).cloned();
        let cancel = cancel.unwrap_or_default();
        let (operation, subject) = (row.id.clone(), row.workspace.clone());
        let (this, work_guard) = (self.clone(), guard.clone());
        let work = async move {
            let executed = this.execute_for_workspace(&row, &id, &cancel, patience);
            let ended = executed.boxed().await;
            this.record_end(&row, ended.as_ref().copied()).await;
            drop(work_guard);
        };
        let this = self.clone();
        let broken = move |how| async move {
            this.record_broken_task(&operation, &org, subject.as_ref(), how)
                .await;
            drop(guard);
        };
        // Fails when the host is stopping. The operation is in the store, and the next process resumes it.
        let _ = self.0.tasks.spawn(name, limits::OPERATION, work, broken);
    }

    pub(super) fn workspace_queues(&self) -> MutexGuard<'_, HashMap<WorkspaceRef, WorkspaceQueue>> {
        let queues = &self.0.workspace_queues.0;
        queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
