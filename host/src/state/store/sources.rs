//! The source of each org: the snapshot and the options that it was last imported with.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::error::json;
use super::{Label, Store, StoreError};
use crate::state::encryption::Encrypted;

/// The source of an org.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceRow {
    /// The digest of the snapshot of its template.
    pub snapshot: String,
    /// The options of the import as JSON, without any value of a variable.
    pub request: serde_json::Value,
}

impl Store {
    /// Stores the source of an org and its encrypted variables. The org must be in the store.
    pub async fn put_source(
        &self,
        org: &str,
        source: SourceRow,
        vars: Encrypted,
    ) -> Result<(), StoreError> {
        let (org, now) = (org.to_owned(), self.clock.now_ms());
        self.write(move |db| write_source(db, &org, &source, &vars, now))
            .await
    }

    /// Removes the source of an org, because what it was made from could not be kept.
    pub async fn drop_source(&self, org: &str) -> Result<(), StoreError> {
        let org = org.to_owned();
        self.write(move |db| {
            db.execute("DELETE FROM sources WHERE org = ?1", [&org])?;
            db.execute(
                "DELETE FROM sealed WHERE name = ?1",
                [Label::vars(&org).as_str()],
            )
            .map(drop)
        })
        .await
    }

    /// The source of an org. `None` for an unknown org, or one whose source was not kept.
    pub async fn source(&self, org: &str) -> Result<Option<SourceRow>, StoreError> {
        let org = org.to_owned();
        self.read(move |db| {
            db.query_row(
                "SELECT snapshot, request FROM sources WHERE org = ?1",
                [&org],
                |row| {
                    let request: String = row.get(1)?;
                    Ok(SourceRow {
                        snapshot: row.get(0)?,
                        request: json(format_args!("source of {org}"), "request", &request)?,
                    })
                },
            )
            .optional()
        })
        .await
    }

    /// The digests of the snapshots that orgs use.
    pub async fn snapshots(&self) -> Result<Vec<String>, StoreError> {
        self.read(|db| {
            db.prepare("SELECT DISTINCT snapshot FROM sources")?
                .query_map([], |row| row.get(0))?
                .collect()
        })
        .await
    }
}

pub(super) fn write_source(
    db: &Connection,
    org: &str,
    source: &SourceRow,
    vars: &Encrypted,
    now_ms: i64,
) -> rusqlite::Result<()> {
    db.execute(
        "INSERT INTO sources VALUES (?1, ?2, ?3, ?4) ON CONFLICT (org)
         DO UPDATE SET snapshot = excluded.snapshot, request = excluded.request, at_ms = excluded.at_ms",
        params![org, source.snapshot, source.request.to_string(), now_ms],
    )?;
    db.execute(
        "INSERT OR REPLACE INTO sealed VALUES (?1, ?2)",
        params![Label::vars(org).as_str(), vars.0],
    )?;
    Ok(())
}
