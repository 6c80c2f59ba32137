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
mod events;
mod operations;
mod sources;
mod tokens;
mod whole;
mod workspaces;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, Transaction};
use tokio::sync::broadcast;

use crate::ids::InstanceId;
pub use answers::{Answer, Earlier};
pub use audit::AuditRow;
pub use events::{Filter, Stored};
pub use operations::{CutOff, OperationRow, OperationState, Subject};
pub use sources::{Label, SourceRow};
pub use tokens::{Admission, TokenRow};
pub use workspaces::{Desired, LastOutcome, OrgRow, WorkspaceRow};
use workspaces::{migrate_to_names, write_org};

/// The state folder's database, opened. Cheap to clone; closes with its last clone.
#[derive(Debug, Clone)]
pub struct Store {
    connection: Arc<Mutex<Connection>>,
    /// Every event, after it was stored.
    stored: broadcast::Sender<Arc<Stored>>,
    instance: InstanceId,
    file: Arc<PathBuf>,
}

/// The one writer of a state folder, until it is dropped.
#[derive(Debug)]
pub struct WriteLock(#[allow(dead_code, reason = "held, not read: closing it unlocks")] File);

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
    /// Its bytes are not those of a store, or not all of them.
    #[error("the store {file} is damaged: {reason}")]
    Corrupt {
        /// The database.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The disk has no room for it.
    #[error("there is no room for the store {0}: its disk is full")]
    Full(PathBuf),
    /// It cannot be written.
    #[error("the store {file} cannot be written: {reason}")]
    ReadOnly {
        /// The database.
        file: PathBuf,
        /// SQLite's words.
        reason: rusqlite::Error,
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
const MIGRATIONS: [Migration; 3] = [
    Migration::Sql(FIRST),
    Migration::Sql(SECOND),
    Migration::Code(migrate_to_names),
];

/// See [`MIGRATIONS`].
enum Migration {
    Sql(&'static str),
    Code(fn(&Transaction<'_>) -> rusqlite::Result<()>),
}

const FIRST: &str = "
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
";

const SECOND: &str = "
    ALTER TABLE operations ADD COLUMN state TEXT NOT NULL DEFAULT 'running';
    UPDATE operations SET state = 'done' WHERE ended_ms IS NOT NULL;
    ALTER TABLE operations ADD COLUMN workspace TEXT;
    ALTER TABLE operations ADD COLUMN request TEXT NOT NULL DEFAULT 'null';
    ALTER TABLE operations ADD COLUMN failed INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE operations ADD COLUMN errors TEXT NOT NULL DEFAULT '[]';
    ALTER TABLE events ADD COLUMN org TEXT NOT NULL DEFAULT '';
    UPDATE events SET org = coalesce(json_extract(body, '$.org'), '');
    CREATE INDEX events_of_org ON events(org, seq);
    ALTER TABLE workspaces ADD COLUMN id TEXT;
    ALTER TABLE workspaces ADD COLUMN wanted TEXT NOT NULL DEFAULT 'running';
    CREATE UNIQUE INDEX workspaces_by_id ON workspaces(id);
    CREATE TABLE sources (
        org TEXT PRIMARY KEY REFERENCES orgs(slug) ON DELETE CASCADE,
        snapshot TEXT NOT NULL, request TEXT NOT NULL, at_ms INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE sealed (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
    CREATE TABLE tokens (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, scope TEXT NOT NULL, hash BLOB NOT NULL UNIQUE,
        created_ms INTEGER NOT NULL, expires_ms INTEGER, revoked_ms INTEGER, used_ms INTEGER
    ) STRICT;
    CREATE TABLE answers (
        caller TEXT NOT NULL, key TEXT NOT NULL, digest TEXT NOT NULL, at_ms INTEGER NOT NULL,
        status INTEGER, headers TEXT, body BLOB, PRIMARY KEY (caller, key)
    ) STRICT;
    CREATE TABLE audit (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, caller TEXT NOT NULL, name TEXT NOT NULL,
        address TEXT NOT NULL, action TEXT NOT NULL, target TEXT NOT NULL, status INTEGER, request TEXT NOT NULL
    ) STRICT;
    CREATE INDEX audit_refused ON audit(seq) WHERE status IN (401, 403);
";

/// Events that a follower may be behind before it reads them from the database.
const EVENTS_AHEAD: usize = 1024;

const FILE: &str = "orghost.db";
const LOCK: &str = "orghost.lock";

impl Store {
    /// Whether a state folder has a store.
    pub fn is_in(folder: &Path) -> bool {
        folder.join(FILE).exists()
    }

    /// Opens the store of a state folder, and makes both when they are not there.
    ///
    /// # Errors
    /// See [`StoreError`]; a store that is not understood is never written to.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        Self::open_checked(folder, false)
    }

    /// Opens the store of a state folder as [`Store::open`] does, after all of it was read and found sound.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] too for a damage that nobody would have met yet.
    pub fn open_sound(folder: &Path) -> Result<Self, StoreError> {
        Self::open_checked(folder, true)
    }

    fn open_checked(folder: &Path, read_all: bool) -> Result<Self, StoreError> {
        use std::os::unix::fs::DirBuilderExt as _;
        let unusable = |reason| StoreError::Folder {
            folder: folder.to_owned(),
            reason,
        };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(unusable)?;
        let file = folder.join(FILE);
        let failed = |reason| StoreError::of(&file, reason);
        if !file.try_exists().map_err(unusable)? {
            create(folder, &file)?;
        }
        begins_as_a_database(&file)?;
        let mut connection = Connection::open(&file).map_err(failed)?;
        // Until it is understood, not even what a killed process left in its log is written into it.
        let log = folder.join(format!("{FILE}-wal"));
        let has_log = log.metadata().is_ok_and(|log| log.len() > 0);
        let no_checkpoint = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
        connection
            .set_db_config(no_checkpoint, has_log)
            .map_err(failed)?;
        connection
            .busy_timeout(Duration::from_secs(5))
            .map_err(failed)?;
        let found: u32 = connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .map_err(failed)?;
        let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
        if found > known {
            return Err(StoreError::Newer { file, found, known });
        }
        if found == 0 {
            let reason = "it is the database of another program".to_owned();
            return Err(StoreError::Corrupt { file, reason });
        }
        if read_all || found < known {
            let said: String = connection
                .pragma_query_value(None, "quick_check", |row| row.get(0))
                .map_err(failed)?;
            if said != "ok" {
                let reason = said.lines().next().unwrap_or_default().to_owned();
                return Err(StoreError::Corrupt { file, reason });
            }
        }
        let instance = settle(&mut connection).map_err(failed)?;
        connection
            .set_db_config(no_checkpoint, false)
            .map_err(failed)?;
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
            stored: broadcast::channel(EVENTS_AHEAD).0,
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
        result.map_err(|reason| StoreError::of(&self.file, reason))
    }
}

/// Makes an empty store: under another name first, so that a file of the right name is always a whole one.
fn create(folder: &Path, file: &Path) -> Result<(), StoreError> {
    let failed = |reason| StoreError::of(file, reason);
    let unusable = |reason| StoreError::Folder {
        folder: folder.to_owned(),
        reason,
    };
    let new = tempfile::Builder::new()
        .prefix(".new-")
        .suffix(".db")
        .tempfile_in(folder)
        .map_err(unusable)?;
    let mut connection = Connection::open(new.path()).map_err(failed)?;
    migrate(&mut connection).map_err(failed)?;
    connection.close().map_err(|(_, reason)| failed(reason))?;
    match new.persist_noclobber(file) {
        Ok(_) => Ok(()),
        // Another process was first.
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(unusable(error.error)),
    }
}

/// SQLite takes an empty file for an empty database, and would fill it.
fn begins_as_a_database(file: &Path) -> Result<(), StoreError> {
    use std::io::Read as _;
    const MAGIC: &[u8] = b"SQLite format 3\0";
    let mut beginning = Vec::new();
    File::open(file)
        .and_then(|file| file.take(MAGIC.len() as u64).read_to_end(&mut beginning))
        .map_err(|reason| StoreError::Folder {
            folder: file.to_owned(),
            reason,
        })?;
    if beginning == MAGIC {
        return Ok(());
    }
    Err(StoreError::Corrupt {
        file: file.to_owned(),
        reason: "it does not begin as a database does".to_owned(),
    })
}

/// Everything that may write to a store that is understood.
fn settle(connection: &mut Connection) -> rusqlite::Result<InstanceId> {
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    // Enough for a process that is killed; a power cut may lose the newest steps, which a re-run repairs.
    connection.pragma_update(None, "synchronous", "normal")?;
    migrate(connection)?;
    connection
        .query_row(
            "SELECT value FROM meta WHERE name = 'instance'",
            [],
            |row| row.get(0),
        )
        .map(InstanceId)
}

impl StoreError {
    /// What SQLite says, as what it means for the store.
    fn of(file: &Path, reason: rusqlite::Error) -> Self {
        let file = file.to_owned();
        match reason.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt {
                file,
                reason: reason.to_string(),
            },
            Some(ErrorCode::DiskFull) => Self::Full(file),
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                Self::ReadOnly { file, reason }
            }
            _ => Self::Database { file, reason },
        }
    }
}

fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let tx = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let found: u32 = tx.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for (version, migration) in (1_u32..).zip(MIGRATIONS).skip(found as usize) {
        match migration {
            Migration::Sql(sql) => tx.execute_batch(sql)?,
            Migration::Code(change) => change(&tx)?,
        }
        tx.pragma_update(None, "user_version", version)?;
    }
    tx.commit()
}

fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
