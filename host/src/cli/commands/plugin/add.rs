//! `orghost plugin add`, `list`, `remove` and `verify` on this machine.

use std::path::Path;

use comfy_table::{ContentArrangement, Table};
use serde_json::json;

use super::oci::access;
use crate::cli::args::plugin::{AddArgs, VerifyArgs};
use crate::cli::exit::Exit;
use crate::cli::render::text::{in_line, note, print_line};
use crate::cli::{Host, block_on, print_json};
use crate::config::PluginKeys;
use crate::model::diagnostic::Diagnostic;
use crate::model::plugin::PluginName;
use crate::model::plugin::PublicKey;
use crate::model::plugin::{PluginLimits, Wasi};
use crate::planning::planner::{is_file, read_plugin, signature_file};
use crate::plugin::catalog::registry::PluginReference;
use crate::plugin::catalog::requirements::{PluginRequirements, VerifiedPlugin};
use crate::plugin::catalog::{Catalog, Fetched, read_signature};
use crate::plugin::installer::{Added, Installer, name};
use crate::plugin::sandbox::Sandbox;
use crate::problem::{Class, Problem};

/// `orghost plugin add`.
///
/// # Errors
/// The plugin cannot be fetched or read, does not meet the requirements, or cannot be installed.
pub fn add(host: &Host, args: &AddArgs) -> Result<Exit, Problem> {
    let given = args.name.as_deref().map(name).transpose()?;
    if given.as_ref().is_some_and(PluginName::is_built_in) {
        return Err(crate::plugin::catalog::CatalogError::Reserved.into());
    }
    let fetched = fetch(host, args)?;
    let installer = installer(host);
    let Added { name, pin, before } = installer.add(&host.sandbox()?, given, &fetched)?;
    if host.json {
        print_json(&json!({
            "plugin": installer.shown(&name, &pin),
            "changed": before.as_ref() != Some(&pin.digest),
        }))?;
    } else {
        let what = match before {
            None => "installed",
            Some(digest) if digest == pin.digest => "already installed",
            Some(_) => "replaced",
        };
        print_line(&format!(
            "{name} {}: {what}, {}",
            in_line(&pin.version),
            pin.digest
        ));
    }
    Ok(Exit::Done)
}

/// `orghost plugin list`.
///
/// # Errors
/// The catalog cannot be read.
pub fn list(host: &Host) -> Result<Exit, Problem> {
    if host.json {
        print_json(&installer(host).list()?)?;
        return Ok(Exit::Done);
    }
    let lock = Catalog::of(&host.folders.state).lock()?;
    if lock.plugins.is_empty() {
        note(
            "only the built-in org-import is installed; `orghost plugin add FILE|REF` installs another plugin",
        );
        return Ok(Exit::Done);
    }
    let mut table = Table::new();
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(["NAME", "VERSION", "DIGEST", "SIGNED BY", "GRANTS", "SOURCE"]);
    for (name, pin) in &lock.plugins {
        table.add_row([
            name.to_string(),
            in_line(&pin.version),
            pin.digest.short().to_owned(),
            pin.signed_by.as_ref().map_or("-".to_owned(), PublicKey::id),
            grants(&keys(host, name)),
            in_line(&pin.source),
        ]);
    }
    for line in table.lines() {
        print_line(line.trim_end());
    }
    for (name, refused) in &lock.quarantine {
        print_line(&format!(
            "quarantined: {name} {} from {}: {}",
            refused.digest.short(),
            in_line(&refused.source),
            in_line(&refused.reason)
        ));
    }
    Ok(Exit::Done)
}

/// `orghost plugin remove`.
///
/// # Errors
/// The name is invalid, no such plugin is installed, or the catalog cannot be written.
pub fn remove(host: &Host, name_text: &str) -> Result<Exit, Problem> {
    let name = name(name_text)?;
    let pin = installer(host).remove(&name)?;
    if host.json {
        print_json(&json!({"removed": name, "digest": pin.digest}))?;
    } else {
        print_line(&format!("{name}: removed"));
    }
    Ok(Exit::Done)
}

fn installer(host: &Host) -> Installer {
    Installer::new(host.config.clone(), Catalog::of(&host.folders.state))
}

/// `orghost plugin verify`: checks the signature and the contract of a file, of one installed plugin, or of all.
///
/// # Errors
/// A key or a plugin cannot be read, or a plugin does not meet its requirements. All failures are reported.
pub fn verify(host: &Host, args: &VerifyArgs) -> Result<Exit, Problem> {
    let keys = args
        .key
        .iter()
        .map(|text| public_key(text))
        .collect::<Result<Vec<_>, _>>()?;
    let sandbox = host.sandbox()?;
    let catalog = Catalog::of(&host.folders.state);
    if let Some(file) = args.plugin.as_deref().filter(|plugin| is_file(plugin)) {
        let file = Path::new(file);
        let fetched = read_file(file)?;
        // A file has no name and so no entry in the configuration file. It is checked with a closed WASI, the most that any
        // plugin can get.
        let mut requirements = PluginRequirements::of_file(&host.config, closed_wasi());
        replace_keys(&mut requirements, keys);
        let verified_plugin =
            examine(&requirements, &sandbox, &fetched).map_err(|refusal| refusal.in_file(file))?;
        let label = file.display().to_string();
        print_verified(host, &[(label, verified_plugin)])?;
        return Ok(Exit::Done);
    }
    let names: Vec<PluginName> = match &args.plugin {
        Some(text) => vec![name(text)?],
        None => catalog.lock()?.plugins.into_keys().collect(),
    };
    let (mut verified, mut errors, mut class) = (Vec::new(), Vec::new(), None);
    for name in names {
        let mut requirements = PluginRequirements::of(&host.config, &name);
        replace_keys(&mut requirements, keys.clone());
        let verified_plugin = catalog
            .fetch(&name)
            .map_err(Problem::from)
            .and_then(|fetched| examine(&requirements, &sandbox, &fetched));
        match verified_plugin {
            Ok(verified_plugin) => verified.push((name.to_string(), verified_plugin)),
            Err(failure) => {
                // All errors are reported; the class is that of the first failure.
                class.get_or_insert(failure.class);
                errors.extend(failure.of_plugin(&name).errors);
            }
        }
    }
    if let Some(class) = class {
        return Err(Problem {
            class,
            errors,
            template: None,
        });
    }
    print_verified(host, &verified)?;
    Ok(Exit::Done)
}

fn examine(
    requirements: &PluginRequirements,
    sandbox: &Sandbox,
    fetched: &Fetched,
) -> Result<VerifiedPlugin, Problem> {
    let (_, verified_plugin, _) =
        requirements.examine(sandbox, &fetched.bytes, fetched.signature.as_deref())?;
    Ok(verified_plugin)
}

fn print_verified(host: &Host, verified: &[(String, VerifiedPlugin)]) -> Result<(), Problem> {
    if host.json {
        let all: Vec<_> = verified
            .iter()
            .map(|(name, verified_plugin)| {
                json!({"plugin": name, "digest": verified_plugin.digest, "signed_by": verified_plugin.signed_by})
            })
            .collect();
        return print_json(&json!({ "verified": all }));
    }
    for (name, verified_plugin) in verified {
        let signed = match &verified_plugin.signed_by {
            Some(key) => format!("signed by {}", key.id()),
            None => {
                "signature not checked (give a key with --key, or set require_signature)".to_owned()
            }
        };
        print_line(&format!(
            "{name}: {}, {signed}, meets the contract",
            verified_plugin.digest
        ));
    }
    Ok(())
}

fn replace_keys(requirements: &mut PluginRequirements, keys: Vec<PublicKey>) {
    if !keys.is_empty() {
        requirements.keys = keys;
    }
}

fn public_key(text: &str) -> Result<PublicKey, Problem> {
    let wrong = |error: crate::model::plugin::NotAKey| {
        let help = "give the key or the .pub file that holds it";
        Problem::one(
            Class::Invalid,
            Diagnostic::new("public-key", error.to_string()).help(help),
        )
    };
    match (PublicKey::parse(text), std::fs::read_to_string(text)) {
        (Ok(key), _) => Ok(key),
        (Err(_), Ok(file)) => PublicKey::parse(&file).map_err(wrong),
        (Err(error), Err(_)) => Err(wrong(error)),
    }
}

/// Reads the plugin file or pulls the OCI reference that the arguments name.
///
/// # Errors
/// The file cannot be read, or the registry does not deliver the plugin.
pub fn fetch(host: &Host, args: &AddArgs) -> Result<Fetched, Problem> {
    let file = Path::new(&args.source);
    if args.source.starts_with(['/', '.']) || args.source.ends_with(".wasm") || file.exists() {
        return read_file(file);
    }
    let reference: PluginReference = args.source.parse()?;
    let access = access(host, &args.registry);
    let mut fetched = block_on(async { Ok(reference.pull(&access).await?) })?;
    fetched.source.clone_from(&args.source);
    Ok(fetched)
}

fn read_file(file: &Path) -> Result<Fetched, Problem> {
    Ok(Fetched {
        bytes: read_plugin(file)?,
        signature: read_signature(&signature_file(file))?,
        source: file.display().to_string(),
        manifest: None,
    })
}

fn closed_wasi() -> PluginLimits {
    PluginLimits {
        wasi: Wasi::Closed,
        ..PluginLimits::default()
    }
}

fn keys(host: &Host, name: &PluginName) -> PluginKeys {
    host.config.plugins.get(name).cloned().unwrap_or_default()
}

fn grants(keys: &PluginKeys) -> String {
    let mut all = Vec::new();
    if keys.wasi == Wasi::Closed {
        all.push("wasi".to_owned());
    }
    all.extend(keys.deadline_ms.map(|ms| format!("{ms} ms")));
    all.extend(keys.memory_mib.map(|mib| format!("{mib} MiB")));
    all.extend(keys.grant.iter().cloned());
    if all.is_empty() {
        "-".to_owned()
    } else {
        all.join(", ")
    }
}
