//! Checks whether a workspace that a caller could not reach is alive, and restarts it when it is dead.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::json;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::WorkspaceRef;
use crate::limits;
use crate::model::event::Operation;
use crate::problem::Problem;
use crate::provision::engine::Engine as _;
use crate::provision::engine::error::EngineError;
use crate::provision::generations::Generations;
use crate::service::Service;
use crate::state::store::WorkspaceRow;

/// The running checks. Callers that ask about the same workspace at the same time share one check.
pub(in crate::service) type LivenessChecks = Mutex<HashMap<WorkspaceRef, Arc<OnceCell<Liveness>>>>;

/// What a liveness check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// The workspace is dead or being made again, and will answer later.
    Restarting,
    /// The workspace runs, or its engine gave no answer. Only a definite death leads to a restart.
    Alive,
}

impl Service {
    /// Checks a workspace that a caller could not reach, and accepts its restart when it is dead. Concurrent callers share
    /// one check.
    pub async fn check_liveness(&self, org: &str, workspace: &WorkspaceRow) -> Liveness {
        let name = WorkspaceRef {
            org: org.to_owned(),
            id: workspace.id.clone(),
        };
        if self.workspace_queues().contains_key(&name) || workspace.outcome.is_on_its_way() {
            return Liveness::Restarting;
        }
        let shared = self
            .liveness_checks()
            .entry(name.clone())
            .or_default()
            .clone();
        let check = || self.check_once(org, workspace);
        let liveness = *shared.get_or_init(check).await;
        let mut checks = self.liveness_checks();
        // A later caller may have begun another check of this workspace already.
        if checks
            .get(&name)
            .is_some_and(|now| Arc::ptr_eq(now, &shared))
        {
            checks.remove(&name);
        }
        liveness
    }

    /// Asks the engine once, and acts on the answer.
    async fn check_once(&self, org: &str, workspace: &WorkspaceRow) -> Liveness {
        let current = async {
            let row = self.org(org).await?;
            let engine = self.0.engines.get(row.engine).await?;
            let found = engine.find(&workspace.id);
            let late = EngineError::TimedOut(limits::LIVENESS.as_secs());
            let found = timeout(limits::LIVENESS, found).await.unwrap_or(Err(late));
            Ok::<_, Problem>(Generations::of(found?).current)
        };
        let found = match current.await {
            Ok(found) => found,
            Err(problem) => {
                tracing::warn!(org, workspace = %workspace.key, errors = ?problem.errors, "its engine could not say whether the workspace is alive");
                return Liveness::Alive;
            }
        };
        match found {
            Some(found) if found.runs() => {
                // A program of the local engine gets a new port at each start.
                if found.url.is_some() && found.url != workspace.url {
                    let store = &self.0.store;
                    let stored = store.set_url(&workspace.id, found.url).await;
                    if let Err(error) = stored {
                        tracing::warn!(%error, "the new URL of a workspace was not stored");
                    }
                }
                Liveness::Alive
            }
            _ => {
                tracing::warn!(org, workspace = %workspace.key, "restarting a dead workspace");
                let request = json!({ "looks_dead": true });
                let workspace = workspace.clone();
                let accepted = self.accept_for_workspace(
                    org.to_owned(),
                    workspace,
                    Operation::Restart,
                    request,
                );
                if let Err(problem) = accepted.await {
                    tracing::error!(errors = ?problem.errors, "the restart of a dead workspace was not accepted");
                }
                Liveness::Restarting
            }
        }
    }

    fn liveness_checks(&self) -> MutexGuard<'_, HashMap<WorkspaceRef, Arc<OnceCell<Liveness>>>> {
        let checks = &self.0.liveness_checks;
        checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
