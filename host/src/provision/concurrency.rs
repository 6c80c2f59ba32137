//! Who may provision next: so many workspaces at a time on this host, and orgs take turns. Never starts anything.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The turns of one host.
#[derive(Debug)]
pub struct FairSemaphore {
    at_once: usize,
    state: Mutex<State>,
}

/// The right to provision one workspace, until it is dropped.
#[derive(Debug)]
pub struct Permit(Arc<FairSemaphore>);

#[derive(Debug)]
struct State {
    free: usize,
    /// Orgs that wait, in the order of their next turn; each with who waits there, longest first.
    waiting: VecDeque<(String, VecDeque<oneshot::Sender<Permit>>)>,
}

impl FairSemaphore {
    /// At most `at_once` workspaces, and at least one.
    pub fn new(at_once: usize) -> Arc<Self> {
        let at_once = at_once.max(1);
        Arc::new(Self {
            at_once,
            state: Mutex::new(State {
                free: at_once,
                waiting: VecDeque::new(),
            }),
        })
    }

    /// Waits for a turn. Whoever stops waiting loses nothing and takes nothing.
    pub async fn take(self: &Arc<Self>, org: &str) -> Permit {
        let (sender, mine) = oneshot::channel();
        {
            let mut state = self.state();
            match state.waiting.iter_mut().find(|(name, _)| name == org) {
                Some((_, of_org)) => of_org.push_back(sender),
                None => state.waiting.push_back((org.to_owned(), [sender].into())),
            }
        }
        self.hand_out();
        match mine.await {
            Ok(turn) => turn,
            // The sender is only dropped with a turn in it.
            Err(_) => std::future::pending().await,
        }
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        let state = self.state();
        let waiters = state.waiting.iter().flat_map(|(_, of_org)| of_org);
        waiters.filter(|waiter| !waiter.is_closed()).count()
    }

    /// How many have a turn.
    pub fn taken(&self) -> usize {
        self.at_once.saturating_sub(self.state().free)
    }

    fn hand_out(self: &Arc<Self>) {
        loop {
            // The lock must be free again when a turn that nobody takes is dropped.
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
    /// The longest-waiting of the org whose turn it is; that org goes to the end.
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
