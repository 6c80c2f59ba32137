//! Prunes the store: ended operations and events by number and age, and old answers. Events of an open operation are never
//! pruned, and followers are told about pruned events.

use rusqlite::{OptionalExtension as _, params};

use super::events::{newest, pruned_until};
use super::{Store, StoreError};
use crate::config::Keep;
use crate::limits;

/// How many rows were pruned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Events.
    pub events: usize,
    /// Operations.
    pub operations: usize,
    /// Answers to requests with an idempotency key.
    pub answers: usize,
}

/// The most rows that one transaction deletes. Other writes then wait for milliseconds.
const BATCH: usize = 1_000;

/// The number of pages that one step returns to the disk, for the same reason.
const PAGES: u32 = 256;

impl Store {
    /// Prunes in small steps, and returns the freed space to the disk.
    pub async fn prune(&self, keep: Keep) -> Result<Pruned, StoreError> {
        let now = self.clock.now_ms();
        let too_old = now.saturating_sub(i64::from(keep.days).saturating_mul(24 * 3600 * 1000));
        let mut pruned = Pruned::default();
        loop {
            let events = self.write(move |db| {
                // The clock may have been changed, so times are not in order: prune up to the first event that is new enough.
                let young = "SELECT seq FROM events WHERE at_ms >= ?1 ORDER BY seq LIMIT 1";
                let young = db.query_row(young, [too_old], |row| row.get::<_, i64>(0));
                let newest = newest(db)?;
                let old = young.optional()?.map_or(newest, |young| young - 1);
                let until = old.max(newest.saturating_sub(i64::from(keep.events)));
                let deleted = db.execute(
                    "DELETE FROM events WHERE seq IN (SELECT seq FROM events WHERE seq <= ?1 AND operation NOT IN
                     (SELECT id FROM operations WHERE ended_ms IS NULL) ORDER BY seq LIMIT ?2)",
                    params![until, BATCH as i64],
                )?;
                if deleted > 0 && until > pruned_until(db)? {
                    let mark = "UPDATE meta SET value = ?1 WHERE name = 'events_gone'";
                    db.execute(mark, [until.to_string()])?;
                }
                Ok(deleted)
            });
            let events = events.await?;
            let operations = self.write(move |db| {
                db.execute(
                    "DELETE FROM operations WHERE rowid IN (SELECT rowid FROM operations WHERE ended_ms IS NOT NULL AND
                     (ended_ms < ?1 OR rowid <= (SELECT rowid FROM operations ORDER BY rowid DESC LIMIT 1 OFFSET ?2))
                     ORDER BY rowid LIMIT ?3)",
                    params![too_old, keep.operations, BATCH as i64],
                )
            });
            let operations = operations.await?;
            pruned.events += events;
            pruned.operations += operations;
            if events < BATCH && operations < BATCH {
                break;
            }
        }
        let kept = i64::try_from(limits::ANSWER_KEPT.as_millis()).unwrap_or(i64::MAX);
        let answers = self.write(move |db| {
            let too_old = now.saturating_sub(kept);
            db.execute("DELETE FROM answers WHERE at_ms < ?1", [too_old])
        });
        pruned.answers = answers.await?;
        while self.shrink().await? {}
        Ok(pruned)
    }

    /// Returns some free pages to the disk. Says whether there are more.
    async fn shrink(&self) -> Result<bool, StoreError> {
        let shrunk = self.database.alone(|db| {
            let free: u32 = db.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
            if free < PAGES {
                return Ok(false);
            }
            let mut vacuum = db.prepare(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
            let mut pages = vacuum.query([])?;
            while pages.next()?.is_some() {}
            drop(pages);
            drop(vacuum);
            let left: u32 = db.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
            Ok(PAGES <= left && left < free)
        });
        let shrunk = shrunk.await;
        shrunk.map_err(|reason| StoreError::of(&self.file, reason))
    }
}
