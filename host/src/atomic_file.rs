//! Replaces a file as a whole.

use std::fs::{File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Replaces a file as a whole: whoever reads it finds the old bytes or the new ones. `mode` is subject to the umask.
///
/// # Errors
/// The operating system's.
pub fn write_atomically(file: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut new = tempfile::Builder::new()
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(folder)?;
    new.write_all(bytes)?;
    new.as_file().sync_all()?;
    new.persist(file)?;
    // The new name too, so that a power cut brings no older file back.
    File::open(folder)?.sync_all()
}
