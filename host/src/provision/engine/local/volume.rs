//! Removes the content of a volume. Follows no symbolic link.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

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
