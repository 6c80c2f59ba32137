//! Keeps the template that each org was made from, so that a changed folder does not change the org. Encrypted, because
//! the `.env` files of a template are secrets.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::atomic_file::write_atomically;

use crate::model::diagnostic::Diagnostic;
use crate::model::digest::hex;
use crate::problem::{Class, Problem};
use crate::state::encryption::{Encrypted, EncryptionError, Keyring};
use crate::template::bundle::{Bundle, BundleError};

/// The purpose that a snapshot is encrypted for; see [`Keyring::encrypt`].
const PURPOSE: &str = "snapshot";

/// The snapshots of a state folder.
#[derive(Debug, Clone)]
pub struct Snapshots {
    folder: PathBuf,
}

/// Why a snapshot cannot be kept or loaded.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The template cannot be read into a bundle.
    #[error(transparent)]
    Template(#[from] BundleError),
    /// The snapshot is not in the state folder.
    #[error("the snapshot {0} is gone")]
    Gone(String),
    /// A file of the state folder cannot be read or written.
    #[error("{path}: {reason}")]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        reason: io::Error,
    },
    /// The snapshot cannot be decrypted.
    #[error("the snapshot cannot be decrypted: {0}")]
    Keyring(#[from] EncryptionError),
}

impl Snapshots {
    /// The snapshots of the state folder `state`. Creates nothing.
    pub fn of(state: &Path) -> Self {
        Self {
            folder: state.join("snapshots"),
        }
    }

    /// Keeps a template, and returns the SHA-256 of its tar archive in hexadecimal.
    ///
    /// # Errors
    /// [`SnapshotError::Disk`] when the file cannot be written, [`SnapshotError::Keyring`] when it cannot be encrypted.
    pub fn put(&self, bundle: &Bundle, keyring: &Keyring) -> Result<String, SnapshotError> {
        let failed = |path: &Path, reason| SnapshotError::Disk {
            path: path.to_owned(),
            reason,
        };
        let tar = bundle.to_tar().map_err(|e| failed(&self.folder, e))?;
        let digest = hex(Sha256::digest(&tar));
        let file = self.file(&digest);
        // A snapshot of an older key is written again, because that key may be dropped.
        let is_there =
            std::fs::read(&file).is_ok_and(|found| keyring.is_current(&Encrypted(found)));
        if !is_there {
            let encrypted = keyring.encrypt(PURPOSE, &tar)?;
            std::fs::create_dir_all(&self.folder).map_err(|e| failed(&self.folder, e))?;
            write_atomically(&file, &encrypted.0, 0o600).map_err(|e| failed(&file, e))?;
        }
        Ok(digest)
    }

    /// Loads a snapshot.
    ///
    /// # Errors
    /// [`SnapshotError::Gone`] when there is none of this digest, [`SnapshotError::Disk`] when it cannot be read,
    /// [`SnapshotError::Keyring`] when it cannot be decrypted.
    pub fn get(&self, digest: &str, keyring: &Keyring) -> Result<Bundle, SnapshotError> {
        let file = self.file(digest);
        let failed = |reason| SnapshotError::Disk {
            path: file.clone(),
            reason,
        };
        let encrypted = match std::fs::read(&file) {
            Ok(bytes) => Encrypted(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(SnapshotError::Gone(digest.to_owned()));
            }
            Err(error) => return Err(failed(error)),
        };
        Bundle::of_own_tar(&keyring.decrypt(PURPOSE, &encrypted)?).map_err(failed)
    }

    /// The size of a snapshot's file in bytes, which is slightly more than the snapshot takes in memory. Reads no content.
    ///
    /// # Errors
    /// [`SnapshotError::Gone`] when there is none of this digest, [`SnapshotError::Disk`] when it cannot be read.
    pub fn bytes(&self, digest: &str) -> Result<u64, SnapshotError> {
        let path = self.file(digest);
        match std::fs::metadata(&path) {
            Ok(file) => Ok(file.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(SnapshotError::Gone(digest.to_owned()))
            }
            Err(reason) => Err(SnapshotError::Disk { path, reason }),
        }
    }

    /// The digests of all kept snapshots, sorted.
    ///
    /// # Errors
    /// [`SnapshotError::Disk`] when the folder cannot be read.
    pub fn kept(&self) -> Result<Vec<String>, SnapshotError> {
        let failed = |reason| SnapshotError::Disk {
            path: self.folder.clone(),
            reason,
        };
        let mut kept = Vec::new();
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(kept),
            entries => entries.map_err(failed)?,
        };
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            kept.extend(
                name.to_str()
                    .and_then(|name| name.strip_suffix(".sealed"))
                    .map(str::to_owned),
            );
        }
        kept.sort();
        Ok(kept)
    }

    /// The first bytes of a snapshot, which name the key that encrypted it.
    ///
    /// # Errors
    /// [`SnapshotError::Gone`] when there is none of this digest, [`SnapshotError::Disk`] when it cannot be read.
    pub fn head(&self, digest: &str) -> Result<Encrypted, SnapshotError> {
        let path = self.file(digest);
        let mut head = Vec::new();
        let read = std::fs::File::open(&path).and_then(|file| file.take(16).read_to_end(&mut head));
        match read {
            Ok(_) => Ok(Encrypted(head)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(SnapshotError::Gone(digest.to_owned()))
            }
            Err(reason) => Err(SnapshotError::Disk { path, reason }),
        }
    }

    /// Removes every snapshot that is not in `used`. Needs the write lock.
    ///
    /// # Errors
    /// [`SnapshotError::Disk`] when the folder cannot be read or a file cannot be removed.
    pub fn sweep(&self, used: &[String]) -> Result<(), SnapshotError> {
        let failed = |reason| SnapshotError::Disk {
            path: self.folder.clone(),
            reason,
        };
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(failed)?,
        };
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            let digest = path.file_stem().and_then(|stem| stem.to_str());
            if path.extension().is_some_and(|e| e == "sealed")
                && digest.is_some_and(|digest| !used.iter().any(|used| used == digest))
            {
                std::fs::remove_file(path).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// The path of a snapshot's file.
    pub(crate) fn file(&self, digest: &str) -> PathBuf {
        self.folder.join(format!("{digest}.sealed"))
    }
}

impl From<SnapshotError> for Problem {
    fn from(error: SnapshotError) -> Self {
        let (class, code) = match &error {
            SnapshotError::Template(BundleError::File { .. }) => (Class::Invalid, "template-file"),
            SnapshotError::Template(BundleError::TooLarge(_)) => {
                (Class::Invalid, "template-too-large")
            }
            SnapshotError::Template(BundleError::Archive(_)) => (Class::Invalid, "archive"),
            SnapshotError::Gone(_) => (Class::Failed, "snapshot-gone"),
            SnapshotError::Disk { .. } => (Class::Failed, "snapshot"),
            SnapshotError::Keyring(_) => (Class::Failed, "secret-key"),
        };
        Self::one(class, Diagnostic::new(code, error.to_string()))
    }
}
