//! The operator's configuration: the configuration file (`orghost.toml`) and the process environment. A template's folder
//! is never searched for a configuration file, because a template must not configure its host.

mod checks;
pub mod env_file;
mod environment;
mod keys;

use std::path::{Path, PathBuf};

use crate::model::diagnostic::Diagnostic;

pub use environment::{Environment, Folders};
pub use keys::{Config, Keep, PluginKeys, PolicyKeys, Runtime, ServerKeys, Sweep};

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The configuration file does not exist or cannot be read.
    #[error("the configuration file {file} cannot be read: {reason}")]
    Unreadable {
        /// The file's path.
        file: PathBuf,
        /// The error of the operating system.
        reason: std::io::Error,
    },
    /// The configuration file is not valid.
    #[error("{}", .0.message)]
    Invalid(Box<Diagnostic>),
    /// The state folder or the cache folder is unknown.
    #[error("orghost has no {0} folder, because HOME is not set")]
    NoHome(&'static str),
}

impl Config {
    /// Reads and checks the configuration file.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`] when the file cannot be read, and [`ConfigError::Invalid`] with the line and column of
    /// the first wrong key or value.
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        let unreadable = |reason| ConfigError::Unreadable {
            file: file.to_owned(),
            reason,
        };
        let text = std::fs::read_to_string(file).map_err(unreadable)?;
        let mut config = parse(&text, &file.display().to_string()).map_err(ConfigError::Invalid)?;
        let path = std::path::absolute(file).map_err(unreadable)?;
        let folder = path.parent().unwrap_or(&path);
        for runtime in config.runtimes.values_mut() {
            runtime.resolve_paths(folder);
        }
        Ok(config)
    }
}

fn parse(text: &str, file: &str) -> Result<Config, Box<Diagnostic>> {
    let config: Config = toml::from_str(text).map_err(|error| {
        let mut problem = Diagnostic::new("config-invalid", error.message()).file(file);
        if let Some(span) = error.span() {
            let before = text.get(..span.start).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
            problem.line = u32::try_from(line).ok();
            problem.column = u32::try_from(column).ok();
        }
        Box::new(problem)
    })?;
    checks::check(&config).map_err(|wrong| {
        let problem = Diagnostic::new("config-invalid", wrong.message).file(file);
        Box::new(problem.help(wrong.help))
    })?;
    Ok(config)
}
