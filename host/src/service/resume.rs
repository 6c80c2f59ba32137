//! Resumes the operations that an earlier process accepted and did not end.

use super::Service;
use super::capacity::busy;
use super::execute::{Work, flag};
use super::workspaces::WorkspaceRef;
use crate::limits;
use crate::model::diagnostic::Diagnostic;
use crate::model::event::Operation;
use crate::problem::Problem;
use crate::state::store::{OperationRow, OperationState};

impl Service {
    /// Resumes every open operation. Ends those that were cancelled, and those whose work a later operation includes.
    ///
    /// # Errors
    /// The store does not work, or the host is stopping.
    pub async fn resume(&self) -> Result<(), Problem> {
        let host = &self.0;
        let unended = host.store.unended().await?;
        let (cancelled, open): (Vec<_>, Vec<_>) =
            unended.into_iter().partition(|row| row.cancel_ms.is_some());
        for row in &cancelled {
            self.record_cancelled(row).await?;
        }
        for (index, row) in open.iter().enumerate() {
            let mut later = open.iter().skip(index + 1);
            if later.any(|later| supersedes(later, row)) {
                let state = OperationState::Superseded;
                host.store.close(&row.id, state, &[]).await?;
                continue;
            }
            tracing::info!(operation = row.id.as_str(), org = row.org, "resumes");
            if let Some(subject) = &row.workspace {
                match &subject.id {
                    Some(id) => {
                        let workspace = WorkspaceRef {
                            org: row.org.clone(),
                            id: id.clone(),
                        };
                        let row = row.clone();
                        self.enqueue_for_workspace(workspace, row, limits::ENGINE_BACK)
                            .await?;
                    }
                    // An older version accepted it, and its workspace was forgotten.
                    None => {
                        let why = "the workspace is no longer on this host";
                        let errors = [Diagnostic::new("unknown-workspace", why)];
                        let state = OperationState::Failed;
                        host.store.close(&row.id, state, &errors).await?;
                    }
                }
                continue;
            }
            let work = match row.operation {
                Operation::Down => Work::Destroy,
                _ => Work::Replan(self.request_memory(&row.org).await?),
            };
            match host.queues.ticket(&row.org, usize::MAX) {
                Some(ticket) => {
                    let patience = limits::ENGINE_BACK;
                    self.begin(row.clone(), ticket, work, patience, None)?;
                }
                None => return Err(busy("too many operations are open")),
            }
        }
        Ok(())
    }
}

/// Whether a later operation includes the work of this one.
fn supersedes(later: &OperationRow, row: &OperationRow) -> bool {
    let volumes = |row: &OperationRow| flag(&row.request, "volumes");
    later.org == row.org
        && match (row.operation, later.operation) {
            (Operation::Down, Operation::Down) => volumes(later) || !volumes(row),
            // The org was taken down and then imported again: both must happen.
            (Operation::Down, _) => false,
            (_, later) => matches!(later, Operation::Up | Operation::Down),
        }
}
