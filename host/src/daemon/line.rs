//! What is done to an org goes in the order in which it was accepted. What is about the whole org has the line for itself;
//! what is about one workspace shares it with what is about others. Orgs do not know each other.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The lines of all orgs.
#[derive(Debug, Clone, Default)]
pub struct Lines(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// By org. Without an entry it is nobody's turn.
    lines: HashMap<String, Line>,
    next: u64,
}

#[derive(Debug, Default)]
struct Line {
    /// How many have their turn: one, or several that share it.
    at_once: usize,
    share: bool,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    share: bool,
    turn: oneshot::Sender<()>,
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
        if state.lines.get(org).is_some_and(|l| l.length() >= longest) {
            return None;
        }
        Some(self.enter(&mut state, org, false))
    }

    /// The same for what is about one workspace: its turn is also that of others like it.
    pub fn join_shared(&self, org: &str) -> Place {
        self.enter(&mut self.state(), org, true)
    }

    /// How many are in all lines.
    pub fn length(&self) -> usize {
        self.state().lines.values().map(Line::length).sum()
    }

    /// Whether anything is done to this org, or waits for it.
    pub fn is_busy(&self, org: &str) -> bool {
        self.state().lines.contains_key(org)
    }

    fn enter(&self, state: &mut State, org: &str, share: bool) -> Place {
        state.next += 1;
        let number = state.next;
        let line = state.lines.entry(org.to_owned()).or_default();
        let is_free = line.waiting.is_empty() && line.lets_in(share);
        let turn = if is_free {
            line.let_in(share);
            None
        } else {
            let (sender, turn) = oneshot::channel();
            line.waiting.push_back(Waiting {
                number,
                share,
                turn: sender,
            });
            Some(turn)
        };
        Place {
            lines: self.clone(),
            org: org.to_owned(),
            number,
            turn,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn length(&self) -> usize {
        self.at_once + self.waiting.len()
    }

    fn lets_in(&self, share: bool) -> bool {
        self.at_once == 0 || (self.share && share)
    }

    fn let_in(&mut self, share: bool) {
        self.at_once += 1;
        self.share = share;
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
        let Some(line) = state.lines.get_mut(&self.org) else {
            return;
        };
        let before = line.waiting.len();
        line.waiting.retain(|other| other.number != self.number);
        if line.waiting.len() == before {
            line.at_once = line.at_once.saturating_sub(1);
        }
        while let Some(next) = line.waiting.front()
            && line.lets_in(next.share)
            && let Some(next) = line.waiting.pop_front()
        {
            line.let_in(next.share);
            // Whoever does not wait any more is about to be dropped, and goes on from there.
            let _ = next.turn.send(());
        }
        if line.length() == 0 {
            state.lines.remove(&self.org);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn is_its_turn(place: &mut Place) -> bool {
        place.turn().now_or_never().is_some()
    }

    #[test]
    fn the_whole_org_waits_for_its_workspaces_and_they_for_it() {
        let lines = Lines::default();
        let mut one = lines.join_shared("acme");
        let mut two = lines.join_shared("acme");
        let mut all = lines.join("acme", 9).unwrap();
        let mut three = lines.join_shared("acme");
        assert!(is_its_turn(&mut one) && is_its_turn(&mut two));
        assert!(!is_its_turn(&mut all) && !is_its_turn(&mut three));
        drop(one);
        assert!(!is_its_turn(&mut all));
        drop(two);
        assert!(is_its_turn(&mut all) && !is_its_turn(&mut three));
        drop(all);
        assert!(is_its_turn(&mut three));
        drop(three);
        assert!(!lines.is_busy("acme"));
    }

    #[test]
    fn whoever_leaves_a_line_lets_others_go_on() {
        let lines = Lines::default();
        let one = lines.join_shared("acme");
        let all = lines.join("acme", 9).unwrap();
        let mut two = lines.join_shared("acme");
        drop(all);
        assert!(is_its_turn(&mut two));
        drop(one);
        drop(two);
        assert_eq!(lines.length(), 0);
    }

    #[test]
    fn a_line_has_a_length() {
        let lines = Lines::default();
        let _one = lines.join("acme", 2).unwrap();
        let _two = lines.join("acme", 2).unwrap();
        assert!(lines.join("acme", 2).is_none());
        assert!(lines.join("other", 2).is_some());
    }
}
