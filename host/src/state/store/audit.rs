//! The audit: requests that changed something or were refused. Append-only, bounded in number, without secrets.

use rusqlite::params;

use super::{Store, StoreError};
use crate::limits;

/// One request that changed something, or was refused.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct AuditRow {
    /// The sequence number: a later request has a higher one.
    pub seq: i64,
    /// When it came, in milliseconds since 1970.
    pub at_ms: i64,
    /// The caller's token id, `loopback`, or empty for an unknown caller.
    pub caller: String,
    /// The name of the caller's token.
    pub name: String,
    /// The address that it came from.
    pub address: String,
    /// The method and the route, such as `DELETE /v1/orgs/{org}`.
    pub action: String,
    /// The path, and the parts of the query that are no secret.
    pub target: String,
    /// The HTTP status of the answer. Absent when the host was killed first, or the client did not wait.
    pub status: Option<u16>,
    /// The request's id, as in the header `x-request-id`.
    pub request: String,
}

impl Store {
    /// Appends a row, and returns its sequence number. The row's own `seq` and `at_ms` are ignored.
    pub async fn audit(&self, row: AuditRow) -> Result<i64, StoreError> {
        let now = self.clock.now_ms();
        self.write(move |db| {
            db.prepare_cached(
                "INSERT INTO audit (at_ms, caller, name, address, action, target, status, request)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                now,
                row.caller,
                row.name,
                row.address,
                row.action,
                row.target,
                row.status,
                row.request
            ])?;
            let seq = db.last_insert_rowid();
            // Not at every request, because it reads many rows. Refused requests are bounded apart, so that a flood of them
            // cannot push out requests that changed something.
            if seq % 256 == 0 {
                db.execute(
                    "DELETE FROM audit WHERE status IN (401, 403) AND seq <= (SELECT seq FROM audit
                     WHERE status IN (401, 403) ORDER BY seq DESC LIMIT 1 OFFSET ?1)",
                    [limits::AUDIT_REFUSED],
                )?;
                db.execute(
                    "DELETE FROM audit WHERE seq <= ?1 - ?2",
                    [seq, limits::AUDIT],
                )?;
            }
            Ok(seq)
        })
        .await
    }

    /// Adds the status of the answer to an audited request.
    pub async fn audit_answered(&self, seq: i64, status: u16) -> Result<(), StoreError> {
        self.write(move |db| {
            db.prepare_cached("UPDATE audit SET status = ?2 WHERE seq = ?1")?
                .execute(params![seq, status])
                .map(drop)
        })
        .await
    }

    /// At most `limit` rows, newest first; only those before the number `before`, when it is given.
    pub async fn audited(
        &self,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<AuditRow>, StoreError> {
        self.read(move |db| {
            let mut query = db.prepare_cached(
                "SELECT seq, at_ms, caller, name, address, action, target, status, request FROM audit
                 WHERE ?1 IS NULL OR seq < ?1 ORDER BY seq DESC LIMIT ?2",
            )?;
            query
                .query_map(params![before, limit as i64], |row| {
                    Ok(AuditRow {
                        seq: row.get(0)?,
                        at_ms: row.get(1)?,
                        caller: row.get(2)?,
                        name: row.get(3)?,
                        address: row.get(4)?,
                        action: row.get(5)?,
                        target: row.get(6)?,
                        status: row.get(7)?,
                        request: row.get(8)?,
                    })
                })?
                .collect()
        })
        .await
    }
}
