//! The journal of events: append, read from any sequence number, and follow.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::Stream;
use rusqlite::{Connection, OptionalExtension as _, Row, named_params, params};
use tokio::sync::broadcast::error::RecvError;

use super::error::word;
use super::{LastOutcome, Store, StoreError};
use crate::model::event::{Before, Event, What};
use crate::model::ids::OperationId;

/// A stored event.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// The sequence number. It grows with each event of this host, and is never used again.
    pub seq: i64,
    /// When it was stored, in milliseconds since 1970. The clock may be changed; only `seq` gives the order.
    pub at_ms: i64,
    /// The id of its operation.
    pub operation: String,
    /// The slug of its org.
    pub org: String,
    /// The key of its workspace. Absent when it is about the whole org.
    pub workspace: Option<String>,
    /// The event as JSON, as [`Event`] serialises.
    pub body: String,
}

/// Selects events. The default selects all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only events of this org's slug.
    pub org: Option<String>,
    /// Only events of this operation's id.
    pub operation: Option<String>,
}

/// An item of a followed stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Followed {
    /// The next event.
    Event(Arc<Stored>),
    /// Events before the next one were pruned before the follower saw them.
    Gap(Gap),
}

/// A range of sequence numbers whose events were pruned, except those of open operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The last number that the follower has seen; the range begins after it.
    pub after: i64,
    /// The last number of the range.
    pub until: i64,
}

impl Filter {
    fn selects(&self, event: &Stored) -> bool {
        let same =
            |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|w| w == found);
        same(&self.org, &event.org) && same(&self.operation, &event.operation)
    }
}

impl Store {
    /// Appends an event, and updates the row of its workspace. Returns when both are on the disk; only then may the
    /// announced step be taken.
    pub async fn append(&self, operation: &OperationId, event: &Event) -> Result<(), StoreError> {
        let (operation, mut event) = (operation.0.clone(), event.clone());
        if let What::Failed(failure) = &mut event.what {
            // The output of a workspace may hold secrets, so it is shown but never stored.
            failure.last_lines.clear();
        }
        let body = serde_json::json!(event).to_string();
        let (sender, at_ms) = (self.stored.clone(), self.clock.now_ms());
        let work = move |db: &Connection| {
            let key = event.workspace.as_ref().map(|key| key.as_str().to_owned());
            let step = match &event.what {
                What::Step { step } => Some(step.as_str()),
                _ => None,
            };
            let id = event.workspace_id.as_ref().map(|id| id.as_str().to_owned());
            let outcome = match &event.what {
                What::Step { .. } => Some((LastOutcome::Provisioning, None, None)),
                What::Unchanged { url } | What::Up { url, .. } => {
                    Some((LastOutcome::Up, url.clone(), None))
                }
                What::External { url } => Some((LastOutcome::External, url.clone(), None)),
                What::Failed(failure) => {
                    let reason = format!("{}: {}", failure.step.as_str(), failure.reason);
                    let url = failure.before.as_ref().and_then(Before::url);
                    Some((LastOutcome::Failed, url.cloned(), Some(reason)))
                }
                What::Skipped { reason } => {
                    Some((LastOutcome::Skipped, None, Some(reason.clone())))
                }
                What::Stopped => Some((LastOutcome::Stopped, None, None)),
                What::Removed => Some((LastOutcome::Removed, None, None)),
                _ => None,
            };
            // While a replacement is made, the old generation still answers at its URL; a skipped workspace is unchanged.
            let keeps_url = match &event.what {
                What::Step { step } => !step.interrupts(),
                What::Skipped { .. } => true,
                _ => false,
            };
            db.prepare_cached(
                "INSERT INTO events (operation, at_ms, workspace, step, body, org, workspace_id)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![operation, at_ms, key, step, body, event.org, id])?;
            let seq = db.last_insert_rowid();
            if let (Some(id), Some((outcome, url, reason))) = (&id, outcome) {
                db.prepare_cached("UPDATE workspaces SET outcome = ?2, url = iif(?5, url, ?3), reason = ?4 WHERE id = ?1")?
                    .execute(params![id, outcome.as_str(), url, reason, keeps_url])?;
            }
            if let What::Broke { reason } = &event.what {
                // No running operation will end these workspaces any more.
                db.execute(
                    "UPDATE workspaces SET outcome = 'failed', url = NULL, reason = ?3
                     WHERE org = ?1 AND (?2 IS NULL OR id = ?2) AND outcome IN ('planned', 'provisioning')",
                    params![event.org, id, reason],
                )?;
            }
            Ok(Arc::new(Stored {
                seq,
                at_ms,
                operation,
                org: event.org,
                workspace: key,
                body,
            }))
        };
        // Sent by the writer thread, so that followers get events in order. Fails when there are no followers.
        let publish = move |stored: &Arc<Stored>| drop(sender.send(stored.clone()));
        let appended = self.database.write_then(work, publish).await;
        appended.map_err(|reason| StoreError::of(&self.file, reason))?;
        #[cfg(feature = "fault-injection")]
        crate::fault::after_write();
        Ok(())
    }

    /// At most `limit` events after a sequence number, in order. Pruned events are missing.
    pub async fn events(
        &self,
        after: i64,
        filter: &Filter,
        limit: usize,
    ) -> Result<Vec<Stored>, StoreError> {
        let filter = filter.clone();
        self.read(move |db| page(db, after, &filter, limit)).await
    }

    /// The sequence number of the newest event, even if it was pruned; 0 before the first event.
    pub async fn newest(&self) -> Result<i64, StoreError> {
        self.read(newest).await
    }

    /// Follows the journal: every selected event after a sequence number, once and in order, without end. A [`Gap`] comes
    /// before the first event after a pruned range.
    pub fn follow(
        &self,
        after: i64,
        filter: Filter,
    ) -> impl Stream<Item = Result<Followed, StoreError>> + Send + use<> {
        /// The number of events that one query reads.
        const PAGE: usize = 500;
        struct Follower {
            store: Store,
            filter: Filter,
            last: i64,
            read: VecDeque<Stored>,
            /// Whether the database may have events that come before the live ones.
            behind: bool,
            live: tokio::sync::broadcast::Receiver<Arc<Stored>>,
        }
        let follower = Follower {
            // Subscribed before the first read, so that no event is missed between them.
            live: self.stored.subscribe(),
            store: self.clone(),
            filter,
            last: after,
            read: VecDeque::new(),
            behind: true,
        };
        futures_util::stream::unfold(Some((follower, 0)), |follower| async move {
            let (mut f, mut reported_until) = follower?;
            loop {
                if let Some(event) = f.read.pop_front() {
                    f.last = event.seq;
                    return Some((
                        Ok(Followed::Event(Arc::new(event))),
                        Some((f, reported_until)),
                    ));
                }
                if f.behind {
                    let (last, filter) = (f.last, f.filter.clone());
                    let read = f.store.read(move |db| {
                        Ok((
                            pruned_until_for(db, &filter)?,
                            page(db, last, &filter, PAGE)?,
                        ))
                    });
                    match read.await {
                        Ok((until, events)) => {
                            f.behind = events.len() == PAGE;
                            f.read = events.into();
                            if until > last.max(reported_until) {
                                reported_until = until;
                                let gap = Gap { after: last, until };
                                return Some((Ok(Followed::Gap(gap)), Some((f, reported_until))));
                            }
                            continue;
                        }
                        Err(error) => return Some((Err(error), None)),
                    }
                }
                match f.live.recv().await {
                    Ok(event) if event.seq <= f.last || !f.filter.selects(&event) => {}
                    Ok(event) => {
                        f.last = event.seq;
                        return Some((Ok(Followed::Event(event)), Some((f, reported_until))));
                    }
                    Err(RecvError::Lagged(_)) => f.behind = true,
                    Err(RecvError::Closed) => return None,
                }
            }
        })
    }
}

fn page(
    db: &Connection,
    after: i64,
    filter: &Filter,
    limit: usize,
) -> rusqlite::Result<Vec<Stored>> {
    // Only the conditions that are set are in the query, so that SQLite can use the index for them.
    let of_org = filter.org.as_ref().map_or(":org IS NULL", |_| "org = :org");
    let of_operation = filter.operation.as_ref();
    let of_operation = of_operation.map_or(":operation IS NULL", |_| "operation = :operation");
    let query = format!(
        "SELECT seq, at_ms, operation, org, workspace, body FROM events
         WHERE seq > :after AND {of_org} AND {of_operation} ORDER BY seq LIMIT :limit"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let parameters = named_params! {
        ":after": after, ":org": filter.org, ":operation": filter.operation, ":limit": limit,
    };
    db.prepare_cached(&query)?
        .query_map(parameters, stored)?
        .collect()
}

fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    Ok(Stored {
        seq: row.get(0)?,
        at_ms: row.get(1)?,
        operation: row.get(2)?,
        org: row.get(3)?,
        workspace: row.get(4)?,
        body: row.get(5)?,
    })
}

/// The counter of SQLite's AUTOINCREMENT, which also counts pruned events.
pub(super) fn newest(db: &Connection) -> rusqlite::Result<i64> {
    let query = "SELECT seq FROM sqlite_sequence WHERE name = 'events'";
    let newest = db.prepare_cached(query)?.query_row([], |row| row.get(0));
    Ok(newest.optional()?.unwrap_or(0))
}

/// As [`pruned_until`], for a filter. No event of an open operation is ever pruned.
fn pruned_until_for(db: &Connection, filter: &Filter) -> rusqlite::Result<i64> {
    let open = "SELECT EXISTS (SELECT 1 FROM operations WHERE id = ?1 AND ended_ms IS NULL)";
    let is_open = match &filter.operation {
        Some(operation) => db
            .prepare_cached(open)?
            .query_row([operation], |row| row.get(0))?,
        None => false,
    };
    if is_open { Ok(0) } else { pruned_until(db) }
}

/// The sequence number up to which events were pruned; 0 before the first pruning.
pub(super) fn pruned_until(db: &Connection) -> rusqlite::Result<i64> {
    let query = "SELECT value FROM meta WHERE name = 'events_gone'";
    let text: String = db.prepare_cached(query)?.query_row([], |row| row.get(0))?;
    word("meta events_gone", "value", &text, |text| text.parse().ok())
}
