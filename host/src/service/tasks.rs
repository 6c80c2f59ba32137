//! Background work: every task is named, counted before it starts, bounded, contained when it panics, and drained before
//! the store closes. The only place where anything is spawned.

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

/// The background work of one host. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    running: Arc<Mutex<BTreeMap<u64, String>>>,
    next: Arc<std::sync::atomic::AtomicU64>,
}

/// The host is stopping, and begins nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the host is stopping: nothing new is begun")]
pub struct Closed;

/// How a task ended that did not end by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broken {
    /// It panicked, with these words.
    Panicked(String),
    /// It took longer than it may.
    TooLong(Duration),
}

impl Tasks {
    /// Runs some work in the background, for at most `limit`. When it panics or takes longer, `broken` is run in its place.
    ///
    /// # Errors
    /// [`Closed`]: it was not begun.
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
        // Taken before it is looked whether the tracker is closed: a drain that closes it now waits for this one.
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
            // What cleans up may be broken too.
            let _ = AssertUnwindSafe(async { broken(how).await })
                .catch_unwind()
                .await;
        };
        #[allow(clippy::disallowed_methods, reason = "this is the tracked spawner")]
        self.tracker.spawn(contained);
        Ok(())
    }

    /// Is cancelled when the host stops: whoever waits for something also waits for this.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stop
    }

    /// How many run.
    pub fn count_running(&self) -> usize {
        self.running().len()
    }

    /// Begins nothing more, asks everything to end, and waits; the names of what still runs after `limit`.
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

/// One of those that run, until it is dropped.
struct Counted {
    id: u64,
    tasks: Tasks,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.tasks.running().remove(&self.id);
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it said nothing".to_owned())
}
