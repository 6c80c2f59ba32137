//! Sorts the generations of a workspace that an engine reports into the current one and leftovers. Pure.
//!
//! A replacement is the next generation: it is made, seeded and verified while the old one runs, and only then replaces
//! it. A host that is killed in between leaves both. The rules here decide, from the engine's report alone, on which one
//! the next run builds.

use std::collections::BTreeMap;

use super::generation::Generation;
use super::observed::{Observed, ObservedVolume, State, Volume};
use crate::model::ids::WorkspaceId;

/// Everything that an engine has of one workspace, without the agent's own work.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Generations {
    /// The generation that counts as the workspace: the newest that runs. If none runs, the oldest that ever ran, because
    /// its replacement was never completed. `None`: no generation ever ran.
    pub current: Option<Observed>,
    /// The other generations, oldest first.
    pub rest: Vec<Observed>,
    /// Generations of which only the seed is left, because their removal was cut off.
    pub leftover_seeds: Vec<Generation>,
}

impl Generations {
    /// Sorts what was found of one workspace.
    pub fn of(mut seen: Vec<Observed>) -> Self {
        seen.sort_by_key(|found| found.generation.number);
        let newest_running = seen.iter().rposition(Observed::runs);
        let oldest_ended = || seen.iter().position(|found| found.state != State::Created);
        let current = newest_running.or_else(oldest_ended);
        Self {
            current: current.map(|index| seen.remove(index)),
            rest: seen,
            leftover_seeds: Vec::new(),
        }
    }

    /// Sorts what was found of many workspaces.
    pub fn by_workspace(seen: Vec<Observed>) -> BTreeMap<WorkspaceId, Self> {
        let mut of_one: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for found in seen {
            let id = found.generation.id.clone();
            of_one.entry(id).or_default().push(found);
        }
        let sorted = of_one.into_iter().map(|(id, seen)| (id, Self::of(seen)));
        sorted.collect()
    }

    /// Adds a volume of this workspace. A seed whose container is known is ignored.
    pub fn add(&mut self, found: &ObservedVolume) {
        if let Volume::Configs(generation) = &found.volume
            && !self.containers().any(|c| c.generation == *generation)
        {
            self.leftover_seeds.push(generation.clone());
        }
    }

    /// The container to show to people: the current one, or else the newest.
    pub fn shown(&self) -> Option<&Observed> {
        self.current.as_ref().or(self.rest.last())
    }

    /// Every generation of which something is left.
    pub fn all(&self) -> impl Iterator<Item = &Generation> {
        let containers = self.containers().map(|found| &found.generation);
        containers.chain(&self.leftover_seeds)
    }

    /// Every generation except the current one.
    pub fn leftovers(&self) -> impl Iterator<Item = &Generation> {
        let rest = self.rest.iter().map(|found| &found.generation);
        rest.chain(&self.leftover_seeds)
    }

    /// Takes out the generation that `current` was to replace: the newest older one that ran and was stopped. The operation
    /// was cut off after it had started `current`.
    pub fn take_replaced(&mut self, current: &Generation) -> Option<Observed> {
        let is_replaced = |found: &Observed| {
            let has_ended = !found.runs() && found.state != State::Created;
            has_ended && found.generation < *current
        };
        let index = self.rest.iter().rposition(is_replaced)?;
        Some(self.rest.remove(index))
    }

    /// Whether nothing is left besides the current generation.
    pub fn is_settled(&self) -> bool {
        self.rest.is_empty() && self.leftover_seeds.is_empty()
    }

    /// A new generation, with a higher number than all that are there.
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
        // Engines list in any order.
        seen.reverse();
        Generations::of(seen)
    }

    fn current(states: &[State]) -> Option<u32> {
        Some(found(states).current?.generation.number)
    }

    #[test]
    fn the_newest_that_runs_is_current_or_else_the_oldest_that_ran() {
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
    fn the_replaced_generation_is_the_newest_older_one_that_was_stopped() {
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
    fn the_next_generation_has_a_higher_number_than_all_others() {
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
        assert_eq!(
            both.leftover_seeds.len(),
            1,
            "the other one has its container"
        );
    }
}
