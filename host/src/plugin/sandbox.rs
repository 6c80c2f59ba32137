//! Runs plugins: load, check the imports, link, plan. The only module that
//! knows wasmtime. It never touches an engine and never reads the process
//! environment; what a plugin may reach is what its linker holds: the
//! template's files, a log, and by an operator's grant a closed WASI.
//!
//! Who pays: a [`Sandbox`] once per process, a [`Plugin`] (checked, compiled,
//! linked) once per plugin file, a store and an instance once per call.

mod answer;
mod bindings;
mod cache;
mod call;
mod convert;
mod deadline;
mod exceeded;
mod link;
mod log;
mod v0_1_0;
mod wasi;
mod world;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use orghost_build::inspect::{self, ContractError, Grant, InspectError};
use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{Config, Enabled, Engine, PoolingAllocationConfig};

use crate::limits;
use crate::model::diagnostic::Diagnostic;
use crate::model::env_map::EnvMap;
use crate::model::plan::Plan;
use crate::model::plugin::{PluginDigest, PluginLimits, Wasi};
use crate::problem::{Class, Problem};
use crate::template::directory::TemplateDir;
use cache::CodeCache;
use call::Call;
use deadline::Ticker;
use world::World;

/// The plugin that orghost ships: `guest/org-import`.
pub const ORG_IMPORT: &[u8] = include_bytes!("../../../guest/org-import.wasm");

/// The process's one wasmtime engine, and everything that a plugin may import.
pub struct Sandbox {
    engine: Engine,
    strict: Linker<Call>,
    with_wasi: Linker<Call>,
    cache: Option<CodeCache>,
    ticker: Arc<Ticker>,
}

/// A plugin that was checked, compiled and linked. Calling it is cheap.
pub struct Plugin {
    pre: InstancePre<Call>,
    world: World,
    ticker: Arc<Ticker>,
    digest: PluginDigest,
    terms: PluginLimits,
}

/// What a call gave, what it took, and what the plugin wrote beside it.
#[derive(Debug)]
pub struct Reply<T> {
    /// What it gave.
    pub result: Result<T, CallError>,
    /// What it took, however it ended.
    pub usage: Usage,
    /// The lines that the plugin wrote for whoever debugs it, without control characters.
    pub log: Vec<String>,
}

/// What one call took of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Wall clock, with instantiation.
    pub elapsed: Duration,
    /// The most linear memory that it held at once, in bytes, all its memories together.
    pub memory: usize,
}

/// What a plugin says about itself.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Description {
    /// Its short name.
    pub name: String,
    /// Its own version.
    pub version: String,
    /// The template dialects that it handles.
    pub handles: Vec<String>,
}

/// What a call into a plugin gets besides the template's files. There is no other source.
#[derive(Debug, Clone, Default)]
pub struct PluginInput {
    /// The operator's explicit map.
    pub vars: EnvMap,
    /// Names that the operator exposed, with their values.
    pub granted: EnvMap,
    /// Leave out `!external` subtrees instead of failing.
    pub skip_external: bool,
}

/// The result of expanding one text.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct Expansion {
    /// The text with its references replaced.
    pub text: String,
    /// References that have no value.
    pub unresolved: Vec<String>,
    /// Groups that are no references, as they were written.
    pub malformed: Vec<String>,
}

/// Why the process can run no plugins at all.
#[derive(Debug, thiserror::Error)]
#[error("the WebAssembly engine does not start: {0:#}")]
pub struct SandboxError(wasmtime::Error);

/// Why a plugin was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It is no component.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// It is a component, but not a plugin that this host may run.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// wasmtime refused it.
    #[error("the component is not valid: {0}")]
    Invalid(String),
}

/// Why a call gave no plan.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The plugin said no: the template has these problems.
    #[error("the template has {} problem(s)", .0.len())]
    SaidNo(Vec<Diagnostic>),
    /// The plugin broke: it trapped or passed a limit.
    #[error("the plugin broke: {reason}")]
    Broke {
        /// Which trap or which limit.
        reason: String,
        /// Whose problem it is and what to do.
        help: &'static str,
    },
    /// The plugin lied: what it returned breaks the rules of the contract.
    #[error("the plugin returned a plan that breaks the contract: {0}")]
    Lied(String),
    /// The plugin does not export the interface.
    #[error("the plugin does not export `{0}`")]
    NotExported(&'static str),
}

impl Sandbox {
    /// Starts the engine. Compiled code is kept under `cache`, in
    /// `plugins/<engine's configuration>/<plugin's sha-256>.cwasm`; without
    /// one, or when others may write there, every start compiles.
    ///
    /// # Errors
    /// When the machine lacks what the engine needs, such as address space.
    pub fn new(cache: Option<&Path>) -> Result<Self, SandboxError> {
        let engine = Engine::new(&config()).map_err(SandboxError)?;
        let mut strict = Linker::new(&engine);
        link::contract(&mut strict).map_err(SandboxError)?;
        let mut with_wasi = strict.clone();
        link::closed_wasi(&mut with_wasi).map_err(SandboxError)?;
        let ticker = Ticker::new(engine.weak());
        Ok(Self {
            cache: cache.and_then(|folder| CodeCache::open(folder, &engine)),
            engine,
            strict,
            with_wasi,
            ticker,
        })
    }

    /// Checks, compiles and links a plugin. Its imports and the version of its
    /// world are read, and refused, before anything is compiled.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(&self, bytes: &[u8], terms: &PluginLimits) -> Result<Plugin, LoadError> {
        let (grant, linker) = match terms.wasi {
            Wasi::None => (Grant::Strict, &self.strict),
            Wasi::Closed => (Grant::ClosedWasi, &self.with_wasi),
        };
        let version = inspect::check(&inspect::inspect(bytes)?, grant)?;
        let invalid = |error: wasmtime::Error| LoadError::Invalid(format!("{error:#}"));
        let digest = digest_of(bytes);
        let component = self.compiled(bytes, &digest).map_err(invalid)?;
        let pre = linker.instantiate_pre(&component).map_err(invalid)?;
        Ok(Plugin {
            world: World::new(version, &pre).map_err(invalid)?,
            pre,
            ticker: self.ticker.clone(),
            digest,
            terms: terms.clone(),
        })
    }

    fn compiled(&self, bytes: &[u8], digest: &PluginDigest) -> wasmtime::Result<Component> {
        let Some(cache) = &self.cache else {
            return Component::from_binary(&self.engine, bytes);
        };
        if let Some(component) = cache.get(&self.engine, digest) {
            return Ok(component);
        }
        let component = Component::from_binary(&self.engine, bytes)?;
        cache.put(digest, &component);
        Ok(component)
    }
}

impl Plugin {
    /// The sha-256 of the file that it was loaded from.
    pub fn digest(&self) -> &PluginDigest {
        &self.digest
    }

    /// What the plugin says about itself.
    ///
    /// # Errors
    /// [`CallError::Broke`] and [`CallError::Lied`].
    pub fn describe(&self) -> Result<Description, CallError> {
        let said = self.call(None, &PluginInput::default(), |store, instance| {
            self.world.describe(store, instance)
        });
        convert::description(said.result?)
    }

    /// Plans one template. Blocks for at most [`PluginLimits::deadline`]; the same
    /// template and request give the same plan.
    ///
    /// # Errors
    /// See [`CallError`]: the plugin said no, broke, or lied.
    pub fn plan(&self, template: &TemplateDir, request: &PluginInput) -> Result<Plan, CallError> {
        self.plan_measured(template, request).result
    }

    /// As [`Plugin::plan`], with what the call took and what the plugin logged.
    pub fn plan_measured(&self, template: &TemplateDir, request: &PluginInput) -> Reply<Plan> {
        let wanted = convert::request(request);
        let said = self.call(Some(template.clone()), request, |store, instance| {
            self.world.import_org(store, instance, &wanted)
        });
        Reply {
            result: said.result.and_then(convert::answer),
            usage: said.usage,
            log: said.log,
        }
    }

    /// Expands one text by the plugin's own expander.
    ///
    /// # Errors
    /// [`CallError::NotExported`] when it has none; [`CallError::Broke`].
    pub fn expand(&self, text: &str, request: &PluginInput) -> Result<Expansion, CallError> {
        const MISSING: CallError = CallError::NotExported("orghost:plugin/expander");
        if !self.world.has_expander() {
            return Err(MISSING);
        }
        let environment = convert::environment(request);
        let said = self.call(None, request, |store, instance| {
            self.world.expand(store, instance, text, &environment)
        });
        let said = said.result?.ok_or(MISSING)?;
        Ok(Expansion {
            text: said.text,
            unresolved: said.unresolved,
            malformed: said.malformed,
        })
    }

    fn call<T: Send>(
        &self,
        template: Option<TemplateDir>,
        request: &PluginInput,
        body: impl FnOnce(
            &mut wasmtime::Store<Call>,
            &wasmtime::component::Instance,
        ) -> wasmtime::Result<T>
        + Send,
    ) -> Reply<T> {
        // Before the store, so that it is dropped after it, when the slot is free.
        let _running = self.ticker.running();
        let began = Instant::now();
        let seed = self.seed(request);
        let mut store = Call::store(self.pre.engine(), template, &self.terms, seed);
        let run = || {
            let instance = self.pre.instantiate(&mut store)?;
            body(&mut store, &instance)
        };
        let outcome = match self.terms.wasi {
            Wasi::None => run(),
            Wasi::Closed => on_its_own_thread(run),
        };
        Reply {
            result: outcome.map_err(|error| call::broke(&error, store.data(), self.terms.deadline)),
            usage: Usage {
                elapsed: began.elapsed(),
                memory: store.data().peak_memory(),
            },
            log: store.data().log(),
        }
    }

    /// What randomness is made of: the plugin and the request. Of granted values only the names, so that a number in
    /// a plan says nothing about a secret.
    fn seed(&self, request: &PluginInput) -> blake3::Hasher {
        let mut seed = blake3::Hasher::new();
        if self.terms.wasi == Wasi::None {
            return seed;
        }
        let mut part = |text: &str| {
            seed.update(&(text.len() as u64).to_le_bytes());
            seed.update(text.as_bytes());
        };
        part(self.digest.as_str());
        for (name, value) in &request.vars {
            part(name);
            part(value);
        }
        part("");
        for name in request.granted.keys() {
            part(name);
        }
        part(if request.skip_external { "skip" } else { "" });
        seed
    }
}

/// wasmtime's WASI blocks on tokio for what is ready anyhow, which a thread of an asynchronous runtime must not do.
fn on_its_own_thread<T: Send>(
    run: impl FnOnce() -> wasmtime::Result<T> + Send,
) -> wasmtime::Result<T> {
    std::thread::scope(|scope| {
        let call = std::thread::Builder::new()
            .stack_size(limits::PLUGIN_THREAD_STACK)
            .spawn_scoped(scope, run)?;
        call.join()
            .unwrap_or_else(|_| Err(wasmtime::format_err!("the host's WASI failed")))
    })
}

fn config() -> Config {
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(limits::CONCURRENT_CALLS)
        // An interpreter's component has many; these are counts of bookkeeping, not memory set aside.
        .total_core_instances(limits::CONCURRENT_CALLS * 64)
        .total_memories(limits::CONCURRENT_CALLS * 2)
        .total_tables(limits::CONCURRENT_CALLS * 8)
        // Each plugin's own terms are below it: the slots reserve what 32 bits address anyhow.
        .max_memory_size(1 << 32)
        .table_elements(limits::PLUGIN_TABLE_ELEMENTS)
        .linear_memory_keep_resident(limits::PLUGIN_MEMORY_KEPT)
        .table_keep_resident(1 << 20)
        // Between calls only the pages that a call wrote to are reset, where the kernel can tell (Linux 6.7).
        .pagemap_scan(Enabled::Auto);

    let mut config = Config::new();
    config
        .allocation_strategy(pool)
        .epoch_interruption(true)
        .max_wasm_stack(limits::PLUGIN_STACK)
        .memory_init_cow(true)
        // The limit is far below, but with everything that 32 bits can address set aside (address space, not memory),
        // compiled code checks no bounds: the machine does.
        .memory_reservation(1 << 32)
        .memory_may_move(false);
    config
}

impl From<SandboxError> for Problem {
    fn from(error: SandboxError) -> Self {
        let help =
            "it needs 64-bit Linux or macOS, and room in the address space (see `ulimit -v`)";
        Self::one(
            Class::Failed,
            Diagnostic::new("sandbox", error.to_string()).help(help),
        )
    }
}

impl From<LoadError> for Problem {
    fn from(error: LoadError) -> Self {
        let code = match &error {
            LoadError::Inspect(_) => "plugin-not-a-component",
            LoadError::Contract(_) => "plugin-contract",
            LoadError::Invalid(_) => "plugin-invalid",
        };
        Self::one(Class::Invalid, Diagnostic::new(code, error.to_string()))
    }
}

impl CallError {
    /// Why a call gave no plan, as a problem; `template` is the one that the call was about.
    pub fn into_problem(self, template: Option<&TemplateDir>) -> Problem {
        let message = self.to_string();
        let diagnostic = match self {
            Self::SaidNo(errors) => {
                return Problem {
                    class: Class::Invalid,
                    errors,
                    template: template.cloned(),
                };
            }
            Self::Broke { help, .. } => Diagnostic::new("plugin-broke", message).help(help),
            Self::Lied(_) => Diagnostic::new("plugin-lied", message)
                .help("this is a defect of the plugin: nothing was created; tell its author, or use another plugin"),
            Self::NotExported(_) => {
                Diagnostic::new("not-exported", message).help("use a plugin that exports it, such as the built-in one")
            }
        };
        Problem::one(Class::Invalid, diagnostic)
    }
}

/// The digest of a plugin file. That of [`ORG_IMPORT`] is read from its lock, because hashing takes longer than loading.
fn digest_of(bytes: &[u8]) -> PluginDigest {
    const LOCK: &str = include_str!("../../../guest/org-import.lock");
    let locked = LOCK.split_once("[artifact]").and_then(|(_, artifact)| {
        let digest = |line: &'static str| line.strip_prefix("sha256 = \"")?.strip_suffix('"');
        artifact.lines().find_map(digest)
    });
    match locked {
        Some(locked) if std::ptr::eq(bytes, ORG_IMPORT) => PluginDigest::known(locked),
        _ => PluginDigest::of(bytes),
    }
}
