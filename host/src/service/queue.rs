//! What is done to an org goes in the order in which it was accepted. What is about the whole org has the queue for itself;
//! what is about one workspace shares it with what is about others. Orgs do not know each other.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The queues of all orgs.
#[derive(Debug, Clone, Default)]
pub struct OrgQueues(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// By org. Without an entry it is nobody's turn.
    queues: HashMap<String, Queue>,
    next: u64,
}

#[derive(Debug, Default)]
struct Queue {
    /// How many have their turn: one, or several that share it.
    active: usize,
    share: bool,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    share: bool,
    turn: oneshot::Sender<()>,
}

/// A ticket in a queue, until it is dropped.
#[derive(Debug)]
pub struct Ticket {
    queues: OrgQueues,
    org: String,
    number: u64,
    turn: Option<oneshot::Receiver<()>>,
}

impl OrgQueues {
    /// Takes the next ticket in an org's queue, unless there are `longest` in it.
    pub fn ticket(&self, org: &str, longest: usize) -> Option<Ticket> {
        let mut state = self.state();
        if state.queues.get(org).is_some_and(|l| l.length() >= longest) {
            return None;
        }
        Some(self.enter(&mut state, org, false))
    }

    /// The same for what is about one workspace: its turn is also that of others like it.
    pub fn shared_ticket(&self, org: &str) -> Ticket {
        self.enter(&mut self.state(), org, true)
    }

    /// How many are in all queues.
    pub fn length(&self) -> usize {
        self.state().queues.values().map(Queue::length).sum()
    }

    /// Whether anything is done to this org, or waits for it.
    pub fn is_busy(&self, org: &str) -> bool {
        self.state().queues.contains_key(org)
    }

    fn enter(&self, state: &mut State, org: &str, share: bool) -> Ticket {
        state.next += 1;
        let number = state.next;
        let queue = state.queues.entry(org.to_owned()).or_default();
        let is_free = queue.waiting.is_empty() && queue.admits(share);
        let turn = if is_free {
            queue.admit(share);
            None
        } else {
            let (sender, turn) = oneshot::channel();
            queue.waiting.push_back(Waiting {
                number,
                share,
                turn: sender,
            });
            Some(turn)
        };
        Ticket {
            queues: self.clone(),
            org: org.to_owned(),
            number,
            turn,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn length(&self) -> usize {
        self.active + self.waiting.len()
    }

    fn admits(&self, share: bool) -> bool {
        self.active == 0 || (self.share && share)
    }

    fn admit(&mut self, share: bool) {
        self.active += 1;
        self.share = share;
    }
}

impl Ticket {
    /// Waits until it is this one's turn, which it is until it is dropped.
    pub async fn wait(&mut self) {
        if let Some(turn) = &mut self.turn {
            let _ = turn.await;
            self.turn = None;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.queues.state();
        let Some(queue) = state.queues.get_mut(&self.org) else {
            return;
        };
        let before = queue.waiting.len();
        queue.waiting.retain(|other| other.number != self.number);
        if queue.waiting.len() == before {
            queue.active = queue.active.saturating_sub(1);
        }
        while let Some(next) = queue.waiting.front()
            && queue.admits(next.share)
            && let Some(next) = queue.waiting.pop_front()
        {
            queue.admit(next.share);
            // Whoever does not wait any more is about to be dropped, and goes on from there.
            let _ = next.turn.send(());
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

    fn is_its_turn(ticket: &mut Ticket) -> bool {
        ticket.wait().now_or_never().is_some()
    }

    #[test]
    fn the_whole_org_waits_for_its_workspaces_and_they_for_it() {
        let queues = OrgQueues::default();
        let mut one = queues.shared_ticket("acme");
        let mut two = queues.shared_ticket("acme");
        let mut all = queues.ticket("acme", 9).unwrap();
        let mut three = queues.shared_ticket("acme");
        assert!(is_its_turn(&mut one) && is_its_turn(&mut two));
        assert!(!is_its_turn(&mut all) && !is_its_turn(&mut three));
        drop(one);
        assert!(!is_its_turn(&mut all));
        drop(two);
        assert!(is_its_turn(&mut all) && !is_its_turn(&mut three));
        drop(all);
        assert!(is_its_turn(&mut three));
        drop(three);
        assert!(!queues.is_busy("acme"));
    }

    #[test]
    fn whoever_leaves_a_line_lets_others_go_on() {
        let queues = OrgQueues::default();
        let one = queues.shared_ticket("acme");
        let all = queues.ticket("acme", 9).unwrap();
        let mut two = queues.shared_ticket("acme");
        drop(all);
        assert!(is_its_turn(&mut two));
        drop(one);
        drop(two);
        assert_eq!(queues.length(), 0);
    }

    #[test]
    fn a_line_has_a_length() {
        let queues = OrgQueues::default();
        let _one = queues.ticket("acme", 2).unwrap();
        let _two = queues.ticket("acme", 2).unwrap();
        assert!(queues.ticket("acme", 2).is_none());
        assert!(queues.ticket("other", 2).is_some());
    }
}
