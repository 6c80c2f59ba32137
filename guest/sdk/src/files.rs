//! Access to the files of a template.

use std::collections::BTreeMap;

use crate::{Contents, Entry, EntryKind, FileError};

impl Contents {
    /// The content of each file, in the order of the paths.
    pub fn files(&self) -> impl Iterator<Item = Result<&[u8], &FileError>> {
        let mut rest = self.bytes.as_slice();
        self.sizes.iter().map(move |size| {
            let size = usize::try_from(*size.as_ref()?).unwrap_or(rest.len());
            let (file, after) = rest.split_at_checked(size).unwrap_or((rest, &[]));
            rest = after;
            Ok(file)
        })
    }
}

/// Read-only access to the files of one template. It is the interface `template-files` of `wit/v0.2.0-dev/plugin.wit`:
/// paths are relative and normalised, and the empty path is the template's folder.
pub trait TemplateFiles {
    /// Reads one whole file.
    ///
    /// # Errors
    /// When the file is missing or cannot be read; [`FileError`] has the causes.
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError>;

    /// Reads several files, each as [`TemplateFiles::read`] does. In a component it is one call to the host.
    fn read_all(&self, paths: &[String]) -> Contents {
        let (mut bytes, mut sizes) = (Vec::new(), Vec::with_capacity(paths.len()));
        for path in paths {
            sizes.push(self.read(path).map(|read| {
                bytes.extend_from_slice(&read);
                read.len() as u64
            }));
        }
        Contents { bytes, sizes }
    }

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
        for below in self.0.range(prefix.clone()..).map(|(path, _)| path) {
            let Some(rest) = below.strip_prefix(&prefix) else {
                break;
            };
            let (name, kind) = match rest.split_once('/') {
                Some((folder, _)) => (folder, EntryKind::Directory),
                None => (rest, EntryKind::File),
            };
            let name = name.to_owned();
            entries.entry(name.clone()).or_insert(Entry { name, kind });
        }
        if entries.is_empty() && !path.is_empty() {
            return Err(FileError::NotFound);
        }
        Ok(entries.into_values().collect())
    }
}
