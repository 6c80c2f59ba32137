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
use crate::identity::{Identities, NamePath};
use crate::plan::WorkspaceKey;
use crate::policy::{self, Approved, RuntimeName};
use crate::store::{Desired, LastOutcome, Store, StoreError, WorkspaceRow};
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
    /// A workspace was given no identity: a defect of orghost.
    #[error("{0} has no identity")]
    Unidentified(NamePath),
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
    /// Who it is.
    pub id: WorkspaceId,
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

/// What is to be done, in the plan's order. Reads the template, changes nothing.
///
/// # Errors
/// The first seed that cannot be read.
pub fn jobs(
    approved: &Approved,
    org: &OrgId,
    identities: &Identities,
    runtimes: impl Fn(&RuntimeName) -> Runtime,
    template: &TemplateDir,
) -> Result<Vec<Job>, ProvisionError> {
    let who = |path: &NamePath| {
        let id = identities.id(path).cloned();
        id.ok_or_else(|| ProvisionError::Unidentified(path.clone()))
    };
    let job = |workspace: &policy::Workspace| {
        let id = who(&workspace.path)?;
        let parent = workspace.path.parent().map(|path| who(&path)).transpose()?;
        let work = match &workspace.runtime {
            None => Work::External(workspace.url.clone()),
            Some(runtime) => {
                let spec = Spec::new(
                    org,
                    (id.clone(), parent),
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
            id,
            work,
        })
    };
    approved.workspaces().iter().map(job).collect()
}

/// Brings an org up that the store knows: what is there and equal is left
/// alone, what changed is replaced, what is missing is made. One workspace's
/// failure stops its descendants and nobody else.
///
/// # Errors
/// When the engine or the store does not answer at all. A failed workspace is
/// no error of `up`: it is in the [`Summary`].
pub async fn up<E: Engine>(
    run: &Run<'_, E>,
    org: &OrgId,
    jobs: &[Job],
    options: &Options,
) -> Result<Summary, ProvisionError> {
    let result = ascend(run, org, jobs, options).await;
    // Whatever came of it, nothing of it is under way any more.
    let failed = result
        .as_ref()
        .map_or(jobs.len(), |(summary, _)| summary.failed());
    let closed = close(run, org, failed).await;
    let (summary, left) = result?;
    closed?;
    run.store.forget_unplanned(org.slug(), &left).await?;
    Ok(summary)
}

async fn ascend<E: Engine>(
    run: &Run<'_, E>,
    org: &OrgId,
    jobs: &[Job],
    options: &Options,
) -> Result<(Summary, Vec<WorkspaceId>), ProvisionError> {
    announce(run, org, Operation::Up, jobs.len()).await?;

    let is_ours = |job: &&Job| matches!(job.work, Work::Provision(_));
    let wanted: BTreeSet<&WorkspaceId> = jobs.iter().filter(is_ours).map(|job| &job.id).collect();
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
            if let Err(error) = run.emit(event(org, job, &outcome, options)).await {
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
    let names = Names::of(run.store, org).await?;
    let pruned = remove_all(run, org, &names, doomed, options.concurrency).await?;
    let left: Vec<Observed> = left.into_iter().chain(pruned.left).collect();
    let summary = Summary {
        outcomes: ascent.outcomes(),
        removed: pruned.removed.iter().map(|gone| names.key(gone)).collect(),
        orphans: left.iter().map(|orphan| names.key(orphan)).collect(),
        not_removed: told(&names, &pruned.failed),
    };
    let there = left
        .iter()
        .chain(pruned.failed.iter().map(|(found, _)| found));
    Ok((summary, there.map(|found| found.id.clone()).collect()))
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
    let names = Names::of(run.store, org).await?;
    let gone = remove_all(run, org, &names, observed, concurrency).await?;
    let key = |found: &Observed| names.key(found);
    let mut removal = Removal {
        removed: gone.removed.iter().map(key).collect(),
        failed: told(&names, &gone.failed),
        kept: gone.left.iter().map(key).collect(),
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
    removed: Vec<Observed>,
    failed: Vec<(Observed, EngineError)>,
    /// Not tried: somebody cancelled.
    left: Vec<Observed>,
}

/// What the store calls an org's workspaces. A container's label only says what its workspace was called when it was made.
struct Names(BTreeMap<WorkspaceId, WorkspaceKey>);

impl Names {
    async fn of(store: &Store, org: &OrgId) -> Result<Self, StoreError> {
        let rows = store.workspaces(org.slug()).await?;
        Ok(Self(
            rows.into_iter().map(|row| (row.id, row.key)).collect(),
        ))
    }

    /// The key of a container's workspace; its label when the store does not know it.
    fn key(&self, found: &Observed) -> String {
        let known = self.0.get(&found.id).map(ToString::to_string);
        known.unwrap_or_else(|| found.key.clone())
    }
}

fn told(names: &Names, failed: &[(Observed, EngineError)]) -> Vec<(String, EngineError)> {
    let told = |(found, error): &(Observed, EngineError)| (names.key(found), error.clone());
    failed.iter().map(told).collect()
}

/// Children before parents; those of one depth do not know each other.
async fn remove_all<E: Engine>(
    run: &Run<'_, E>,
    org: &OrgId,
    names: &Names,
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
                let key = WorkspaceKey::new(&names.key(found)).ok();
                going.push(async move { (found, remove(run, org, key.as_ref(), found).await) });
            }
            let Some((found, removed)) = going.next().await else {
                break;
            };
            match removed {
                Ok(true) => gone.removed.push(found.clone()),
                Ok(false) => gone.left.push(found.clone()),
                Err(ProvisionError::Engine(error)) => gone.failed.push((found.clone(), error)),
                Err(ProvisionError::Store(error)) => broken = Some(error),
                Err(ProvisionError::Seed { .. } | ProvisionError::Unidentified(_)) => {}
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
    key: Option<&WorkspaceKey>,
    found: &Observed,
) -> Result<bool, ProvisionError> {
    if run.cancel.is_cancelled() {
        return Ok(false);
    }
    let tell = |what| Event {
        org: org.slug().to_owned(),
        workspace: key.cloned(),
        workspace_id: Some(found.id.clone()),
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
    let tell = |what| Event::of_org(org, what);
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
    run.emit(Event::of_org(org, What::Ended { failed })).await?;
    run.store.end(org.slug(), failed).await
}

fn event(org: &OrgId, job: &Job, outcome: &Outcome, options: &Options) -> Event {
    let what = match outcome.clone() {
        Outcome::Unchanged(url) => What::Unchanged { url },
        Outcome::External(url) => What::External { url },
        Outcome::Up(url) => What::Up {
            url,
            ready: options.wait.is_some(),
        },
        Outcome::Failed(failure) => What::Failed(failure),
        Outcome::Skipped(reason) => What::Skipped { reason },
    };
    Event::of_workspace(org, &job.key, &job.id, what)
}

/// What the store is to know of an org's workspaces before anything was done for them.
pub fn rows(approved: &Approved, identities: &Identities) -> Vec<WorkspaceRow> {
    let row = |workspace: &crate::plan::Workspace| {
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
