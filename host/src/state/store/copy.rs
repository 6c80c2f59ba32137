//! The store as a whole: copied while it is in use, and everything sealed in it.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, params};

use super::{FILE, Store, StoreError};
use crate::state::encryption::Encrypted;

impl Store {
    /// The name of the database in a state folder.
    pub const FILE: &'static str = FILE;

    /// Writes a consistent copy into a new file, while anybody reads and writes.
    pub async fn copy_to(&self, file: &Path) -> Result<(), StoreError> {
        let file = file.to_string_lossy().into_owned();
        let from = self.file.clone();
        // With a connection of its own: it takes as long as the store is large.
        let copied = tokio::task::spawn_blocking(move || {
            let db = Connection::open_with_flags(&*from, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            db.execute("VACUUM INTO ?1", [file]).map(drop)
        });
        let copied = copied.await.unwrap_or(Err(rusqlite::Error::InvalidQuery));
        copied.map_err(|reason| StoreError::of(&self.file, reason))
    }

    /// Every sealed text, with its name.
    pub async fn all_sealed(&self) -> Result<Vec<(String, Encrypted)>, StoreError> {
        self.read(|db| {
            db.prepare("SELECT name, value FROM sealed ORDER BY name")?
                .query_map([], |row| Ok((row.get(0)?, Encrypted(row.get(1)?))))?
                .collect()
        })
        .await
    }

    /// Puts the same text, sealed anew, in the place of each of these, and leaves nothing of the older ones in the file.
    pub async fn reseal(&self, texts: Vec<(String, Encrypted)>) -> Result<(), StoreError> {
        let resealed = self.database.alone(move |db| {
            db.pragma_update(None, "secure_delete", true)?;
            let tx = db.transaction()?;
            for (name, text) in &texts {
                tx.execute(
                    "UPDATE sealed SET value = ?2 WHERE name = ?1",
                    params![name, text.0],
                )?;
            }
            tx.commit()?;
            // On the disk, whatever happens to the machine, before the older key is dropped.
            db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        });
        let resealed = resealed.await;
        resealed.map_err(|reason| StoreError::of(&self.file, reason))
    }
}
