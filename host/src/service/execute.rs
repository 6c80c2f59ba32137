//! Doing what was accepted: each operation when it is its turn, to an end that is stored. Accepts nothing.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;

use super::memory::Asked;
use super::tasks::{Broken, Closed};
use super::{Prepared, Service};
use crate::limits;
use crate::model::diagnostic::Diagnostic;
use crate::model::engine_kind::EngineKind;
use crate::model::event::{Event, Failure, Step, What};
use crate::model::ids::{OperationId, OrgId};
use crate::model::plan::WorkspaceKey;
use crate::problem::{Class, Problem};
use crate::provision::engine::Engine as _;
use crate::provision::engine::backend::Backend;
use crate::provision::engine::error::EngineError;
use crate::provision::run::Run;
use crate::provision::{self, Options, Prune};
use crate::service::admission::Admitted;
use crate::service::queue::Ticket;
use crate::state::store::{OperationRow, OperationState, StoreError, Subject, WorkspaceRow};

/// What an operation of a whole org has when it comes to its turn.
pub(super) enum Ready {
    /// It makes nothing.
    Nothing,
    /// What it makes is in memory.
    Prepared(Box<Prepared>),
    /// What it makes is to be made again of its snapshot, for which it has asked for room.
    ToMake(Asked),
}

/// How an operation ended that met no error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// It was done, and its end is stored.
    Whole,
    /// It was cancelled, or the host stops.
    CutShort,
}

impl Ready {
    /// The same, when there is room for it.
    async fn with_room(self) -> Self {
        match self {
            Self::ToMake(asked) => Self::ToMake(Asked::granted(asked.await)),
            other => other,
        }
    }
}

impl Service {
    /// Begins an operation in the background. An engine that is away is waited for as long as `patience` says.
    pub(super) fn begin(
        &self,
        row: OperationRow,
        ticket: Ticket,
        ready: Ready,
        patience: Duration,
    ) -> Result<(), Closed> {
        let name = format!("{} {}", row.operation.as_str(), row.org);
        let cancel = self.0.tasks.stopping().child_token();
        self.cancels().insert(row.id.clone(), cancel.clone());
        let (this, id, org) = (self.clone(), row.id.clone(), row.org.clone());
        let work = async move { this.perform(row, ticket, ready, cancel, patience).await };
        let (this, broken_id) = (self.clone(), id.clone());
        let broken = move |how| async move { this.broke(&broken_id, &org, None, how).await };
        let begun = self.0.tasks.spawn(name, limits::OPERATION, work, broken);
        if begun.is_err() {
            self.cancels().remove(&id);
        }
        begun
    }

    /// From the end of the line to the operation's end.
    async fn perform(
        &self,
        row: OperationRow,
        mut ticket: Ticket,
        ready: Ready,
        cancel: CancellationToken,
        patience: Duration,
    ) {
        let ready = async {
            let ready = ready.with_room().await;
            ticket.wait().await;
            ready
        };
        let ended = tokio::select! {
            biased;
            // Who is cancelled, or is to stop, does not wait for those before it.
            () = cancel.cancelled() => Ok(Ended::CutShort),
            ready = ready => self.act(&row, ready, &cancel, patience).await,
        };
        self.settle(&row, ended).await;
    }

    /// Stores the end of an operation, unless it is stored already.
    pub(super) async fn settle(&self, row: &OperationRow, ended: Result<Ended, Problem>) {
        let store = &self.0.store;
        let settled = match ended {
            Ok(Ended::Whole) => Ok(()),
            Ok(Ended::CutShort) => self.cut_short(row).await,
            Err(problem) => {
                let errors = &problem.errors;
                let told = self.give_up(row, errors).await;
                let settled = store.settle(&row.id, OperationState::Failed, errors).await;
                told.and(settled)
            }
        };
        if let Err(error) = settled {
            tracing::error!(%error, operation = row.id.as_str(), "the end of an operation was not stored");
        }
        self.cancels().remove(&row.id);
    }

    /// When the host stops, the next process goes on with it, unless somebody cancelled it.
    async fn cut_short(&self, row: &OperationRow) -> Result<(), StoreError> {
        let is_stopping = self.0.tasks.stopping().is_cancelled();
        if is_stopping && self.0.store.requeue(&row.id).await? {
            return Ok(());
        }
        self.call_off(row).await
    }

    /// An operation that was cancelled is over: its workspaces wait for nothing any more.
    pub(super) async fn call_off(&self, row: &OperationRow) -> Result<(), StoreError> {
        let reason = "cancelled".to_owned();
        self.leave(row, &What::Skipped { reason }).await?;
        let store = &self.0.store;
        store.settle(&row.id, OperationState::Cancelled, &[]).await
    }

    async fn act(
        &self,
        row: &OperationRow,
        ready: Ready,
        cancel: &CancellationToken,
        patience: Duration,
    ) -> Result<Ended, Problem> {
        if !self.0.store.run(&row.id).await? {
            return Ok(Ended::CutShort);
        }
        #[cfg(feature = "fault-injection")]
        crate::fault::at(&format!("begun {}", row.org));
        match ready {
            Ready::Nothing => self.descend(row, cancel, patience).await,
            Ready::Prepared(made) => self.ascend(row, *made, cancel, patience).await,
            Ready::ToMake(asked) => {
                let remade = async { self.replan(&row.org, asked.await).boxed().await };
                tokio::select! {
                    biased;
                    () = cancel.cancelled() => Ok(Ended::CutShort),
                    made = remade => self.ascend(row, made?, cancel, patience).await,
                }
            }
        }
    }

    async fn ascend(
        &self,
        row: &OperationRow,
        made: Prepared,
        cancel: &CancellationToken,
        patience: Duration,
    ) -> Result<Ended, Problem> {
        let Prepared {
            admitted, request, ..
        } = &made;
        let engine = self.engine(admitted.row.engine, &admitted.org, cancel, patience);
        let engine = match engine.await {
            // The next process may have more luck.
            Err(_) if cancel.is_cancelled() => return Ok(Ended::CutShort),
            engine => engine?,
        };
        let options = Options {
            concurrency: self.0.config.concurrency(),
            wait: request.ready_seconds.map(Duration::from_secs),
            prune: Prune::new(request.prune, request.yes),
            max_failures: request.max_failures,
        };
        let keep_words = |event: &Event| self.0.last_lines.keep(&row.id, event);
        let mut run = self.run(&engine, row, cancel);
        run.observer = &keep_words;
        run.keep_failed = request.keep_failed;
        let Admitted { org, jobs, .. } = admitted;
        let summary = provision::up(&run, org, jobs, &options).boxed().await?;
        let mut outcomes = summary.outcomes.iter();
        Ok(match outcomes.any(|(_, outcome)| outcome.is_cancelled()) {
            true => Ended::CutShort,
            false => Ended::Whole,
        })
    }

    async fn descend(
        &self,
        row: &OperationRow,
        cancel: &CancellationToken,
        patience: Duration,
    ) -> Result<Ended, Problem> {
        let known = match self.org(&row.org).await {
            Ok(known) => known,
            // An earlier process forgot it, and was killed before it said so.
            Err(problem) if problem.class == Class::NotFound => {
                self.0.store.end(&row.org, 0).await?;
                return Ok(Ended::Whole);
            }
            Err(problem) => return Err(problem),
        };
        let org = OrgId::known(self.0.store.instance().clone(), &known.slug);
        let engine = match self.engine(known.engine, &org, cancel, patience).await {
            // The next process may have more luck.
            Err(_) if cancel.is_cancelled() => return Ok(Ended::CutShort),
            engine => engine?,
        };
        let volumes = super::flag(&row.request, "volumes");
        let run = self.run(&engine, row, cancel);
        let concurrency = self.0.config.concurrency();
        provision::down(&run, &org, volumes, concurrency)
            .boxed()
            .await?;
        // What was all done although somebody wanted it to end needs no going on.
        let is_left = cancel.is_cancelled() && self.org(&row.org).await.is_ok();
        Ok(match is_left {
            true => Ended::CutShort,
            false => Ended::Whole,
        })
    }

    /// The engine of an org. After a machine has started, its engine may come later than this host; and an engine that is
    /// started anew is away for a while. One that is waited for has answered just now.
    pub(super) async fn engine(
        &self,
        kind: EngineKind,
        org: &OrgId,
        cancel: &CancellationToken,
        patience: Duration,
    ) -> Result<Arc<Backend>, Problem> {
        /// Between two attempts.
        const PAUSE: Duration = Duration::from_secs(2);
        let deadline = Instant::now() + patience;
        loop {
            let found = async {
                let engine = self.0.engines.get(kind).await?;
                if !patience.is_zero() {
                    engine.observe(org).await?;
                }
                Ok(engine)
            };
            match found.await {
                Err(EngineError::Away { .. })
                    if Instant::now() < deadline && !cancel.is_cancelled() =>
                {
                    tokio::select! {
                        () = tokio::time::sleep(PAUSE) => {}
                        () = cancel.cancelled() => {}
                    }
                }
                found => return Ok(found?),
            }
        }
    }

    pub(super) fn run<'a>(
        &'a self,
        engine: &'a Backend,
        row: &OperationRow,
        cancel: &CancellationToken,
    ) -> Run<'a, Backend> {
        Run {
            engine,
            store: &self.0.store,
            operation: row.id.clone(),
            cancel: cancel.clone(),
            observer: &|_| {},
            turns: &self.0.turns,
            keep_failed: false,
        }
    }

    /// An operation could not be done: its workspaces are told why.
    async fn give_up(&self, row: &OperationRow, errors: &[Diagnostic]) -> Result<(), StoreError> {
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
        self.leave(row, &What::Failed(Box::new(failure))).await
    }

    /// An event for each workspace that would wait for this operation for ever.
    async fn leave(&self, row: &OperationRow, what: &What) -> Result<(), StoreError> {
        let is_stuck = |w: &&WorkspaceRow| {
            let subject = row.workspace.as_ref();
            let is_meant = subject.is_none_or(|subject| subject.id.as_ref() == Some(&w.id));
            is_meant && w.outcome.is_on_its_way()
        };
        let org = OrgId::known(self.0.store.instance().clone(), &row.org);
        let store = &self.0.store;
        for workspace in store.workspaces(&row.org).await?.iter().filter(is_stuck) {
            let event = Event::of_workspace(&org, &workspace.key, &workspace.id, what.clone());
            store.append(&row.id, &event).await?;
        }
        Ok(())
    }

    /// An operation whose task broke: an event, a failed operation and failed workspaces, not a dead host.
    pub(super) async fn broke(
        &self,
        id: &OperationId,
        org: &str,
        workspace: Option<&Subject>,
        how: Broken,
    ) {
        let reason = match how {
            Broken::Panicked(words) => format!("a defect of orghost: {words}"),
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
            store.settle(id, OperationState::Failed, &errors).await
        };
        if let Err(error) = stored.await {
            tracing::error!(%error, operation = id.as_str(), "the end of an operation was not stored");
        }
        self.cancels().remove(id);
    }

    pub(super) fn cancels(&self) -> MutexGuard<'_, HashMap<OperationId, CancellationToken>> {
        self.0
            .cancels
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
