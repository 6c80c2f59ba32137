//! Finds and removes orphans: resources with this host's labels whose org or workspace is not in the store. Never removes
//! anything without the labels, a volume with an agent's own work, or a resource that only one sweep saw.

use std::collections::{HashMap, HashSet};
use std::sync::PoisonError;

use serde::Serialize;
use tokio::time::{sleep, timeout};
use utoipa::ToSchema;

use super::Service;
use super::tasks::Closed;
use crate::config::Sweep;
use crate::limits;
use crate::model::engine_kind::EngineKind;
use crate::model::event::{Event, What};
use crate::model::ids::OperationId;
use crate::problem::Problem;
use crate::provision::engine::Engine as _;
use crate::provision::engine::backend::Backend;
use crate::provision::observed::{Resource, ResourceKind, Volume};
use crate::state::store::StoreError;

/// A resource of this host that belongs to no org or workspace in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Orphan {
    /// The name of the container or volume on its engine.
    pub name: String,
    /// `container`, `configs` (a volume with a seed) or `workspace` (a volume with an agent's own work).
    pub thing: String,
    /// The engine that it is on.
    pub engine: EngineKind,
    /// The org in its labels.
    pub org: String,
    /// Whether a sweep may remove it. A volume with an agent's own work is never removed.
    pub removable: bool,
    /// Whether this sweep removed it.
    pub removed: bool,
}

/// The orphans that the previous sweep saw on each engine.
#[derive(Debug, Default)]
pub struct Seen(HashMap<EngineKind, HashSet<Resource>>);

impl Service {
    /// Sweeps once a minute in the background until the host stops, unless the configuration file says `sweep = "off"`.
    ///
    /// # Errors
    /// [`Closed`] when the host is stopping.
    pub fn keep_sweeping(&self) -> Result<(), Closed> {
        let how = self.0.config.server.sweep;
        if how == Sweep::Off {
            return Ok(());
        }
        let this = self.clone();
        let work = async move {
            let mut seen = Seen::default();
            loop {
                tokio::select! {
                    () = sleep(limits::SWEEP_EVERY) => {}
                    () = this.0.tasks.stopping().cancelled() => return,
                }
                let pass = this.sweep(&mut seen, how == Sweep::Remove);
                match timeout(limits::SWEEP, pass).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(problem)) => {
                        tracing::warn!(errors = ?problem.errors, "a sweep failed");
                    }
                    Err(_) => tracing::warn!("a sweep took too long"),
                }
            }
        };
        let this = self.clone();
        let broken = move |_| async move {
            let _ = this.keep_sweeping();
        };
        let endless = std::time::Duration::MAX;
        self.0.tasks.spawn("sweep", endless, work, broken)
    }

    /// Looks for orphans once on every engine. With `remove`, removes those that the previous sweep saw too. An engine that
    /// does not answer is skipped, and its orphans count as not seen.
    ///
    /// # Errors
    /// The store does not work.
    pub async fn sweep(&self, seen: &mut Seen, remove: bool) -> Result<Vec<Orphan>, Problem> {
        let mut orphans = Vec::new();
        for kind in [EngineKind::Local, EngineKind::Docker, EngineKind::Swarm] {
            // An engine that cannot be reached is skipped without a warning: most hosts use one engine only.
            let before = seen.0.remove(&kind).unwrap_or_default();
            let Ok(engine) = self.0.engines.get(kind).await else {
                continue;
            };
            let listed = engine.everything(self.0.store.instance()).await;
            let listed = match listed {
                Ok(listed) => listed,
                Err(error) => {
                    tracing::warn!(%error, engine = kind.as_str(), "an engine could not be swept");
                    continue;
                }
            };
            let mut now = HashSet::new();
            // Containers first, because a volume cannot be removed while a container uses it.
            let (containers, volumes): (Vec<_>, Vec<_>) = listed
                .into_iter()
                .partition(|found| matches!(found.thing, ResourceKind::Container(_)));
            for found in containers.into_iter().chain(volumes) {
                if !self.is_orphan(&found).await? {
                    continue;
                }
                let removable = !matches!(found.thing, ResourceKind::Volume(Volume::Workspace(_)));
                let removed = remove
                    && removable
                    && before.contains(&found)
                    && self.remove_orphan(&engine, &found).await?;
                tracing::info!(
                    name = found.name,
                    org = found.org,
                    removed,
                    "found an orphan"
                );
                orphans.push(Orphan {
                    name: found.name.clone(),
                    thing: match &found.thing {
                        ResourceKind::Container(_) => "container".to_owned(),
                        ResourceKind::Volume(volume) => volume.kind().to_string(),
                    },
                    engine: kind,
                    org: found.org.clone(),
                    removable,
                    removed,
                });
                if !removed {
                    now.insert(found);
                }
            }
            seen.0.insert(kind, now);
        }
        let left = orphans.iter().filter(|orphan| !orphan.removed);
        *self.orphans_lock() = left.cloned().collect();
        Ok(orphans)
    }

    /// The orphans that the newest sweep found and did not remove.
    pub fn orphans(&self) -> Vec<Orphan> {
        self.orphans_lock().clone()
    }

    /// Whether a resource has no workspace in the store, and no operation of its org is open.
    async fn is_orphan(&self, found: &Resource) -> Result<bool, StoreError> {
        let store = &self.0.store;
        let is_known = store.workspace(found.thing.id().as_str()).await?.is_some();
        Ok(!is_known && !self.0.queues.is_busy(&found.org))
    }

    /// Removes an orphan, and returns whether it did. No operation of its org runs meanwhile.
    async fn remove_orphan(&self, engine: &Backend, found: &Resource) -> Result<bool, StoreError> {
        let Some(_ticket) = self.0.queues.ticket(&found.org, 1) else {
            return Ok(false);
        };
        if self
            .0
            .store
            .workspace(found.thing.id().as_str())
            .await?
            .is_some()
        {
            return Ok(false);
        }
        let removed = match &found.thing {
            ResourceKind::Container(generation) => engine.remove(generation).await,
            ResourceKind::Volume(volume) => engine.remove_volume(volume).await,
        };
        if let Err(error) = removed {
            tracing::warn!(%error, name = found.name, "an orphan was not removed");
            return Ok(false);
        }
        let event = Event {
            org: found.org.clone(),
            workspace: None,
            workspace_id: None,
            what: What::Swept {
                name: found.name.clone(),
            },
        };
        let sweep = OperationId("sweep".to_owned());
        self.0.store.append(&sweep, &event).await?;
        Ok(true)
    }

    fn orphans_lock(&self) -> std::sync::MutexGuard<'_, Vec<Orphan>> {
        let orphans = &self.0.orphans;
        orphans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
