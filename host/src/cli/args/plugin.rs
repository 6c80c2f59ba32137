//! Arguments of `orghost plugin …`, and their help.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};

use super::{EXIT_CODES, EnvArgs};
use crate::model::plugin::Wasi;

/// Write, test, publish and install plugins.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Create a plugin project that builds, passes its tests and runs
    New(NewArgs),
    /// Build a plugin project, make it a component, and check it
    Build(BuildArgs),
    /// Test a plugin against the contract, its profiles and its own cases
    #[command(after_help = EXIT_CODES)]
    Test(TestArgs),
    /// Rebuild a plugin on every change and show how its plan changes
    Dev(DevArgs),
    /// Measure the time and memory of a plugin's calls
    Bench(BenchArgs),
    /// Show a plugin's metadata, imports and exports, and whether this host would run it
    Inspect {
        /// The plugin file
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Make a key pair for signing plugins, in minisign's format
    Keygen {
        /// Where to write the secret key; the public key gets the extension `pub`
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        secret: PathBuf,
    },
    /// Sign a plugin file; the signature is written to FILE.minisig
    Sign(SignArgs),
    /// Push a plugin file and its signature to an OCI registry
    Push(PushArgs),
    /// Pull a plugin file and its signature from an OCI registry
    Pull(PullArgs),
    /// Install a plugin or a new version of it: fetch it, verify it, check it, and pin its digest
    Add(AddArgs),
    /// Show the installed plugins and the quarantined ones
    List,
    /// Remove an installed plugin
    Remove {
        /// The plugin's name, as `plugin list` shows it
        name: String,
    },
    /// Verify installed plugins or a plugin file: signature and contract
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
    /// The plugin's name, such as `acme-import`: at most 63 lower-case letters and digits with single `-` between them,
    /// beginning with a letter. The project's folder gets the same name unless --folder names another
    pub name: String,
    /// The language of the project
    #[arg(long, value_enum, default_value = "rust")]
    pub lang: Language,
    /// Create the project in this folder, which must be empty or must not exist
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub folder: Option<PathBuf>,
    /// Use the SDK at this path instead of a copy in the project
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub sdk: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct BuildArgs {
    /// The project's folder; it holds a Cargo.toml, a pyproject.toml or a package.json
    #[arg(default_value = ".", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub folder: PathBuf,
    /// Where to write the component [default: <folder's name>.wasm in the project's folder]
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    /// The folder of the project's WIT files [default: `wit` in the project's folder or a folder above it]
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub wit: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct TestArgs {
    /// The plugin file [default: the one that `plugin build` writes in the current folder]
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
    /// The folder of the plugin's own cases [default: `cases` beside the plugin file, if it exists]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub cases: Option<PathBuf>,
    /// Run only cases whose name contains this
    #[arg(long, value_name = "NAME")]
    pub case: Option<String>,
    /// Write the results of the plugin's own cases as their expected results; review them before you commit them
    #[arg(long)]
    pub bless: bool,
    /// Write a JUnit report to this file
    #[arg(long, value_name = "OUT", value_hint = ValueHint::FilePath)]
    pub junit: Option<PathBuf>,
    /// Write the certificate (digest, suite, result) to this file
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
    /// The plugin: a file or the name of an installed one [default: the built-in org-import]
    #[arg(value_name = "FILE|NAME", value_hint = ValueHint::FilePath)]
    pub plugin: Option<String>,
    /// The template to plan
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub template: PathBuf,
    /// How many calls to measure, after a few to warm up
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub calls: u32,
    /// How many callers call at the same time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub callers: u16,
    #[command(flatten)]
    pub wasi: WasiArgs,
    #[command(flatten)]
    pub env: EnvArgs,
}

#[derive(Debug, Args)]
pub struct WasiArgs {
    /// The WASI that a plugin file gets: `none`, or `closed` (no environment, files, sockets, clock or randomness; its
    /// output is shown as log lines). For an installed plugin, the configuration file decides
    #[arg(long, value_name = "GRANT", default_value = "none")]
    pub wasi: Wasi,
}

#[derive(Debug, Args)]
pub struct SignArgs {
    /// The plugin file
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// The secret key, made by `plugin keygen` or `minisign -G`. Its password, if it has one, is read from
    /// ORGHOST_KEY_PASSWORD or from the terminal
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub key: PathBuf,
}

#[derive(Debug, Args)]
pub struct PushArgs {
    /// Where to push it, such as registry.example/team/acme-import:1.0.0
    #[arg(value_name = "REF")]
    pub reference: String,
    /// The plugin file; its signature FILE.minisig, if there is one, is pushed with it
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    #[command(flatten)]
    pub registry: RegistryArgs,
}

#[derive(Debug, Args)]
pub struct PullArgs {
    /// What to pull, such as registry.example/team/acme-import:1.0.0, or …@sha256:…
    #[arg(value_name = "REF")]
    pub reference: String,
    /// Where to write it [default: <last part of the name>.wasm]
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub registry: RegistryArgs,
}

#[derive(Debug, Args)]
pub struct RegistryArgs {
    /// Use HTTP without TLS; a registry on this machine's loopback interface is always used that way
    #[arg(long)]
    pub plain_http: bool,
}

#[derive(Debug, Args)]
pub struct AddArgs {
    /// A plugin file or an OCI reference
    #[arg(value_name = "FILE|REF", value_hint = ValueHint::FilePath)]
    pub source: String,
    /// The name by which templates and --plugin refer to it [default: the plugin's own name]
    #[arg(long)]
    pub name: Option<String>,
    #[command(flatten)]
    pub registry: RegistryArgs,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// A plugin file or the name of an installed plugin [default: all installed plugins]
    #[arg(value_name = "FILE|NAME", value_hint = ValueHint::FilePath)]
    pub plugin: Option<String>,
    /// A public key or a file that holds one [default: the keys in the configuration file]
    #[arg(long, value_name = "KEY")]
    pub key: Vec<String>,
}
