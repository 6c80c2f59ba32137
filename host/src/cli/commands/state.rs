//! `orghost backup`, `orghost restore` and `orghost rotate-key`: commands for the whole state folder.

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

/// The note about what a backup does not hold.
const NOT_IN_IT: &str = "not in the backup: the encryption key, of which you need your own copy, and the folders in which workspaces of the local engine work";

/// `orghost backup`.
///
/// # Errors
/// `no-store`: there is no store to copy. Or the store cannot be read, or the file exists or cannot be written.
pub async fn backup(host: &Host, file: &Path) -> Result<Exit, Problem> {
    let state = &host.folders.state;
    // With a wrong --state, an empty backup would be noticed only when it is needed.
    if !state.join(Store::FILE).exists() {
        let message = format!("there is no store in the state folder {}", state.display());
        let diagnostic = Diagnostic::new("no-store", message)
            .help("give the state folder with --state or ORGHOST_STATE");
        return Err(Problem::one(Class::Invalid, diagnostic));
    }
    let backup = backup::write(&host.store()?, state, file).await?;
    report(host, "backup", &backup, file)?;
    if !host.json {
        note(NOT_IN_IT);
    }
    Ok(Exit::Done)
}

/// `orghost restore`.
///
/// # Errors
/// The file is not a sound backup, or the state folder is not empty or cannot be written.
pub async fn restore(host: &Host, file: &Path) -> Result<Exit, Problem> {
    let backup = backup::restore(file, &host.folders.state).await?;
    report(host, "restored", &backup, file)?;
    if !host.json {
        note(
            "this folder now has the identity of the one that was copied, and recognises that folder's workspaces on an engine",
        );
        note("never let both folders work on the same engine");
    }
    Ok(Exit::Done)
}

fn report(host: &Host, event: &str, backup: &Backup, file: &Path) -> Result<(), Problem> {
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
        note(&format!(
            "the snapshot {digest} was already missing and is not in the backup"
        ));
    }
    let keys: Vec<&str> = backup.keys.iter().map(String::as_str).collect();
    if !keys.is_empty() {
        note(&format!(
            "its secrets were encrypted with the key {}",
            keys.join(" and ")
        ));
    }
    Ok(())
}

/// `orghost rotate-key`.
///
/// # Errors
/// `key-in-environment`: the only key is in the environment. Or another process has the write lock, or a key, the store
/// or a snapshot cannot be read or written.
pub async fn rotate_key(host: &Host) -> Result<Exit, Problem> {
    let store = host.store()?;
    let _lock = store.lock()?;
    let snapshots = Snapshots::of(&host.folders.state);
    let keyring = host.keyring(&store).await?;
    let (reencrypted, note_text) = if host.environment.text(key::VARIABLE).is_some() {
        if keyring.keys() < 2 {
            let message = format!(
                "the encryption key is in {}, which orghost cannot change",
                key::VARIABLE
            );
            let help = "set the variable to two lines: a new key (openssl rand -hex 32) and the current one. Run `orghost rotate-key` again, then remove the second line";
            let diagnostic = Diagnostic::new("key-in-environment", message).help(help);
            return Err(Problem::one(Class::Invalid, diagnostic));
        }
        let reencrypted = key_rotation::reencrypt(&store, &snapshots, &keyring).await?;
        (
            reencrypted,
            "the other lines of ORGHOST_SECRET_KEY can be removed",
        )
    } else {
        let reencrypted = key_rotation::rotate(&store, &snapshots, &host.key_file()).await?;
        (reencrypted, "older backups still need the old key")
    };
    if host.json {
        print_json(&json!({ "event": "rotated", "sealed": reencrypted }))?;
    } else {
        print_line(&format!("{} encrypted again", count(reencrypted, "secret")));
        note(note_text);
    }
    Ok(Exit::Done)
}
