//! `orghost plugin new`: creates a plugin project from the scaffold of its language. It never leaves an incomplete project
//! behind, and never writes into a folder that is not empty.

use std::io;
use std::path::{Component, Path, PathBuf};

use include_dir::{Dir, include_dir};
use serde_json::json;

use crate::cli::args::plugin::{Language, NewArgs};
use crate::cli::exit::Exit;
use crate::cli::render::text::print_line;
use crate::cli::{Host, print_json};
use crate::model::diagnostic::Diagnostic;
use crate::model::plugin::PluginName;
use crate::plugin::catalog::CatalogError;
use crate::problem::{Class, Problem};

static SCAFFOLD: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../guest/scaffold");
static SDK: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../guest/sdk");

/// Files that a project gets in addition to its scaffold: the released contract, and the helpers of the language's example.
const WIT: &str = include_str!("../../../../../wit/v0.1.0/plugin.wit");
const PYTHON: &str = include_str!("../../../../../guest/examples/python/orghost_plan.py");
const JS: &str = include_str!("../../../../../guest/examples/js/orghost-plan.js");

/// The path of the SDK's copy in a Rust project. The scaffold's manifest uses the same path.
const VENDORED: &str = "vendor/orghost-plugin";

/// `orghost plugin new`.
///
/// # Errors
/// `plugin-name`: the name is invalid or reserved. `folder-not-empty`: the folder has files in it. `write`: the project
/// cannot be written.
pub fn new(host: &Host, args: &NewArgs) -> Result<Exit, Problem> {
    let name = PluginName::try_from(args.name.clone()).map_err(|error| {
        let diagnostic = Diagnostic::new("plugin-name", error.to_string());
        Problem::one(
            Class::Invalid,
            diagnostic.help("give a name such as `acme-import`"),
        )
    })?;
    if name.is_built_in() {
        let diagnostic = Diagnostic::new("plugin-name", CatalogError::Reserved.to_string());
        let help = "give the project another name, such as `acme-import`";
        return Err(Problem::one(Class::Invalid, diagnostic.help(help)));
    }
    let folder = args
        .folder
        .clone()
        .unwrap_or_else(|| PathBuf::from(name.as_str()));
    let unwritable = |error: io::Error| {
        let message = format!("{} cannot be made: {error}", folder.display());
        Problem::one(Class::Failed, Diagnostic::new("write", message))
    };
    let taken = match std::fs::read_dir(&folder) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    };
    if taken {
        let message = format!("{} exists and is not an empty folder", folder.display());
        let diagnostic = Diagnostic::new("folder-not-empty", message)
            .help("choose another name, or another folder with --folder");
        return Err(Problem::one(Class::Invalid, diagnostic));
    }
    let absolute = std::path::absolute(&folder).map_err(unwritable)?;
    let parent = absolute.parent().unwrap_or(&absolute);
    std::fs::create_dir_all(parent).map_err(unwritable)?;
    // In the same parent folder, so that the project can be moved to its place in one step.
    let draft = tempfile::Builder::new()
        .prefix(".orghost-new-")
        .tempdir_in(parent)
        .map_err(unwritable)?;
    let project = draft.path().join(name.as_str());
    write_project(&project, args).map_err(unwritable)?;
    // A rename replaces an empty folder only; otherwise it fails.
    std::fs::rename(&project, &absolute).map_err(unwritable)?;
    if host.json {
        print_json(&json!({ "folder": absolute, "name": name }))?;
        return Ok(Exit::Done);
    }
    print_line(&format!(
        "{} is a new plugin project. Next:",
        folder.display()
    ));
    print_line(&format!("  cd {}", folder.display()));
    match args.lang {
        Language::Rust => {}
        Language::Python => {
            print_line("  python3 -m venv .venv && .venv/bin/pip install componentize-py");
        }
        Language::Js => print_line("  npm install"),
    }
    print_line("  orghost plugin build");
    print_line("  orghost plugin test");
    print_line("  orghost plugin dev --template cases/first/template");
    Ok(Exit::Done)
}

fn write_project(project: &Path, args: &NewArgs) -> io::Result<()> {
    let language = match args.lang {
        Language::Rust => "rust",
        Language::Python => "python",
        Language::Js => "js",
    };
    let scaffold = SCAFFOLD
        .get_dir(language)
        .ok_or_else(|| io::Error::other(format!("orghost has no scaffold for {language}")))?;
    let adapt = |text: &str| {
        let text = text.replace("__NAME__", &args.name);
        match &args.sdk {
            Some(sdk) => text.replace(VENDORED, &sdk.display().to_string()),
            None => text,
        }
    };
    copy(scaffold, language, project, &adapt)?;
    write(&project.join("wit/plugin.wit"), WIT.as_bytes())?;
    match args.lang {
        Language::Python => write(&project.join("orghost_plan.py"), PYTHON.as_bytes()),
        Language::Js => write(&project.join("orghost-plan.js"), JS.as_bytes()),
        Language::Rust if args.sdk.is_some() => Ok(()),
        Language::Rust => copy(&SDK, "", &project.join(VENDORED), &str::to_owned),
    }
}

/// Copies an embedded folder, whose own path is `root`. `adapt` changes each text file, for example to insert the name.
fn copy(from: &Dir<'_>, root: &str, to: &Path, adapt: &dyn Fn(&str) -> String) -> io::Result<()> {
    for folder in from.dirs() {
        // A build of the scaffold itself leaves a `target` folder.
        if !folder.path().ends_with("target") {
            copy(folder, root, to, adapt)?;
        }
    }
    for file in from.files() {
        let path = file.path().strip_prefix(root).unwrap_or(file.path());
        let mut path: PathBuf = path
            .components()
            .filter(|part| matches!(part, Component::Normal(_)))
            .collect();
        if path.ends_with(".gitkeep") {
            continue;
        }
        if path.ends_with("gitignore") {
            path.set_file_name(".gitignore");
        } else if path.extension().is_some_and(|extension| extension == "in") {
            path.set_extension("");
        }
        match file.contents_utf8() {
            Some(text) => write(&to.join(path), adapt(text).as_bytes())?,
            None => write(&to.join(path), file.contents())?,
        }
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, bytes)
}
