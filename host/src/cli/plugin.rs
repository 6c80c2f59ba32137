//! `orghost plugin inspect` and `orghost plugin build`.

use std::path::{Path, PathBuf};

use orghost_build::{Guest, build as build_guest};
use serde_json::json;

use super::plan::{about, call_failed, read_plugin};
use super::report::{Exit, Failure};
use super::text::{in_line, print_line};
use super::{Host, print_json};
use crate::config::Environment;
use crate::diagnostic::Diagnostic;
use crate::plugin::{LoadError, PluginDigest, Sandbox};

/// `orghost plugin inspect`: what the file is, and whether this host would run it.
pub fn inspect(host: &Host, file: &Path) -> Result<Exit, Failure> {
    let bytes = read_plugin(file)?;
    let inspection =
        orghost_build::inspect(&bytes).map_err(|e| about(LoadError::from(e).into(), file))?;
    let digest = PluginDigest::of(&bytes);
    // The contract and the plugin's own words: what loading it would find.
    let loaded = Sandbox::new(Some(&host.folders.cache.join("wasmtime")))?.load(&bytes);
    let described = loaded
        .map_err(Failure::from)
        .and_then(|plugin| plugin.describe().map_err(|error| call_failed(error, None)))
        .map_err(|failure| about(failure, file));
    let (description, errors) = match &described {
        Ok(description) => (Some(description), &[][..]),
        Err(failure) => (None, failure.errors.as_slice()),
    };
    if host.json {
        print_json(&json!({
            "file": file, "size": inspection.size, "digest": format!("sha256:{}", digest.as_str()),
            "description": description, "imports": inspection.imports, "exports": inspection.exports,
            "errors": errors,
        }))?;
    } else {
        if let Some(description) = description {
            print_line(&format!(
                "{} {}",
                description.name,
                in_line(&description.version)
            ));
            print_line(&format!(
                "handles  {}",
                in_line(&description.handles.join(", "))
            ));
        }
        print_line(&format!("file     {}", file.display()));
        print_line(&format!("size     {} bytes", inspection.size));
        print_line(&format!("digest   sha256:{}", digest.as_str()));
        for (what, names) in [
            ("imports", &inspection.imports),
            ("exports", &inspection.exports),
        ] {
            for name in names {
                print_line(&format!("{what}  {}", in_line(name)));
            }
        }
        if let Err(failure) = &described {
            failure.print(false);
        }
    }
    Ok(if described.is_ok() {
        Exit::Done
    } else {
        Exit::Invalid
    })
}

/// `orghost plugin build`.
pub fn build(
    folder: &Path,
    output: Option<PathBuf>,
    wit: Option<PathBuf>,
    environment: &Environment,
    json: bool,
) -> Result<Exit, Failure> {
    let failed =
        |message: String| Failure::one(Exit::Failed, Diagnostic::new("plugin-build", message));
    let absolute = folder.canonicalize().map_err(|error| {
        let message = format!(
            "the crate's folder {} cannot be opened: {error}",
            folder.display()
        );
        Failure::one(Exit::Invalid, Diagnostic::new("plugin-build", message))
    })?;
    let wit = wit
        .or_else(|| {
            absolute
                .ancestors()
                .map(|dir| dir.join("wit"))
                .find(|dir| dir.is_dir())
        })
        .ok_or_else(|| {
            let message = format!(
                "there is no `wit` folder in {} or above it",
                absolute.display()
            );
            let diagnostic = Diagnostic::new("plugin-build", message)
                .help("name the folder of the WIT files with --wit");
            Failure::one(Exit::Invalid, diagnostic)
        })?;
    let tools =
        orghost_build::Environment::from_vars(|name| environment.path(name).map(Into::into));
    let guest = Guest::open(&absolute, &wit, &tools).map_err(|e| failed(e.to_string()))?;
    let built = build_guest(&guest, &tools).map_err(|e| failed(e.to_string()))?;
    let name = absolute
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let output = output.unwrap_or_else(|| absolute.join(format!("{name}.wasm")));
    let lock = output.with_extension("lock");
    let provenance = built
        .provenance
        .to_text()
        .map_err(|e| failed(e.to_string()))?;
    std::fs::write(&output, &built.component)
        .and_then(|()| std::fs::write(&lock, provenance))
        .map_err(|e| failed(format!("{} cannot be written: {e}", output.display())))?;
    let digest = PluginDigest::of(&built.component);
    if json {
        print_json(&json!({
            "file": output, "lock": lock, "size": built.component.len(),
            "digest": format!("sha256:{}", digest.as_str()), "world": built.world.to_string(),
            "imports": built.inspection.imports, "exports": built.inspection.exports,
        }))?;
    } else {
        print_line(&format!("file     {}", output.display()));
        print_line(&format!("size     {} bytes", built.component.len()));
        print_line(&format!("digest   sha256:{}", digest.as_str()));
        print_line(&format!("world    {}", built.world));
    }
    Ok(Exit::Done)
}
