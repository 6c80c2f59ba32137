//! Takes workspaces away: children before parents. Never removes the agents' own work unless it is told to.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::engine::{Engine, EngineError, Volume};
use super::generations::Generations;
use super::spec::OrgId;
use super::workspace::{Run, take_away};
use super::{ProvisionError, Removal, announce, close};
use crate::event::{Event, Operation, Step, What};
use crate::plan::WorkspaceKey;
use crate::store::StoreError;

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
    let observed = Generations::by_workspace(run.engine.observe(org).await?);
    announce(run, org, Operation::Down, observed.len()).await?;
    let observed = observed.into_values().collect();
    let gone = remove_all(run, org, observed, concurrency).await?;
    let mut removal = Removal {
        removed: gone.removed,
        failed: gone.failed,
        kept: gone.left,
    };
    if run.cancel.is_cancelled() {
        return Ok(removal);
    }
    for found in run.engine.volumes(org).await? {
        if matches!(found.volume, Volume::Workspace(_)) && !volumes {
            removal.kept.push(found.name);
        } else if let Err(error) = run.engine.remove_volume(&found.volume).await {
            removal.failed.push((found.name, error));
        }
    }
    if removal.failed.is_empty() {
        run.engine.dismantle(org).await?;
    }
    Ok(removal)
}

/// What became of the workspaces that were to be removed.
#[derive(Default)]
pub(super) struct Gone {
    pub(super) removed: Vec<String>,
    pub(super) failed: Vec<(String, EngineError)>,
    /// Not tried: somebody cancelled.
    pub(super) left: Vec<String>,
}

/// Children before parents; those of one depth do not know each other. Of each workspace all generations go.
pub(super) async fn remove_all<E: Engine>(
    run: &Run<'_, E>,
    org: &OrgId,
    workspaces: Vec<Generations>,
    concurrency: usize,
) -> Result<Gone, StoreError> {
    let depth = |key: &str| key.matches('/').count();
    let mut gone = Gone::default();
    let mut broken = None;
    let mut keyed = Vec::new();
    for found in workspaces {
        if let Some(shown) = found.shown() {
            keyed.push((shown.key.clone(), found));
            continue;
        }
        // Only seeds are left of it, and they do not know its key.
        for stray in found.strays {
            if let Err(error) = take_away(run.engine, &stray).await {
                gone.failed.push((stray.id.to_string(), error));
            }
        }
    }
    keyed.sort_by_key(|(key, _)| (std::cmp::Reverse(depth(key)), key.clone()));
    for level in keyed.chunk_by(|(a, _), (b, _)| depth(a) == depth(b)) {
        let mut waiting = level.iter();
        let mut going = FuturesUnordered::new();
        loop {
            while going.len() < concurrency.max(1)
                && let Some((key, found)) = waiting.next()
            {
                going.push(async move { (key.clone(), remove(run, org, key, found).await) });
            }
            let Some((key, removed)) = going.next().await else {
                break;
            };
            match removed {
                Ok(true) => gone.removed.push(key),
                Ok(false) => gone.left.push(key),
                Err(Unremoved::Engine(error)) => gone.failed.push((key, error)),
                Err(Unremoved::Store(error)) => broken = Some(error),
            }
        }
    }
    match broken {
        Some(error) => Err(error),
        None => Ok(gone),
    }
}

/// Why something was not removed.
#[derive(Debug, thiserror::Error)]
enum Unremoved {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whether it was removed: a cancelled run removes no more.
async fn remove<E: Engine>(
    run: &Run<'_, E>,
    org: &OrgId,
    key: &str,
    found: &Generations,
) -> Result<bool, Unremoved> {
    if run.cancel.is_cancelled() {
        return Ok(false);
    }
    let key = WorkspaceKey::new(key).ok();
    let tell = |what| Event {
        org: org.slug().to_owned(),
        workspace: key.clone(),
        what,
    };
    run.emit(tell(What::Step { step: Step::Remove })).await?;
    for generation in found.all() {
        take_away(run.engine, generation).await?;
    }
    run.emit(tell(What::Removed)).await?;
    Ok(true)
}
