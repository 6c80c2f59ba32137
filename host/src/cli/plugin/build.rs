//! `orghost plugin build`.

use orghost_build::{Guest, build as build_guest};
use serde_json::json;

use crate::cli::args::BuildArgs;
use crate::cli::report::{Exit, Failure};
use crate::cli::text::print_line;
use crate::cli::{Host, print_json};
use crate::diagnostic::Diagnostic;
use crate::plugin::PluginDigest;

/// `orghost plugin build`.
pub fn build(host: &Host, args: &BuildArgs) -> Result<Exit, Failure> {
    let BuildArgs {
        folder,
        output,
        wit,
    } = args;
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
        .clone()
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
        orghost_build::Environment::from_vars(|name| host.environment.path(name).map(Into::into));
    let guest = Guest::open(&absolute, &wit, &tools).map_err(|e| failed(e.to_string()))?;
    let built = build_guest(&guest, &tools).map_err(|e| failed(e.to_string()))?;
    let name = absolute
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let output = output
        .clone()
        .unwrap_or_else(|| absolute.join(format!("{name}.wasm")));
    let lock = output.with_extension("lock");
    let provenance = built
        .provenance
        .to_text()
        .map_err(|e| failed(e.to_string()))?;
    std::fs::write(&output, &built.component)
        .and_then(|()| std::fs::write(&lock, provenance))
        .map_err(|e| failed(format!("{} cannot be written: {e}", output.display())))?;
    let digest = PluginDigest::of(&built.component);
    if host.json {
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
