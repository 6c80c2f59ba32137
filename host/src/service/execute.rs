//! Executes the accepted operations of whole orgs, each when its ticket is served. Accepts nothing.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;

use super::ending::Ended;
use super::follow::{Follower, Report};
use super::memory::MemoryRequest;
use super::tasks::Closed;
use super::{Prepared, Service};
use crate::limits;
use crate::model::engine_kind::EngineKind;
use crate::model::event::Event;
use crate::model::ids::{OperationId, OrgId};
use crate::problem::{Class, Problem};
use crate::provision;
use crate::provision::engine::Engine as _;
use crate::provision::engine::backend::Backend;
use crate::provision::engine::error::EngineError;
use crate::provision::run::Run;
use crate::service::admission::Admitted;
use crate::service::queue::Ticket;
use crate::state::store::OperationRow;

/// The work of an operation on a whole org.
pub(super) enum Work {
    /// Take the org down.
    Destroy,
    /// Provision what is prepared in memory.
    Apply(Box<Prepared>),
    /// Replan the org from its snapshot, and provision it. The memory for it is requested already.
    Replan(MemoryRequest),
}

/// Is called with every event of an operation.
type Observer<'a> = &'a (dyn Fn(&Event) + Send + Sync);

impl Work {
    /// Waits for the memory that the work needs.
    async fn with_memory(self) -> Self {
        match self {
            Self::Replan(memory) => Self::Replan(MemoryRequest::granted(memory.await)),
            work => work,
        }
    }
}

impl Service {
    /// Starts an operation in the background. An engine that does not answer is waited for as long as `patience`.
    pub(super) fn begin(
        &self,
        row: OperationRow,
        ticket: Ticket,
        work: Work,
        patience: Duration,
        follower: Option<Follower>,
    ) -> Result<(), Closed> {
        let name = format!("{} {}", row.operation.as_str(), row.org);
        let cancel = match &follower {
            Some(follower) => follower.cancel.clone(),
            None => self.0.tasks.stopping().child_token(),
        };
        self.cancellations().insert(row.id.clone(), cancel.clone());
        let (this, id, org) = (self.clone(), row.id.clone(), row.org.clone());
        let task = async move {
            let observe = |event: &Event| {
                if let Some(follower) = &follower {
                    follower.show(event);
                }
            };
            let run = this.run_operation(row, ticket, work, (&cancel, patience), &observe);
            let report = run.await;
            if let Some(follower) = follower {
                follower.end(report);
            }
        };
        let (this, broken_id) = (self.clone(), id.clone());
        let broken =
            move |how| async move { this.record_broken_task(&broken_id, &org, None, how).await };
        let begun = self.0.tasks.spawn(name, limits::OPERATION, task, broken);
        if begun.is_err() {
            self.cancellations().remove(&id);
        }
        begun
    }

    /// Waits for memory and for the ticket, executes the operation, and records its end.
    async fn run_operation(
        &self,
        row: OperationRow,
        mut ticket: Ticket,
        work: Work,
        (cancel, patience): (&CancellationToken, Duration),
        observe: Observer<'_>,
    ) -> Result<Report, Problem> {
        let ready = async {
            let work = work.with_memory().await;
            ticket.wait().await;
            work
        };
        let ended = tokio::select! {
            biased;
            // A cancelled operation, or one of a stopping host, ends without waiting for its ticket.
            () = cancel.cancelled() => Ok((Ended::Interrupted, Report::Nothing)),
            work = ready => self.execute(&row, work, cancel, patience, observe).await,
        };
        let how = ended.as_ref().map(|(ended, _)| *ended);
        self.record_end(&row, how).await;
        ended.map(|(_, report)| report)
    }

    /// Executes an operation whose ticket is served.
    async fn execute(
        &self,
        row: &OperationRow,
        work: Work,
        cancel: &CancellationToken,
        patience: Duration,
        observe: Observer<'_>,
    ) -> Result<(Ended, Report), Problem> {
        if !self.0.store.run(&row.id).await? {
            return Ok((Ended::Interrupted, Report::Nothing));
        }
        #[cfg(feature = "fault-injection")]
        crate::fault::at(&format!("begun {}", row.org));
        match work {
            Work::Destroy => self.execute_down(row, cancel, patience, observe).await,
            Work::Apply(prepared) => {
                self.execute_up(row, *prepared, cancel, patience, observe)
                    .await
            }
            Work::Replan(memory) => {
                let replanned = async { self.replan(&row.org, memory.await).boxed().await };
                tokio::select! {
                    biased;
                    () = cancel.cancelled() => Ok((Ended::Interrupted, Report::Nothing)),
                    prepared = replanned => {
                        self.execute_up(row, prepared?, cancel, patience, observe).await
                    }
                }
            }
        }
    }

    /// Provisions a prepared org.
    async fn execute_up(
        &self,
        row: &OperationRow,
        prepared: Prepared,
        cancel: &CancellationToken,
        patience: Duration,
        observe: Observer<'_>,
    ) -> Result<(Ended, Report), Problem> {
        let Prepared {
            admitted, request, ..
        } = &prepared;
        let engine = self.engine(admitted.row.engine, &admitted.org, cancel, patience);
        let engine = match engine.await {
            // The next process resumes the operation, and the engine may answer then.
            Err(_) if cancel.is_cancelled() => return Ok((Ended::Interrupted, Report::Nothing)),
            engine => engine?,
        };
        let options = request.provisioning();
        let observe = |event: &Event| {
            self.0.last_lines.record(&row.id, event);
            observe(event);
        };
        let mut run = self.run(&engine, row, cancel);
        run.observer = &observe;
        run.keep_failed = request.keep_failed;
        let Admitted { org, jobs, .. } = admitted;
        let summary = provision::apply(&run, org, jobs, &options).boxed().await?;
        let mut outcomes = summary.outcomes.iter();
        let ended = match outcomes.any(|(_, outcome)| outcome.is_cancelled()) {
            true => Ended::Interrupted,
            false => Ended::Completed,
        };
        Ok((ended, Report::Applied(summary)))
    }

    /// Takes an org down.
    async fn execute_down(
        &self,
        row: &OperationRow,
        cancel: &CancellationToken,
        patience: Duration,
        observe: Observer<'_>,
    ) -> Result<(Ended, Report), Problem> {
        let known = match self.org(&row.org).await {
            Ok(known) => known,
            // The org was removed, and the process was killed before it stored the end.
            Err(problem) if problem.class == Class::NotFound => {
                self.0.store.end(&row.org, 0).await?;
                return Ok((Ended::Completed, Report::Nothing));
            }
            Err(problem) => return Err(problem),
        };
        let org = OrgId::known(self.0.store.instance().clone(), &known.slug);
        let engine = match self.engine(known.engine, &org, cancel, patience).await {
            // The next process resumes the operation, and the engine may answer then.
            Err(_) if cancel.is_cancelled() => return Ok((Ended::Interrupted, Report::Nothing)),
            engine => engine?,
        };
        let volumes = flag(&row.request, "volumes");
        let mut run = self.run(&engine, row, cancel);
        run.observer = observe;
        let removal = provision::destroy(&run, &org, volumes).boxed().await?;
        // If everything was removed before the cancellation took effect, nothing is left to resume.
        let is_incomplete = cancel.is_cancelled() && self.org(&row.org).await.is_ok();
        let ended = match is_incomplete {
            true => Ended::Interrupted,
            false => Ended::Completed,
        };
        Ok((ended, Report::Destroyed(removal)))
    }

    /// The engine of an org. While it does not answer, tries again for as long as `patience`: after a reboot the engine may
    /// start later than this host. With a `patience` above zero, the engine has just answered a query about the org.
    pub(super) async fn engine(
        &self,
        kind: EngineKind,
        org: &OrgId,
        cancel: &CancellationToken,
        patience: Duration,
    ) -> Result<Arc<Backend>, Problem> {
        /// The pause between two attempts. Fixed and not a backoff of `backon`: an attempt costs little, and the wait must end
        /// at a cancellation.
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

    /// The context in which provisioning runs one operation.
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
            permits: &self.0.provisioning,
            keep_failed: false,
        }
    }

    /// The tokens that cancel open operations.
    pub(super) fn cancellations(&self) -> MutexGuard<'_, HashMap<OperationId, CancellationToken>> {
        self.0
            .cancellations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a field of a stored request is `true`.
pub(super) fn flag(request: &serde_json::Value, name: &str) -> bool {
    request.get(name) == Some(&true.into())
}
