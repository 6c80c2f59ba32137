//! Accepting: what is answered with "accepted" was stored before, and is begun although whoever asked may go away. Does
//! nothing of it itself.

use std::sync::Arc;
use std::time::Duration;

use super::execute::Work;
use super::{Import, Prepared, Service, blocking, busy};
use crate::limits;
use crate::model::diagnostic::Diagnostic;
use crate::model::env_map::EnvMap;
use crate::model::event::Operation;
use crate::model::ids::OperationId;
use crate::problem::{Class, Problem};
use crate::provision::{self, Prune};
use crate::service::admission::identify;
use crate::service::queue::Ticket;
use crate::state::store::{Label, OperationRow, SourceRow, Subject};
use crate::template::bundle::Bundle;

impl Service {
    /// Accepts an org: plans, judges, stores, and does the rest in the background.
    ///
    /// # Errors
    /// There is no plan, policy refuses it, its name is another org's, or there is too much to do ([`Class::Busy`]).
    pub async fn import(&self, import: Import) -> Result<OperationRow, Problem> {
        self.check_capacity()?;
        let (vars, request) = (import.vars.clone(), import.request.clone());
        let draft = self.draft(import).await?;
        let bundle = draft.bundle.clone();
        let made = self.prepare(draft, request).await?;
        self.check_prune(&made).await?;
        let name = format!("accept {}", made.admitted.org.slug());
        let this = self.clone();
        let work = async move { this.keep(bundle, vars, made).await };
        self.run_detached(name, work).await
    }

    /// Whether an import may prune as much as it would now. One that prunes nothing asks no engine.
    async fn check_prune(&self, made: &Prepared) -> Result<(), Problem> {
        let Prepared {
            admitted, request, ..
        } = made;
        let prune = Prune::new(request.prune, request.yes);
        if prune != Prune::AtMostHalf {
            return Ok(());
        }
        let engine = self.0.engines.get(admitted.row.engine).await?;
        Ok(provision::check_prune(&*engine, &admitted.org, &admitted.jobs, prune).await?)
    }

    /// Stores an org, what it is made from and what there is to do, and begins it.
    async fn keep(
        &self,
        bundle: Arc<Bundle>,
        vars: EnvMap,
        made: Prepared,
    ) -> Result<OperationRow, Problem> {
        let host = &self.0;
        let org = made.admitted.org.slug().to_owned();
        let _one = host.accepting.lock().await;
        let row = made.admitted.row.clone();
        let known = host.store.orgs().await?;
        let known = known.iter().find(|known| known.slug == org);
        let is_elsewhere =
            known.is_some_and(|known| known.engine != row.engine || known.name != row.name);
        let identities = host.store.identities(&org).await?;
        let now = identify(&made.admitted.approved, &made.admitted.org, &identities)?;
        if is_elsewhere || !now.is_same(&made.admitted.identities) {
            // While this one was planned, another import of this org was accepted.
            let message = format!("another import of {org} was accepted meanwhile");
            let diagnostic = Diagnostic::new("org-changed", message).help("ask once more");
            return Err(Problem::one(Class::Conflict, diagnostic));
        }
        let ticket = self.ticket(&org)?;
        let snapshot = blocking({
            let this = self.clone();
            move || this.0.snapshots.put(&bundle, &this.0.keyring)
        })
        .await??;
        let vars = serde_json::json!(vars).to_string();
        let encrypted = host
            .keyring
            .encrypt(Label::vars(&org).as_str(), vars.as_bytes())?;
        let source = SourceRow {
            snapshot,
            request: serde_json::json!(made.request),
        };
        let rows = provision::rows(&made.admitted.approved, &made.admitted.identities);
        let id = host.store.accept(row, rows, source, encrypted).await?;
        self.enter(id, ticket, Work::Apply(Box::new(made))).await
    }

    /// Accepts that an org is to be taken down; with `volumes`, the agents' own work too.
    ///
    /// # Errors
    /// There is no such org, or too much to do.
    pub async fn take_down(&self, org: &str, volumes: bool) -> Result<OperationRow, Problem> {
        self.check_capacity()?;
        let row = self.org(org).await?;
        let (this, name) = (self.clone(), format!("accept {}", row.slug));
        let work = async move {
            let _one = this.0.accepting.lock().await;
            let ticket = this.ticket(&row.slug)?;
            let request = serde_json::json!({ "volumes": volumes });
            this.accept(&row.slug, Operation::Down, None, request, ticket)
                .await
        };
        self.run_detached(name, work).await
    }

    /// Cancels an operation: what is under way is taken back, and no other process goes on with it. Says whether it still
    /// could be.
    ///
    /// # Errors
    /// The store's.
    pub async fn cancel(&self, id: &OperationId) -> Result<bool, Problem> {
        let is_open = self.0.store.cancel(id).await?;
        if let Some(token) = self.cancellations().get(id) {
            token.cancel();
        }
        Ok(is_open)
    }

    /// Back-pressure, before anything costs anything.
    pub(super) fn check_capacity(&self) -> Result<(), Problem> {
        if self.0.queues.length() >= limits::OPERATIONS {
            return Err(busy("this host has accepted as much as it can remember"));
        }
        Ok(())
    }

    fn ticket(&self, org: &str) -> Result<Ticket, Problem> {
        let ticket = self.0.queues.ticket(org, limits::OPERATIONS_OF_ORG);
        ticket.ok_or_else(|| busy("too many operations of this org are waiting already"))
    }

    /// Stores an operation, and begins it.
    async fn accept(
        &self,
        org: &str,
        operation: Operation,
        workspace: Option<Subject>,
        request: serde_json::Value,
        ticket: Ticket,
    ) -> Result<OperationRow, Problem> {
        let store = &self.0.store;
        let id = store.enqueue(org, operation, workspace, request).await?;
        self.enter(id, ticket, Work::Destroy).await
    }

    /// Begins what was just stored.
    async fn enter(
        &self,
        id: OperationId,
        ticket: Ticket,
        ready: Work,
    ) -> Result<OperationRow, Problem> {
        #[cfg(feature = "fault-injection")]
        crate::fault::at("accepted");
        let row = self.0.store.operation(id.as_str()).await?;
        let row = row.ok_or_else(|| {
            let diagnostic = Diagnostic::new("store", "what was just stored is not there");
            Problem::one(Class::Failed, diagnostic)
        })?;
        // A host that is stopping begins nothing; what is stored is begun by the next one.
        let _ = self.begin(row.clone(), ticket, ready, Duration::ZERO);
        Ok(row)
    }

    /// Runs some work to its end, although whoever asked for it may go away meanwhile: what is stored is also begun.
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
