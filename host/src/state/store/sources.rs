//! What orgs were made from, and sealed texts.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::error::json;
use super::{Store, StoreError};
use crate::state::encryption::Encrypted;

/// What an org was last asked to be made from.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceRow {
    /// The digest of the template's snapshot.
    pub snapshot: String,
    /// What was asked for beside it, without any value of a variable.
    pub request: serde_json::Value,
}

/// The name of a sealed text: also what it is for, so that it opens nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label(String);

impl Label {
    /// The variables that an org was given.
    pub fn vars(org: &str) -> Self {
        Self(format!("vars/{org}"))
    }

    /// What the tokens of workspaces are made with.
    pub fn workspace_tokens() -> Self {
        Self("workspace-tokens".to_owned())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Store {
    /// Remembers what an org is made from from now on. The org must be known.
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

    /// Forgets what an org was made from: it was made from something that could not be kept.
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

    /// What an org was last asked to be made from.
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

    /// The snapshots that orgs are made from.
    pub async fn snapshots(&self) -> Result<Vec<String>, StoreError> {
        self.read(|db| {
            db.prepare("SELECT DISTINCT snapshot FROM sources")?
                .query_map([], |row| row.get(0))?
                .collect()
        })
        .await
    }

    /// A sealed text.
    pub async fn sealed(&self, label: &Label) -> Result<Option<Encrypted>, StoreError> {
        let name = label.0.clone();
        self.read(move |db| {
            db.query_row("SELECT value FROM sealed WHERE name = ?1", [name], |row| {
                row.get(0).map(Encrypted)
            })
            .optional()
        })
        .await
    }

    /// Keeps a sealed text, in the place of an older one.
    pub async fn put_sealed(&self, label: &Label, text: Encrypted) -> Result<(), StoreError> {
        let name = label.0.clone();
        self.write(move |db| {
            db.execute(
                "INSERT OR REPLACE INTO sealed VALUES (?1, ?2)",
                params![name, text.0],
            )
            .map(drop)
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
