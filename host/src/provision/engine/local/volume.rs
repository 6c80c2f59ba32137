//! The content of a volume: unpacks a seed into it, and removes it. Follows no symbolic link, and writes nothing outside the
//! folder of the volume.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, Permissions, PermissionsExt as _};

use crate::template::path::is_normal;

/// Unpacks an archive of regular files and folders. All of them belong to this user, whatever the archive says.
///
/// # Errors
/// A file cannot be written or is there already, or the archive contains something else or a path that leads out of the
/// folder.
pub fn unpack(folder: &Path, archive: &[u8]) -> io::Result<()> {
    let root = Dir::open_ambient_dir(folder, ambient_authority())?;
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
            root.set_permissions(below, mode)?;
        } else if kind.is_file() {
            if !is_normal(below) {
                return Err(refused(&path, "which leads out of the folder"));
            }
            // `create_new` opens no existing file, and follows no link.
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

/// Removes a folder and everything in it. Succeeds also when it is not there.
///
/// # Errors
/// The error of the operating system when something cannot be removed.
pub fn remove(folder: &Path) -> io::Result<()> {
    let gone = |result: io::Result<()>| match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    match gone(fs::remove_dir_all(folder)) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            // Package managers leave read-only folders, whose content cannot be removed.
            make_writable(folder)?;
            gone(fs::remove_dir_all(folder))
        }
        other => other,
    }
}

/// Makes a folder and its subfolders writable.
fn make_writable(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            make_writable(&entry.path())?;
        }
    }
    Ok(())
}
