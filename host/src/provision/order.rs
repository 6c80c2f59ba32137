//! The order in which workspaces are provisioned: which jobs may begin, and which are skipped. Pure.

use std::collections::BTreeMap;

use super::job::Job;
use super::outcome::Outcome;
use crate::model::plan::WorkspaceKey;

/// The jobs of one operation, parents before children. Holds the outcome of each job that has ended.
pub(super) struct Order<'a> {
    /// Jobs that may begin because their parents run, by their index in the plan.
    free: BTreeMap<usize, &'a Job>,
    /// Jobs that wait for their parent, by the parent's index.
    children: BTreeMap<usize, Vec<(usize, &'a Job)>>,
    outcomes: BTreeMap<usize, (WorkspaceKey, Outcome)>,
}

impl<'a> Order<'a> {
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

    /// The next job that may begin. `None`: every other job has begun, has ended, or waits for its parent.
    pub(super) fn next(&mut self) -> Option<(usize, &'a Job)> {
        self.free.pop_first()
    }

    /// Ends a job. If its workspace runs, its children may begin; otherwise its descendants are skipped. Returns every job
    /// that ended by this.
    pub(super) fn end(
        &mut self,
        index: usize,
        job: &'a Job,
        outcome: Outcome,
    ) -> Vec<(&'a Job, Outcome)> {
        let mut ended = vec![(job, outcome.clone())];
        let is_down = !outcome.is_up();
        self.outcomes.insert(index, (job.key.clone(), outcome));
        let children = self.children.remove(&index).unwrap_or_default();
        if is_down {
            let skip = Outcome::Skipped(format!("its parent {} did not come up", job.key));
            for (index, child) in children {
                ended.extend(self.end(index, child, skip.clone()));
            }
        } else {
            self.free.extend(children);
        }
        ended
    }

    /// Skips every job that has not begun, and returns them.
    pub(super) fn stop(&mut self, reason: &str) -> Vec<(&'a Job, Outcome)> {
        let mut left = std::mem::take(&mut self.free);
        left.extend(std::mem::take(&mut self.children).into_values().flatten());
        let skipped = Outcome::Skipped(reason.to_owned());
        let outcomes = left.iter();
        let outcomes = outcomes.map(|(index, job)| (*index, (job.key.clone(), skipped.clone())));
        self.outcomes.extend(outcomes);
        let jobs = left.into_values();
        jobs.map(|job| (job, skipped.clone())).collect()
    }

    /// The outcomes of all jobs, in the plan's order.
    pub(super) fn outcomes(self) -> Vec<(WorkspaceKey, Outcome)> {
        self.outcomes.into_values().collect()
    }
}
