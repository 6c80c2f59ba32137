//! Advances the engine's epoch while calls are running, and sleeps otherwise.
//! Its one thread holds no resource and lives as long as the process.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use wasmtime::EngineWeak;

use crate::limits;

/// Counts the calls that are running.
pub struct Ticker {
    running: Mutex<usize>,
    started: Condvar,
}

/// A call that is running, until it is dropped.
pub struct Running<'a>(&'a Ticker);

impl Ticker {
    pub fn new(engine: EngineWeak) -> Arc<Self> {
        let ticker = Arc::new(Self {
            running: Mutex::new(0),
            started: Condvar::new(),
        });
        let own = ticker.clone();
        std::thread::spawn(move || own.tick(&engine));
        ticker
    }

    /// Keeps the epoch advancing until the guard is dropped.
    pub fn running(&self) -> Running<'_> {
        *self.lock() += 1;
        self.started.notify_one();
        Running(self)
    }

    fn tick(&self, engine: &EngineWeak) {
        loop {
            let mut running = self.lock();
            while *running == 0 {
                running = self
                    .started
                    .wait(running)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            drop(running);
            std::thread::sleep(limits::EPOCH_TICK);
            match engine.upgrade() {
                Some(engine) => engine.increment_epoch(),
                None => return,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        *self.0.lock() -= 1;
    }
}
