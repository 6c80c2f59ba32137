//! Finds a Rust compiler that can build for wasm32-unknown-unknown. It installs nothing, except that target with
//! rustup.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::TARGET;

/// The settings of the tools from the process environment. This crate does not read the environment; its callers do.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// The compiler to try first, from `RUSTC`.
    pub rustc: Option<OsString>,
    /// The cargo to use, from `CARGO`. Default: `cargo` on the PATH.
    pub cargo: Option<OsString>,
    /// The folder with the sources of dependencies: `CARGO_HOME`, or else `.cargo` in the home folder.
    pub cargo_home: Option<PathBuf>,
}

impl Environment {
    /// Reads the settings with a function that looks up a variable, such as `|name| std::env::var_os(name)`.
    pub fn from_vars(var: impl Fn(&str) -> Option<OsString>) -> Self {
        let home = || var("HOME").map(|home| Path::new(&home).join(".cargo"));
        Self {
            rustc: var("RUSTC").filter(|rustc| !rustc.is_empty()),
            cargo: var("CARGO").filter(|cargo| !cargo.is_empty()),
            cargo_home: var("CARGO_HOME").map(PathBuf::from).or_else(home),
        }
    }

    pub(crate) fn cargo(&self) -> &OsStr {
        self.cargo.as_deref().unwrap_or(OsStr::new("cargo"))
    }
}

/// The identity of a compiler. The same sources give the same bytes only with the same compiler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compiler {
    /// The version, such as `1.95.0`.
    pub release: String,
    /// The commit that it was built from.
    pub commit: String,
    /// The target triple of the machine that it runs on.
    pub host: String,
    /// The version of its LLVM.
    pub llvm: String,
}

/// A compiler that has the target.
#[derive(Debug, Clone)]
pub struct Toolchain {
    pub(crate) rustc: OsString,
    pub(crate) sysroot: PathBuf,
    /// Its identity.
    pub compiler: Compiler,
}

/// No compiler has the target.
#[derive(Debug, thiserror::Error)]
#[error(
    "no Rust compiler here can build for {TARGET} (tried: {}): run `rustup target add {TARGET}`, or set RUSTC to a compiler that has the target; on Debian, `RUSTC=$(scripts/wasm-rustc)` in orghost's repository fetches one",
    tried.join(", ")
)]
pub struct NoToolchain {
    /// The compilers and commands that were tried.
    pub tried: Vec<String>,
}

impl Toolchain {
    /// Finds a compiler with the target: `RUSTC`, or else the one on the PATH, or else the one on the PATH after
    /// `rustup target add`. They run in `dir`, because a toolchain file there may choose the compiler.
    ///
    /// # Errors
    /// [`NoToolchain`] when none of them has the target.
    pub fn find(environment: &Environment, dir: &Path) -> Result<Self, NoToolchain> {
        let on_path = OsStr::new("rustc");
        let mut tried = Vec::new();
        for rustc in environment.rustc.as_deref().into_iter().chain([on_path]) {
            if let Some(toolchain) = Self::with_target(rustc, dir) {
                return Ok(toolchain);
            }
            tried.push(rustc.to_string_lossy().into_owned());
        }
        if ask(OsStr::new("rustup"), &["target", "add", TARGET], dir).is_some()
            && let Some(toolchain) = Self::with_target(on_path, dir)
        {
            return Ok(toolchain);
        }
        tried.push("rustup target add".to_owned());
        Err(NoToolchain { tried })
    }

    fn with_target(rustc: &OsStr, dir: &Path) -> Option<Self> {
        let libraries = ask(
            rustc,
            &["--print", "target-libdir", "--target", TARGET],
            dir,
        )?;
        let mut libraries = std::fs::read_dir(libraries.trim_end()).ok()?.flatten();
        libraries.find(|file| file.file_name().to_string_lossy().starts_with("libcore-"))?;
        let version = ask(rustc, &["-vV"], dir)?;
        let field = |name| {
            let value = version.lines().find_map(|line| line.strip_prefix(name));
            value.unwrap_or("unknown").to_owned()
        };
        Some(Self {
            rustc: rustc.to_owned(),
            sysroot: ask(rustc, &["--print", "sysroot"], dir)?.trim_end().into(),
            compiler: Compiler {
                release: field("release: "),
                commit: field("commit-hash: "),
                host: field("host: "),
                llvm: field("LLVM version: "),
            },
        })
    }
}

/// The output of a tool; `None` when it is missing or fails.
fn ask(tool: &OsStr, arguments: &[&str], dir: &Path) -> Option<String> {
    let output = Command::new(tool)
        .args(arguments)
        .current_dir(dir)
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
