//! The queues of orgs. The operations on one org run in the order in which they were accepted: one on the whole org runs
//! alone, and those on single workspaces run beside each other. Orgs do not wait for each other.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The queues of all orgs. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct OrgQueues(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// By the slug of the org. An org without an open ticket has no entry.
    queues: HashMap<String, Queue>,
    /// The number of the newest ticket.
    newest: u64,
}

#[derive(Debug, Default)]
struct Queue {
    /// The number of tickets that are served now: one exclusive ticket, or any number of shared ones.
    served: usize,
    /// Whether the served tickets are shared ones.
    is_shared: bool,
    waiting: VecDeque<Waiting>,
}

/// A ticket that waits.
#[derive(Debug)]
struct Waiting {
    number: u64,
    is_shared: bool,
    /// Tells the ticket that it is served.
    served: oneshot::Sender<()>,
}

/// A place in the queue of an org, until it is dropped.
#[derive(Debug)]
pub struct Ticket {
    queues: OrgQueues,
    org: String,
    number: u64,
    /// `None` as soon as the ticket is served.
    served: Option<oneshot::Receiver<()>>,
}

impl OrgQueues {
    /// Takes an exclusive ticket, for an operation on the whole org. `None` when the queue has `max_length` tickets already.
    pub fn ticket(&self, org: &str, max_length: usize) -> Option<Ticket> {
        let mut state = self.state();
        let length = state.queues.get(org).map_or(0, Queue::length);
        (length < max_length).then(|| self.enter(&mut state, org, false))
    }

    /// Takes a shared ticket, for an operation on one workspace. Shared tickets are served together when no exclusive ticket
    /// is between them.
    pub fn shared_ticket(&self, org: &str) -> Ticket {
        self.enter(&mut self.state(), org, true)
    }

    /// The number of tickets in all queues, served and waiting.
    pub fn length(&self) -> usize {
        self.state().queues.values().map(Queue::length).sum()
    }

    /// Whether an org has any ticket, served or waiting.
    pub fn is_busy(&self, org: &str) -> bool {
        self.state().queues.contains_key(org)
    }

    fn enter(&self, state: &mut State, org: &str, is_shared: bool) -> Ticket {
        state.newest += 1;
        let number = state.newest;
        let queue = state.queues.entry(org.to_owned()).or_default();
        let served = if queue.waiting.is_empty() && queue.can_serve(is_shared) {
            queue.serve(is_shared);
            None
        } else {
            let (sender, receiver) = oneshot::channel();
            queue.waiting.push_back(Waiting {
                number,
                is_shared,
                served: sender,
            });
            Some(receiver)
        };
        Ticket {
            queues: self.clone(),
            org: org.to_owned(),
            number,
            served,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn length(&self) -> usize {
        self.served + self.waiting.len()
    }

    fn can_serve(&self, is_shared: bool) -> bool {
        self.served == 0 || (self.is_shared && is_shared)
    }

    fn serve(&mut self, is_shared: bool) {
        self.served += 1;
        self.is_shared = is_shared;
    }
}

impl Ticket {
    /// Waits until the ticket is served. It is served until it is dropped.
    pub async fn wait(&mut self) {
        if let Some(served) = &mut self.served {
            let _ = served.await;
            self.served = None;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.queues.state();
        let Some(queue) = state.queues.get_mut(&self.org) else {
            return;
        };
        let length = queue.waiting.len();
        queue.waiting.retain(|other| other.number != self.number);
        if queue.waiting.len() == length {
            queue.served = queue.served.saturating_sub(1);
        }
        while let Some(next) = queue.waiting.front()
            && queue.can_serve(next.is_shared)
            && let Some(next) = queue.waiting.pop_front()
        {
            queue.serve(next.is_shared);
            // Fails when that ticket is being dropped. Its own drop then serves the next one.
            let _ = next.served.send(());
        }
        if queue.length() == 0 {
            state.queues.remove(&self.org);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn is_served(ticket: &mut Ticket) -> bool {
        ticket.wait().now_or_never().is_some()
    }

    #[test]
    fn an_exclusive_ticket_waits_for_shared_ones_before_it_and_holds_those_behind_it() {
        let queues = OrgQueues::default();
        let mut first = queues.shared_ticket("acme");
        let mut second = queues.shared_ticket("acme");
        let mut exclusive = queues.ticket("acme", 9).unwrap();
        let mut last = queues.shared_ticket("acme");
        assert!(is_served(&mut first) && is_served(&mut second));
        assert!(!is_served(&mut exclusive) && !is_served(&mut last));
        drop(first);
        assert!(!is_served(&mut exclusive));
        drop(second);
        assert!(is_served(&mut exclusive) && !is_served(&mut last));
        drop(exclusive);
        assert!(is_served(&mut last));
        drop(last);
        assert!(!queues.is_busy("acme"));
    }

    #[test]
    fn a_ticket_that_is_dropped_while_it_waits_holds_nobody() {
        let queues = OrgQueues::default();
        let first = queues.shared_ticket("acme");
        let exclusive = queues.ticket("acme", 9).unwrap();
        let mut last = queues.shared_ticket("acme");
        drop(exclusive);
        assert!(is_served(&mut last));
        drop(first);
        drop(last);
        assert_eq!(queues.length(), 0);
    }

    #[test]
    fn the_length_of_a_queue_is_limited_for_each_org() {
        let queues = OrgQueues::default();
        let _first = queues.ticket("acme", 2).unwrap();
        let _second = queues.ticket("acme", 2).unwrap();
        assert!(queues.ticket("acme", 2).is_none());
        assert!(queues.ticket("other", 2).is_some());
        // Served and waiting tickets count; that of the other org was dropped.
        assert_eq!(queues.length(), 2);
        assert!(queues.is_busy("acme") && !queues.is_busy("other"));
    }
}
