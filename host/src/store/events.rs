//! Events: appended, read from any place on, and followed.

use std::sync::Arc;

use futures_util::Stream;
use rusqlite::params;
use tokio::sync::broadcast::error::RecvError;

use super::{LastOutcome, Store, StoreError, now_ms};
use crate::event::{Event, What};
use crate::ids::OperationId;

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
        let body = serde_json::to_string(&event).unwrap_or_default();
        let sender = self.stored.clone();
        self.with(move |db| {
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
                    Some((LastOutcome::Failed, None, Some(reason)))
                }
                What::Skipped { reason } => Some((LastOutcome::Skipped, None, Some(reason.clone()))),
                What::Stopped => Some((LastOutcome::Stopped, None, None)),
                What::Removed => Some((LastOutcome::Removed, None, None)),
                _ => None,
            };
            let at_ms = now_ms();
            let tx = db.transaction()?;
            tx.prepare_cached(
                "INSERT INTO events (operation, at_ms, workspace, step, body, org, workspace_id)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![operation, at_ms, key, step, body, event.org, id])?;
            let seq = tx.last_insert_rowid();
            if let (Some(id), Some((outcome, url, reason))) = (&id, outcome) {
                tx.prepare_cached("UPDATE workspaces SET outcome = ?2, url = ?3, reason = ?4 WHERE id = ?1")?
                    .execute(params![id, outcome, url, reason])?;
            }
            if let What::Broke { reason } = &event.what {
                // Whoever was on its way is so no longer.
                tx.execute(
                    "UPDATE workspaces SET outcome = 'failed', url = NULL, reason = ?3
                     WHERE org = ?1 AND (?2 IS NULL OR id = ?2) AND outcome IN ('planned', 'provisioning')",
                    params![event.org, id, reason],
                )?;
            }
            tx.commit()?;
            // Still under the connection's lock: followers see events in their order. Nobody may be listening.
            let _ = sender.send(Arc::new(Stored {
                seq,
                at_ms,
                operation,
                org: event.org,
                workspace: key,
                body,
            }));
            Ok(())
        })
        .await?;
        #[cfg(feature = "fault-injection")]
        crate::fault::after_write();
        Ok(())
    }

    /// Events after a place, in their order, at most `limit`.
    pub async fn events(
        &self,
        after: i64,
        filter: &Filter,
        limit: usize,
    ) -> Result<Vec<Stored>, StoreError> {
        let filter = filter.clone();
        self.with(move |db| {
            let mut query = db.prepare_cached(
                "SELECT seq, at_ms, operation, org, workspace, body FROM events
                 WHERE seq > ?1 AND (?2 IS NULL OR org = ?2) AND (?3 IS NULL OR operation = ?3) ORDER BY seq LIMIT ?4",
            )?;
            query
                .query_map(params![after, filter.org, filter.operation, limit as i64], |row| {
                    Ok(Stored {
                        seq: row.get(0)?,
                        at_ms: row.get(1)?,
                        operation: row.get(2)?,
                        org: row.get(3)?,
                        workspace: row.get(4)?,
                        body: row.get(5)?,
                    })
                })?
                .collect()
        })
        .await
    }

    /// The place of the newest event; 0 when there is none.
    pub async fn newest(&self) -> Result<i64, StoreError> {
        self.with(|db| {
            db.query_row("SELECT coalesce(max(seq), 0) FROM events", [], |row| {
                row.get(0)
            })
        })
        .await
    }

    /// Events after a place, and then all that come: each once, in their order, for ever.
    pub fn follow(
        &self,
        after: i64,
        filter: Filter,
    ) -> impl Stream<Item = Result<Arc<Stored>, StoreError>> + Send + use<> {
        /// Events that are read from the database at once.
        const PAGE: usize = 500;
        struct Follower {
            store: Store,
            filter: Filter,
            last: i64,
            read: std::vec::IntoIter<Stored>,
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
            read: Vec::new().into_iter(),
            behind: true,
        };
        futures_util::stream::unfold(Some(follower), |follower| async move {
            let mut f = follower?;
            loop {
                if let Some(event) = f.read.next() {
                    f.last = event.seq;
                    return Some((Ok(Arc::new(event)), Some(f)));
                }
                if f.behind {
                    match f.store.events(f.last, &f.filter, PAGE).await {
                        Ok(events) => {
                            f.behind = events.len() == PAGE;
                            f.read = events.into_iter();
                            continue;
                        }
                        Err(error) => return Some((Err(error), None)),
                    }
                }
                match f.live.recv().await {
                    Ok(event) if event.seq <= f.last || !f.filter.takes(&event) => {}
                    Ok(event) => {
                        f.last = event.seq;
                        return Some((Ok(event), Some(f)));
                    }
                    Err(RecvError::Lagged(_)) => f.behind = true,
                    Err(RecvError::Closed) => return None,
                }
            }
        })
    }
}
