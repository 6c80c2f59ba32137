//! What is done to one workspace: restart, stop, start, remove. Never two of them at a time for one workspace, and never a
//! start of what was not seeded and verified.
//!
//! Requests coalesce: while one is carried out, all that come wait as one. So N requests lead to at most one trailing run,
//! which begins after the last of them and so sees what each of them was about.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::execute::Ended;
use super::{Prepared, Service, flag};
use crate::limits;
use crate::model::diagnostic::Diagnostic;
use crate::model::event::{Event, Operation, What};
use crate::model::ids::{OrgId, WorkspaceId};
use crate::model::names::NamePath;
use crate::model::plan::WorkspaceKey;
use crate::problem::{Class, Problem};
use crate::provision::engine::Engine as _;
use crate::provision::engine::error::EngineError;
use crate::provision::generations::Generations;
use crate::provision::observed::{Observed, State};
use crate::provision::{Options, Outcome, Prune, restart_notice, single};
use crate::state::store::{
    Desired, LastOutcome, OperationRow, OperationState, Subject, WorkspaceRow,
};

/// A workspace: its org's slug, and who it is.
pub(super) type At = (String, WorkspaceId);

/// What is done to each workspace, and what is to be done to it next. A workspace without either is not in it.
#[derive(Default)]
pub(super) struct Slots(Mutex<HashMap<At, Slot>>);

/// See [`Slots`].
#[derive(Default)]
pub(super) struct Slot {
    is_running: bool,
    pending: Option<Pending>,
}

/// What is to be done to a workspace next.
struct Pending {
    row: OperationRow,
    /// An engine that is away is waited for so long.
    patience: Duration,
}

/// Checks under way: whoever has the same suspicion waits for the same check.
pub(super) type Checks = Mutex<HashMap<At, Arc<OnceCell<Liveness>>>>;

/// What became of a workspace that somebody could not reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// It is dead, or being made anew: it will be back.
    Restarting,
    /// It runs, or its engine could not say: only "it is dead" may end a workspace.
    Lives,
}

/// What is removed with a workspace.
#[derive(Debug, Clone, Copy, Default)]
pub struct Removal {
    /// Its descendants, too.
    pub cascade: bool,
    /// The agents' own work, too.
    pub volumes: bool,
}

/// One cycle of a workspace; when it is dropped, the next one begins.
struct Cycle {
    service: Service,
    at: At,
}

impl Drop for Cycle {
    fn drop(&mut self) {
        let mut slots = self.service.slots();
        if let Some(slot) = slots.get_mut(&self.at) {
            slot.is_running = false;
        }
        drop(slots);
        self.service.cycle(&self.at);
    }
}

impl Service {
    /// Accepts that a workspace is to be restarted: signal, stop, seed anew, start. Also for "its configuration changed",
    /// which is never dropped, however much there is to do: there are never more than two of a workspace.
    ///
    /// # Errors
    /// [`Class::NotFound`]; [`Class::Conflict`] for external and removed ones.
    pub async fn restart(&self, id: &str) -> Result<OperationRow, Problem> {
        let (org, workspace) = self.managed(id).await?;
        if workspace.outcome == LastOutcome::Removed {
            return Err(gone(&workspace.key));
        }
        self.change(org, workspace, Operation::Restart, Value::Null)
            .await
    }

    /// Accepts that a workspace is to be stopped, and stays so until somebody starts it or imports its org.
    ///
    /// # Errors
    /// As [`Service::restart`], or there is too much to do.
    pub async fn stop(&self, id: &str) -> Result<OperationRow, Problem> {
        self.has_room()?;
        let (org, workspace) = self.managed(id).await?;
        if workspace.outcome == LastOutcome::Removed {
            return Err(gone(&workspace.key));
        }
        self.change(org, workspace, Operation::Stop, Value::Null)
            .await
    }

    /// Accepts that a stopped workspace is to be seeded anew and started; one that runs and is equal is left alone.
    ///
    /// # Errors
    /// As [`Service::stop`], but that a removed one may be started.
    pub async fn start(&self, id: &str) -> Result<OperationRow, Problem> {
        self.has_room()?;
        let (org, workspace) = self.managed(id).await?;
        self.change(org, workspace, Operation::Start, Value::Null)
            .await
    }

    /// Accepts that a workspace is to be removed.
    ///
    /// # Errors
    /// As [`Service::stop`]; [`Class::Conflict`] while it has children that are there, unless they go with it.
    pub async fn remove(&self, id: &str, how: Removal) -> Result<OperationRow, Problem> {
        self.has_room()?;
        let (org, workspace) = self.managed(id).await?;
        if !how.cascade {
            self.is_childless(&org, &workspace.path).await?;
        }
        let request = json!({ "cascade": how.cascade, "volumes": how.volumes });
        self.change(org, workspace, Operation::Remove, request)
            .await
    }

    /// Somebody could not reach a workspace: looks once whether it lives, for all who ask at the same time, and restarts it
    /// when it is dead.
    pub async fn suspect(&self, org: &str, workspace: &WorkspaceRow) -> Liveness {
        let at = (org.to_owned(), workspace.id.clone());
        if self.slots().contains_key(&at) || workspace.outcome.is_on_its_way() {
            return Liveness::Restarting;
        }
        let cell = self.checks().entry(at.clone()).or_default().clone();
        let liveness = *cell.get_or_init(|| self.look(org, workspace)).await;
        let mut checks = self.checks();
        if checks.get(&at).is_some_and(|now| Arc::ptr_eq(now, &cell)) {
            checks.remove(&at);
        }
        liveness
    }

    /// One liveness check, and what follows of it.
    async fn look(&self, org: &str, workspace: &WorkspaceRow) -> Liveness {
        let looked = async {
            let row = self.org(org).await?;
            let engine = self.0.engines.get(row.engine).await?;
            let found = engine.find(&workspace.id);
            let late = EngineError::TimedOut(limits::LIVENESS.as_secs());
            let found = timeout(limits::LIVENESS, found).await.unwrap_or(Err(late));
            Ok::<_, Problem>(Generations::of(found?).current)
        };
        let found = match looked.await {
            Ok(found) => found,
            Err(problem) => {
                tracing::warn!(org, workspace = %workspace.key, errors = ?problem.errors, "nobody knows whether it lives");
                return Liveness::Lives;
            }
        };
        match found {
            Some(found) if found.runs() => {
                // A local program gets another port at every start.
                if found.url.is_some() && found.url != workspace.url {
                    let store = &self.0.store;
                    let moved = store.moved(&workspace.id, found.url).await;
                    if let Err(error) = moved {
                        tracing::warn!(%error, "an address was not stored");
                    }
                }
                Liveness::Lives
            }
            _ => {
                tracing::warn!(org, workspace = %workspace.key, "is dead, and is restarted");
                let request = json!({ "looks_dead": true });
                let workspace = workspace.clone();
                let accepted = self.change(org.to_owned(), workspace, Operation::Restart, request);
                if let Err(problem) = accepted.await {
                    tracing::error!(errors = ?problem.errors, "a dead workspace is not restarted");
                }
                Liveness::Restarting
            }
        }
    }

    /// Takes in what is to be done to a workspace: as an operation of its own, or as the one that waits already. Whoever asks
    /// may go away meanwhile: what is stored is also begun.
    async fn change(
        &self,
        org: String,
        workspace: WorkspaceRow,
        operation: Operation,
        request: Value,
    ) -> Result<OperationRow, Problem> {
        let name = format!("accept {} {org}/{}", operation.as_str(), workspace.key);
        let this = self.clone();
        let work = async move { this.take_in(org, workspace, operation, request).await };
        self.run_detached(name, work).await
    }

    async fn take_in(
        &self,
        org: String,
        workspace: WorkspaceRow,
        operation: Operation,
        request: Value,
    ) -> Result<OperationRow, Problem> {
        let host = &self.0;
        let at = (org, workspace.id.clone());
        let _one = host.accepting.lock().await;
        let waiting = self.slots().get(&at).and_then(|slot| {
            let pending = slot.pending.as_ref()?;
            Some(pending.row.clone())
        });
        if let Some(waiting) = waiting {
            if is_served_by(&waiting, operation, &request) {
                return Ok(waiting);
            }
            if waiting.operation == Operation::Remove {
                return Err(gone(&workspace.key));
            }
        }
        let subject = Subject {
            id: Some(workspace.id),
            key: workspace.key.as_str().to_owned(),
        };
        let id = host.store.enqueue(&at.0, operation, Some(subject), request);
        let id = id.await?;
        let row = host.store.operation(id.as_str()).await?;
        let row = row.ok_or_else(|| {
            let diagnostic = Diagnostic::new("store", "what was just stored is not there");
            Problem::one(Class::Failed, diagnostic)
        })?;
        #[cfg(feature = "fault-injection")]
        crate::fault::at("accepted");
        self.line_up(at, row.clone(), limits::ENGINE_AWAY).await?;
        Ok(row)
    }

    /// Makes an operation the next one of its workspace. What waited until now is done by it.
    pub(super) async fn line_up(
        &self,
        at: At,
        row: OperationRow,
        patience: Duration,
    ) -> Result<(), Problem> {
        let cancel = self.0.tasks.stopping().child_token();
        self.cancels().insert(row.id.clone(), cancel);
        let waited = {
            let mut slots = self.slots();
            let pending = Pending { row, patience };
            slots
                .entry(at.clone())
                .or_default()
                .pending
                .replace(pending)
        };
        if let Some(Pending { row: waited, .. }) = waited {
            let state = OperationState::Superseded;
            self.0.store.settle(&waited.id, state, &[]).await?;
            self.cancels().remove(&waited.id);
        }
        self.cycle(&at);
        Ok(())
    }

    /// Begins what waits for a workspace, unless something is being done to it.
    fn cycle(&self, at: &At) {
        let Pending { row, patience } = {
            let mut slots = self.slots();
            let Some(slot) = slots.get_mut(at) else {
                return;
            };
            if slot.is_running {
                return;
            }
            let Some(pending) = slot.pending.take() else {
                slots.remove(at);
                return;
            };
            slot.is_running = true;
            pending
        };
        let cycle = Arc::new(Cycle {
            service: self.clone(),
            at: at.clone(),
        });
        let key = row.workspace.as_ref().map_or("", |subject| &subject.key);
        let name = format!("{} {}/{key}", row.operation.as_str(), at.0);
        let cancel = self.cancels().get(&row.id).cloned().unwrap_or_default();
        let (this, of, id) = (self.clone(), cycle.clone(), row.id.clone());
        let (who, subject) = (at.1.clone(), row.workspace.clone());
        let work = async move {
            let ended = this.carry_out(&row, &who, &cancel, patience).boxed().await;
            this.settle(&row, ended).await;
            drop(of);
        };
        let (this, at) = (self.clone(), at.clone());
        let broken = move |how| async move {
            this.broke(&id, &at.0, subject.as_ref(), how).await;
            drop(cycle);
        };
        // A host that stops begins nothing: it waits in the store for the next one.
        let _ = self.0.tasks.spawn(name, limits::OPERATION, work, broken);
    }

    async fn carry_out(
        &self,
        row: &OperationRow,
        id: &WorkspaceId,
        cancel: &CancellationToken,
        patience: Duration,
    ) -> Result<Ended, Problem> {
        let known = self.org(&row.org).await?;
        let org = OrgId::known(self.0.store.instance().clone(), &known.slug);
        let engine = match self.engine(known.engine, &org, cancel, patience).await {
            Err(_) if cancel.is_cancelled() => return Ok(Ended::CutShort),
            engine => engine?,
        };
        let looks_dead = flag(&row.request, "looks_dead");
        let ready = async {
            if row.operation == Operation::Restart && !looks_dead {
                // The slow part: nobody else waits for it.
                self.notify_restart(&engine, &org, id).await;
            }
            let room = match row.operation {
                Operation::Stop | Operation::Remove => None,
                _ => Some(self.ask_room(&row.org).await?.await),
            };
            let mut ticket = match row.operation {
                Operation::Remove => self.0.queues.ticket(&row.org, usize::MAX),
                _ => Some(self.0.queues.shared_ticket(&row.org)),
            };
            if let Some(ticket) = &mut ticket {
                ticket.wait().await;
            }
            Ok::<_, Problem>((room, ticket))
        };
        let (room, _ticket) = tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(Ended::CutShort),
            ready = ready => ready?,
        };
        let store = &self.0.store;
        if !store.run(&row.id).await? {
            return Ok(Ended::CutShort);
        }
        // What it was when it was asked for does not count any more.
        let rows = store.workspaces(&row.org).await?;
        let Some(now) = rows.iter().find(|now| now.id == *id) else {
            let key = row.workspace.as_ref().map_or("", |subject| &subject.key);
            return Err(unknown(key));
        };
        let key = now.key.clone();
        let keep_words = |event: &Event| self.0.last_lines.keep(&row.id, event);
        let mut run = self.run(&engine, row, cancel);
        run.observer = &keep_words;
        let tell = |what| Event::of_workspace(&org, &key, id, what);
        run.emit(tell(What::Began {
            operation: row.operation,
            engine: engine.kind(),
            workspaces: 1,
        }))
        .await?;
        let outcome = match (row.operation, room) {
            (Operation::Stop, _) => {
                store.want(id, Desired::Stopped).await?;
                single::stop(&run, &org, (&key, id)).await?;
                None
            }
            (Operation::Remove, _) => {
                let volumes = flag(&row.request, "volumes");
                let mut doomed = descendants(&rows, &now.path);
                if !flag(&row.request, "cascade") {
                    self.is_childless(&row.org, &now.path).await?;
                    doomed.clear();
                }
                doomed.push(now);
                for row in doomed {
                    store.want(&row.id, Desired::Stopped).await?;
                    single::remove(&run, &org, (&row.key, &row.id), volumes).await?;
                }
                None
            }
            _ if looks_dead && now.wanted == Desired::Stopped => None,
            _ if looks_dead && is_alive(&engine, id).await => None,
            (Operation::Restart, _) if now.outcome == LastOutcome::Removed => {
                return Err(gone(&key));
            }
            (_, None) => None,
            (_, Some(room)) => {
                let made = tokio::select! {
                    biased;
                    () = cancel.cancelled() => return Ok(Ended::CutShort),
                    made = self.replan(&row.org, room) => made?,
                };
                let Prepared {
                    admitted, request, ..
                } = &made;
                let job = admitted.jobs.iter().find(|job| job.id == *id);
                let job = job.ok_or_else(|| {
                    let message = format!("{key} is in the org's template no longer");
                    Problem::one(Class::Conflict, Diagnostic::new("not-planned", message))
                })?;
                let options = Options {
                    concurrency: 1,
                    wait: request.ready_seconds.map(Duration::from_secs),
                    prune: Prune::No,
                    max_failures: None,
                };
                store.want(id, Desired::Running).await?;
                let anew = row.operation == Operation::Restart;
                Some(
                    single::renew(&run, &org, job, &options, anew)
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
        run.emit(tell(What::Ended { failed })).await?;
        if outcome.is_some_and(|outcome| outcome.is_cancelled()) {
            return Ok(Ended::CutShort);
        }
        store.finish(&row.id, failed).await?;
        Ok(Ended::Whole)
    }

    /// The signal before a restart. Whatever comes of it, the restart goes on.
    async fn notify_restart(
        &self,
        engine: &crate::provision::engine::backend::Backend,
        org: &OrgId,
        id: &WorkspaceId,
    ) {
        let said = async {
            let found = engine.find(id).await.map_err(|e| e.to_string())?;
            let current = Generations::of(found).current;
            let Some(running) = current.filter(|found| found.state == State::Running) else {
                return Ok(());
            };
            let url = running.url.ok_or("its engine knows no address of it")?;
            restart_notice::restart_pending(&url, id).await
        };
        if let Err(why) = said.await {
            tracing::warn!(org = org.slug(), workspace = %id, why, "was not told of its restart, which goes on");
        }
    }

    /// A workspace that this host runs itself.
    async fn managed(&self, id: &str) -> Result<(String, WorkspaceRow), Problem> {
        let found = self.0.store.workspace(id).await?;
        let (org, workspace) = found.ok_or_else(|| unknown(id))?;
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

    async fn is_childless(&self, org: &str, path: &NamePath) -> Result<(), Problem> {
        let rows = self.0.store.workspaces(org).await?;
        let there = |row: &&WorkspaceRow| row.outcome != LastOutcome::Removed && !row.external;
        let children = rows.iter().filter(|row| row.path.is_below(path));
        let children: Vec<&str> = children.filter(there).map(|r| r.key.as_str()).collect();
        if children.is_empty() {
            return Ok(());
        }
        let message = format!("{} has {} below it", path.name(), children.join(", "));
        let diagnostic = Diagnostic::new("has-children", message)
            .help("remove those first, or all together: ?cascade=true");
        Err(Problem::one(Class::Conflict, diagnostic))
    }

    pub(super) fn slots(&self) -> MutexGuard<'_, HashMap<At, Slot>> {
        let slots = &self.0.slots.0;
        slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn checks(&self) -> MutexGuard<'_, HashMap<At, Arc<OnceCell<Liveness>>>> {
        let checks = &self.0.checks;
        checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether what waits does what is asked for, too. A suspicion adds nothing to anything that waits.
fn is_served_by(waiting: &OperationRow, operation: Operation, request: &Value) -> bool {
    let same = waiting.operation == operation && waiting.request == *request;
    let is_thorough =
        waiting.operation == Operation::Restart && !flag(&waiting.request, "looks_dead");
    same || flag(request, "looks_dead")
        || (is_thorough && matches!(operation, Operation::Start | Operation::Restart))
}

async fn is_alive(engine: &crate::provision::engine::backend::Backend, id: &WorkspaceId) -> bool {
    let found = engine.find(id).await;
    let runs = |found: &Observed| found.state == State::Running;
    found.is_ok_and(|found| Generations::of(found).current.as_ref().is_some_and(runs))
}

/// Deepest first.
fn descendants<'a>(rows: &'a [WorkspaceRow], path: &NamePath) -> Vec<&'a WorkspaceRow> {
    let below = rows.iter().filter(|row| row.path.is_below(path));
    let managed = below.filter(|row| !row.external && row.outcome != LastOutcome::Removed);
    let mut rows: Vec<_> = managed.collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.path.depth()));
    rows
}

fn unknown(what: &str) -> Problem {
    let message = format!("there is no workspace {what:?} on this host");
    Problem::one(
        Class::NotFound,
        Diagnostic::new("unknown-workspace", message),
    )
}

fn gone(key: &WorkspaceKey) -> Problem {
    let message = format!("{key} was removed, or is about to be");
    let diagnostic = Diagnostic::new("workspace-removed", message)
        .help("start makes it again, of its org's template");
    Problem::one(Class::Conflict, diagnostic)
}
