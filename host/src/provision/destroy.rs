//! Takes workspaces away: children before parents. Never removes the agents' own work unless it is told to.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::engine::Engine;
use super::generations::Generations;
use super::{ProvisionError, Removal, announce, close};
use crate::model::event::{Event, Operation, Step, What};
use crate::model::ids::{OrgId, WorkspaceId};
use crate::model::plan::WorkspaceKey;
use crate::provision::engine::error::EngineError;
use crate::provision::observed::Volume;
use crate::provision::run::{Run, take_away};
use crate::state::store::{Store, StoreError};

/// Takes an org down: children before parents. Without `volumes` the agents'
/// own work is kept.
///
/// # Errors
/// When the engine or the store does not answer at all; what could not be
/// removed is in the [`Removal`].
pub async fn destroy<E: Engine>(
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
    let names = Names::of(run.store, org).await?;
    let observed = observed.into_iter().collect();
    let gone = remove_all(run, org, &names, observed, concurrency).await?;
    let key = |found: &Found| names.key(found);
    let mut removal = Removal {
        removed: gone.removed.iter().map(key).collect(),
        failed: names.of_failed(&gone.failed),
        kept: gone.left.iter().map(key).collect(),
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

/// A workspace, and what was found of it.
pub(super) type Found = (WorkspaceId, Generations);

/// What became of the workspaces that were to be removed.
#[derive(Default)]
pub(super) struct Gone {
    pub(super) removed: Vec<Found>,
    pub(super) failed: Vec<(Found, EngineError)>,
    /// Not tried: somebody cancelled.
    pub(super) left: Vec<Found>,
}

/// What the store calls an org's workspaces. A container's label only says what its workspace was called when it was made.
pub(super) struct Names(BTreeMap<WorkspaceId, WorkspaceKey>);

impl Names {
    pub(super) async fn of(store: &Store, org: &OrgId) -> Result<Self, StoreError> {
        let rows = store.workspaces(org.slug()).await?;
        Ok(Self(
            rows.into_iter().map(|row| (row.id, row.key)).collect(),
        ))
    }

    /// The key of a workspace; its container's label when the store does not know it, and else its identity.
    pub(super) fn key(&self, (id, found): &Found) -> String {
        let known = self.0.get(id).map(ToString::to_string);
        let label = || Some(found.shown()?.key.clone());
        known.or_else(label).unwrap_or_else(|| id.to_string())
    }

    pub(super) fn of_failed(&self, failed: &[(Found, EngineError)]) -> Vec<(String, EngineError)> {
        let told = |(found, error): &(Found, EngineError)| (self.key(found), error.clone());
        failed.iter().map(told).collect()
    }
}

/// Children before parents; those of one depth do not know each other. Of each workspace all generations go.
pub(super) async fn remove_all<E: Engine>(
    run: &Run<'_, E>,
    org: &OrgId,
    names: &Names,
    workspaces: Vec<Found>,
    concurrency: usize,
) -> Result<Gone, StoreError> {
    let depth = |key: &str| key.matches('/').count();
    let keyed = workspaces.into_iter();
    let mut keyed: Vec<_> = keyed.map(|found| (names.key(&found), found)).collect();
    keyed.sort_by_key(|(key, _)| (std::cmp::Reverse(depth(key)), key.clone()));
    let mut gone = Gone::default();
    let mut broken = None;
    for level in keyed.chunk_by(|(a, _), (b, _)| depth(a) == depth(b)) {
        let mut waiting = level.iter();
        let mut going = FuturesUnordered::new();
        loop {
            while going.len() < concurrency.max(1)
                && let Some((key, found)) = waiting.next()
            {
                going.push(async move { (found, remove(run, org, key, found).await) });
            }
            let Some((found, removed)) = going.next().await else {
                break;
            };
            match removed {
                Ok(true) => gone.removed.push(found.clone()),
                Ok(false) => gone.left.push(found.clone()),
                Err(Unremoved::Engine(error)) => gone.failed.push((found.clone(), error)),
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
    (id, found): &Found,
) -> Result<bool, Unremoved> {
    if run.cancel.is_cancelled() {
        return Ok(false);
    }
    let key = WorkspaceKey::new(key).ok();
    let tell = |what| Event {
        org: org.slug().to_owned(),
        workspace: key.clone(),
        workspace_id: Some(id.clone()),
        what,
    };
    run.emit(tell(What::Step { step: Step::Remove })).await?;
    for generation in found.all() {
        take_away(run.engine, generation).await?;
    }
    run.emit(tell(What::Removed)).await?;
    Ok(true)
}
