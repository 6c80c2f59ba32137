//! Finds a Rust compiler that can build for wasm32-unknown-unknown; it never installs anything but that target, and
//! only through rustup.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::TARGET;

/// What the process environment says about the tools. This crate never reads it; its callers do.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `RUSTC`: the compiler to try first.
    pub rustc: Option<OsString>,
    /// `CARGO`: the cargo to use; `cargo` on the PATH by default.
    pub cargo: Option<OsString>,
    /// `CARGO_HOME`, or else `.cargo` in the home folder: where the sources of dependencies stand.
    pub cargo_home: Option<PathBuf>,
}

impl Environment {
    /// Takes what is needed from a way to look variables up, such as `|name| std::env::var_os(name)`.
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

/// Which compiler it is; equal sources give equal bytes only under the same one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compiler {
    /// The version, such as `1.95.0`.
    pub release: String,
    /// The commit that it was built from.
    pub commit: String,
    /// The machine that it runs on.
    pub host: String,
    /// The version of its LLVM.
    pub llvm: String,
}

/// A compiler that has the target.
#[derive(Debug, Clone)]
pub struct Toolchain {
    pub(crate) rustc: OsString,
    pub(crate) sysroot: PathBuf,
    /// Which one it is.
    pub compiler: Compiler,
}

/// Why there is no compiler to build with.
#[derive(Debug, thiserror::Error)]
#[error(
    "no Rust compiler here can build for {TARGET} (tried: {}): run `rustup target add {TARGET}`, or set RUSTC to a compiler that has the target; on Debian, `RUSTC=$(scripts/wasm-rustc)` in orghost's repository fetches one",
    tried.join(", ")
)]
pub struct NoToolchain {
    /// What was tried.
    pub tried: Vec<String>,
}

impl Toolchain {
    /// Finds a compiler: `RUSTC`, else the PATH's, else the PATH's after `rustup target add`. `dir` is where it is
    /// asked, since a toolchain file there may choose the compiler.
    ///
    /// # Errors
    /// When none of them has the target.
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

/// What a tool prints, when it is there and does well.
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
