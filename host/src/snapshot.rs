//! A template as one value: what an org was made from stays what it was, whatever happens to the folder. Kept sealed,
//! because a template's `.env` files are secrets. Never reads anything but a [`TemplateDir`] or bytes that it is given.

mod archive;

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::catalog::write_atomically;
use crate::digest::hex;
use crate::limits;
use crate::template::{self, EntryKind, FileError, TemplateDir, TemplateFile, TemplatePath};
use crate::vault::{Sealed, Vault, VaultError};

/// What a sealed snapshot is for; see [`Vault::seal`].
const PURPOSE: &str = "snapshot";

/// The files of a template, by their paths.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Bundle {
    entries: BTreeMap<String, Entry>,
}

impl std::fmt::Debug for Bundle {
    /// Without the bytes: `.env` files are secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.entries.keys()).finish()
    }
}

#[derive(Clone, PartialEq, Eq)]
enum Entry {
    File {
        bytes: Vec<u8>,
        executable: bool,
    },
    /// Where it leads, as it is written.
    Link(String),
    /// An empty one; others are there because something is in them.
    Folder,
}

/// The snapshots of a state folder.
#[derive(Debug, Clone)]
pub struct Snapshots {
    folder: PathBuf,
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

    /// Everything of a folder but `.git` and what no template has in it (see [`template::is_by_product`]).
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
            let entries = template.entries(&path).map_err(|e| failed(&folder, e))?;
            if entries.is_empty() && !folder.is_empty() {
                bundle.entries.insert(folder.clone(), Entry::Folder);
            }
            for entry in entries {
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
                Entry::Folder => {
                    header.set_entry_type(tar::EntryType::Directory);
                    header.set_size(0);
                    header.set_mode(0o755);
                    archive.append_data(&mut header, path, io::empty())?;
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
            if entry.header().entry_type().is_dir() {
                let path = path.trim_end_matches('/').to_owned();
                bundle.entries.insert(path, Entry::Folder);
                continue;
            }
            let executable = entry.header().mode()? & 0o100 != 0;
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            bundle.put_file(path, bytes, executable);
        }
        Ok(bundle)
    }

    /// How many bytes its files have.
    pub fn size(&self) -> usize {
        let sizes = self.entries.values().map(|entry| match entry {
            Entry::File { bytes, .. } => bytes.len(),
            Entry::Link(_) | Entry::Folder => 0,
        });
        sizes.sum()
    }

    /// As [`TemplateDir::read`].
    pub(crate) fn read(&self, path: &TemplatePath) -> Result<TemplateFile, FileError> {
        match self.entries.get(&self.resolve(path.as_str())?) {
            Some(Entry::File { bytes, .. }) if bytes.len() as u64 > limits::TEMPLATE_FILE_BYTES => {
                Err(FileError::TooLarge)
            }
            Some(Entry::File { bytes, executable }) => Ok(TemplateFile {
                bytes: bytes.clone(),
                executable: *executable,
            }),
            _ => Err(FileError::WrongKind),
        }
    }

    /// As [`TemplateDir::link`].
    pub(crate) fn link(&self, path: &TemplatePath) -> Result<String, FileError> {
        let (folder, name) = path
            .as_str()
            .rsplit_once('/')
            .unwrap_or(("", path.as_str()));
        let place = below(&self.resolve(folder)?, name);
        match self.entries.get(&place) {
            Some(Entry::Link(target)) => Ok(target.clone()),
            _ => Err(FileError::WrongKind),
        }
    }

    /// As [`TemplateDir::entries`].
    pub(crate) fn list(&self, path: &TemplatePath) -> Result<Vec<template::Entry>, FileError> {
        let folder = self.resolve(path.as_str())?;
        if !self.is_folder(&folder) {
            return Err(FileError::WrongKind);
        }
        let prefix = below(&folder, "");
        let mut found: BTreeMap<&str, (EntryKind, u64)> = BTreeMap::new();
        for (place, entry) in self.entries.range(prefix.clone()..) {
            let Some(rest) = place.strip_prefix(&prefix) else {
                break;
            };
            match (rest.split_once('/'), entry) {
                (Some((name, _)), _) => found.insert(name, (EntryKind::Directory, 0)),
                (None, Entry::Folder) => found.insert(rest, (EntryKind::Directory, 0)),
                (None, Entry::Link(_)) => found.insert(rest, (EntryKind::Symlink, 0)),
                (None, Entry::File { bytes, .. }) => {
                    found.insert(rest, (EntryKind::File, bytes.len() as u64))
                }
            };
            if found.len() > limits::TEMPLATE_ENTRIES {
                return Err(FileError::TooLarge);
            }
        }
        let entry = |(name, (kind, size)): (&str, _)| template::Entry {
            name: name.to_owned(),
            kind,
            size,
        };
        Ok(found.into_iter().map(entry).collect())
    }

    /// The place that a path leads to when links are followed, which is there.
    fn resolve(&self, path: &str) -> Result<String, FileError> {
        /// As many as Linux follows.
        const LINKS: usize = 40;
        let parts = |path: &str| path.split('/').rev().map(str::to_owned).collect::<Vec<_>>();
        let mut ahead = parts(path);
        let mut place = String::new();
        let mut links = 0;
        while let Some(part) = ahead.pop() {
            match part.as_str() {
                "" | "." => continue,
                ".." if place.is_empty() => return Err(FileError::InvalidPath),
                ".." => {
                    place.truncate(place.rfind('/').unwrap_or(0));
                    continue;
                }
                _ => {}
            }
            let next = below(&place, &part);
            match self.entries.get(&next) {
                Some(Entry::Link(target)) => {
                    links += 1;
                    if target.starts_with('/') || links > LINKS {
                        return Err(FileError::InvalidPath);
                    }
                    ahead.extend(parts(target));
                }
                Some(Entry::File { .. }) if !ahead.is_empty() => return Err(FileError::WrongKind),
                Some(_) => place = next,
                None if self.is_folder(&next) => place = next,
                None => return Err(FileError::NotFound),
            }
        }
        Ok(place)
    }

    fn is_folder(&self, place: &str) -> bool {
        if place.is_empty() || self.entries.get(place) == Some(&Entry::Folder) {
            return true;
        }
        let prefix = below(place, "");
        let first = self.entries.range(prefix.clone()..).next();
        first.is_some_and(|(place, _)| place.starts_with(&prefix))
    }
}

fn below(folder: &str, name: &str) -> String {
    match folder {
        "" => name.to_owned(),
        folder => format!("{folder}/{name}"),
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
