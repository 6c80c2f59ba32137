//! Opens a store: nothing is written to a file that is not understood, a new store gets its name only when it is complete,
//! and a migration needs the write lock.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use tokio::sync::broadcast;

use super::database::Database;
use super::migrations::{migrate, newest};
use super::{EVENTS_AHEAD, Store, StoreError};
use crate::model::clock::Clock;
use crate::model::ids::InstanceId;

pub(super) const FILE: &str = "orghost.db";
const LOCK: &str = "orghost.lock";

/// The right to write to a state folder, until it is dropped. One process at a time has it.
#[derive(Debug)]
pub struct WriteLock(#[allow(dead_code, reason = "held, not read: closing it unlocks")] File);

impl WriteLock {
    fn of(folder: &Path) -> Result<Self, StoreError> {
        let unusable = |reason| StoreError::Folder {
            folder: folder.to_owned(),
            reason,
        };
        let file = File::create(folder.join(LOCK)).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::Locked(folder.to_owned())),
            Err(std::fs::TryLockError::Error(reason)) => Err(unusable(reason)),
        }
    }
}

impl Store {
    /// Whether a state folder has a store.
    pub fn is_in(folder: &Path) -> bool {
        folder.join(FILE).exists()
    }

    /// Opens the store of a state folder. Creates both when they do not exist.
    ///
    /// # Errors
    /// [`StoreError::Folder`] when the folder cannot be used, [`StoreError::Newer`], [`StoreError::Corrupt`] or
    /// [`StoreError::InUse`] when the store cannot be used by this version. Nothing is written to it then.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        Self::open_checked(folder, false, Clock::system())
    }

    /// Opens a store as [`Store::open`] does, after a check of the whole file.
    ///
    /// # Errors
    /// As [`Store::open`]; [`StoreError::Corrupt`] also for damage in a part that is not used now.
    pub fn open_sound(folder: &Path) -> Result<Self, StoreError> {
        Self::open_checked(folder, true, Clock::system())
    }

    /// Opens a store as [`Store::open`] does, with a clock that a test controls.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with(folder: &Path, clock: Clock) -> Result<Self, StoreError> {
        Self::open_checked(folder, false, clock)
    }

    fn open_checked(folder: &Path, read_all: bool, clock: Clock) -> Result<Self, StoreError> {
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
        check_header(&file)?;
        let mut connection = Connection::open(&file).map_err(failed)?;
        // SQLite must not write the log of a killed process into the file before the file is known to be ours.
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
        let known = newest();
        if found > known {
            return Err(StoreError::Newer { file, found, known });
        }
        if found == 0 {
            let reason = "it is the database of another program".to_owned();
            return Err(StoreError::Corrupt { file, reason });
        }
        if read_all || found < known {
            let result: String = connection
                .pragma_query_value(None, "quick_check", |row| row.get(0))
                .map_err(failed)?;
            if result != "ok" {
                let reason = result.lines().next().unwrap_or_default().to_owned();
                return Err(StoreError::Corrupt { file, reason });
            }
        }
        if found < known {
            // A process that uses the older version holds the lock, and must not find a newer store.
            let _lock = match WriteLock::of(folder) {
                Err(StoreError::Locked(_)) => return Err(StoreError::InUse { file, found, known }),
                lock => lock?,
            };
            migrate(&mut connection).map_err(failed)?;
        }
        let instance = configure_writer(&connection).map_err(failed)?;
        connection
            .set_db_config(no_checkpoint, false)
            .map_err(failed)?;
        let database = Database::start(&file, connection).map_err(failed)?;
        Ok(Self {
            database: Arc::new(database),
            known_tokens: Arc::default(),
            stored: broadcast::channel(EVENTS_AHEAD).0,
            instance,
            file: Arc::new(file),
            clock,
        })
    }

    /// The id of this state folder. The labels of its resources on an engine carry it.
    pub fn instance(&self) -> &InstanceId {
        &self.instance
    }

    /// Takes the write lock of the state folder. Does not wait.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process has it.
    pub fn lock(&self) -> Result<WriteLock, StoreError> {
        WriteLock::of(self.file.parent().unwrap_or(Path::new(".")))
    }
}

/// Creates an empty store under a temporary name and renames it, so that no process sees an incomplete one.
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
        // Without this the new name could be lost in a power failure.
        Ok(_) => File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(unusable),
        // Another process created it first.
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(unusable(error.error)),
    }
}

/// Rejects a file that is not a SQLite database. SQLite itself would treat an empty file as an empty database.
fn check_header(file: &Path) -> Result<(), StoreError> {
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

/// Sets what every writing connection needs, and reads the id of the state folder.
fn configure_writer(connection: &Connection) -> rusqlite::Result<InstanceId> {
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection
        .query_row(
            "SELECT value FROM meta WHERE name = 'instance'",
            [],
            |row| row.get(0),
        )
        .map(InstanceId)
}
