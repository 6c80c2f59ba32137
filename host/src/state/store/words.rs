//! Words as columns of the store: an unknown word is an error, never a default.

use rusqlite::ToSql;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef};

use super::{Desired, LastOutcome};
use crate::model::engine_kind::EngineKind;

/// The value that a word of the store stands for.
fn known_word<T: Copy>(
    all: &[T],
    as_str: fn(T) -> &'static str,
    value: ValueRef<'_>,
) -> FromSqlResult<T> {
    let word = value.as_str()?;
    let found = all.iter().copied().find(|one| as_str(*one) == word);
    found.ok_or_else(|| FromSqlError::Other(format!("{word:?} is unknown").into()))
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
