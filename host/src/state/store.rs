//! What the host remembers: orgs and what they were made from, workspaces,
//! operations, and an append-only journal of events. The only module with SQL.
//! No value of a variable is in it but in `sealed`, which needs a key that is
//! elsewhere.
//!
//! The journal is write-ahead: a step's event is stored before the step is
//! taken, so that whatever happens to the process, the next run knows which
//! operation was cut off, and where.

mod answers;
mod audit;
mod copy;
mod database;
mod error;
mod events;
mod migrations;
mod opening;
mod operations;
mod retention;
mod sources;
mod tokens;
mod workspaces;

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::broadcast;

use crate::model::clock::Clock;
use crate::model::ids::InstanceId;
pub use answers::{Answer, Earlier};
pub use audit::AuditRow;
use database::Database;
pub use error::StoreError;
pub use events::{Filter, Followed, Gap, Stored};
use opening::FILE;
pub use opening::WriteLock;
pub use operations::{CutOff, OperationRow, OperationState, Subject};
pub use retention::Pruned;
pub use sources::{Label, SourceRow};
pub use tokens::{Admission, TokenRow};
use workspaces::write_org;
pub use workspaces::{Desired, LastOutcome, OrgRow, WorkspaceRow};

/// The state folder's database, opened. Cheap to clone; closes with its last clone.
#[derive(Debug, Clone)]
pub struct Store {
    database: Arc<Database>,
    /// Every event, after it was stored.
    stored: broadcast::Sender<Arc<Stored>>,
    instance: InstanceId,
    file: Arc<PathBuf>,
    clock: Clock,
}

/// Events that a follower may be behind before it reads them from the database.
const EVENTS_AHEAD: usize = 1024;

impl Store {
    /// Reads, beside others who read and the one who writes.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let read = self.database.read(work).await;
        read.map_err(|reason| StoreError::of(&self.file, reason))
    }

    /// Writes all of it or nothing, and returns when it is on the disk.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let written = self.database.write_then(work, |_| ()).await;
        written.map_err(|reason| StoreError::of(&self.file, reason))
    }
}
