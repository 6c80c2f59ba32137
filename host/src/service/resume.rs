//! Going on with what an earlier process accepted and did not end.

use super::execute::Work;
use super::{Service, busy, flag};
use crate::limits;
use crate::model::diagnostic::Diagnostic;
use crate::model::event::Operation;
use crate::problem::Problem;
use crate::state::store::{OperationRow, OperationState};

impl Service {
    /// Goes on with what an earlier process accepted and did not end. What a later one does anyway is left out, and so is
    /// what was cancelled.
    ///
    /// # Errors
    /// The store's.
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
            tracing::info!(operation = row.id.as_str(), org = row.org, "goes on");
            if let Some(subject) = &row.workspace {
                match &subject.id {
                    Some(id) => {
                        let at = (row.org.clone(), id.clone());
                        self.enqueue_for_workspace(at, row.clone(), limits::ENGINE_BACK)
                            .await?;
                    }
                    // An older version accepted it, and nobody knows its workspace any more.
                    None => {
                        let errors = [Diagnostic::new("unknown-workspace", "it is gone")];
                        let state = OperationState::Failed;
                        host.store.close(&row.id, state, &errors).await?;
                    }
                }
                continue;
            }
            let ready = match row.operation {
                Operation::Down => Work::Destroy,
                _ => Work::Replan(self.request_memory(&row.org).await?),
            };
            match host.queues.ticket(&row.org, usize::MAX) {
                Some(place) => self.begin(row.clone(), place, ready, limits::ENGINE_BACK)?,
                None => return Err(busy("too much is under way")),
            }
        }
        Ok(())
    }
}

/// Whether a later operation does what this one would have done.
fn supersedes(later: &OperationRow, row: &OperationRow) -> bool {
    let volumes = |row: &OperationRow| flag(&row.request, "volumes");
    later.org == row.org
        && match (row.operation, later.operation) {
            (Operation::Down, Operation::Down) => volumes(later) || !volumes(row),
            // Whoever took it down and brings it up again wants nothing of the older one.
            (Operation::Down, _) => false,
            (_, later) => matches!(later, Operation::Up | Operation::Down),
        }
}
