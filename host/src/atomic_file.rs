//! Writes files atomically.

use std::fs::{File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Replaces a file atomically: a reader sees the old bytes or the new bytes, never a mixture. The umask applies to `mode`.
///
/// # Errors
/// The error of the operating system when the new file cannot be written, synced or renamed.
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
    // The folder too, so that the old file does not return after a power cut.
    File::open(folder)?.sync_all()
}
