//! Counts the running calls. It limits them to the number of slots, and one thread advances the engine's epoch while calls
//! run, so that their deadlines are noticed. The thread sleeps when no call runs, and ends with the sandbox.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use wasmtime::EngineWeak;

use crate::limits;

/// Counts the running calls and advances the epoch.
pub struct Ticker(Arc<Shared>);

#[derive(Default)]
struct Shared {
    calls: Mutex<Calls>,
    changed: Condvar,
    /// Notified when a call ends.
    ended: Condvar,
}

#[derive(Default)]
struct Calls {
    running: usize,
    /// Whether the ticker was dropped, so that no call can start.
    closed: bool,
}

/// A guard for a running call, which ends when the guard is dropped.
pub struct Running<'a>(&'a Shared);

impl Ticker {
    pub fn new(engine: EngineWeak) -> Arc<Self> {
        let shared = Arc::new(Shared::default());
        let own = shared.clone();
        std::thread::spawn(move || own.tick(&engine));
        Arc::new(Self(shared))
    }

    /// Waits for a slot. The epoch advances until the guard is dropped. The wait ends, because every call has a deadline. It
    /// blocks the thread; a server therefore runs fewer calls than there are slots, and its requests wait in a queue before
    /// they use a thread (`service/planning.rs`).
    pub fn running(&self) -> Running<'_> {
        let slots = limits::CONCURRENT_CALLS as usize;
        let mut calls = self
            .0
            .ended
            .wait_while(self.0.lock(), |calls| calls.running >= slots)
            .unwrap_or_else(PoisonError::into_inner);
        calls.running += 1;
        drop(calls);
        self.0.changed.notify_one();
        Running(&self.0)
    }
}

impl Shared {
    fn tick(&self, engine: &EngineWeak) {
        loop {
            let calls = self
                .changed
                .wait_while(self.lock(), |calls| calls.running == 0 && !calls.closed)
                .unwrap_or_else(PoisonError::into_inner);
            if calls.closed {
                return;
            }
            drop(calls);
            std::thread::sleep(limits::EPOCH_TICK);
            match engine.upgrade() {
                Some(engine) => engine.increment_epoch(),
                None => return,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.lock().running -= 1;
        self.0.ended.notify_one();
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.changed.notify_one();
    }
}
