//! Ordered provisioning: makes what was [`Approved`] run, and takes it down.
//! Never takes a [`Plan`](crate::model::plan::Plan), never renders, never knows
//! which engine it drives.
//!
//! Parents before children, siblings at the same time up to a limit. All work
//! is in futures that the caller's future owns: nothing is spawned, so nothing
//! outlives the store.

pub mod concurrency;
mod destroy;
pub mod engine;
mod failure;
pub mod generation;
pub mod generations;
pub mod health;
pub mod observed;
mod order;
mod prune;
mod ready;
pub mod restart_notice;
pub mod run;
pub mod seed;
pub mod single;
pub mod spec;
mod undo;
pub mod workspace;

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::config::Runtime;
use crate::model::diagnostic::Diagnostic;
use crate::model::event::{Event, Failure, Operation, What};
use crate::model::identity::Identities;
use crate::model::ids::{OrgId, WorkspaceId};
use crate::model::names::NamePath;
use crate::model::plan::WorkspaceKey;
use crate::planning::policy::{self, Approved, RuntimeName};
use crate::problem::{Class, Problem};
use crate::state::store::{Desired, LastOutcome, StoreError, WorkspaceRow};
use crate::template::directory::TemplateDir;
pub use destroy::destroy;
use destroy::{Names, remove_all};
use engine::Engine;
use engine::error::EngineError;
use generations::Generations;
use observed::{Observed, State};
use order::Ascent;
pub use prune::{Prune, TooMuchPruned, check as check_prune};
use run::Run;
use seed::{Programs, SeedError};
use spec::Spec;
use workspace::{Created, Started, Workspace};

/// What `up` wants besides the plan.
#[derive(Debug, Clone)]
pub struct Options {
    /// Workspaces at the same time, at least 1.
    pub concurrency: usize,
    /// Wait for each until it answers, at most this long.
    pub wait: Option<Duration>,
    /// What becomes of workspaces that are in the org and not in the plan.
    pub prune: Prune,
    /// Stop trying further workspaces once so many failed, and leave those as they are. Until one has come up, they are
    /// tried one at a time: the first is the canary.
    pub max_failures: Option<NonZeroUsize>,
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
    /// Somebody cancelled: it was not tried, or it was cut short here and taken back.
    Cancelled(Option<Box<Failure>>),
}

impl Outcome {
    fn of(failure: Failure) -> Self {
        match failure.is_cancelled {
            true => Self::Cancelled(Some(Box::new(failure))),
            false => Self::Failed(Box::new(failure)),
        }
    }

    /// Whether it is not there because somebody cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled(_))
    }

    /// Whether it is there, as it should be.
    pub fn is_up(&self) -> bool {
        matches!(self, Self::Unchanged(_) | Self::External(_) | Self::Up(_))
    }
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
    /// Nobody said that so much may be removed.
    #[error(transparent)]
    Prune(#[from] TooMuchPruned),
}

impl Summary {
    /// How many did not come up, or did not go.
    pub fn failed(&self) -> usize {
        let down = self.outcomes.iter().filter(|(_, outcome)| !outcome.is_up());
        down.count() + self.not_removed.len()
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

/// Who is to run here.
fn wanted(jobs: &[Job]) -> BTreeSet<&WorkspaceId> {
    let is_ours = |job: &&Job| matches!(job.work, Work::Provision(_));
    jobs.iter().filter(is_ours).map(|job| &job.id).collect()
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
                let (name, runtime) = (runtime.as_str(), runtimes(runtime));
                let who = (id.clone(), parent);
                let programs = Programs::of(approved.engine(), &runtime);
                let spec = Spec::new(org, who, workspace, name, &runtime, template, programs);
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
pub async fn apply<E: Engine>(
    run: &Run<'_, E>,
    org: &OrgId,
    jobs: &[Job],
    options: &Options,
) -> Result<Summary, ProvisionError> {
    let result = ascend(run, org, jobs, options).await;
    // Whatever came of it, nothing of it is under way any more.
    let failed = result
        .as_ref()
        .map_or(jobs.len().max(1), |(summary, _)| summary.failed());
    let closed = close(run, org, failed).await;
    let (summary, left) = result?;
    closed?;
    run.store.forget_unplanned(org.slug(), &left).await?;
    Ok(summary)
}

/// Also says who is still there and not in the plan.
async fn ascend<E: Engine>(
    run: &Run<'_, E>,
    org: &OrgId,
    jobs: &[Job],
    options: &Options,
) -> Result<(Summary, Vec<WorkspaceId>), ProvisionError> {
    announce(run, org, Operation::Up, jobs.len()).await?;

    let wanted = wanted(jobs);
    let mut found = Generations::by_workspace(run.engine.observe(org).await?);
    options.prune.check(&found, &wanted)?;
    if may_have_strays(run, org).await? {
        for volume in run.engine.volumes(org).await? {
            let id = volume.volume.id().clone();
            found.entry(id).or_default().add(&volume);
        }
    }
    let orphans = found.extract_if(.., |id, _| !wanted.contains(id));
    let orphans: Vec<_> = orphans.collect();
    let is_done = |job: &Job| match &job.work {
        Work::Provision(spec) => found
            .get(&spec.id)
            .and_then(|found| found.current.as_ref())
            .is_some_and(|current| is_equal(current, spec)),
        Work::External(_) => true,
    };
    if !jobs.iter().all(is_done) {
        run.engine.prepare(org).await?;
    }

    let mut ascent = Ascent::new(jobs);
    let mut climbing = FuturesUnordered::new();
    let mut broken = None;
    let (mut came_up, mut failed) = (0, 0);
    let is_enough = |failed| options.max_failures.is_some_and(|max| failed >= max.get());
    loop {
        let at_once = match options.max_failures {
            Some(_) if came_up == 0 => 1,
            _ => options.concurrency.max(1),
        };
        while climbing.len() < at_once
            && !is_enough(failed)
            && let Some((index, job)) = ascent.next()
        {
            let found = match &job.work {
                Work::Provision(spec) => found.remove(&spec.id),
                Work::External(_) => None,
            };
            let found = found.unwrap_or_default();
            climbing.push(async move { (index, job, bring_up(run, job, found, options).await) });
        }
        let Some((index, job, outcome)) = climbing.next().await else {
            break;
        };
        came_up += usize::from(matches!(outcome, Outcome::Up(_)));
        failed += usize::from(matches!(outcome, Outcome::Failed(_)));
        let mut settled = ascent.settle(index, job, outcome);
        if is_enough(failed) && climbing.is_empty() {
            settled.extend(ascent.stop(&format!("left as it was: {failed} failed before it")));
        }
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

    // What an operation that was cut off half-made never ran, and nobody wants it. An update that was stopped removes
    // nothing that runs.
    let prunes = options.prune != Prune::No && !is_enough(failed);
    let is_doomed = |(_, orphan): &(_, Generations)| prunes || orphan.current.is_none();
    let (doomed, left): (Vec<_>, Vec<_>) = orphans.into_iter().partition(is_doomed);
    let names = Names::of(run.store, org).await?;
    let pruned = remove_all(run, org, &names, doomed, options.concurrency).await?;
    let left: Vec<_> = left.into_iter().chain(pruned.left).collect();
    let summary = Summary {
        outcomes: ascent.outcomes(),
        removed: pruned.removed.iter().map(|gone| names.key(gone)).collect(),
        orphans: left.iter().map(|orphan| names.key(orphan)).collect(),
        not_removed: names.of_failed(&pruned.failed),
    };
    let there = left
        .into_iter()
        .chain(pruned.failed.into_iter().map(|(found, _)| found));
    Ok((summary, there.map(|(id, _)| id).collect()))
}

/// Whether a seed may be left of which the container is gone: only after a removal that failed or was cut off, which the
/// workspace's row tells. So a run with nothing to do asks its engine for nothing more.
async fn may_have_strays<E: Engine>(run: &Run<'_, E>, org: &OrgId) -> Result<bool, StoreError> {
    let rows = run.store.workspaces(org.slug()).await?;
    let is_unsettled =
        |row: &WorkspaceRow| matches!(row.outcome, LastOutcome::Provisioning | LastOutcome::Failed);
    Ok(rows.iter().any(is_unsettled))
}

async fn bring_up<E: Engine>(
    run: &Run<'_, E>,
    job: &Job,
    mut found: Generations,
    options: &Options,
) -> Outcome {
    let spec = match &job.work {
        Work::Provision(spec) => spec,
        Work::External(url) => return Outcome::External(url.clone()),
    };
    let Some(current) = found.current.take_if(|current| is_equal(current, spec)) else {
        return climb(run, spec, found, options).await;
    };
    if found.leftovers().next().is_some() {
        return match finish(run, spec, current, found, options).await {
            Ok(url) => Outcome::Up(url),
            Err(failure) => Outcome::of(failure),
        };
    }
    match options.wait {
        None => Outcome::Unchanged(current.url),
        Some(limit) => match ready::still_answers(run, spec, &current.generation, limit).await {
            Ok(url) => Outcome::Unchanged(url),
            Err(failure) => Outcome::of(failure),
        },
    }
}

/// Makes a workspace in the place of what was found of it.
async fn climb<E: Engine>(
    run: &Run<'_, E>,
    spec: &Spec,
    found: Generations,
    options: &Options,
) -> Outcome {
    if run.cancel.is_cancelled() {
        return Outcome::Cancelled(None);
    }
    // Held until it is started, or has failed: the limit is one of work, not of waiting.
    let turn = tokio::select! {
        turn = run.permits.take(spec.org.slug()) => turn,
        () = run.cancel.cancelled() => return Outcome::Cancelled(None),
    };
    let climbed = async {
        let created = Workspace::<E, Created>::create(run, spec, found).await?;
        let seeded = created.seed().await?;
        let alone = seeded.stop_old().await?;
        let started = alone.start().await?;
        drop(turn);
        hold(started, options).await
    };
    match climbed.await {
        Ok(url) => Outcome::Up(url),
        Err(failure) => Outcome::of(failure),
    }
}

/// Goes on where an earlier operation was cut off: after the start, and before what was replaced was removed.
async fn finish<E: Engine>(
    run: &Run<'_, E>,
    spec: &Spec,
    running: Observed,
    found: Generations,
    options: &Options,
) -> Result<Option<String>, Failure> {
    let started = Workspace::<E, Started>::resume(run, spec, running, found).await?;
    hold(started, options).await
}

/// The end of the way: what is started is ready, where somebody waits for that, and what it replaced goes.
async fn hold<E: Engine>(
    started: Workspace<'_, E, Started>,
    options: &Options,
) -> Result<Option<String>, Failure> {
    let (holds, url) = match options.wait {
        Some(limit) => started.ready(limit).await?,
        None => {
            let url = started.url().await;
            (started, url)
        }
    };
    holds.remove_old().await?;
    Ok(url)
}

/// Whether there is nothing to do: the same spec, and it runs. Only a seeded
/// container can be running, and one that never ran proves nothing.
fn is_equal(found: &Observed, spec: &Spec) -> bool {
    found.state == State::Running && found.spec == spec.digest
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
        Outcome::Cancelled(Some(failure)) => What::Failed(failure),
        Outcome::Cancelled(None) => What::Skipped {
            reason: "cancelled".to_owned(),
        },
    };
    Event::of_workspace(org, &job.key, &job.id, what)
}

/// What the store is to know of an org's workspaces before anything was done for them.
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

impl From<ProvisionError> for Problem {
    fn from(error: ProvisionError) -> Self {
        match error {
            ProvisionError::Engine(error) => error.into(),
            ProvisionError::Store(error) => error.into(),
            ProvisionError::Prune(error) => error.into(),
            ProvisionError::Seed { key, error } => Self::one(
                Class::Invalid,
                Diagnostic::new("seed", error.to_string())
                    .workspace(key.as_str())
                    .help(
                        "nothing was created; correct the template and run the same command again",
                    ),
            ),
            ProvisionError::Unidentified(_) => Self::one(
                Class::Failed,
                Diagnostic::new("no-identity", error.to_string()).help("a defect of orghost"),
            ),
        }
    }
}
