//! Compiles a guest crate to a core module, and makes the module a component. It writes only to the target folder.
//!
//! The same sources, dependencies and compiler give the same bytes, in any folder.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use cargo_metadata::Message;
use wit_component::ComponentEncoder;

use crate::{Environment, Guest, TARGET, Toolchain};

/// The compiler's flags. `simd128` is on because a guest spends most of its time scanning bytes, and wasmtime always
/// supports it.
pub const FLAGS: &[&str] = &["-Ctarget-feature=+simd128"];

/// A guest could not be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// Cargo could not be run.
    #[error("cannot run `{cargo}`: {source}; install Rust, or set CARGO")]
    Cargo {
        /// The command.
        cargo: String,
        /// The error of the operating system.
        source: io::Error,
    },
    /// Cargo failed, and wrote the reason to standard error.
    #[error("cargo could not build {}: its messages are above", dir.display())]
    Failed {
        /// The guest's folder.
        dir: PathBuf,
    },
    /// Cargo succeeded and made no module.
    #[error("building {} gave no WebAssembly module: does it have a library (src/lib.rs)?", dir.display())]
    NoModule {
        /// The guest's folder.
        dir: PathBuf,
    },
    /// The module could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The path of the module.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The module could not be made a component, for this reason.
    #[error(
        "the module cannot be made a component: {0}; does the guest export the world `plugin` (`orghost_plugin::export!`)?"
    )]
    Componentize(String),
}

/// Compiles the guest's library. Cargo reports to standard error.
///
/// # Errors
/// - [`CompileError::Cargo`] when cargo cannot be run.
/// - [`CompileError::Failed`] when cargo fails.
/// - [`CompileError::NoModule`] when cargo makes no module.
/// - [`CompileError::Read`] when the module cannot be read.
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
        // `cargo rustc` builds only the cdylib. With the rlib too, whole-program optimisation would be off.
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
    // Cargo compiles the guest last.
    let module = modules.last().ok_or_else(|| CompileError::NoModule {
        dir: guest.dir.clone(),
    })?;
    std::fs::read(&module).map_err(|source| CompileError::Read {
        path: module.into(),
        source,
    })
}

/// [`FLAGS`], and flags that keep the paths of this machine out of the artifact. When two prefixes match, the compiler
/// uses the later one.
fn encoded_flags(guest: &Guest, toolchain: &Toolchain, environment: &Environment) -> OsString {
    let mut flags = OsString::from(FLAGS.join("\x1f"));
    let sources = toolchain.sysroot.join("lib/rustlib/src/rust");
    let prefixes = [
        (environment.cargo_home.as_deref(), "/cargo"),
        (Some(toolchain.sysroot.as_path()), "/sysroot"),
        // The name that the compiler uses when the sources of the standard library are not installed.
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
/// [`CompileError::Componentize`] when the module does not describe its world, or does not match it.
pub fn componentize(module: &[u8]) -> Result<Vec<u8>, CompileError> {
    let mut encoder = ComponentEncoder::default();
    encoder
        .module(module)
        .and_then(|encoder| encoder.validate(true).encode())
        .map_err(|error| CompileError::Componentize(format!("{error:#}")))
}
