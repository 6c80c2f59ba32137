//! Orgs, their workspaces, and who each workspace is.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, Type, ValueRef};
use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, Transaction, params};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use super::error::of_row;
use super::{Label, Store, StoreError};
use crate::model::digest::hex;
use crate::model::engine_kind::EngineKind;
use crate::model::identity::{Known, Presence};
use crate::model::ids::WorkspaceId;
use crate::model::keys;
use crate::model::names::NamePath;
use crate::model::plan::WorkspaceKey;

/// An org that the host knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrgRow {
    /// Its identity in this state folder.
    pub slug: String,
    /// What people call it.
    pub name: String,
    /// Where its workspaces are: chosen once, kept for everything.
    pub engine: EngineKind,
    /// The folder that it was last brought up from.
    pub template: String,
}

impl OrgRow {
    /// Whether a person means this org: by its slug, or by its whole name.
    pub fn is_called(&self, name: &str) -> bool {
        self.slug == name || self.name == name
    }
}

/// A workspace that the host knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkspaceRow {
    /// Its identity on this host.
    #[schema(value_type = String)]
    pub id: WorkspaceId,
    /// How people address it; unique in the org. A sibling that comes or goes may change it.
    #[schema(value_type = String)]
    pub key: WorkspaceKey,
    /// The names of its ancestors from the org down, then its own: who it is.
    #[schema(value_type = Vec<String>)]
    pub path: NamePath,
    /// What people call it.
    pub name: String,
    /// What the template calls its runtime.
    pub runtime: String,
    /// 1 to 4.
    pub tier: u8,
    /// Runs elsewhere.
    pub external: bool,
    /// Where it answered when it came up.
    pub url: Option<String>,
    /// What the last operation made of it.
    pub outcome: LastOutcome,
    /// Why, when it failed or was skipped.
    pub reason: Option<String>,
    /// What somebody wants of it.
    pub wanted: Desired,
    /// Whether it is in the org's template. One that is not was left alone when the template changed.
    pub planned: bool,
}

/// What the last operation made of a workspace.
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
    /// It was stopped, because somebody wants it stopped.
    Stopped,
    /// It was removed.
    Removed,
    /// It runs elsewhere.
    External,
}

impl LastOutcome {
    const ALL: [Self; 8] = [
        Self::Planned,
        Self::Provisioning,
        Self::Up,
        Self::Failed,
        Self::Skipped,
        Self::Stopped,
        Self::Removed,
        Self::External,
    ];

    /// The outcome as a word.
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

    /// Whether an operation is about to make it, or making it.
    pub fn is_on_its_way(self) -> bool {
        matches!(self, Self::Planned | Self::Provisioning)
    }
}

/// What somebody wants of a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Desired {
    /// That it runs.
    Running,
    /// That it stays stopped.
    Stopped,
}

impl Desired {
    const ALL: [Self; 2] = [Self::Running, Self::Stopped];

    fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
        }
    }
}

/// A word of the store, which is one of these or an error: never a default.
fn known_word<T: Copy>(
    all: &[T],
    as_str: fn(T) -> &'static str,
    value: ValueRef<'_>,
) -> FromSqlResult<T> {
    let word = value.as_str()?;
    let found = all.iter().copied().find(|one| as_str(*one) == word);
    found.ok_or_else(|| FromSqlError::Other(format!("{word:?} is not understood").into()))
}

impl FromSql for LastOutcome {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        known_word(&Self::ALL, Self::as_str, value)
    }
}

impl FromSql for Desired {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        known_word(&Self::ALL, Self::as_str, value)
    }
}

impl FromSql for EngineKind {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        known_word(
            &[Self::Docker, Self::Swarm, Self::Local],
            Self::as_str,
            value,
        )
    }
}

impl ToSql for LastOutcome {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

impl ToSql for Desired {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

/// A value that stands in the store as text.
fn parsed<T, E>(
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

fn path(row: &Row<'_>, column: usize) -> rusqlite::Result<NamePath> {
    parsed(row, column, |text| serde_json::from_str(&text))
}

const COLUMNS: &str =
    "id, key, path, name, runtime, tier, external, url, outcome, reason, wanted, planned";

fn org(row: &Row<'_>) -> rusqlite::Result<OrgRow> {
    let slug: String = row.get(0)?;
    let read = || {
        Ok(OrgRow {
            slug: slug.clone(),
            name: row.get(1)?,
            engine: row.get(2)?,
            template: row.get(3)?,
        })
    };
    of_row(format_args!("org {slug}"), read())
}

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
    /// Every org, by slug.
    ///
    /// # Errors
    /// [`StoreError::Database`], as for all methods below.
    pub async fn orgs(&self) -> Result<Vec<OrgRow>, StoreError> {
        self.read(|db| {
            let mut query =
                db.prepare("SELECT slug, name, engine, template FROM orgs ORDER BY slug")?;
            query.query_map([], org)?.collect()
        })
        .await
    }

    /// The workspaces of an org, parents first; those that are no longer in its template come last.
    pub async fn workspaces(&self, org: &str) -> Result<Vec<WorkspaceRow>, StoreError> {
        let org = org.to_owned();
        self.read(move |db| {
            let mut query = db.prepare(&format!(
                "SELECT {COLUMNS} FROM workspaces WHERE org = ?1 ORDER BY planned DESC, position, key"
            ))?;
            query.query_map([org], workspace)?.collect()
        })
        .await
    }

    /// A workspace by its identity, and its org's slug.
    pub async fn workspace(&self, id: &str) -> Result<Option<(String, WorkspaceRow)>, StoreError> {
        let id = id.to_owned();
        self.read(move |db| {
            db.query_row(
                &format!("SELECT {COLUMNS}, org FROM workspaces WHERE id = ?1"),
                [id],
                |row| Ok((row.get(12)?, workspace(row)?)),
            )
            .optional()
        })
        .await
    }

    /// Every identity that was given in an org, also to workspaces that are no more: their work may still be there.
    pub async fn identities(&self, org: &str) -> Result<Vec<Known>, StoreError> {
        let org = org.to_owned();
        self.read(move |db| {
            let mut query = db.prepare(
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

    /// Remembers what somebody wants of a workspace.
    pub async fn want(&self, id: &WorkspaceId, wanted: Desired) -> Result<(), StoreError> {
        let id = id.as_str().to_owned();
        self.write(move |db| {
            let change = "UPDATE workspaces SET wanted = ?2 WHERE id = ?1";
            db.execute(change, params![id, wanted]).map(drop)
        })
        .await
    }

    /// Remembers where a workspace answers now.
    pub async fn moved(&self, id: &WorkspaceId, url: Option<String>) -> Result<(), StoreError> {
        let id = id.as_str().to_owned();
        self.write(move |db| {
            let change = "UPDATE workspaces SET url = ?2 WHERE id = ?1";
            db.execute(change, params![id, url]).map(drop)
        })
        .await
    }

    /// Remembers an org, what its plan says of its workspaces and who they are; the outcomes of workspaces that it knew
    /// stay.
    pub async fn put_org(
        &self,
        org: OrgRow,
        workspaces: Vec<WorkspaceRow>,
    ) -> Result<(), StoreError> {
        self.write(move |db| write_org(db, &org, &workspaces)).await
    }

    /// Forgets the workspaces of an org that are in its template no longer, but those that are `left`. Who they were is
    /// remembered: an agent's own work may be left.
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

    /// Forgets an org, its workspaces, what it was made from and its sealed variables. Events stay. Not when more of it is
    /// to be done: an import that was accepted meanwhile needs all of them.
    pub async fn forget_org(&self, org: &str) -> Result<(), StoreError> {
        let org = org.to_owned();
        self.write(move |db| {
            let gone = db.execute(
                "DELETE FROM orgs WHERE slug = ?1 AND NOT EXISTS
                 (SELECT 1 FROM operations WHERE org = ?1 AND kind = 'up' AND state = 'queued')",
                [&org],
            )?;
            if gone > 0 {
                db.execute(
                    "DELETE FROM sealed WHERE name = ?1",
                    [Label::vars(&org).as_str()],
                )?;
            }
            Ok(())
        })
        .await
    }
}

pub(super) fn write_org(
    tx: &Connection,
    org: &OrgRow,
    workspaces: &[WorkspaceRow],
) -> rusqlite::Result<()> {
    tx.execute(
        "INSERT INTO orgs VALUES (?1, ?2, ?3, ?4) ON CONFLICT (slug)
         DO UPDATE SET name = excluded.name, engine = excluded.engine, template = excluded.template",
        params![org.slug, org.name, org.engine.as_str(), org.template],
    )?;
    tx.execute(
        "UPDATE workspaces SET planned = FALSE WHERE org = ?1",
        [&org.slug],
    )?;
    for row in workspaces {
        tx.prepare_cached("DELETE FROM identities WHERE org = ?1 AND (id = ?2 OR path = ?3)")?
            .execute(params![org.slug, row.id.as_str(), text(&row.path)])?;
    }
    for (position, row) in (0_i64..).zip(workspaces) {
        tx.prepare_cached("INSERT INTO identities VALUES (?1, ?2, ?3)")?
            .execute(params![org.slug, text(&row.path), row.id.as_str()])?;
        insert(tx, &org.slug, position, row)?;
    }
    rename_left(tx, &org.slug, workspaces)
}

fn insert(
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
        text(&row.path),
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

/// Workspaces that are no longer in the template give way to those that are: a key means one workspace.
fn rename_left(tx: &Connection, org: &str, workspaces: &[WorkspaceRow]) -> rusqlite::Result<()> {
    let left: Vec<(String, NamePath)> = tx
        .prepare("SELECT id, path FROM workspaces WHERE org = ?1 AND NOT planned")?
        .query_map([org], |row| Ok((row.get(0)?, path(row, 1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let here: BTreeSet<&NamePath> = workspaces.iter().map(|row| &row.path).collect();
    let beside: Vec<&NamePath> = left.iter().map(|(_, path)| path).collect();
    let keys = keys::keys(&Vec::from_iter(here.iter().copied()), &beside);
    for (id, path) in &left {
        let Some(key) = keys.get(path) else {
            continue;
        };
        let mut key = key.as_str().to_owned();
        if here.contains(path) {
            // Another workspace has its names now.
            key = format!("{key}-{}", id.get(..8).unwrap_or(id));
        }
        tx.execute(
            "UPDATE workspaces SET key = ?2 WHERE id = ?1",
            params![id, key],
        )?;
    }
    Ok(())
}

/// A path as the store keeps it: a JSON array, so that equal paths are equal texts.
fn text(path: &NamePath) -> String {
    serde_json::json!(path).to_string()
}

/// Version 3 of the store: workspaces are known by their names. In the versions before, they were known by keys, which a
/// plugin had made.
pub(super) fn migrate_to_names(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    tx.execute_batch(
        "CREATE TABLE identities (
             org TEXT NOT NULL REFERENCES orgs(slug) ON DELETE CASCADE, path TEXT NOT NULL, id TEXT NOT NULL UNIQUE,
             PRIMARY KEY (org, path)
         ) STRICT;
         ALTER TABLE workspaces RENAME TO keyed;
         DROP INDEX workspaces_by_id;
         CREATE TABLE workspaces (
             id TEXT PRIMARY KEY, org TEXT NOT NULL REFERENCES orgs(slug) ON DELETE CASCADE, path TEXT NOT NULL,
             key TEXT NOT NULL, position INTEGER NOT NULL, name TEXT NOT NULL, runtime TEXT NOT NULL,
             tier INTEGER NOT NULL, external INTEGER NOT NULL, url TEXT, outcome TEXT NOT NULL, reason TEXT,
             wanted TEXT NOT NULL, planned INTEGER NOT NULL
         ) STRICT;
         CREATE INDEX workspaces_of_org ON workspaces(org, position);
         ALTER TABLE operations ADD COLUMN workspace_id TEXT;
         ALTER TABLE events ADD COLUMN workspace_id TEXT;",
    )?;
    let instance: String = tx.query_row(
        "SELECT value FROM meta WHERE name = 'instance'",
        [],
        |row| row.get(0),
    )?;
    let orgs: Vec<String> = tx
        .prepare("SELECT slug FROM orgs")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for org in orgs {
        for (position, row) in named(tx, &instance, &org)? {
            tx.execute(
                "INSERT INTO identities VALUES (?1, ?2, ?3)",
                params![org, text(&row.path), row.id.as_str()],
            )?;
            insert(tx, &org, position, &row)?;
            for table in ["operations", "events"] {
                tx.execute(
                    &format!(
                        "UPDATE {table} SET workspace_id = ?3 WHERE org = ?1 AND workspace = ?2"
                    ),
                    params![org, row.key.as_str(), row.id.as_str()],
                )?;
            }
        }
    }
    tx.execute_batch("DROP TABLE keyed;")
}

/// The workspaces of an org of an older store. Two siblings could have one name; all but the first are called `NAME (2)`,
/// `NAME (3)` and so on, until their template says what they are called now.
fn named(
    tx: &Transaction<'_>,
    instance: &str,
    org: &str,
) -> rusqlite::Result<Vec<(i64, WorkspaceRow)>> {
    let mut paths: BTreeMap<String, NamePath> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut query = tx.prepare(
        "SELECT coalesce(id, ''), key, name, runtime, tier, external, url, outcome, reason, wanted, position
         FROM keyed WHERE org = ?1 ORDER BY length(key) - length(replace(key, '/', '')), position, key",
    )?;
    let rows = query.query_map([org], |row| {
        let key = parsed(row, 1, |text| WorkspaceKey::new(&text))?;
        let name: String = row.get(2)?;
        let parent = key.parent().and_then(|parent| paths.get(parent));
        let mut path = NamePath::below(parent, &name);
        let mut number = 1;
        while !seen.insert(path.clone()) {
            number += 1;
            path = NamePath::below(parent, &format!("{name} ({number})"));
        }
        paths.insert(key.as_str().to_owned(), path.clone());
        let position = row.get(10)?;
        let known = WorkspaceId::parse(&row.get::<_, String>(0)?);
        // The rule by which older versions made identities.
        let by_key = || hex(&Sha256::digest(format!("{instance}\0{org}\0{key}")));
        let id = known.or_else(|| WorkspaceId::parse(by_key().get(..32)?));
        let wrong = || rusqlite::Error::InvalidColumnType(0, "id".to_owned(), Type::Text);
        let row = WorkspaceRow {
            id: id.ok_or_else(wrong)?,
            key,
            path,
            name,
            runtime: row.get(3)?,
            tier: row.get(4)?,
            external: row.get(5)?,
            url: row.get(6)?,
            outcome: row.get(7)?,
            reason: row.get(8)?,
            wanted: row.get(9)?,
            planned: true,
        };
        Ok((position, row))
    })?;
    rows.collect()
}
