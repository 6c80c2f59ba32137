//! Destroys orgs and removes workspaces, children before parents. Removes the agents' own work only when asked to.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::engine::Engine;
use super::error::ProvisionError;
use super::generations::Generations;
use super::outcome::Removal;
use crate::model::event::{Event, Operation, Step, What};
use crate::model::ids::{OrgId, WorkspaceId};
use crate::model::plan::WorkspaceKey;
use crate::provision::engine::error::EngineError;
use crate::provision::observed::Volume;
use crate::provision::run::{Run, remove_generation};
use crate::state::store::{Store, StoreError};

/// Destroys an org, children before parents. Without `volumes`, the agents' own work is kept.
///
/// # Errors
/// [`ProvisionError`] when the engine or the store does not answer at all. What could not be removed is in the [`Removal`].
pub async fn destroy<E: Engine>(
    run: &Run<'_, E>,
    org: &OrgId,
    volumes: bool,
) -> Result<Removal, ProvisionError> {
    let result = remove_org(run, org, volumes).await;
    let failed = result.as_ref().map_or(1, |removal| removal.failed.len());
    // The store forgets the org only when nothing of it is left, so that `orghost down` still finds it. It forgets it before
    // the operation is closed, so that a host that is killed in between resumes the operation.
    let forgotten = match &result {
        Ok(removal) if removal.failed.is_empty() && removal.kept.is_empty() => {
            run.store.forget_org(org.slug()).await
        }
        _ => Ok(()),
    };
    let closed = run.close(org, failed).await;
    let removal = result?;
    forgotten?;
    closed?;
    Ok(removal)
}

/// Removes all workspaces of an org, its volumes if asked to, and what its workspaces share.
async fn remove_org<E: Engine>(
    run: &Run<'_, E>,
    org: &OrgId,
    volumes: bool,
) -> Result<Removal, ProvisionError> {
    let observed = Generations::by_workspace(run.engine.observe(org).await?);
    run.announce(org, Operation::Down, observed.len()).await?;
    let names = Names::of(run.store, org).await?;
    let observed = observed.into_iter().collect();
    let gone = remove_all(run, org, &names, observed).await?;
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

/// A workspace with everything that was found of it.
pub(super) type Found = (WorkspaceId, Generations);

/// The results of a removal of several workspaces.
#[derive(Default)]
pub(super) struct Gone {
    pub(super) removed: Vec<Found>,
    pub(super) failed: Vec<(Found, EngineError)>,
    /// Not tried, because the operation was cancelled.
    pub(super) left: Vec<Found>,
}

/// The keys of an org's workspaces, from the store. The label of a container only has the key at the time when it was made.
pub(super) struct Names(BTreeMap<WorkspaceId, WorkspaceKey>);

impl Names {
    pub(super) async fn of(store: &Store, org: &OrgId) -> Result<Self, StoreError> {
        let rows = store.workspaces(org.slug()).await?;
        Ok(Self(
            rows.into_iter().map(|row| (row.id, row.key)).collect(),
        ))
    }

    /// The key of a workspace. When the store does not know it: the key in the label of its container, or else its identity.
    pub(super) fn key(&self, (id, found): &Found) -> String {
        let known = self.0.get(id).map(ToString::to_string);
        let label = || Some(found.shown()?.key.clone());
        known.or_else(label).unwrap_or_else(|| id.to_string())
    }

    pub(super) fn of_failed(&self, failed: &[(Found, EngineError)]) -> Vec<(String, EngineError)> {
        let named = |(found, error): &(Found, EngineError)| (self.key(found), error.clone());
        failed.iter().map(named).collect()
    }
}

/// Removes all generations of workspaces, children before parents. Those of one depth are removed at the same time.
pub(super) async fn remove_all<E: Engine>(
    run: &Run<'_, E>,
    org: &OrgId,
    names: &Names,
    workspaces: Vec<Found>,
) -> Result<Gone, StoreError> {
    let depth = |key: &str| key.matches('/').count();
    let keyed = workspaces.into_iter();
    let mut keyed: Vec<_> = keyed.map(|found| (names.key(&found), found)).collect();
    keyed.sort_by_key(|(key, _)| (std::cmp::Reverse(depth(key)), key.clone()));
    let mut gone = Gone::default();
    let mut broken = None;
    for level in keyed.chunk_by(|(a, _), (b, _)| depth(a) == depth(b)) {
        let mut waiting = level.iter();
        let mut under_way = FuturesUnordered::new();
        loop {
            while under_way.len() < run.permits.size()
                && let Some((key, found)) = waiting.next()
            {
                under_way.push(async move { (found, remove(run, org, key, found).await) });
            }
            let Some((found, removed)) = under_way.next().await else {
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

/// Why a workspace was not removed.
#[derive(Debug, thiserror::Error)]
enum Unremoved {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Removes one workspace. `false`: the operation was cancelled before.
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
    let event = |what| Event {
        org: org.slug().to_owned(),
        workspace: key.clone(),
        workspace_id: Some(id.clone()),
        what,
    };
    run.emit(event(What::Step { step: Step::Remove })).await?;
    for generation in found.all() {
        remove_generation(run.engine, generation).await?;
    }
    run.emit(event(What::Removed)).await?;
    Ok(true)
}
