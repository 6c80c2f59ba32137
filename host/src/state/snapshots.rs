//! A template as one value: what an org was made from stays what it was, whatever happens to the folder. Kept sealed,
//! because a template's `.env` files are secrets. Never reads anything but a [`TemplateDir`] or bytes that it is given.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::atomic_file::write_atomically;

use crate::model::diagnostic::Diagnostic;
use crate::model::digest::hex;
use crate::problem::{Class, Problem};
use crate::state::encryption::{Encrypted, EncryptionError, Keyring};
use crate::template::bundle::{Bundle, BundleError};

/// What a sealed snapshot is for; see [`Keyring::encrypt`].
const PURPOSE: &str = "snapshot";

/// The snapshots of a state folder.
#[derive(Debug, Clone)]
pub struct Snapshots {
    folder: PathBuf,
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The template cannot be kept.
    #[error(transparent)]
    Template(#[from] BundleError),
    /// The snapshot is not in the state folder.
    #[error("the snapshot {0} is gone")]
    Gone(String),
    /// The state folder.
    #[error("{path}: {reason}")]
    Disk {
        /// What cannot be read or written.
        path: PathBuf,
        /// The operating system's words.
        reason: io::Error,
    },
    /// The key.
    #[error("the snapshot cannot be opened: {0}")]
    Keyring(#[from] EncryptionError),
}

impl Snapshots {
    /// The snapshots of a state folder.
    pub fn of(state: &Path) -> Self {
        Self {
            folder: state.join("snapshots"),
        }
    }

    /// Keeps a template, and gives its digest.
    ///
    /// # Errors
    /// [`SnapshotError::Disk`], [`SnapshotError::Keyring`].
    pub fn put(&self, bundle: &Bundle, keyring: &Keyring) -> Result<String, SnapshotError> {
        let failed = |path: &Path, reason| SnapshotError::Disk {
            path: path.to_owned(),
            reason,
        };
        let tar = bundle.to_tar().map_err(|e| failed(&self.folder, e))?;
        let digest = hex(&Sha256::digest(&tar));
        let file = self.file(&digest);
        // Encrypted with an older key it would not open once that key is dropped.
        let is_there =
            std::fs::read(&file).is_ok_and(|found| keyring.is_current(&Encrypted(found)));
        if !is_there {
            let sealed = keyring.encrypt(PURPOSE, &tar)?;
            std::fs::create_dir_all(&self.folder).map_err(|e| failed(&self.folder, e))?;
            write_atomically(&file, &sealed.0, 0o600).map_err(|e| failed(&file, e))?;
        }
        Ok(digest)
    }

    /// Opens a snapshot.
    ///
    /// # Errors
    /// [`SnapshotError::Gone`], [`SnapshotError::Keyring`].
    pub fn get(&self, digest: &str, keyring: &Keyring) -> Result<Bundle, SnapshotError> {
        let file = self.file(digest);
        let failed = |reason| SnapshotError::Disk {
            path: file.clone(),
            reason,
        };
        let sealed = match std::fs::read(&file) {
            Ok(sealed) => Encrypted(sealed),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(SnapshotError::Gone(digest.to_owned()));
            }
            Err(error) => return Err(failed(error)),
        };
        Bundle::of_own_tar(&keyring.decrypt(PURPOSE, &sealed)?).map_err(failed)
    }

    /// How many bytes a snapshot takes in its file: somewhat more than in memory. Nothing is read.
    ///
    /// # Errors
    /// [`SnapshotError::Disk`], [`SnapshotError::Gone`].
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

    /// The digests of all snapshots that are kept.
    ///
    /// # Errors
    /// [`SnapshotError::Disk`].
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

    /// The beginning of a snapshot's file: enough to tell which key sealed it.
    ///
    /// # Errors
    /// [`SnapshotError::Disk`], [`SnapshotError::Gone`].
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

    /// Removes what no org is made from any more. Only for the one writer.
    ///
    /// # Errors
    /// [`SnapshotError::Disk`].
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

    /// Where a snapshot is kept.
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
