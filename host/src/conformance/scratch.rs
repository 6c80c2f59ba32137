//! Temporary templates that cases write as they run.

use std::io;
use std::path::Path;

use tempfile::TempDir;

use crate::template::directory::TemplateDir;

/// A template in a temporary folder, which is removed when the value is dropped.
pub struct Scratch {
    folder: TempDir,
    /// The folder, opened.
    pub template: TemplateDir,
}

impl Scratch {
    /// An empty template.
    pub fn new() -> io::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("orghost-conformance-")
            .tempdir()?;
        Ok(Self {
            template: TemplateDir::open(folder.path())?,
            folder,
        })
    }

    /// A template of these files.
    pub fn with<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> io::Result<Self> {
        let scratch = Self::new()?;
        for (path, bytes) in files {
            scratch.write(path, bytes)?;
        }
        Ok(scratch)
    }

    /// The path of the folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes one file, and creates the folders above it.
    pub fn write(&self, path: &str, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let path = self.path().join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, bytes)
    }
}
