//! What becomes of workspaces that left the template. A template that lost most of itself by accident must not take most
//! of an org with it. Changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::engine::Engine;
use super::generations::Generations;
use super::{Job, ProvisionError, wanted};
use crate::model::diagnostic::Diagnostic;
use crate::model::ids::{OrgId, WorkspaceId};
use crate::problem::{Class, Problem};
use crate::provision::observed::Observed;

/// What becomes of workspaces that are in the org and not in the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prune {
    /// They are left alone.
    No,
    /// They are removed, unless those are more than half of what runs of the org: then nothing is done at all.
    AtMostHalf,
    /// They are removed, however many: somebody said yes to that.
    Any,
}

/// More than half of what runs would be removed, and nobody said yes to that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{doomed} of the {running} workspaces that run are no longer in the template, and would be removed"
)]
pub struct TooMuchPruned {
    /// How many would be removed.
    pub doomed: usize,
    /// How many run.
    pub running: usize,
}

impl Prune {
    /// From what a person says: to remove them, and yes to however many.
    pub fn new(prune: bool, yes: bool) -> Self {
        match (prune, yes) {
            (false, _) => Self::No,
            (true, false) => Self::AtMostHalf,
            (true, true) => Self::Any,
        }
    }

    /// Whether what was found may be pruned to what is wanted.
    ///
    /// # Errors
    /// [`TooMuchPruned`].
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

/// Whether an `up` may prune as much as it would now: to be asked before anything is stored. The `up` itself asks again.
///
/// # Errors
/// The engine's, and [`TooMuchPruned`].
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

impl From<TooMuchPruned> for Problem {
    fn from(error: TooMuchPruned) -> Self {
        let help = "nothing was changed; look at the template, and say --yes (in a request: \"yes\": true) if that is meant";
        let diagnostic = Diagnostic::new("prune-needs-consent", error.to_string()).help(help);
        Self::one(Class::Conflict, diagnostic)
    }
}
