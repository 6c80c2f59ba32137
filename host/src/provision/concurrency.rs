//! A semaphore that is fair between orgs: it limits how much work runs at the same time, and orgs take turns.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Grants a limited number of permits. When several orgs wait, they get permits in turn, so that a large org does not hold
/// up a small one.
#[derive(Debug)]
pub struct FairSemaphore {
    permits: usize,
    state: Mutex<State>,
}

/// One permit of a [`FairSemaphore`]. It is returned when it is dropped.
#[derive(Debug)]
pub struct Permit(Arc<FairSemaphore>);

#[derive(Debug)]
struct State {
    /// Free permits.
    free: usize,
    /// The orgs that wait, in the order of their turns; each with its waiters, the longest-waiting first.
    waiting: VecDeque<(String, VecDeque<oneshot::Sender<Permit>>)>,
}

impl FairSemaphore {
    /// A semaphore with this many permits; 0 counts as 1.
    pub fn new(permits: usize) -> Arc<Self> {
        let permits = permits.max(1);
        Arc::new(Self {
            permits,
            state: Mutex::new(State {
                free: permits,
                waiting: VecDeque::new(),
            }),
        })
    }

    /// Waits for a permit. Dropping the future gives up the place in the queue and takes no permit.
    pub async fn take(self: &Arc<Self>, org: &str) -> Permit {
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = self.state();
            match state.waiting.iter_mut().find(|(name, _)| name == org) {
                Some((_, of_org)) => of_org.push_back(sender),
                None => state.waiting.push_back((org.to_owned(), [sender].into())),
            }
        }
        self.hand_out();
        match receiver.await {
            Ok(permit) => permit,
            // A sender is dropped only after it sent a permit, so this is not reached.
            Err(_) => std::future::pending().await,
        }
    }

    /// The number of waiters.
    pub fn waiting(&self) -> usize {
        let state = self.state();
        let waiters = state.waiting.iter().flat_map(|(_, of_org)| of_org);
        waiters.filter(|waiter| !waiter.is_closed()).count()
    }

    /// The number of all permits: the most workspaces that are provisioned at the same time.
    pub fn size(&self) -> usize {
        self.permits
    }

    /// The number of permits that are held.
    pub fn taken(&self) -> usize {
        self.permits.saturating_sub(self.state().free)
    }

    fn hand_out(self: &Arc<Self>) {
        loop {
            // The lock is released here, because `send` drops the permit of a waiter that is gone, and that takes the lock.
            let next = self.state().next();
            let Some(next) = next else { break };
            let _ = next.send(Permit(self.clone()));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The longest-waiting waiter of the org whose turn it is. The org moves to the end of the queue.
    fn next(&mut self) -> Option<oneshot::Sender<Permit>> {
        if self.free == 0 {
            return None;
        }
        while let Some((org, mut of_org)) = self.waiting.pop_front() {
            of_org.retain(|waiter| !waiter.is_closed());
            let next = of_org.pop_front();
            if !of_org.is_empty() {
                self.waiting.push_back((org, of_org));
            }
            if next.is_some() {
                self.free -= 1;
                return next;
            }
        }
        None
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.state().free += 1;
        self.0.hand_out();
    }
}
