//! A template in memory: its files, links and empty folders, by their paths.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::Path;

use super::path::{self, EntryKind, FileError, TemplateFile, TemplatePath};
use crate::limits;

/// Why a folder or an archive cannot become a bundle.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A file of the template cannot be read.
    #[error("{path}: {reason}")]
    File {
        /// The file's path in the template.
        path: String,
        /// Why it cannot be read.
        reason: FileError,
    },
    /// The template exceeds a limit.
    #[error("the template has more than {0}")]
    TooLarge(&'static str),
    /// The bytes are not an archive, or the archive has an entry that a template cannot have.
    #[error("the archive cannot be used: {0}")]
    Archive(String),
}

/// The files, links and empty folders of a template, by their paths.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Bundle {
    pub(super) entries: BTreeMap<String, Entry>,
}

impl std::fmt::Debug for Bundle {
    /// Shows the paths only, because `.env` files are secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.entries.keys()).finish()
    }
}

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Entry {
    File {
        bytes: Vec<u8>,
        executable: bool,
    },
    /// A symbolic link with its target, as it is written.
    Link(String),
    /// An empty folder. A folder with entries has no entry of its own.
    Folder,
}

impl Bundle {
    /// A template that has only an `org.yaml`.
    pub fn of_text(org_yaml: &str) -> Self {
        let mut bundle = Self::default();
        bundle.put_file("org.yaml".to_owned(), org_yaml.as_bytes().to_vec(), false);
        bundle
    }

    /// Adds an empty folder.
    pub(super) fn put_folder(&mut self, path: String) {
        self.entries.insert(path, Entry::Folder);
    }

    /// Adds a symbolic link with its target.
    pub(super) fn put_link(&mut self, path: String, target: String) {
        self.entries.insert(path, Entry::Link(target));
    }

    /// Adds a file, or replaces it.
    pub(crate) fn put_file(&mut self, path: String, bytes: Vec<u8>, executable: bool) {
        self.entries.insert(path, Entry::File { bytes, executable });
    }

    /// Checks the limits of a template whose files have `bytes` bytes together.
    ///
    /// # Errors
    /// [`BundleError::TooLarge`].
    pub(super) fn check(&self, bytes: u64) -> Result<(), BundleError> {
        if bytes > limits::TEMPLATE_BYTES {
            return Err(BundleError::TooLarge("64 MiB"));
        }
        if self.entries.len() > limits::TEMPLATE_FILES {
            return Err(BundleError::TooLarge("20000 files"));
        }
        Ok(())
    }

    /// The template as a tar archive. The same files give the same bytes.
    ///
    /// # Errors
    /// The error of the tar library when an archive cannot have a path.
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

    /// Reads an archive that [`Bundle::to_tar`] wrote.
    pub(crate) fn of_own_tar(tar: &[u8]) -> io::Result<Self> {
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

    /// A BLAKE3 digest of all entries: templates with the same digest give the same plans.
    pub fn digest(&self) -> [u8; 32] {
        let mut digest = blake3::Hasher::new();
        let mut part = |kind: &[u8], bytes: &[u8]| {
            digest.update(kind);
            digest.update(&(bytes.len() as u64).to_le_bytes());
            digest.update(bytes);
        };
        for (path, entry) in &self.entries {
            part(b"path", path.as_bytes());
            match entry {
                Entry::File { bytes, executable } if *executable => part(b"prog", bytes),
                Entry::File { bytes, .. } => part(b"file", bytes),
                Entry::Link(target) => part(b"link", target.as_bytes()),
                Entry::Folder => part(b"fold", b""),
            }
        }
        digest.finalize().into()
    }

    /// The bytes of all files together.
    pub fn size(&self) -> usize {
        let sizes = self.entries.values().map(|entry| match entry {
            Entry::File { bytes, .. } => bytes.len(),
            Entry::Link(_) | Entry::Folder => 0,
        });
        sizes.sum()
    }

    /// Reads a file. See [`TemplateDir::read`](super::directory::TemplateDir::read).
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

    /// The target of a link. See [`TemplateDir::link`](super::directory::TemplateDir::link).
    pub(crate) fn link(&self, path: &TemplatePath) -> Result<String, FileError> {
        let (folder, name) = path
            .as_str()
            .rsplit_once('/')
            .unwrap_or(("", path.as_str()));
        match self.entries.get(&join(&self.resolve(folder)?, name)) {
            Some(Entry::Link(target)) => Ok(target.clone()),
            _ => Err(FileError::WrongKind),
        }
    }

    /// Lists a folder. See [`TemplateDir::entries`](super::directory::TemplateDir::entries).
    pub(crate) fn list(&self, path: &TemplatePath) -> Result<Vec<path::Entry>, FileError> {
        let folder = self.resolve(path.as_str())?;
        if !self.is_folder(&folder) {
            return Err(FileError::WrongKind);
        }
        let prefix = join(&folder, "");
        let mut found: BTreeMap<&str, (EntryKind, u64)> = BTreeMap::new();
        for (path, entry) in self.entries.range(prefix.clone()..) {
            let Some(rest) = path.strip_prefix(&prefix) else {
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
        let entry = |(name, (kind, size)): (&str, _)| path::Entry {
            name: name.to_owned(),
            kind,
            size,
        };
        Ok(found.into_iter().map(entry).collect())
    }

    /// Follows the links in a path. The result exists and has no links.
    fn resolve(&self, path: &str) -> Result<String, FileError> {
        /// Links that one path can lead through, as in Linux.
        const LINKS: usize = 40;
        let parts = |path: &str| path.split('/').rev().map(str::to_owned).collect::<Vec<_>>();
        // The parts that are not resolved yet, the next one last.
        let mut ahead = parts(path);
        let mut resolved = String::new();
        let mut links = 0;
        while let Some(part) = ahead.pop() {
            match part.as_str() {
                "" | "." => continue,
                ".." if resolved.is_empty() => return Err(FileError::InvalidPath),
                ".." => {
                    resolved.truncate(resolved.rfind('/').unwrap_or(0));
                    continue;
                }
                _ => {}
            }
            let next = join(&resolved, &part);
            match self.entries.get(&next) {
                Some(Entry::Link(target)) => {
                    links += 1;
                    if target.starts_with('/') || links > LINKS {
                        return Err(FileError::InvalidPath);
                    }
                    ahead.extend(parts(target));
                }
                Some(Entry::File { .. }) if !ahead.is_empty() => return Err(FileError::WrongKind),
                Some(_) => resolved = next,
                None if self.is_folder(&next) => resolved = next,
                None => return Err(FileError::NotFound),
            }
        }
        Ok(resolved)
    }

    fn is_folder(&self, path: &str) -> bool {
        if path.is_empty() || self.entries.get(path) == Some(&Entry::Folder) {
            return true;
        }
        let prefix = join(path, "");
        let first = self.entries.range(prefix.clone()..).next();
        first.is_some_and(|(path, _)| path.starts_with(&prefix))
    }
}

fn join(folder: &str, name: &str) -> String {
    match folder {
        "" => name.to_owned(),
        folder => format!("{folder}/{name}"),
    }
}
