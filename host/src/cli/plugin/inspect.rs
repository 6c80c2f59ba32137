//! `orghost plugin inspect`.

use std::path::Path;

use serde_json::json;

use crate::cli::plan::{about, call_failed, read_plugin};
use crate::cli::report::{Exit, Failure};
use crate::cli::text::{in_line, print_line};
use crate::cli::{Host, print_json};
use crate::plugin::{LoadError, PluginDigest, Terms};

/// `orghost plugin inspect`: what the file is, and whether this host would run it.
pub fn inspect(host: &Host, file: &Path) -> Result<Exit, Failure> {
    let bytes = read_plugin(file)?;
    let inspection =
        orghost_build::inspect(&bytes).map_err(|e| about(LoadError::from(e).into(), file))?;
    let digest = PluginDigest::of(&bytes);
    // The contract and the plugin's own words: what loading it would find.
    let loaded = host.sandbox()?.load(&bytes, &Terms::default());
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
