//! The generations of one workspace, as they were found, and which of them counts. Pure.
//!
//! A replacement is the next generation: it is made, seeded and verified beside the one that runs, and only then takes
//! its place. A host that is killed in between leaves both; the rules here say which one the next run builds on, from
//! the engine's word alone.

use std::collections::BTreeMap;

use super::generation::Generation;
use super::observed::{Observed, ObservedVolume, State, Volume};
use crate::model::ids::WorkspaceId;

/// Everything of one workspace but the agent's own work.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Generations {
    /// What counts as the workspace: the newest that runs; where none does, the oldest that ran, because what it was
    /// replaced by never held. `None`: nothing of it ever ran.
    pub current: Option<Observed>,
    /// The others, oldest first.
    pub rest: Vec<Observed>,
    /// Seeds whose container is gone: a removal was cut off between the two.
    pub strays: Vec<Generation>,
}

impl Generations {
    /// Sorts out what was found of one workspace.
    pub fn of(mut seen: Vec<Observed>) -> Self {
        seen.sort_by_key(|found| found.generation.number);
        let newest_running = seen.iter().rposition(Observed::runs);
        let oldest_ended = || seen.iter().position(|found| found.state != State::Created);
        let current = newest_running.or_else(oldest_ended);
        Self {
            current: current.map(|index| seen.remove(index)),
            rest: seen,
            strays: Vec::new(),
        }
    }

    /// Sorts out what was found of many workspaces.
    pub fn by_workspace(seen: Vec<Observed>) -> BTreeMap<WorkspaceId, Self> {
        let mut of_one: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for found in seen {
            let id = found.generation.id.clone();
            of_one.entry(id).or_default().push(found);
        }
        let sorted = of_one.into_iter().map(|(id, seen)| (id, Self::of(seen)));
        sorted.collect()
    }

    /// Takes in a volume of this workspace. One whose container is known is no stray.
    pub fn add(&mut self, found: &ObservedVolume) {
        if let Volume::Configs(generation) = &found.volume
            && !self.containers().any(|c| c.generation == *generation)
        {
            self.strays.push(generation.clone());
        }
    }

    /// What a person is shown of it.
    pub fn shown(&self) -> Option<&Observed> {
        self.current.as_ref().or(self.rest.last())
    }

    /// Every generation that there is anything of.
    pub fn all(&self) -> impl Iterator<Item = &Generation> {
        let containers = self.containers().map(|found| &found.generation);
        containers.chain(&self.strays)
    }

    /// Every generation but the current one.
    pub fn leftovers(&self) -> impl Iterator<Item = &Generation> {
        let rest = self.rest.iter().map(|found| &found.generation);
        rest.chain(&self.strays)
    }

    /// Takes out what `current` was to replace, when it ran and was stopped: the newest such. Its replacement was cut off
    /// after the start.
    pub fn take_replaced(&mut self, current: &Generation) -> Option<Observed> {
        let is_replaced = |found: &Observed| {
            let has_ended = !found.runs() && found.state != State::Created;
            has_ended && found.generation < *current
        };
        let index = self.rest.iter().rposition(is_replaced)?;
        Some(self.rest.remove(index))
    }

    /// Whether `current` is all that there is.
    pub fn is_settled(&self) -> bool {
        self.rest.is_empty() && self.strays.is_empty()
    }

    /// The generation that comes after all that there are.
    pub fn next(&self, id: &WorkspaceId) -> Generation {
        let newest = self.all().max();
        newest.map_or_else(|| Generation::first(id), Generation::next)
    }

    fn containers(&self) -> impl Iterator<Item = &Observed> {
        self.current.iter().chain(&self.rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNNING: State = State::Running;
    const CREATED: State = State::Created;
    const EXITED: State = State::Exited { exit_code: None };

    fn generation(id: &WorkspaceId, number: u32) -> Generation {
        Generation {
            id: id.clone(),
            number,
        }
    }

    fn found(states: &[State]) -> Generations {
        let id = WorkspaceId::parse(&"0".repeat(32)).unwrap();
        let mut seen = Vec::new();
        for (number, state) in (0..).zip(states) {
            seen.push(Observed {
                generation: generation(&id, number),
                key: "a".to_owned(),
                spec: String::new(),
                state: *state,
                url: None,
            });
        }
        // Engines list in an order of their own.
        seen.reverse();
        Generations::of(seen)
    }

    fn current(states: &[State]) -> Option<u32> {
        Some(found(states).current?.generation.number)
    }

    #[test]
    fn what_runs_counts_and_otherwise_the_oldest_that_ran() {
        assert_eq!(current(&[]), None);
        assert_eq!(current(&[CREATED]), None);
        assert_eq!(current(&[RUNNING, CREATED]), Some(0));
        assert_eq!(current(&[EXITED, CREATED]), Some(0));
        assert_eq!(current(&[EXITED, RUNNING]), Some(1));
        assert_eq!(current(&[EXITED, EXITED]), Some(0));
        assert_eq!(current(&[RUNNING, EXITED]), Some(0));
        assert_eq!(current(&[RUNNING, RUNNING, CREATED]), Some(1));
    }

    #[test]
    fn what_was_stopped_for_the_current_one_can_be_gone_back_to() {
        let replaced = |states: &[State]| {
            let mut all = found(states);
            let current = all.current.take().unwrap().generation;
            Some(all.take_replaced(&current)?.generation.number)
        };
        assert_eq!(replaced(&[RUNNING]), None);
        assert_eq!(replaced(&[EXITED, RUNNING]), Some(0));
        assert_eq!(replaced(&[EXITED, EXITED, RUNNING]), Some(1));
        assert_eq!(replaced(&[CREATED, RUNNING]), None);
        assert_eq!(replaced(&[RUNNING, RUNNING]), None);
        assert_eq!(replaced(&[RUNNING, EXITED]), None);
    }

    #[test]
    fn the_next_generation_is_newer_than_anything_that_is_there() {
        let id = WorkspaceId::parse(&"0".repeat(32)).unwrap();
        assert_eq!(found(&[]).next(&id).number, 0);
        let mut both = found(&[RUNNING, CREATED]);
        assert_eq!(both.next(&id).number, 2);
        for (number, wanted) in [(1, 2), (7, 8)] {
            both.add(&ObservedVolume {
                volume: Volume::Configs(generation(&id, number)),
                operation: String::new(),
                name: String::new(),
            });
            assert_eq!(both.next(&id).number, wanted);
        }
        assert_eq!(both.strays.len(), 1, "one of them has its container");
    }
}
