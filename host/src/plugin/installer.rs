//! Puts plugins into the catalog, shows them, and takes them out, under the operator's demands. Never moves a pin to what was
//! not examined, and fetches nothing.

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

/// The installed plugins, and what the operator demands of them.
#[derive(Debug, Clone)]
pub struct Installer {
    config: Arc<Config>,
    catalog: Catalog,
}

/// A plugin that was added.
#[derive(Debug, Clone)]
pub struct Added {
    /// What it is called here.
    pub name: PluginName,
    /// What runs now.
    pub pin: Pin,
    /// What ran before.
    pub before: Option<PluginDigest>,
}

/// An installed plugin, as `plugin list --json` and the API show it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct InstalledPlugin {
    /// What it is called here.
    #[schema(value_type = String)]
    pub name: PluginName,
    /// Its own version, as it describes itself.
    pub version: String,
    /// The file that runs: `sha256:` and 64 hexadecimal digits.
    #[schema(value_type = String)]
    pub digest: PluginDigest,
    /// Where it came from.
    pub source: String,
    /// The digest of the registry's manifest, when it came from a registry.
    pub manifest: Option<String>,
    /// The public key that signed it, when a signature was demanded.
    pub signed_by: Option<String>,
    /// What the configuration file grants it.
    pub grants: PluginGrants,
}

/// What one plugin is granted.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PluginGrants {
    /// `none` or `closed`.
    #[schema(value_type = String)]
    pub wasi: Wasi,
    /// Wall clock for one call.
    pub deadline_ms: u64,
    /// Memory for one call.
    pub memory_mib: u64,
    /// Variables of orghost's own environment.
    pub env: Vec<String>,
}

/// A newer file of an installed plugin that was refused; the one before it stays.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct QuarantinedPlugin {
    /// What it was to be called.
    #[schema(value_type = String)]
    pub name: PluginName,
    /// The file that was refused.
    #[schema(value_type = String)]
    pub digest: PluginDigest,
    /// Where it came from.
    pub source: String,
    /// Why it was refused.
    pub reason: String,
}

/// All plugins but the built-in one.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Plugins {
    /// By their names.
    pub plugins: Vec<InstalledPlugin>,
    /// What was refused in the place of one of them.
    pub quarantine: Vec<QuarantinedPlugin>,
}

impl Installer {
    /// Over a catalog, with the configuration file.
    pub fn new(config: Arc<Config>, catalog: Catalog) -> Self {
        Self { config, catalog }
    }

    /// Examines a plugin, and installs it: under `given`, else under the name that a plugin from the same source has, else
    /// under the one that it gives itself.
    ///
    /// # Errors
    /// It is not what the operator demands, or does not keep the contract: then the version before it stays, and the reason
    /// is kept. Or the catalog's.
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
        let demands = PluginRequirements::of(&self.config, &name);
        let examined = demands.examine(sandbox, &fetched.bytes, fetched.signature.as_deref());
        let (met, description) = match examined {
            Ok((_, met, description)) => (met, description),
            Err(refusal) => {
                let stays = self.catalog.quarantine(&name, fetched, &refusal)?;
                let mut problem = Problem::from(refusal).of_plugin(&name);
                if stays {
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
        let pin = self.catalog.install(&name, fetched, met, description)?;
        Ok(Added { name, pin, before })
    }

    /// All of them.
    ///
    /// # Errors
    /// The catalog's.
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

    /// Forgets a plugin.
    ///
    /// # Errors
    /// It is the built-in one or is not installed; or the catalog's.
    pub fn remove(&self, name: &PluginName) -> Result<Pin, Problem> {
        if name.is_built_in() {
            let diagnostic =
                Diagnostic::new("plugin-name", "the built-in plugin cannot be removed")
                    .help("[policy] plugins says which others templates may choose");
            return Err(Problem::one(Class::Invalid, diagnostic));
        }
        Ok(self.catalog.remove(name)?)
    }

    /// An installed plugin, and what it is granted.
    pub fn shown(&self, name: &PluginName, pin: &Pin) -> InstalledPlugin {
        let keys: PluginKeys = self.config.plugins.get(name).cloned().unwrap_or_default();
        let terms = keys.terms();
        InstalledPlugin {
            name: name.clone(),
            version: pin.version.clone(),
            digest: pin.digest.clone(),
            source: pin.source.clone(),
            manifest: pin.manifest.clone(),
            signed_by: pin.signed_by.as_ref().map(|key| key.as_str().to_owned()),
            grants: PluginGrants {
                wasi: keys.wasi,
                deadline_ms: u64::try_from(terms.deadline.as_millis()).unwrap_or(u64::MAX),
                memory_mib: (terms.memory >> 20) as u64,
                env: keys.grant,
            },
        }
    }

    /// The name that a plugin gives itself. Where signatures are demanded it is not even asked before some key of the
    /// operator's has signed it.
    fn own_name(&self, sandbox: &Sandbox, fetched: &Fetched) -> Result<PluginName, Problem> {
        // A file has no name here, and so no grant: a closed WASI is enough to see whether it works.
        let terms = PluginLimits {
            wasi: Wasi::Closed,
            ..PluginLimits::default()
        };
        let mut demands = PluginRequirements::of_file(&self.config, terms);
        if !demands.keys.is_empty() {
            let others = self.config.plugins.values();
            demands
                .keys
                .extend(others.flat_map(|keys| keys.require_signature.clone()));
        }
        let described = demands.examine(sandbox, &fetched.bytes, fetched.signature.as_deref());
        let (_, _, description) = described
            .map_err(|refusal| Problem::from(refusal).in_file(Path::new(&fetched.source)))?;
        let unusable = |message: String| {
            let diagnostic = Diagnostic::new("plugin-name", message);
            Problem::one(
                Class::Invalid,
                diagnostic.help("give it another name with --name"),
            )
        };
        let name =
            PluginName::try_from(description.name).map_err(|error| unusable(error.to_string()))?;
        if name.is_built_in() {
            return Err(unusable(format!(
                "the plugin calls itself {name}, as the built-in one does"
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

/// A name of a plugin, as people write it.
///
/// # Errors
/// It is none.
pub fn name(text: &str) -> Result<PluginName, Problem> {
    PluginName::try_from(text.to_owned())
        .map_err(|error| Problem::one(Class::Invalid, error.diagnostic()))
}

/// Who adds from the same source again means the same plugin.
fn installed_from(lock: &Lock, source: &str) -> Option<PluginName> {
    let mut all = lock.plugins.iter();
    let (name, _) = all.find(|(_, pin)| pin.source == source)?;
    Some(name.clone())
}
