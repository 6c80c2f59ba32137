//! Ordered provisioning: makes what was [`Approved`] run, and takes it down.
//! Never takes a [`Plan`](crate::plan::Plan), never renders, never knows
//! which engine it drives.
//!
//! Parents before children, siblings at the same time up to a limit. All work
//! is in futures that the caller's future owns: nothing is spawned, so nothing
//! outlives the store.

pub mod backend;
pub mod docker;
pub mod engine;
pub mod health;
pub mod local;
mod mount;
pub mod one;
pub mod seed;
pub mod signal;
pub mod spec;
pub mod swarm;
pub mod turns;
pub mod workspace;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::config::Runtime;
use crate::event::{Event, Failure, Operation, Step, What};
use crate::plan::WorkspaceKey;
use crate::policy::{self, Approved, RuntimeName};
use crate::store::{OrgRow, StoreError, WorkspaceRow};
use crate::template::TemplateDir;
use engine::{Engine, EngineError, Observed, State, VolumeKind};
use seed::SeedError;
use spec::{OrgId, Spec, WorkspaceId};
use workspace::{Created, Run, Workspace};

/// What `up` wants besides the plan.
#[derive(Debug, Clone)]
pub struct Options {
    /// Workspaces at the same time, at least 1.
    pub concurrency: usize,
    /// Wait for each until it answers, at most this long.
    pub wait: Option<Duration>,
    /// Remove workspaces that are in the org and not in the plan.
    pub prune: bool,
}

/// How an `up` ended, workspace by workspace, in the plan's order.
#[derive(Debug, Default)]
pub struct Summary {
    /// One for each workspace of the plan.
    pub outcomes: Vec<(WorkspaceKey, Outcome)>,
    /// Keys that are not in the plan, and were removed.
    pub removed: Vec<String>,
    /// Keys that are in the org and not in the plan, and were left alone.
    pub orphans: Vec<String>,
    /// Of those, the ones that should have been removed, and why they were not.
    pub not_removed: Vec<(String, EngineError)>,
}

/// How one workspace ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was there, and equal.
    Unchanged(Option<String>),
    /// It runs elsewhere.
    External(Option<String>),
    /// It came up, and this is where.
    Up(Option<String>),
    /// It did not come up.
    Failed(Box<Failure>),
    /// It was not tried.
    Skipped(String),
}

/// How a `down` ended.
#[derive(Debug, Default)]
pub struct Removal {
    /// Keys of what was removed.
    pub removed: Vec<String>,
    /// What could not be removed, and why.
    pub failed: Vec<(String, EngineError)>,
    /// Volumes that were kept because they hold the agents' work.
    pub kept: Vec<String>,
}

/// Why an operation did not even begin, or could not end.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// The engine's part, before any workspace.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The journal's part.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A seed that cannot be read, before anything was made.
    #[error("{key}: {error}")]
    Seed {
        /// The workspace.
        key: WorkspaceKey,
        /// Its seed's problem.
        error: SeedError,
    },
}

impl Summary {
    /// How many did not come up, or did not go.
    pub fn failed(&self) -> usize {
        let down =
            |outcome: &&(_, Outcome)| matches!(outcome.1, Outcome::Failed(_) | Outcome::Skipped(_));
        self.outcomes.iter().filter(down).count() + self.not_removed.len()
    }
}

/// One workspace of an `up`.
#[derive(Debug)]
pub struct Job {
    /// Its key.
    pub key: WorkspaceKey,
    /// What there is to do for it.
    pub work: Work,
}

/// See [`Job`].
#[derive(Debug)]
pub enum Work {
    /// Make it run here.
    Provision(Box<Spec>),
    /// It runs elsewhere, at this address.
    External(Option<String>),
}

impl Job {
    fn id(&self) -> Option<&WorkspaceId> {
        match &self.work {
            Work::Provision(spec) => Some(&spec.id),
            Work::External(_) => None,
        }
    }
}

/// What is to be done, in the plan's order. Reads the template, changes nothing.
///
/// # Errors
/// The first seed that cannot be read.
pub fn jobs(
    approved: &Approved,
    org: &OrgId,
    runtimes: impl Fn(&RuntimeName) -> Runtime,
    template: &TemplateDir,
) -> Result<Vec<Job>, ProvisionError> {
    let job = |workspace: &policy::Workspace| {
        let work = match &workspace.runtime {
            None => Work::External(workspace.url.clone()),
            Some(runtime) => {
                let spec = Spec::new(
                    org,
                    workspace,
                    runtime.as_str(),
                    &runtimes(runtime),
                    template,
                );
                Work::Provision(Box::new(spec.map_err(|error| ProvisionError::Seed {
                    key: workspace.key.clone(),
                    error,
                })?))
            }
        };
        Ok(Job {
            key: workspace.key.clone(),
            work,
        })
    };
    approved.workspaces().iter().map(job).collect()
}

/// Brings an org up: what is there and equal is left alone, what changed is
/// replaced, what is missing is made. One workspace's failure stops its
/// descendants and nobody else.
///
/// # Errors
/// When the engine or the store does not answer at all. A failed workspace is
/// no error of `up`: it is in the [`Summary`].
pub async fn up<E: Engine>(
    run: &Run<'_, E>,
    org: &OrgId,
    row: OrgRow,
    approved: &Approved,
    jobs: &[Job],
    options: &Options,
) -> Result<Summary, ProvisionError> {
    run.store.put_org(row, rows(approved)).await?;
    let result = ascend(run, org, jobs, options).await;
    // Whatever came of it, nothing of it is under way any more.
    let failed = result.as_ref().map_or(jobs.len(), Summary::failed);
    let closed = close(run, org, failed).await;
    let summary = result?;
    closed?;
    let mut known: Vec<&str> = jobs.iter().map(|job| job.key.as_str()).collect();
    known.extend(summary.orphans.iter().map(String::as_str));
    run.store.keep_workspaces(org.slug(), &known).await?;
    Ok(summary)
}

async fn ascend<E: Engine>(
    run: &Run<'_, E>,
    org: &OrgId,
    jobs: &[Job],
    options: &Options,
) -> Result<Summary, ProvisionError> {
    announce(run, org, Operation::Up, jobs.len()).await?;

    let wanted: BTreeSet<&WorkspaceId> = jobs.iter().filter_map(Job::id).collect();
    let observed = run.engine.observe(org).await?;
    let (observed, orphans): (Vec<_>, Vec<_>) = observed
        .into_iter()
        .partition(|found| wanted.contains(&found.id));
    let mut observed: BTreeMap<WorkspaceId, Observed> =
        observed.into_iter().map(|o| (o.id.clone(), o)).collect();
    let is_done = |job: &Job| match &job.work {
        Work::Provision(spec) => observed
            .get(&spec.id)
            .is_some_and(|found| is_equal(found, spec)),
        Work::External(_) => true,
    };
    if !jobs.iter().all(is_done) {
        run.engine.prepare(org).await?;
    }

    let mut ascent = Ascent::new(jobs);
    let mut climbing = FuturesUnordered::new();
    let mut broken = None;
    loop {
        while climbing.len() < options.concurrency.max(1)
            && let Some((index, job)) = ascent.next()
        {
            let found = match &job.work {
                Work::Provision(spec) => observed.remove(&spec.id),
                Work::External(_) => None,
            };
            climbing.push(async move { (index, job, bring_up(run, job, found, options).await) });
        }
        let Some((index, job, outcome)) = climbing.next().await else {
            break;
        };
        let settled = ascent.settle(index, job, outcome);
        for (job, outcome) in settled {
            if let Err(error) = run.emit(event(org, &job.key, &outcome, options)).await {
                // Those under way must not be dropped: each takes back what it made.
                run.cancel.cancel();
                broken.get_or_insert(error);
            }
        }
    }
    if let Some(error) = broken {
        return Err(error.into());
    }

    // Half-made by an operation that was cut off: it never ran, and nobody wants it.
    let is_doomed = |orphan: &Observed| options.prune || orphan.state == State::Created;
    let (doomed, left): (Vec<_>, Vec<_>) = orphans.into_iter().partition(is_doomed);
    let pruned = remove_all(run, org, doomed, options.concurrency).await?;
    let left = left.into_iter().map(|orphan| orphan.key);
    Ok(Summary {
        outcomes: ascent.outcomes(),
        removed: pruned.removed,
        orphans: left.chain(pruned.left).collect(),
        not_removed: pruned.failed,
    })
}

/// Takes an org down: children before parents. Without `volumes` the agents'
/// own work is kept.
///
/// # Errors
/// When the engine or the store does not answer at all; what could not be
/// removed is in the [`Removal`].
pub async fn down<E: Engine>(
    run: &Run<'_, E>,
    org: &OrgId,
    volumes: bool,
    concurrency: usize,
) -> Result<Removal, ProvisionError> {
    let result = descend(run, org, volumes, concurrency).await;
    let failed = result.as_ref().map_or(1, |removal| removal.failed.len());
    // While something of it is left, `down` must know its name. Before it counts as done: who is killed here goes on.
    let forgotten = match &result {
        Ok(removal) if removal.failed.is_empty() && removal.kept.is_empty() => {
            run.store.forget_org(org.slug()).await
        }
        _ => Ok(()),
    };
    let closed = close(run, org, failed).await;
    let removal = result?;
    forgotten?;
    closed?;
    Ok(removal)
}

async fn descend<E: Engine>(
    run: &Run<'_, E>,
    org: &OrgId,
    volumes: bool,
    concurrency: usize,
) -> Result<Removal, ProvisionError> {
    let observed = run.engine.observe(org).await?;
    announce(run, org, Operation::Down, observed.len()).await?;
    let gone = remove_all(run, org, observed, concurrency).await?;
    let mut removal = Removal {
        removed: gone.removed,
        failed: gone.failed,
        kept: gone.left,
    };
    if run.cancel.is_cancelled() {
        return Ok(removal);
    }
    for volume in run.engine.volumes(org).await? {
        if volume.kind == VolumeKind::Workspace && !volumes {
            removal.kept.push(volume.name);
        } else if let Err(error) = run.engine.remove_volume(&volume.id, volume.kind).await {
            removal.failed.push((volume.name, error));
        }
    }
    if removal.failed.is_empty() {
        run.engine.dismantle(org).await?;
    }
    Ok(removal)
}

/// What became of the containers that were to be removed.
#[derive(Default)]
struct Gone {
    removed: Vec<String>,
    failed: Vec<(String, EngineError)>,
    /// Not tried: somebody cancelled.
    left: Vec<String>,
}

/// Children before parents; those of one depth do not know each other.
async fn remove_all<E: Engine>(
    run: &Run<'_, E>,
    org: &OrgId,
    mut containers: Vec<Observed>,
    concurrency: usize,
) -> Result<Gone, StoreError> {
    let depth = |found: &Observed| found.key.matches('/').count();
    containers.sort_by_key(|found| (std::cmp::Reverse(depth(found)), found.key.clone()));
    let mut gone = Gone::default();
    let mut broken = None;
    for generation in containers.chunk_by(|a, b| depth(a) == depth(b)) {
        let mut waiting = generation.iter();
        let mut going = FuturesUnordered::new();
        loop {
            while going.len() < concurrency.max(1)
                && let Some(found) = waiting.next()
            {
                going.push(async move { (found.key.clone(), remove(run, org, found).await) });
            }
            let Some((key, removed)) = going.next().await else {
                break;
            };
            match removed {
                Ok(true) => gone.removed.push(key),
                Ok(false) => gone.left.push(key),
                Err(ProvisionError::Engine(error)) => gone.failed.push((key, error)),
                Err(ProvisionError::Store(error)) => broken = Some(error),
                Err(ProvisionError::Seed { .. }) => {}
            }
        }
    }
    match broken {
        Some(error) => Err(error),
        None => Ok(gone),
    }
}

async fn bring_up<E: Engine>(
    run: &Run<'_, E>,
    job: &Job,
    found: Option<Observed>,
    options: &Options,
) -> Outcome {
    let spec = match &job.work {
        Work::Provision(spec) => spec,
        Work::External(url) => return Outcome::External(url.clone()),
    };
    if let Some(found) = &found
        && is_equal(found, spec)
    {
        return match options.wait {
            None => Outcome::Unchanged(found.url.clone()),
            Some(limit) => match workspace::still_answers(run, spec, limit).await {
                Ok(url) => Outcome::Unchanged(url),
                Err(failure) => Outcome::Failed(Box::new(failure)),
            },
        };
    }
    climb(run, spec, found.as_ref(), options).await
}

/// Makes a workspace in the place of what was found of it.
async fn climb<E: Engine>(
    run: &Run<'_, E>,
    spec: &Spec,
    found: Option<&Observed>,
    options: &Options,
) -> Outcome {
    if run.cancel.is_cancelled() {
        return Outcome::Skipped("cancelled".to_owned());
    }
    // Held until it is started, or has failed: the limit is one of work, not of waiting.
    let turn = tokio::select! {
        turn = run.turns.take(spec.org.slug()) => turn,
        () = run.cancel.cancelled() => return Outcome::Skipped("cancelled".to_owned()),
    };
    let climbed = async {
        let created = Workspace::<E, Created>::create(run, spec, found).await?;
        let seeded = created.seed().await?;
        let started = seeded.start().await?;
        drop(turn);
        match options.wait {
            Some(limit) => started.ready(limit).await,
            None => Ok(started.url().await),
        }
    };
    match climbed.await {
        Ok(url) => Outcome::Up(url),
        Err(failure) => Outcome::Failed(Box::new(failure)),
    }
}

/// Whether there is nothing to do: the same spec, and it runs. Only a seeded
/// container can be running, and one that never ran proves nothing.
fn is_equal(found: &Observed, spec: &Spec) -> bool {
    found.state == State::Running && found.spec == spec.digest
}

/// Whether it was removed: a cancelled run removes no more.
async fn remove<E: Engine>(
    run: &Run<'_, E>,
    org: &OrgId,
    found: &Observed,
) -> Result<bool, ProvisionError> {
    if run.cancel.is_cancelled() {
        return Ok(false);
    }
    let key = WorkspaceKey::new(&found.key).ok();
    let tell = |what| Event {
        org: org.slug().to_owned(),
        workspace: key.clone(),
        what,
    };
    run.emit(tell(What::Step { step: Step::Remove })).await?;
    workspace::take_away(run.engine, found).await?;
    run.emit(tell(What::Removed)).await?;
    Ok(true)
}

async fn announce<E: Engine>(
    run: &Run<'_, E>,
    org: &OrgId,
    operation: Operation,
    workspaces: usize,
) -> Result<(), ProvisionError> {
    let tell = |what| Event {
        org: org.slug().to_owned(),
        workspace: None,
        what,
    };
    for cut_off in run.store.cut_off(org.slug()).await? {
        if cut_off.id != run.operation {
            let resumed = What::Resumed {
                operation: cut_off.operation,
                cut_off: cut_off.steps,
            };
            run.emit(tell(resumed)).await?;
        }
    }
    let engine = run.engine.kind();
    let began = What::Began {
        operation,
        engine,
        workspaces,
    };
    run.emit(tell(began)).await?;
    Ok(())
}

async fn close<E: Engine>(run: &Run<'_, E>, org: &OrgId, failed: usize) -> Result<(), StoreError> {
    run.emit(Event {
        org: org.slug().to_owned(),
        workspace: None,
        what: What::Ended { failed },
    })
    .await?;
    run.store.end(org.slug(), failed).await
}

fn event(org: &OrgId, key: &WorkspaceKey, outcome: &Outcome, options: &Options) -> Event {
    Event {
        org: org.slug().to_owned(),
        workspace: Some(key.clone()),
        what: match outcome.clone() {
            Outcome::Unchanged(url) => What::Unchanged { url },
            Outcome::External(url) => What::External { url },
            Outcome::Up(url) => What::Up {
                url,
                ready: options.wait.is_some(),
            },
            Outcome::Failed(failure) => What::Failed(failure),
            Outcome::Skipped(reason) => What::Skipped { reason },
        },
    }
}

/// What the store is to know of an org's workspaces before anything was done for them.
pub fn rows(approved: &Approved) -> Vec<WorkspaceRow> {
    let row = |workspace: &crate::plan::Workspace| WorkspaceRow {
        id: String::new(),
        wanted: "running".to_owned(),
        key: workspace.key.as_str().to_owned(),
        name: workspace.name.clone(),
        runtime: workspace.runtime.clone(),
        tier: workspace.tier,
        external: workspace.external,
        url: workspace.url.clone(),
        outcome: "planned".to_owned(),
        reason: None,
    };
    approved.plan().workspaces.iter().map(row).collect()
}

/// The order of an `up`: who may go next, and who may not any more. Pure.
struct Ascent<'a> {
    /// Jobs whose parents are up, in the plan's order.
    free: BTreeMap<usize, &'a Job>,
    children: BTreeMap<usize, Vec<(usize, &'a Job)>>,
    outcomes: BTreeMap<usize, (WorkspaceKey, Outcome)>,
}

impl<'a> Ascent<'a> {
    fn new(jobs: &'a [Job]) -> Self {
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

    fn next(&mut self) -> Option<(usize, &'a Job)> {
        self.free.pop_first()
    }

    /// Frees the children of who came up; settles the descendants of who did
    /// not. Gives back everyone who is settled by it.
    fn settle(&mut self, index: usize, job: &'a Job, outcome: Outcome) -> Vec<(&'a Job, Outcome)> {
        let mut settled = vec![(job, outcome.clone())];
        let is_down = matches!(outcome, Outcome::Failed(_) | Outcome::Skipped(_));
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

    fn outcomes(self) -> Vec<(WorkspaceKey, Outcome)> {
        self.outcomes.into_values().collect()
    }
}
