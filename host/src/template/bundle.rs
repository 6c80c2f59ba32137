//! A template in memory: the files, links and empty folders of a template, by their paths.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::Path;

use super::path::{self, EntryKind, FileError, TemplateFile, TemplatePath};
use crate::limits;

/// Why no bundle can be made of a folder or an archive.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A file of the template cannot be read.
    #[error("{path}: {reason}")]
    File {
        /// Its path in the template.
        path: String,
        /// Why.
        reason: FileError,
    },
    /// It is larger than the limits of a template allow.
    #[error("the template has more than {0}")]
    TooLarge(&'static str),
    /// The bytes are no archive, or the archive holds what a template cannot hold.
    #[error("the archive cannot be used: {0}")]
    Archive(String),
}

/// The files of a template, by their paths.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Bundle {
    pub(super) entries: BTreeMap<String, Entry>,
}

impl std::fmt::Debug for Bundle {
    /// Without the bytes: `.env` files are secrets.
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
    /// Where it leads, as it is written.
    Link(String),
    /// An empty one; others are there because something is in them.
    Folder,
}

impl Bundle {
    /// A template that is one file.
    pub fn of_text(org_yaml: &str) -> Self {
        let mut bundle = Self::default();
        bundle.put_file("org.yaml".to_owned(), org_yaml.as_bytes().to_vec(), false);
        bundle
    }

    /// Adds an empty folder.
    pub(super) fn put_folder(&mut self, path: String) {
        self.entries.insert(path, Entry::Folder);
    }

    /// Adds a symbolic link, as it is written.
    pub(super) fn put_link(&mut self, path: String, target: String) {
        self.entries.insert(path, Entry::Link(target));
    }

    /// Adds a file, or replaces it.
    pub(crate) fn put_file(&mut self, path: String, bytes: Vec<u8>, executable: bool) {
        self.entries.insert(path, Entry::File { bytes, executable });
    }

    pub(super) fn check(&self, bytes: u64) -> Result<(), BundleError> {
        if bytes > limits::TEMPLATE_BYTES {
            return Err(BundleError::TooLarge("64 MiB"));
        }
        if self.entries.len() > limits::TEMPLATE_FILES {
            return Err(BundleError::TooLarge("20000 files"));
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
    pub(crate) fn list(&self, path: &TemplatePath) -> Result<Vec<path::Entry>, FileError> {
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
        let entry = |(name, (kind, size)): (&str, _)| path::Entry {
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
