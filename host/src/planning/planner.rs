//! From a template and what its caller gives to a plan: chooses the plugin, asks it, and finds out who set each variable.
//! Compiles and runs nothing before the operator's demands are met, judges nothing, and changes nothing.

mod origins;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::config::{Config, Environment, PolicyKeys};
use crate::limits;
use crate::model::diagnostic::Diagnostic;
use crate::model::env_map::EnvMap;
use crate::model::isolation::Target;
use crate::model::plan::{Plan, is_identifier};
use crate::model::plugin::{BUILT_IN, PluginName};
use crate::model::plugin::{PluginDigest, PluginLimits, Wasi};
use crate::planning::policy::{Approved, Policy, Rejected, Tier};
use crate::plugin::catalog::requirements::PluginRequirements;
use crate::plugin::catalog::{Catalog, read_signature};
use crate::plugin::installer::Installer;
use crate::plugin::sandbox::{Expansion, ORG_IMPORT, Plugin, PluginInput, Sandbox};
use crate::problem::{Class, Problem};
use crate::template::directory::TemplateDir;

/// What the operator says about plugins and plans, and where the plugins are.
#[derive(Debug, Clone)]
pub struct Planner {
    config: Arc<Config>,
    environment: Arc<Environment>,
    catalog: Catalog,
}

/// What a caller gives beside the template.
#[derive(Debug, Clone, Default)]
pub struct PlanRequest {
    /// A plugin file (it has a `/` in it, or ends in `.wasm`), or the name of an installed one; else the one that the
    /// template names, else the built-in one.
    pub plugin: Option<String>,
    /// What a plugin file gets of WASI; for an installed plugin the configuration file says it.
    pub wasi: Wasi,
    /// Variables: for expansion, and in every workspace.
    pub vars: EnvMap,
    /// Whose they are.
    pub giver: Giver,
    /// Names of orghost's own environment that the template may use.
    pub grant: Vec<String>,
    /// Leave out `!external` subtrees instead of failing.
    pub skip_external: bool,
}

/// Who gave the variables of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Giver {
    /// Whoever asks a server: no more than a template may.
    #[default]
    Caller,
    /// The operator of this machine, on the command line.
    Operator,
}

/// A template's plan, not judged.
#[derive(Debug)]
pub struct Planned {
    /// What the plugin said, with what the host knows of its variables.
    pub plan: Plan,
    /// The plugin, when it is not the built-in one.
    pub planned_by: Option<String>,
    /// What the plugin wrote for whoever debugs it.
    pub log: Vec<String>,
    /// Granted names that orghost's environment does not have.
    pub unset: Vec<String>,
}

/// What policy made of a template's plan.
#[derive(Debug)]
pub struct Judgement {
    /// Approved, or everything that policy refuses.
    pub verdict: Result<Approved, Box<Rejected>>,
    /// What it was judged for.
    pub target: Target,
    /// The plugin, when it is not the built-in one.
    pub planned_by: Option<String>,
    /// What the plugin wrote for whoever debugs it.
    pub log: Vec<String>,
    /// Granted names that orghost's environment does not have.
    pub unset: Vec<String>,
}

impl Planned {
    /// Judges the plan for where it is to run.
    pub fn judge(self, policy: &Policy, target: Target) -> Judgement {
        Judgement {
            verdict: policy.judge(self.plan, &target),
            target,
            planned_by: self.planned_by,
            log: self.log,
            unset: self.unset,
        }
    }
}

/// The plugin that a call runs; nothing of it was read yet.
#[derive(Debug, Clone)]
pub struct Chosen {
    choice: Choice,
    demands: PluginRequirements,
    /// Variables that the configuration file lets templates use with it.
    pub grant: Vec<String>,
}

/// Plugins that stay loaded between calls, each as its digest says: when a pin moves, the next call gets the new one, and
/// calls in flight keep theirs.
pub struct Loaded {
    sandbox: Sandbox,
    plugins: Mutex<HashMap<PluginDigest, Arc<Plugin>>>,
}

impl Planner {
    /// Plugins are those of the state folder.
    pub fn new(config: Arc<Config>, environment: Arc<Environment>, state: &Path) -> Self {
        Self {
            config,
            environment,
            catalog: Catalog::of(state),
        }
    }

    /// Decides which plugin a call runs.
    ///
    /// # Errors
    /// A name that is none, a plugin that the template may not choose, or WASI for an installed one.
    pub fn choose(
        &self,
        asked: Option<&str>,
        wasi: Wasi,
        template: Option<&TemplateDir>,
    ) -> Result<Chosen, Problem> {
        let choice = self.choice(asked, template)?;
        if wasi != Wasi::None && !matches!(choice, Choice::File(_)) {
            let diagnostic = Diagnostic::new("wasi-grant", "--wasi is for a plugin file").help(
                "what an installed plugin gets is under [plugins.NAME] in the configuration file",
            );
            return Err(Problem::one(Class::Invalid, diagnostic));
        }
        let (demands, grant) = match &choice {
            Choice::File(_) => {
                let terms = PluginLimits {
                    wasi,
                    ..PluginLimits::default()
                };
                (PluginRequirements::of_file(&self.config, terms), Vec::new())
            }
            Choice::Installed(name) => {
                let keys = self.config.plugins.get(name);
                let mut demands = PluginRequirements::of(&self.config, name);
                if name.is_built_in() {
                    // It is part of orghost, and needs no signature.
                    demands.keys.clear();
                }
                (
                    demands,
                    keys.map(|keys| keys.grant.clone()).unwrap_or_default(),
                )
            }
        };
        Ok(Chosen {
            choice,
            demands,
            grant,
        })
    }

    /// Reads, admits and loads a plugin, and says what it is called when it is not the built-in one.
    ///
    /// # Errors
    /// It cannot be read, is not what the operator demands, or does not keep the contract.
    pub fn load(
        &self,
        chosen: &Chosen,
        sandbox: &Sandbox,
    ) -> Result<(Plugin, Option<String>), Problem> {
        let load = |bytes: &[u8], signature: Option<&str>| {
            chosen
                .demands
                .load(sandbox, bytes, signature)
                .map(|(plugin, _)| plugin)
        };
        let (plugin, name) = match &chosen.choice {
            Choice::File(file) => {
                let bytes = read_plugin(file)?;
                let signature = read_signature(&signature_file(file))?;
                let loaded = load(&bytes, signature.as_deref());
                (
                    loaded.map_err(|refusal| Problem::from(refusal).in_file(file))?,
                    file.display().to_string(),
                )
            }
            Choice::Installed(name) if name.is_built_in() => {
                let loaded = load(ORG_IMPORT, None);
                return Ok((
                    loaded.map_err(|refusal| Problem::from(refusal).of_plugin(name))?,
                    None,
                ));
            }
            Choice::Installed(name) => {
                let fetched = self.catalog.fetch(name)?;
                let loaded = load(&fetched.bytes, fetched.signature.as_deref());
                (
                    loaded.map_err(|refusal| Problem::from(refusal).of_plugin(name))?,
                    name.to_string(),
                )
            }
        };
        let name = format!("{name} ({})", plugin.digest().short());
        Ok((plugin, Some(name)))
    }

    /// Plans a template.
    ///
    /// # Errors
    /// There is no plan.
    pub fn plan(
        &self,
        loaded: &Loaded,
        template: &TemplateDir,
        wanted: &PlanRequest,
    ) -> Result<Planned, Problem> {
        let chosen = self.choose(wanted.plugin.as_deref(), wanted.wasi, Some(template))?;
        let (request, unset) = self.request(wanted, &chosen.grant)?;
        let (plugin, planned_by) = loaded.get(self, &chosen)?;
        let reply = plugin.plan_measured(template, &request);
        let mut plan = reply
            .result
            .map_err(|error| error.into_problem(Some(template)))?;
        origins::settle(&mut plan, wanted, template);
        Ok(Planned {
            plan,
            planned_by,
            log: reply.log,
            unset,
        })
    }

    /// Expands the references in a text, as templates do.
    ///
    /// # Errors
    /// A granted name that is none, or the plugin's.
    pub fn expand(
        &self,
        loaded: &Loaded,
        text: &str,
        wanted: &PlanRequest,
    ) -> Result<Expansion, Problem> {
        let chosen = self.choose(wanted.plugin.as_deref(), wanted.wasi, None)?;
        let (request, _) = self.request(wanted, &chosen.grant)?;
        let (plugin, _) = loaded.get(self, &chosen)?;
        let expansion = plugin.expand(text, &request);
        expansion.map_err(|error| error.into_problem(None))
    }

    /// The installed plugins.
    pub fn installer(&self) -> Installer {
        Installer::new(self.config.clone(), self.catalog.clone())
    }

    /// What the plugin gets beside the template's files, and the granted names that have no value.
    ///
    /// # Errors
    /// A granted name that is none.
    pub fn request(
        &self,
        wanted: &PlanRequest,
        granted: &[String],
    ) -> Result<(PluginInput, Vec<String>), Problem> {
        let mut request = PluginInput {
            vars: wanted.vars.clone(),
            skip_external: wanted.skip_external || self.config.policy.skip_external,
            ..PluginInput::default()
        };
        let mut unset = Vec::new();
        for name in wanted.grant.iter().chain(granted) {
            if !is_identifier(name) {
                let message = format!("a grant is the name of a variable, not {name:?}");
                let diagnostic = Diagnostic::new("grant-name", message)
                    .help("letters, digits and `_`, not beginning with a digit");
                return Err(Problem::one(Class::Invalid, diagnostic));
            }
            match self.environment.granted(name) {
                Some(value) => {
                    request.granted.insert(name.clone(), value.to_owned());
                }
                None => unset.push(name.clone()),
            }
        }
        Ok((request, unset))
    }

    /// The operator's policy: the file's keys, and what was added to them.
    pub fn policy(&self, flags: &PolicyKeys) -> Policy {
        let keys = &self.config.policy;
        let safe = Policy::default();
        Policy {
            max_tier: flags
                .max_tier
                .or(keys.max_tier)
                .and_then(Tier::new)
                .unwrap_or(safe.max_tier),
            allow_mount: [&keys.allow_mount[..], &flags.allow_mount].concat(),
            ignore_missing_env: flags.ignore_missing_env || keys.ignore_missing_env,
            runtimes: self.config.runtimes.keys().cloned().collect(),
            demo: flags.demo || keys.demo,
            require_isolation: flags.require_isolation || keys.require_isolation,
        }
    }

    fn choice(
        &self,
        asked: Option<&str>,
        template: Option<&TemplateDir>,
    ) -> Result<Choice, Problem> {
        let built_in = || {
            let name = PluginName::try_from(BUILT_IN.to_owned());
            name.map_err(|error| Problem::one(Class::Invalid, error.diagnostic()))
        };
        if let Some(asked) = asked {
            if is_file(asked) {
                return Ok(Choice::File(PathBuf::from(asked)));
            }
            let name = PluginName::try_from(asked.to_owned())
                .map_err(|error| Problem::one(Class::Invalid, error.diagnostic()))?;
            return Ok(Choice::Installed(name));
        }
        let Some((template, wanted)) = template.and_then(|dir| Some((dir, dir.wanted_plugin()?)))
        else {
            return Ok(Choice::Installed(built_in()?));
        };
        let placed = |class, mut diagnostic: Diagnostic| {
            diagnostic.file = Some(wanted.file.to_owned());
            diagnostic.line = Some(wanted.line);
            diagnostic.field = Some("plugin".to_owned());
            let mut problem = Problem::one(class, diagnostic);
            problem.template = Some(template.clone());
            problem
        };
        let name = PluginName::try_from(wanted.name.clone())
            .map_err(|error| placed(Class::Invalid, error.diagnostic()))?;
        if name.is_built_in() {
            return Ok(Choice::Installed(name));
        }
        let installed = self.catalog.lock()?.plugins;
        let listed = self.config.policy.plugins.as_ref();
        let allowed = |name: &PluginName| listed.is_none_or(|list| list.contains(name));
        if installed.contains_key(&name) && allowed(&name) {
            return Ok(Choice::Installed(name));
        }
        let mut usable = vec![BUILT_IN];
        usable.extend(
            installed
                .keys()
                .filter(|name| allowed(name))
                .map(PluginName::as_str),
        );
        let usable = usable.join(", ");
        let (message, help) = if allowed(&name) {
            (
                format!("the template asks for the plugin {name}, which is not installed"),
                format!(
                    "to install it: orghost plugin add FILE|REF --name {name}; templates may use {usable}"
                ),
            )
        } else {
            (
                format!(
                    "the template asks for the plugin {name}, which the configuration file does not allow"
                ),
                format!(
                    "templates may use {usable}; [policy] plugins in the configuration file lists more"
                ),
            )
        };
        let diagnostic = Diagnostic::new("plugin-not-allowed", message).help(help);
        Err(placed(Class::Refused, diagnostic))
    }
}

impl Loaded {
    /// Loads into this sandbox.
    pub fn new(sandbox: Sandbox) -> Self {
        Self {
            sandbox,
            plugins: Mutex::default(),
        }
    }

    /// Where plugins are loaded.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// A plugin that stays loaded, and what it is called when it is not the built-in one.
    ///
    /// # Errors
    /// See [`Planner::load`].
    pub fn get(
        &self,
        planner: &Planner,
        chosen: &Chosen,
    ) -> Result<(Arc<Plugin>, Option<String>), Problem> {
        /// Versions of plugins in use at a time; more are loaded again.
        const KEPT: usize = 64;
        let pinned = match &chosen.choice {
            // Whoever is not pinned is read every time.
            Choice::File(_) => None,
            Choice::Installed(name) if name.is_built_in() => {
                static BUILT_IN: std::sync::LazyLock<PluginDigest> =
                    std::sync::LazyLock::new(|| PluginDigest::of(ORG_IMPORT));
                Some((BUILT_IN.clone(), None))
            }
            Choice::Installed(name) => {
                let digest = planner.catalog.pin(name)?.digest;
                let called = format!("{name} ({})", digest.short());
                Some((digest, Some(called)))
            }
        };
        if let Some((digest, called)) = &pinned
            && let Some(plugin) = self.plugins().get(digest)
        {
            return Ok((plugin.clone(), called.clone()));
        }
        let (plugin, called) = planner.load(chosen, &self.sandbox)?;
        let plugin = Arc::new(plugin);
        if pinned.is_some() {
            let mut plugins = self.plugins();
            if plugins.len() >= KEPT {
                plugins.clear();
            }
            plugins.insert(plugin.digest().clone(), plugin.clone());
        }
        Ok((plugin, called))
    }

    fn plugins(&self) -> std::sync::MutexGuard<'_, HashMap<PluginDigest, Arc<Plugin>>> {
        self.plugins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Clone)]
enum Choice {
    File(PathBuf),
    Installed(PluginName),
}

/// Whether `--plugin` means a file, and not the name of an installed plugin.
pub fn is_file(plugin: &str) -> bool {
    plugin.contains('/') || plugin.ends_with(".wasm")
}

/// Reads a plugin's file, within its limit.
pub fn read_plugin(file: &Path) -> Result<Vec<u8>, Problem> {
    let unreadable = |message: String| {
        let diagnostic =
            Diagnostic::new("plugin-unreadable", message).file(file.display().to_string());
        Problem::one(Class::Invalid, diagnostic)
    };
    let name = file.display();
    let metadata = std::fs::metadata(file)
        .map_err(|e| unreadable(format!("the plugin {name} cannot be read: {e}")))?;
    if !metadata.is_file() {
        return Err(unreadable(format!("the plugin {name} is not a file")));
    }
    if metadata.len() > limits::PLUGIN_FILE_BYTES {
        let limit = limits::PLUGIN_FILE_BYTES >> 20;
        return Err(unreadable(format!(
            "the plugin {name} is larger than {limit} MiB"
        )));
    }
    std::fs::read(file).map_err(|e| unreadable(format!("the plugin {name} cannot be read: {e}")))
}

/// Where a plugin file's signature is: beside it, with `.minisig` after its whole name.
pub fn signature_file(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".minisig");
    name.into()
}
