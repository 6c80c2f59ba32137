//! What stands in a volume: unpacks a seed, removes it. Never
//! follows a symbolic link, and never leaves the volume's folder.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, Permissions, PermissionsExt as _};

use crate::template::path::is_normal;

/// Unpacks an archive of regular files and folders. Anything else in it, a
/// path that leads elsewhere, and a file that is there already are refused.
/// Owners are not changed: everything belongs to this user.
///
/// # Errors
/// The operating system's, or what the archive should not hold.
pub fn unpack(folder: &Path, archive: &[u8]) -> io::Result<()> {
    let root = Dir::open_ambient_dir(folder, ambient_authority())?;
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let refused = |path: &str, why: &str| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the archive holds {path:?}, {why}"),
            )
        };
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let kind = entry.header().entry_type();
        let mode = Permissions::from_mode(entry.header().mode()? & 0o777);
        let below = path.strip_prefix("./").unwrap_or(&path);
        if kind.is_dir() {
            let below = below.strip_suffix('/').unwrap_or(below);
            if below.is_empty() {
                root.set_permissions(".", mode)?;
                continue;
            }
            if !is_normal(below) {
                return Err(refused(&path, "which leads elsewhere"));
            }
            match root.create_dir(below) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    // A link to a folder is no folder.
                    if !root.symlink_metadata(below)?.is_dir() {
                        return Err(e);
                    }
                }
                made => made?,
            }
            root.set_permissions(below, mode)?;
        } else if kind.is_file() {
            if !is_normal(below) {
                return Err(refused(&path, "which leads elsewhere"));
            }
            // `create_new` opens nothing that is there, and follows no link.
            let mut options = OpenOptions::new();
            let mut file = root.open_with(below, options.write(true).create_new(true))?;
            file.set_permissions(mode)?;
            io::copy(&mut entry, &mut file)?;
            file.flush()?;
        } else {
            return Err(refused(&path, "which is neither a file nor a folder"));
        }
    }
    Ok(())
}

/// Removes a folder and everything in it. Not there is success.
///
/// # Errors
/// The operating system's.
pub fn remove(folder: &Path) -> io::Result<()> {
    let gone = |result: io::Result<()>| match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    match gone(fs::remove_dir_all(folder)) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            // Package managers leave read-only folders behind.
            unlock(folder)?;
            gone(fs::remove_dir_all(folder))
        }
        other => other,
    }
}

fn unlock(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            unlock(&entry.path())?;
        }
    }
    Ok(())
}
