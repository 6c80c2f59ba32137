//! Operations: accepted work, its state and its result.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::error::{json, of_row, word};
use super::orgs::write_org;
use super::sources::write_source;
use super::{KeptSource, OrgRow, Store, StoreError, WorkspaceRow};
use crate::model::diagnostic::Diagnostic;
use crate::model::event::Operation;
use crate::model::ids::{OperationId, WorkspaceId};
use crate::model::status::OperationState;

/// An operation that was interrupted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutOff {
    /// Its id.
    pub id: OperationId,
    /// What it does.
    pub operation: Operation,
    /// The last step of each workspace that is neither up nor failed, as `key: step`.
    pub steps: Vec<String>,
}

/// An operation.
#[derive(Debug, Clone, PartialEq)]
pub struct OperationRow {
    /// Its id.
    pub id: OperationId,
    /// The slug of its org.
    pub org: String,
    /// What it does.
    pub operation: Operation,
    /// The workspace that it is about. Absent when it is about the whole org.
    pub workspace: Option<Subject>,
    /// Its state.
    pub state: OperationState,
    /// The options of the request. With them a later process can carry it out again.
    pub request: serde_json::Value,
    /// The number of workspaces that failed. 0 until it ends.
    pub failed: u32,
    /// Why it could not be carried out at all. Empty otherwise.
    pub errors: Vec<Diagnostic>,
    /// When it was accepted, in milliseconds since 1970.
    pub began_ms: i64,
    /// When it ended, in milliseconds since 1970.
    pub ended_ms: Option<i64>,
    /// When it was cancelled, in milliseconds since 1970. No process begins another step of it.
    pub cancel_ms: Option<i64>,
}

/// The one workspace that an operation is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Its id. Absent for an operation of an older version whose workspace was forgotten since.
    pub id: Option<WorkspaceId>,
    /// Its key when the operation was accepted.
    pub key: String,
}

/// When an accepted operation starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// When the operations before it have ended.
    Queued,
    /// At once, in the process that stores it. It counts as interrupted until [`Store::end`].
    AtOnce,
}

/// Operations are ordered by `rowid`, which is higher for newer rows, because the clock may be changed.
const COLUMNS: &str = "id, org, kind, workspace, state, request, failed, errors, began_ms, ended_ms, workspace_id, cancel_ms";

impl Store {
    /// Adds an operation on a whole org that runs at once. It counts as interrupted until [`Store::end`].
    pub async fn begin(&self, org: &str, operation: Operation) -> Result<OperationId, StoreError> {
        let request = serde_json::Value::Null;
        self.enqueue(org, operation, None, request, Start::AtOnce)
            .await
    }

    /// Adds an operation.
    pub async fn enqueue(
        &self,
        org: &str,
        operation: Operation,
        workspace: Option<Subject>,
        request: serde_json::Value,
        start: Start,
    ) -> Result<OperationId, StoreError> {
        let (org, now) = (org.to_owned(), self.clock.now_ms());
        let request = request.to_string();
        self.write(move |db| {
            let id = insert(db, &org, operation, workspace.as_ref(), &request, now)?;
            if start == Start::AtOnce {
                start_operation(db, &id)?;
            }
            Ok(id)
        })
        .await
    }

    /// Stores an accepted import in one transaction: the org, its workspaces, its source, and the operation that brings it
    /// up. Without a source, no later process can make the org again.
    pub async fn accept(
        &self,
        org: OrgRow,
        workspaces: Vec<WorkspaceRow>,
        source: Option<KeptSource>,
        start: Start,
    ) -> Result<OperationId, StoreError> {
        let now = self.clock.now_ms();
        self.write(move |db| {
            write_org(db, &org, &workspaces)?;
            write_source(db, &org.slug, source.as_ref(), now)?;
            let request = source.map_or(serde_json::Value::Null, |source| source.row.request);
            let request = request.to_string();
            let id = insert(db, &org.slug, Operation::Up, None, &request, now)?;
            if start == Start::AtOnce {
                start_operation(db, &id)?;
            }
            Ok(id)
        })
        .await
    }

    /// Marks a queued operation as running. Returns `false` if it was cancelled or has ended; then it must not run.
    pub async fn run(&self, id: &OperationId) -> Result<bool, StoreError> {
        let id = id.clone();
        self.write(move |db| start_operation(db, &id)).await
    }

    /// Ends all running and interrupted operations of an org; `failed` is the number of workspaces that failed. A cancelled
    /// operation with failed workspaces ends as cancelled.
    pub async fn end(&self, org: &str, failed: usize) -> Result<(), StoreError> {
        let (org, now) = (org.to_owned(), self.clock.now_ms());
        self.write(move |db| {
            db.prepare_cached(
                "UPDATE operations SET ended_ms = ?2, failed = ?3, state =
                 iif(?3 > 0, iif(cancel_ms IS NULL, 'failed', 'cancelled'), 'done')
                 WHERE org = ?1 AND ended_ms IS NULL AND state = 'running'",
            )?
            .execute(params![org, now, failed as i64])
            .map(drop)
        })
        .await
    }

    /// Ends one operation; `failed` is the number of workspaces that failed.
    pub async fn finish(&self, id: &OperationId, failed: usize) -> Result<(), StoreError> {
        let (id, now) = (id.0.clone(), self.clock.now_ms());
        self.write(move |db| {
            db.execute(
                "UPDATE operations SET ended_ms = ?2, failed = ?3, state = iif(?3 > 0, 'failed', 'done') WHERE id = ?1",
                params![id, now, failed as i64],
            )
            .map(drop)
        })
        .await
    }

    /// Puts a running operation back into the queue, because the host stops: the next process resumes it. Returns `false` for
    /// a cancelled operation, which is not resumed.
    pub async fn requeue(&self, id: &OperationId) -> Result<bool, StoreError> {
        let id = id.0.clone();
        self.write(move |db| {
            let requeued = db.execute(
                "UPDATE operations SET state = 'queued', ended_ms = NULL, failed = 0 WHERE id = ?1 AND cancel_ms IS NULL",
                [id],
            );
            requeued.map(|rows| rows > 0)
        })
        .await
    }

    /// Marks an operation as cancelled, before anything is done about it. Returns whether it was still open.
    pub async fn cancel(&self, id: &OperationId) -> Result<bool, StoreError> {
        let (id, now) = (id.0.clone(), self.clock.now_ms());
        self.write(move |db| {
            let cancelled = db.execute(
                "UPDATE operations SET cancel_ms = coalesce(cancel_ms, ?2) WHERE id = ?1 AND ended_ms IS NULL",
                params![id, now],
            );
            cancelled.map(|rows| rows > 0)
        })
        .await
    }

    /// Ends one operation in a final state, with its errors.
    pub async fn close(
        &self,
        id: &OperationId,
        state: OperationState,
        errors: &[Diagnostic],
    ) -> Result<(), StoreError> {
        let (id, now) = (id.0.clone(), self.clock.now_ms());
        let errors = serde_json::json!(errors).to_string();
        self.write(move |db| {
            db.execute(
                "UPDATE operations SET ended_ms = coalesce(ended_ms, ?2), state = ?3, errors = ?4 WHERE id = ?1",
                params![id, now, state.as_str(), errors],
            )
            .map(drop)
        })
        .await
    }

    /// An operation by its id.
    pub async fn operation(&self, id: &str) -> Result<Option<OperationRow>, StoreError> {
        let id = id.to_owned();
        self.read(move |db| {
            let query = format!("SELECT {COLUMNS} FROM operations WHERE id = ?1");
            db.prepare_cached(&query)?
                .query_row([id], operation)
                .optional()
        })
        .await
    }

    /// Operations of all orgs that have not ended, oldest first.
    pub async fn unended(&self) -> Result<Vec<OperationRow>, StoreError> {
        self.read(move |db| {
            let query =
                format!("SELECT {COLUMNS} FROM operations WHERE ended_ms IS NULL ORDER BY rowid");
            db.prepare(&query)?.query_map([], operation)?.collect()
        })
        .await
    }

    /// At most `limit` operations of an org, newest first; only those before the operation `before`, when it is given.
    pub async fn operations(
        &self,
        org: &str,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Vec<OperationRow>, StoreError> {
        let (org, before) = (org.to_owned(), before.map(str::to_owned));
        self.read(move |db| {
            let query = format!(
                "SELECT {COLUMNS} FROM operations
                 WHERE org = ?1 AND (?2 IS NULL OR rowid < (SELECT rowid FROM operations WHERE id = ?2))
                 ORDER BY rowid DESC LIMIT ?3"
            );
            db.prepare_cached(&query)?
                .query_map(params![org, before, limit as i64], operation)?
                .collect()
        })
        .await
    }

    /// The number of kept operations by kind and state.
    pub async fn tally(&self) -> Result<Vec<(Operation, OperationState, u64)>, StoreError> {
        self.read(move |db| {
            let query = "SELECT kind, state, count(*) FROM operations GROUP BY kind, state";
            let counted = |row: &Row<'_>| {
                let (kind, state): (String, String) = (row.get(0)?, row.get(1)?);
                let count = row.get::<_, i64>(2)?.unsigned_abs();
                Ok((
                    word("operations", "kind", &kind, Operation::parse)?,
                    word("operations", "state", &state, OperationState::parse)?,
                    count,
                ))
            };
            db.prepare(query)?.query_map([], counted)?.collect()
        })
        .await
    }

    /// Operations of an org that began and did not end. Without a running process, these were interrupted.
    pub async fn cut_off(&self, org: &str) -> Result<Vec<CutOff>, StoreError> {
        let org = org.to_owned();
        self.read(move |db| {
            let mut operations = db.prepare_cached(
                "SELECT id, kind FROM operations WHERE org = ?1 AND ended_ms IS NULL AND state = 'running'
                 ORDER BY rowid",
            )?;
            // A workspace whose newest event is a step was interrupted at that step.
            let mut steps = db.prepare_cached(
                "SELECT workspace, step FROM (SELECT workspace, step, max(seq) FROM events
                 WHERE operation = ?1 AND workspace IS NOT NULL GROUP BY workspace) WHERE step IS NOT NULL",
            )?;
            let open = operations.query_map([org], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
            })?;
            open.map(|row| {
                let (id, kind) = row?;
                let at = steps.query_map([&id], |row| {
                    Ok(format!("{}: {}", row.get::<_, String>(0)?, row.get::<_, String>(1)?))
                })?;
                let name = format_args!("operation {id}");
                Ok(CutOff {
                    steps: at.collect::<rusqlite::Result<_>>()?,
                    operation: word(name, "kind", &kind, Operation::parse)?,
                    id: OperationId(id),
                })
            })
            .collect()
        })
        .await
    }
}

/// Marks an operation as running, unless it was cancelled or has ended. Returns whether it was marked.
fn start_operation(db: &Connection, id: &OperationId) -> rusqlite::Result<bool> {
    let mut start = db.prepare_cached(
        "UPDATE operations SET state = 'running' WHERE id = ?1 AND ended_ms IS NULL AND cancel_ms IS NULL",
    )?;
    start.execute([&id.0]).map(|rows| rows > 0)
}

fn insert(
    db: &Connection,
    org: &str,
    operation: Operation,
    workspace: Option<&Subject>,
    request: &str,
    now_ms: i64,
) -> rusqlite::Result<OperationId> {
    db.prepare_cached(
        "INSERT INTO operations (org, kind, began_ms, state, workspace, workspace_id, request)
         VALUES (?1, ?2, ?3, 'queued', ?4, ?5, ?6) RETURNING id",
    )?
    .query_row(
        params![
            org,
            operation.as_str(),
            now_ms,
            workspace.map(|workspace| &workspace.key),
            workspace.and_then(|workspace| Some(workspace.id.as_ref()?.as_str())),
            request
        ],
        |row| row.get(0).map(OperationId),
    )
}

fn operation(row: &Row<'_>) -> rusqlite::Result<OperationRow> {
    let id: String = row.get(0)?;
    let (kind, state): (String, String) = (row.get(2)?, row.get(4)?);
    let (request, errors): (String, String) = (row.get(5)?, row.get(7)?);
    let name = format!("operation {id}");
    let key: Option<String> = row.get(3)?;
    let subject = match row.get_ref(10)? {
        ValueRef::Null => None,
        _ => Some(of_row(&name, super::workspaces::id(row, 10))?),
    };
    Ok(OperationRow {
        id: OperationId(id),
        org: row.get(1)?,
        operation: word(&name, "kind", &kind, Operation::parse)?,
        workspace: key.map(|key| Subject { id: subject, key }),
        state: word(&name, "state", &state, OperationState::parse)?,
        request: json(&name, "request", &request)?,
        failed: row.get(6)?,
        errors: json(&name, "errors", &errors)?,
        began_ms: row.get(8)?,
        ended_ms: row.get(9)?,
        cancel_ms: row.get(11)?,
    })
}
