//! Replaces, stops and removes one workspace of an org. Like `apply`, it starts only what was seeded and verified.

use super::apply::{Options, apply_job, event, provision};
use super::engine::Engine;
use super::error::ProvisionError;
use super::generations::Generations;
use super::job::{Job, Work};
use super::outcome::Outcome;
use super::run;
use crate::model::event::{Event, Step, What};
use crate::model::ids::{OrgId, WorkspaceId};
use crate::model::plan::WorkspaceKey;
use crate::provision::engine::error::EngineError;
use crate::provision::observed::Volume;
use crate::provision::run::Run;

/// Makes a new generation of one workspace; the current one runs until the new one is seeded and verified. Without `anew`,
/// a workspace that already runs as planned is left unchanged.
///
/// # Errors
/// [`ProvisionError`] when the engine or the store does not answer at all. A workspace that does not start is not an error:
/// its outcome says so.
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
            let found = find(run.engine, org, &spec.id).await?;
            run.engine.prepare(org).await?;
            match anew {
                true => provision(run, spec, found, options).await,
                false => apply_job(run, job, found, options).await,
            }
        }
    };
    run.emit(event(org, job, &outcome, options)).await?;
    Ok(outcome)
}

/// Stops one workspace without removing it. Succeeds also when there is none.
///
/// # Errors
/// [`ProvisionError`] when the engine cannot stop it, or the store cannot be written.
pub async fn stop<E: Engine>(
    run: &Run<'_, E>,
    org: &OrgId,
    (key, id): (&WorkspaceKey, &WorkspaceId),
) -> Result<(), ProvisionError> {
    for found in run.engine.find(id).await? {
        run.engine.stop(&found.generation).await?;
    }
    run.emit(Event::of_workspace(org, key, id, What::Stopped))
        .await?;
    Ok(())
}

/// Stops and removes one workspace and its seed; with `volumes`, also the agent's own work. Succeeds also when there is
/// none.
///
/// # Errors
/// [`ProvisionError`] when the engine cannot remove it, or the store cannot be written.
pub async fn remove<E: Engine>(
    run: &Run<'_, E>,
    org: &OrgId,
    (key, id): (&WorkspaceKey, &WorkspaceId),
    volumes: bool,
) -> Result<(), ProvisionError> {
    let step = What::Step { step: Step::Remove };
    run.emit(Event::of_workspace(org, key, id, step)).await?;
    for generation in find(run.engine, org, id).await?.all() {
        run::remove_generation(run.engine, generation).await?;
    }
    if volumes {
        let work = Volume::Workspace(id.clone());
        run.engine.remove_volume(&work).await?;
    }
    run.emit(Event::of_workspace(org, key, id, What::Removed))
        .await?;
    Ok(())
}

/// Every generation of a workspace, with seeds whose container is gone.
async fn find<E: Engine>(
    engine: &E,
    org: &OrgId,
    id: &WorkspaceId,
) -> Result<Generations, EngineError> {
    let mut found = Generations::of(engine.find(id).await?);
    for volume in engine.volumes(org).await? {
        if volume.volume.id() == id {
            found.add(&volume);
        }
    }
    Ok(found)
}
