//! Background tasks. Every task has a name, is counted before it starts, is limited in time, does not take the host down when
//! it panics, and is drained before the store closes. Nothing else spawns tasks.

use std::any::Any;
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::model::diagnostic::Diagnostic;
use crate::problem::{Class, Problem};

/// The background tasks of one host. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    running: Arc<Mutex<BTreeMap<u64, String>>>,
    next: Arc<std::sync::atomic::AtomicU64>,
}

/// The host is stopping, and starts no more tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the host is stopping and accepts nothing new")]
pub struct Closed;

/// How a task ended abnormally.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broken {
    /// It panicked, with this message.
    Panicked(String),
    /// It took longer than this limit.
    TooLong(Duration),
}

impl Tasks {
    /// Runs `work` in the background for at most `limit`. If it panics or takes longer, runs `broken` afterwards.
    ///
    /// # Errors
    /// [`Closed`] when the host is stopping; `work` was not started.
    pub fn spawn<W, B>(
        &self,
        name: impl Into<String>,
        limit: Duration,
        work: W,
        broken: impl FnOnce(Broken) -> B + Send + 'static,
    ) -> Result<(), Closed>
    where
        W: Future<Output = ()> + Send + 'static,
        B: Future<Output = ()> + Send + 'static,
    {
        // Taken before the check, so that a drain that begins between them waits for this task.
        let _token = self.tracker.token();
        if self.tracker.is_closed() {
            return Err(Closed);
        }
        let name = name.into();
        let counted = self.count(name.clone());
        let contained = async move {
            let _counted = counted;
            let ended = AssertUnwindSafe(timeout(limit, work)).catch_unwind().await;
            let how = match ended {
                Ok(Ok(())) => return,
                Ok(Err(_)) => Broken::TooLong(limit),
                Err(panic) => Broken::Panicked(panic_message(&*panic)),
            };
            tracing::error!(task = name, ?how, "a task broke");
            // `broken` may panic too.
            let _ = AssertUnwindSafe(async { broken(how).await })
                .catch_unwind()
                .await;
        };
        #[allow(clippy::disallowed_methods, reason = "this is the tracked spawner")]
        self.tracker.spawn(contained);
        Ok(())
    }

    /// Is cancelled when the host stops. Everything that waits also waits for this.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stop
    }

    /// The number of running tasks.
    pub fn count_running(&self) -> usize {
        self.running().len()
    }

    /// Starts no more tasks, asks the running ones to end, and waits at most `limit`. Returns the names of those that still
    /// run.
    pub async fn drain(&self, limit: Duration) -> Vec<String> {
        self.tracker.close();
        self.stop.cancel();
        let _ = timeout(limit, self.tracker.wait()).await;
        self.running().values().cloned().collect()
    }

    fn count(&self, name: String) -> Counted {
        let id = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.running().insert(id, name);
        Counted {
            id,
            tasks: self.clone(),
        }
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<u64, String>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a running task until it is dropped.
struct Counted {
    id: u64,
    tasks: Tasks,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.tasks.running().remove(&self.id);
    }
}

/// Runs work that blocks, away from the async threads.
///
/// # Errors
/// [`Class::Failed`] when it panicked.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        let message = format!("a defect of orghost: {error}");
        Problem::one(Class::Failed, Diagnostic::new("broke", message))
    })
}

impl From<Closed> for Problem {
    fn from(closed: Closed) -> Self {
        let diagnostic = Diagnostic::new("stopping", closed.to_string());
        let help = "send the request again when the host has started again";
        Self::one(Class::Busy, diagnostic.help(help))
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
