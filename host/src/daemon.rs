//! A host that runs for months: accepts orgs for many callers at once, does what it accepted in the background, and goes
//! on with it after it was killed. The one owner of the store, the engines and the background work; speaks no HTTP.
//!
//! What is accepted is stored first: the template's snapshot, the sealed variables, and the operation. So whatever happens
//! to the process, the next one finds what there is to do, makes the same plan of the same snapshot, and goes on.

pub mod access;
pub mod last_lines;
pub mod line;
pub mod sweep;
pub mod tasks;
pub mod workspaces;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use serde::{Deserialize, Serialize};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::admission::{Admitted, Placement, Site, admit, identify};
use crate::agent_token::AgentTokens;
use crate::config::{Config, EngineKind};
use crate::diagnostic::Diagnostic;
use crate::event::{Event, Failure, Operation, Step, What};
use crate::installer::Installer;
use crate::limits;
use crate::metrics::{Metrics, Moment, Planned};
use crate::plan::WorkspaceKey;
use crate::planner::{Judged, Loaded, Planner, Wanted};
use crate::plugin::{EnvMap, Expansion, Sandbox};
use crate::policy::{Policy, Violation};
use crate::problem::{Class, Problem};
use crate::provision::backend::{Backend, Engines};
use crate::provision::engine::EngineError;
use crate::provision::spec::{OperationId, OrgId};
use crate::provision::turns::Turns;
use crate::provision::workspace::Run;
use crate::provision::{self, Options, Outcome};
use crate::snapshot::{Bundle, SnapshotError, Snapshots};
use crate::store::{
    Label, OperationRow, OperationState, OrgRow, SourceRow, Store, StoreError, Subject,
    WorkspaceRow, WriteLock,
};
use crate::template::TemplateDir;
use crate::vault::Vault;
use last_lines::LastLines;
use line::{Lines, Place};
use sweep::Orphan;
use tasks::{Broken, Closed, Tasks};
use workspaces::{Checks, Slots};

/// The running host. Cheap to clone.
#[derive(Clone)]
pub struct Daemon(Arc<Inner>);

struct Inner {
    config: Arc<Config>,
    planner: Planner,
    loaded: Loaded,
    policy: Policy,
    store: Store,
    vault: Vault,
    snapshots: Snapshots,
    templates: PathBuf,
    engines: Engines,
    tasks: Tasks,
    turns: Arc<Turns>,
    metrics: Metrics,
    lines: Lines,
    /// Kilobytes of templates that may be in memory at a time.
    memory: Arc<Semaphore>,
    /// Accepting is one after the other, so that the store and the lines agree on the order.
    accepting: tokio::sync::Mutex<()>,
    cancels: Mutex<HashMap<OperationId, CancellationToken>>,
    slots: Slots,
    checks: Checks,
    agent_tokens: OnceCell<AgentTokens>,
    orphans: Mutex<Vec<Orphan>>,
    last_lines: LastLines,
    /// Closed last.
    _lock: WriteLock,
}

/// What a daemon is made of.
pub struct Parts {
    /// The operator's file.
    pub config: Arc<Config>,
    /// What planning stands on.
    pub planner: Planner,
    /// Plugins.
    pub loaded: Loaded,
    /// The operator's policy: the same for every caller.
    pub policy: Policy,
    /// The store, and the right to write to it.
    pub store: Store,
    /// See [`Store::lock`].
    pub lock: WriteLock,
    /// Opens what is sealed in the store.
    pub vault: Vault,
    /// The templates that orgs are made from.
    pub snapshots: Snapshots,
    /// The folder of the templates that callers may name.
    pub templates: PathBuf,
    /// What runs workspaces.
    pub engines: Engines,
}

/// An org that somebody wants to be up.
#[derive(Debug, Clone)]
pub struct Import {
    /// The template.
    pub bundle: Arc<Bundle>,
    /// Variables: for expansion, and in every workspace.
    pub vars: EnvMap,
    /// The rest.
    pub request: Request,
}

/// What is asked for beside the template and the variables: kept as it is, so nothing of it is a secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Request {
    /// Where the template comes from, for people.
    pub template: String,
    /// The name of an installed plugin; else the one that the template names, else the built-in one.
    pub plugin: Option<String>,
    /// Names of the host's environment that the template may use; the operator's file lists those that may be asked for.
    pub grant: Vec<String>,
    /// Leave out `!external` subtrees instead of failing.
    pub skip_external: bool,
    /// What runs the workspaces.
    pub engine: Option<EngineKind>,
    /// Remove workspaces that are in the org and no longer in the template.
    pub prune: bool,
    /// Leave a failed container that was seeded, for diagnosis.
    pub keep_failed: bool,
    /// Wait until each workspace answers, at most so many seconds.
    pub ready_seconds: Option<u64>,
    /// The org may be one that came from another template.
    pub take_over: bool,
}

/// An org, made of its source: what there is to do for it.
pub struct Made {
    /// What there is to do.
    pub admitted: Admitted,
    /// What was asked for.
    pub request: Request,
    /// Its template is in memory: the seeds are read from it.
    _held: OwnedSemaphorePermit,
}

impl Daemon {
    /// Takes over a state folder. Nothing is begun before [`Daemon::resume`].
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Inner {
            turns: Turns::new(parts.config.concurrency()),
            config: parts.config,
            planner: parts.planner,
            loaded: parts.loaded,
            policy: parts.policy,
            store: parts.store,
            vault: parts.vault,
            snapshots: parts.snapshots,
            templates: parts.templates,
            engines: parts.engines,
            tasks: Tasks::default(),
            metrics: Metrics::default(),
            lines: Lines::default(),
            memory: Arc::new(Semaphore::new(limits::TEMPLATES_HELD >> 10)),
            accepting: tokio::sync::Mutex::default(),
            cancels: Mutex::default(),
            slots: Slots::default(),
            checks: Checks::default(),
            agent_tokens: OnceCell::new(),
            orphans: Mutex::default(),
            last_lines: LastLines::default(),
            _lock: parts.lock,
        }))
    }

    /// Goes on with what an earlier process accepted and did not end. What a later one does anyway is left out.
    ///
    /// # Errors
    /// The store's.
    pub async fn resume(&self) -> Result<(), Problem> {
        let host = &self.0;
        let used = host.store.snapshots().await?;
        if let Err(error) = host.snapshots.sweep(&used) {
            tracing::warn!(%error, "old snapshots were not removed");
        }
        let unended = host.store.unended().await?;
        for (index, row) in unended.iter().enumerate() {
            let mut later = unended.iter().skip(index + 1);
            if later.any(|later| supersedes(later, row)) {
                let state = OperationState::Superseded;
                host.store.settle(&row.id, state, &[]).await?;
                continue;
            }
            tracing::info!(operation = row.id.as_str(), org = row.org, "goes on");
            if let Some(subject) = &row.workspace {
                match &subject.id {
                    Some(id) => {
                        let at = (row.org.clone(), id.clone());
                        self.line_up(at, row.clone()).await?;
                    }
                    // An older version accepted it, and nobody knows its workspace any more.
                    None => {
                        let errors = [Diagnostic::new("unknown-workspace", "it is gone")];
                        let state = OperationState::Failed;
                        host.store.settle(&row.id, state, &errors).await?;
                    }
                }
                continue;
            }
            match host.lines.join(&row.org, usize::MAX) {
                Some(place) => self.begin(row.clone(), place, None, limits::ENGINE_BACK)?,
                None => return Err(busy("too much is under way")),
            }
        }
        Ok(())
    }

    /// Plans a template, and says what policy makes of it. Changes nothing.
    ///
    /// # Errors
    /// There is no plan.
    pub async fn plan(&self, import: Import) -> Result<Judged, Problem> {
        self.check(&import.request)?;
        Ok(self
            .judge(import.bundle, import.vars, &import.request)
            .await?
            .1)
    }

    /// Accepts an org: plans, judges, stores, and does the rest in the background.
    ///
    /// # Errors
    /// There is no plan, policy refuses it, its name is another org's, or there is too much to do ([`Class::Busy`]).
    pub async fn import(&self, import: Import) -> Result<OperationRow, Problem> {
        self.has_room()?;
        self.check(&import.request)?;
        let bundle = import.bundle.clone();
        let held = self
            .0
            .memory
            .clone()
            .try_acquire_many_owned(kilobytes(&bundle));
        let held =
            held.map_err(|_| busy("the templates that are being imported fill the memory"))?;
        let (template, judged) = self
            .judge(import.bundle, import.vars.clone(), &import.request)
            .await?;
        let made = self.made(template, judged, import.request, held).await?;
        let org = made.admitted.org.slug().to_owned();

        let this = self.clone();
        let work = async move { this.keep(bundle, import.vars, made).await };
        self.whole(format!("accept {org}"), work).await
    }

    /// Stores an org, what it is made from and what there is to do, and begins it.
    async fn keep(
        &self,
        bundle: Arc<Bundle>,
        vars: EnvMap,
        made: Made,
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
        let place = self.join(&org)?;
        let snapshot = blocking({
            let this = self.clone();
            move || this.0.snapshots.put(&bundle, &this.0.vault)
        })
        .await??;
        let vars = serde_json::to_vec(&vars).unwrap_or_default();
        let sealed = host.vault.seal(Label::vars(&org).as_str(), &vars)?;
        let source = SourceRow {
            snapshot,
            request: serde_json::json!(made.request),
        };
        let rows = provision::rows(&made.admitted.approved, &made.admitted.identities);
        let id = host.store.accept(row, rows, source, sealed).await?;
        self.enter(id, place, Some(made)).await
    }

    /// Accepts that an org is to be taken down; with `volumes`, the agents' own work too.
    ///
    /// # Errors
    /// There is no such org, or too much to do.
    pub async fn take_down(&self, org: &str, volumes: bool) -> Result<OperationRow, Problem> {
        self.has_room()?;
        let row = self.org(org).await?;
        let (this, name) = (self.clone(), format!("accept {}", row.slug));
        let work = async move {
            let _one = this.0.accepting.lock().await;
            let place = this.join(&row.slug)?;
            let request = serde_json::json!({ "volumes": volumes });
            this.accept(&row.slug, Operation::Down, None, request, place)
                .await
        };
        self.whole(name, work).await
    }

    /// Cancels an operation: what is under way is taken back. Says whether it still could be.
    ///
    /// # Errors
    /// The store's.
    pub async fn cancel(&self, id: &OperationId) -> Result<bool, Problem> {
        let token = self.cancels().get(id).cloned();
        if let Some(token) = &token {
            token.cancel();
        }
        Ok(token.is_some())
    }

    /// An org by its slug or its name.
    ///
    /// # Errors
    /// [`Class::Unknown`].
    pub async fn org(&self, name: &str) -> Result<OrgRow, Problem> {
        let orgs = self.0.store.orgs().await?;
        let found = orgs.into_iter().find(|row| row.is_called(name));
        found.ok_or_else(|| {
            let message = format!("there is no org {name:?} on this host");
            Problem::one(Class::Unknown, Diagnostic::new("unknown-org", message))
        })
    }

    /// Begins nothing more, and waits for what runs; the names of what still runs after `limit`. What was cut short is in
    /// the store, and goes on when the host is started again.
    pub async fn drain(&self, limit: Duration) -> Vec<String> {
        self.0.tasks.drain(limit).await
    }

    /// The store: for reading.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// The background work.
    pub fn tasks(&self) -> &Tasks {
        &self.0.tasks
    }

    /// What the tokens of workspaces are made with.
    ///
    /// # Errors
    /// The store's and the vault's.
    pub async fn agent_tokens(&self) -> Result<&AgentTokens, Problem> {
        let host = &self.0;
        let made = || AgentTokens::of(&host.store, &host.vault);
        host.agent_tokens.get_or_try_init(made).await
    }

    /// What failed workspaces printed; not for everybody.
    pub fn last_lines(&self) -> &LastLines {
        &self.0.last_lines
    }

    /// What runs workspaces.
    pub fn engines(&self) -> &Engines {
        &self.0.engines
    }

    /// The folder of the templates that callers may name.
    pub fn templates(&self) -> &Path {
        &self.0.templates
    }

    /// The operator's file.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// How the host is now, in numbers.
    ///
    /// # Errors
    /// The store's.
    pub async fn moment(&self) -> Result<Moment, Problem> {
        let host = &self.0;
        Ok(Moment {
            operations: host.store.tally().await?,
            open: host.lines.length(),
            waiting: host.turns.waiting(),
            running: host.turns.taken(),
            tasks: host.tasks.count_running(),
            events: host.store.newest().await?.unsigned_abs(),
        })
    }

    /// Expands the references in a text, as templates do. Changes nothing.
    ///
    /// # Errors
    /// A variable that callers may not ask for, or the plugin's.
    pub async fn expand(
        &self,
        text: String,
        vars: EnvMap,
        grant: Vec<String>,
    ) -> Result<Expansion, Problem> {
        let request = Request {
            grant,
            ..Request::default()
        };
        self.check(&request)?;
        let wanted = Wanted {
            vars,
            grant: request.grant,
            ..Wanted::default()
        };
        let this = self.clone();
        blocking(move || this.0.planner.expand(&this.0.loaded, &text, &wanted)).await?
    }

    /// Does something with the installed plugins.
    ///
    /// # Errors
    /// What comes of it.
    pub async fn plugins<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Installer, &Sandbox) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let this = self.clone();
        blocking(move || work(&this.0.planner.installer(), this.0.loaded.sandbox())).await?
    }

    /// How many operations were accepted and did not end, and how many workspaces wait for their turn.
    pub fn waiting(&self) -> (usize, usize) {
        (self.0.lines.length(), self.0.turns.waiting())
    }

    /// Makes an org again of what it was last made from.
    ///
    /// # Errors
    /// The source is gone or sealed with another key, or there is no plan, or policy refuses it.
    pub async fn remake(&self, org: &str) -> Result<Made, Problem> {
        let host = &self.0;
        let (source, sealed) = (
            host.store.source(org).await?,
            host.store.sealed(&Label::vars(org)).await?,
        );
        let (Some(source), Some(sealed)) = (source, sealed) else {
            let message = format!("this host does not know what {org} was made from");
            let help = "import it once more: it was brought up without this server";
            let diagnostic = Diagnostic::new("no-source", message).help(help);
            return Err(Problem::one(Class::Conflict, diagnostic));
        };
        let vars = host.vault.open(Label::vars(org).as_str(), &sealed)?;
        let vars: EnvMap = serde_json::from_slice(&vars).unwrap_or_default();
        let request: Request = serde_json::from_value(source.request).unwrap_or_default();
        let bundle = blocking({
            let this = self.clone();
            move || this.0.snapshots.get(&source.snapshot, &this.0.vault)
        })
        .await??;
        // Whoever goes on in the background waits for its turn.
        let held = host
            .memory
            .clone()
            .acquire_many_owned(kilobytes(&bundle))
            .await;
        let held = held.map_err(|_| Closed)?;
        let (template, judged) = self.judge(Arc::new(bundle), vars, &request).await?;
        self.made(template, judged, request, held).await
    }

    /// What a caller may ask for is less than what the operator may.
    fn check(&self, request: &Request) -> Result<(), Problem> {
        let may = &self.0.config.server.grant;
        if let Some(name) = request.grant.iter().find(|name| !may.contains(name)) {
            let message = format!("the variable {name:?} is not one that callers may ask for");
            let diagnostic = Diagnostic::new("grant-not-allowed", message)
                .help("the operator's file lists them as `grant` under [server]");
            return Err(Problem::one(Class::Refused, diagnostic));
        }
        if request
            .plugin
            .as_deref()
            .is_some_and(crate::planner::is_file)
        {
            let diagnostic = Diagnostic::new("plugin-name", "a server runs installed plugins only")
                .help("install it, and ask for it by its name");
            return Err(Problem::one(Class::Invalid, diagnostic));
        }
        Ok(())
    }

    async fn judge(
        &self,
        bundle: Arc<Bundle>,
        vars: EnvMap,
        request: &Request,
    ) -> Result<(TemplateDir, Judged), Problem> {
        let wanted = Wanted {
            plugin: request.plugin.clone(),
            vars,
            grant: request.grant.clone(),
            skip_external: request.skip_external,
            ..Wanted::default()
        };
        let this = self.clone();
        let work = move || {
            let host = &this.0;
            #[cfg(feature = "fault-injection")]
            crate::fault::at("planning");
            let template = TemplateDir::of_bundle(bundle);
            let began = Instant::now();
            let judged = host
                .planner
                .judge(&host.loaded, &template, &wanted, &host.policy);
            let planned = match &judged {
                Ok(judged) if judged.verdict.is_ok() => Planned::Approved,
                Ok(_) => Planned::Refused,
                Err(_) => Planned::Nothing,
            };
            host.metrics.plan(planned, began.elapsed());
            Ok::<_, Problem>((template, judged?))
        };
        blocking(work).await?
    }

    async fn made(
        &self,
        template: TemplateDir,
        judged: Judged,
        request: Request,
        held: OwnedSemaphorePermit,
    ) -> Result<Made, Problem> {
        let host = &self.0;
        let approved = judged
            .verdict
            .map_err(|rejected| refused(&rejected.violations))?;
        let site = Site {
            store: &host.store,
            config: &host.config,
            engines: &host.engines,
            tokens: self.agent_tokens().await?,
        };
        let placement = Placement {
            template: request.template.clone(),
            engine: request.engine,
            take_over: request.take_over,
        };
        let admitted = admit(approved, &template, placement, &site).await?;
        Ok(Made {
            admitted,
            request,
            _held: held,
        })
    }

    /// Back-pressure, before anything costs anything.
    fn has_room(&self) -> Result<(), Problem> {
        if self.0.lines.length() >= limits::OPERATIONS {
            return Err(busy("this host has accepted as much as it can remember"));
        }
        Ok(())
    }

    fn join(&self, org: &str) -> Result<Place, Problem> {
        let place = self.0.lines.join(org, limits::OPERATIONS_OF_ORG);
        place.ok_or_else(|| busy("too many operations of this org are waiting already"))
    }

    /// Stores an operation, and begins it.
    async fn accept(
        &self,
        org: &str,
        operation: Operation,
        workspace: Option<Subject>,
        request: serde_json::Value,
        place: Place,
    ) -> Result<OperationRow, Problem> {
        let store = &self.0.store;
        let id = store.enqueue(org, operation, workspace, request).await?;
        self.enter(id, place, None).await
    }

    /// Begins what was just stored.
    async fn enter(
        &self,
        id: OperationId,
        place: Place,
        made: Option<Made>,
    ) -> Result<OperationRow, Problem> {
        #[cfg(feature = "fault-injection")]
        crate::fault::at("accepted");
        let row = self.0.store.operation(id.as_str()).await?;
        let row = row.ok_or_else(|| {
            let diagnostic = Diagnostic::new("store", "what was just stored is not there");
            Problem::one(Class::Failed, diagnostic)
        })?;
        // A host that is stopping begins nothing; what is stored is begun by the next one.
        let _ = self.begin(row.clone(), place, made, Duration::ZERO);
        Ok(row)
    }

    /// Runs some work to its end, although whoever asked for it may go away meanwhile: what is stored is also begun.
    async fn whole<T: Send + 'static>(
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

    /// An engine that is away is waited for as long as `patience` says.
    fn begin(
        &self,
        row: OperationRow,
        place: Place,
        made: Option<Made>,
        patience: Duration,
    ) -> Result<(), Closed> {
        let name = format!("{} {}", row.operation.as_str(), row.org);
        let cancel = self.0.tasks.stopping().child_token();
        self.cancels().insert(row.id.clone(), cancel.clone());
        let (this, id, org) = (self.clone(), row.id.clone(), row.org.clone());
        let work = async move { this.perform(row, place, made, cancel, patience).await };
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
        mut place: Place,
        made: Option<Made>,
        cancel: CancellationToken,
        patience: Duration,
    ) {
        // Who is cancelled, or is to stop, does not wait for those before it.
        tokio::select! {
            () = place.turn() => {}
            () = cancel.cancelled() => {}
        }
        let ended = match cancel.is_cancelled() {
            true => Ok(true),
            false => self.act(&row, made, &cancel, patience).await,
        };
        self.settle(&row, ended).await;
    }

    /// Stores the end of an operation. `Ok(true)`: it was cut short; `Ok(false)`: its end is stored already.
    async fn settle(&self, row: &OperationRow, ended: Result<bool, Problem>) {
        let store = &self.0.store;
        let is_stopping = self.0.tasks.stopping().is_cancelled();
        let settled = match ended {
            // Nobody cancelled it: the next process goes on with it.
            Ok(true) if is_stopping => store.requeue(&row.id).await,
            Ok(true) => store.settle(&row.id, OperationState::Cancelled, &[]).await,
            Ok(false) => Ok(()),
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

    /// Does it; whether it was cut short.
    async fn act(
        &self,
        row: &OperationRow,
        made: Option<Made>,
        cancel: &CancellationToken,
        patience: Duration,
    ) -> Result<bool, Problem> {
        self.0.store.run(&row.id).await?;
        #[cfg(feature = "fault-injection")]
        crate::fault::at(&format!("begun {}", row.org));
        match row.operation {
            Operation::Down => self.descend(row, cancel, patience).await,
            _ => self.ascend(row, made, cancel, patience).await,
        }
    }

    async fn ascend(
        &self,
        row: &OperationRow,
        made: Option<Made>,
        cancel: &CancellationToken,
        patience: Duration,
    ) -> Result<bool, Problem> {
        let made = match made {
            Some(made) => made,
            None => self.remake(&row.org).await?,
        };
        let Made {
            admitted, request, ..
        } = &made;
        let engine = match self.engine(admitted.row.engine, cancel, patience).await {
            // The next process may have more luck.
            Err(_) if cancel.is_cancelled() => return Ok(true),
            engine => engine?,
        };
        let options = Options {
            concurrency: self.0.config.concurrency(),
            wait: request.ready_seconds.map(Duration::from_secs),
            prune: request.prune,
        };
        let keep_words = |event: &Event| self.0.last_lines.keep(&row.id, event);
        let mut run = self.run(&engine, row, cancel);
        run.observer = &keep_words;
        run.keep_failed = request.keep_failed;
        let Admitted { org, jobs, .. } = admitted;
        let summary = provision::up(&run, org, jobs, &options).boxed().await?;
        let was_cut = |outcome: &Outcome| match outcome {
            Outcome::Skipped(reason) => reason == "cancelled",
            Outcome::Failed(failure) => failure.code == "cancelled",
            _ => false,
        };
        Ok(cancel.is_cancelled() && summary.outcomes.iter().any(|(_, outcome)| was_cut(outcome)))
    }

    async fn descend(
        &self,
        row: &OperationRow,
        cancel: &CancellationToken,
        patience: Duration,
    ) -> Result<bool, Problem> {
        let known = match self.org(&row.org).await {
            Ok(known) => known,
            // An earlier process forgot it, and was killed before it said so.
            Err(problem) if problem.class == Class::Unknown => {
                self.0.store.end(&row.org, 0).await?;
                return Ok(false);
            }
            Err(problem) => return Err(problem),
        };
        let org = OrgId::known(self.0.store.instance().clone(), &known.slug);
        let engine = match self.engine(known.engine, cancel, patience).await {
            // The next process may have more luck.
            Err(_) if cancel.is_cancelled() => return Ok(true),
            engine => engine?,
        };
        let volumes = row
            .request
            .get("volumes")
            .and_then(serde_json::Value::as_bool);
        let run = self.run(&engine, row, cancel);
        let concurrency = self.0.config.concurrency();
        provision::down(&run, &org, volumes.unwrap_or(false), concurrency)
            .boxed()
            .await?;
        // What was all done although somebody wanted it to end needs no going on.
        Ok(cancel.is_cancelled() && self.org(&row.org).await.is_ok())
    }

    /// The engine of a kind. After a machine has started, its engine may come later than this host.
    async fn engine(
        &self,
        kind: EngineKind,
        cancel: &CancellationToken,
        patience: Duration,
    ) -> Result<Arc<Backend>, Problem> {
        /// Between two attempts.
        const PAUSE: Duration = Duration::from_secs(2);
        let deadline = Instant::now() + patience;
        loop {
            match self.0.engines.get(kind).await {
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

    fn run<'a>(
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

    /// An operation could not be done: an event, and a failed workspace, for each that would wait for it for ever.
    async fn give_up(&self, row: &OperationRow, errors: &[Diagnostic]) -> Result<(), StoreError> {
        let Some(error) = errors.first() else {
            return Ok(());
        };
        let is_stuck = |w: &&WorkspaceRow| {
            let subject = row.workspace.as_ref();
            let is_meant = subject.is_none_or(|subject| subject.id.as_ref() == Some(&w.id));
            is_meant && w.outcome.is_on_its_way()
        };
        let org = OrgId::known(self.0.store.instance().clone(), &row.org);
        let store = &self.0.store;
        for workspace in store.workspaces(&row.org).await?.iter().filter(is_stuck) {
            let failure = Failure {
                step: Step::Prepare,
                code: "operation-failed".into(),
                reason: error.message.clone(),
                help: error.help.clone().unwrap_or_default(),
                last_lines: Vec::new(),
                exit_code: None,
                left_behind: Vec::new(),
            };
            let what = What::Failed(Box::new(failure));
            let event = Event::of_workspace(&org, &workspace.key, &workspace.id, what);
            store.append(&row.id, &event).await?;
        }
        Ok(())
    }

    /// An operation whose task broke: an event, a failed operation and failed workspaces, not a dead host.
    async fn broke(&self, id: &OperationId, org: &str, workspace: Option<&Subject>, how: Broken) {
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

    fn cancels(&self) -> MutexGuard<'_, HashMap<OperationId, CancellationToken>> {
        self.0
            .cancels
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a later operation does what this one would have done.
fn supersedes(later: &OperationRow, row: &OperationRow) -> bool {
    let volumes = |row: &OperationRow| row.request.get("volumes") == Some(&true.into());
    later.org == row.org
        && match (row.operation, later.operation) {
            (Operation::Down, Operation::Down) => volumes(later) || !volumes(row),
            // Whoever took it down and brings it up again wants nothing of the older one.
            (Operation::Down, _) => false,
            (_, later) => matches!(later, Operation::Up | Operation::Down),
        }
}

/// What policy refuses, as a problem.
fn refused(violations: &[Violation]) -> Problem {
    let class = match violations
        .iter()
        .all(|violation| violation.code == "missing-env")
    {
        true if !violations.is_empty() => Class::MissingEnv,
        _ => Class::Refused,
    };
    Problem {
        class,
        errors: violations.iter().map(Diagnostic::from).collect(),
        template: None,
    }
}

/// A template counts at least one.
fn kilobytes(bundle: &Bundle) -> u32 {
    u32::try_from(bundle.size() >> 10)
        .unwrap_or(u32::MAX)
        .saturating_add(1)
}

fn busy(why: &str) -> Problem {
    let diagnostic = Diagnostic::new("busy", why).help("try again in a few seconds");
    Problem::one(Class::Busy, diagnostic)
}

impl From<Closed> for Problem {
    fn from(closed: Closed) -> Self {
        let diagnostic = Diagnostic::new("stopping", closed.to_string());
        Self::one(
            Class::Busy,
            diagnostic.help("ask again when the host is back"),
        )
    }
}

/// Work that blocks, away from the async threads.
///
/// # Errors
/// It panicked.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        let message = format!("a defect of orghost: {error}");
        Problem::one(Class::Failed, Diagnostic::new("broke", message))
    })
}

impl From<SnapshotError> for Problem {
    fn from(error: SnapshotError) -> Self {
        let (class, code) = match &error {
            SnapshotError::File { .. } => (Class::Invalid, "template-file"),
            SnapshotError::TooLarge(_) => (Class::Invalid, "template-too-large"),
            SnapshotError::Archive(_) => (Class::Invalid, "archive"),
            SnapshotError::Gone(_) => (Class::Failed, "snapshot-gone"),
            SnapshotError::Disk { .. } => (Class::Failed, "snapshot"),
            SnapshotError::Vault(_) => (Class::Failed, "secret-key"),
        };
        Self::one(class, Diagnostic::new(code, error.to_string()))
    }
}
