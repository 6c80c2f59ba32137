//! The keys of the configuration file, with their defaults.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::limits;
use crate::model::engine_kind::EngineKind;
use crate::model::env_map::EnvMap;
use crate::model::plugin::{PluginDigest, PluginLimits, PluginName, PublicKey, Wasi};

/// The configuration file. Every key is optional. An unknown key is an error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The engine that runs workspaces: `docker`, `local` or `swarm`. Default: `docker` if a Docker engine answers, else
    /// `local`.
    pub engine: Option<EngineKind>,
    /// Workspaces that are provisioned at the same time, at least 1. Default: [`limits::CONCURRENCY`].
    pub concurrency: Option<usize>,
    /// What a plan may ask for.
    pub policy: PolicyKeys,
    /// How each runtime that a template can name is run, by the runtime's name.
    pub runtimes: BTreeMap<String, Runtime>,
    /// What each installed plugin is granted, by the plugin's name.
    pub plugins: BTreeMap<PluginName, PluginKeys>,
    /// Settings of `orghost serve`.
    pub server: ServerKeys,
}

/// The keys under `[server]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerKeys {
    /// The address that the server listens on. Default: 127.0.0.1:7420. An address other than the loopback requires a
    /// token.
    pub listen: SocketAddr,
    /// The folder whose subfolders are the templates that callers can name. Default: `templates` in the state folder.
    pub templates: Option<PathBuf>,
    /// Variables of orghost's own environment that callers may ask for. Default: none.
    pub grant: Vec<String>,
    /// The PEM file of the TLS certificate chain. Set it together with `tls_key`. Default: no TLS.
    pub tls_cert: Option<PathBuf>,
    /// The PEM file of the TLS private key. Set it together with `tls_cert`. Default: no TLS.
    pub tls_key: Option<PathBuf>,
    /// The file of the encryption key, unless ORGHOST_SECRET_KEY is set. Default: `secret.key` in the state folder, which
    /// is created when it does not exist.
    pub secret_key_file: Option<PathBuf>,
    /// Seconds that a shutdown waits for running operations. Default: 30.
    pub drain_seconds: u64,
    /// Requests per second of one token, at least 1. Bursts of twice as many are allowed. Default: 100.
    pub requests_per_second: u32,
    /// What a sweep does with orphans. Default: `report`.
    pub sweep: Sweep,
    /// Days that events and ended operations are kept, at least 1. Default: 90.
    pub keep_days: u32,
    /// The number of events that are kept, at least 1. Default: 1 000 000.
    pub keep_events: u32,
    /// The number of ended operations that are kept, at least 1. Default: 100 000.
    pub keep_operations: u32,
    /// The address of a trace collector (OTLP over HTTP). Only builds with the feature `otel` accept it. Default: none.
    pub otlp: Option<String>,
}

/// How much history is kept. The oldest entries are deleted first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// The number of events.
    pub events: u32,
    /// The number of ended operations.
    pub operations: u32,
    /// The age in days, of events and operations.
    pub days: u32,
}

/// What a sweep does with orphans.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sweep {
    /// There is no sweep.
    Off,
    /// Orphans are reported and nothing is changed.
    #[default]
    Report,
    /// Orphans that two sweeps in a row found are removed.
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
    /// The only file that may run under this name: `sha256:` and 64 hexadecimal digits. Default: any file.
    pub digest: Option<PluginDigest>,
    /// The part of WASI that the plugin may import. Default: `none`.
    pub wasi: Wasi,
    /// Milliseconds of wall clock for one call, 1 to [`limits::LONGEST_DEADLINE_MS`]. Default: 5000.
    pub deadline_ms: Option<u32>,
    /// Mebibytes of memory for one call, 1 to 256. Default: 256.
    pub memory_mib: Option<u32>,
    /// Public keys in minisign's form. One of them must have signed the plugin. Default: the keys of `[policy]`.
    pub require_signature: Vec<PublicKey>,
    /// Variables of orghost's own environment that templates may use with this plugin, where a whole value is a
    /// reference to one. Default: none.
    pub grant: Vec<String>,
}

/// The keys under `[policy]`. The command line's flags of the same names add to them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyKeys {
    /// The highest tier that may run, 1 to 4. Default: 2.
    pub max_tier: Option<u8>,
    /// Absolute paths of directories of this machine. A workspace may mount what is under them. Default: none.
    pub allow_mount: Vec<PathBuf>,
    /// Whether to provision although required variables are missing. Default: false.
    pub ignore_missing_env: bool,
    /// Whether `!external` subtrees are left out with a warning instead of refused. Default: false.
    pub skip_external: bool,
    /// Whether the demonstration runtime replaces every runtime that is not configured. Default: false.
    pub demo: bool,
    /// The plugins that a template's `plugin:` may choose. Default: all installed plugins.
    pub plugins: Option<Vec<PluginName>>,
    /// Whether workspaces must be isolated from the rest of the machine, by a container or by the kernel. Default: false.
    pub require_isolation: bool,
    /// Public keys in minisign's form. One of them must have signed a plugin. Default: none, and plugins need no
    /// signature. The built-in plugin is part of orghost and never needs one.
    pub require_signature: Vec<PublicKey>,
}

/// The keys under `[runtimes.NAME]`: how one runtime is run.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runtime {
    /// The container image, for the Docker and the swarm engine.
    pub image: Option<String>,
    /// The program and its arguments, for the local engine. The program listens on `$HOST:$PORT`. A relative path is
    /// relative to the folder of the configuration file. A name without `/` is searched in the runtime's own `PATH`, else
    /// in the system's folders.
    pub command: Option<Vec<String>>,
    /// The port that the runtime listens on in its container, 1 to 65535. Default: 8000. The local engine chooses a port
    /// and sets `PORT`.
    #[serde(default = "default_port")]
    pub port: u16,
    /// A path that answers 200 when the workspace is ready. Default: none, and a workspace is ready when its port accepts
    /// connections.
    pub health: Option<String>,
    /// Variables of every workspace of this runtime. The workspace's own variables override them. Default: none.
    #[serde(default)]
    pub env: EnvMap,
    /// Whether seeded files keep their executable bit on the local engine. Default: false.
    #[serde(default)]
    pub executable_seed: bool,
    /// Files and folders that the process may also read and execute on the local engine. Default: none.
    #[serde(default)]
    pub read: Vec<PathBuf>,
    /// Files and folders that the process may also change on the local engine. Default: none.
    #[serde(default)]
    pub write: Vec<PathBuf>,
    /// Whether the process may use Unix sockets in the file system on the local engine, including those of other
    /// programs. Default: false.
    #[serde(default)]
    pub unix_sockets: bool,
}

fn default_port() -> u16 {
    8000
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
    /// Makes relative paths absolute, starting from `folder`. A program without `/` stays a name.
    pub(super) fn resolve_paths(&mut self, folder: &Path) {
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

impl Config {
    /// How many workspaces are provisioned at the same time: the key `concurrency`, or its default.
    pub fn concurrency(&self) -> usize {
        self.concurrency.unwrap_or(limits::CONCURRENCY)
    }
}

impl ServerKeys {
    /// The keys that say how much history is kept.
    pub fn keep(&self) -> Keep {
        Keep {
            events: self.keep_events,
            operations: self.keep_operations,
            days: self.keep_days,
        }
    }
}

impl PluginKeys {
    /// The plugin's limits: these keys, or the defaults where a key is absent.
    pub fn limits(&self) -> PluginLimits {
        let default = PluginLimits::default();
        PluginLimits {
            deadline: self
                .deadline_ms
                .map_or(default.deadline, |ms| Duration::from_millis(u64::from(ms))),
            memory: self
                .memory_mib
                .and_then(|mib| usize::try_from(mib).ok())
                .map_or(default.memory, |mib| mib << 20),
            wasi: self.wasi,
        }
    }
}
