//! Stored answers to requests with an idempotency key: a repeated request gets the first answer. Kept for a day.

use rusqlite::{OptionalExtension as _, params};

use super::error::{json, unreadable};
use super::{Store, StoreError};
use crate::limits;

/// The HTTP answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The names and values of the headers to repeat.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// What the store knows of an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Earlier {
    /// The key is new, or the process was killed before it answered. The request is to be carried out.
    New,
    /// The request was answered.
    Answered(Answer),
    /// The key was used for another request.
    Other,
}

impl Store {
    /// Claims a key for a request, unless it was used before. Removes answers that are too old or too many.
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

    /// Stores the answer to the request of a key.
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

    /// Releases a key whose request changed nothing.
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
