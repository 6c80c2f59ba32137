//! The files of a template: where a plugin reads them from. It looks into none.

use std::collections::BTreeMap;

use crate::{Entry, EntryKind, FileError};

/// Read-only access to the files of one template, as the interface
/// `template-files` of `wit/v0.2.0-dev/plugin.wit` describes it: paths are relative and
/// normalised, the empty path is the template's folder.
pub trait TemplateFiles {
    /// Reads one whole file.
    ///
    /// # Errors
    /// See [`FileError`].
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError>;

    /// Lists one folder, without the folders in it, sorted by name.
    ///
    /// # Errors
    /// See [`FileError`].
    fn entries(&self, path: &str) -> Result<Vec<Entry>, FileError>;
}

/// A template in memory: paths, and what the files hold. For tests, and for plugins that plan a template of their own making.
#[derive(Debug, Clone, Default)]
pub struct MemoryFiles(
    /// Normalised paths; folders exist because files are in them.
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
