//! The operator's configuration: `orghost.toml` and the process environment.
//! With `main` the only reader of that environment, and it never hands more
//! of it on than what the operator named. A template's folder is never
//! searched for a configuration: a template must not configure its host.

pub mod env_file;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::limits;
use crate::model::diagnostic::Diagnostic;
use crate::model::engine_kind::EngineKind;
use crate::model::env_map::EnvMap;
use crate::model::plan::is_identifier;
use crate::model::plugin::PluginName;
use crate::model::plugin::PublicKey;
use crate::model::plugin::{PluginDigest, PluginLimits, Wasi};

/// What the process environment says; taken once, at the start.
#[derive(Clone, Default)]
pub struct Environment {
    vars: BTreeMap<OsString, OsString>,
}

/// Where orghost finds and keeps things, when no flag says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folders {
    /// The store, and the local engine's workspaces.
    pub state: PathBuf,
    /// Compiled plugins.
    pub cache: PathBuf,
}

/// The configuration file. Every key is optional; an unknown one is an error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Which engine runs workspaces: `docker` or `local`. Default: `docker` where one answers, else `local`.
    pub engine: Option<EngineKind>,
    /// Workspaces that are provisioned at the same time, at least 1.
    pub concurrency: Option<usize>,
    /// What a plan may ask for.
    pub policy: PolicyKeys,
    /// How each runtime that a template may name is run.
    pub runtimes: BTreeMap<String, Runtime>,
    /// What each installed plugin is granted, by its name.
    pub plugins: BTreeMap<PluginName, PluginKeys>,
    /// How `orghost serve` serves.
    pub server: ServerKeys,
}

/// The keys under `[server]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerKeys {
    /// Where it listens; default 127.0.0.1:7420. Beyond the loopback only with a token.
    pub listen: SocketAddr,
    /// The folder whose folders are the templates that callers may name; default `templates` in the state folder.
    pub templates: Option<PathBuf>,
    /// Variables of orghost's own environment that callers may ask for. Default: none.
    pub grant: Vec<String>,
    /// The certificate chain and the key for TLS, as PEM files: both or none.
    pub tls_cert: Option<PathBuf>,
    /// See `tls_cert`.
    pub tls_key: Option<PathBuf>,
    /// The file of the secret key, unless ORGHOST_SECRET_KEY is set; default `secret.key` in the state folder, made when
    /// there is none.
    pub secret_key_file: Option<PathBuf>,
    /// Seconds that a shutdown waits for what runs; default 30.
    pub drain_seconds: u64,
    /// Requests in a second that one token may make, at most twice as many at once; default 100.
    pub requests_per_second: u32,
    /// What is done about workspaces of this host that belong to no org; default `report`.
    pub sweep: Sweep,
    /// Days that events and operations that ended are kept; default 90.
    pub keep_days: u32,
    /// Events that are kept, the newest; default 1 000 000.
    pub keep_events: u32,
    /// Operations that are kept, the newest; default 100 000.
    pub keep_operations: u32,
    /// A collector of traces (OTLP over HTTP), for builds with the feature `otel`.
    pub otlp: Option<String>,
}

/// How much is kept of what happened. What is too old and what is too much goes, the oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Events.
    pub events: u32,
    /// Operations that ended.
    pub operations: u32,
    /// Days, of both.
    pub days: u32,
}

/// What a sweep does about what it finds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sweep {
    /// It does not look.
    Off,
    /// It tells, and changes nothing.
    #[default]
    Report,
    /// It removes what it saw twice.
    Remove,
}

impl Default for ServerKeys {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7420)),
            templates: None,
            grant: Vec::new(),
            tls_cert: None,
            tls_key: None,
            secret_key_file: None,
            drain_seconds: 30,
            requests_per_second: 100,
            sweep: Sweep::default(),
            keep_days: 90,
            keep_events: 1_000_000,
            keep_operations: 100_000,
            otlp: None,
        }
    }
}

/// The keys under `[plugins.NAME]`: what the operator grants one plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PluginKeys {
    /// Only this file: `sha256:` and 64 hexadecimal digits.
    pub digest: Option<PluginDigest>,
    /// What it gets of WASI. Default: `none`.
    pub wasi: Wasi,
    /// Milliseconds of wall clock for one call; default 5000.
    pub deadline_ms: Option<u32>,
    /// Mebibytes of memory for one call, at most and by default 256.
    pub memory_mib: Option<u32>,
    /// Public keys (minisign's form), one of which must have signed it; else those of `[policy]`.
    pub require_signature: Vec<PublicKey>,
    /// Variables of orghost's own environment that templates may use with this plugin, where a whole value is a
    /// reference to one.
    pub grant: Vec<String>,
}

/// The keys under `[policy]`; the flags of the same names add to them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyKeys {
    /// The highest tier that may run: 1 to 4, default 2.
    pub max_tier: Option<u8>,
    /// Directories of this machine under which workspaces may mount. Default: none.
    pub allow_mount: Vec<PathBuf>,
    /// Provision although required variables are missing.
    pub ignore_missing_env: bool,
    /// Leave out `!external` subtrees, with a warning.
    pub skip_external: bool,
    /// The demonstration runtime stands in for every runtime that is not configured.
    pub demo: bool,
    /// The plugins that a template's `plugin:` may choose. Default: the installed ones.
    pub plugins: Option<Vec<PluginName>>,
    /// Only where workspaces are kept from the rest of the machine: in containers, or confined by the kernel.
    pub require_isolation: bool,
    /// Public keys (minisign's form), one of which must have signed a plugin. Default: none, and no signature needed.
    /// The built-in plugin is part of orghost and needs none.
    pub require_signature: Vec<PublicKey>,
}

/// How one runtime is run.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runtime {
    /// The image, for the Docker engine.
    pub image: Option<String>,
    /// The program and its arguments, for the local engine. It listens on `$HOST:$PORT`. A relative path counts from the
    /// folder of the configuration file; a name is looked for in the runtime's own `PATH`, else in the system's folders.
    pub command: Option<Vec<String>>,
    /// The port that it listens on in its container. The local engine chooses one and sets `PORT`.
    #[serde(default = "default_port")]
    pub port: u16,
    /// A path that answers 200 when the workspace is ready; without it a workspace is ready once its port accepts.
    pub health: Option<String>,
    /// Variables that every workspace of this runtime gets, below its own.
    #[serde(default)]
    pub env: EnvMap,
    /// Seeded files keep their permission to be run on the local engine. Default: they lose it.
    #[serde(default)]
    pub executable_seed: bool,
    /// Files and folders that its process may also read and run on the local engine.
    #[serde(default)]
    pub read: Vec<PathBuf>,
    /// Files and folders that its process may also change on the local engine.
    #[serde(default)]
    pub write: Vec<PathBuf>,
    /// Its process may use sockets that have a name in the file system on the local engine, also those of others.
    #[serde(default)]
    pub unix_sockets: bool,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there, or cannot be read.
    #[error("the configuration file {file} cannot be read: {reason}")]
    Unreadable {
        /// Its path.
        file: PathBuf,
        /// The operating system's words.
        reason: std::io::Error,
    },
    /// The file has something wrong in it.
    #[error("{}", .0.message)]
    Invalid(Box<Diagnostic>),
    /// There is no home directory and nothing else says where to keep state.
    #[error("there is no place for orghost's {0}: HOME is not set")]
    NoHome(&'static str),
}

fn default_port() -> u16 {
    8000
}

impl std::fmt::Debug for Environment {
    /// Names alone: the values are secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.vars.keys()).finish()
    }
}

impl Default for Runtime {
    fn default() -> Self {
        Self {
            image: None,
            command: None,
            port: default_port(),
            health: None,
            env: EnvMap::default(),
            executable_seed: false,
            read: Vec::new(),
            write: Vec::new(),
            unix_sockets: false,
        }
    }
}

impl Runtime {
    /// Makes its relative paths count from a folder. A program that is only a name stays one.
    fn settle_paths(&mut self, folder: &Path) {
        for path in self.read.iter_mut().chain(&mut self.write) {
            *path = folder.join(&path);
        }
        if let Some(program) = self
            .command
            .as_mut()
            .and_then(|command| command.first_mut())
            && program.contains('/')
            && let Some(path) = folder.join(&program).to_str()
        {
            *program = path.to_owned();
        }
    }
}

impl Environment {
    /// Reads the process environment, once.
    #[allow(
        clippy::disallowed_methods,
        reason = "this module is the one that reads the environment"
    )]
    pub fn of_process() -> Self {
        Self {
            vars: std::env::vars_os().collect(),
        }
    }

    /// One variable, when it is set, not empty and UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.vars
            .get(std::ffi::OsStr::new(name))?
            .to_str()
            .filter(|v| !v.is_empty())
    }

    /// One variable as a path.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        let value = self.vars.get(std::ffi::OsStr::new(name))?;
        (!value.is_empty()).then(|| PathBuf::from(value))
    }

    /// The value of a granted name: also when it is empty.
    pub fn granted(&self, name: &str) -> Option<&str> {
        self.vars.get(std::ffi::OsStr::new(name))?.to_str()
    }

    /// `ORGHOST_STATE` and `ORGHOST_CACHE`, or the folders of the XDG base directory specification.
    ///
    /// # Errors
    /// [`ConfigError::NoHome`].
    pub fn folders(&self) -> Result<Folders, ConfigError> {
        let below = |own: &str, xdg: &str, home: &str| {
            self.path(own)
                .or_else(|| Some(self.path(xdg)?.join("orghost")))
                .or_else(|| Some(self.path("HOME")?.join(home).join("orghost")))
        };
        Ok(Folders {
            state: below("ORGHOST_STATE", "XDG_STATE_HOME", ".local/state")
                .ok_or(ConfigError::NoHome("state"))?,
            cache: below("ORGHOST_CACHE", "XDG_CACHE_HOME", ".cache")
                .ok_or(ConfigError::NoHome("cache"))?,
        })
    }

    /// The configuration file: `given`, else `ORGHOST_CONFIG`, else the first that
    /// exists of `$XDG_CONFIG_HOME/orghost/orghost.toml` and `/etc/orghost/orghost.toml`.
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
        let usual = [home, Some(PathBuf::from("/etc"))];
        let mut usual = usual
            .into_iter()
            .flatten()
            .map(|dir| dir.join("orghost/orghost.toml"));
        usual.find(|file| file.exists())
    }
}

impl Config {
    /// Reads and checks the configuration file.
    ///
    /// # Errors
    /// [`ConfigError`], with the place of what is wrong.
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(file).map_err(|reason| ConfigError::Unreadable {
            file: file.to_owned(),
            reason,
        })?;
        let parsed = Self::parse(&text, &file.display().to_string());
        let mut config = parsed.map_err(ConfigError::Invalid)?;
        let folder = std::path::absolute(file).map_err(|reason| ConfigError::Unreadable {
            file: file.to_owned(),
            reason,
        })?;
        for runtime in config.runtimes.values_mut() {
            runtime.settle_paths(folder.parent().unwrap_or(&folder));
        }
        Ok(config)
    }

    fn parse(text: &str, file: &str) -> Result<Self, Box<Diagnostic>> {
        let config: Self = toml::from_str(text).map_err(|error| {
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
        match config.nonsense() {
            Some((message, help)) => {
                let problem = Diagnostic::new("config-invalid", message);
                Err(Box::new(problem.file(file).help(help)))
            }
            None => Ok(config),
        }
    }

    /// What has the right type and makes no sense, and what would.
    fn nonsense(&self) -> Option<(String, &'static str)> {
        if self.concurrency == Some(0) {
            return Some((
                "concurrency is 0: nothing would ever start".to_owned(),
                "at least 1; 4 is usual",
            ));
        }
        if let Some(tier) = self.policy.max_tier.filter(|tier| !(1..=4).contains(tier)) {
            return Some((format!("policy.max_tier is {tier}"), "1, 2, 3 or 4"));
        }
        if let Some(root) = self
            .policy
            .allow_mount
            .iter()
            .find(|root| !root.is_absolute())
        {
            return Some((
                format!("policy.allow_mount holds {}", root.display()),
                "an absolute path",
            ));
        }
        if let Some(nonsense) = self.server.nonsense() {
            return Some(nonsense);
        }
        if let Some(nonsense) = self
            .plugins
            .iter()
            .find_map(|(name, keys)| keys.nonsense(name))
        {
            return Some(nonsense);
        }
        self.runtimes.iter().find_map(|(name, runtime)| {
            if runtime.image.is_none() && runtime.command.is_none() {
                let message = format!("the runtime {name:?} has neither an image nor a command");
                return Some((
                    message,
                    "image is for the Docker engine, command for the local one",
                ));
            }
            if runtime.command.as_ref().is_some_and(Vec::is_empty) {
                let message = format!("the command of the runtime {name:?} is empty");
                return Some((message, "the program and its arguments, as a list of texts"));
            }
            if runtime
                .health
                .as_ref()
                .is_some_and(|path| !path.starts_with('/'))
            {
                let message = format!("runtimes.{name}.health is not a path");
                return Some((message, "it begins with `/`, such as /health"));
            }
            if runtime.port == 0 {
                let message = format!("runtimes.{name}.port is 0");
                return Some((
                    message,
                    "the port that the runtime listens on in its container",
                ));
            }
            let wrong = runtime.env.keys().find(|name| !is_identifier(name))?;
            let message = format!("runtimes.{name}.env: {wrong:?} is not a name of a variable");
            Some((
                message,
                "letters, digits and `_`, not beginning with a digit",
            ))
        })
    }

    /// See [`Config::concurrency`].
    pub fn concurrency(&self) -> usize {
        self.concurrency.unwrap_or(limits::CONCURRENCY)
    }
}

impl ServerKeys {
    /// How much of what happened is kept.
    pub fn keep(&self) -> Keep {
        Keep {
            events: self.keep_events,
            operations: self.keep_operations,
            days: self.keep_days,
        }
    }

    fn nonsense(&self) -> Option<(String, &'static str)> {
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            let message = "[server] has one of tls_cert and tls_key".to_owned();
            return Some((message, "TLS needs both"));
        }
        if self.requests_per_second == 0 {
            let message = "server.requests_per_second is 0: nobody could ask anything".to_owned();
            return Some((message, "at least 1; 100 is usual"));
        }
        let kept = [
            ("keep_days", self.keep_days),
            ("keep_events", self.keep_events),
            ("keep_operations", self.keep_operations),
        ];
        if let Some((key, _)) = kept.iter().find(|(_, kept)| *kept == 0) {
            let message = format!("server.{key} is 0: nobody could see what became of anything");
            return Some((message, "at least 1; leave it out for the default"));
        }
        let wrong = self.grant.iter().find(|name| !is_identifier(name))?;
        let message = format!("server.grant: {wrong:?} is not a name of a variable");
        Some((
            message,
            "letters, digits and `_`, not beginning with a digit",
        ))
    }
}

impl PluginKeys {
    /// What the plugin is granted: these keys, and the limits' defaults where they say nothing.
    pub fn terms(&self) -> PluginLimits {
        let safe = PluginLimits::default();
        PluginLimits {
            deadline: self
                .deadline_ms
                .map_or(safe.deadline, |ms| Duration::from_millis(u64::from(ms))),
            memory: self
                .memory_mib
                .and_then(|mib| usize::try_from(mib).ok())
                .map_or(safe.memory, |mib| mib << 20),
            wasi: self.wasi,
        }
    }

    fn nonsense(&self, name: &PluginName) -> Option<(String, &'static str)> {
        let most = limits::PLUGIN_MEMORY >> 20;
        if let Some(mib) = self
            .memory_mib
            .filter(|mib| *mib == 0 || usize::try_from(*mib).is_ok_and(|mib| mib > most))
        {
            let message = format!("plugins.{name}.memory_mib is {mib}");
            return Some((message, "1 to 256 MiB"));
        }
        if let Some(ms) = self
            .deadline_ms
            .filter(|ms| !(1..=limits::LONGEST_DEADLINE_MS).contains(ms))
        {
            let message = format!("plugins.{name}.deadline_ms is {ms}");
            return Some((message, "1 to 600000 milliseconds"));
        }
        if name.is_built_in() && (!self.require_signature.is_empty() || self.digest.is_some()) {
            let message = format!("plugins.{name} wants a signature or a digest");
            let help = "this plugin is a part of orghost: who has orghost has it";
            return Some((message, help));
        }
        let wrong = self.grant.iter().find(|name| !is_identifier(name))?;
        let message = format!("plugins.{name}.grant: {wrong:?} is not a name of a variable");
        Some((
            message,
            "letters, digits and `_`, not beginning with a digit",
        ))
    }
}
