//! Prunes in the background: events and ended operations beyond the configured retention, and unused snapshots. Never what an
//! open operation needs.

use std::time::Duration;

use tokio::time::sleep;

use super::tasks::Closed;
use super::{Service, blocking};
use crate::limits;
use crate::problem::Problem;
use crate::state::store::Pruned;

impl Service {
    /// Prunes now, and then every few minutes until the host stops.
    ///
    /// # Errors
    /// [`Closed`] when the host is stopping.
    pub fn keep_pruning(&self) -> Result<(), Closed> {
        let this = self.clone();
        let work = async move {
            let stopping = this.0.tasks.stopping().clone();
            loop {
                let pruned = tokio::select! {
                    pruned = this.prune() => pruned,
                    () = stopping.cancelled() => return,
                };
                if let Err(problem) = pruned {
                    tracing::warn!(errors = ?problem.errors, "pruning failed");
                }
                tokio::select! {
                    () = sleep(limits::PRUNE_EVERY) => {}
                    () = stopping.cancelled() => return,
                }
            }
        };
        let this = self.clone();
        let broken = move |_| async move {
            let _ = this.keep_pruning();
        };
        self.0.tasks.spawn("prune", Duration::MAX, work, broken)
    }

    /// Prunes once, and returns how much.
    ///
    /// # Errors
    /// The store does not work, or a snapshot cannot be removed.
    pub async fn prune(&self) -> Result<Pruned, Problem> {
        let host = &self.0;
        let pruned = host.store.prune(host.config.server.keep()).await?;
        // An import that is being accepted has written its snapshot, but not yet its row.
        let _none = host.acceptance.all().await;
        let used = host.store.snapshots().await?;
        let this = self.clone();
        blocking(move || this.0.snapshots.sweep(&used)).await??;
        Ok(pruned)
    }
}
