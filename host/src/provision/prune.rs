//! Decides whether workspaces that left the template may be removed. Changes nothing.
//!
//! A template that lost most of its workspaces by accident must not remove most of an org.

use std::collections::{BTreeMap, BTreeSet};

use super::engine::Engine;
use super::error::{ProvisionError, TooMuchPruned};
use super::generations::Generations;
use super::job::{Job, wanted};
use super::observed::Observed;
use crate::model::ids::{OrgId, WorkspaceId};

/// What happens to workspaces that left the template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prune {
    /// They are left as they are.
    No,
    /// They are removed if at most half of the running workspaces of the org left. Otherwise the operation fails and
    /// changes nothing.
    AtMostHalf,
    /// They are removed, however many they are: the caller consented to that.
    Any,
}

impl Prune {
    /// From the flags of a command or request: whether to prune, and whether the caller consents to any number.
    pub fn new(prune: bool, yes: bool) -> Self {
        match (prune, yes) {
            (false, _) => Self::No,
            (true, false) => Self::AtMostHalf,
            (true, true) => Self::Any,
        }
    }

    /// Checks that the workspaces that were found may be pruned to those that are wanted.
    ///
    /// # Errors
    /// [`TooMuchPruned`] when more than half of what runs would be removed without consent.
    pub(super) fn check(
        self,
        found: &BTreeMap<WorkspaceId, Generations>,
        wanted: &BTreeSet<&WorkspaceId>,
    ) -> Result<(), TooMuchPruned> {
        let runs = |found: &Generations| found.current.as_ref().is_some_and(Observed::runs);
        let running = found.iter().filter(|(_, found)| runs(found));
        let (doomed, kept): (Vec<_>, Vec<_>) = running.partition(|(id, _)| !wanted.contains(id));
        match self == Self::AtMostHalf && doomed.len() > kept.len() {
            true => Err(TooMuchPruned {
                doomed: doomed.len(),
                running: doomed.len() + kept.len(),
            }),
            false => Ok(()),
        }
    }
}

/// Checks, before anything is stored, that an `apply` may prune as much as it would now. The `apply` checks again.
///
/// # Errors
/// [`ProvisionError::Engine`] when the engine does not answer, and [`ProvisionError::Prune`] when too much would be
/// removed.
pub async fn check<E: Engine>(
    engine: &E,
    org: &OrgId,
    jobs: &[Job],
    prune: Prune,
) -> Result<(), ProvisionError> {
    if prune != Prune::AtMostHalf {
        return Ok(());
    }
    let found = Generations::by_workspace(engine.observe(org).await?);
    Ok(prune.check(&found, &wanted(jobs))?)
}
