//! Everything that is sealed in a state folder, wherever it is kept: whether the keys open it, and sealing it anew. Never
//! shows what is sealed, and drops no key that anything still needs.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use crate::atomic_file::write_atomically;
use crate::model::diagnostic::Diagnostic;
use crate::problem::{Class, Problem};
use crate::state::encryption;
use crate::state::encryption::{EncryptionError, Keyring};
use crate::state::snapshots::{SnapshotError, Snapshots};
use crate::state::store::{Store, StoreError};

/// Why what is sealed stays so.
#[derive(Debug, thiserror::Error)]
pub enum SealedError {
    /// A sealed text.
    #[error("{what} cannot be opened: {reason}")]
    Keyring {
        /// Its name.
        what: String,
        /// Why.
        reason: EncryptionError,
    },
    /// A snapshot.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A new key cannot be made.
    #[error(transparent)]
    NoKey(EncryptionError),
    /// The key file.
    #[error("the secret key {file} cannot be read or written: {reason}")]
    KeyFile {
        /// Its path.
        file: PathBuf,
        /// The operating system's words.
        reason: io::Error,
    },
}

/// Whether anything is sealed that needs a key.
///
/// # Errors
/// The store's.
pub async fn is_any(store: &Store) -> Result<bool, SealedError> {
    Ok(!store.all_sealed().await?.is_empty())
}

/// The keys that sealed what is there, as errors name them.
///
/// # Errors
/// The store's, or a snapshot that cannot be read.
pub async fn keys(store: &Store, snapshots: &Snapshots) -> Result<BTreeSet<String>, SealedError> {
    let mut keys = BTreeSet::new();
    for (_, text) in store.all_sealed().await? {
        keys.extend(text.key());
    }
    for digest in store.snapshots().await? {
        match snapshots.head(&digest) {
            Ok(head) => keys.extend(head.key()),
            Err(SnapshotError::Gone(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(keys)
}

/// Opens all texts, and sees that the keys fit all snapshots that something is made from.
///
/// # Errors
/// The first that does not open. A snapshot that is gone is found when it is needed.
pub async fn check(
    store: &Store,
    snapshots: &Snapshots,
    keyring: &Keyring,
) -> Result<(), SealedError> {
    for (name, text) in store.all_sealed().await? {
        let opened = keyring.decrypt(&name, &text);
        opened.map_err(|reason| SealedError::Keyring { what: name, reason })?;
    }
    for digest in store.snapshots().await? {
        let head = match snapshots.head(&digest) {
            Err(SnapshotError::Gone(_)) => continue,
            head => head?,
        };
        keyring.knows(&head).map_err(|reason| {
            let what = format!("the snapshot {digest}");
            SealedError::Keyring { what, reason }
        })?;
    }
    Ok(())
}

/// Seals everything with the first key that is not yet. Only for the one writer; what was killed half-way is done again.
///
/// # Errors
/// The first that does not open: then some of it is sealed with the first key, and the others are needed still.
pub async fn reseal(
    store: &Store,
    snapshots: &Snapshots,
    keyring: &Keyring,
) -> Result<usize, SealedError> {
    // What nothing is made from any more needs no key.
    let used = store.snapshots().await?;
    snapshots.sweep(&used)?;
    let mut sealed = 0;
    for digest in snapshots.kept()? {
        if !keyring.is_current(&snapshots.head(&digest)?) {
            let bundle = snapshots.get(&digest, keyring)?;
            snapshots.put(&bundle, keyring)?;
            sealed += 1;
            #[cfg(feature = "fault-injection")]
            crate::fault::after_write();
        }
    }
    let mut anew = Vec::new();
    for (name, text) in store.all_sealed().await? {
        if !keyring.is_current(&text) {
            let failed = |reason| SealedError::Keyring {
                what: name.clone(),
                reason,
            };
            let opened = keyring.decrypt(&name, &text).map_err(failed)?;
            anew.push((
                name.clone(),
                keyring.encrypt(&name, &opened).map_err(failed)?,
            ));
        }
    }
    sealed += anew.len();
    store.reseal(anew).await?;
    #[cfg(feature = "fault-injection")]
    crate::fault::after_write();
    check(store, snapshots, keyring).await?;
    Ok(sealed)
}

/// Makes a new key the first one of a key file, seals everything with it, and drops the others. Killed at any point, the
/// file has every key that something needs.
///
/// # Errors
/// See [`SealedError`]; then the file still has every key.
pub async fn rotate(
    store: &Store,
    snapshots: &Snapshots,
    file: &Path,
) -> Result<usize, SealedError> {
    let failed = |reason| SealedError::KeyFile {
        file: file.to_owned(),
        reason,
    };
    let old = std::fs::read_to_string(file).map_err(failed)?;
    let opens = Keyring::of_text(&old).map_err(SealedError::NoKey)?;
    check(store, snapshots, &opens).await?;
    let new = Keyring::new_key().map_err(SealedError::NoKey)?;
    let both = format!("{new}\n{old}");
    write_atomically(file, both.as_bytes(), 0o600).map_err(failed)?;
    #[cfg(feature = "fault-injection")]
    crate::fault::after_write();
    let keyring = Keyring::of_text(&both).map_err(SealedError::NoKey)?;
    let sealed = reseal(store, snapshots, &keyring).await?;
    let alone = Keyring::of_text(&new).map_err(SealedError::NoKey)?;
    check(store, snapshots, &alone).await?;
    write_atomically(file, format!("{new}\n").as_bytes(), 0o600).map_err(failed)?;
    #[cfg(feature = "fault-injection")]
    crate::fault::after_write();
    Ok(sealed)
}

impl From<SealedError> for Problem {
    fn from(error: SealedError) -> Self {
        match error {
            SealedError::Store(error) => error.into(),
            SealedError::NoKey(error) => error.into(),
            error => Self::one(
                Class::Failed,
                Diagnostic::new("secret-key", error.to_string()).help(encryption::KEY_HELP),
            ),
        }
    }
}
