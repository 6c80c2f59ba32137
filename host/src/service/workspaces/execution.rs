//! Executes one operation on one workspace, in the order of its org's queue.

use std::time::Duration;

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;

use super::workspace_removed;
use crate::model::diagnostic::Diagnostic;
use crate::model::event::{Event, Operation, What};
use crate::model::ids::{OrgId, WorkspaceId};
use crate::model::names::NamePath;
use crate::problem::{Class, Problem};
use crate::provision::engine::Engine as _;
use crate::provision::engine::backend::Backend;
use crate::provision::generations::Generations;
use crate::provision::observed::{Observed, State};
use crate::provision::{Options, Outcome, Prune, restart_notice, single};
use crate::service::ending::Ended;
use crate::service::execute::flag;
use crate::service::lookup::unknown_workspace;
use crate::service::{Prepared, Service};
use crate::state::store::{Desired, LastOutcome, OperationRow, WorkspaceRow};

impl Service {
    /// Waits for the engine, the memory and the org's queue, and then executes the operation. An engine that does not answer
    /// is waited for as long as `patience`.
    ///
    /// # Errors
    /// The engine does not answer, the org or the workspace is unknown, the request conflicts with the workspace's state, or
    /// the store does not work. The failure of a step is no error; it is in the events.
    pub(super) async fn execute_for_workspace(
        &self,
        row: &OperationRow,
        id: &WorkspaceId,
        cancel: &CancellationToken,
        patience: Duration,
    ) -> Result<Ended, Problem> {
        let known = self.org(&row.org).await?;
        let org = OrgId::known(self.0.store.instance().clone(), &known.slug);
        let engine = match self.engine(known.engine, &org, cancel, patience).await {
            Err(_) if cancel.is_cancelled() => return Ok(Ended::Interrupted),
            engine => engine?,
        };
        let looks_dead = flag(&row.request, "looks_dead");
        let ready = async {
            if row.operation == Operation::Restart && !looks_dead {
                // Before the ticket is taken: this is slow, and other operations of the org need not wait for it.
                self.notify_restart(&engine, &org, id).await;
            }
            let memory = match row.operation {
                Operation::Stop | Operation::Remove => None,
                _ => Some(self.request_memory(&row.org).await?.await),
            };
            let mut ticket = match row.operation {
                Operation::Remove => self.0.queues.ticket(&row.org, usize::MAX),
                _ => Some(self.0.queues.shared_ticket(&row.org)),
            };
            if let Some(ticket) = &mut ticket {
                ticket.wait().await;
            }
            Ok::<_, Problem>((memory, ticket))
        };
        let (memory, _ticket) = tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(Ended::Interrupted),
            ready = ready => ready?,
        };
        let store = &self.0.store;
        if !store.run(&row.id).await? {
            return Ok(Ended::Interrupted);
        }
        // The workspace may have changed since the operation was accepted.
        let rows = store.workspaces(&row.org).await?;
        let Some(now) = rows.iter().find(|now| now.id == *id) else {
            let key = row.workspace.as_ref().map_or("", |subject| &subject.key);
            return Err(unknown_workspace(key));
        };
        let key = now.key.clone();
        let record_last_lines = |event: &Event| self.0.last_lines.record(&row.id, event);
        let mut run = self.run(&engine, row, cancel);
        run.observer = &record_last_lines;
        let event = |what| Event::of_workspace(&org, &key, id, what);
        run.emit(event(What::Began {
            operation: row.operation,
            engine: engine.kind(),
            workspaces: 1,
        }))
        .await?;
        let outcome = match (row.operation, memory) {
            (Operation::Stop, _) => {
                store.set_desired(id, Desired::Stopped).await?;
                single::stop(&run, &org, (&key, id)).await?;
                None
            }
            (Operation::Remove, _) => {
                let volumes = flag(&row.request, "volumes");
                let mut removed = descendants(&rows, &now.path);
                if !flag(&row.request, "cascade") {
                    self.check_childless(&row.org, &now.path).await?;
                    removed.clear();
                }
                removed.push(now);
                for row in removed {
                    store.set_desired(&row.id, Desired::Stopped).await?;
                    single::remove(&run, &org, (&row.key, &row.id), volumes).await?;
                }
                None
            }
            _ if looks_dead && now.wanted == Desired::Stopped => None,
            _ if looks_dead && is_alive(&engine, id).await => None,
            (Operation::Restart, _) if now.outcome == LastOutcome::Removed => {
                return Err(workspace_removed(&key));
            }
            (_, None) => None,
            (_, Some(memory)) => {
                let prepared = tokio::select! {
                    biased;
                    () = cancel.cancelled() => return Ok(Ended::Interrupted),
                    prepared = self.replan(&row.org, memory) => prepared?,
                };
                let Prepared {
                    admitted, request, ..
                } = &prepared;
                let job = admitted.jobs.iter().find(|job| job.id == *id);
                let job = job.ok_or_else(|| {
                    let message = format!("{key} has left the org's template");
                    Problem::one(Class::Conflict, Diagnostic::new("not-planned", message))
                })?;
                let options = Options {
                    wait: request.ready_seconds.map(Duration::from_secs),
                    prune: Prune::No,
                    max_failures: None,
                };
                store.set_desired(id, Desired::Running).await?;
                let replace = row.operation == Operation::Restart;
                Some(
                    single::renew(&run, &org, job, &options, replace)
                        .boxed()
                        .await?,
                )
            }
        };
        let is_failed = matches!(
            outcome,
            Some(Outcome::Failed(_) | Outcome::Skipped(_) | Outcome::Cancelled(_))
        );
        let failed = usize::from(is_failed);
        run.emit(event(What::Ended { failed })).await?;
        if outcome.is_some_and(|outcome| outcome.is_cancelled()) {
            return Ok(Ended::Interrupted);
        }
        store.finish(&row.id, failed).await?;
        Ok(Ended::Completed)
    }

    /// Tells a running workspace that it will be restarted. A failure is logged and does not stop the restart.
    async fn notify_restart(&self, engine: &Backend, org: &OrgId, id: &WorkspaceId) {
        let notified = async {
            let found = engine.find(id).await.map_err(|e| e.to_string())?;
            let current = Generations::of(found).current;
            let Some(running) = current.filter(|found| found.state == State::Running) else {
                return Ok(());
            };
            let url = running.url.ok_or("its engine knows no URL of it")?;
            restart_notice::restart_pending(&url, id).await
        };
        if let Err(why) = notified.await {
            tracing::warn!(org = org.slug(), workspace = %id, why, "the workspace could not be notified of its restart");
        }
    }
}

async fn is_alive(engine: &Backend, id: &WorkspaceId) -> bool {
    let found = engine.find(id).await;
    let runs = |found: &Observed| found.state == State::Running;
    found.is_ok_and(|found| Generations::of(found).current.as_ref().is_some_and(runs))
}

/// The workspaces below a path that this host runs, deepest first.
fn descendants<'a>(rows: &'a [WorkspaceRow], path: &NamePath) -> Vec<&'a WorkspaceRow> {
    let below = rows.iter().filter(|row| row.path.is_below(path));
    let managed = below.filter(|row| !row.external && row.outcome != LastOutcome::Removed);
    let mut rows: Vec<_> = managed.collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.path.depth()));
    rows
}
