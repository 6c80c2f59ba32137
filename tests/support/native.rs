//! The default plugin as a native crate, reading through the host's own
//! [`TemplateDir`]. The benchmarks use it, too.

use org_import::{Entry, EntryKind, Environment, FileError, Options, TemplateFiles, Variable};
use orghost::plugin::EnvMap;
use orghost::template::{self, TemplateDir, TemplatePath};

/// The template's files for the native crate.
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
        let entry = |entry: template::Entry| Entry {
            name: entry.name,
            kind: match entry.kind {
                template::EntryKind::File => EntryKind::File,
                template::EntryKind::Directory => EntryKind::Directory,
                template::EntryKind::Symlink => EntryKind::Symlink,
                template::EntryKind::Other => EntryKind::Other,
            },
            size: entry.size,
        };
        listed
            .map(|entries| entries.into_iter().map(entry).collect())
            .map_err(error)
    }
}

fn error(error: template::FileError) -> FileError {
    match error {
        template::FileError::NotFound => FileError::NotFound,
        template::FileError::InvalidPath => FileError::InvalidPath,
        template::FileError::WrongKind => FileError::WrongKind,
        template::FileError::TooLarge => FileError::TooLarge,
        template::FileError::Unreadable(reason) => FileError::Unreadable(reason),
    }
}
