//! Reads uploaded template archives (tar, or tar in gzip) into memory. An archive becomes a [`Bundle`] of plain files with
//! normalised paths, or it is refused with the wrong entry. Nothing is written to disk and no link is followed.

use std::collections::BTreeSet;
use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use tar::EntryType;

use super::bundle::{Bundle, BundleError, Entry};
use super::path::{is_by_product, is_normal};
use crate::limits;

const GZIP: [u8; 2] = [0x1f, 0x8b];

impl Bundle {
    /// Reads the template in an archive. The first bytes say whether it is compressed. When all entries are in one folder,
    /// that folder is the template. Files that macOS and Windows add ([`is_by_product`]) are ignored.
    ///
    /// # Errors
    /// [`BundleError::Archive`] when an entry is not a file or a folder, has a path that is not plain, or occurs twice;
    /// [`BundleError::TooLarge`] as soon as the archive exceeds the limits of a template, also during decompression.
    pub fn of_archive(bytes: &[u8]) -> Result<Self, BundleError> {
        if bytes.starts_with(&GZIP) {
            read(MultiGzDecoder::new(bytes))
        } else {
            read(bytes)
        }
    }
}

fn read(source: impl Read) -> Result<Bundle, BundleError> {
    let unreadable = |error: io::Error| match StreamTooLong::caused(&error) {
        true => BundleError::TooLarge("64 MiB"),
        false => BundleError::Archive(format!(
            "it is neither a tar archive nor a tar archive in gzip: {error}"
        )),
    };
    let mut archive = tar::Archive::new(Bounded {
        source,
        left: limits::ARCHIVE_BYTES,
    });
    let mut bundle = Bundle::default();
    let mut folders = BTreeSet::new();
    let mut bytes = 0_u64;
    for (count, entry) in archive.entries().map_err(unreadable)?.enumerate() {
        // Folders and metadata count too, so that an archive cannot have millions of them.
        if count >= 2 * limits::TEMPLATE_FILES {
            return Err(BundleError::TooLarge("20000 files"));
        }
        let mut entry = entry.map_err(unreadable)?;
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            continue;
        }
        let Some(path) = plain_path(&entry.path_bytes())? else {
            continue;
        };
        if path.split('/').any(is_by_product) {
            continue;
        }
        match kind {
            EntryType::Directory => insert_folders(&mut folders, &path),
            EntryType::Regular => {
                let executable = entry.header().mode().map_err(unreadable)? & 0o100 != 0;
                bytes = bytes.saturating_add(entry.size());
                bundle.check(bytes)?;
                if entry.size() > limits::TEMPLATE_FILE_BYTES {
                    return Err(refused(&path, "is larger than 8 MiB"));
                }
                let mut file = Vec::new();
                entry.read_to_end(&mut file).map_err(unreadable)?;
                if file.len() as u64 != entry.size() {
                    return Err(refused(&path, "is truncated"));
                }
                if let Some((parent, _)) = path.rsplit_once('/') {
                    insert_folders(&mut folders, parent);
                }
                if bundle.entries.contains_key(&path) {
                    return Err(refused(&path, "occurs twice"));
                }
                bundle.put_file(path, file, executable);
                bundle.check(bytes)?;
            }
            EntryType::Symlink | EntryType::Link => return Err(refused(&path, "is a link")),
            EntryType::Char | EntryType::Block => return Err(refused(&path, "is a device")),
            EntryType::Fifo => return Err(refused(&path, "is a pipe")),
            _ => return Err(refused(&path, "is neither a file nor a folder")),
        }
    }
    if let Some(path) = bundle.entries.keys().find(|path| folders.contains(*path)) {
        return Err(refused(path, "is both a file and a folder"));
    }
    bundle
        .entries
        .retain(|path, _| !path.split('/').any(|part| part == ".git"));
    if bundle.entries.is_empty() {
        return Err(BundleError::Archive("it contains no file".to_owned()));
    }
    Ok(bundle.without_common_folder())
}

impl Bundle {
    /// Removes the first folder from all paths, if it is the same in all of them.
    fn without_common_folder(self) -> Self {
        let first = |path: &str| path.split_once('/').map(|(folder, _)| folder.to_owned());
        let Some(folder) = self.entries.keys().next().and_then(|path| first(path)) else {
            return self;
        };
        if self
            .entries
            .keys()
            .any(|path| first(path).as_ref() != Some(&folder))
        {
            return self;
        }
        let inside =
            |(path, entry): (String, Entry)| Some((path.split_once('/')?.1.to_owned(), entry));
        Self {
            entries: self.entries.into_iter().filter_map(inside).collect(),
        }
    }
}

/// The normalised path of an entry. `None` for the top folder of the archive.
fn plain_path(bytes: &[u8]) -> Result<Option<String>, BundleError> {
    let shown = String::from_utf8_lossy(bytes.get(..limits::ARCHIVE_PATH).unwrap_or(bytes));
    let Ok(path) = str::from_utf8(bytes) else {
        return Err(refused(&shown, "has a name that is not UTF-8"));
    };
    if path.starts_with('/') {
        return Err(refused(&shown, "has an absolute path"));
    }
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    if parts.contains(&"..") {
        return Err(refused(&shown, "leads out of the archive (`..`)"));
    }
    if path.len() > limits::ARCHIVE_PATH
        || parts.iter().any(|part| part.len() > limits::ARCHIVE_NAME)
    {
        return Err(refused(&shown, "has a name that is too long"));
    }
    let path = parts.join("/");
    match path.as_str() {
        "" => Ok(None),
        path if is_normal(path) => Ok(Some(path.to_owned())),
        _ => Err(refused(&shown, "has a name that no template can use")),
    }
}

/// Inserts a folder and the folders above it.
fn insert_folders(folders: &mut BTreeSet<String>, path: &str) {
    let mut path = path;
    while folders.insert(path.to_owned()) {
        match path.rsplit_once('/') {
            Some((parent, _)) => path = parent,
            None => break,
        }
    }
}

fn refused(path: &str, why: &str) -> BundleError {
    BundleError::Archive(format!("{path:?} {why}"))
}

/// A stream that fails after `left` bytes, so that a compression bomb is never held in memory.
struct Bounded<R> {
    source: R,
    left: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("the stream is too long")]
struct StreamTooLong;

impl StreamTooLong {
    /// Whether this error caused another one. The tar reader wraps it in errors of its own.
    fn caused(error: &io::Error) -> bool {
        let mut source: Option<&(dyn std::error::Error + 'static)> =
            error.get_ref().map(|e| e as _);
        while let Some(error) = source {
            if error.is::<Self>() {
                return true;
            }
            let inner = error
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref);
            source = inner.map(|e| e as _).or_else(|| error.source());
        }
        false
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.left = self
            .left
            .checked_sub(read as u64)
            .ok_or_else(|| io::Error::other(StreamTooLong))?;
        Ok(read)
    }
}
