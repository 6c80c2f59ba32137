//! Operations of one org go one after the other, in the order in which they were accepted; orgs do not know each other.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The lines of all orgs.
#[derive(Debug, Clone, Default)]
pub struct Lines(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// By org: who waits behind the one whose turn it is. Without an entry it is nobody's.
    lines: HashMap<String, VecDeque<(u64, oneshot::Sender<()>)>>,
    next: u64,
}

/// A place in a line, until it is dropped.
#[derive(Debug)]
pub struct Place {
    lines: Lines,
    org: String,
    number: u64,
    turn: Option<oneshot::Receiver<()>>,
}

impl Lines {
    /// Takes the next place in an org's line, unless there are `longest` in it.
    pub fn join(&self, org: &str, longest: usize) -> Option<Place> {
        let mut state = self.state();
        state.next += 1;
        let number = state.next;
        let turn = match state.lines.get_mut(org) {
            Some(waiting) if waiting.len() + 1 >= longest => return None,
            Some(waiting) => {
                let (sender, turn) = oneshot::channel();
                waiting.push_back((number, sender));
                Some(turn)
            }
            None => {
                state.lines.insert(org.to_owned(), VecDeque::new());
                None
            }
        };
        Some(Place {
            lines: self.clone(),
            org: org.to_owned(),
            number,
            turn,
        })
    }

    /// How many are in all lines.
    pub fn length(&self) -> usize {
        self.state().lines.values().map(|line| line.len() + 1).sum()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Waits until it is this one's turn, which it is until it is dropped.
    pub async fn turn(&mut self) {
        if let Some(turn) = &mut self.turn {
            let _ = turn.await;
            self.turn = None;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.lines.state();
        let Some(waiting) = state.lines.get_mut(&self.org) else {
            return;
        };
        let before = waiting.len();
        waiting.retain(|(number, _)| *number != self.number);
        if waiting.len() < before {
            return;
        }
        match waiting.pop_front() {
            // Whoever does not wait any more is about to be dropped, and goes on from there.
            Some((_, next)) => drop(next.send(())),
            None => drop(state.lines.remove(&self.org)),
        }
    }
}
