//! What the host remembers: orgs and what they were made from, workspaces,
//! operations, and an append-only journal of events. The only module with SQL.
//! No value of a variable is in it but in `sealed`, which needs a key that is
//! elsewhere.
//!
//! The journal is write-ahead: a step's event is stored before the step is
//! taken, so that whatever happens to the process, the next run knows which
//! operation was cut off, and where.

mod answers;
mod audit;
mod database;
mod error;
mod events;
mod migrations;
mod opening;
mod operations;
mod retention;
mod sources;
mod tokens;
mod whole;

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use tokio::sync::broadcast;

use crate::clock::Clock;
use crate::config::EngineKind;
use crate::plan::WorkspaceKey;
use crate::provision::spec::{InstanceId, OrgId};
pub use answers::{Answer, Earlier};
pub use audit::AuditRow;
use database::Database;
pub use error::StoreError;
use error::word;
pub use events::{Filter, Followed, Gap, Stored};
use opening::FILE;
pub use opening::WriteLock;
pub use operations::{CutOff, OperationRow, OperationState};
pub use retention::Pruned;
pub use sources::{Label, SourceRow};
pub use tokens::{Admission, TokenRow};

/// The state folder's database, opened. Cheap to clone; closes with its last clone.
#[derive(Debug, Clone)]
pub struct Store {
    database: Arc<Database>,
    /// Every event, after it was stored.
    stored: broadcast::Sender<Arc<Stored>>,
    instance: InstanceId,
    file: Arc<PathBuf>,
    clock: Clock,
}

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
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct WorkspaceRow {
    /// Its identity on this host; absent in a row that was never stored.
    pub id: String,
    /// Unique in the org.
    pub key: String,
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
    /// What the last operation made of it: `planned`, `provisioning`, `up`,
    /// `failed`, `skipped`, `removed`, `external`.
    pub outcome: String,
    /// Why, when it failed or was skipped.
    pub reason: Option<String>,
    /// What somebody wants of it: `running`, or `stopped`.
    pub wanted: String,
}

/// Events that a follower may be behind before it reads them from the database.
const EVENTS_AHEAD: usize = 1024;

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

    /// The workspaces of an org, parents first.
    pub async fn workspaces(&self, org: &str) -> Result<Vec<WorkspaceRow>, StoreError> {
        let org = org.to_owned();
        self.read(move |db| {
            let mut query = db.prepare(
                "SELECT coalesce(id, ''), key, name, runtime, tier, external, url, outcome, reason, wanted
                 FROM workspaces WHERE org = ?1 ORDER BY position, key",
            )?;
            query.query_map([org], workspace)?.collect()
        })
        .await
    }

    /// A workspace by its identity, and its org's slug.
    pub async fn workspace(&self, id: &str) -> Result<Option<(String, WorkspaceRow)>, StoreError> {
        let id = id.to_owned();
        self.read(move |db| {
            db.query_row(
                "SELECT coalesce(id, ''), key, name, runtime, tier, external, url, outcome, reason, wanted, org
                 FROM workspaces WHERE id = ?1",
                [id],
                |row| Ok((row.get(10)?, workspace(row)?)),
            )
            .optional()
        })
        .await
    }

    /// Remembers what somebody wants of a workspace: that it runs, or that it stays stopped.
    pub async fn want(
        &self,
        org: &str,
        key: &WorkspaceKey,
        running: bool,
    ) -> Result<(), StoreError> {
        let (org, key) = (org.to_owned(), key.as_str().to_owned());
        self.write(move |db| {
            let wanted = if running { "running" } else { "stopped" };
            db.execute(
                "UPDATE workspaces SET wanted = ?3 WHERE org = ?1 AND key = ?2",
                params![org, key, wanted],
            )
            .map(drop)
        })
        .await
    }

    /// Remembers where a workspace answers now.
    pub async fn moved(&self, org: &str, key: &str, url: Option<String>) -> Result<(), StoreError> {
        let (org, key) = (org.to_owned(), key.to_owned());
        self.write(move |db| {
            db.execute(
                "UPDATE workspaces SET url = ?3 WHERE org = ?1 AND key = ?2",
                params![org, key, url],
            )
            .map(drop)
        })
        .await
    }

    /// Remembers an org and what its plan says of its workspaces; the
    /// outcomes of workspaces that it knew stay.
    pub async fn put_org(
        &self,
        org: OrgRow,
        workspaces: Vec<WorkspaceRow>,
    ) -> Result<(), StoreError> {
        let instance = self.instance.clone();
        self.write(move |db| write_org(db, instance, &org, &workspaces))
            .await
    }

    /// Forgets the workspaces of an org that are not among `keys`.
    pub async fn keep_workspaces(&self, org: &str, keys: &[&str]) -> Result<(), StoreError> {
        let keys = serde_json::json!(keys).to_string();
        let org = org.to_owned();
        self.write(move |db| {
            db.execute(
                "DELETE FROM workspaces
                 WHERE org = ?1 AND key NOT IN (SELECT value FROM json_each(?2))",
                [org, keys],
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

    /// Reads, beside others who read and the one who writes.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let read = self.database.read(work).await;
        read.map_err(|reason| StoreError::of(&self.file, reason))
    }

    /// Writes all of it or nothing, and returns when it is on the disk.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let written = self.database.write_then(work, |_| ()).await;
        written.map_err(|reason| StoreError::of(&self.file, reason))
    }
}

fn write_org(
    tx: &Connection,
    instance: InstanceId,
    org: &OrgRow,
    workspaces: &[WorkspaceRow],
) -> rusqlite::Result<()> {
    let id = OrgId::new(instance, &org.name);
    let id = |key: &str| Some(id.workspace(&WorkspaceKey::new(key).ok()?).to_string());
    tx.execute(
        "INSERT INTO orgs VALUES (?1, ?2, ?3, ?4) ON CONFLICT (slug)
         DO UPDATE SET name = excluded.name, engine = excluded.engine, template = excluded.template",
        params![org.slug, org.name, org.engine.as_str(), org.template],
    )?;
    for (position, row) in (0_i64..).zip(workspaces) {
        tx.execute(
            "INSERT INTO workspaces VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 'running') ON CONFLICT (org, key)
             DO UPDATE SET position = excluded.position, name = excluded.name, runtime = excluded.runtime,
                           tier = excluded.tier, external = excluded.external, id = excluded.id,
                           wanted = excluded.wanted",
            params![
                org.slug,
                row.key,
                position,
                row.name,
                row.runtime,
                row.tier,
                row.external,
                row.url,
                row.outcome,
                row.reason,
                id(&row.key)
            ],
        )?;
    }
    Ok(())
}

fn org(row: &Row<'_>) -> rusqlite::Result<OrgRow> {
    let slug: String = row.get(0)?;
    let engine: String = row.get(2)?;
    Ok(OrgRow {
        name: row.get(1)?,
        engine: word(
            format_args!("org {slug}"),
            "engine",
            &engine,
            EngineKind::parse,
        )?,
        template: row.get(3)?,
        slug,
    })
}

fn workspace(row: &Row<'_>) -> rusqlite::Result<WorkspaceRow> {
    Ok(WorkspaceRow {
        id: row.get(0)?,
        key: row.get(1)?,
        name: row.get(2)?,
        runtime: row.get(3)?,
        tier: row.get(4)?,
        external: row.get(5)?,
        url: row.get(6)?,
        outcome: row.get(7)?,
        reason: row.get(8)?,
        wanted: row.get(9)?,
    })
}
