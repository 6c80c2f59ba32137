//! Workspaces: their rows, and the identities that were given in an org.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::of_row;
use super::{Store, StoreError};
use crate::model::identity::{Known, Presence};
use crate::model::ids::WorkspaceId;
use crate::model::names::NamePath;
use crate::model::plan::WorkspaceKey;

/// A workspace in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkspaceRow {
    /// Its identity on this host.
    #[schema(value_type = String)]
    pub id: WorkspaceId,
    /// How people address it, unique in its org. It may change when a sibling is added or removed.
    #[schema(value_type = String)]
    pub key: WorkspaceKey,
    /// Its path of names from the org down, which decides its identity.
    #[schema(value_type = Vec<String>)]
    pub path: NamePath,
    /// Its name in the template.
    pub name: String,
    /// The runtime that the template names.
    pub runtime: String,
    /// The tier of isolation, 1 to 4.
    pub tier: u8,
    /// Whether it runs elsewhere. This host then only knows its URL.
    pub external: bool,
    /// The URL at which it answered when it came up.
    pub url: Option<String>,
    /// What the last operation did with it.
    pub outcome: LastOutcome,
    /// Why it failed or was skipped.
    pub reason: Option<String>,
    /// Whether it should run.
    pub wanted: Desired,
    /// Whether it is in the org's template. A workspace that left the template stays until it is removed.
    pub planned: bool,
}

/// What the last operation did with a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LastOutcome {
    /// Nothing yet.
    Planned,
    /// It is being made.
    Provisioning,
    /// It came up.
    Up,
    /// It did not come up.
    Failed,
    /// It was not tried.
    Skipped,
    /// It was stopped on request.
    Stopped,
    /// It was removed.
    Removed,
    /// It runs elsewhere.
    External,
}

impl LastOutcome {
    pub(super) const ALL: [Self; 8] = [
        Self::Planned,
        Self::Provisioning,
        Self::Up,
        Self::Failed,
        Self::Skipped,
        Self::Stopped,
        Self::Removed,
        Self::External,
    ];

    /// The outcome as it is written in the store and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Provisioning => "provisioning",
            Self::Up => "up",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Stopped => "stopped",
            Self::Removed => "removed",
            Self::External => "external",
        }
    }

    /// Whether an operation is making it, or is about to.
    pub fn is_on_its_way(self) -> bool {
        matches!(self, Self::Planned | Self::Provisioning)
    }
}

/// Whether a workspace should run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Desired {
    /// It should run.
    Running,
    /// It should stay stopped.
    Stopped,
}

impl Desired {
    pub(super) const ALL: [Self; 2] = [Self::Running, Self::Stopped];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
        }
    }
}

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
            outcome: row.get(8)?,
            reason: row.get(9)?,
            wanted: row.get(10)?,
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
            db.execute(change, params![id, wanted]).map(drop)
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
        row.outcome,
        row.reason,
        row.wanted,
        row.planned,
    ])
}

/// A path as a JSON array, so that equal paths are equal texts.
pub(super) fn path_json(path: &NamePath) -> String {
    serde_json::json!(path).to_string()
}
