//! One workspace of an org: made anew, stopped, removed. Starts nothing but what was seeded and verified.

use super::engine::Engine;
use super::generations::Generations;
use super::run;
use super::{Job, Options, Outcome, ProvisionError, Work, bring_up, climb, event};
use crate::model::event::{Event, Step, What};
use crate::model::ids::{OrgId, WorkspaceId};
use crate::model::plan::WorkspaceKey;
use crate::provision::engine::error::EngineError;
use crate::provision::observed::Volume;
use crate::provision::run::Run;

/// Makes one workspace in the place of what is there of it, which runs until the new one is seeded and verified. With
/// `anew`, also when what is there runs and is equal.
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
            let found = find(run.engine, org, &spec.id).await?;
            run.engine.prepare(org).await?;
            match anew {
                true => climb(run, spec, found, options).await,
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
    for found in run.engine.find(id).await? {
        run.engine.stop(&found.generation).await?;
    }
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
    for generation in find(run.engine, org, id).await?.all() {
        run::take_away(run.engine, generation).await?;
    }
    if volumes {
        let work = Volume::Workspace(id.clone());
        run.engine.remove_volume(&work).await?;
    }
    run.emit(Event::of_workspace(org, key, id, What::Removed))
        .await?;
    Ok(())
}

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
