//! A consistent copy of the store, for backups.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::{FILE, Store, StoreError};

impl Store {
    /// The name of the database in a state folder.
    pub const FILE: &'static str = FILE;

    /// Writes a consistent copy into a new file. Reads and writes go on meanwhile.
    pub async fn copy_to(&self, file: &Path) -> Result<(), StoreError> {
        let file = file.to_string_lossy().into_owned();
        let from = self.file.clone();
        // On a connection of its own: a large store takes long to copy.
        let copied = tokio::task::spawn_blocking(move || {
            let db = Connection::open_with_flags(&*from, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            db.execute("VACUUM INTO ?1", [file]).map(drop)
        });
        let copied = copied.await.unwrap_or(Err(rusqlite::Error::InvalidQuery));
        copied.map_err(|reason| StoreError::of(&self.file, reason))
    }
}
