//! The order of an `up`: who may go next, and who may not any more. Pure.

use std::collections::BTreeMap;

use super::{Job, Outcome};
use crate::model::plan::WorkspaceKey;

/// See the module.
pub(super) struct Ascent<'a> {
    /// Jobs whose parents are up, in the plan's order.
    free: BTreeMap<usize, &'a Job>,
    children: BTreeMap<usize, Vec<(usize, &'a Job)>>,
    outcomes: BTreeMap<usize, (WorkspaceKey, Outcome)>,
}

impl<'a> Ascent<'a> {
    pub(super) fn new(jobs: &'a [Job]) -> Self {
        let mut positions = BTreeMap::new();
        let mut free = BTreeMap::new();
        let mut children: BTreeMap<usize, Vec<_>> = BTreeMap::new();
        for (index, job) in jobs.iter().enumerate() {
            positions.insert(job.key.as_str(), index);
            match job.key.parent().and_then(|parent| positions.get(parent)) {
                Some(parent) => children.entry(*parent).or_default().push((index, job)),
                None => {
                    free.insert(index, job);
                }
            }
        }
        Self {
            free,
            children,
            outcomes: BTreeMap::new(),
        }
    }

    pub(super) fn next(&mut self) -> Option<(usize, &'a Job)> {
        self.free.pop_first()
    }

    /// Frees the children of who came up; settles the descendants of who did
    /// not. Gives back everyone who is settled by it.
    pub(super) fn settle(
        &mut self,
        index: usize,
        job: &'a Job,
        outcome: Outcome,
    ) -> Vec<(&'a Job, Outcome)> {
        let mut settled = vec![(job, outcome.clone())];
        let is_down = !outcome.is_up();
        self.outcomes.insert(index, (job.key.clone(), outcome));
        let children = self.children.remove(&index).unwrap_or_default();
        if is_down {
            let skip = Outcome::Skipped(format!("its parent {} did not come up", job.key));
            for (index, child) in children {
                settled.extend(self.settle(index, child, skip.clone()));
            }
        } else {
            self.free.extend(children);
        }
        settled
    }

    /// Settles everyone who is not settled: nobody goes any more.
    pub(super) fn stop(&mut self, reason: &str) -> Vec<(&'a Job, Outcome)> {
        let mut left = std::mem::take(&mut self.free);
        left.extend(std::mem::take(&mut self.children).into_values().flatten());
        let skipped = Outcome::Skipped(reason.to_owned());
        let of = left.iter();
        let of = of.map(|(index, job)| (*index, (job.key.clone(), skipped.clone())));
        self.outcomes.extend(of);
        let jobs = left.into_values();
        jobs.map(|job| (job, skipped.clone())).collect()
    }

    pub(super) fn outcomes(self) -> Vec<(WorkspaceKey, Outcome)> {
        self.outcomes.into_values().collect()
    }
}
