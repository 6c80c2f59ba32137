//! The threads that speak with SQLite: one writes, some read. Knows no table.
//!
//! Everything that waits to be written when the writer comes to it is one transaction, and nobody is told "stored" before
//! that transaction is on the disk (`synchronous=FULL`). So what was answered survives a power cut, and the disk is waited
//! for once for all who wait, not once for each. What fails is taken back alone.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, ffi};
use tokio::sync::oneshot;

/// Jobs that share one transaction: enough to fill the time that a disk takes, few enough that nobody waits for long.
const TOGETHER: usize = 256;

/// Another process (`orghost token`) may hold the write lock; it does so for milliseconds.
const BUSY: Duration = Duration::from_secs(5);

/// A log that grew beyond this is cut back at the next checkpoint, in bytes.
const LOG_BYTES: i64 = 16 << 20;

/// The threads of one database; the database closes when it is dropped.
pub(super) struct Database {
    // Dropped in this order: whoever closes last empties the log, and should be the writer.
    readers: Threads<ReadJob>,
    writer: Threads<WriteJob>,
}

/// Why a job gave nothing.
pub(super) type Failed = rusqlite::Error;

/// Takes the connection, or why there is none.
type ReadJob = Box<dyn FnOnce(Result<&Connection, Failed>) + Send>;

/// What is written, and who is told of it.
enum WriteJob {
    /// Shares a transaction with others.
    Together(Together),
    /// Has the connection for itself, outside of any transaction.
    Alone(Box<dyn FnOnce(&mut Connection) + Send>),
}

/// Does its work in a transaction, or is told why there is none; gives back who is to be told how the transaction ended.
type Together = Box<dyn FnOnce(Result<&Connection, Failed>) -> Written + Send>;

struct Written {
    /// Why its work failed, which is then taken back.
    failed: Option<Failed>,
    /// Takes why the transaction failed, if it did.
    tell: Box<dyn FnOnce(Option<Failed>) + Send>,
}

/// Threads that take jobs from one queue, until they are dropped.
struct Threads<Job> {
    queue: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Database")
    }
}

impl Database {
    /// Takes over the connection that writes, and starts the threads. Readers connect when somebody reads.
    ///
    /// # Errors
    /// The machine has no room for more threads, or SQLite's.
    pub fn start(file: &Path, writer: Connection) -> Result<Self, Failed> {
        writer.pragma_update(None, "synchronous", "full")?;
        writer.pragma_update(None, "journal_size_limit", LOG_BYTES)?;
        let count = std::thread::available_parallelism().map_or(2, usize::from);
        let (jobs, queue) = mpsc::channel();
        let queue = Arc::new(Mutex::new(queue));
        let mut readers = Threads::taking(jobs);
        for _ in 0..count.clamp(2, 8) {
            let (file, queue) = (file.to_owned(), queue.clone());
            readers.start("store-read", move || read_jobs(&file, &queue))?;
        }
        let (jobs, queue) = mpsc::channel();
        let mut writers = Threads::taking(jobs);
        writers.start("store-write", move || write_jobs(writer, &queue))?;
        Ok(Self {
            readers,
            writer: writers,
        })
    }

    /// Reads, beside others who read and the one who writes. Sees everything that was stored before.
    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failed> + Send + 'static,
    ) -> Result<T, Failed> {
        let (sender, told) = oneshot::channel();
        self.readers.add(Box::new(move |db| {
            // One moment for all that it reads.
            let read = db.and_then(|db| db.unchecked_transaction().and_then(|_moment| work(db)));
            let _ = sender.send(read);
        }));
        told.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Writes all of it or nothing; `then` sees what was stored, in the order in which it was, before anybody else is told.
    /// Returns when it is on the disk.
    pub async fn write_then<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failed> + Send + 'static,
        then: impl FnOnce(&T) + Send + 'static,
    ) -> Result<T, Failed> {
        let (sender, told) = oneshot::channel();
        let job: Together = Box::new(move |db| {
            let done = db.and_then(work);
            Written {
                failed: done.as_ref().err().map(copy),
                tell: Box::new(move |failed| {
                    let done = match failed {
                        None => done,
                        Some(failed) => done.and(Err(failed)),
                    };
                    if let Ok(stored) = &done {
                        then(stored);
                    }
                    let _ = sender.send(done);
                }),
            }
        });
        self.writer.add(WriteJob::Together(job));
        told.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Does what no transaction can: it has the writer for itself.
    pub async fn alone<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, Failed> + Send + 'static,
    ) -> Result<T, Failed> {
        let (sender, told) = oneshot::channel();
        let job = move |db: &mut Connection| drop(sender.send(work(db)));
        self.writer.add(WriteJob::Alone(Box::new(job)));
        told.await.unwrap_or_else(|_| Err(ended()))
    }
}

impl<Job> Threads<Job> {
    fn taking(queue: Sender<Job>) -> Self {
        Self {
            queue: Some(queue),
            threads: Vec::new(),
        }
    }

    fn start(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Failed> {
        let thread = std::thread::Builder::new().name(name.to_owned());
        let thread = thread.spawn(work).map_err(|error| {
            let code = ffi::Error::new(ffi::SQLITE_NOMEM);
            Failed::SqliteFailure(code, Some(format!("no thread for the store: {error}")))
        })?;
        self.threads.push(thread);
        Ok(())
    }

    /// Who adds something that no thread takes any more is told by what is dropped with it.
    fn add(&self, job: Job) {
        if let Some(queue) = &self.queue {
            let _ = queue.send(job);
        }
    }
}

impl<Job> Drop for Threads<Job> {
    fn drop(&mut self) {
        // They end after what was added before.
        self.queue = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// One of the threads that read. Its connection cannot write.
fn read_jobs(file: &Path, queue: &Mutex<Receiver<ReadJob>>) {
    let mut connection = None;
    loop {
        let job = {
            let queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.recv()
        };
        let Ok(job) = job else { return };
        let connected = connection.take().map_or_else(|| reader(file), Ok);
        // A defect costs its caller an answer, and nobody else anything.
        let _ = catch_unwind(AssertUnwindSafe(|| job(connected.as_ref().map_err(copy))));
        connection = connected.ok();
    }
}

/// A connection that reads what the writer wrote.
fn reader(file: &Path) -> Result<Connection, Failed> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

/// The one thread that writes.
fn write_jobs(mut db: Connection, queue: &Receiver<WriteJob>) {
    let mut waiting = VecDeque::new();
    while let Some(first) = waiting.pop_front().or_else(|| queue.recv().ok()) {
        waiting.extend(queue.try_iter().take(TOGETHER));
        match first {
            WriteJob::Alone(work) => {
                let _ = catch_unwind(AssertUnwindSafe(|| work(&mut db)));
            }
            WriteJob::Together(first) => {
                let mut jobs = VecDeque::from([first]);
                while jobs.len() < TOGETHER
                    && matches!(waiting.front(), Some(WriteJob::Together(_)))
                    && let Some(WriteJob::Together(job)) = waiting.pop_front()
                {
                    jobs.push_back(job);
                }
                while !jobs.is_empty() {
                    write_together(&mut db, &mut jobs);
                }
            }
        }
    }
}

/// One transaction for all of them, and then the answers. Jobs are left when SQLite gave the transaction up before them.
fn write_together(db: &mut Connection, jobs: &mut VecDeque<Together>) {
    let mut written = Vec::with_capacity(jobs.len());
    let failed = match db.transaction_with_behavior(TransactionBehavior::Immediate) {
        Ok(tx) => do_jobs(&tx, jobs, &mut written)
            .and_then(|()| tx.commit())
            .err(),
        Err(failed) => {
            written.extend(jobs.drain(..).map(|job| job(Err(copy(&failed)))));
            Some(failed)
        }
    };
    for job in written {
        (job.tell)(failed.as_ref().map(copy));
    }
}

fn do_jobs(
    tx: &Transaction<'_>,
    jobs: &mut VecDeque<Together>,
    written: &mut Vec<Written>,
) -> Result<(), Failed> {
    while let Some(job) = jobs.pop_front() {
        tx.execute_batch("SAVEPOINT job")?;
        // A defect costs its caller an answer, and nobody else anything.
        let done = catch_unwind(AssertUnwindSafe(|| job(Ok(tx)))).ok();
        let failed = done
            .as_ref()
            .map_or_else(|| Some(ended()), |done| done.failed.as_ref().map(copy));
        written.extend(done);
        if let Some(failed) = failed {
            if tx.is_autocommit() {
                // The disk is full, or does not work: nothing of this transaction is there.
                return Err(failed);
            }
            tx.execute_batch("ROLLBACK TO job")?;
        }
        tx.execute_batch("RELEASE job")?;
    }
    Ok(())
}

/// The same failure, for each whom it concerns.
fn copy(failed: &Failed) -> Failed {
    match failed {
        Failed::SqliteFailure(code, words) => Failed::SqliteFailure(*code, words.clone()),
        other => {
            let code = ffi::Error::new(ffi::SQLITE_ERROR);
            Failed::SqliteFailure(code, Some(other.to_string()))
        }
    }
}

/// Nobody answered: a defect in a job, or the thread is gone.
fn ended() -> Failed {
    let code = ffi::Error::new(ffi::SQLITE_ABORT);
    Failed::SqliteFailure(code, Some("the store gave no answer".to_owned()))
}
