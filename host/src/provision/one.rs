//! One workspace of an org: made anew, stopped, removed. Starts nothing but what was seeded and verified in this very
//! operation.

use super::engine::{Engine, EngineError, Observed, VolumeKind};
use super::workspace::{self, Run};
use super::{Job, Options, Outcome, ProvisionError, Work, bring_up, climb, event};
use crate::event::{Event, Step, What};
use crate::plan::WorkspaceKey;
use crate::provision::spec::{OrgId, WorkspaceId};

/// Makes one workspace: stops what is there of it, seeds it, verifies the seed, starts it. With `anew`, also when what is
/// there runs and is equal.
///
/// # Errors
/// When the engine or the store does not answer at all. A workspace that does not come up is no error: its outcome says so.
pub async fn renew<E: Engine>(
    run: &Run<'_, E>,
    org: &OrgId,
    job: &Job,
    options: &Options,
    anew: bool,
) -> Result<Outcome, ProvisionError> {
    let outcome = match &job.work {
        Work::External(url) => Outcome::External(url.clone()),
        Work::Provision(spec) => {
            let found = find(run.engine, &spec.id).await?;
            run.engine.prepare(org).await?;
            match anew {
                true => climb(run, spec, found.as_ref(), options).await,
                false => bring_up(run, job, found, options).await,
            }
        }
    };
    run.emit(event(org, job, &outcome, options)).await?;
    Ok(outcome)
}

/// Stops one workspace, and leaves it there. Nothing there is success.
///
/// # Errors
/// The engine's or the store's.
pub async fn stop<E: Engine>(
    run: &Run<'_, E>,
    org: &OrgId,
    (key, id): (&WorkspaceKey, &WorkspaceId),
) -> Result<(), ProvisionError> {
    run.engine.stop(id).await?;
    run.emit(Event::of_workspace(org, key, id, What::Stopped))
        .await?;
    Ok(())
}

/// Stops and removes one workspace and its seed; with `volumes`, the agent's own work too. Nothing there is success.
///
/// # Errors
/// The engine's or the store's.
pub async fn remove<E: Engine>(
    run: &Run<'_, E>,
    org: &OrgId,
    (key, id): (&WorkspaceKey, &WorkspaceId),
    volumes: bool,
) -> Result<(), ProvisionError> {
    let step = What::Step { step: Step::Remove };
    run.emit(Event::of_workspace(org, key, id, step)).await?;
    match find(run.engine, id).await? {
        Some(found) => workspace::take_away(run.engine, &found).await?,
        None => run.engine.remove_volume(id, VolumeKind::Configs).await?,
    }
    if volumes {
        run.engine.remove_volume(id, VolumeKind::Workspace).await?;
    }
    run.emit(Event::of_workspace(org, key, id, What::Removed))
        .await?;
    Ok(())
}

async fn find<E: Engine>(engine: &E, id: &WorkspaceId) -> Result<Option<Observed>, EngineError> {
    match engine.inspect(id).await {
        Ok(found) => Ok(Some(found)),
        Err(EngineError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
