//! Runs the default plugin as a native crate, which reads through the host's own [`TemplateDir`]. The benchmarks use it
//! too.

use org_import::{Entry, EntryKind, Environment, FileError, Options, TemplateFiles, Variable};
use orghost::model::env_map::EnvMap;
use orghost::template::directory::TemplateDir;
use orghost::template::path::{self, TemplatePath};

/// Serves the template's files to the native crate.
pub struct Files(pub TemplateDir);

/// A request with these variables and nothing else.
pub fn request(vars: &EnvMap) -> org_import::Request {
    let variable = |(name, value): (&String, &String)| Variable {
        name: name.clone(),
        value: value.clone(),
    };
    org_import::Request {
        entry: String::new(),
        environment: Environment {
            vars: vars.iter().map(variable).collect(),
            granted: vec![],
        },
        options: Options {
            skip_external: false,
        },
    }
}

impl TemplateFiles for Files {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        let read = TemplatePath::new(path).and_then(|path| self.0.read(&path));
        read.map(|file| file.bytes).map_err(error)
    }

    fn entries(&self, path: &str) -> Result<Vec<Entry>, FileError> {
        let listed = TemplatePath::new(path).and_then(|path| self.0.entries(&path));
        let entry = |entry: path::Entry| Entry {
            name: entry.name,
            kind: match entry.kind {
                path::EntryKind::File => EntryKind::File,
                path::EntryKind::Directory => EntryKind::Directory,
                path::EntryKind::Symlink => EntryKind::Symlink,
                path::EntryKind::Other => EntryKind::Other,
            },
        };
        listed
            .map(|entries| entries.into_iter().map(entry).collect())
            .map_err(error)
    }
}

fn error(error: path::FileError) -> FileError {
    match error {
        path::FileError::NotFound => FileError::NotFound,
        path::FileError::InvalidPath => FileError::InvalidPath,
        path::FileError::WrongKind => FileError::WrongKind,
        path::FileError::TooLarge => FileError::TooLarge,
        path::FileError::Unreadable(reason) => FileError::Unreadable(reason),
    }
}
