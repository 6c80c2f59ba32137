//! The jobs of one operation: one for each workspace of an approved plan, in the plan's order.

use std::collections::BTreeSet;

use super::error::ProvisionError;
use super::seed::Programs;
use super::spec::Spec;
use crate::config::Runtime;
use crate::model::identity::Identities;
use crate::model::ids::{OrgId, WorkspaceId};
use crate::model::names::NamePath;
use crate::model::plan::WorkspaceKey;
use crate::planning::policy::{self, Approved, RuntimeName};
use crate::state::store::{Desired, LastOutcome, WorkspaceRow};
use crate::template::directory::TemplateDir;

/// One workspace of an approved plan, and the work to do for it.
#[derive(Debug)]
pub struct Job {
    /// The workspace's key.
    pub key: WorkspaceKey,
    /// The workspace's identity.
    pub id: WorkspaceId,
    /// The work to do for it.
    pub work: Work,
}

/// The work to do for one workspace.
#[derive(Debug)]
pub enum Work {
    /// Make it run on this host.
    Provision(Box<Spec>),
    /// Do nothing: it runs elsewhere, at this address.
    External(Option<String>),
}

/// The identities of the workspaces that are to run on this host.
pub(super) fn wanted(jobs: &[Job]) -> BTreeSet<&WorkspaceId> {
    let runs_here = |job: &&Job| matches!(job.work, Work::Provision(_));
    jobs.iter().filter(runs_here).map(|job| &job.id).collect()
}

/// Makes the jobs of an approved plan, in the plan's order. Reads the template's files; changes nothing.
///
/// # Errors
/// [`ProvisionError::Seed`] for the first seed that cannot be read, and [`ProvisionError::Unidentified`].
pub fn jobs(
    approved: &Approved,
    org: &OrgId,
    identities: &Identities,
    runtimes: impl Fn(&RuntimeName) -> Runtime,
    template: &TemplateDir,
) -> Result<Vec<Job>, ProvisionError> {
    let identity = |path: &NamePath| {
        let id = identities.id(path).cloned();
        id.ok_or_else(|| ProvisionError::Unidentified(path.clone()))
    };
    let job = |workspace: &policy::Workspace| {
        let id = identity(&workspace.path)?;
        let parent = workspace.path.parent();
        let parent = parent.map(|path| identity(&path)).transpose()?;
        let work = match &workspace.runtime {
            None => Work::External(workspace.url.clone()),
            Some(runtime) => {
                let (name, runtime) = (runtime.as_str(), runtimes(runtime));
                let ids = (id.clone(), parent);
                let programs = Programs::of(approved.engine(), &runtime);
                let spec = Spec::new(org, ids, workspace, name, &runtime, template, programs);
                Work::Provision(Box::new(spec.map_err(|error| ProvisionError::Seed {
                    key: workspace.key.clone(),
                    error,
                })?))
            }
        };
        Ok(Job {
            key: workspace.key.clone(),
            id,
            work,
        })
    };
    approved.workspaces().iter().map(job).collect()
}

/// The rows that the store keeps of an approved plan's workspaces, before anything is done for them.
pub fn rows(approved: &Approved, identities: &Identities) -> Vec<WorkspaceRow> {
    let row = |workspace: &crate::model::plan::Workspace| {
        Some(WorkspaceRow {
            id: identities.id(&workspace.path)?.clone(),
            wanted: Desired::Running,
            planned: true,
            key: workspace.key.clone(),
            path: workspace.path.clone(),
            name: workspace.name.clone(),
            runtime: workspace.runtime.clone(),
            tier: workspace.tier,
            external: workspace.external,
            url: workspace.url.clone(),
            outcome: LastOutcome::Planned,
            reason: None,
        })
    };
    approved.plan().workspaces.iter().filter_map(row).collect()
}
