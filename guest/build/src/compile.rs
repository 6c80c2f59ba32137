//! Compiles a guest crate to a core module and makes that a component; it never writes outside of the target folder.
//!
//! Equal sources, dependencies and compiler give equal bytes, in whatever folder they stand.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use cargo_metadata::Message;
use wit_component::ComponentEncoder;

use crate::{Environment, Guest, TARGET, Toolchain};

/// The compiler's flags. `simd128`: most of a guest's time goes into scanning bytes, and wasmtime always has it.
pub const FLAGS: &[&str] = &["-Ctarget-feature=+simd128"];

/// Why a guest could not be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// Cargo could not be run.
    #[error("cannot run `{cargo}`: {source}; install Rust, or set CARGO")]
    Cargo {
        /// The command.
        cargo: String,
        /// What the system says.
        source: io::Error,
    },
    /// Cargo failed, and has said why on standard error.
    #[error("cargo could not build {}: its messages are above", dir.display())]
    Failed {
        /// The guest's folder.
        dir: PathBuf,
    },
    /// Cargo did well and made no module.
    #[error("building {} gave no WebAssembly module: does it have a library (src/lib.rs)?", dir.display())]
    NoModule {
        /// The guest's folder.
        dir: PathBuf,
    },
    /// The module could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The module.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The module could not be made a component.
    #[error(
        "the module cannot be made a component: {0}; does the guest export the world `plugin` (`orghost_plugin::export!`)?"
    )]
    Componentize(String),
}

/// Compiles the guest's library; cargo reports on standard error.
///
/// # Errors
/// When cargo cannot be run, or fails, or makes no module.
pub fn compile(
    guest: &Guest,
    toolchain: &Toolchain,
    environment: &Environment,
) -> Result<Vec<u8>, CompileError> {
    let cargo_error = |source| CompileError::Cargo {
        cargo: guest.cargo.to_string_lossy().into_owned(),
        source,
    };
    let mut command = Command::new(&guest.cargo);
    command
        // `cargo rustc` can leave the rlib out, and with it what keeps whole-program optimisation from happening.
        .args([
            "rustc",
            "--lib",
            "--crate-type",
            "cdylib",
            "--target",
            TARGET,
        ])
        .args([
            "--message-format",
            "json-render-diagnostics",
            "--profile",
            guest.profile(),
        ])
        .arg("--manifest-path")
        .arg(guest.manifest())
        .arg("--target-dir")
        .arg(&guest.target_dir)
        .args(guest.locked())
        .current_dir(&guest.dir)
        .env("RUSTC", &toolchain.rustc)
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            encoded_flags(guest, toolchain, environment),
        )
        .env("CARGO_INCREMENTAL", "0")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let output = command.output().map_err(cargo_error)?;
    if !output.status.success() {
        return Err(CompileError::Failed {
            dir: guest.dir.clone(),
        });
    }
    let modules = Message::parse_stream(output.stdout.as_slice())
        .filter_map(|message| match message {
            Ok(Message::CompilerArtifact(artifact)) => Some(artifact.filenames),
            _ => None,
        })
        .flatten()
        .filter(|file| file.extension() == Some("wasm"));
    // The guest itself is compiled last.
    let module = modules.last().ok_or_else(|| CompileError::NoModule {
        dir: guest.dir.clone(),
    })?;
    std::fs::read(&module).map_err(|source| CompileError::Read {
        path: module.into(),
        source,
    })
}

/// [`FLAGS`], and no path of this machine in the artifact. Of two prefixes that match, the compiler takes the later.
fn encoded_flags(guest: &Guest, toolchain: &Toolchain, environment: &Environment) -> OsString {
    let mut flags = OsString::from(FLAGS.join("\x1f"));
    let sources = toolchain.sysroot.join("lib/rustlib/src/rust");
    let prefixes = [
        (environment.cargo_home.as_deref(), "/cargo"),
        (Some(toolchain.sysroot.as_path()), "/sysroot"),
        // As the compiler names them where they are not installed.
        (Some(sources.as_path()), "/rustc"),
        (Some(guest.root.as_path()), "/guest"),
        (Some(guest.target_dir.as_path()), "/target"),
    ];
    for (from, to) in prefixes {
        if let Some(from) = from {
            flags.push("\x1f--remap-path-prefix=");
            flags.push(from);
            flags.push(format!("={to}"));
        }
    }
    flags
}

/// Makes a core module a component, and validates it.
///
/// # Errors
/// When the module carries no description of its world, or does not keep to it.
pub fn componentize(module: &[u8]) -> Result<Vec<u8>, CompileError> {
    let mut encoder = ComponentEncoder::default();
    encoder
        .module(module)
        .and_then(|encoder| encoder.validate(true).encode())
        .map_err(|error| CompileError::Componentize(format!("{error:#}")))
}
