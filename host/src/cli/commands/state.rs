//! `orghost backup`, `orghost restore` and `orghost rotate-key`: the state folder as a whole.

use std::path::Path;

use serde_json::json;

use crate::cli::commands::key;
use crate::cli::exit::Exit;
use crate::cli::render::text::{count, note, print_line};
use crate::cli::{Host, print_json};
use crate::model::diagnostic::Diagnostic;
use crate::problem::{Class, Problem};
use crate::state::backup::{self, Backup};
use crate::state::key_rotation;
use crate::state::snapshots::Snapshots;
use crate::state::store::Store;

/// What is in no backup, and what to do about it.
const NOT_IN_IT: &str = "not in it: the secret key, which has to be kept elsewhere, and the folders in which workspaces of the local engine work";

/// `orghost backup`.
pub async fn backup(host: &Host, file: &Path) -> Result<Exit, Problem> {
    let state = &host.folders.state;
    // A wrong --state would give an empty backup, found out when it is needed.
    if !state.join(Store::FILE).exists() {
        let message = format!("there is no store in the state folder {}", state.display());
        let diagnostic = Diagnostic::new("no-store", message)
            .help("name the state folder with --state or ORGHOST_STATE");
        return Err(Problem::one(Class::Invalid, diagnostic));
    }
    let backup = backup::write(&host.store()?, state, file).await?;
    tell(host, "backup", &backup, file)?;
    if !host.json {
        note(NOT_IN_IT);
    }
    Ok(Exit::Done)
}

/// `orghost restore`.
pub async fn restore(host: &Host, file: &Path) -> Result<Exit, Problem> {
    let backup = backup::restore(file, &host.folders.state).await?;
    tell(host, "restored", &backup, file)?;
    if !host.json {
        note(
            "this folder now has the identity of the one that was copied: what runs of it on an engine is recognised",
        );
        note("never let both work on the same engine");
    }
    Ok(Exit::Done)
}

fn tell(host: &Host, event: &str, backup: &Backup, file: &Path) -> Result<(), Problem> {
    let file = file.display().to_string();
    if host.json {
        return print_json(&json!({
            "event": event, "file": file, "orgs": backup.orgs, "keys": backup.keys,
            "missing_snapshots": backup.missing, "secret_key_included": false,
        }));
    }
    let orgs = count(backup.orgs.len(), "org");
    match event {
        "backup" => print_line(&format!("{file}: {orgs}")),
        _ => print_line(&format!("{}: {orgs}", host.folders.state.display())),
    }
    for digest in &backup.missing {
        note(&format!("the snapshot {digest} was gone already"));
    }
    let keys: Vec<&str> = backup.keys.iter().map(String::as_str).collect();
    if !keys.is_empty() {
        note(&format!(
            "its secrets are opened by the secret key {}",
            keys.join(" and ")
        ));
    }
    Ok(())
}

/// `orghost rotate-key`.
pub async fn rotate_key(host: &Host) -> Result<Exit, Problem> {
    let store = host.store()?;
    let _lock = store.lock()?;
    let snapshots = Snapshots::of(&host.folders.state);
    let opens = host.keyring(&store).await?;
    let (reencrypted, then) = if host.environment.text(key::VARIABLE).is_some() {
        if opens.keys() < 2 {
            let message = format!(
                "the secret key is in {}, which orghost cannot change",
                key::VARIABLE
            );
            let help = "set it to two lines, a new key (openssl rand -hex 32) and this one, run orghost rotate-key again, and drop the second line";
            let diagnostic = Diagnostic::new("key-in-environment", message).help(help);
            return Err(Problem::one(Class::Invalid, diagnostic));
        }
        let reencrypted = key_rotation::reencrypt(&store, &snapshots, &opens).await?;
        (
            reencrypted,
            "the other lines of ORGHOST_SECRET_KEY can be dropped",
        )
    } else {
        let reencrypted = key_rotation::rotate(&store, &snapshots, &host.key_file()).await?;
        (
            reencrypted,
            "older backups are opened by the older key only",
        )
    };
    if host.json {
        print_json(&json!({ "event": "rotated", "sealed": reencrypted }))?;
    } else {
        print_line(&format!("{} sealed anew", count(reencrypted, "secret")));
        note(then);
    }
    Ok(Exit::Done)
}
