//! Serialises acceptance: the operations of one org are accepted one at a time, so that the store and the org's queue have
//! them in the same order. Orgs rarely wait for each other, so their writes share transactions.

use std::hash::{BuildHasher as _, RandomState};

use tokio::sync::{Mutex, MutexGuard};

/// The number of locks. Orgs that share one only wait for each other, so it need not be exact: enough for
/// imports at the same time to meet rarely.
const LOCKS: usize = 256;

/// The locks of acceptance.
#[derive(Debug)]
pub struct Acceptance {
    locks: Vec<Mutex<()>>,
    hasher: RandomState,
}

impl Default for Acceptance {
    fn default() -> Self {
        Self {
            locks: (0..LOCKS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
        }
    }
}

impl Acceptance {
    /// Waits until no other operation of this org is being accepted, and lets none in until the guard is dropped. A task
    /// holds one guard at a time.
    pub async fn of(&self, org: &str) -> Option<MutexGuard<'_, ()>> {
        let index = self.hasher.hash_one(org) as usize % LOCKS;
        match self.locks.get(index) {
            Some(lock) => Some(lock.lock().await),
            None => None,
        }
    }

    /// Waits until no operation of any org is being accepted, and lets none in until the guards are dropped.
    pub async fn all(&self) -> Vec<MutexGuard<'_, ()>> {
        let mut guards = Vec::new();
        for lock in &self.locks {
            guards.push(lock.lock().await);
        }
        guards
    }
}
