//! Why the store does not work, and what SQLite says as what it means for the store.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use crate::model::diagnostic::Diagnostic;
use crate::problem::{Class, Problem};
use rusqlite::ErrorCode;
use rusqlite::types::Type;

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
    /// An older orghost wrote it, and one is working on it now: it must not be changed under its hands.
    #[error(
        "the store {file} has version {found}, which an older orghost is working on; this one would change it to version {known}"
    )]
    InUse {
        /// The database.
        file: PathBuf,
        /// Its version.
        found: u32,
        /// The version that this orghost needs.
        known: u32,
    },
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
    /// A row holds something that this orghost does not understand.
    #[error("the store {file} cannot be understood: {row}: {reason}")]
    Unreadable {
        /// The database.
        file: PathBuf,
        /// Which row.
        row: String,
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

/// A row that cannot be understood, on its way through SQLite's functions.
#[derive(Debug, thiserror::Error)]
#[error("{row}: {reason}")]
struct Unreadable {
    row: String,
    reason: String,
}

/// That a row holds something that is not understood. `row` names it, such as `operation 3f2a`.
pub(super) fn unreadable(row: impl Display, reason: impl Display) -> rusqlite::Error {
    let unreadable = Unreadable {
        row: row.to_string(),
        reason: reason.to_string(),
    };
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(unreadable))
}

/// What was read of a row: when it is not understood, the error names the row.
pub(super) fn of_row<T>(row: impl Display, read: rusqlite::Result<T>) -> rusqlite::Result<T> {
    use rusqlite::Error;
    read.map_err(|error| match error {
        Error::FromSqlConversionFailure(.., source) if source.is::<Unreadable>() => {
            Error::FromSqlConversionFailure(0, Type::Text, source)
        }
        Error::FromSqlConversionFailure(..)
        | Error::InvalidColumnType(..)
        | Error::IntegralValueOutOfRange(..) => unreadable(row, error),
        other => other,
    })
}

/// A column's JSON, understood.
pub(super) fn json<T: serde::de::DeserializeOwned>(
    row: impl Display,
    column: &str,
    text: &str,
) -> rusqlite::Result<T> {
    serde_json::from_str(text).map_err(|error| unreadable(row, format!("`{column}`: {error}")))
}

/// A column's word, understood.
pub(super) fn word<T>(
    row: impl Display,
    column: &str,
    word: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> rusqlite::Result<T> {
    parse(word).ok_or_else(|| unreadable(row, format!("`{column}` is {word:?}, which is none")))
}

impl StoreError {
    /// What SQLite says, as what it means for the store.
    pub(super) fn of(file: &Path, reason: rusqlite::Error) -> Self {
        let file = file.to_owned();
        let reason = match reason {
            rusqlite::Error::FromSqlConversionFailure(column, kind, source) => {
                match source.downcast::<Unreadable>() {
                    Ok(unreadable) => {
                        let Unreadable { row, reason } = *unreadable;
                        return Self::Unreadable { file, row, reason };
                    }
                    Err(source) => rusqlite::Error::FromSqlConversionFailure(column, kind, source),
                }
            }
            reason => reason,
        };
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

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let (code, help) = match &error {
            StoreError::Folder { .. } => (
                "state-folder",
                "name a folder that you may write with --state or ORGHOST_STATE",
            ),
            StoreError::Locked(_) => (
                "state-locked",
                "wait until it is done, or use another --state folder",
            ),
            StoreError::InUse { .. } => (
                "store-in-use",
                "stop that orghost first (a server that runs, or a command), or use its version; nothing was changed",
            ),
            StoreError::Unreadable { .. } => (
                "store-unreadable",
                "another version of orghost or a person wrote it: use that version, or restore a backup; nothing was changed",
            ),
            StoreError::Newer { .. } => (
                "store-newer",
                "use the newer orghost, or another --state folder; nothing was changed",
            ),
            StoreError::Corrupt { .. } => (
                "store-corrupt",
                "restore a backup into another folder (orghost --state FOLDER restore FILE); nothing was changed",
            ),
            StoreError::Full(_) => (
                "disk-full",
                "make room and run it again: what was stored is still there",
            ),
            StoreError::ReadOnly { .. } => (
                "state-folder",
                "make the state folder writable, or name another one with --state or ORGHOST_STATE",
            ),
            StoreError::Database { .. } => (
                "store",
                "free space or restore the file from a backup; nothing was overwritten",
            ),
        };
        Self::one(
            Class::Failed,
            Diagnostic::new(code, error.to_string()).help(help),
        )
    }
}
