//! Encrypted values in the store. Knows only their names; encrypts and decrypts nothing.

use rusqlite::{OptionalExtension as _, params};

use super::{Store, StoreError};
use crate::state::encryption::Encrypted;

/// The name of an encrypted value. It is also the purpose that the value is encrypted for, so that one value cannot replace
/// another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label(String);

impl Label {
    /// The variables that an org was imported with, as a JSON object.
    pub fn vars(org: &str) -> Self {
        Self(format!("vars/{org}"))
    }

    /// The secret from which the tokens of workspaces are derived.
    pub fn workspace_tokens() -> Self {
        Self("workspace-tokens".to_owned())
    }

    /// The name, which is also the purpose.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Store {
    /// An encrypted value.
    pub async fn encrypted(&self, label: &Label) -> Result<Option<Encrypted>, StoreError> {
        let name = label.0.clone();
        self.read(move |db| {
            db.query_row("SELECT value FROM sealed WHERE name = ?1", [name], |row| {
                row.get(0).map(Encrypted)
            })
            .optional()
        })
        .await
    }

    /// Stores an encrypted value, and replaces an older one of the same name.
    pub async fn put_encrypted(&self, label: &Label, value: Encrypted) -> Result<(), StoreError> {
        let name = label.0.clone();
        self.write(move |db| {
            db.execute(
                "INSERT OR REPLACE INTO sealed VALUES (?1, ?2)",
                params![name, value.0],
            )
            .map(drop)
        })
        .await
    }

    /// Every encrypted value with its name, sorted by name.
    pub async fn all_encrypted(&self) -> Result<Vec<(String, Encrypted)>, StoreError> {
        self.read(|db| {
            db.prepare("SELECT name, value FROM sealed ORDER BY name")?
                .query_map([], |row| Ok((row.get(0)?, Encrypted(row.get(1)?))))?
                .collect()
        })
        .await
    }

    /// Replaces encrypted values that are still there, and erases the old ones from the file.
    pub async fn replace_encrypted(
        &self,
        values: Vec<(String, Encrypted)>,
    ) -> Result<(), StoreError> {
        let replaced = self.database.alone(move |db| {
            db.pragma_update(None, "secure_delete", true)?;
            let tx = db.transaction()?;
            for (name, value) in &values {
                tx.execute(
                    "UPDATE sealed SET value = ?2 WHERE name = ?1",
                    params![name, value.0],
                )?;
            }
            tx.commit()?;
            // The new values must be in the database itself before the old key is dropped.
            db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        });
        let replaced = replaced.await;
        replaced.map_err(|reason| StoreError::of(&self.file, reason))
    }
}
