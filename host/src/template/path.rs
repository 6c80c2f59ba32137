//! Paths in a template, and the files and folders at them.

/// A path in a template. It is relative, has `/` between its components, no component that is empty, `.` or `..`, no
/// backslash and no NUL (`spec/org-template.md` §3).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TemplatePath(String);

/// Why a file or a folder of a template cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// Nothing exists at the path.
    #[error("the template has no such file")]
    NotFound,
    /// The path is not a [`TemplatePath`], or a link at it leads out of the template.
    #[error("the path leads out of the template, or is not a plain relative path")]
    InvalidPath,
    /// It is not a file where a file is read, or not a folder where a folder is listed.
    #[error("it is not a file, or not a folder, where one is needed")]
    WrongKind,
    /// The file has more than [`TEMPLATE_FILE_BYTES`](crate::limits::TEMPLATE_FILE_BYTES), or the folder has more than
    /// [`TEMPLATE_ENTRIES`](crate::limits::TEMPLATE_ENTRIES).
    #[error("it is larger than the limit")]
    TooLarge,
    /// The operating system reported an error.
    #[error("{0}")]
    Unreadable(String),
}

/// The kind of an entry of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder.
    Directory,
    /// A symbolic link to anything.
    Symlink,
    /// A socket, a device or a pipe.
    Other,
}

/// One entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The last component of the path.
    pub name: String,
    /// The kind.
    pub kind: EntryKind,
    /// The size of a file in bytes, 0 for other kinds.
    pub size: u64,
}

/// A file of a template.
#[derive(Debug)]
pub struct TemplateFile {
    /// The content.
    pub bytes: Vec<u8>,
    /// Whether the owner's executable bit is set.
    pub executable: bool,
}

impl TemplatePath {
    /// Parses a normalised relative path. The empty path is the template's folder.
    ///
    /// # Errors
    /// [`FileError::InvalidPath`] when the path is anything else.
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

    /// Hides files that [`is_by_product`] names.
    ///
    /// # Errors
    /// [`FileError::NotFound`] for such a file.
    pub(super) fn check_visible(&self) -> Result<(), FileError> {
        if self.0.split('/').any(is_by_product) {
            return Err(FileError::NotFound);
        }
        Ok(())
    }
}

/// Whether macOS and Windows add files or folders of this name to folders and archives. A template never has such files.
pub fn is_by_product(name: &str) -> bool {
    const NAMES: [&str; 4] = ["__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini"];
    name.starts_with("._") || NAMES.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Whether a path is relative, normalised and not empty. This is the rule for paths in a template and under `/configs`.
pub fn is_normal(path: &str) -> bool {
    !path.contains(['\\', '\0']) && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}
