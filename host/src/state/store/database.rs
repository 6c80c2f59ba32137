//! The threads that use SQLite: one writes, several read. Knows no table.
//!
//! All writes that wait when the writer is free share one transaction, and each caller is answered after that transaction is
//! on the disk (`synchronous=FULL`). So an answered write survives a power failure, and many writes cost one wait for the
//! disk. A write that fails is rolled back alone.
//!
//! The threads are our own because the crates for them (`deadpool-sqlite` 0.14, `r2d2_sqlite` 0.35, `tokio-rusqlite` 0.8,
//! `async-sqlite` 0.7) need an older rusqlite than 0.43.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, ffi};
use tokio::sync::oneshot;

/// The most jobs in one transaction: enough to fill the time of one disk write, few enough to keep the wait short.
const MAX_JOBS: usize = 256;

/// How long SQLite waits for its write lock. Another process (`orghost token`) holds it for milliseconds.
const BUSY: Duration = Duration::from_secs(5);

/// The size in bytes to which the next checkpoint cuts a larger log.
const LOG_BYTES: i64 = 16 << 20;

/// The compiled statements that each connection keeps: all that the store has for ordinary requests.
const STATEMENTS: usize = 64;

/// The connections that are kept for reads on other threads. Each takes some hundred kilobytes.
const SPARE: usize = 8;

/// The threads of one database. The database closes when this is dropped.
pub(super) struct Database {
    // Dropped in this order. The connection that closes last empties the log, and that should be the writer.
    readers: Threads<ReadJob>,
    /// Connections for reads on the caller's own thread.
    spare: Mutex<Vec<Connection>>,
    /// Notices what other connections commit.
    watch: Mutex<Connection>,
    file: PathBuf,
    writer: Threads<WriteJob>,
}

/// Why a job failed.
pub(super) type Failed = rusqlite::Error;

/// Gets the connection, or the reason why there is none.
type ReadJob = Box<dyn FnOnce(Result<&Connection, Failed>) + Send>;

/// A write.
enum WriteJob {
    /// Shares a transaction with other writes.
    Shared(SharedJob),
    /// Has the connection alone, outside of any transaction.
    Alone(Box<dyn FnOnce(&mut Connection) + Send>),
}

/// Does its work in a transaction, or gets the reason why there is none. Returns how its caller is answered.
type SharedJob = Box<dyn FnOnce(Result<&Connection, Failed>) -> Written + Send>;

struct Written {
    /// Why the work failed. It is rolled back then.
    failed: Option<Failed>,
    /// Answers the caller, with the reason if the transaction failed.
    answer: Box<dyn FnOnce(Option<Failed>) + Send>,
}

/// Threads that take jobs from one queue, until this is dropped.
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
    /// Takes the writing connection and starts the threads. A reader thread connects at its first job.
    ///
    /// # Errors
    /// SQLite refuses a setting, or the operating system starts no more threads (`SQLITE_NOMEM`).
    pub fn start(file: &Path, writer: Connection) -> Result<Self, Failed> {
        writer.pragma_update(None, "synchronous", "full")?;
        writer.pragma_update(None, "journal_size_limit", LOG_BYTES)?;
        writer.set_prepared_statement_cache_capacity(STATEMENTS);
        let count = std::thread::available_parallelism().map_or(2, usize::from);
        let (jobs, queue) = unbounded();
        let mut readers = Threads::new(jobs);
        for _ in 0..count.clamp(2, 8) {
            let (file, queue) = (file.to_owned(), queue.clone());
            readers.start("store-read", move || read_jobs(&file, &queue))?;
        }
        let (jobs, queue) = unbounded();
        let mut writers = Threads::new(jobs);
        writers.start("store-write", move || write_jobs(writer, &queue))?;
        let watch = reader(file)?;
        watch.busy_timeout(Duration::ZERO)?;
        Ok(Self {
            readers,
            spare: Mutex::default(),
            watch: Mutex::new(watch),
            file: file.to_owned(),
            writer: writers,
        })
    }

    /// A number that is another one after any connection, also of another process, has committed. It is read from the shared
    /// memory of the log, so a thread that serves requests may ask. `None` when it cannot be known without waiting.
    pub fn version(&self) -> Option<i64> {
        let watch = self.watch.try_lock().ok()?;
        let mut version = watch.prepare_cached("PRAGMA data_version").ok()?;
        version.query_row([], |row| row.get(0)).ok()
    }

    /// Runs a read as [`Database::read`] does, on this thread, which may wait for the disk.
    pub fn read_here<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failed>,
    ) -> Result<T, Failed> {
        let spare = || self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let found = spare().pop();
        let db = found.map_or_else(|| reader(&self.file), Ok)?;
        let read = read(&db, work);
        let mut spare = spare();
        if spare.len() < SPARE {
            spare.push(db);
        }
        read
    }

    /// Runs a read beside other reads and the one write. It sees everything that was stored before it began.
    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failed> + Send + 'static,
    ) -> Result<T, Failed> {
        let (sender, answer) = oneshot::channel();
        self.readers.add(Box::new(move |db| {
            let _ = sender.send(db.and_then(|db| read(db, work)));
        }));
        answer.await.unwrap_or_else(|_| Err(no_answer()))
    }

    /// Runs a write as one transaction, and returns when it is on the disk. `then` gets the result before the caller, in the
    /// order of the transactions.
    pub async fn write_then<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failed> + Send + 'static,
        then: impl FnOnce(&T) + Send + 'static,
    ) -> Result<T, Failed> {
        let (sender, answer) = oneshot::channel();
        let job: SharedJob = Box::new(move |db| {
            let done = db.and_then(work);
            Written {
                failed: done.as_ref().err().map(copy_error),
                answer: Box::new(move |failed| {
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
        self.writer.add(WriteJob::Shared(job));
        answer.await.unwrap_or_else(|_| Err(no_answer()))
    }

    /// Runs work that SQLite does not allow in a transaction. No other write runs meanwhile.
    pub async fn alone<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, Failed> + Send + 'static,
    ) -> Result<T, Failed> {
        let (sender, answer) = oneshot::channel();
        let job = move |db: &mut Connection| drop(sender.send(work(db)));
        self.writer.add(WriteJob::Alone(Box::new(job)));
        answer.await.unwrap_or_else(|_| Err(no_answer()))
    }
}

impl<Job> Threads<Job> {
    fn new(queue: Sender<Job>) -> Self {
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

    /// When no thread is left, the job is dropped, and its caller gets [`no_answer`].
    fn add(&self, job: Job) {
        if let Some(queue) = &self.queue {
            let _ = queue.send(job);
        }
    }
}

impl<Job> Drop for Threads<Job> {
    fn drop(&mut self) {
        // The threads end after the jobs that were added before.
        self.queue = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Runs a read in a transaction, so that all its queries see the same state.
fn read<T>(
    db: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, Failed>,
) -> Result<T, Failed> {
    let _snapshot = Snapshot::of(db)?;
    work(db)
}

/// A read transaction, until it is dropped.
struct Snapshot<'a>(&'a Connection);

impl<'a> Snapshot<'a> {
    fn of(db: &'a Connection) -> Result<Self, Failed> {
        db.prepare_cached("BEGIN")?.execute([])?;
        Ok(Self(db))
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        let ended = self.0.prepare_cached("COMMIT");
        let _ = ended.and_then(|mut end| end.execute([]));
    }
}

/// The loop of a reader thread. Its connection cannot write.
fn read_jobs(file: &Path, queue: &Receiver<ReadJob>) {
    let mut connection = None;
    for job in queue {
        let connected = connection.take().map_or_else(|| reader(file), Ok);
        // A panic in a job fails only the job's own caller.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            job(connected.as_ref().map_err(copy_error))
        }));
        connection = connected.ok();
    }
}

/// A read-only connection. It is opened read-write, because reading a database in WAL mode may create its shared memory.
fn reader(file: &Path) -> Result<Connection, Failed> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

/// The loop of the writer thread.
fn write_jobs(mut db: Connection, queue: &Receiver<WriteJob>) {
    let mut waiting = VecDeque::new();
    while let Some(first) = waiting.pop_front().or_else(|| queue.recv().ok()) {
        waiting.extend(queue.try_iter().take(MAX_JOBS));
        match first {
            WriteJob::Alone(work) => {
                let _ = catch_unwind(AssertUnwindSafe(|| work(&mut db)));
            }
            WriteJob::Shared(first) => {
                let mut jobs = VecDeque::from([first]);
                while jobs.len() < MAX_JOBS
                    && matches!(waiting.front(), Some(WriteJob::Shared(_)))
                    && let Some(WriteJob::Shared(job)) = waiting.pop_front()
                {
                    jobs.push_back(job);
                }
                while !jobs.is_empty() {
                    write_shared(&mut db, &mut jobs);
                }
            }
        }
    }
}

/// Runs jobs in one transaction, and then answers their callers. Leaves jobs in the queue when SQLite ended the
/// transaction before they ran.
fn write_shared(db: &mut Connection, jobs: &mut VecDeque<SharedJob>) {
    let mut written = Vec::with_capacity(jobs.len());
    let failed = match db.transaction_with_behavior(TransactionBehavior::Immediate) {
        Ok(tx) => do_jobs(&tx, jobs, &mut written)
            .and_then(|()| tx.commit())
            .err(),
        Err(failed) => {
            written.extend(jobs.drain(..).map(|job| job(Err(copy_error(&failed)))));
            Some(failed)
        }
    };
    for job in written {
        (job.answer)(failed.as_ref().map(copy_error));
    }
}

fn do_jobs(
    tx: &Transaction<'_>,
    jobs: &mut VecDeque<SharedJob>,
    written: &mut Vec<Written>,
) -> Result<(), Failed> {
    while let Some(job) = jobs.pop_front() {
        tx.prepare_cached("SAVEPOINT job")?.execute([])?;
        // A panic in a job fails only the job's own caller.
        let done = catch_unwind(AssertUnwindSafe(|| job(Ok(tx)))).ok();
        let failed = done.as_ref().map_or_else(
            || Some(no_answer()),
            |done| done.failed.as_ref().map(copy_error),
        );
        written.extend(done);
        if let Some(failed) = failed {
            if tx.is_autocommit() {
                // The disk is full or failing, and SQLite rolled the whole transaction back.
                return Err(failed);
            }
            tx.execute_batch("ROLLBACK TO job")?;
        }
        tx.prepare_cached("RELEASE job")?.execute([])?;
    }
    Ok(())
}

/// Copies an error for each caller that it concerns.
fn copy_error(failed: &Failed) -> Failed {
    match failed {
        Failed::SqliteFailure(code, message) => Failed::SqliteFailure(*code, message.clone()),
        other => {
            let code = ffi::Error::new(ffi::SQLITE_ERROR);
            Failed::SqliteFailure(code, Some(other.to_string()))
        }
    }
}

/// The job was dropped without an answer: it panicked, or its thread ended.
fn no_answer() -> Failed {
    let code = ffi::Error::new(ffi::SQLITE_ABORT);
    Failed::SqliteFailure(code, Some("the store gave no answer".to_owned()))
}
