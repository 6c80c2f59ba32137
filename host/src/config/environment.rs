//! The process environment, read once at the start. Only this module reads it, and it passes on only the variables that
//! the operator named.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::ConfigError;

/// The variables of the process environment.
#[derive(Clone, Default)]
pub struct Environment {
    vars: BTreeMap<OsString, OsString>,
}

/// The folders that orghost uses when no flag names others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folders {
    /// The state folder: the store, the installed plugins and the local engine's workspaces.
    pub state: PathBuf,
    /// The folder of compiled plugins. It can be deleted at any time.
    pub cache: PathBuf,
}

impl std::fmt::Debug for Environment {
    /// Shows the names only, because the values can be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.vars.keys()).finish()
    }
}

impl Environment {
    /// Reads the process environment.
    #[allow(
        clippy::disallowed_methods,
        reason = "this module is the one that reads the environment"
    )]
    pub fn of_process() -> Self {
        Self {
            vars: std::env::vars_os().collect(),
        }
    }

    /// The value of a variable. `None` when it is not set, empty or not UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.granted(name).filter(|value| !value.is_empty())
    }

    /// The value of a variable as a path. `None` when it is not set or empty.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        let value = self.vars.get(OsStr::new(name))?;
        (!value.is_empty()).then(|| PathBuf::from(value))
    }

    /// The value of a granted variable, which may be empty. `None` when it is not set or not UTF-8.
    pub fn granted(&self, name: &str) -> Option<&str> {
        self.vars.get(OsStr::new(name))?.to_str()
    }

    /// `ORGHOST_STATE` and `ORGHOST_CACHE`, or the folders of the XDG base directory specification.
    ///
    /// # Errors
    /// [`ConfigError::NoHome`] when neither these variables nor `HOME` are set.
    pub fn folders(&self) -> Result<Folders, ConfigError> {
        let folder = |own: &str, xdg: &str, home: &str| {
            self.path(own)
                .or_else(|| Some(self.path(xdg)?.join("orghost")))
                .or_else(|| Some(self.path("HOME")?.join(home).join("orghost")))
        };
        Ok(Folders {
            state: folder("ORGHOST_STATE", "XDG_STATE_HOME", ".local/state")
                .ok_or(ConfigError::NoHome("state"))?,
            cache: folder("ORGHOST_CACHE", "XDG_CACHE_HOME", ".cache")
                .ok_or(ConfigError::NoHome("cache"))?,
        })
    }

    /// The path of the configuration file: `given`, else `ORGHOST_CONFIG`, else the first file that exists of
    /// `$XDG_CONFIG_HOME/orghost/orghost.toml` and `/etc/orghost/orghost.toml`.
    pub fn config_file(&self, given: Option<&Path>) -> Option<PathBuf> {
        if let Some(named) = given
            .map(Path::to_owned)
            .or_else(|| self.path("ORGHOST_CONFIG"))
        {
            return Some(named);
        }
        let home = self
            .path("XDG_CONFIG_HOME")
            .or_else(|| Some(self.path("HOME")?.join(".config")));
        [home, Some(PathBuf::from("/etc"))]
            .into_iter()
            .flatten()
            .map(|folder| folder.join("orghost/orghost.toml"))
            .find(|file| file.exists())
    }
}
