//! Checks and re-encrypts every encrypted value of a state folder: those of the store and the snapshots. Never shows a
//! decrypted value, and never drops a key that some value still needs.

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

/// Why the encrypted values cannot be read, or not be encrypted again.
#[derive(Debug, thiserror::Error)]
pub enum EncryptedValueError {
    /// A value cannot be decrypted.
    #[error("{what} cannot be decrypted: {reason}")]
    Keyring {
        /// The name of the value.
        what: String,
        /// The error of the keyring.
        reason: EncryptionError,
    },
    /// A snapshot cannot be read or written.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The store does not work.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key file holds no key, or no new key can be made.
    #[error(transparent)]
    NoKey(EncryptionError),
    /// The key file cannot be read or written.
    #[error("the encryption key {file} cannot be read or written: {reason}")]
    KeyFile {
        /// The path of the key file.
        file: PathBuf,
        /// The error of the operating system.
        reason: io::Error,
    },
}

/// Whether the store has any encrypted value.
///
/// # Errors
/// [`EncryptedValueError::Store`] when the store cannot be read.
pub async fn has_encrypted_values(store: &Store) -> Result<bool, EncryptedValueError> {
    Ok(!store.all_encrypted().await?.is_empty())
}

/// The ids of the keys that encrypted the present values and snapshots.
///
/// # Errors
/// [`EncryptedValueError::Store`] or [`EncryptedValueError::Snapshot`] when the store or a snapshot cannot be read.
pub async fn keys(
    store: &Store,
    snapshots: &Snapshots,
) -> Result<BTreeSet<String>, EncryptedValueError> {
    let mut keys = BTreeSet::new();
    for (_, value) in store.all_encrypted().await? {
        keys.extend(value.key());
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

/// Decrypts every value of the store, and checks that the keyring has the key of every snapshot that an org uses. A
/// missing snapshot is no error here; it is reported when it is needed.
///
/// # Errors
/// [`EncryptedValueError::Keyring`] for the first value that cannot be decrypted.
pub async fn check(
    store: &Store,
    snapshots: &Snapshots,
    keyring: &Keyring,
) -> Result<(), EncryptedValueError> {
    for (name, value) in store.all_encrypted().await? {
        let decrypted = keyring.decrypt(&name, &value);
        decrypted.map_err(|reason| EncryptedValueError::Keyring { what: name, reason })?;
    }
    for digest in store.snapshots().await? {
        let head = match snapshots.head(&digest) {
            Err(SnapshotError::Gone(_)) => continue,
            head => head?,
        };
        keyring.has_key_of(&head).map_err(|reason| {
            let what = format!("the snapshot {digest}");
            EncryptedValueError::Keyring { what, reason }
        })?;
    }
    Ok(())
}

/// Encrypts with the first key everything that another key encrypted, and returns how many values it changed. Needs the
/// write lock. Run it again after it was interrupted.
///
/// # Errors
/// [`EncryptedValueError::Keyring`] for the first value that cannot be decrypted. Some values then have the first key
/// already, and the other keys are still needed.
pub async fn reencrypt(
    store: &Store,
    snapshots: &Snapshots,
    keyring: &Keyring,
) -> Result<usize, EncryptedValueError> {
    // A snapshot that no org uses is removed instead of being encrypted again.
    let used = store.snapshots().await?;
    snapshots.sweep(&used)?;
    let mut count = 0;
    for digest in snapshots.kept()? {
        if !keyring.is_current(&snapshots.head(&digest)?) {
            let bundle = snapshots.get(&digest, keyring)?;
            snapshots.put(&bundle, keyring)?;
            count += 1;
            #[cfg(feature = "fault-injection")]
            crate::fault::after_write();
        }
    }
    let mut reencrypted = Vec::new();
    for (name, value) in store.all_encrypted().await? {
        if !keyring.is_current(&value) {
            let failed = |reason| EncryptedValueError::Keyring {
                what: name.clone(),
                reason,
            };
            let decrypted = keyring.decrypt(&name, &value).map_err(failed)?;
            reencrypted.push((
                name.clone(),
                keyring.encrypt(&name, &decrypted).map_err(failed)?,
            ));
        }
    }
    count += reencrypted.len();
    store.replace_encrypted(reencrypted).await?;
    #[cfg(feature = "fault-injection")]
    crate::fault::after_write();
    check(store, snapshots, keyring).await?;
    Ok(count)
}

/// Puts a new key first in a key file, encrypts everything with it, and then drops the other keys. The key file has every
/// key that some value needs at any moment, so a killed process loses nothing.
///
/// # Errors
/// See [`EncryptedValueError`]. The file then still has every key.
pub async fn rotate(
    store: &Store,
    snapshots: &Snapshots,
    file: &Path,
) -> Result<usize, EncryptedValueError> {
    let failed = |reason| EncryptedValueError::KeyFile {
        file: file.to_owned(),
        reason,
    };
    let old = std::fs::read_to_string(file).map_err(failed)?;
    let old_keyring = Keyring::of_text(&old).map_err(EncryptedValueError::NoKey)?;
    check(store, snapshots, &old_keyring).await?;
    let new = Keyring::new_key().map_err(EncryptedValueError::NoKey)?;
    let both = format!("{new}\n{old}");
    write_atomically(file, both.as_bytes(), 0o600).map_err(failed)?;
    #[cfg(feature = "fault-injection")]
    crate::fault::after_write();
    let keyring = Keyring::of_text(&both).map_err(EncryptedValueError::NoKey)?;
    let count = reencrypt(store, snapshots, &keyring).await?;
    let new_only = Keyring::of_text(&new).map_err(EncryptedValueError::NoKey)?;
    check(store, snapshots, &new_only).await?;
    write_atomically(file, format!("{new}\n").as_bytes(), 0o600).map_err(failed)?;
    #[cfg(feature = "fault-injection")]
    crate::fault::after_write();
    Ok(count)
}

impl From<EncryptedValueError> for Problem {
    fn from(error: EncryptedValueError) -> Self {
        match error {
            EncryptedValueError::Store(error) => error.into(),
            EncryptedValueError::NoKey(error) => error.into(),
            error => Self::one(
                Class::Failed,
                Diagnostic::new("secret-key", error.to_string()).help(encryption::KEY_HELP),
            ),
        }
    }
}
