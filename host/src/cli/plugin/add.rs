//! `orghost plugin add`, `list`, `remove` and `verify`.

use std::path::Path;

use comfy_table::{ContentArrangement, Table};
use serde_json::json;

use super::oci::access;
use crate::catalog::oci::Place;
use crate::catalog::signature::PublicKey;
use crate::catalog::{
    Catalog, Demands, Fetched, Lock, Met, Pin, PluginName, Quarantined, Refusal, read_signature,
};
use crate::cli::args::{AddArgs, VerifyArgs};
use crate::cli::report::Exit;
use crate::cli::text::{in_line, note, print_line};
use crate::cli::{Host, block_on, print_json};
use crate::config::PluginKeys;
use crate::diagnostic::Diagnostic;
use crate::planner::signature_file;
use crate::planner::{about, read_plugin};
use crate::planner::{is_file, name_diagnostic, named};
use crate::plugin::{Description, Sandbox, Terms, Wasi};
use crate::problem::{Class, Problem};

/// `orghost plugin add`.
pub fn add(host: &Host, args: &AddArgs) -> Result<Exit, Problem> {
    let given = args.name.as_deref().map(name).transpose()?;
    if given.as_ref().is_some_and(PluginName::is_built_in) {
        return Err(crate::catalog::CatalogError::Reserved.into());
    }
    let fetched = fetch(host, args)?;
    let catalog = Catalog::of(&host.folders.state);
    let lock = catalog.lock()?;
    let sandbox = host.sandbox()?;
    let name = match given.or_else(|| installed_from(&lock, &fetched.source)) {
        Some(name) => name,
        None => own_name(host, &sandbox, &fetched)?,
    };
    let demands = Demands::of(&host.config, &name);
    let examined = demands.examine(&sandbox, &fetched.bytes, fetched.signature.as_deref());
    let (met, description) = match examined {
        Ok((_, met, description)) => (met, description),
        Err(refusal) => {
            let stays = catalog.quarantine(&name, &fetched, &refusal)?;
            let mut failure = named(refusal.into(), &name);
            if stays {
                for error in &mut failure.errors {
                    let help = error
                        .help
                        .take()
                        .map_or(String::new(), |help| format!("; {help}"));
                    error.help = Some(format!("the previous version stays installed{help}"));
                }
            }
            return Err(failure);
        }
    };
    let before = lock.plugins.get(&name).map(|pin| pin.digest.clone());
    let pin = catalog.install(&name, &fetched, met, description)?;
    if host.json {
        print_json(&json!({
            "plugin": plugin_json(host, &name, &pin),
            "changed": before.as_ref() != Some(&pin.digest),
        }))?;
    } else {
        let what = match before {
            None => "installed",
            Some(digest) if digest == pin.digest => "installed already",
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
pub fn list(host: &Host) -> Result<Exit, Problem> {
    let lock = Catalog::of(&host.folders.state).lock()?;
    if host.json {
        let plugins: Vec<_> = lock
            .plugins
            .iter()
            .map(|(name, pin)| plugin_json(host, name, pin))
            .collect();
        let quarantine: Vec<_> = lock
            .quarantine
            .iter()
            .map(|(name, refused)| quarantine_json(name, refused))
            .collect();
        print_json(&json!({"plugins": plugins, "quarantine": quarantine}))?;
        return Ok(Exit::Done);
    }
    if lock.plugins.is_empty() {
        note(
            "no plugin is installed but the built-in org-import; orghost plugin add FILE|REF installs one",
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
pub fn remove(host: &Host, name_text: &str) -> Result<Exit, Problem> {
    let name = name(name_text)?;
    if name.is_built_in() {
        let diagnostic = Diagnostic::new("plugin-name", "the built-in plugin cannot be removed")
            .help("[policy] plugins says which others templates may choose");
        return Err(Problem::one(Class::Invalid, diagnostic));
    }
    let pin = Catalog::of(&host.folders.state).remove(&name)?;
    if host.json {
        print_json(&json!({"removed": name, "digest": pin.digest}))?;
    } else {
        print_line(&format!("{name}: removed"));
    }
    Ok(Exit::Done)
}

/// `orghost plugin verify`.
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
        // A file has no name here, and so no grant: a closed WASI is enough to see whether it works.
        let mut demands = Demands::of_file(&host.config, closed());
        replace_keys(&mut demands, keys);
        let met = examine(&demands, &sandbox, &fetched).map_err(|refusal| about(refusal, file))?;
        let label = file.display().to_string();
        print_verified(host, &[(label, met)])?;
        return Ok(Exit::Done);
    }
    let names: Vec<PluginName> = match &args.plugin {
        Some(text) => vec![name(text)?],
        None => catalog.lock()?.plugins.into_keys().collect(),
    };
    let (mut verified, mut errors, mut class) = (Vec::new(), Vec::new(), None);
    for name in names {
        let mut demands = Demands::of(&host.config, &name);
        replace_keys(&mut demands, keys.clone());
        let met = catalog
            .fetch(&name)
            .map_err(Problem::from)
            .and_then(|fetched| examine(&demands, &sandbox, &fetched));
        match met {
            Ok(met) => verified.push((name.to_string(), met)),
            Err(failure) => {
                // Everything wrong is told; the class is the first one's.
                class.get_or_insert(failure.class);
                errors.extend(named(failure, &name).errors);
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

fn examine(demands: &Demands, sandbox: &Sandbox, fetched: &Fetched) -> Result<Met, Problem> {
    let (_, met, _) = demands.examine(sandbox, &fetched.bytes, fetched.signature.as_deref())?;
    Ok(met)
}

fn print_verified(host: &Host, verified: &[(String, Met)]) -> Result<(), Problem> {
    if host.json {
        let all: Vec<_> = verified
            .iter()
            .map(|(name, met)| {
                json!({"plugin": name, "digest": met.digest, "signed_by": met.signed_by})
            })
            .collect();
        return print_json(&json!({ "verified": all }));
    }
    for (name, met) in verified {
        let signed = match &met.signed_by {
            Some(key) => format!("signed by {}", key.id()),
            None => "signature not checked (no key: --key, or require_signature)".to_owned(),
        };
        print_line(&format!(
            "{name}: {}, {signed}, keeps the contract",
            met.digest
        ));
    }
    Ok(())
}

fn replace_keys(demands: &mut Demands, keys: Vec<PublicKey>) {
    if !keys.is_empty() {
        demands.keys = keys;
    }
}

fn public_key(text: &str) -> Result<PublicKey, Problem> {
    let wrong = |error: crate::catalog::signature::NotAKey| {
        let help = "give the key itself, or the .pub file that holds it";
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

fn fetch(host: &Host, args: &AddArgs) -> Result<Fetched, Problem> {
    let file = Path::new(&args.source);
    if args.source.starts_with(['/', '.']) || args.source.ends_with(".wasm") || file.exists() {
        return read_file(file);
    }
    let place: Place = args.source.parse()?;
    let access = access(host, &args.registry);
    let mut fetched = block_on(async { Ok(place.pull(&access).await?) })?;
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

/// Who adds from the same source again means the same plugin.
fn installed_from(lock: &Lock, source: &str) -> Option<PluginName> {
    let mut all = lock.plugins.iter();
    let (name, _) = all.find(|(_, pin)| pin.source == source)?;
    Some(name.clone())
}

/// The name that a plugin gives itself. Where signatures are demanded it is not even asked before some key of the
/// operator's has signed it.
fn own_name(host: &Host, sandbox: &Sandbox, fetched: &Fetched) -> Result<PluginName, Problem> {
    let mut demands = Demands::of_file(&host.config, closed());
    if !demands.keys.is_empty() {
        let others = host.config.plugins.values();
        demands
            .keys
            .extend(others.flat_map(|keys| keys.require_signature.clone()));
    }
    let described = demands.examine(sandbox, &fetched.bytes, fetched.signature.as_deref());
    let (_, _, Description { name: own, .. }) = described.map_err(|refusal: Refusal| {
        let failure = Problem::from(refusal);
        about(failure, Path::new(&fetched.source))
    })?;
    let unusable = |message: String| {
        let diagnostic = Diagnostic::new("plugin-name", message);
        Problem::one(
            Class::Invalid,
            diagnostic.help("give it another name with --name"),
        )
    };
    let name = PluginName::try_from(own).map_err(|error| unusable(error.to_string()))?;
    if name.is_built_in() {
        return Err(unusable(format!(
            "the plugin calls itself {name}, as the built-in one does"
        )));
    }
    Ok(name)
}

fn closed() -> Terms {
    Terms {
        wasi: Wasi::Closed,
        ..Terms::default()
    }
}

fn name(text: &str) -> Result<PluginName, Problem> {
    PluginName::try_from(text.to_owned())
        .map_err(|error| Problem::one(Class::Invalid, name_diagnostic(&error)))
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

fn plugin_json(host: &Host, name: &PluginName, pin: &Pin) -> serde_json::Value {
    let keys = keys(host, name);
    json!({
        "name": name, "version": pin.version, "digest": pin.digest, "source": pin.source,
        "manifest": pin.manifest, "signed_by": pin.signed_by,
        "grants": {
            "wasi": keys.wasi, "deadline_ms": keys.terms().deadline.as_millis(),
            "memory_mib": keys.terms().memory >> 20, "env": keys.grant,
        },
    })
}

fn quarantine_json(name: &PluginName, refused: &Quarantined) -> serde_json::Value {
    json!({
        "name": name, "digest": refused.digest, "source": refused.source, "reason": refused.reason,
    })
}
