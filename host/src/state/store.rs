//! The store, which is the database of a state folder: orgs and their sources, workspaces, operations, and the append-only
//! journal of events. The only module with SQL. Values of variables are only in the table `sealed`, encrypted with a key
//! that is not in the store.
//!
//! The journal is write-ahead: the event of a step is stored before the step is taken, so that after a crash the next run
//! knows which operation was interrupted, and at which step.

mod answers;
mod audit;
mod copy;
mod database;
mod encrypted;
mod error;
mod events;
mod migrations;
mod opening;
mod operations;
mod orgs;
mod retention;
mod sources;
mod tokens;
mod version_3;
mod words;
mod workspaces;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rusqlite::Connection;
use tokio::sync::broadcast;

use crate::model::clock::Clock;
use crate::model::ids::InstanceId;
pub use crate::model::status::{Desired, LastOutcome, OperationState, WorkspaceRow};
pub use answers::{Answer, Earlier};
pub use audit::AuditRow;
use database::Database;
pub use encrypted::Label;
pub use error::StoreError;
pub use events::{Filter, Followed, Gap, Stored};
use opening::FILE;
pub use opening::WriteLock;
pub use operations::{CutOff, OperationRow, Start, Subject};
pub use orgs::{ListedOrg, OrgRow};
pub use retention::Pruned;
pub use sources::{KeptSource, SourceRow};
use tokens::KnownTokens;
pub use tokens::{Admission, TokenRow};

/// An open store. Cheap to clone; the database closes with the last clone.
#[derive(Debug, Clone)]
pub struct Store {
    database: Arc<Database>,
    known_tokens: Arc<Mutex<KnownTokens>>,
    /// Sends every event after it was stored.
    stored: broadcast::Sender<Arc<Stored>>,
    instance: InstanceId,
    file: Arc<PathBuf>,
    clock: Clock,
}

/// The number of events that a follower may lag behind before it has to read them from the database.
const EVENTS_AHEAD: usize = 1024;

impl Store {
    /// Runs a query. Reads run beside each other and beside the one write.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let read = self.database.read(work).await;
        read.map_err(|reason| StoreError::of(&self.file, reason))
    }

    /// Runs a query on this thread, which may wait for the disk.
    fn read_here<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let read = self.database.read_here(work);
        read.map_err(|reason| StoreError::of(&self.file, reason))
    }

    /// Runs a write as one transaction, and returns when it is on the disk.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let written = self.database.write_then(work, |_| ()).await;
        written.map_err(|reason| StoreError::of(&self.file, reason))
    }
}
