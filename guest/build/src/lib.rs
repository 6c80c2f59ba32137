//! Builds a guest crate into a plugin, checks it against the contract, and records what it was built from.
//!
//! It never runs a plugin and never reads the process environment. The host also calls [`inspect()`] and [`check()`],
//! for every component that it loads.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub mod compile;
pub mod inspect;
pub mod metadata;
pub mod provenance;
pub mod script;
pub mod toolchain;

pub use compile::CompileError;
pub use inspect::{ContractError, Grant, InspectError, Inspection, WorldVersion, check, inspect};
pub use metadata::{Metadata, MetadataError};
pub use provenance::{Inputs, Provenance, ProvenanceError};
pub use script::{Script, ScriptError, Scripted};
pub use toolchain::{Compiler, Environment, NoToolchain, Toolchain};

/// The target that guests are compiled for. It has no host environment, so a guest cannot import one.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// A guest crate, and the settings of its build.
#[derive(Debug, Clone)]
pub struct Guest {
    /// The crate's folder.
    pub dir: PathBuf,
    /// The folder of its Cargo workspace; the crate's folder when it has none.
    pub root: PathBuf,
    /// The folder of the `.wit` files that it is built against.
    pub wit: PathBuf,
    /// The folder for cargo's output. Default: `target/guest` in the workspace.
    pub target_dir: PathBuf,
    pub(crate) cargo: OsString,
    /// The manifest of the workspace.
    pub(crate) workspace: toml::Table,
}

impl Guest {
    /// Opens a guest crate, and asks cargo for its workspace.
    ///
    /// # Errors
    /// - [`BuildError::Io`] when a folder or a manifest cannot be read.
    /// - [`BuildError::Manifest`] when the manifest of the workspace is not valid.
    /// - [`BuildError::Cargo`] when cargo cannot be run, or fails.
    pub fn open(dir: &Path, wit: &Path, environment: &Environment) -> Result<Self, BuildError> {
        let folder = |path: &Path| path.canonicalize().map_err(BuildError::at(path));
        let mut guest = Self {
            dir: folder(dir)?,
            root: PathBuf::new(),
            wit: folder(wit)?,
            target_dir: PathBuf::new(),
            cargo: environment.cargo().to_owned(),
            workspace: toml::Table::new(),
        };
        let arguments = ["locate-project", "--workspace", "--message-format", "plain"];
        let manifest = PathBuf::from(guest.ask_cargo(&arguments, &[])?.trim_end());
        let text = std::fs::read_to_string(&manifest).map_err(BuildError::at(&manifest))?;
        guest.root = manifest.parent().unwrap_or(&guest.dir).to_path_buf();
        guest.target_dir = guest.root.join("target/guest");
        guest.workspace = match text.parse() {
            Ok(table) => table,
            Err(source) => {
                return Err(BuildError::Manifest {
                    path: manifest,
                    source,
                });
            }
        };
        Ok(guest)
    }

    /// Runs cargo for the guest, and returns what it prints.
    pub(crate) fn ask_cargo(
        &self,
        arguments: &[&str],
        more: &[&str],
    ) -> Result<String, CargoError> {
        let failed = |message| CargoError {
            command: arguments.first().copied().unwrap_or_default().to_owned(),
            dir: self.dir.clone(),
            message,
        };
        let output = Command::new(&self.cargo)
            .args(arguments)
            .arg("--manifest-path")
            .arg(self.manifest())
            .args(more)
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| failed(format!("{error}; install Rust, or set CARGO")))?;
        if !output.status.success() {
            return Err(failed(
                String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            ));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    pub(crate) fn manifest(&self) -> PathBuf {
        self.dir.join("Cargo.toml")
    }

    /// The profile of the build: `guest` when the workspace defines it, and `release` otherwise.
    pub(crate) fn profile(&self) -> &'static str {
        let profiles = self
            .workspace
            .get("profile")
            .and_then(toml::Value::as_table);
        if profiles.is_some_and(|profiles| profiles.contains_key("guest")) {
            "guest"
        } else {
            "release"
        }
    }

    /// `--locked` when there is a `Cargo.lock`. Without one, cargo writes it.
    pub(crate) fn locked(&self) -> Option<&'static str> {
        self.root.join("Cargo.lock").is_file().then_some("--locked")
    }
}

/// Cargo could not be run, or failed.
#[derive(Debug, thiserror::Error)]
#[error("`cargo {command}` failed for {}: {message}", dir.display())]
pub struct CargoError {
    /// The cargo command, such as `metadata`.
    pub command: String,
    /// The guest's folder.
    pub dir: PathBuf,
    /// The message of cargo, or of the operating system.
    pub message: String,
}

/// A plugin that was built.
#[derive(Debug, Clone)]
pub struct Built {
    /// The component's bytes.
    pub component: Vec<u8>,
    /// Its imports, exports and sections.
    pub inspection: Inspection,
    /// The version of the world that it was built for.
    pub world: WorldVersion,
    /// What it was built from.
    pub provenance: Provenance,
}

/// Builds a guest and checks it against the contract. It writes only to the target folder.
///
/// # Errors
/// - [`BuildError::Toolchain`] when no compiler has the target.
/// - [`BuildError::Provenance`] when the inputs cannot be read.
/// - [`BuildError::Compile`] when the crate does not compile, or is not a guest.
/// - [`BuildError::Metadata`] when a field of the manifest cannot be written into the component.
/// - [`BuildError::Inspect`] and [`BuildError::Contract`] when the component is not a plugin.
pub fn build(guest: &Guest, environment: &Environment) -> Result<Built, BuildError> {
    let toolchain = Toolchain::find(environment, &guest.dir)?;
    // The inputs are read before the build, so that a source that changes during the build makes the artifact stale.
    let inputs = Inputs::of(guest)?;
    let metadata = Metadata::of_cargo(guest)?;
    let component = compile::componentize(&compile::compile(guest, &toolchain, environment)?)?;
    let component = metadata.embed(&component)?;
    let inspection = inspect(&component)?;
    let world = check(&inspection, Grant::Strict)?;
    let provenance = Provenance::new(inputs, toolchain.compiler, &inspection, &component);
    Ok(Built {
        component,
        inspection,
        world,
        provenance,
    })
}

/// A guest could not be built into a plugin.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file or folder could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The path of the file or folder.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A `Cargo.toml` is not TOML.
    #[error("{} is not valid: {source}", path.display())]
    Manifest {
        /// The path of the manifest.
        path: PathBuf,
        /// The error of the parser, with its place.
        source: toml::de::Error,
    },
    /// Cargo could not be run, or failed.
    #[error(transparent)]
    Cargo(#[from] CargoError),
    /// No compiler has the target.
    #[error(transparent)]
    Toolchain(#[from] NoToolchain),
    /// The crate could not be compiled, or made a component.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The result is not a component.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// The result is not a plugin.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// The metadata could not be written into the component.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The component tool of the language is missing, or failed.
    #[error(transparent)]
    Script(#[from] ScriptError),
    /// The inputs of the build, or a lock file, could not be read or written.
    #[error(transparent)]
    Provenance(#[from] ProvenanceError),
}

impl BuildError {
    /// Makes an [`BuildError::Io`] about `path`, for `map_err`.
    pub fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { path, source }
    }
}
