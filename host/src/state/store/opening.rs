//! Opening a store: understood before it is written to, made anew only as a whole, and changed to a newer version only under
//! the write lock.

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

/// The one writer of a state folder, until it is dropped.
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

    /// Opens the store of a state folder, and makes both when they are not there.
    ///
    /// # Errors
    /// See [`StoreError`]; a store that is not understood is never written to.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        Self::open_checked(folder, false, Clock::system())
    }

    /// Opens the store of a state folder as [`Store::open`] does, after all of it was read and found sound.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] too for a damage that nobody would have met yet.
    pub fn open_sound(folder: &Path) -> Result<Self, StoreError> {
        Self::open_checked(folder, true, Clock::system())
    }

    /// Opens the store of a state folder as [`Store::open`] does, with a clock that somebody made up.
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
        let known = newest();
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
        if found < known {
            // Whoever works on it knows it as it is.
            let _lock = match WriteLock::of(folder) {
                Err(StoreError::Locked(_)) => return Err(StoreError::InUse { file, found, known }),
                lock => lock?,
            };
            migrate(&mut connection).map_err(failed)?;
        }
        let instance = settle(&connection).map_err(failed)?;
        connection
            .set_db_config(no_checkpoint, false)
            .map_err(failed)?;
        let database = Database::start(&file, connection).map_err(failed)?;
        Ok(Self {
            database: Arc::new(database),
            stored: broadcast::channel(EVENTS_AHEAD).0,
            instance,
            file: Arc::new(file),
            clock,
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
        WriteLock::of(self.file.parent().unwrap_or(Path::new(".")))
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
        // Its name survives a power cut, too.
        Ok(_) => File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(unusable),
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

/// What every connection that writes needs; and whose store it is.
fn settle(connection: &Connection) -> rusqlite::Result<InstanceId> {
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
