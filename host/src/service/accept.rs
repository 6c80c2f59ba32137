//! Accepts operations on whole orgs: stores each before it is answered, and starts it even if the caller disconnects.
//! Executes nothing itself.

use std::sync::Arc;
use std::time::Duration;

use tracing::info_span;

use super::execute::Work;
use super::follow::Follower;
use super::import::JudgedImport;
use super::planning::Draft;
use super::{Import, Prepared, Service, blocking, source};
use crate::limits;
use crate::model::diagnostic::Diagnostic;
use crate::model::env_map::EnvMap;
use crate::model::event::Operation;
use crate::model::ids::OperationId;
use crate::problem::{Class, Problem};
use crate::provision::{self, Prune};
use crate::service::admission::identify;
use crate::service::queue::Ticket;
use crate::state::store::{OperationRow, Start};
use crate::template::bundle::Bundle;

impl Service {
    /// Accepts an import: plans and judges it, stores it, and starts it in the background.
    ///
    /// # Errors
    /// The template cannot be planned, policy refuses it, it conflicts with an org of this host, or the host has too much to do
    /// ([`Class::Busy`]).
    pub async fn import(&self, import: Import) -> Result<OperationRow, Problem> {
        self.check_capacity()?;
        let (vars, request) = (import.vars.clone(), import.request.clone());
        let (bundle, _, draft) = self.draft(import).await?;
        let prepared = self.prepare(draft, request).await?;
        self.check_prune(&prepared).await?;
        let name = format!("accept {}", prepared.admitted.org.slug());
        let this = self.clone();
        let work = async move {
            let kept = Some((bundle, vars));
            this.accept_import(kept, prepared, None).await
        };
        self.run_detached(name, work).await
    }

    /// Accepts a template that the operator's command line planned and judged in this process, and lets it follow the
    /// operation.
    ///
    /// # Errors
    /// It conflicts with an org of this host, or its engine does not answer: a person waits at the terminal, so nothing is
    /// stored for later.
    pub async fn import_judged(
        &self,
        judged: JudgedImport,
        follower: Follower,
    ) -> Result<OperationRow, Problem> {
        let draft = Draft {
            template: judged.template,
            judgement: judged.judgement,
            memory: self.0.memory.request(0).await,
        };
        let prepared = self.prepare(draft, judged.request).await?;
        self.0.engines.get(prepared.admitted.row.engine).await?;
        self.check_prune(&prepared).await?;
        let kept = judged.bundle.map(|bundle| (bundle, judged.vars));
        self.accept_import(kept, prepared, Some(follower)).await
    }

    /// Checks that an import would not prune more workspaces than it may. Asks the engine only if it prunes.
    async fn check_prune(&self, prepared: &Prepared) -> Result<(), Problem> {
        let Prepared {
            admitted, request, ..
        } = prepared;
        let prune = Prune::new(request.prune, request.yes);
        if prune != Prune::AtMostHalf {
            return Ok(());
        }
        let engine = self.0.engines.get(admitted.row.engine).await?;
        Ok(provision::check_prune(&*engine, &admitted.org, &admitted.jobs, prune).await?)
    }

    /// Stores an org with its source and operation, and starts the operation.
    async fn accept_import(
        &self,
        source: Option<(Arc<Bundle>, EnvMap)>,
        prepared: Prepared,
        follower: Option<Follower>,
    ) -> Result<OperationRow, Problem> {
        let host = &self.0;
        let admitted = &prepared.admitted;
        let org = admitted.org.slug().to_owned();
        let _one = host.acceptance.of(&org).await;
        let row = admitted.row.clone();
        let known = host.store.orgs_called(&org, &row.name).await?;
        let known = known.iter().find(|known| known.slug == org);
        let has_changed =
            known.is_some_and(|known| known.engine != row.engine || known.name != row.name);
        let identities = host.store.identities(&org).await?;
        let now = identify(&admitted.approved, &admitted.org, &identities)?;
        if has_changed || !now.is_same(&admitted.identities) {
            // This import was planned for the org as it was before the other import.
            let message = format!("another import of {org} was accepted meanwhile");
            let diagnostic = Diagnostic::new("org-changed", message).help("send the request again");
            return Err(Problem::one(Class::Conflict, diagnostic));
        }
        let ticket = self.ticket(&org)?;
        let kept = blocking({
            let (this, org, options) = (self.clone(), org.clone(), prepared.request.clone());
            move || {
                let state = (&this.0.snapshots, &this.0.keyring);
                let keep = |(bundle, vars): (Arc<Bundle>, EnvMap)| {
                    source::keep(&org, &bundle, &vars, &options, state)
                };
                info_span!("keep the template").in_scope(|| source.map(keep).transpose())
            }
        })
        .await??;
        let rows = provision::rows(&admitted.approved, &admitted.identities);
        let store = &host.store;
        let id = store
            .accept(row, rows, kept, start(follower.as_ref()))
            .await?;
        self.start_stored(id, ticket, Work::Apply(Box::new(prepared)), follower)
            .await
    }

    /// Accepts that an org is taken down; with `volumes`, the volumes with the agents' own work are removed too. A caller in
    /// this process can follow it.
    ///
    /// # Errors
    /// [`Class::NotFound`] when there is no such org, [`Class::Busy`] when the host has too much to do.
    pub async fn take_down(
        &self,
        org: &str,
        volumes: bool,
        follower: Option<Follower>,
    ) -> Result<OperationRow, Problem> {
        self.check_capacity()?;
        let row = self.org(org).await?;
        let (this, name) = (self.clone(), format!("accept {}", row.slug));
        let work = async move {
            let _one = this.0.acceptance.of(&row.slug).await;
            let ticket = this.ticket(&row.slug)?;
            let request = serde_json::json!({ "volumes": volumes });
            let store = &this.0.store;
            let id = store
                .enqueue(
                    &row.slug,
                    Operation::Down,
                    None,
                    request,
                    start(follower.as_ref()),
                )
                .await?;
            this.start_stored(id, ticket, Work::Destroy, follower).await
        };
        self.run_detached(name, work).await
    }

    /// Cancels an operation: its unfinished steps are undone, and no process resumes it. Returns whether it was still open.
    ///
    /// # Errors
    /// The store does not work.
    pub async fn cancel(&self, id: &OperationId) -> Result<bool, Problem> {
        let is_open = self.0.store.cancel(id).await?;
        if let Some(token) = self.cancellations().get(id) {
            token.cancel();
        }
        Ok(is_open)
    }

    /// Starts an operation that was just stored.
    async fn start_stored(
        &self,
        id: OperationId,
        ticket: Ticket,
        work: Work,
        follower: Option<Follower>,
    ) -> Result<OperationRow, Problem> {
        #[cfg(feature = "fault-injection")]
        crate::fault::at("accepted");
        let row = self.0.store.operation(id.as_str()).await?;
        let row = row.ok_or_else(|| {
            let message = "the operation that was just stored is not in the store";
            Problem::one(Class::Failed, Diagnostic::new("store", message))
        })?;
        // Fails when the host is stopping. The operation is in the store, and the next process resumes it.
        let _ = self.begin(row.clone(), ticket, work, Duration::ZERO, follower);
        Ok(row)
    }

    /// Runs work in a task of its own, so that it ends even if the caller disconnects: everything stored is also started.
    ///
    /// # Errors
    /// The error of `work`; the host is stopping; or `work` panicked or took longer than [`limits::ACCEPT`].
    pub(super) async fn run_detached<T: Send + 'static>(
        &self,
        name: String,
        work: impl Future<Output = Result<T, Problem>> + Send + 'static,
    ) -> Result<T, Problem> {
        let (sender, done) = tokio::sync::oneshot::channel();
        let work = async move { drop(sender.send(work.await)) };
        let broken = |_| async {};
        self.0.tasks.spawn(name, limits::ACCEPT, work, broken)?;
        done.await.unwrap_or_else(|_| {
            let diagnostic = Diagnostic::new("broke", "a defect of orghost, or the disk hangs");
            Err(Problem::one(Class::Failed, diagnostic))
        })
    }
}

/// A command's operation is never queued in the store: if the command is killed, the next command on the org must be able to end
/// it. A server would otherwise carry it out much later, when that command has already done something else.
fn start(follower: Option<&Follower>) -> Start {
    match follower {
        Some(_) => Start::AtOnce,
        None => Start::Queued,
    }
}
