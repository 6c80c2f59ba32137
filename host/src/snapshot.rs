//! A template as one value: what an org was made from stays what it was, whatever happens to the folder. Kept sealed,
//! because a template's `.env` files are secrets. Never reads anything but a [`TemplateDir`] or bytes that it is given.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::catalog::write_atomically;
use crate::digest::hex;
use crate::limits;
use crate::template::{EntryKind, FileError, TemplateDir, TemplatePath};
use crate::vault::{Sealed, Vault, VaultError};

/// What a sealed snapshot is for; see [`Vault::seal`].
const PURPOSE: &str = "snapshot";

/// The files of a template, by their paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bundle {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    File {
        bytes: Vec<u8>,
        executable: bool,
    },
    /// Where it leads, as it is written. Whoever follows it is confined to the template again.
    Link(String),
}

/// The snapshots of a state folder.
#[derive(Debug, Clone)]
pub struct Snapshots {
    folder: PathBuf,
}

/// A template out of a snapshot; its folder goes with it.
#[derive(Debug)]
pub struct Unpacked {
    template: TemplateDir,
    _folder: tempfile::TempDir,
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// A file of the template.
    #[error("{path}: {reason}")]
    File {
        /// Its path in the template.
        path: String,
        /// Why.
        reason: FileError,
    },
    /// There is too much of it.
    #[error("the template has more than {0}")]
    TooLarge(&'static str),
    /// The archive is none, or holds what a template cannot.
    #[error("the archive cannot be used: {0}")]
    Archive(String),
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
    Vault(#[from] VaultError),
}

impl Bundle {
    /// A template that is one file.
    pub fn of_text(org_yaml: &str) -> Self {
        let mut bundle = Self::default();
        bundle.put_file("org.yaml".to_owned(), org_yaml.as_bytes().to_vec(), false);
        bundle
    }

    /// Everything of a folder but `.git`.
    ///
    /// # Errors
    /// [`SnapshotError::File`], [`SnapshotError::TooLarge`].
    pub fn of_template(template: &TemplateDir) -> Result<Self, SnapshotError> {
        let mut bundle = Self::default();
        let mut folders = vec![String::new()];
        let mut bytes = 0;
        while let Some(folder) = folders.pop() {
            let failed = |path: &str, reason| SnapshotError::File {
                path: path.to_owned(),
                reason,
            };
            let path = TemplatePath::new(&folder).map_err(|e| failed(&folder, e))?;
            for entry in template.entries(&path).map_err(|e| failed(&folder, e))? {
                if entry.name == ".git" {
                    continue;
                }
                let name = match folder.as_str() {
                    "" => entry.name,
                    folder => format!("{folder}/{}", entry.name),
                };
                let path = TemplatePath::new(&name).map_err(|e| failed(&name, e))?;
                match entry.kind {
                    EntryKind::Directory => folders.push(name),
                    EntryKind::File => {
                        let file = template.read(&path).map_err(|e| failed(&name, e))?;
                        bytes += file.bytes.len() as u64;
                        bundle.put_file(name, file.bytes, file.executable);
                    }
                    EntryKind::Symlink => {
                        let target = template.link(&path).map_err(|e| failed(&name, e))?;
                        bundle.entries.insert(name, Entry::Link(target));
                    }
                    EntryKind::Other => {}
                }
                bundle.check(bytes)?;
            }
        }
        Ok(bundle)
    }

    /// Adds a file, or replaces it.
    pub(crate) fn put_file(&mut self, path: String, bytes: Vec<u8>, executable: bool) {
        self.entries.insert(path, Entry::File { bytes, executable });
    }

    fn check(&self, bytes: u64) -> Result<(), SnapshotError> {
        if bytes > limits::TEMPLATE_BYTES {
            return Err(SnapshotError::TooLarge("64 MiB"));
        }
        if self.entries.len() > limits::TEMPLATE_FILES {
            return Err(SnapshotError::TooLarge("20000 files"));
        }
        Ok(())
    }

    /// The template as a tar archive: the same files give the same bytes.
    ///
    /// # Errors
    /// A path that an archive cannot hold.
    pub fn to_tar(&self) -> io::Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, entry) in &self.entries {
            let mut header = tar::Header::new_gnu();
            match entry {
                Entry::File { bytes, executable } => {
                    header.set_size(bytes.len() as u64);
                    header.set_mode(if *executable { 0o755 } else { 0o644 });
                    archive.append_data(&mut header, path, bytes.as_slice())?;
                }
                Entry::Link(target) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    header.set_size(0);
                    header.set_mode(0o777);
                    archive.append_link(&mut header, path, target)?;
                }
            }
        }
        archive.into_inner()
    }

    /// Reads what [`Bundle::to_tar`] wrote.
    fn of_own_tar(tar: &[u8]) -> io::Result<Self> {
        let mut bundle = Self::default();
        for entry in tar::Archive::new(tar).entries()? {
            let mut entry = entry?;
            let text = |path: &Path| path.to_string_lossy().into_owned();
            let path = text(&entry.path()?);
            if let Some(target) = entry.link_name()? {
                let target = text(&target);
                bundle.entries.insert(path, Entry::Link(target));
                continue;
            }
            let executable = entry.header().mode()? & 0o100 != 0;
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            bundle.put_file(path, bytes, executable);
        }
        Ok(bundle)
    }

    /// Writes the files into an empty folder. Links come last, so that nothing is written through one.
    fn unpack(&self, folder: &Path) -> io::Result<()> {
        let place = |path: &str| -> io::Result<PathBuf> {
            let path = folder.join(path);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            Ok(path)
        };
        for (path, entry) in &self.entries {
            if let Entry::File { bytes, executable } = entry {
                let mut options = std::fs::OpenOptions::new();
                options.mode(if *executable { 0o700 } else { 0o600 });
                options.write(true).create_new(true);
                options.open(place(path)?)?.write_all(bytes)?;
            }
        }
        for (path, entry) in &self.entries {
            if let Entry::Link(target) = entry {
                std::os::unix::fs::symlink(target, place(path)?)?;
            }
        }
        Ok(())
    }
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
    /// [`SnapshotError::Disk`], [`SnapshotError::Vault`].
    pub fn put(&self, bundle: &Bundle, vault: &Vault) -> Result<String, SnapshotError> {
        let failed = |path: &Path, reason| SnapshotError::Disk {
            path: path.to_owned(),
            reason,
        };
        let tar = bundle.to_tar().map_err(|e| failed(&self.folder, e))?;
        let digest = hex(&Sha256::digest(&tar));
        let file = self.file(&digest);
        // Sealed with an older key it would not open once that key is dropped.
        let is_there = std::fs::read(&file).is_ok_and(|found| vault.is_current(&Sealed(found)));
        if !is_there {
            let sealed = vault.seal(PURPOSE, &tar)?;
            std::fs::create_dir_all(&self.folder).map_err(|e| failed(&self.folder, e))?;
            write_atomically(&file, &sealed.0, 0o600).map_err(|e| failed(&file, e))?;
        }
        Ok(digest)
    }

    /// Opens a snapshot.
    ///
    /// # Errors
    /// [`SnapshotError::Gone`], [`SnapshotError::Vault`].
    pub fn get(&self, digest: &str, vault: &Vault) -> Result<Bundle, SnapshotError> {
        let file = self.file(digest);
        let failed = |reason| SnapshotError::Disk {
            path: file.clone(),
            reason,
        };
        let sealed = match std::fs::read(&file) {
            Ok(sealed) => Sealed(sealed),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(SnapshotError::Gone(digest.to_owned()));
            }
            Err(error) => return Err(failed(error)),
        };
        Bundle::of_own_tar(&vault.open(PURPOSE, &sealed)?).map_err(failed)
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
    pub fn head(&self, digest: &str) -> Result<Sealed, SnapshotError> {
        let path = self.file(digest);
        let mut head = Vec::new();
        let read = std::fs::File::open(&path).and_then(|file| file.take(16).read_to_end(&mut head));
        match read {
            Ok(_) => Ok(Sealed(head)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(SnapshotError::Gone(digest.to_owned()))
            }
            Err(reason) => Err(SnapshotError::Disk { path, reason }),
        }
    }

    /// Makes a template of a bundle: in a folder that only this user may read, until it is dropped.
    ///
    /// # Errors
    /// [`SnapshotError::Disk`].
    pub fn unpack(&self, bundle: &Bundle) -> Result<Unpacked, SnapshotError> {
        let work = self.folder.join("open");
        let failed = |reason| SnapshotError::Disk {
            path: work.clone(),
            reason,
        };
        let unpack = || {
            std::fs::create_dir_all(&work)?;
            let folder = tempfile::Builder::new()
                .permissions(std::fs::Permissions::from_mode(0o700))
                .tempdir_in(&work)?;
            bundle.unpack(folder.path())?;
            Ok(Unpacked {
                template: TemplateDir::open(folder.path())?,
                _folder: folder,
            })
        };
        unpack().map_err(failed)
    }

    /// Removes what no org is made from any more, and folders that a killed process left open. Only for the one writer.
    ///
    /// # Errors
    /// The operating system's.
    pub fn sweep(&self, used: &[String]) -> io::Result<()> {
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            let digest = path.file_stem().and_then(|stem| stem.to_str());
            if path.extension().is_some_and(|e| e == "sealed")
                && digest.is_some_and(|digest| !used.iter().any(|used| used == digest))
            {
                std::fs::remove_file(path)?;
            }
        }
        match std::fs::remove_dir_all(self.folder.join("open")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    /// Where a snapshot is kept.
    pub(crate) fn file(&self, digest: &str) -> PathBuf {
        self.folder.join(format!("{digest}.sealed"))
    }
}

impl Unpacked {
    /// The template.
    pub fn template(&self) -> &TemplateDir {
        &self.template
    }
}
