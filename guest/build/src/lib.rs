//! From a guest crate to a plugin: compiles, makes a component, holds it against the contract and says where it came
//! from; it never runs a plugin and never reads the process environment.
//!
//! [`inspect()`] and [`check()`] stand alone: the host uses them on every component that it loads.

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

/// What guests are compiled for. It has no host environment, so a guest cannot import one.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// A guest crate and what it is built with.
#[derive(Debug, Clone)]
pub struct Guest {
    /// The crate's folder.
    pub dir: PathBuf,
    /// The folder of the workspace that it belongs to; its own when it stands alone.
    pub root: PathBuf,
    /// The folder of the `.wit` files that it is built against.
    pub wit: PathBuf,
    /// Where cargo puts what it builds: `target/guest` in the workspace, unless changed.
    pub target_dir: PathBuf,
    pub(crate) cargo: OsString,
    /// The workspace's manifest.
    pub(crate) workspace: toml::Table,
}

impl Guest {
    /// Looks at a guest crate, and asks cargo for the workspace around it.
    ///
    /// # Errors
    /// When a folder or a manifest is missing or broken, or cargo cannot be run.
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

    /// What cargo prints about the guest.
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

    /// The profile `guest` where the workspace has one.
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

    /// A lock file is kept to; a crate that has none yet gets one.
    pub(crate) fn locked(&self) -> Option<&'static str> {
        self.root.join("Cargo.lock").is_file().then_some("--locked")
    }
}

/// Cargo could not be run, or could not tell something about a guest.
#[derive(Debug, thiserror::Error)]
#[error("`cargo {command}` failed for {}: {message}", dir.display())]
pub struct CargoError {
    /// What it was asked.
    pub command: String,
    /// The guest's folder.
    pub dir: PathBuf,
    /// What it, or the system, says.
    pub message: String,
}

/// A plugin, fresh from its sources.
#[derive(Debug, Clone)]
pub struct Built {
    /// The component's bytes.
    pub component: Vec<u8>,
    /// Its face.
    pub inspection: Inspection,
    /// The world that it was built for.
    pub world: WorldVersion,
    /// Where it came from.
    pub provenance: Provenance,
}

/// Builds a guest and verifies it; writes nothing but the target folder.
///
/// # Errors
/// When a step fails; the error says which, and what to do.
pub fn build(guest: &Guest, environment: &Environment) -> Result<Built, BuildError> {
    let toolchain = Toolchain::find(environment, &guest.dir)?;
    // Taken first: a source that changes during the build makes the artifact stale, as it should.
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

/// Why a guest did not become a plugin.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file or folder could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A `Cargo.toml` is not TOML.
    #[error("{} is not valid: {source}", path.display())]
    Manifest {
        /// Which one.
        path: PathBuf,
        /// Where it breaks.
        source: toml::de::Error,
    },
    /// Cargo does not know the guest.
    #[error(transparent)]
    Cargo(#[from] CargoError),
    /// There is no compiler.
    #[error(transparent)]
    Toolchain(#[from] NoToolchain),
    /// The compiler or the componentizer refused.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// What was built is no component.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// What was built is no plugin.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// Its facts could not be written into it.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The component tool of its language is missing, or refused.
    #[error(transparent)]
    Script(#[from] ScriptError),
    /// Its inputs could not be told.
    #[error(transparent)]
    Provenance(#[from] ProvenanceError),
}

impl BuildError {
    /// For `map_err` after something was done with the file at `path`.
    pub fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { path, source }
    }
}
