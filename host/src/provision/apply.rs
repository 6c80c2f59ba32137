//! Applies an approved plan to an org: makes, replaces and, when asked, prunes workspaces until the org is as planned.

use std::num::NonZeroUsize;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::destroy::{Found, Names, remove_all};
use super::engine::Engine;
use super::error::ProvisionError;
use super::generations::Generations;
use super::job::{Job, Work, wanted};
use super::observed::{Observed, State};
use super::order::Order;
use super::outcome::{Outcome, Summary};
use super::prune::Prune;
use super::ready;
use super::run::Run;
use super::spec::Spec;
use super::workspace::{Created, Started, Workspace};
use crate::model::event::{Event, Failure, Operation, What};
use crate::model::ids::{OrgId, WorkspaceId};
use crate::state::store::{LastOutcome, StoreError, WorkspaceRow};

/// How to apply a plan.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long to wait for each workspace until it answers; `None`: do not wait.
    pub wait: Option<Duration>,
    /// What happens to workspaces that left the template.
    pub prune: Prune,
    /// The number of failed workspaces after which no further one is tried; the others are left as they are. With this
    /// option, the first workspace is the canary: until one has started, they are tried one at a time. `None`: no limit.
    pub max_failures: Option<NonZeroUsize>,
}

/// Applies a plan to an org that the store knows: leaves workspaces that run as planned, replaces those that changed, and
/// makes those that are missing. When a workspace fails, its descendants are skipped, and no others.
///
/// # Errors
/// [`ProvisionError`] when the engine or the store does not answer at all, or too much would be pruned. A failed workspace
/// is not an error: it is in the [`Summary`].
pub async fn apply<E: Engine>(
    run: &Run<'_, E>,
    org: &OrgId,
    jobs: &[Job],
    options: &Options,
) -> Result<Summary, ProvisionError> {
    let result = apply_jobs(run, org, jobs, options).await;
    // Also after an error, because nothing of the operation is under way any more.
    let failed = result
        .as_ref()
        .map_or(jobs.len().max(1), |(summary, _)| summary.failed());
    let closed = run.close(org, failed).await;
    let (summary, left) = result?;
    closed?;
    run.store.forget_unplanned(org.slug(), &left).await?;
    Ok(summary)
}

/// Also returns the workspaces that left the template and are still there.
async fn apply_jobs<E: Engine>(
    run: &Run<'_, E>,
    org: &OrgId,
    jobs: &[Job],
    options: &Options,
) -> Result<(Summary, Vec<WorkspaceId>), ProvisionError> {
    run.announce(org, Operation::Up, jobs.len()).await?;

    let wanted = wanted(jobs);
    let mut found = Generations::by_workspace(run.engine.observe(org).await?);
    options.prune.check(&found, &wanted)?;
    if may_have_leftover_seeds(run, org).await? {
        for volume in run.engine.volumes(org).await? {
            let id = volume.volume.id().clone();
            found.entry(id).or_default().add(&volume);
        }
    }
    let unplanned = found.extract_if(.., |id, _| !wanted.contains(id));
    let unplanned: Vec<Found> = unplanned.collect();
    let is_done = |job: &Job| match &job.work {
        Work::Provision(spec) => found
            .get(&spec.id)
            .and_then(|found| found.current.as_ref())
            .is_some_and(|current| runs_as_planned(current, spec)),
        Work::External(_) => true,
    };
    if !jobs.iter().all(is_done) {
        run.engine.prepare(org).await?;
    }

    let mut order = Order::new(jobs);
    let mut under_way = FuturesUnordered::new();
    let mut broken = None;
    let (mut started, mut failed) = (0, 0);
    let is_enough = |failed| options.max_failures.is_some_and(|max| failed >= max.get());
    loop {
        let concurrency = match options.max_failures {
            Some(_) if started == 0 => 1,
            _ => run.permits.size(),
        };
        while under_way.len() < concurrency
            && !is_enough(failed)
            && let Some((index, job)) = order.next()
        {
            let found = match &job.work {
                Work::Provision(spec) => found.remove(&spec.id),
                Work::External(_) => None,
            };
            let found = found.unwrap_or_default();
            under_way.push(async move { (index, job, apply_job(run, job, found, options).await) });
        }
        let Some((index, job, outcome)) = under_way.next().await else {
            break;
        };
        started += usize::from(matches!(outcome, Outcome::Up(_)));
        failed += usize::from(matches!(outcome, Outcome::Failed(_)));
        let mut ended = order.end(index, job, outcome);
        if is_enough(failed) && under_way.is_empty() {
            ended.extend(order.stop(&format!("left as it was: {failed} failed before it")));
        }
        for (job, outcome) in ended {
            if let Err(error) = run.emit(event(org, job, &outcome, options)).await {
                // The jobs under way must not be dropped: each of them undoes what it did.
                run.cancel.cancel();
                broken.get_or_insert(error);
            }
        }
    }
    if let Some(error) = broken {
        return Err(error.into());
    }

    // A workspace of which nothing ever ran was left by an operation that was cut off, so it is removed in any case. An
    // update that was stopped removes nothing that runs.
    let prunes = options.prune != Prune::No && !is_enough(failed);
    let is_doomed = |(_, found): &Found| prunes || found.current.is_none();
    let (doomed, left): (Vec<_>, Vec<_>) = unplanned.into_iter().partition(is_doomed);
    let names = Names::of(run.store, org).await?;
    let pruned = remove_all(run, org, &names, doomed).await?;
    let left: Vec<_> = left.into_iter().chain(pruned.left).collect();
    let summary = Summary {
        outcomes: order.outcomes(),
        removed: pruned.removed.iter().map(|gone| names.key(gone)).collect(),
        orphans: left.iter().map(|found| names.key(found)).collect(),
        not_removed: names.of_failed(&pruned.failed),
    };
    let still_there = left
        .into_iter()
        .chain(pruned.failed.into_iter().map(|(found, _)| found));
    Ok((summary, still_there.map(|(id, _)| id).collect()))
}

/// Whether there may be a seed whose container is gone. Only a removal that failed or was cut off leaves one, and the rows
/// of the workspaces show that. So a run with nothing to do sends its engine no further request.
async fn may_have_leftover_seeds<E: Engine>(
    run: &Run<'_, E>,
    org: &OrgId,
) -> Result<bool, StoreError> {
    let rows = run.store.workspaces(org.slug()).await?;
    let is_unfinished =
        |row: &WorkspaceRow| matches!(row.outcome, LastOutcome::Provisioning | LastOutcome::Failed);
    Ok(rows.iter().any(is_unfinished))
}

/// Makes a workspace run as planned, unless it already does.
pub(super) async fn apply_job<E: Engine>(
    run: &Run<'_, E>,
    job: &Job,
    mut found: Generations,
    options: &Options,
) -> Outcome {
    let spec = match &job.work {
        Work::Provision(spec) => spec,
        Work::External(url) => return Outcome::External(url.clone()),
    };
    let Some(current) = found
        .current
        .take_if(|current| runs_as_planned(current, spec))
    else {
        return provision(run, spec, found, options).await;
    };
    if found.leftovers().next().is_some() {
        return match resume(run, spec, current, found, options).await {
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

/// Makes a new generation of a workspace, which replaces what was found of it.
pub(super) async fn provision<E: Engine>(
    run: &Run<'_, E>,
    spec: &Spec,
    found: Generations,
    options: &Options,
) -> Outcome {
    if run.cancel.is_cancelled() {
        return Outcome::Cancelled(None);
    }
    // The permit is held until the workspace is started or has failed: waiting for an answer is no work.
    let permit = tokio::select! {
        permit = run.permits.take(spec.org.slug()) => permit,
        () = run.cancel.cancelled() => return Outcome::Cancelled(None),
    };
    let provisioned = async {
        let created = Workspace::<E, Created>::create(run, spec, found).await?;
        let seeded = created.seed().await?;
        let alone = seeded.stop_old().await?;
        let started = alone.start().await?;
        drop(permit);
        complete(started, options).await
    };
    match provisioned.await {
        Ok(url) => Outcome::Up(url),
        Err(failure) => Outcome::of(failure),
    }
}

/// Resumes a replacement that an earlier operation began: the new generation was started, and the old one was not removed.
async fn resume<E: Engine>(
    run: &Run<'_, E>,
    spec: &Spec,
    running: Observed,
    found: Generations,
    options: &Options,
) -> Result<Option<String>, Failure> {
    let started = Workspace::<E, Started>::resume(run, spec, running, found).await?;
    complete(started, options).await
}

/// Waits until a started workspace is ready, if asked to, and removes the generation that it replaces. Returns its address.
async fn complete<E: Engine>(
    started: Workspace<'_, E, Started>,
    options: &Options,
) -> Result<Option<String>, Failure> {
    let (workspace, url) = match options.wait {
        Some(limit) => started.ready(limit).await?,
        None => {
            let url = started.url().await;
            (started, url)
        }
    };
    workspace.remove_old().await?;
    Ok(url)
}

/// Whether there is nothing to do: it has the same spec, and it runs. A container that runs was seeded; one that never ran
/// proves nothing.
fn runs_as_planned(found: &Observed, spec: &Spec) -> bool {
    found.state == State::Running && found.spec == spec.digest
}

/// The event that reports the outcome of a job.
pub(super) fn event(org: &OrgId, job: &Job, outcome: &Outcome, options: &Options) -> Event {
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
