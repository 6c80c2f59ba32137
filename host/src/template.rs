//! A template's folder: read-only, bounded, and closed. No path, `..` or
//! symbolic link leaves it (cap-std opens every component relative to the
//! folder's descriptor; a bundle is in memory, and there is nothing else to
//! lead to); only what is asked for is read.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};

use crate::limits;
use crate::snapshot::Bundle;

/// The folder of one org template, opened. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TemplateDir {
    source: Source,
    path: PathBuf,
}

#[derive(Debug, Clone)]
enum Source {
    Folder(Arc<Dir>),
    Bundle(Arc<Bundle>),
}

/// A path in a template: relative, with `/` between components, none of them
/// empty, `.` or `..`; no backslash, no NUL (`spec/org-template.md` §3).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TemplatePath(String);

/// Why a file or a folder of a template could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// Nothing is there.
    #[error("there is no such file in the template")]
    NotFound,
    /// The path is not a [`TemplatePath`], or a link leads out.
    #[error("the path leads out of the template, or is not a plain relative path")]
    InvalidPath,
    /// A folder was read, or something that is no folder was listed, or it is a device or a pipe.
    #[error("it is not of the kind that is wanted here")]
    WrongKind,
    /// See [`limits::TEMPLATE_FILE_BYTES`] and [`limits::TEMPLATE_ENTRIES`].
    #[error("it is larger than the limit")]
    TooLarge,
    /// The operating system refused.
    #[error("{0}")]
    Unreadable(String),
}

/// What an entry of a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder.
    Directory,
    /// A symbolic link, wherever it leads.
    Symlink,
    /// A socket, a device, a pipe.
    Other,
}

/// One entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The last component of the path.
    pub name: String,
    /// What it is.
    pub kind: EntryKind,
    /// Size in bytes; 0 unless it is a file.
    pub size: u64,
}

/// A file's bytes, and whether its owner may execute it.
#[derive(Debug)]
pub struct TemplateFile {
    /// The whole content.
    pub bytes: Vec<u8>,
    /// Whether the owner's executable bit is set.
    pub executable: bool,
}

impl TemplatePath {
    /// Accepts a normalised relative path; the empty path is the template's folder.
    ///
    /// # Errors
    /// [`FileError::InvalidPath`] for everything else.
    pub fn new(path: &str) -> Result<Self, FileError> {
        if is_normal(path) || path.is_empty() {
            Ok(Self(path.to_owned()))
        } else {
            Err(FileError::InvalidPath)
        }
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Nothing is there: see [`is_by_product`].
    fn present(&self) -> Result<(), FileError> {
        if self.0.split('/').any(is_by_product) {
            return Err(FileError::NotFound);
        }
        Ok(())
    }
}

/// Whether a file or folder of this name is what macOS or Windows leave behind where they look at a folder or pack it.
/// A template has none of these, whatever is on the disk or in an archive.
pub fn is_by_product(name: &str) -> bool {
    const NAMES: [&str; 4] = ["__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini"];
    name.starts_with("._") || NAMES.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Whether a path is relative, normalised and not empty: the rule for paths in
/// a template and for paths under `/configs`.
pub fn is_normal(path: &str) -> bool {
    !path.contains(['\\', '\0']) && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

impl TemplateDir {
    /// Opens a template's folder.
    ///
    /// # Errors
    /// The operating system's, when `path` is no readable folder.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        Ok(Self {
            source: Source::Folder(Arc::new(Dir::open_ambient_dir(path, ambient_authority())?)),
            path: path.to_owned(),
        })
    }

    /// A template that is held in memory.
    pub fn of_bundle(bundle: Arc<Bundle>) -> Self {
        Self {
            source: Source::Bundle(bundle),
            path: PathBuf::new(),
        }
    }

    /// The folder, as it was given: for messages only.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads one whole file of at most [`limits::TEMPLATE_FILE_BYTES`].
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn read(&self, path: &TemplatePath) -> Result<TemplateFile, FileError> {
        path.present()?;
        let dir = match &self.source {
            Source::Folder(dir) => dir,
            Source::Bundle(bundle) => return bundle.read(path),
        };
        // Without NONBLOCK the open of a pipe would wait for its other end.
        let mut options = OpenOptions::new();
        options
            .read(true)
            .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
        let file = dir
            .open_with(named(path), &options)
            .map_err(|e| refused(&e))?;
        let metadata = file.metadata().map_err(|e| refused(&e))?;
        if !metadata.is_file() {
            return Err(FileError::WrongKind);
        }
        if metadata.len() > limits::TEMPLATE_FILE_BYTES {
            return Err(FileError::TooLarge);
        }
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
        // The file may grow while it is read: the limit holds for what was read.
        file.take(limits::TEMPLATE_FILE_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| refused(&e))?;
        if bytes.len() as u64 > limits::TEMPLATE_FILE_BYTES {
            return Err(FileError::TooLarge);
        }
        Ok(TemplateFile {
            bytes,
            executable: cap_std::fs::PermissionsExt::mode(&metadata.permissions()) & 0o100 != 0,
        })
    }

    /// Where a symbolic link leads, as it is written.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn link(&self, path: &TemplatePath) -> Result<String, FileError> {
        path.present()?;
        let dir = match &self.source {
            Source::Folder(dir) => dir,
            Source::Bundle(bundle) => return bundle.link(path),
        };
        let target = dir.read_link_contents(named(path));
        let target = target.map_err(|e| refused(&e))?.into_os_string();
        target.into_string().map_err(|_| FileError::InvalidPath)
    }

    /// Lists one folder, sorted by name; names that are not UTF-8, and by-products, are left out.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn entries(&self, path: &TemplatePath) -> Result<Vec<Entry>, FileError> {
        path.present()?;
        let dir = match &self.source {
            Source::Folder(dir) => dir,
            Source::Bundle(bundle) => return bundle.list(path),
        };
        let listing = dir.read_dir(named(path)).map_err(|e| refused(&e))?;
        let mut entries = Vec::new();
        for entry in listing {
            let entry = entry.map_err(|e| refused(&e))?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if is_by_product(&name) {
                continue;
            }
            let kind = entry.file_type().map_err(|e| refused(&e))?;
            let kind = if kind.is_file() {
                EntryKind::File
            } else if kind.is_dir() {
                EntryKind::Directory
            } else if kind.is_symlink() {
                EntryKind::Symlink
            } else {
                EntryKind::Other
            };
            let size = match kind {
                EntryKind::File => entry.metadata().map_err(|e| refused(&e))?.len(),
                _ => 0,
            };
            if entries.len() == limits::TEMPLATE_ENTRIES {
                return Err(FileError::TooLarge);
            }
            entries.push(Entry { name, kind, size });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }
}

/// The plugin that a template asks for, and where it says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedPlugin {
    /// The value of `plugin:`, as it is written.
    pub name: String,
    /// The template's file.
    pub file: &'static str,
    /// Counts from 1.
    pub line: u32,
}

impl TemplateDir {
    /// What stands for `plugin` at the top level of `org.yaml` or `org.yml`. `None` also when it is empty or no text,
    /// and when the file cannot be read or is broken before that: the plugin that then runs says what is wrong. Only
    /// the first [`limits::TEMPLATE_HEAD`] bytes are looked at.
    pub fn wanted_plugin(&self) -> Option<WantedPlugin> {
        let (name, file) = ["org.yaml", "org.yml"].into_iter().find_map(|name| {
            match self.read(&TemplatePath(name.to_owned())) {
                Err(FileError::NotFound) => None,
                read => Some((name, read.ok())),
            }
        })?;
        let mut bytes = file?.bytes;
        if bytes.len() > limits::TEMPLATE_HEAD {
            bytes.truncate(limits::TEMPLATE_HEAD);
            // Half a line could hold half a name.
            bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n')?);
        }
        let text = String::from_utf8(bytes).ok()?;
        let (value, line) = top_level_text(&text, "plugin")?;
        Some(WantedPlugin {
            name: value,
            file: name,
            line,
        })
    }
}

/// The text that stands for a key in the mapping that is a YAML document, and its line. Follows no alias, and gives up
/// after [`limits::TEMPLATE_EVENTS`] and below [`limits::TEMPLATE_DEPTH`].
fn top_level_text(yaml: &str, wanted: &str) -> Option<(String, u32)> {
    use saphyr_parser::{Event, Parser};
    let mut depth = 0_usize;
    // At depth 1 keys and values take turns.
    let mut key = None;
    for event in Parser::new_from_str(yaml).take(limits::TEMPLATE_EVENTS) {
        let (event, span) = event.ok()?;
        let opens = matches!(event, Event::SequenceStart(..) | Event::MappingStart(..));
        if depth == 1 && key.is_none() && matches!(event, Event::MappingEnd) {
            return None;
        }
        match event {
            Event::SequenceStart(..) if depth == 0 => return None,
            Event::Scalar(..) | Event::Alias(_) if depth == 0 => return None,
            Event::SequenceEnd | Event::MappingEnd => depth = depth.checked_sub(1)?,
            // Deeper than any template; the parser's work grows with the depth.
            _ if opens && depth == limits::TEMPLATE_DEPTH => return None,
            _ if opens => depth += 1,
            _ => {}
        }
        // What is complete now is a key or a value of the document's mapping.
        let complete = match event {
            Event::Scalar(..) | Event::Alias(_) | Event::SequenceEnd | Event::MappingEnd => {
                depth == 1
            }
            _ => false,
        };
        if !complete {
            continue;
        }
        match (key.take(), event) {
            (None, Event::Scalar(text, ..)) => key = Some(text.into_owned()),
            (None, _) => key = Some(String::new()),
            (Some(name), Event::Scalar(value, style, ..)) if name == wanted => {
                let null = matches!(style, saphyr_parser::ScalarStyle::Plain)
                    && matches!(&*value, "" | "~" | "null" | "Null" | "NULL");
                let line = u32::try_from(span.start.line()).unwrap_or(u32::MAX);
                return (!null).then(|| (value.into_owned(), line));
            }
            (Some(name), _) if name == wanted => return None,
            (Some(_), _) => {}
        }
    }
    None
}

fn named(path: &TemplatePath) -> &str {
    if path.0.is_empty() { "." } else { &path.0 }
}

fn refused(error: &std::io::Error) -> FileError {
    use std::io::ErrorKind;
    if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) {
        return FileError::InvalidPath;
    }
    match error.kind() {
        ErrorKind::NotFound => FileError::NotFound,
        ErrorKind::IsADirectory | ErrorKind::NotADirectory => FileError::WrongKind,
        // cap-std's answer to an escape; a folder without permission says the same words to a plugin.
        ErrorKind::PermissionDenied if error.raw_os_error().is_none() => FileError::InvalidPath,
        ErrorKind::InvalidFilename | ErrorKind::InvalidInput => FileError::InvalidPath,
        kind => FileError::Unreadable(kind.to_string()),
    }
}
