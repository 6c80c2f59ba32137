//! Decides which plugin a call runs: the one that the caller names, else the one that the template names, else the
//! built-in one. Reads and runs no plugin.

use std::path::PathBuf;

use super::Planner;
use super::plugin_file::is_file;
use crate::model::diagnostic::Diagnostic;
use crate::model::plugin::{BUILT_IN, PluginLimits, PluginName, Wasi};
use crate::plugin::catalog::requirements::PluginRequirements;
use crate::problem::{Class, Problem};
use crate::template::directory::TemplateDir;

/// The plugin that a call runs, with what the operator requires of it. The plugin is not read yet.
#[derive(Debug, Clone)]
pub struct Chosen {
    pub(super) choice: Choice,
    pub(super) requirements: PluginRequirements,
    /// The names of orghost's own variables that the configuration file lets templates use with this plugin.
    pub grant: Vec<String>,
}

/// Where the chosen plugin comes from.
#[derive(Debug, Clone)]
pub(super) enum Choice {
    File(PathBuf),
    Installed(PluginName),
}

impl Planner {
    /// Decides which plugin a call runs.
    ///
    /// # Errors
    /// `plugin-name` for an invalid name, `plugin-not-allowed` for a template that names a plugin that it may not use, and
    /// `wasi-grant` for WASI with an installed plugin.
    pub fn choose(
        &self,
        requested: Option<&str>,
        wasi: Wasi,
        template: Option<&TemplateDir>,
    ) -> Result<Chosen, Problem> {
        let choice = self.choice(requested, template)?;
        if wasi != Wasi::None && !matches!(choice, Choice::File(_)) {
            let diagnostic = Diagnostic::new("wasi-grant", "--wasi is only for a plugin file").help(
                "set what an installed plugin gets under [plugins.NAME] in the configuration file",
            );
            return Err(Problem::one(Class::Invalid, diagnostic));
        }
        let (requirements, grant) = match &choice {
            Choice::File(_) => {
                let limits = PluginLimits {
                    wasi,
                    ..PluginLimits::default()
                };
                (
                    PluginRequirements::of_file(&self.config, limits),
                    Vec::new(),
                )
            }
            Choice::Installed(name) => {
                let keys = self.config.plugins.get(name);
                let mut requirements = PluginRequirements::of(&self.config, name);
                if name.is_built_in() {
                    // It is a part of orghost, so it needs no signature.
                    requirements.keys.clear();
                }
                (
                    requirements,
                    keys.map(|keys| keys.grant.clone()).unwrap_or_default(),
                )
            }
        };
        Ok(Chosen {
            choice,
            requirements,
            grant,
        })
    }

    fn choice(
        &self,
        requested: Option<&str>,
        template: Option<&TemplateDir>,
    ) -> Result<Choice, Problem> {
        let built_in = || {
            let name = PluginName::try_from(BUILT_IN.to_owned());
            name.map_err(|error| Problem::one(Class::Invalid, error.diagnostic()))
        };
        if let Some(requested) = requested {
            if is_file(requested) {
                return Ok(Choice::File(PathBuf::from(requested)));
            }
            let name = PluginName::try_from(requested.to_owned())
                .map_err(|error| Problem::one(Class::Invalid, error.diagnostic()))?;
            return Ok(Choice::Installed(name));
        }
        let Some((template, wanted)) = template.and_then(|dir| Some((dir, dir.wanted_plugin()?)))
        else {
            return Ok(Choice::Installed(built_in()?));
        };
        let at_its_line = |class, mut diagnostic: Diagnostic| {
            diagnostic.file = Some(wanted.file.to_owned());
            diagnostic.line = Some(wanted.line);
            diagnostic.field = Some("plugin".to_owned());
            let mut problem = Problem::one(class, diagnostic);
            problem.template = Some(template.clone());
            problem
        };
        let name = PluginName::try_from(wanted.name.clone())
            .map_err(|error| at_its_line(Class::Invalid, error.diagnostic()))?;
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
        Err(at_its_line(Class::Refused, diagnostic))
    }
}
