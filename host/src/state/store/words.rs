//! Words as columns of the store: an unknown word is an error, never a default.

use rusqlite::Row;
use rusqlite::types::Type;

/// The value that the word in a column stands for.
pub(super) fn word_at<T: Copy>(
    row: &Row<'_>,
    column: usize,
    all: &[T],
    as_str: fn(T) -> &'static str,
) -> rusqlite::Result<T> {
    let word: String = row.get(column)?;
    let found = all.iter().copied().find(|one| as_str(*one) == word);
    found.ok_or_else(|| {
        let unknown = format!("{word:?} is unknown").into();
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, unknown)
    })
}
