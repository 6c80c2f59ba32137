//! Workspaces: their rows, and the identities that were given in an org.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::error::of_row;
use super::words::word_at;
use super::{Store, StoreError};
use crate::model::identity::{Known, Presence};
use crate::model::ids::WorkspaceId;
use crate::model::names::NamePath;
use crate::model::plan::WorkspaceKey;
use crate::model::status::{Desired, LastOutcome, WorkspaceRow};

/// Parses a column of text.
pub(super) fn parsed<T, E>(
    row: &Row<'_>,
    column: usize,
    parse: impl FnOnce(String) -> Result<T, E>,
) -> rusqlite::Result<T>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    parse(row.get(column)?)
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, e.into()))
}

pub(super) fn id(row: &Row<'_>, column: usize) -> rusqlite::Result<WorkspaceId> {
    parsed(row, column, WorkspaceId::try_from)
}

pub(super) fn path(row: &Row<'_>, column: usize) -> rusqlite::Result<NamePath> {
    parsed(row, column, |text| serde_json::from_str(&text))
}

const COLUMNS: &str =
    "id, key, path, name, runtime, tier, external, url, outcome, reason, wanted, planned";

fn workspace(row: &Row<'_>) -> rusqlite::Result<WorkspaceRow> {
    let read = || {
        Ok(WorkspaceRow {
            id: id(row, 0)?,
            key: parsed(row, 1, |text| WorkspaceKey::new(&text))?,
            path: path(row, 2)?,
            name: row.get(3)?,
            runtime: row.get(4)?,
            tier: row.get(5)?,
            external: row.get(6)?,
            url: row.get(7)?,
            outcome: word_at(row, 8, &LastOutcome::ALL, LastOutcome::as_str)?,
            reason: row.get(9)?,
            wanted: word_at(row, 10, &Desired::ALL, Desired::as_str)?,
            planned: row.get(11)?,
        })
    };
    let name: String = row.get(0)?;
    of_row(format_args!("workspace {name}"), read())
}

impl Store {
    /// The workspaces of an org, parents first. Those that left its template come last.
    pub async fn workspaces(&self, org: &str) -> Result<Vec<WorkspaceRow>, StoreError> {
        let org = org.to_owned();
        self.read(move |db| {
            let mut query = db.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM workspaces WHERE org = ?1 ORDER BY planned DESC, position, key"
            ))?;
            query.query_map([org], workspace)?.collect()
        })
        .await
    }

    /// At most `limit` workspaces of an org, in the order of [`Store::workspaces`]; only those after the key `after`, when it
    /// is given. `None` when no workspace has this key.
    pub async fn list_workspaces(
        &self,
        org: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Option<Vec<WorkspaceRow>>, StoreError> {
        let (org, after) = (org.to_owned(), after.map(str::to_owned));
        self.read(move |db| {
            let of_after = "SELECT planned, position FROM workspaces WHERE org = ?1 AND key = ?2";
            let of_after = match &after {
                None => Some((true, i64::MIN)),
                Some(after) => db
                    .prepare_cached(of_after)?
                    .query_row([&org, after], |row| Ok((row.get(0)?, row.get(1)?)))
                    .optional()?,
            };
            let Some((planned, position)) = of_after else {
                return Ok(None);
            };
            let query = format!(
                "SELECT {COLUMNS} FROM workspaces WHERE org = ?1 AND planned <= ?2
                 AND (planned < ?2 OR (position, key) > (?3, ?4)) ORDER BY planned DESC, position, key LIMIT ?5"
            );
            db.prepare_cached(&query)?
                .query_map(
                    params![org, planned, position, after.unwrap_or_default(), limit as i64],
                    workspace,
                )?
                .collect::<rusqlite::Result<_>>()
                .map(Some)
        })
        .await
    }

    /// A workspace by its id, and the slug of its org.
    pub async fn workspace(&self, id: &str) -> Result<Option<(String, WorkspaceRow)>, StoreError> {
        let id = id.to_owned();
        self.read(move |db| {
            let query = format!("SELECT {COLUMNS}, org FROM workspaces WHERE id = ?1");
            db.prepare_cached(&query)?
                .query_row([id], |row| Ok((row.get(12)?, workspace(row)?)))
                .optional()
        })
        .await
    }

    /// Every identity that was given in an org, including those of removed workspaces, whose volumes may still exist.
    pub async fn identities(&self, org: &str) -> Result<Vec<Known>, StoreError> {
        let org = org.to_owned();
        self.read(move |db| {
            let mut query = db.prepare_cached(
                "SELECT identities.path, identities.id, workspaces.planned
                 FROM identities LEFT JOIN workspaces ON workspaces.id = identities.id
                 WHERE identities.org = ?1 ORDER BY identities.path",
            )?;
            query
                .query_map([&org], |row| {
                    let read = || {
                        Ok(Known {
                            path: path(row, 0)?,
                            id: id(row, 1)?,
                            presence: match row.get(2)? {
                                Some(true) => Presence::Planned,
                                Some(false) => Presence::Left,
                                None => Presence::Gone,
                            },
                        })
                    };
                    of_row(format_args!("an identity of {org}"), read())
                })?
                .collect()
        })
        .await
    }

    /// Stores whether a workspace should run.
    pub async fn set_desired(&self, id: &WorkspaceId, wanted: Desired) -> Result<(), StoreError> {
        let id = id.as_str().to_owned();
        self.write(move |db| {
            let change = "UPDATE workspaces SET wanted = ?2 WHERE id = ?1";
            db.execute(change, params![id, wanted.as_str()]).map(drop)
        })
        .await
    }

    /// Stores the URL at which a workspace answers now.
    pub async fn set_url(&self, id: &WorkspaceId, url: Option<String>) -> Result<(), StoreError> {
        let id = id.as_str().to_owned();
        self.write(move |db| {
            let change = "UPDATE workspaces SET url = ?2 WHERE id = ?1";
            db.execute(change, params![id, url]).map(drop)
        })
        .await
    }

    /// Forgets the workspaces that left the template of an org, except `left`. Their identities are kept, because their
    /// volumes may still exist.
    pub async fn forget_unplanned(
        &self,
        org: &str,
        left: &[WorkspaceId],
    ) -> Result<(), StoreError> {
        let left = serde_json::json!(left).to_string();
        let org = org.to_owned();
        self.write(move |db| {
            db.execute(
                "DELETE FROM workspaces
                 WHERE org = ?1 AND NOT planned AND id NOT IN (SELECT value FROM json_each(?2))",
                [org, left],
            )
            .map(drop)
        })
        .await
    }
}

pub(super) fn insert(
    tx: &Connection,
    org: &str,
    position: i64,
    row: &WorkspaceRow,
) -> rusqlite::Result<usize> {
    tx.prepare_cached(
        "INSERT INTO workspaces (id, org, path, key, position, name, runtime, tier, external, url, outcome, reason,
                                 wanted, planned)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14) ON CONFLICT (id)
         DO UPDATE SET path = excluded.path, key = excluded.key, position = excluded.position, name = excluded.name,
                       runtime = excluded.runtime, tier = excluded.tier, external = excluded.external,
                       wanted = excluded.wanted, planned = excluded.planned",
    )?
    .execute(params![
        row.id.as_str(),
        org,
        path_json(&row.path),
        row.key.as_str(),
        position,
        row.name,
        row.runtime,
        row.tier,
        row.external,
        row.url,
        row.outcome.as_str(),
        row.reason,
        row.wanted.as_str(),
        row.planned,
    ])
}

/// A path as a JSON array, so that equal paths are equal texts.
pub(super) fn path_json(path: &NamePath) -> String {
    serde_json::json!(path).to_string()
}
