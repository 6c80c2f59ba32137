//! Runs plugins in wasmtime. A plugin can use only the functions that its linker has: the template's files, a log, and, if
//! the operator grants it, a closed WASI.
//!
//! Costs: a [`Sandbox`] is created once per process. A [`Plugin`] is checked, compiled and linked once per plugin file. A store
//! and an instance are created once per call.

mod answer;
mod bindings;
mod cache;
mod call;
mod convert;
mod deadline;
mod error;
mod exceeded;
mod link;
mod log;
mod v0_1_0;
mod wasi;
mod world;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use orghost_build::WorldVersion;
use orghost_build::inspect::{self, Grant};
use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{Config, Enabled, Engine, PoolingAllocationConfig};

use crate::limits;
use crate::model::env_map::EnvMap;
use crate::model::expansion::Expansion;
use crate::model::plan::Plan;
use crate::model::plugin::{PluginDigest, PluginLimits, Wasi};
use crate::template::directory::TemplateDir;
use cache::CodeCache;
use call::Call;
use deadline::Ticker;
use world::World;

pub use error::{CallError, LoadError, SandboxError};

/// The built-in plugin, built from `guest/org-import`. A static, because it is known by its address.
pub static ORG_IMPORT: &[u8] = include_bytes!("../../../guest/org-import.wasm");

/// The version of the contract that [`ORG_IMPORT`] was built for.
pub const BUILT_IN_WORLD: WorldVersion = WorldVersion::V0_2_0_DEV;

/// The wasmtime engine of the process, and the linkers with everything that a plugin can import.
pub struct Sandbox {
    engine: Engine,
    strict: Linker<Call>,
    /// Made when a plugin needs it, because most need none of its many functions.
    with_wasi: OnceLock<Linker<Call>>,
    cache: Option<CodeCache>,
    /// The folder with the code that was compiled when orghost was packaged.
    shipped: Option<PathBuf>,
    ticker: Arc<Ticker>,
}

/// A plugin that is checked, compiled and linked. Calling it is cheap.
pub struct Plugin {
    pre: InstancePre<Call>,
    world: World,
    ticker: Arc<Ticker>,
    digest: PluginDigest,
    limits: PluginLimits,
}

/// The result of a call, with its use of resources and its log.
#[derive(Debug)]
pub struct Reply<T> {
    /// The result.
    pub result: Result<T, CallError>,
    /// The time and memory of the call, also when it failed.
    pub usage: Usage,
    /// The lines that the plugin wrote for debugging, without control characters.
    pub log: Vec<String>,
}

/// The time and memory of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Wall clock, including the instantiation.
    pub elapsed: Duration,
    /// The most linear memory that the call held at once, in bytes over all its memories.
    pub memory: usize,
}

/// The answer of `describe`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Description {
    /// The plugin's name, a slug.
    pub name: String,
    /// The plugin's own version.
    pub version: String,
    /// The template dialects that the plugin handles, such as `org-template/1`.
    pub handles: Vec<String>,
}

/// The input of a call in addition to the template's files. A plugin has no other input.
#[derive(Debug, Clone, Default)]
pub struct PluginInput {
    /// Variables that the operator set explicitly. Default: none.
    pub vars: EnvMap,
    /// Variables that the operator granted from orghost's environment. Default: none.
    pub granted: EnvMap,
    /// Whether to leave out `!external` subtrees instead of failing. Default: false.
    pub skip_external: bool,
}

impl Sandbox {
    /// Starts the engine. Compiled code is kept in the folder `cache`, as
    /// `plugins/<digest of the engine's configuration>/<sha-256 of the plugin>.cwasm`. Without a folder, or when other users can
    /// write to it, plugins are compiled at every start.
    ///
    /// # Errors
    /// [`SandboxError`] when the machine lacks something that the engine needs, such as address space.
    pub fn new(cache: Option<&Path>) -> Result<Self, SandboxError> {
        let engine = Engine::new(&config()).map_err(SandboxError)?;
        let mut strict = Linker::new(&engine);
        link::contract(&mut strict).map_err(SandboxError)?;
        let ticker = Ticker::new(engine.weak());
        Ok(Self {
            cache: cache.and_then(|folder| CodeCache::open(folder, &engine)),
            shipped: None,
            engine,
            strict,
            with_wasi: OnceLock::new(),
            ticker,
        })
    }

    /// Also uses the compiled code that [`Sandbox::ship`] wrote to this folder, so that the first start after an installation
    /// need not compile.
    #[must_use]
    pub fn with_shipped(mut self, folder: Option<PathBuf>) -> Self {
        self.shipped = folder;
        self
    }

    /// Compiles the built-in plugin for every processor of this machine's architecture, and writes the code to a folder.
    ///
    /// # Errors
    /// [`SandboxError`] when it cannot be compiled or written.
    pub fn ship(folder: &Path) -> Result<(), SandboxError> {
        let written = || {
            let mut config = config();
            // With a target, the compiler does not use what only some of its processors have.
            config.target(&format!("{}-unknown-linux-gnu", std::env::consts::ARCH))?;
            let code = Engine::new(&config)?.precompile_component(ORG_IMPORT)?;
            Ok(cache::ship(folder, &digest_of(ORG_IMPORT), &code)?)
        };
        written().map_err(SandboxError)
    }

    /// Checks, compiles and links a plugin. Its imports and the version of its world are checked before it is compiled.
    ///
    /// # Errors
    /// [`LoadError`], when the bytes are not a component, or the component violates the contract or cannot be compiled.
    pub fn load(&self, bytes: &[u8], limits: &PluginLimits) -> Result<Plugin, LoadError> {
        let invalid = |error: wasmtime::Error| LoadError::Invalid(format!("{error:#}"));
        let (grant, linker) = match limits.wasi {
            Wasi::None => (Grant::Strict, &self.strict),
            Wasi::Closed => (Grant::ClosedWasi, self.with_wasi().map_err(invalid)?),
        };
        let version = match is_built_in(bytes) {
            // It was checked when it was built, and a test holds it.
            true => BUILT_IN_WORLD,
            false => inspect::check(&inspect::inspect(bytes)?, grant)?,
        };
        let digest = digest_of(bytes);
        let component = self.compiled(bytes, &digest).map_err(invalid)?;
        let pre = linker.instantiate_pre(&component).map_err(invalid)?;
        Ok(Plugin {
            world: World::new(version, &pre).map_err(invalid)?,
            pre,
            ticker: self.ticker.clone(),
            digest,
            limits: limits.clone(),
        })
    }

    fn with_wasi(&self) -> wasmtime::Result<&Linker<Call>> {
        if let Some(linker) = self.with_wasi.get() {
            return Ok(linker);
        }
        let mut linker = self.strict.clone();
        link::closed_wasi(&mut linker)?;
        Ok(self.with_wasi.get_or_init(|| linker))
    }

    fn compiled(&self, bytes: &[u8], digest: &PluginDigest) -> wasmtime::Result<Component> {
        let cache = self.cache.as_ref();
        let known = cache.and_then(|cache| cache.get(&self.engine, digest));
        let shipped = || {
            let folder = self.shipped.as_ref()?;
            cache::shipped(folder, &self.engine, digest, cache)
        };
        if let Some(component) = known.or_else(shipped) {
            return Ok(component);
        }
        let component = Component::from_binary(&self.engine, bytes)?;
        if let Some(cache) = cache {
            cache.store(digest, &component);
        }
        Ok(component)
    }
}

impl Plugin {
    /// The sha-256 of the plugin's file.
    pub fn digest(&self) -> &PluginDigest {
        &self.digest
    }

    /// The limits of its calls, and what it may import.
    pub fn limits(&self) -> &PluginLimits {
        &self.limits
    }

    /// Calls `describe`.
    ///
    /// # Errors
    /// [`CallError::Failed`] when the plugin traps or exceeds a limit, and [`CallError::InvalidAnswer`] when its name is not a
    /// slug.
    pub fn describe(&self) -> Result<Description, CallError> {
        let reply = self.call(None, &PluginInput::default(), |store, instance| {
            self.world.describe(store, instance)
        });
        convert::description(reply.result?)
    }

    /// Plans one template. Blocks for at most [`PluginLimits::deadline`]. The same template and input give the same plan.
    ///
    /// # Errors
    /// [`CallError::Rejected`] when the plugin rejects the template, [`CallError::Failed`] when it traps or exceeds a limit, and
    /// [`CallError::InvalidAnswer`] when its plan violates the contract.
    pub fn plan(&self, template: &TemplateDir, input: &PluginInput) -> Result<Plan, CallError> {
        self.plan_measured(template, input).result
    }

    /// As [`Plugin::plan`], with the time, the memory and the log of the call.
    pub fn plan_measured(&self, template: &TemplateDir, input: &PluginInput) -> Reply<Plan> {
        let request = convert::request(input);
        let reply = self.call(Some(template.clone()), input, |store, instance| {
            self.world.import_org(store, instance, &request)
        });
        Reply {
            result: reply.result.and_then(convert::answer),
            usage: reply.usage,
            log: reply.log,
        }
    }

    /// Expands one text with the plugin's expander.
    ///
    /// # Errors
    /// [`CallError::NotExported`] when the plugin has no expander, and [`CallError::Failed`] when it traps or exceeds a limit.
    pub fn expand(&self, text: &str, input: &PluginInput) -> Result<Expansion, CallError> {
        const MISSING: CallError = CallError::NotExported("orghost:plugin/expander");
        if !self.world.has_expander() {
            return Err(MISSING);
        }
        let environment = convert::environment(input);
        let reply = self.call(None, input, |store, instance| {
            self.world.expand(store, instance, text, &environment)
        });
        let expansion = reply.result?.ok_or(MISSING)?;
        Ok(Expansion {
            text: expansion.text,
            unresolved: expansion.unresolved,
            malformed: expansion.malformed,
        })
    }

    fn call<T: Send>(
        &self,
        template: Option<TemplateDir>,
        input: &PluginInput,
        body: impl FnOnce(
            &mut wasmtime::Store<Call>,
            &wasmtime::component::Instance,
        ) -> wasmtime::Result<T>
        + Send,
    ) -> Reply<T> {
        // Declared before the store, so that it is dropped after the store has freed its slot.
        let _running = self.ticker.running();
        let began = Instant::now();
        let seed = self.seed(input);
        let mut store = Call::store(self.pre.engine(), template, &self.limits, seed);
        let run = || {
            let instance = self.pre.instantiate(&mut store)?;
            body(&mut store, &instance)
        };
        let outcome = match self.limits.wasi {
            Wasi::None => run(),
            Wasi::Closed => on_its_own_thread(run),
        };
        Reply {
            result: outcome
                .map_err(|error| call::failure(&error, store.data(), self.limits.deadline)),
            usage: Usage {
                elapsed: began.elapsed(),
                memory: store.data().peak_memory(),
            },
            log: store.data().log(),
        }
    }

    /// The seed of the closed WASI's random bytes: the plugin and the input. Of granted variables it has only the names, so that
    /// a random number in a plan reveals nothing about a secret.
    fn seed(&self, input: &PluginInput) -> blake3::Hasher {
        let mut seed = blake3::Hasher::new();
        if self.limits.wasi == Wasi::None {
            return seed;
        }
        let mut part = |text: &str| {
            seed.update(&(text.len() as u64).to_le_bytes());
            seed.update(text.as_bytes());
        };
        part(self.digest.as_str());
        for (name, value) in &input.vars {
            part(name);
            part(value);
        }
        part("");
        for name in input.granted.keys() {
            part(name);
        }
        part(if input.skip_external { "skip" } else { "" });
        seed
    }
}

/// Runs a call on a new thread. wasmtime's WASI blocks on tokio, although everything is ready, and a thread of an asynchronous
/// runtime must not block.
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
        // A component with an interpreter has many core instances. These numbers reserve no memory.
        .total_core_instances(limits::CONCURRENT_CALLS * 64)
        .total_memories(limits::CONCURRENT_CALLS * 2)
        .total_tables(limits::CONCURRENT_CALLS * 8)
        // Calls run on the stacks of their threads. Each stack for asynchronous calls would cost a system call at the start.
        .total_stacks(0)
        // The limit of each plugin is lower. The slots reserve the whole 32-bit address range anyway.
        .max_memory_size(1 << 32)
        .table_elements(limits::PLUGIN_TABLE_ELEMENTS)
        .linear_memory_keep_resident(limits::PLUGIN_MEMORY_KEPT)
        .table_keep_resident(1 << 20)
        // Between calls only the pages that a call wrote to are reset, if the kernel can list them (Linux 6.7).
        .pagemap_scan(Enabled::Auto);

    let mut config = Config::new();
    config
        .allocation_strategy(pool)
        .epoch_interruption(true)
        .max_wasm_stack(limits::PLUGIN_STACK)
        .memory_init_cow(true)
        // The limit is much lower. But with the whole 32-bit range reserved (address space, not memory), compiled code needs no
        // bounds checks, because the processor faults instead.
        .memory_reservation(1 << 32)
        .memory_may_move(false);
    config
}

/// Whether these bytes are [`ORG_IMPORT`] itself, and no copy of it.
fn is_built_in(bytes: &[u8]) -> bool {
    std::ptr::eq(bytes, ORG_IMPORT)
}

/// The digest of a plugin file. The digest of [`ORG_IMPORT`] is read from its lock, because hashing takes longer than loading.
pub fn digest_of(bytes: &[u8]) -> PluginDigest {
    const LOCK: &str = include_str!("../../../guest/org-import.lock");
    let locked = LOCK.split_once("[artifact]").and_then(|(_, artifact)| {
        let digest = |line: &'static str| line.strip_prefix("sha256 = \"")?.strip_suffix('"');
        artifact.lines().find_map(digest)
    });
    match locked {
        Some(locked) if is_built_in(bytes) => PluginDigest::known(locked),
        _ => PluginDigest::of(bytes),
    }
}
