//! Forgets in the background what the operator does not keep: events, operations that ended, and snapshots that nothing is
//! made from. Never what an operation that did not end needs.

use std::time::Duration;

use tokio::time::sleep;

use super::tasks::Closed;
use super::{Service, blocking};
use crate::limits;
use crate::problem::Problem;
use crate::state::store::Pruned;

impl Service {
    /// Forgets now, and then every few minutes, until the host stops.
    ///
    /// # Errors
    /// [`Closed`].
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
                    tracing::warn!(errors = ?problem.errors, "nothing old was forgotten");
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

    /// Forgets once; how much.
    ///
    /// # Errors
    /// The store's, or a snapshot that cannot be removed.
    pub async fn prune(&self) -> Result<Pruned, Problem> {
        let host = &self.0;
        let pruned = host.store.prune(host.config.server.keep()).await?;
        // Whoever is accepted meanwhile has put its snapshot there, and not yet said so.
        let _one = host.accepting.lock().await;
        let used = host.store.snapshots().await?;
        let this = self.clone();
        blocking(move || this.0.snapshots.sweep(&used)).await??;
        Ok(pruned)
    }
}
