//! Answers to requests that carry an idempotency key: kept for a day, so that asking again does nothing again.

use rusqlite::{OptionalExtension as _, params};

use super::error::{json, unreadable};
use super::{Store, StoreError};
use crate::limits;

/// An answer, as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Names and values of the headers that belong to it.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// What the store knows of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Earlier {
    /// Nothing, or that a process was killed before it answered: it is to be done now.
    New,
    /// It was answered.
    Answered(Answer),
    /// It was used for another request.
    Other,
}

impl Store {
    /// Takes a key for a request, unless it was used before. Forgets what is too old, or too much.
    pub async fn take_key(
        &self,
        caller: &str,
        key: &str,
        digest: &str,
    ) -> Result<Earlier, StoreError> {
        let (caller, key, digest) = (caller.to_owned(), key.to_owned(), digest.to_owned());
        let now = self.clock.now_ms();
        self.write(move |db| {
            let kept = i64::try_from(limits::ANSWER_KEPT.as_millis()).unwrap_or(i64::MAX);
            db.execute("DELETE FROM answers WHERE at_ms < ?1", [now.saturating_sub(kept)])?;
            let found = db
                .query_row(
                    "SELECT digest, status, headers, body FROM answers WHERE caller = ?1 AND key = ?2",
                    [&caller, &key],
                    |row| {
                        let name = format_args!("answer {key} of {caller}");
                        let parts: (Option<u16>, Option<String>, Option<Vec<u8>>) =
                            (row.get(1)?, row.get(2)?, row.get(3)?);
                        let answer = match parts {
                            (None, None, None) => None,
                            (Some(status), Some(headers), Some(body)) => Some(Answer {
                                status,
                                headers: json(name, "headers", &headers)?,
                                body,
                            }),
                            _ => return Err(unreadable(name, "a part of it is missing")),
                        };
                        Ok((row.get::<_, String>(0)?, answer))
                    },
                )
                .optional()?;
            let earlier = match found {
                Some((used, _)) if used != digest => Earlier::Other,
                Some((_, Some(answer))) => Earlier::Answered(answer),
                Some((_, None)) => Earlier::New,
                None => {
                    db.execute(
                        "INSERT INTO answers (caller, key, digest, at_ms) VALUES (?1, ?2, ?3, ?4)",
                        params![caller, key, digest, now],
                    )?;
                    db.execute(
                        "DELETE FROM answers WHERE caller = ?1 AND rowid IN (SELECT rowid FROM answers
                         WHERE caller = ?1 ORDER BY at_ms DESC, rowid DESC LIMIT -1 OFFSET ?2)",
                        params![caller, limits::ANSWERS_OF_CALLER],
                    )?;
                    Earlier::New
                }
            };
            Ok(earlier)
        })
        .await
    }

    /// Keeps the answer to the request of a key.
    pub async fn put_answer(
        &self,
        caller: &str,
        key: &str,
        answer: Answer,
    ) -> Result<(), StoreError> {
        let (caller, key) = (caller.to_owned(), key.to_owned());
        self.write(move |db| {
            let headers = serde_json::json!(answer.headers).to_string();
            db.execute(
                "UPDATE answers SET status = ?3, headers = ?4, body = ?5 WHERE caller = ?1 AND key = ?2",
                params![caller, key, answer.status, headers, answer.body],
            )
            .map(drop)
        })
        .await
    }

    /// Gives a key back: its request changed nothing.
    pub async fn free_key(&self, caller: &str, key: &str) -> Result<(), StoreError> {
        let (caller, key) = (caller.to_owned(), key.to_owned());
        self.write(move |db| {
            db.execute(
                "DELETE FROM answers WHERE caller = ?1 AND key = ?2",
                [caller, key],
            )
            .map(drop)
        })
        .await
    }
}
