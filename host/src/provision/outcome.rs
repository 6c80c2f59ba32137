//! The results of provisioning: how each workspace ended, and what was removed.

use super::engine::error::EngineError;
use crate::model::event::Failure;
use crate::model::plan::WorkspaceKey;

/// The result of applying a plan, in the order of the plan.
#[derive(Debug, Default)]
pub struct Summary {
    /// The outcome of each workspace of the plan.
    pub outcomes: Vec<(WorkspaceKey, Outcome)>,
    /// The keys of workspaces that left the template and were removed.
    pub removed: Vec<String>,
    /// The keys of workspaces that left the template and were left as they are.
    pub orphans: Vec<String>,
    /// The keys of workspaces that left the template and could not be removed, with the reason.
    pub not_removed: Vec<(String, EngineError)>,
}

/// How one workspace ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was running already as the plan wants it. Holds its address, when its engine knows one.
    Unchanged(Option<String>),
    /// It runs elsewhere, at this address.
    External(Option<String>),
    /// It was started. Holds its address, when its engine knows one.
    Up(Option<String>),
    /// It could not be made to run.
    Failed(Box<Failure>),
    /// It was not tried, for this reason.
    Skipped(String),
    /// The operation was cancelled: the workspace was not tried (`None`), or what was done for it was undone.
    Cancelled(Option<Box<Failure>>),
}

impl Outcome {
    pub(super) fn of(failure: Failure) -> Self {
        match failure.is_cancelled {
            true => Self::Cancelled(Some(Box::new(failure))),
            false => Self::Failed(Box::new(failure)),
        }
    }

    /// Whether it does not run because the operation was cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled(_))
    }

    /// Whether it runs as the plan wants it.
    pub fn is_up(&self) -> bool {
        matches!(self, Self::Unchanged(_) | Self::External(_) | Self::Up(_))
    }
}

impl Summary {
    /// The number of workspaces that do not run as planned, or that could not be removed.
    pub fn failed(&self) -> usize {
        let down = self.outcomes.iter().filter(|(_, outcome)| !outcome.is_up());
        down.count() + self.not_removed.len()
    }
}

/// The result of destroying an org.
#[derive(Debug, Default)]
pub struct Removal {
    /// The keys of the workspaces that were removed.
    pub removed: Vec<String>,
    /// What could not be removed, with the reason.
    pub failed: Vec<(String, EngineError)>,
    /// The names of volumes that were kept because they hold the agents' work, and the keys of workspaces that were not
    /// tried because the operation was cancelled.
    pub kept: Vec<String>,
}
