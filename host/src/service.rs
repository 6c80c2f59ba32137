//! A host that runs for months: accepts orgs for many callers at once, does what it accepted in the background, and goes
//! on with it after it was killed. The one owner of the store, the engines and the background work; speaks no HTTP.
//!
//! What is accepted is stored first: the template's snapshot, the sealed variables, and the operation. So whatever happens
//! to the process, the next one finds what there is to do, makes the same plan of the same snapshot, and goes on.

mod accept;
pub mod access;
pub mod admission;
pub mod agent_tokens;
mod execute;
pub mod last_lines;
mod memory;
pub mod metrics;
mod planning;
pub mod queue;
mod recover;
mod retention;
pub mod status;
pub mod sweep;
pub mod tasks;
pub mod workspaces;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::limits;
use crate::model::diagnostic::Diagnostic;
use crate::model::ids::OperationId;
use crate::planning::planner::{Loaded, Planner};
use crate::planning::policy::Policy;
use crate::plugin::installer::Installer;
use crate::plugin::sandbox::Sandbox;
use crate::problem::{Class, Problem};
use crate::provision::concurrency::FairSemaphore;
use crate::provision::engine::backend::Engines;
use crate::service::agent_tokens::AgentTokens;
use crate::service::metrics::{Metrics, Moment};
use crate::state::encryption::Keyring;
use crate::state::snapshots::Snapshots;
use crate::state::store::{OrgRow, Store, WriteLock};
use last_lines::LastLines;
use memory::Memory;
pub use planning::{Import, ImportOptions, Prepared, Source};
use queue::Queues;
use sweep::Orphan;
use tasks::{Closed, Tasks};
use workspaces::{Checks, Slots};

/// The running host. Cheap to clone.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    config: Arc<Config>,
    planner: Planner,
    loaded: Loaded,
    policy: Policy,
    store: Store,
    keyring: Keyring,
    snapshots: Snapshots,
    templates: PathBuf,
    engines: Engines,
    tasks: Tasks,
    turns: Arc<FairSemaphore>,
    metrics: Metrics,
    queues: Queues,
    memory: Memory,
    /// Who may call a plugin next.
    plans: Arc<FairSemaphore>,
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

/// What a service is made of.
pub struct Parts {
    /// The configuration file.
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
    pub keyring: Keyring,
    /// The templates that orgs are made from.
    pub snapshots: Snapshots,
    /// The folder of the templates that callers may name.
    pub templates: PathBuf,
    /// What runs workspaces.
    pub engines: Engines,
}

impl Service {
    /// Takes over a state folder. Nothing is begun before [`Service::resume`].
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Inner {
            turns: FairSemaphore::new(parts.config.concurrency()),
            config: parts.config,
            planner: parts.planner,
            loaded: parts.loaded,
            policy: parts.policy,
            store: parts.store,
            keyring: parts.keyring,
            snapshots: parts.snapshots,
            templates: parts.templates,
            engines: parts.engines,
            tasks: Tasks::default(),
            metrics: Metrics::default(),
            queues: Queues::default(),
            memory: Memory::new(limits::TEMPLATES_HELD),
            plans: FairSemaphore::new(planning::at_once()),
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

    /// An org by its slug or its name.
    ///
    /// # Errors
    /// [`Class::NotFound`].
    pub async fn org(&self, name: &str) -> Result<OrgRow, Problem> {
        let orgs = self.0.store.orgs().await?;
        let found = orgs.into_iter().find(|row| row.is_called(name));
        found.ok_or_else(|| {
            let message = format!("there is no org {name:?} on this host");
            Problem::one(Class::NotFound, Diagnostic::new("unknown-org", message))
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
    /// The store's and the keyring's.
    pub async fn agent_tokens(&self) -> Result<&AgentTokens, Problem> {
        let host = &self.0;
        let made = || AgentTokens::of(&host.store, &host.keyring);
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

    /// The configuration file.
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
            open: host.queues.length(),
            waiting: host.turns.waiting(),
            running: host.turns.taken(),
            plans_waiting: host.plans.waiting(),
            plans_running: host.plans.taken(),
            tasks: host.tasks.count_running(),
            events: host.store.newest().await?.unsigned_abs(),
        })
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
        (self.0.queues.length(), self.0.turns.waiting())
    }
}

/// A member of a request that is there and true.
fn flag(request: &serde_json::Value, name: &str) -> bool {
    request.get(name) == Some(&true.into())
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
