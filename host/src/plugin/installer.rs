//! Installs, lists and removes plugins. A plugin is installed only after it met the operator's requirements. Nothing is
//! fetched here.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use crate::config::{Config, PluginKeys};
use crate::model::diagnostic::Diagnostic;
use crate::model::plugin::PluginName;
use crate::model::plugin::{PluginDigest, PluginLimits, Wasi};
use crate::plugin::catalog::lock::{Lock, Pin, Quarantined};
use crate::plugin::catalog::requirements::PluginRequirements;
use crate::plugin::catalog::{Catalog, CatalogError, Fetched};
use crate::plugin::sandbox::Sandbox;
use crate::problem::{Class, Problem};

/// Installs plugins into a catalog under the requirements of a configuration file.
#[derive(Debug, Clone)]
pub struct Installer {
    config: Arc<Config>,
    catalog: Catalog,
}

/// A plugin that was installed.
#[derive(Debug, Clone)]
pub struct Added {
    /// The name under which it is installed.
    pub name: PluginName,
    /// The new pin.
    pub pin: Pin,
    /// The digest of the file that was pinned before. `None` for a new name.
    pub before: Option<PluginDigest>,
}

/// An installed plugin, as `plugin list --json` and the API show it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct InstalledPlugin {
    /// The name under which it is installed.
    #[schema(value_type = String)]
    pub name: PluginName,
    /// The plugin's version, as `describe` returned it.
    pub version: String,
    /// The digest of the file that runs: `sha256:` and 64 hexadecimal digits.
    #[schema(value_type = String)]
    pub digest: PluginDigest,
    /// The path or the registry reference that it was installed from.
    pub source: String,
    /// The digest of the registry's manifest. Absent when it was installed from a file.
    pub manifest: Option<String>,
    /// The public key that signed it. Absent when no signature was required.
    pub signed_by: Option<String>,
    /// What the configuration file grants it.
    pub grants: PluginGrants,
}

/// What the configuration file grants one plugin.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PluginGrants {
    /// The part of WASI that it may import: `none` or `closed`.
    #[schema(value_type = String)]
    pub wasi: Wasi,
    /// Wall clock for one call, in milliseconds.
    pub deadline_ms: u64,
    /// Memory for one call, in mebibytes.
    pub memory_mib: u64,
    /// Variables of orghost's own environment that templates may use with it.
    pub env: Vec<String>,
}

/// A newer file of an installed plugin that was refused. The previous version stays installed.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct QuarantinedPlugin {
    /// The name of the installed plugin.
    #[schema(value_type = String)]
    pub name: PluginName,
    /// The digest of the refused file.
    #[schema(value_type = String)]
    pub digest: PluginDigest,
    /// The path or the registry reference that it came from.
    pub source: String,
    /// Why it was refused.
    pub reason: String,
}

/// All plugins except the built-in one.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Plugins {
    /// The installed plugins, sorted by name.
    pub plugins: Vec<InstalledPlugin>,
    /// The newer files of installed plugins that were refused.
    pub quarantine: Vec<QuarantinedPlugin>,
}

impl Installer {
    /// An installer for a catalog and a configuration file.
    pub fn new(config: Arc<Config>, catalog: Catalog) -> Self {
        Self { config, catalog }
    }

    /// Checks a plugin and installs it. Its name is `given`, else the name of the installed plugin from the same source, else
    /// the name that `describe` returns.
    ///
    /// # Errors
    /// The plugin does not meet the operator's requirements or violates the contract. Then the previous version stays
    /// installed, and the reason is recorded. Or the catalog cannot be read or written.
    pub fn add(
        &self,
        sandbox: &Sandbox,
        given: Option<PluginName>,
        fetched: &Fetched,
    ) -> Result<Added, Problem> {
        if given.as_ref().is_some_and(PluginName::is_built_in) {
            return Err(CatalogError::Reserved.into());
        }
        let lock = self.catalog.lock()?;
        let name = match given.or_else(|| installed_from(&lock, &fetched.source)) {
            Some(name) => name,
            None => self.own_name(sandbox, fetched)?,
        };
        let requirements = PluginRequirements::of(&self.config, &name);
        let examined = requirements.examine(sandbox, &fetched.bytes, fetched.signature.as_deref());
        let (verified, description) = match examined {
            Ok((_, verified, description)) => (verified, description),
            Err(refusal) => {
                let has_previous = self.catalog.quarantine(&name, fetched, &refusal)?;
                let mut problem = Problem::from(refusal).of_plugin(&name);
                if has_previous {
                    for error in &mut problem.errors {
                        let help = error
                            .help
                            .take()
                            .map_or(String::new(), |help| format!("; {help}"));
                        error.help = Some(format!("the previous version stays installed{help}"));
                    }
                }
                return Err(problem);
            }
        };
        let before = lock.plugins.get(&name).map(|pin| pin.digest.clone());
        let pin = self
            .catalog
            .install(&name, fetched, verified, description)?;
        Ok(Added { name, pin, before })
    }

    /// Lists the installed plugins and the quarantine.
    ///
    /// # Errors
    /// The lock cannot be read.
    pub fn list(&self) -> Result<Plugins, Problem> {
        let lock = self.catalog.lock()?;
        let refused = lock.quarantine.iter();
        Ok(Plugins {
            plugins: lock
                .plugins
                .iter()
                .map(|(name, pin)| self.shown(name, pin))
                .collect(),
            quarantine: refused
                .map(|(name, refused)| QuarantinedPlugin::of(name, refused))
                .collect(),
        })
    }

    /// Removes a plugin.
    ///
    /// # Errors
    /// The plugin is built in or not installed, or the catalog cannot be read or written.
    pub fn remove(&self, name: &PluginName) -> Result<Pin, Problem> {
        if name.is_built_in() {
            let diagnostic =
                Diagnostic::new("plugin-name", "the built-in plugin cannot be removed")
                    .help("`plugins` under [policy] limits which plugins templates can choose");
            return Err(Problem::one(Class::Invalid, diagnostic));
        }
        Ok(self.catalog.remove(name)?)
    }

    /// An installed plugin with what it is granted.
    pub fn shown(&self, name: &PluginName, pin: &Pin) -> InstalledPlugin {
        let keys: PluginKeys = self.config.plugins.get(name).cloned().unwrap_or_default();
        let limits = keys.limits();
        InstalledPlugin {
            name: name.clone(),
            version: pin.version.clone(),
            digest: pin.digest.clone(),
            source: pin.source.clone(),
            manifest: pin.manifest.clone(),
            signed_by: pin.signed_by.as_ref().map(|key| key.as_str().to_owned()),
            grants: PluginGrants {
                wasi: keys.wasi,
                deadline_ms: u64::try_from(limits.deadline.as_millis()).unwrap_or(u64::MAX),
                memory_mib: (limits.memory >> 20) as u64,
                env: keys.grant,
            },
        }
    }

    /// The name that `describe` returns. If `[policy]` requires signatures, the plugin runs only when one of the configuration
    /// file's keys has signed it.
    fn own_name(&self, sandbox: &Sandbox, fetched: &Fetched) -> Result<PluginName, Problem> {
        // Without a name the plugin has no keys in the configuration file. `describe` works with a closed WASI.
        let limits = PluginLimits {
            wasi: Wasi::Closed,
            ..PluginLimits::default()
        };
        let mut requirements = PluginRequirements::of_file(&self.config, limits);
        if !requirements.keys.is_empty() {
            let others = self.config.plugins.values();
            requirements
                .keys
                .extend(others.flat_map(|keys| keys.require_signature.clone()));
        }
        let described = requirements.examine(sandbox, &fetched.bytes, fetched.signature.as_deref());
        let (_, _, description) = described
            .map_err(|refusal| Problem::from(refusal).in_file(Path::new(&fetched.source)))?;
        let unusable = |message: String| {
            let diagnostic = Diagnostic::new("plugin-name", message);
            Problem::one(Class::Invalid, diagnostic.help("choose a name with --name"))
        };
        let name =
            PluginName::try_from(description.name).map_err(|error| unusable(error.to_string()))?;
        if name.is_built_in() {
            return Err(unusable(format!(
                "the plugin describes itself as {name}, which is the name of the built-in plugin"
            )));
        }
        Ok(name)
    }
}

impl QuarantinedPlugin {
    fn of(name: &PluginName, refused: &Quarantined) -> Self {
        Self {
            name: name.clone(),
            digest: refused.digest.clone(),
            source: refused.source.clone(),
            reason: refused.reason.clone(),
        }
    }
}

/// Parses the name of a plugin.
///
/// # Errors
/// The text is not a plugin name.
pub fn name(text: &str) -> Result<PluginName, Problem> {
    PluginName::try_from(text.to_owned())
        .map_err(|error| Problem::one(Class::Invalid, error.diagnostic()))
}

/// The name of the installed plugin from a source. Adding from the same source again updates that plugin.
fn installed_from(lock: &Lock, source: &str) -> Option<PluginName> {
    let mut all = lock.plugins.iter();
    let (name, _) = all.find(|(_, pin)| pin.source == source)?;
    Some(name.clone())
}
