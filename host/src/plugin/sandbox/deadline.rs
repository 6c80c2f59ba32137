//! Counts the calls that are running: lets in as many as there are slots for,
//! advances the engine's epoch while there are any, and sleeps otherwise. Its
//! one thread ends when nobody can call any more.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use wasmtime::EngineWeak;

use crate::limits;

/// Counts the calls that are running.
pub struct Ticker(Arc<Shared>);

#[derive(Default)]
struct Shared {
    calls: Mutex<Calls>,
    changed: Condvar,
    /// A call has ended.
    ended: Condvar,
}

#[derive(Default)]
struct Calls {
    running: usize,
    /// There will be none any more.
    closed: bool,
}

/// A call that is running, until it is dropped.
pub struct Running<'a>(&'a Shared);

impl Ticker {
    pub fn new(engine: EngineWeak) -> Arc<Self> {
        let shared = Arc::new(Shared::default());
        let own = shared.clone();
        std::thread::spawn(move || own.tick(&engine));
        Arc::new(Self(shared))
    }

    /// Waits for a slot, and keeps the epoch advancing until the guard is dropped. A call has a deadline, so a slot
    /// becomes free. The thread that calls is kept waiting: a server lets fewer calls run than there are slots, and has its
    /// callers wait before they take a thread (`service/planning.rs`).
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
