//! A plugin that is replaced while it works: hot reload. Never takes a plugin
//! away from a call in flight, and never gives a new call one that was refused.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::{Catalog, CatalogError, Demands, PluginName, Refusal};
use crate::plugin::{Plugin, Sandbox};

/// The plugin of one installed name, as the lock pins it since the last [`Live::refresh`].
pub struct Live {
    catalog: Catalog,
    sandbox: Arc<Sandbox>,
    name: PluginName,
    demands: Demands,
    current: RwLock<Arc<Plugin>>,
    refreshing: Mutex<()>,
}

/// Why the plugin stays what it was.
#[derive(Debug, thiserror::Error)]
pub enum NotReloaded {
    /// The catalog does not have it.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// It is not what the operator demands, or does not work.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl Live {
    /// Loads the plugin that is pinned now.
    ///
    /// # Errors
    /// See [`NotReloaded`].
    pub fn open(
        catalog: Catalog,
        sandbox: Arc<Sandbox>,
        name: PluginName,
        demands: Demands,
    ) -> Result<Self, NotReloaded> {
        let first = load(&catalog, &sandbox, &name, &demands)?;
        Ok(Self {
            catalog,
            sandbox,
            name,
            demands,
            current: RwLock::new(Arc::new(first)),
            refreshing: Mutex::new(()),
        })
    }

    /// The plugin for one call, or for as long as the caller holds it.
    pub fn plugin(&self) -> Arc<Plugin> {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Looks at the lock, and takes the plugin that it pins now if that one passes all checks. Says whether it is
    /// another one. Calls go on meanwhile, with the previous one.
    ///
    /// # Errors
    /// Why the previous one stays.
    pub fn refresh(&self) -> Result<bool, NotReloaded> {
        let _one = self
            .refreshing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let pinned = self.catalog.pin(&self.name)?.digest;
        if *self.plugin().digest() == pinned {
            return Ok(false);
        }
        let new = Arc::new(load(
            &self.catalog,
            &self.sandbox,
            &self.name,
            &self.demands,
        )?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(true)
    }
}

fn load(
    catalog: &Catalog,
    sandbox: &Sandbox,
    name: &PluginName,
    demands: &Demands,
) -> Result<Plugin, NotReloaded> {
    let fetched = catalog.fetch(name)?;
    let (plugin, _, _) = demands.examine(sandbox, &fetched.bytes, fetched.signature.as_deref())?;
    Ok(plugin)
}
