//! Events: appended, read from any place on, and followed.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::Stream;
use rusqlite::{Connection, OptionalExtension as _, Row, named_params, params};
use tokio::sync::broadcast::error::RecvError;

use super::error::word;
use super::{LastOutcome, Store, StoreError};
use crate::model::event::{Before, Event, What};
use crate::model::ids::OperationId;

/// An event, and where it stands among all.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// Its place: a later event has a higher one. Places of one host are never used again.
    pub seq: i64,
    /// When, in milliseconds since 1970, by this machine's clock: only `seq` tells the order.
    pub at_ms: i64,
    /// The operation that it is of.
    pub operation: String,
    /// Its org's slug.
    pub org: String,
    /// Its workspace's key.
    pub workspace: Option<String>,
    /// The event as JSON, as [`Event`] serialises.
    pub body: String,
}

/// Which events are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only those of this org.
    pub org: Option<String>,
    /// Only those of this operation.
    pub operation: Option<String>,
}

/// What a follower is given.
#[derive(Debug, Clone, PartialEq)]
pub enum Followed {
    /// The next event.
    Event(Arc<Stored>),
    /// Events that the follower did not see are kept no longer.
    Gap(Gap),
}

/// Places whose events are kept no longer, but for those of operations that did not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// After this one: the last that the follower has.
    pub after: i64,
    /// Up to and with this one.
    pub until: i64,
}

impl Filter {
    fn takes(&self, event: &Stored) -> bool {
        let same =
            |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|w| w == found);
        same(&self.org, &event.org) && same(&self.operation, &event.operation)
    }
}

impl Store {
    /// Appends one event, and lets the workspace's row follow it. Returns
    /// when it is stored: what it announces may be done after that.
    pub async fn append(&self, operation: &OperationId, event: &Event) -> Result<(), StoreError> {
        let (operation, mut event) = (operation.0.clone(), event.clone());
        if let What::Failed(failure) = &mut event.what {
            // What a workspace printed may hold secrets: it is shown, and not kept.
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
            // A replacement is made while the one before answers; who is skipped is left as it was.
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
                    .execute(params![id, outcome, url, reason, keeps_url])?;
            }
            if let What::Broke { reason } = &event.what {
                // Whoever was on its way is so no longer.
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
        // By the thread that writes: followers see events in their order. Nobody may be listening.
        let publish = move |stored: &Arc<Stored>| drop(sender.send(stored.clone()));
        let appended = self.database.write_then(work, publish).await;
        appended.map_err(|reason| StoreError::of(&self.file, reason))?;
        #[cfg(feature = "fault-injection")]
        crate::fault::after_write();
        Ok(())
    }

    /// Events after a place, in their order, at most `limit`. Those that are kept no longer are left out.
    pub async fn events(
        &self,
        after: i64,
        filter: &Filter,
        limit: usize,
    ) -> Result<Vec<Stored>, StoreError> {
        let filter = filter.clone();
        self.read(move |db| page(db, after, &filter, limit)).await
    }

    /// The place of the newest event that there ever was; 0 when there never was one.
    pub async fn newest(&self) -> Result<i64, StoreError> {
        self.read(newest).await
    }

    /// Events after a place, and then all that come: each once, in their order, for ever. Where some are kept no longer, the
    /// follower is told before those that come after them.
    pub fn follow(
        &self,
        after: i64,
        filter: Filter,
    ) -> impl Stream<Item = Result<Followed, StoreError>> + Send + use<> {
        /// Events that are read from the database at once.
        const PAGE: usize = 500;
        struct Follower {
            store: Store,
            filter: Filter,
            last: i64,
            read: VecDeque<Stored>,
            /// There may be more in the database before what is live.
            behind: bool,
            live: tokio::sync::broadcast::Receiver<Arc<Stored>>,
        }
        let follower = Follower {
            // Before anything is read, so that nothing falls between.
            live: self.stored.subscribe(),
            store: self.clone(),
            filter,
            last: after,
            read: VecDeque::new(),
            behind: true,
        };
        futures_util::stream::unfold(Some((follower, 0)), |follower| async move {
            let (mut f, mut told) = follower?;
            loop {
                if let Some(event) = f.read.pop_front() {
                    f.last = event.seq;
                    return Some((Ok(Followed::Event(Arc::new(event))), Some((f, told))));
                }
                if f.behind {
                    let (last, filter) = (f.last, f.filter.clone());
                    let read = f.store.read(move |db| {
                        Ok((gone_for(db, &filter)?, page(db, last, &filter, PAGE)?))
                    });
                    match read.await {
                        Ok((until, events)) => {
                            f.behind = events.len() == PAGE;
                            f.read = events.into();
                            if until > last.max(told) {
                                told = until;
                                let gap = Gap { after: last, until };
                                return Some((Ok(Followed::Gap(gap)), Some((f, told))));
                            }
                            continue;
                        }
                        Err(error) => return Some((Err(error), None)),
                    }
                }
                match f.live.recv().await {
                    Ok(event) if event.seq <= f.last || !f.filter.takes(&event) => {}
                    Ok(event) => {
                        f.last = event.seq;
                        return Some((Ok(Followed::Event(event)), Some((f, told))));
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
    // What is not asked for is not in the query, so that there is an index for what is.
    let of_org = filter.org.as_ref().map_or(":org IS NULL", |_| "org = :org");
    let of_operation = filter.operation.as_ref();
    let of_operation = of_operation.map_or(":operation IS NULL", |_| "operation = :operation");
    let query = format!(
        "SELECT seq, at_ms, operation, org, workspace, body FROM events
         WHERE seq > :after AND {of_org} AND {of_operation} ORDER BY seq LIMIT :limit"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let wanted = named_params! {
        ":after": after, ":org": filter.org, ":operation": filter.operation, ":limit": limit,
    };
    db.prepare_cached(&query)?
        .query_map(wanted, stored)?
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

/// SQLite's own count: also of what is kept no longer.
pub(super) fn newest(db: &Connection) -> rusqlite::Result<i64> {
    let query = "SELECT seq FROM sqlite_sequence WHERE name = 'events'";
    let newest = db.prepare_cached(query)?.query_row([], |row| row.get(0));
    Ok(newest.optional()?.unwrap_or(0))
}

/// As [`gone`], for who follows one operation: all events of one that did not end are kept.
fn gone_for(db: &Connection, filter: &Filter) -> rusqlite::Result<i64> {
    let open = "SELECT EXISTS (SELECT 1 FROM operations WHERE id = ?1 AND ended_ms IS NULL)";
    let is_open = match &filter.operation {
        Some(operation) => db
            .prepare_cached(open)?
            .query_row([operation], |row| row.get(0))?,
        None => false,
    };
    if is_open { Ok(0) } else { gone(db) }
}

/// Up to where events are kept no longer; 0 while all are.
pub(super) fn gone(db: &Connection) -> rusqlite::Result<i64> {
    let query = "SELECT value FROM meta WHERE name = 'events_gone'";
    let text: String = db.prepare_cached(query)?.query_row([], |row| row.get(0))?;
    word("meta events_gone", "value", &text, |text| text.parse().ok())
}
