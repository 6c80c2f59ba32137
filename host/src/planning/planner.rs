//! Plans a template: chooses the plugin, runs it, and determines who set each variable of the plan.
//!
//! A plugin is neither compiled nor run before the operator's requirements are checked. The planner judges nothing and
//! changes nothing.

mod call;
mod choice;
mod loaded;
mod origins;
mod plugin_file;

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tracing::info_span;

use crate::config::{Config, Environment, PolicyKeys};
use crate::model::diagnostic::Diagnostic;
use crate::model::env_map::EnvMap;
use crate::model::expansion::Expansion;
use crate::model::isolation::Target;
use crate::model::plan::{Plan, is_identifier};
use crate::model::plugin::Wasi;
use crate::planning::policy::{Approved, Policy, Rejected, Tier};
use crate::plugin::catalog::{Catalog, read_signature};
use crate::plugin::installer::Installer;
use crate::plugin::sandbox::{ORG_IMPORT, Plugin, PluginInput, Sandbox};
use crate::problem::{Class, Problem};
use crate::template::directory::TemplateDir;
pub use call::{PlanKey, PluginCall};
use choice::Choice;
pub use choice::Chosen;
pub use loaded::Loaded;
pub use plugin_file::{is_file, read_plugin, signature_file};

/// Plans templates with the operator's configuration and the installed plugins. Holds no secret but the environment that
/// the operator started orghost with.
#[derive(Debug, Clone)]
pub struct Planner {
    config: Arc<Config>,
    environment: Arc<Environment>,
    catalog: Catalog,
}

/// What a caller gives besides the template. Untrusted unless `giver` is the operator.
#[derive(Debug, Clone, Default)]
pub struct PlanRequest {
    /// A plugin file (the text contains `/`, or ends in `.wasm`) or the name of an installed plugin. Default: the plugin
    /// that the template names, else the built-in one.
    pub plugin: Option<String>,
    /// The part of WASI that a plugin file gets; by default none. For an installed plugin it is in the configuration file.
    pub wasi: Wasi,
    /// Variables for the expansion of references, which every workspace also gets.
    pub vars: EnvMap,
    /// Who gave the variables; by default a caller of a server.
    pub giver: Giver,
    /// Names of variables in orghost's own environment that the template may use.
    pub grant: Vec<String>,
    /// Whether to leave out `!external` subtrees instead of failing; by default not.
    pub skip_external: bool,
}

/// Who gave the variables of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Giver {
    /// A caller of a server, whose variables count like the template's own.
    #[default]
    Caller,
    /// The operator of this machine, on the command line.
    Operator,
}

/// A plan that policy has not judged yet: untrusted.
#[derive(Debug)]
pub struct Planned {
    /// The plugin's plan, with the origin of each variable as the host determined it.
    pub plan: Plan,
    /// The plugin's name and digest for people; `None` for the built-in plugin.
    pub planned_by: Option<String>,
    /// The lines that the plugin logged.
    pub log: Vec<String>,
    /// The granted names that orghost's environment does not have.
    pub unset: Vec<String>,
}

/// A plan and the policy's verdict on it.
#[derive(Debug)]
pub struct Judgement {
    /// The approved plan, or every rule that the plan breaks.
    pub verdict: Result<Approved, Box<Rejected>>,
    /// The engine that it was judged for, with the isolation there.
    pub target: Target,
    /// The plugin's name and digest for people; `None` for the built-in plugin.
    pub planned_by: Option<String>,
    /// The lines that the plugin logged.
    pub log: Vec<String>,
    /// The granted names that orghost's environment does not have.
    pub unset: Vec<String>,
}

impl Planned {
    /// Judges the plan by a policy, for the engine that it is to run on.
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

impl Planner {
    /// A planner with the plugins that are installed in the state folder.
    pub fn new(config: Arc<Config>, environment: Arc<Environment>, state: &Path) -> Self {
        Self {
            config,
            environment,
            catalog: Catalog::of(state),
        }
    }

    /// Reads a plugin, checks the operator's requirements, and loads it. Also returns its name for people, unless it is the
    /// built-in one.
    ///
    /// # Errors
    /// The plugin cannot be read, does not meet the operator's requirements, or breaks the plugin contract.
    pub fn load(
        &self,
        chosen: &Chosen,
        sandbox: &Sandbox,
    ) -> Result<(Plugin, Option<String>), Problem> {
        let load = |bytes: &[u8], signature: Option<&str>| {
            chosen
                .requirements
                .load(sandbox, bytes, signature)
                .map(|(plugin, _)| plugin)
        };
        let (plugin, name) = match &chosen.choice {
            Choice::File(file) => {
                let bytes = read_plugin(file)?;
                let signature = read_signature(&signature_file(file))?;
                let loaded = load(&bytes, signature.as_deref());
                (
                    loaded.map_err(|error| Problem::from(error).in_file(file))?,
                    file.display().to_string(),
                )
            }
            Choice::Installed(name) if name.is_built_in() => {
                let loaded = load(ORG_IMPORT, None);
                return Ok((
                    loaded.map_err(|error| Problem::from(error).of_plugin(name))?,
                    None,
                ));
            }
            Choice::Installed(name) => {
                let fetched = self.catalog.fetch(name)?;
                let loaded = load(&fetched.bytes, fetched.signature.as_deref());
                (
                    loaded.map_err(|error| Problem::from(error).of_plugin(name))?,
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
    /// Those of [`Planner::call`] and [`PluginCall::run`].
    pub fn plan(
        &self,
        loaded: &Loaded,
        template: &TemplateDir,
        request: &PlanRequest,
    ) -> Result<Planned, Problem> {
        self.call(loaded, template, request)?.run(template, request)
    }

    /// Chooses and loads the plugin for a template, and collects its input.
    ///
    /// # Errors
    /// No plugin can be chosen or loaded, or a granted name is invalid.
    pub fn call(
        &self,
        loaded: &Loaded,
        template: &TemplateDir,
        request: &PlanRequest,
    ) -> Result<PluginCall, Problem> {
        let chosen = self.choose(request.plugin.as_deref(), request.wasi, Some(template))?;
        let (input, unset) = self.request(request, &chosen.grant)?;
        let (plugin, planned_by) =
            info_span!("load the plugin").in_scope(|| loaded.get(self, &chosen))?;
        Ok(PluginCall {
            plugin,
            planned_by,
            input,
            unset,
        })
    }

    /// Expands the references in a text by the rules for templates.
    ///
    /// # Errors
    /// No plugin can be chosen or loaded, a granted name is invalid, or the plugin fails.
    pub fn expand(
        &self,
        loaded: &Loaded,
        text: &str,
        request: &PlanRequest,
    ) -> Result<Expansion, Problem> {
        let chosen = self.choose(request.plugin.as_deref(), request.wasi, None)?;
        let (input, _) = self.request(request, &chosen.grant)?;
        let (plugin, _) = loaded.get(self, &chosen)?;
        let expansion = plugin.expand(text, &input);
        expansion.map_err(|error| error.into_problem(None))
    }

    /// The installer of this state folder's plugins.
    pub fn installer(&self) -> Installer {
        Installer::new(self.config.clone(), self.catalog.clone())
    }

    /// The plugin's input besides the template's files, and the granted names that have no value.
    ///
    /// # Errors
    /// `grant-name` when a granted name is not the name of a variable.
    pub fn request(
        &self,
        request: &PlanRequest,
        granted: &[String],
    ) -> Result<(PluginInput, Vec<String>), Problem> {
        let mut input = PluginInput {
            vars: request.vars.clone(),
            skip_external: request.skip_external || self.config.policy.skip_external,
            ..PluginInput::default()
        };
        let mut unset = Vec::new();
        for name in request.grant.iter().chain(granted) {
            if !is_identifier(name) {
                let message = format!("the granted name {name:?} is not a name of a variable");
                let diagnostic = Diagnostic::new("grant-name", message)
                    .help("use letters, digits and `_`, and do not begin with a digit");
                return Err(Problem::one(Class::Invalid, diagnostic));
            }
            match self.environment.granted(name) {
                Some(value) => {
                    input.granted.insert(name.clone(), value.to_owned());
                }
                None => unset.push(name.clone()),
            }
        }
        Ok((input, unset))
    }

    /// The operator's policy: the keys of the configuration file, with the flags added to them.
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
}
