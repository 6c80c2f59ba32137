//! The server without HTTP: accepts orgs from many callers at once, carries out in the background what it accepted, and
//! resumes that work after a restart. The only owner of the store, the engines and the background tasks.
//!
//! Before an import is answered, the snapshot of its template, its encrypted variables and its operation are stored. So after
//! a crash the next process finds the open operations, plans the same snapshot again, and resumes.

mod accept;
mod acceptance;
pub mod access;
pub mod admission;
pub mod agent_tokens;
mod capacity;
mod ending;
mod execute;
pub mod follow;
mod import;
pub mod last_lines;
mod lookup;
mod memory;
pub mod metrics;
mod plan_cache;
mod planning;
pub mod queue;
mod replan;
mod resume;
mod retention;
pub mod source;
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
use crate::model::ids::OperationId;
use crate::planning::planner::{Loaded, Planner};
use crate::planning::policy::Policy;
use crate::plugin::installer::Installer;
use crate::plugin::sandbox::Sandbox;
use crate::problem::Problem;
use crate::provision::concurrency::FairSemaphore;
use crate::provision::engine::backend::Engines;
use crate::service::acceptance::Acceptance;
use crate::service::agent_tokens::AgentTokens;
use crate::service::metrics::Metrics;
use crate::state::encryption::Keyring;
use crate::state::snapshots::Snapshots;
use crate::state::store::{Store, WriteLock};
pub use import::{Import, ImportOptions, JudgedImport, Source};
use last_lines::LastLines;
use memory::TemplateMemory;
use plan_cache::PlanCache;
pub use planning::{Prepared, Preview};
use queue::OrgQueues;
use sweep::Orphan;
use tasks::Tasks;
pub use tasks::blocking;
use workspaces::liveness::LivenessChecks;
use workspaces::queue::WorkspaceQueues;

/// The running host. Cheap to clone.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    config: Arc<Config>,
    planner: Planner,
    loaded: Loaded,
    plans: PlanCache,
    policy: Policy,
    store: Store,
    keyring: Keyring,
    snapshots: Snapshots,
    templates: PathBuf,
    engines: Engines,
    tasks: Tasks,
    metrics: Metrics,
    /// The order of operations in each org.
    queues: OrgQueues,
    /// The operations of single workspaces that run or come next.
    workspace_queues: WorkspaceQueues,
    /// Limits how many workspaces are provisioned at a time. Orgs take turns.
    provisioning: Arc<FairSemaphore>,
    /// Limits how many plugin calls run at a time. Callers take turns.
    plugin_calls: Arc<FairSemaphore>,
    /// Limits the memory that templates take.
    memory: TemplateMemory,
    acceptance: Acceptance,
    /// Cancels operations that are queued or running.
    cancellations: Mutex<HashMap<OperationId, CancellationToken>>,
    liveness_checks: LivenessChecks,
    agent_tokens: OnceCell<AgentTokens>,
    /// What the newest sweep found and did not remove.
    orphans: Mutex<Vec<Orphan>>,
    last_lines: LastLines,
    /// The last field, so that it is released after everything else.
    _lock: WriteLock,
}

/// The parts that a service is made from.
pub struct Parts {
    /// The configuration file.
    pub config: Arc<Config>,
    /// Makes plans.
    pub planner: Planner,
    /// The sandbox and the plugins in it.
    pub loaded: Loaded,
    /// The policy from the configuration file. It applies to every caller.
    pub policy: Policy,
    /// The store of the state folder.
    pub store: Store,
    /// The right to write to the state folder; see [`Store::lock`].
    pub lock: WriteLock,
    /// Decrypts the encrypted values of the state folder.
    pub keyring: Keyring,
    /// The kept templates of the orgs.
    pub snapshots: Snapshots,
    /// The folder of the templates that callers can name.
    pub templates: PathBuf,
    /// The engines that run workspaces.
    pub engines: Engines,
}

impl Service {
    /// Takes over a state folder. Starts nothing; [`Service::resume`] does.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Inner {
            provisioning: FairSemaphore::new(parts.config.concurrency()),
            config: parts.config,
            planner: parts.planner,
            loaded: parts.loaded,
            plans: PlanCache::default(),
            policy: parts.policy,
            store: parts.store,
            keyring: parts.keyring,
            snapshots: parts.snapshots,
            templates: parts.templates,
            engines: parts.engines,
            tasks: Tasks::default(),
            metrics: Metrics::default(),
            queues: OrgQueues::default(),
            workspace_queues: WorkspaceQueues::default(),
            plugin_calls: FairSemaphore::new(planning::concurrent_plugin_calls()),
            memory: TemplateMemory::new(limits::TEMPLATES_HELD),
            acceptance: Acceptance::default(),
            cancellations: Mutex::default(),
            liveness_checks: LivenessChecks::default(),
            agent_tokens: OnceCell::new(),
            orphans: Mutex::default(),
            last_lines: LastLines::default(),
            _lock: parts.lock,
        }))
    }

    /// Stops the background work: starts no more of it, asks running tasks to end, and waits at most `limit`. Returns the
    /// names of the tasks that still run. Interrupted operations are in the store; the next process resumes them.
    pub async fn drain(&self, limit: Duration) -> Vec<String> {
        self.0.tasks.drain(limit).await
    }

    /// The store. Callers only read it.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// The background tasks.
    pub fn tasks(&self) -> &Tasks {
        &self.0.tasks
    }

    /// The tokens of this host's workspaces. The secret behind them is made at the first call.
    ///
    /// # Errors
    /// The secret cannot be read from the store or written to it, or not be decrypted.
    pub async fn agent_tokens(&self) -> Result<&AgentTokens, Problem> {
        let host = &self.0;
        let load = || AgentTokens::of(&host.store, &host.keyring);
        host.agent_tokens.get_or_try_init(load).await
    }

    /// The output of failed workspaces. It may hold secrets, so not every caller may see it.
    pub fn last_lines(&self) -> &LastLines {
        &self.0.last_lines
    }

    /// The engines that run workspaces.
    pub fn engines(&self) -> &Engines {
        &self.0.engines
    }

    /// The folder of the templates that callers can name.
    pub fn templates(&self) -> &Path {
        &self.0.templates
    }

    /// The configuration file.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// The metrics of this host.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Runs `work` on the installed plugins, on a thread that may block.
    ///
    /// # Errors
    /// The error of `work`, or it panicked.
    pub async fn plugins<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Installer, &Sandbox) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let this = self.clone();
        blocking(move || work(&this.0.planner.installer(), this.0.loaded.sandbox())).await?
    }
}
