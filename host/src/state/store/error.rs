//! Why the store does not work, and what each SQLite error means for it.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use crate::model::diagnostic::Diagnostic;
use crate::problem::{Class, Problem};
use rusqlite::ErrorCode;
use rusqlite::types::Type;

/// Why the store does not work.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder cannot be created or written.
    #[error("the state folder {folder} cannot be used: {reason}")]
    Folder {
        /// The state folder.
        folder: PathBuf,
        /// The error of the operating system.
        reason: std::io::Error,
    },
    /// Another process has the write lock.
    #[error("another orghost is working on the state folder {0}")]
    Locked(PathBuf),
    /// The store needs a migration while a process of an older version uses it.
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
    /// A newer orghost wrote the store.
    #[error("the store {file} has version {found}; this orghost knows versions up to {known}")]
    Newer {
        /// The database.
        file: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version that this orghost knows.
        known: u32,
    },
    /// The file is not a store, or a part of it is missing or altered.
    #[error("the store {file} is damaged: {reason}")]
    Corrupt {
        /// The database.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A row holds a value that this version does not understand.
    #[error("the store {file} cannot be understood: {row}: {reason}")]
    Unreadable {
        /// The database.
        file: PathBuf,
        /// The row, such as `operation 3f2a`.
        row: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The disk is full.
    #[error("there is no room for the store {0}: its disk is full")]
    Full(PathBuf),
    /// The database cannot be written.
    #[error("the store {file} cannot be written: {reason}")]
    ReadOnly {
        /// The database.
        file: PathBuf,
        /// The error of SQLite.
        reason: rusqlite::Error,
    },
    /// Any other error of SQLite.
    #[error("the store {file} does not work: {reason}")]
    Database {
        /// The database.
        file: PathBuf,
        /// The error of SQLite.
        reason: rusqlite::Error,
    },
}

/// A row that is not understood, while it passes through SQLite's functions.
#[derive(Debug, thiserror::Error)]
#[error("{row}: {reason}")]
struct Unreadable {
    row: String,
    reason: String,
}

/// The error for a row that is not understood. `row` names it, such as `operation 3f2a`.
pub(super) fn unreadable(row: impl Display, reason: impl Display) -> rusqlite::Error {
    let unreadable = Unreadable {
        row: row.to_string(),
        reason: reason.to_string(),
    };
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(unreadable))
}

/// Adds the name of the row to the error of a value that was not understood.
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

/// Parses a column of JSON.
pub(super) fn json<T: serde::de::DeserializeOwned>(
    row: impl Display,
    column: &str,
    text: &str,
) -> rusqlite::Result<T> {
    serde_json::from_str(text).map_err(|error| unreadable(row, format!("`{column}`: {error}")))
}

/// Parses a column of one word.
pub(super) fn word<T>(
    row: impl Display,
    column: &str,
    word: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> rusqlite::Result<T> {
    parse(word).ok_or_else(|| unreadable(row, format!("`{column}` is {word:?}, which is unknown")))
}

impl StoreError {
    /// Translates an error of SQLite.
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
                "name a folder that you can write with --state or ORGHOST_STATE",
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
                "a person or another version of orghost wrote it: use that version, or restore a backup; nothing was changed",
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
