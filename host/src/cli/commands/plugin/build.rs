//! `orghost plugin build`: builds a project's folder into a plugin file. It never runs the plugin.

use std::path::{Path, PathBuf};

use orghost_build::{BuildError, Grant, Guest, Inspection, Script, WorldVersion};
use serde_json::json;

use crate::cli::args::plugin::BuildArgs;
use crate::cli::exit::Exit;
use crate::cli::render::text::{in_line, print_line};
use crate::cli::{Host, print_json};
use crate::model::diagnostic::Diagnostic;
use crate::model::plugin::PluginDigest;
use crate::problem::{Class, Problem};

/// A plugin that was built and not yet written to a file.
pub struct Built {
    /// The bytes of the component.
    pub component: Vec<u8>,
    inspection: Inspection,
    world: WorldVersion,
    grant: Grant,
    /// The text of the `.lock` file, which says what the component was built from. Only for Rust: only its builds are
    /// reproducible.
    provenance: Option<String>,
}

/// `orghost plugin build`.
///
/// # Errors
/// The project is invalid, a tool is missing, the build failed, or the component breaks the contract.
pub fn build(host: &Host, args: &BuildArgs) -> Result<Exit, Problem> {
    let folder = open(&args.folder)?;
    let built = build_project(host, &folder, args.wit.as_deref())?;
    let output = args.output.clone().unwrap_or_else(|| file_of(&folder));
    let lock = output.with_extension("lock");
    let unwritable = |error| {
        let message = format!("{} cannot be written: {error}", output.display());
        Problem::one(Class::Failed, Diagnostic::new("write", message))
    };
    std::fs::write(&output, &built.component).map_err(unwritable)?;
    if let Some(provenance) = &built.provenance {
        std::fs::write(&lock, provenance).map_err(unwritable)?;
    }
    let Built {
        component,
        inspection,
        world,
        grant,
        provenance,
    } = built;
    let digest = PluginDigest::of(&component);
    let wasi = match grant {
        Grant::Strict => "none",
        Grant::ClosedWasi => "closed",
    };
    if host.json {
        print_json(&json!({
            "file": output, "lock": provenance.map(|_| lock), "size": component.len(),
            "digest": format!("sha256:{}", digest.as_str()), "world": world.to_string(), "wasi": wasi,
            "imports": inspection.imports, "exports": inspection.exports,
        }))?;
        return Ok(Exit::Done);
    }
    print_line(&format!("file     {}", output.display()));
    print_line(&format!("size     {} bytes", component.len()));
    print_line(&format!("digest   sha256:{}", digest.as_str()));
    print_line(&format!("world    orghost:plugin {world}"));
    for name in &inspection.imports {
        print_line(&format!("imports  {}", in_line(name)));
    }
    if grant == Grant::ClosedWasi {
        print_line(
            "wasi     closed: run it with `--wasi closed`; an operator writes `wasi = \"closed\"` under [plugins.NAME]",
        );
    }
    Ok(Exit::Done)
}

/// Gives the absolute path of a project's folder.
///
/// # Errors
/// `plugin-project`: the folder cannot be opened.
pub fn open(folder: &Path) -> Result<PathBuf, Problem> {
    folder.canonicalize().map_err(|error| {
        let message = format!(
            "the project's folder {} cannot be opened: {error}",
            folder.display()
        );
        Problem::one(Class::Invalid, Diagnostic::new("plugin-project", message))
    })
}

/// The default path of a project's plugin file.
pub fn file_of(folder: &Path) -> PathBuf {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    folder.join(format!("{name}.wasm"))
}

/// Builds the project in a folder (an absolute path). The manifest in it decides the language.
///
/// # Errors
/// `plugin-project`, `plugin-tool`, `plugin-contract`, `plugin-build`: the part of the build that failed.
pub fn build_project(host: &Host, folder: &Path, wit: Option<&Path>) -> Result<Built, Problem> {
    let wit = match wit {
        Some(wit) => wit.to_path_buf(),
        None => wit_of(folder)?,
    };
    if folder.join("Cargo.toml").is_file() {
        let tools = orghost_build::Environment::from_vars(|name| {
            host.environment.path(name).map(Into::into)
        });
        let built = Guest::open(folder, &wit, &tools)
            .and_then(|guest| orghost_build::build(&guest, &tools))
            .map_err(failed)?;
        return Ok(Built {
            provenance: Some(built.provenance.to_text().map_err(|e| failed(e.into()))?),
            component: built.component,
            inspection: built.inspection,
            world: built.world,
            grant: Grant::Strict,
        });
    }
    let Some(script) = Script::open(folder, &wit).map_err(failed)? else {
        let message = format!("there is no plugin project in {}", folder.display());
        let diagnostic = Diagnostic::new("plugin-project", message).help(
            "a project has a Cargo.toml, a pyproject.toml or a package.json; `orghost plugin new NAME` makes one",
        );
        return Err(Problem::one(Class::Invalid, diagnostic));
    };
    let built = script.build().map_err(failed)?;
    Ok(Built {
        component: built.component,
        inspection: built.inspection,
        world: built.world,
        grant: built.grant,
        provenance: None,
    })
}

/// Finds `wit` in the folder or above it. In orghost's own repository, it gives the released version in that folder.
fn wit_of(folder: &Path) -> Result<PathBuf, Problem> {
    let found = folder
        .ancestors()
        .map(|dir| dir.join("wit"))
        .find(|dir| dir.is_dir());
    let Some(found) = found else {
        let message = format!(
            "there is no `wit` folder in {} or above it",
            folder.display()
        );
        let diagnostic = Diagnostic::new("plugin-project", message)
            .help("give the folder of the WIT files with --wit");
        return Err(Problem::one(Class::Invalid, diagnostic));
    };
    let released = found.join("v0.1.0");
    Ok(if released.is_dir() { released } else { found })
}

/// Gives a build error its code and class. An error in the project is `Invalid`; a missing tool or a failed build is
/// `Failed`.
fn failed(error: BuildError) -> Problem {
    let (exit, code) = match &error {
        BuildError::Toolchain(_)
        | BuildError::Script(orghost_build::ScriptError::NoTool { .. }) => {
            (Class::Failed, "plugin-tool")
        }
        BuildError::Metadata(_) | BuildError::Manifest { .. } => (Class::Invalid, "plugin-project"),
        BuildError::Inspect(_) | BuildError::Contract(_) => (Class::Invalid, "plugin-contract"),
        _ => (Class::Failed, "plugin-build"),
    };
    Problem::one(exit, Diagnostic::new(code, error.to_string()))
}
