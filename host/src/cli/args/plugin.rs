//! Arguments of `orghost plugin …`, and their help.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};

use super::{EXIT_CODES, EnvArgs};
use crate::model::plugin::Wasi;

/// Plugins, from the first line to the operator's allow-list.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Start a plugin: a project that builds, passes its tests and runs at once
    New(NewArgs),
    /// Build a plugin's project, make it a component, and check it
    Build(BuildArgs),
    /// Prove that a plugin keeps the contract, its profiles, and its own cases
    #[command(after_help = EXIT_CODES)]
    Test(TestArgs),
    /// Rebuild a plugin on every change and show how its plan changes
    Dev(DevArgs),
    /// Measure time and memory of a plugin's calls
    Bench(BenchArgs),
    /// Show what a plugin file is, imports and exports, and whether this host would run it
    Inspect {
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Make a key pair to sign plugins with (minisign's format)
    Keygen {
        /// Where to write the secret key; the public key gets the extension `pub`
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        secret: PathBuf,
    },
    /// Sign a plugin file: writes FILE.minisig beside it
    Sign(SignArgs),
    /// Push a plugin file, and its signature, to an OCI registry
    Push(PushArgs),
    /// Pull a plugin file from an OCI registry
    Pull(PullArgs),
    /// Install a plugin, or a new version of it: fetch, verify, check, pin by digest
    Add(AddArgs),
    /// Show the installed plugins, and those that were refused
    List,
    /// Remove an installed plugin
    Remove { name: String },
    /// Verify installed plugins, or the signature of a file
    Verify(VerifyArgs),
}

/// A language that a plugin can be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Language {
    Rust,
    Python,
    Js,
}

#[derive(Debug, Args)]
pub struct NewArgs {
    /// The plugin's name, such as `acme-import`: lower-case letters and digits with single `-` between them, beginning with
    /// a letter, at most 63; also the folder that is made, unless --folder names another
    pub name: String,
    #[arg(long, value_enum, default_value = "rust")]
    pub lang: Language,
    /// Make the project here; it must not exist, or be empty
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub folder: Option<PathBuf>,
    /// Use the SDK at this path instead of a copy in the project
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub sdk: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct BuildArgs {
    /// The project's folder: it has a Cargo.toml, a pyproject.toml or a package.json
    #[arg(default_value = ".", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub folder: PathBuf,
    /// Where to write the component; else <name>.wasm in the project's folder
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    /// The folder of its WIT files; else `wit` in the project's folder or a folder above it
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub wit: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct TestArgs {
    /// The plugin file; else what `plugin build` made in the current folder
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
    /// The plugin's own cases; else `cases` beside the plugin file, where there is one
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub cases: Option<PathBuf>,
    /// Only cases whose name contains this
    #[arg(long, value_name = "NAME")]
    pub case: Option<String>,
    /// Write what came out as what is expected of the own cases; read it before you commit it
    #[arg(long)]
    pub bless: bool,
    /// Write a JUnit report
    #[arg(long, value_name = "OUT", value_hint = ValueHint::FilePath)]
    pub junit: Option<PathBuf>,
    /// Write the certificate: digest, suite, result
    #[arg(long, value_name = "OUT", value_hint = ValueHint::FilePath)]
    pub certificate: Option<PathBuf>,
    #[command(flatten)]
    pub wasi: WasiArgs,
}

#[derive(Debug, Args)]
pub struct DevArgs {
    /// The project's folder
    #[arg(default_value = ".", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub folder: PathBuf,
    /// The template whose plan is shown
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub template: PathBuf,
    #[command(flatten)]
    pub wasi: WasiArgs,
    #[command(flatten)]
    pub env: EnvArgs,
}

#[derive(Debug, Args)]
pub struct BenchArgs {
    /// The plugin: a file, or the name of an installed one; else the built-in org-import
    #[arg(value_name = "FILE|NAME", value_hint = ValueHint::FilePath)]
    pub plugin: Option<String>,
    /// The template that is planned
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub template: PathBuf,
    /// How many calls, after a few to warm up
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub calls: u32,
    /// Callers at the same time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub callers: u16,
    #[command(flatten)]
    pub wasi: WasiArgs,
    #[command(flatten)]
    pub env: EnvArgs,
}

#[derive(Debug, Args)]
pub struct WasiArgs {
    /// What a plugin file gets of WASI: `none`, or `closed` (no environment, files, sockets, clock or randomness; its
    /// output is shown as log lines). An installed plugin gets what the configuration file says
    #[arg(long, value_name = "GRANT", default_value = "none")]
    pub wasi: Wasi,
}

#[derive(Debug, Args)]
pub struct SignArgs {
    /// The plugin file
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// The secret key, as `plugin keygen` or `minisign -G` made it; its password, if it has one, is asked for, or taken
    /// from ORGHOST_KEY_PASSWORD
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub key: PathBuf,
}

#[derive(Debug, Args)]
pub struct PushArgs {
    /// Where to, such as registry.example/team/acme-import:1.0.0
    #[arg(value_name = "REF")]
    pub reference: String,
    /// The plugin file; FILE.minisig travels with it
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    #[command(flatten)]
    pub registry: RegistryArgs,
}

#[derive(Debug, Args)]
pub struct PullArgs {
    /// What, such as registry.example/team/acme-import:1.0.0, or …@sha256:…
    #[arg(value_name = "REF")]
    pub reference: String,
    /// Where to write it; else <last part of the name>.wasm
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub registry: RegistryArgs,
}

#[derive(Debug, Args)]
pub struct RegistryArgs {
    /// Speak HTTP without TLS; registries on this machine's loopback get that anyway
    #[arg(long)]
    pub plain_http: bool,
}

#[derive(Debug, Args)]
pub struct AddArgs {
    /// A plugin file, or an OCI reference
    #[arg(value_name = "FILE|REF", value_hint = ValueHint::FilePath)]
    pub source: String,
    /// What templates and --plugin call it; else the name that it gives itself
    #[arg(long)]
    pub name: Option<String>,
    #[command(flatten)]
    pub registry: RegistryArgs,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// A plugin file, or the name of an installed plugin; else all installed ones
    #[arg(value_name = "FILE|NAME", value_hint = ValueHint::FilePath)]
    pub plugin: Option<String>,
    /// A public key, or a file that holds one; else the keys in the configuration file
    #[arg(long, value_name = "KEY")]
    pub key: Vec<String>,
}
