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

/// What an org is made from, ready to be stored.
#[derive(Debug)]
pub struct KeptSource {
    /// The snapshot and the options.
    pub row: SourceRow,
    /// The variables, encrypted for [`Label::vars`].
    pub vars: Encrypted,
}

impl Store {
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

/// Stores the source of an org. `None` removes the one that is there: it is not what the org is made from now.
pub(super) fn write_source(
    db: &Connection,
    org: &str,
    source: Option<&KeptSource>,
    now_ms: i64,
) -> rusqlite::Result<()> {
    let label = Label::vars(org);
    let Some(KeptSource { row, vars }) = source else {
        db.execute("DELETE FROM sources WHERE org = ?1", [org])?;
        db.execute("DELETE FROM sealed WHERE name = ?1", [label.as_str()])?;
        return Ok(());
    };
    db.prepare_cached(
        "INSERT INTO sources VALUES (?1, ?2, ?3, ?4) ON CONFLICT (org)
         DO UPDATE SET snapshot = excluded.snapshot, request = excluded.request, at_ms = excluded.at_ms",
    )?
    .execute(params![
        org,
        row.snapshot,
        row.request.to_string(),
        now_ms
    ])?;
    db.prepare_cached("INSERT OR REPLACE INTO sealed VALUES (?1, ?2)")?
        .execute(params![label.as_str(), vars.0])?;
    Ok(())
}
