//! Paths in a template, and what stands at them.

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
    /// See [`crate::limits::TEMPLATE_FILE_BYTES`] and [`crate::limits::TEMPLATE_ENTRIES`].
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
    pub(super) fn present(&self) -> Result<(), FileError> {
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
