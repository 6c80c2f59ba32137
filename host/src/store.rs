//! What the host remembers: orgs, workspaces, and an append-only journal of
//! events. The only module with SQL. Nothing in it is a secret: no values of
//! variables, no seeds.
//!
//! The journal is write-ahead: a step's event is stored before the step is
//! taken, so that whatever happens to the process, the next run knows which
//! operation was cut off, and where.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, params};

use crate::config::EngineKind;
use crate::event::{Event, Operation, What};
use crate::provision::spec::{InstanceId, OperationId};

/// The state folder's database, opened. Cheap to clone; closes with its last clone.
#[derive(Debug, Clone)]
pub struct Store {
    connection: Arc<Mutex<Connection>>,
    instance: InstanceId,
    file: Arc<PathBuf>,
}

/// The one writer of a state folder, until it is dropped.
#[derive(Debug)]
pub struct WriteLock(#[allow(dead_code, reason = "held, not read: closing it unlocks")] File);

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
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct WorkspaceRow {
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
}

/// An operation that was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutOff {
    /// Which.
    pub id: OperationId,
    /// What it did.
    pub operation: Operation,
    /// The last step of each workspace that was neither up nor failed, as `key: step`.
    pub steps: Vec<String>,
}

/// Why the store does not work.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder cannot be made or written.
    #[error("the state folder {folder} cannot be used: {reason}")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The operating system's words.
        reason: std::io::Error,
    },
    /// Another process writes to it.
    #[error("another orghost is working on the state folder {0}")]
    Locked(PathBuf),
    /// A newer orghost wrote it.
    #[error("the store {file} has version {found}; this orghost knows versions up to {known}")]
    Newer {
        /// The database.
        file: PathBuf,
        /// Its version.
        found: u32,
        /// The newest known.
        known: u32,
    },
    /// The database itself.
    #[error("the store {file} does not work: {reason}")]
    Database {
        /// The database.
        file: PathBuf,
        /// SQLite's words.
        reason: rusqlite::Error,
    },
}

/// Each entry takes the store from its index to the next version; released entries never change.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    INSERT INTO meta VALUES ('instance', lower(hex(randomblob(8))));
    CREATE TABLE orgs (
        slug TEXT PRIMARY KEY, name TEXT NOT NULL, engine TEXT NOT NULL, template TEXT NOT NULL
    ) STRICT;
    CREATE TABLE workspaces (
        org TEXT NOT NULL REFERENCES orgs(slug) ON DELETE CASCADE, key TEXT NOT NULL,
        position INTEGER NOT NULL, name TEXT NOT NULL, runtime TEXT NOT NULL, tier INTEGER NOT NULL,
        external INTEGER NOT NULL, url TEXT, outcome TEXT NOT NULL, reason TEXT,
        PRIMARY KEY (org, key)
    ) STRICT;
    CREATE TABLE operations (
        id TEXT PRIMARY KEY DEFAULT (lower(hex(randomblob(8)))),
        org TEXT NOT NULL, kind TEXT NOT NULL, began_ms INTEGER NOT NULL, ended_ms INTEGER
    ) STRICT;
    CREATE INDEX operations_of_org ON operations(org, ended_ms);
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, operation TEXT NOT NULL, at_ms INTEGER NOT NULL,
        workspace TEXT, step TEXT, body TEXT NOT NULL
    ) STRICT;
    CREATE INDEX events_of_operation ON events(operation, workspace);
"];

const FILE: &str = "orghost.db";
const LOCK: &str = "orghost.lock";

impl Store {
    /// Opens the store of a state folder, and makes both when they are not there.
    ///
    /// # Errors
    /// See [`StoreError`]; a store that is not understood is never written to.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        use std::os::unix::fs::DirBuilderExt as _;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|reason| StoreError::Folder {
                folder: folder.to_owned(),
                reason,
            })?;
        let file = folder.join(FILE);
        let connect = || -> rusqlite::Result<(Connection, Result<InstanceId, u32>)> {
            let mut connection = Connection::open(&file)?;
            connection.busy_timeout(Duration::from_secs(5))?;
            connection.pragma_update(None, "foreign_keys", true)?;
            let found: u32 =
                connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
            if found as usize > MIGRATIONS.len() {
                return Ok((connection, Err(found)));
            }
            connection.pragma_update(None, "journal_mode", "wal")?;
            // Enough for a process that is killed; a power cut may lose the newest steps, which a re-run repairs.
            connection.pragma_update(None, "synchronous", "normal")?;
            migrate(&mut connection)?;
            let instance = connection.query_row(
                "SELECT value FROM meta WHERE name = 'instance'",
                [],
                |row| row.get(0),
            )?;
            Ok((connection, Ok(InstanceId(instance))))
        };
        let (connection, instance) = connect().map_err(|reason| StoreError::Database {
            file: file.clone(),
            reason,
        })?;
        let instance = instance.map_err(|found| StoreError::Newer {
            file: file.clone(),
            found,
            known: u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX),
        })?;
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
            instance,
            file: Arc::new(file),
        })
    }

    /// The identity of this state folder.
    pub fn instance(&self) -> &InstanceId {
        &self.instance
    }

    /// Becomes the one writer of the state folder.
    ///
    /// # Errors
    /// [`StoreError::Locked`] at once when there is another.
    pub fn lock(&self) -> Result<WriteLock, StoreError> {
        let folder = self.file.parent().unwrap_or(Path::new("."));
        let unusable = |reason| StoreError::Folder {
            folder: folder.to_owned(),
            reason,
        };
        let file = File::create(folder.join(LOCK)).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => Ok(WriteLock(file)),
            Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::Locked(folder.to_owned())),
            Err(std::fs::TryLockError::Error(reason)) => Err(unusable(reason)),
        }
    }

    /// Every org, by slug.
    ///
    /// # Errors
    /// [`StoreError::Database`], as for all methods below.
    pub async fn orgs(&self) -> Result<Vec<OrgRow>, StoreError> {
        self.with(|db| {
            let mut query =
                db.prepare("SELECT slug, name, engine, template FROM orgs ORDER BY slug")?;
            query
                .query_map([], |row| {
                    Ok(OrgRow {
                        slug: row.get(0)?,
                        name: row.get(1)?,
                        engine: engine(&row.get::<_, String>(2)?),
                        template: row.get(3)?,
                    })
                })?
                .collect()
        })
        .await
    }

    /// The workspaces of an org, parents first.
    pub async fn workspaces(&self, org: &str) -> Result<Vec<WorkspaceRow>, StoreError> {
        let org = org.to_owned();
        self.with(move |db| {
            let mut query = db.prepare(
                "SELECT key, name, runtime, tier, external, url, outcome, reason
                 FROM workspaces WHERE org = ?1 ORDER BY position, key",
            )?;
            query
                .query_map([org], |row| {
                    Ok(WorkspaceRow {
                        key: row.get(0)?,
                        name: row.get(1)?,
                        runtime: row.get(2)?,
                        tier: row.get(3)?,
                        external: row.get(4)?,
                        url: row.get(5)?,
                        outcome: row.get(6)?,
                        reason: row.get(7)?,
                    })
                })?
                .collect()
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
        self.with(move |db| {
            let tx = db.transaction()?;
            tx.execute(
                "INSERT INTO orgs VALUES (?1, ?2, ?3, ?4) ON CONFLICT (slug)
                 DO UPDATE SET name = excluded.name, engine = excluded.engine, template = excluded.template",
                params![org.slug, org.name, engine_name(org.engine), org.template],
            )?;
            for (position, row) in (0_i64..).zip(&workspaces) {
                tx.execute(
                    "INSERT INTO workspaces VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (org, key)
                     DO UPDATE SET position = excluded.position, name = excluded.name, runtime = excluded.runtime,
                                   tier = excluded.tier, external = excluded.external",
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
                        row.reason
                    ],
                )?;
            }
            tx.commit()
        })
        .await
    }

    /// Forgets the workspaces of an org that are not among `keys`.
    pub async fn keep_workspaces(&self, org: &str, keys: &[&str]) -> Result<(), StoreError> {
        let keys = serde_json::json!(keys).to_string();
        let org = org.to_owned();
        self.with(move |db| {
            db.execute(
                "DELETE FROM workspaces
                 WHERE org = ?1 AND key NOT IN (SELECT value FROM json_each(?2))",
                [org, keys],
            )
            .map(drop)
        })
        .await
    }

    /// Forgets an org and its workspaces. Events stay.
    pub async fn forget_org(&self, org: &str) -> Result<(), StoreError> {
        let org = org.to_owned();
        self.with(move |db| {
            db.execute("DELETE FROM orgs WHERE slug = ?1", [org])
                .map(drop)
        })
        .await
    }

    /// Opens an operation. It counts as cut off until [`Store::end`].
    pub async fn begin(&self, org: &str, operation: Operation) -> Result<OperationId, StoreError> {
        let org = org.to_owned();
        self.with(move |db| {
            let id = db.query_row(
                "INSERT INTO operations (org, kind, began_ms) VALUES (?1, ?2, ?3) RETURNING id",
                params![org, operation.as_str(), now_ms()],
                |row| row.get(0),
            )?;
            Ok(OperationId(id))
        })
        .await
    }

    /// Closes an operation, and every earlier one of its org that was cut off.
    pub async fn end(&self, org: &str) -> Result<(), StoreError> {
        let org = org.to_owned();
        self.with(move |db| {
            db.execute(
                "UPDATE operations SET ended_ms = ?2 WHERE org = ?1 AND ended_ms IS NULL",
                params![org, now_ms()],
            )
            .map(drop)
        })
        .await
    }

    /// Operations of an org that began and never ended: their process was killed.
    pub async fn cut_off(&self, org: &str) -> Result<Vec<CutOff>, StoreError> {
        let org = org.to_owned();
        self.with(move |db| {
            let mut operations =
                db.prepare("SELECT id, kind FROM operations WHERE org = ?1 AND ended_ms IS NULL ORDER BY began_ms")?;
            // The newest event of each workspace; only those whose newest event is a step are open.
            let mut steps = db.prepare(
                "SELECT workspace, step FROM (SELECT workspace, step, max(seq) FROM events
                 WHERE operation = ?1 AND workspace IS NOT NULL GROUP BY workspace) WHERE step IS NOT NULL",
            )?;
            let open = operations.query_map([org], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
            open.map(|row| {
                let (id, kind) = row?;
                let at = steps.query_map([&id], |row| {
                    Ok(format!("{}: {}", row.get::<_, String>(0)?, row.get::<_, String>(1)?))
                })?;
                Ok(CutOff {
                    steps: at.collect::<rusqlite::Result<_>>()?,
                    id: OperationId(id),
                    operation: if kind == Operation::Down.as_str() {
                        Operation::Down
                    } else {
                        Operation::Up
                    },
                })
            })
            .collect()
        })
        .await
    }

    /// Appends one event, and lets the workspace's row follow it. Returns
    /// when it is stored: what it announces may be done after that.
    pub async fn append(&self, operation: &OperationId, event: &Event) -> Result<(), StoreError> {
        let (operation, mut event) = (operation.0.clone(), event.clone());
        if let What::Failed(failure) = &mut event.what {
            // What a workspace printed may hold secrets: it is shown, and not kept.
            failure.last_lines.clear();
        }
        let body = serde_json::to_string(&event).unwrap_or_default();
        self.with(move |db| {
            let key = event.workspace.as_ref().map(|key| key.as_str().to_owned());
            let step = match &event.what {
                What::Step { step } => Some(step.as_str()),
                _ => None,
            };
            let outcome = match &event.what {
                What::Step { .. } => Some(("provisioning", None, None)),
                What::Unchanged { url } | What::Up { url, .. } => Some(("up", url.clone(), None)),
                What::External { url } => Some(("external", url.clone(), None)),
                What::Failed(failure) => Some(("failed", None, Some(format!("{}: {}", failure.step.as_str(), failure.reason)))),
                What::Skipped { reason } => Some(("skipped", None, Some(reason.clone()))),
                What::Removed => Some(("removed", None, None)),
                _ => None,
            };
            let tx = db.transaction()?;
            tx.prepare_cached("INSERT INTO events (operation, at_ms, workspace, step, body) VALUES (?1, ?2, ?3, ?4, ?5)")?
                .execute(params![operation, now_ms(), key, step, body])?;
            if let (Some(key), Some((outcome, url, reason))) = (key, outcome) {
                tx.prepare_cached("UPDATE workspaces SET outcome = ?3, url = ?4, reason = ?5 WHERE org = ?1 AND key = ?2")?
                    .execute(params![event.org, key, outcome, url, reason])?;
            }
            tx.commit()
        })
        .await?;
        #[cfg(feature = "fault-injection")]
        crate::fault::after_journal_write();
        Ok(())
    }

    /// SQLite blocks; the async threads must not.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let connection = self.connection.clone();
        let blocking = tokio::task::spawn_blocking(move || {
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut connection)
        });
        let result = blocking.await.unwrap_or(Err(rusqlite::Error::InvalidQuery));
        result.map_err(|reason| StoreError::Database {
            file: self.file.as_ref().clone(),
            reason,
        })
    }
}

fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let tx = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let found: u32 = tx.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for (version, migration) in (1_u32..).zip(MIGRATIONS).skip(found as usize) {
        tx.execute_batch(migration)?;
        tx.pragma_update(None, "user_version", version)?;
    }
    tx.commit()
}

fn engine_name(engine: EngineKind) -> &'static str {
    match engine {
        EngineKind::Local => "local",
        EngineKind::Docker => "docker",
    }
}

fn engine(name: &str) -> EngineKind {
    match name {
        "docker" => EngineKind::Docker,
        _ => EngineKind::Local,
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
