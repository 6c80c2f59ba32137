//! Builds plugins in Python and JavaScript with the component tools of these languages. It installs nothing, and writes
//! only a temporary file in the project's folder.
//!
//! The tools add an interpreter that imports WASI. Plugins do not need WASI, so it is left out, and the plugin runs
//! under the strict default. Files, sockets and clocks then trap, and plugins must not use them anyway. A project that
//! wants its output as log lines can ask for the closed WASI in its manifest.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::{BuildError, Grant, Inspection, Metadata, MetadataError, WorldVersion, check, inspect};

/// The world of the WIT file that a plugin is built for.
const WORLD: &str = "plugin";

/// A project in a language whose component contains the interpreter.
#[derive(Debug, Clone)]
pub struct Script {
    dir: PathBuf,
    wit: PathBuf,
    language: Language,
    metadata: Metadata,
    /// The module or file that exports `importer`.
    entry: String,
    /// Whether the manifest asks for the closed WASI.
    closed_wasi: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    Python,
    JavaScript,
}

/// A plugin that was built.
#[derive(Debug, Clone)]
pub struct Scripted {
    /// The component's bytes.
    pub component: Vec<u8>,
    /// Its imports, exports and sections.
    pub inspection: Inspection,
    /// The version of the world that it was built for.
    pub world: WorldVersion,
    /// What the operator must grant it.
    pub grant: Grant,
}

/// A script could not be built into a component.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// The tool is not installed.
    #[error("`{tool}` is neither in the project nor on the PATH; install it in {}: {install}", dir.display())]
    NoTool {
        /// The tool's name.
        tool: &'static str,
        /// The project's folder.
        dir: PathBuf,
        /// The command that installs it.
        install: &'static str,
    },
    /// The tool could not be run.
    #[error("cannot run {tool}: {source}")]
    Run {
        /// The tool's path or name.
        tool: String,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The tool failed.
    #[error("{tool} could not build {}:\n{message}", dir.display())]
    Failed {
        /// The tool's name.
        tool: &'static str,
        /// The project's folder.
        dir: PathBuf,
        /// The last lines of its output.
        message: String,
    },
}

impl Script {
    /// Opens a project. `None` when it has neither a `pyproject.toml` nor a `package.json`.
    ///
    /// # Errors
    /// - [`BuildError::Io`] when its manifest, or the folder `wit`, cannot be read.
    /// - [`BuildError::Metadata`] when its manifest is not valid.
    pub fn open(dir: &Path, wit: &Path) -> Result<Option<Self>, BuildError> {
        let Some(language) = [Language::Python, Language::JavaScript]
            .into_iter()
            .find(|language| dir.join(language.manifest()).is_file())
        else {
            return Ok(None);
        };
        let manifest = dir.join(language.manifest());
        let text = std::fs::read_to_string(&manifest).map_err(BuildError::at(&manifest))?;
        let broken = |message| MetadataError::Manifest {
            manifest: language.manifest().to_owned(),
            message,
        };
        let (metadata, keys) = match language {
            Language::Python => {
                let manifest: PyProject =
                    toml::from_str(&text).map_err(|e| broken(e.to_string()))?;
                (Metadata::of_pyproject(&text)?, manifest.tool.orghost)
            }
            Language::JavaScript => {
                let manifest: PackageJson =
                    serde_json::from_str(&text).map_err(|e| broken(e.to_string()))?;
                let mut keys = manifest.orghost;
                keys.entry = keys.entry.or(manifest.main);
                (Metadata::of_package_json(&text)?, keys)
            }
        };
        Ok(Some(Self {
            dir: dir.to_path_buf(),
            wit: wit.canonicalize().map_err(BuildError::at(wit))?,
            language,
            metadata,
            entry: keys.entry.unwrap_or_else(|| language.entry().to_owned()),
            closed_wasi: matches!(keys.wasi, WasiKey::Closed),
        }))
    }

    /// Builds the project, and checks the component against the contract.
    ///
    /// # Errors
    /// - [`BuildError::Script`] when the tool is missing or fails.
    /// - [`BuildError::Metadata`] when a field of the manifest cannot be written into the component.
    /// - [`BuildError::Inspect`] and [`BuildError::Contract`] when the component is not a plugin.
    pub fn build(&self) -> Result<Scripted, BuildError> {
        let output = self
            .dir
            .join(format!(".orghost-build-{}.wasm", std::process::id()));
        let ran = self.run(&output);
        let component = std::fs::read(&output).map_err(BuildError::at(&output));
        let _ = std::fs::remove_file(&output);
        ran?;
        let component = self.metadata.embed(&component?)?;
        let inspection = inspect(&component)?;
        let (grant, world) = match check(&inspection, Grant::Strict) {
            Ok(world) => (Grant::Strict, world),
            // Any other error is reported by this check too.
            Err(_) => (Grant::ClosedWasi, check(&inspection, Grant::ClosedWasi)?),
        };
        Ok(Scripted {
            component,
            inspection,
            world,
            grant,
        })
    }

    fn run(&self, output: &Path) -> Result<(), ScriptError> {
        let tool = self.language.tool();
        let program = self.tool();
        let mut command = Command::new(&program);
        command.current_dir(&self.dir).stdin(Stdio::null());
        match self.language {
            Language::Python => {
                command
                    .args(["--quiet", "--world", WORLD, "--wit-path"])
                    .arg(&self.wit);
                command
                    .args(["componentize", &self.entry, "--output"])
                    .arg(output);
                if !self.closed_wasi {
                    command.arg("--stub-wasi");
                }
                let packages = self.dir.join(".venv");
                if packages.is_dir() {
                    command.env("VIRTUAL_ENV", packages);
                }
                // The component contains the hash seed, which decides the order of sets. A fixed one gives the same
                // order in every build.
                command
                    .env("PYTHONHASHSEED", "0")
                    .env("PYTHONDONTWRITEBYTECODE", "1");
            }
            Language::JavaScript => {
                command.arg(&self.entry).arg("--wit").arg(&self.wit);
                command.args(["--world-name", WORLD, "--out"]).arg(output);
                command.args(["--disable", "http", "fetch-event"]);
                if !self.closed_wasi {
                    command.args(["stdio", "random", "clocks"]);
                }
            }
        }
        let ran = command.output().map_err(|source| {
            if source.kind() == io::ErrorKind::NotFound {
                ScriptError::NoTool {
                    tool,
                    dir: self.dir.clone(),
                    install: self.language.install(),
                }
            } else {
                let tool = program.to_string_lossy().into_owned();
                ScriptError::Run { tool, source }
            }
        })?;
        if ran.status.success() {
            return Ok(());
        }
        let printed = [ran.stdout, ran.stderr].concat();
        Err(ScriptError::Failed {
            tool,
            dir: self.dir.clone(),
            message: end_of(&String::from_utf8_lossy(&printed)),
        })
    }

    /// The tool in the project, or else in a folder above it, or else on the PATH.
    fn tool(&self) -> OsString {
        let place = Path::new(self.language.place()).join(self.language.tool());
        self.dir
            .ancestors()
            .map(|dir| dir.join(&place))
            .find(|file| file.is_file())
            .map_or_else(|| OsStr::new(self.language.tool()).to_owned(), Into::into)
    }
}

/// The last lines of an output, because a traceback ends with the error.
fn end_of(output: &str) -> String {
    const LINES: usize = 40;
    let lines: Vec<_> = output.trim_end().lines().collect();
    let from = lines.len().saturating_sub(LINES);
    lines.get(from..).unwrap_or_default().join("\n")
}

impl Language {
    fn manifest(self) -> &'static str {
        match self {
            Self::Python => "pyproject.toml",
            Self::JavaScript => "package.json",
        }
    }

    fn entry(self) -> &'static str {
        match self {
            Self::Python => "app",
            Self::JavaScript => "app.js",
        }
    }

    fn tool(self) -> &'static str {
        match self {
            Self::Python => "componentize-py",
            Self::JavaScript => "componentize-js",
        }
    }

    /// The folder of a project's tools.
    fn place(self) -> &'static str {
        match self {
            Self::Python => ".venv/bin",
            Self::JavaScript => "node_modules/.bin",
        }
    }

    fn install(self) -> &'static str {
        match self {
            Self::Python => "python3 -m venv .venv && .venv/bin/pip install componentize-py",
            Self::JavaScript => "npm install",
        }
    }
}

/// `[tool.orghost]` in `pyproject.toml`, `"orghost"` in `package.json`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Keys {
    /// The module or file that exports `importer`.
    entry: Option<String>,
    wasi: WasiKey,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WasiKey {
    #[default]
    None,
    Closed,
}

#[derive(Deserialize)]
struct PyProject {
    #[serde(default)]
    tool: Tool,
}

#[derive(Default, Deserialize)]
struct Tool {
    #[serde(default)]
    orghost: Keys,
}

#[derive(Deserialize)]
struct PackageJson {
    main: Option<String>,
    #[serde(default)]
    orghost: Keys,
}
