//! Read-only, bounded access to a template in a folder or in memory. No path, `..` or symbolic link leads out of it: cap-std
//! opens every component relative to the folder's descriptor, and a bundle is in memory.

use std::io;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, OpenOptions, OpenOptionsExt};
use rustix::buffer::spare_capacity;
use rustix::fs::{AtFlags, FileType, OFlags, RawDir};

use super::bundle::{Bundle, BundleError};
use super::path::{Entry, EntryKind, FileError, TemplateFile, TemplatePath, is_by_product};
use crate::limits;

/// Bytes of the buffer for the listing of a folder. A larger folder is listed in several pieces.
const LISTING_BYTES: usize = 8 << 10;

/// An opened template. Cheap to clone.
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

impl TemplateDir {
    /// Opens a template's folder.
    ///
    /// # Errors
    /// The error of the operating system when `path` is not a readable folder.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            source: Source::Folder(Arc::new(Dir::open_ambient_dir(path, ambient_authority())?)),
            path: path.to_owned(),
        })
    }

    /// Opens a template in memory.
    pub fn of_bundle(bundle: Arc<Bundle>) -> Self {
        Self {
            source: Source::Bundle(bundle),
            path: PathBuf::new(),
        }
    }

    /// The path of the folder as it was given, for messages only. Empty for a template in memory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads a file of at most [`limits::TEMPLATE_FILE_BYTES`].
    ///
    /// # Errors
    /// [`FileError`], when there is no such file, it is too large, or it cannot be read.
    pub fn read(&self, path: &TemplatePath) -> Result<TemplateFile, FileError> {
        path.check_visible()?;
        let dir = match &self.source {
            Source::Folder(dir) => dir,
            Source::Bundle(bundle) => return bundle.read(path),
        };
        let file = open(dir, path, OFlags::empty())?;
        let metadata = file.metadata().map_err(|e| refused(&e))?;
        if !metadata.is_file() {
            return Err(FileError::WrongKind);
        }
        if metadata.len() > limits::TEMPLATE_FILE_BYTES {
            return Err(FileError::TooLarge);
        }
        // The file can grow while it is read, so the limit applies to the bytes that were read.
        let bytes = read_to_end(&file, metadata.len()).map_err(|e| refused(&e))?;
        if bytes.len() as u64 > limits::TEMPLATE_FILE_BYTES {
            return Err(FileError::TooLarge);
        }
        Ok(TemplateFile {
            bytes,
            executable: cap_std::fs::PermissionsExt::mode(&metadata.permissions()) & 0o100 != 0,
        })
    }

    /// The target of a symbolic link, as it is written.
    ///
    /// # Errors
    /// [`FileError`], when there is no such link or its target is not UTF-8.
    pub fn link(&self, path: &TemplatePath) -> Result<String, FileError> {
        path.check_visible()?;
        let dir = match &self.source {
            Source::Folder(dir) => dir,
            Source::Bundle(bundle) => return bundle.link(path),
        };
        let target = dir.read_link_contents(named(path));
        let target = target.map_err(|e| refused(&e))?.into_os_string();
        target.into_string().map_err(|_| FileError::InvalidPath)
    }

    /// Lists a folder, sorted by name, without names that are not UTF-8 and without by-products (see [`is_by_product`]).
    ///
    /// # Errors
    /// [`FileError`], when there is no such folder, it has more than [`limits::TEMPLATE_ENTRIES`] entries, or it cannot be
    /// read.
    pub fn entries(&self, path: &TemplatePath) -> Result<Vec<Entry>, FileError> {
        self.list(path, true)
    }

    /// As [`TemplateDir::entries`], but the files' sizes are not looked up: they are 0 for a template in a folder.
    ///
    /// # Errors
    /// Those of [`TemplateDir::entries`].
    pub fn names(&self, path: &TemplatePath) -> Result<Vec<Entry>, FileError> {
        self.list(path, false)
    }

    fn list(&self, path: &TemplatePath, with_sizes: bool) -> Result<Vec<Entry>, FileError> {
        path.check_visible()?;
        let dir = match &self.source {
            Source::Folder(dir) => dir,
            Source::Bundle(bundle) => return bundle.list(path),
        };
        let folder = open(dir, path, OFlags::DIRECTORY)?;
        let mut buffer = [MaybeUninit::uninit(); LISTING_BYTES];
        let mut listing = RawDir::new(&folder, &mut buffer);
        let mut entries = Vec::new();
        while let Some(found) = listing.next() {
            let found = found.map_err(|e| refused(&e.into()))?;
            let Ok(name) = found.file_name().to_str() else {
                continue;
            };
            if matches!(name, "." | "..") || is_by_product(name) {
                continue;
            }
            let mut kind = found.file_type();
            let mut size = 0;
            // Some file systems do not say in the listing what an entry is.
            if kind == FileType::Unknown || (with_sizes && kind == FileType::RegularFile) {
                let stat =
                    rustix::fs::statat(&folder, found.file_name(), AtFlags::SYMLINK_NOFOLLOW);
                let stat = stat.map_err(|e| refused(&e.into()))?;
                kind = FileType::from_raw_mode(stat.st_mode);
                size = u64::try_from(stat.st_size).unwrap_or(0);
            }
            let (kind, size) = match kind {
                FileType::RegularFile if with_sizes => (EntryKind::File, size),
                FileType::RegularFile => (EntryKind::File, 0),
                FileType::Directory => (EntryKind::Directory, 0),
                FileType::Symlink => (EntryKind::Symlink, 0),
                _ => (EntryKind::Other, 0),
            };
            if entries.len() == limits::TEMPLATE_ENTRIES {
                return Err(FileError::TooLarge);
            }
            let name = name.to_owned();
            entries.push(Entry { name, kind, size });
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Copies the template into memory, without `.git` and by-products (see [`is_by_product`]).
    ///
    /// # Errors
    /// [`BundleError::File`] when a file or folder cannot be read, and [`BundleError::TooLarge`] when the template exceeds
    /// the limits.
    pub fn bundle(&self) -> Result<Bundle, BundleError> {
        let mut bundle = Bundle::default();
        let mut folders = vec![String::new()];
        let mut bytes = 0;
        while let Some(folder) = folders.pop() {
            let failed = |path: &str, reason| BundleError::File {
                path: path.to_owned(),
                reason,
            };
            let path = TemplatePath::new(&folder).map_err(|e| failed(&folder, e))?;
            let entries = self.names(&path).map_err(|e| failed(&folder, e))?;
            if entries.is_empty() && !folder.is_empty() {
                bundle.put_folder(folder.clone());
            }
            for entry in entries {
                if entry.name == ".git" {
                    continue;
                }
                let name = match folder.as_str() {
                    "" => entry.name,
                    folder => format!("{folder}/{}", entry.name),
                };
                let path = TemplatePath::new(&name).map_err(|e| failed(&name, e))?;
                match entry.kind {
                    EntryKind::Directory => folders.push(name),
                    EntryKind::File => {
                        let file = self.read(&path).map_err(|e| failed(&name, e))?;
                        bytes += file.bytes.len() as u64;
                        bundle.put_file(name, file.bytes, file.executable);
                    }
                    EntryKind::Symlink => {
                        let target = self.link(&path).map_err(|e| failed(&name, e))?;
                        bundle.put_link(name, target);
                    }
                    EntryKind::Other => {}
                }
                bundle.check(bytes)?;
            }
        }
        Ok(bundle)
    }
}

/// Opens a file or a folder for reading, beneath the template's folder.
fn open(dir: &Dir, path: &TemplatePath, flags: OFlags) -> Result<File, FileError> {
    // Without NONBLOCK, opening a pipe would wait for its other end.
    let flags = (flags | OFlags::NONBLOCK).bits().cast_signed();
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags);
    dir.open_with(named(path), &options)
        .map_err(|e| refused(&e))
}

/// Reads a file that should have `size` bytes to its end, but at most a few bytes beyond the limit of a file. A file that has
/// exactly `size` bytes takes one read: there was room for one more byte, and none came.
fn read_to_end(file: &File, size: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
    loop {
        let read = match rustix::io::read(file, spare_capacity(&mut bytes)) {
            Err(rustix::io::Errno::INTR) => continue,
            read => read?,
        };
        let length = bytes.len() as u64;
        if read == 0 || length == size || length > limits::TEMPLATE_FILE_BYTES {
            return Ok(bytes);
        }
        bytes.reserve(1);
    }
}

fn named(path: &TemplatePath) -> &str {
    if path.as_str().is_empty() {
        "."
    } else {
        path.as_str()
    }
}

fn refused(error: &io::Error) -> FileError {
    use io::ErrorKind;
    if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) {
        return FileError::InvalidPath;
    }
    match error.kind() {
        ErrorKind::NotFound => FileError::NotFound,
        ErrorKind::IsADirectory | ErrorKind::NotADirectory => FileError::WrongKind,
        // cap-std's error when a path leads out. Unlike an error of the operating system it has no number.
        ErrorKind::PermissionDenied if error.raw_os_error().is_none() => FileError::InvalidPath,
        ErrorKind::InvalidFilename | ErrorKind::InvalidInput => FileError::InvalidPath,
        kind => FileError::Unreadable(kind.to_string()),
    }
}
