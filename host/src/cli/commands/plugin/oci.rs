//! `orghost plugin push` and `orghost plugin pull`: copy a plugin file to and from an OCI registry.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::atomic_file::write_atomically;
use crate::cli::args::plugin::{PullArgs, PushArgs, RegistryArgs};
use crate::cli::exit::Exit;
use crate::cli::render::text::{note, print_line};
use crate::cli::{Host, block_on, print_json};
use crate::model::diagnostic::Diagnostic;
use crate::model::plugin::PluginDigest;
use crate::planning::planner::read_plugin;
use crate::planning::planner::signature_file;
use crate::plugin::catalog::read_signature;
use crate::plugin::catalog::registry::{PluginReference, RegistryAccess};
use crate::plugin::sandbox::LoadError;
use crate::problem::{Class, Problem};

/// `orghost plugin push`.
///
/// # Errors
/// The reference is invalid, the file is not a component, or the registry does not accept it.
pub fn push(host: &Host, args: &PushArgs) -> Result<Exit, Problem> {
    let reference: PluginReference = args.reference.parse()?;
    let bytes = read_plugin(&args.file)?;
    let inspection = orghost_build::inspect(&bytes)
        .map_err(|error| Problem::from(LoadError::from(error)).in_file(&args.file))?;
    let signature = read_signature(&signature_file(&args.file))?;
    let digest = PluginDigest::of(&bytes);
    let title = args.file.file_name().unwrap_or_default().to_string_lossy();
    let access = access(host, &args.registry);
    let manifest = block_on(async {
        let pushed = reference.push(bytes, &inspection, &title, signature.as_deref(), &access);
        Ok(pushed.await?)
    })?;
    let pinned = reference.by_digest(&manifest);
    if host.json {
        print_json(&json!({
            "reference": pinned.to_string(), "manifest": manifest, "digest": digest, "signed": signature.is_some(),
        }))?;
    } else {
        print_line(&pinned.to_string());
        note(&format!(
            "pushed {} to {reference}, {}",
            digest,
            signed(signature.is_some())
        ));
    }
    Ok(Exit::Done)
}

/// `orghost plugin pull`.
///
/// # Errors
/// The reference is invalid, the registry does not deliver the plugin, or the file cannot be written.
pub fn pull(host: &Host, args: &PullArgs) -> Result<Exit, Problem> {
    let reference: PluginReference = args.reference.parse()?;
    let access = access(host, &args.registry);
    let fetched = block_on(async { Ok(reference.pull(&access).await?) })?;
    let file = args
        .output
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("{}.wasm", reference.short_name())));
    let signature = signature_file(&file);
    let unwritable = |file: &Path, error: std::io::Error| {
        let message = format!("{} cannot be written: {error}", file.display());
        let diagnostic = Diagnostic::new("write", message).file(file.display().to_string());
        Problem::one(Class::Failed, diagnostic)
    };
    // An existing signature file belongs to other bytes.
    match std::fs::remove_file(&signature) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(unwritable(&signature, error));
        }
        _ => {}
    }
    write_atomically(&file, &fetched.bytes, 0o666).map_err(|error| unwritable(&file, error))?;
    if let Some(text) = &fetched.signature {
        write_atomically(&signature, text.as_bytes(), 0o666)
            .map_err(|error| unwritable(&signature, error))?;
    }
    let manifest = fetched.manifest.unwrap_or_default();
    let pinned = reference.by_digest(&manifest);
    let digest = PluginDigest::of(&fetched.bytes);
    let is_signed = fetched.signature.is_some();
    if host.json {
        print_json(&json!({
            "file": file, "reference": pinned.to_string(), "manifest": manifest, "digest": digest,
            "signature": is_signed.then_some(signature),
        }))?;
    } else {
        print_line(&pinned.to_string());
        note(&format!(
            "{} is {digest}, {}",
            file.display(),
            signed(is_signed)
        ));
    }
    Ok(Exit::Done)
}

fn signed(is: bool) -> &'static str {
    if is { "with its signature" } else { "unsigned" }
}

/// How to access registries: the flags, and the credentials in docker's configuration.
pub fn access(host: &Host, args: &RegistryArgs) -> RegistryAccess {
    let folder = host
        .environment
        .path("DOCKER_CONFIG")
        .or_else(|| Some(host.environment.path("HOME")?.join(".docker")));
    RegistryAccess {
        plain_http: args.plain_http,
        docker_config: folder
            .and_then(|folder| std::fs::read_to_string(folder.join("config.json")).ok()),
    }
}
