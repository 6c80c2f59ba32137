//! Access to the files of a template.

use std::collections::BTreeMap;

use crate::{Entry, EntryKind, FileError};

/// Read-only access to the files of one template. It is the interface `template-files` of `wit/v0.2.0-dev/plugin.wit`:
/// paths are relative and normalised, and the empty path is the template's folder.
pub trait TemplateFiles {
    /// Reads one whole file.
    ///
    /// # Errors
    /// When the file is missing or cannot be read; [`FileError`] has the causes.
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError>;

    /// Lists the entries of one folder, sorted by name, without the contents of its subfolders.
    ///
    /// # Errors
    /// When the folder is missing or cannot be listed; [`FileError`] has the causes.
    fn entries(&self, path: &str) -> Result<Vec<Entry>, FileError>;
}

/// A template in memory, for tests and for plugins that make a template themselves.
#[derive(Debug, Clone, Default)]
pub struct MemoryFiles(
    /// The contents of files by normalised path. A folder exists when there is a file in it.
    pub BTreeMap<String, Vec<u8>>,
);

impl<P: Into<String>, B: Into<Vec<u8>>> FromIterator<(P, B)> for MemoryFiles {
    fn from_iter<I: IntoIterator<Item = (P, B)>>(files: I) -> Self {
        Self(
            files
                .into_iter()
                .map(|(path, bytes)| (path.into(), bytes.into()))
                .collect(),
        )
    }
}

impl TemplateFiles for MemoryFiles {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        match self.0.get(path) {
            Some(bytes) => Ok(bytes.clone()),
            None if self.entries(path).is_ok() => Err(FileError::WrongKind),
            None => Err(FileError::NotFound),
        }
    }

    fn entries(&self, path: &str) -> Result<Vec<Entry>, FileError> {
        if self.0.contains_key(path) {
            return Err(FileError::WrongKind);
        }
        let prefix = if path.is_empty() {
            String::new()
        } else {
            format!("{path}/")
        };
        let mut entries = BTreeMap::new();
        for (below, bytes) in self.0.range(prefix.clone()..) {
            let Some(rest) = below.strip_prefix(&prefix) else {
                break;
            };
            let (name, kind, size) = match rest.split_once('/') {
                Some((folder, _)) => (folder, EntryKind::Directory, 0),
                None => (rest, EntryKind::File, bytes.len() as u64),
            };
            let name = name.to_owned();
            entries
                .entry(name.clone())
                .or_insert(Entry { name, kind, size });
        }
        if entries.is_empty() && !path.is_empty() {
            return Err(FileError::NotFound);
        }
        Ok(entries.into_values().collect())
    }
}
