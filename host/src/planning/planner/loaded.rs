//! The plugins that stay loaded between calls, so that a server compiles each of them once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::Planner;
use super::choice::{Choice, Chosen};
use crate::model::plugin::PluginDigest;
use crate::plugin::sandbox::{ORG_IMPORT, Plugin, Sandbox, digest_of};
use crate::problem::Problem;

/// Loaded plugins by their digest. After a pin has moved, the next call gets the new plugin; a call that is under way
/// keeps the old one.
pub struct Loaded {
    sandbox: Sandbox,
    plugins: Mutex<HashMap<PluginDigest, Arc<Plugin>>>,
}

impl Loaded {
    /// Holds no plugin yet; loads plugins into this sandbox.
    pub fn new(sandbox: Sandbox) -> Self {
        Self {
            sandbox,
            plugins: Mutex::default(),
        }
    }

    /// The sandbox that the plugins are loaded into.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// The chosen plugin, loaded now if it is not loaded yet, and its name for people unless it is the built-in one.
    ///
    /// # Errors
    /// Those of [`Planner::load`], or the lock of the catalog cannot be read.
    pub fn get(
        &self,
        planner: &Planner,
        chosen: &Chosen,
    ) -> Result<(Arc<Plugin>, Option<String>), Problem> {
        /// The most plugins that are kept. When there are more, all are dropped, and loaded again when they are used.
        const KEPT: usize = 64;
        let pinned = match &chosen.choice {
            // A file may change at any time, so it is read at every call.
            Choice::File(_) => None,
            Choice::Installed(plugin) if plugin.is_built_in() => {
                Some((digest_of(ORG_IMPORT), None))
            }
            Choice::Installed(plugin) => {
                let digest = planner.catalog.pin(plugin)?.digest;
                let name = format!("{plugin} ({})", digest.short());
                Some((digest, Some(name)))
            }
        };
        if let Some((digest, name)) = &pinned
            && let Some(plugin) = self.plugins().get(digest)
        {
            return Ok((plugin.clone(), name.clone()));
        }
        let (plugin, name) = planner.load(chosen, &self.sandbox)?;
        let plugin = Arc::new(plugin);
        if pinned.is_some() {
            let mut plugins = self.plugins();
            if plugins.len() >= KEPT {
                plugins.clear();
            }
            plugins.insert(plugin.digest().clone(), plugin.clone());
        }
        Ok((plugin, name))
    }

    fn plugins(&self) -> std::sync::MutexGuard<'_, HashMap<PluginDigest, Arc<Plugin>>> {
        self.plugins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
