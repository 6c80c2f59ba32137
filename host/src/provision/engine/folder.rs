//! Unpacks a seed into a folder of this machine. Follows no symbolic link, replaces no file, and writes nothing outside the
//! folder.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::fchown;
use std::path::Path;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, Permissions, PermissionsExt as _};
use rustix::fs::{Mode, OFlags};

use crate::provision::engine::error::EngineError;
use crate::template::path::is_normal;

/// The most files that are brought to the disk one by one. For more, one request for the whole file system is faster.
const SYNCED_ALONE: usize = 64;

/// Opens the folder at `path` and then each of `below`, one in the other. None of `below` may be a symbolic link.
///
/// # Errors
/// One of them is not a folder, or cannot be opened.
pub(super) fn open(path: &Path, below: &[&str]) -> io::Result<Dir> {
    let mut folder = Dir::open_ambient_dir(path, ambient_authority())?;
    for name in below {
        folder = Dir::from_std_file(open_below(&folder, name)?);
    }
    Ok(folder)
}

/// Opens one folder in another. cap-std opens folders only to look things up below them; this one can be given an owner.
fn open_below(folder: &Dir, name: &str) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(folder, name, flags, Mode::empty())?;
    Ok(File::from(opened))
}

/// Unpacks an archive of regular files and folders. All of them belong to this user, or to the user and group `owner`,
/// whatever the archive says.
///
/// # Errors
/// A file cannot be written or is there already, or the archive contains something else or a path that leads out of the
/// folder.
pub(super) fn unpack(root: &Dir, archive: &[u8], owner: Option<u32>) -> io::Result<()> {
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let refused = |path: &str, why: &str| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the archive contains {path:?}, {why}"),
            )
        };
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let kind = entry.header().entry_type();
        let mode = Permissions::from_mode(entry.header().mode()? & 0o777);
        let below = path.strip_prefix("./").unwrap_or(&path);
        if kind.is_dir() {
            let below = below.strip_suffix('/').unwrap_or(below);
            if below.is_empty() {
                if owner.is_some() {
                    fchown(open_below(root, ".")?, owner, owner)?;
                }
                root.set_permissions(".", mode)?;
                continue;
            }
            if !is_normal(below) {
                return Err(refused(&path, "which leads out of the folder"));
            }
            match root.create_dir(below) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    // A symbolic link to a folder is refused.
                    if !root.symlink_metadata(below)?.is_dir() {
                        return Err(e);
                    }
                }
                made => made?,
            }
            if owner.is_some() {
                fchown(open_below(&root.open_dir(below)?, ".")?, owner, owner)?;
            }
            root.set_permissions(below, mode)?;
        } else if kind.is_file() {
            if !is_normal(below) {
                return Err(refused(&path, "which leads out of the folder"));
            }
            // `create_new` opens no existing file, and follows no link.
            let mut options = OpenOptions::new();
            let mut file = root.open_with(below, options.write(true).create_new(true))?;
            if owner.is_some() {
                fchown(&file, owner, owner)?;
            }
            file.set_permissions(mode)?;
            io::copy(&mut entry, &mut file)?;
            file.flush()?;
        } else {
            return Err(refused(&path, "which is neither a file nor a folder"));
        }
    }
    Ok(())
}

/// Returns when everything in the folder is on the disk, so that a power failure leaves no empty file.
///
/// # Errors
/// The disk reports an error, or there is something that is neither a regular file nor a folder.
pub(super) fn sync(root: &Dir) -> io::Result<()> {
    let mut files = Vec::new();
    let mut folders = vec![root.try_clone()?];
    let mut seen = 0;
    while let Some(folder) = folders.get(seen) {
        let mut inner = Vec::new();
        for entry in folder.entries()? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                inner.push(entry.open_dir()?);
            } else if !kind.is_file() {
                let what = format!("{:?} is neither a file nor a folder", entry.file_name());
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            } else if files.len() == SYNCED_ALONE {
                return Ok(rustix::fs::syncfs(open_below(root, ".")?)?);
            } else {
                files.push(entry.open()?);
            }
        }
        folders.extend(inner);
        seen += 1;
    }
    for file in files {
        rustix::fs::fsync(file)?;
    }
    for folder in folders {
        open_below(&folder, ".")?.sync_all()?;
    }
    Ok(())
}

/// The engine error for an error of the operating system at a path.
pub(super) fn unusable(path: &Path, error: &io::Error) -> EngineError {
    let path = path.display().to_string();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => EngineError::NoSpace(path),
        _ => EngineError::Folder {
            path,
            reason: error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_has_its_own_error() {
        let full = unusable(Path::new("/x"), &io::ErrorKind::StorageFull.into());
        assert_eq!(full, EngineError::NoSpace("/x".to_owned()));
    }

    #[test]
    fn a_link_below_the_folder_is_not_opened() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(temp.path().join("real/inner")).unwrap();
        std::os::unix::fs::symlink("real", temp.path().join("link")).unwrap();
        assert!(open(temp.path(), &["real", "inner"]).is_ok());
        assert!(open(temp.path(), &["link", "inner"]).is_err());
        assert!(open(temp.path(), &["link"]).is_err());
    }
}
