//! Docker's swarm mode: a service of one replica for each workspace.
//!
//! Uses the connection of [`docker`](super::docker) and follows its rules: it touches nothing without this host's labels,
//! and starts nothing that was not verified. It never makes an engine join a swarm.
//!
//! **The seed** consists of swarm configs and, for files that only their owner may read, swarm secrets. The service names
//! them, and the swarm mounts them before a task starts. [`create`](Engine::create) makes the service without replica and
//! seed; [`put_seed`](Engine::put_seed) makes the configs and secrets and has the service name them;
//! [`read_seed`](Engine::read_seed) reads those that the service names; [`start`](Engine::start) changes only the number of
//! replicas. So what was verified is what is mounted, at later restarts too: a config or secret cannot be changed, nor
//! removed while a service names it. The bytes of a config are read back. A swarm never returns the bytes of a secret, so
//! what is verified there is the digest that was stored with them in one request. The configs and secrets of a generation
//! together are its volume [`Volume::Configs`], and are removed together. The files are read-only for the workspace; what
//! it writes beside them under `/configs` is lost when its task ends.
//!
//! **Ports**: a swarm cannot publish a port on one address only, so everybody who reaches the machine could use it.
//! Therefore no port is published. Other workspaces reach a task by the name of its service, in the network of the org.
//! This machine reaches it by its address on the bridge `docker_gwbridge`, which is its URL. A task on another machine, or
//! behind an engine that is reached through TCP, has no URL here, and counts as ready when it runs.
//!
//! **Several nodes**: volumes and the operator's directories are on one machine, so a workspace that has one stays on the
//! node of the engine that orghost uses. A workspace without any (tier 1) runs on any node, which pulls its image.
//!
//! **Limits**: a swarm has no tiers 3 and 4 (no task is privileged), no files larger than [`limits::SWARM_CONFIG_BYTES`],
//! and about 250 workspaces in one org, unless its networks are configured with more addresses.

mod files;
mod lists;
mod seed;
mod service;
mod tasks;

use std::collections::HashSet;
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::{LocalNodeState, Service, ServiceSpec, Task};
use bollard::query_parameters::{InspectServiceOptions, UpdateServiceOptionsBuilder};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use tokio::time::{Instant, sleep, timeout};

use super::docker::names::Labels;
use super::docker::{Docker, answer, found_or_none, logs_options, names};
use super::mount;
use crate::limits;
use crate::model::engine_kind::EngineKind;
use crate::model::ids::{InstanceId, OperationId, OrgId, WorkspaceId};
use crate::planning::policy::Tier;
use crate::provision::engine::Engine;
use crate::provision::engine::error::EngineError;
use crate::provision::generation::Generation;
use crate::provision::observed::{
    Observed, ObservedVolume, Resource, ResourceKind, State, Volume, VolumeOutcome,
};
use crate::provision::seed::{ReadBack, Verified};
use crate::provision::spec::Spec;
use service::Context;

/// The time between two checks of something that takes a while.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection to a manager of a swarm. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Swarm {
    docker: Docker,
    /// The identity of the node whose engine it is.
    node: String,
}

impl Swarm {
    /// Connects as [`Docker::connect`] does.
    ///
    /// # Errors
    /// [`EngineError::Away`] when no engine answers, and [`EngineError::NoSwarm`] when it is not the manager of a swarm.
    pub async fn connect(endpoint: Option<&str>) -> Result<Self, EngineError> {
        let docker = Docker::connect(endpoint).await?;
        let info = docker.client.info().await.map_err(|e| docker.error(e))?;
        let swarm = info.swarm.unwrap_or_default();
        let reason = match swarm.local_node_state {
            Some(LocalNodeState::ACTIVE) if swarm.control_available == Some(true) => None,
            Some(LocalNodeState::ACTIVE) => Some("it is a worker, and not a manager"),
            Some(LocalNodeState::LOCKED) => Some("its swarm is locked"),
            Some(LocalNodeState::PENDING | LocalNodeState::ERROR) => {
                Some("it cannot join its swarm")
            }
            _ => Some("it is in no swarm"),
        };
        match (reason, swarm.node_id) {
            (None, Some(node)) => Ok(Self { docker, node }),
            (reason, _) => Err(EngineError::NoSwarm {
                endpoint: docker.endpoint.clone(),
                reason: reason
                    .unwrap_or("it does not say which node it is")
                    .to_owned(),
            }),
        }
    }

    fn error(&self, error: Error) -> EngineError {
        match answer::status(&error) {
            // The status of every swarm request when the engine is no longer in a swarm.
            Some(503) => EngineError::NoSwarm {
                endpoint: self.docker.endpoint.clone(),
                reason: error.to_string(),
            },
            _ => self.docker.error(error),
        }
    }

    /// The service of a generation. `None`: there is none.
    async fn look_up(&self, generation: &Generation) -> Result<Option<Service>, EngineError> {
        let name = names::container(generation);
        let found = self
            .docker
            .client
            .inspect_service(&name, None::<InspectServiceOptions>)
            .await;
        match found_or_none(found).map_err(|e| self.error(e))? {
            Some(found) if !names::is_of_generation(labels(&found), generation) => {
                Err(EngineError::NameInUse {
                    name,
                    what: "a service",
                })
            }
            found => Ok(found),
        }
    }

    /// The service of a generation; an error when there is none.
    async fn get(&self, generation: &Generation) -> Result<Service, EngineError> {
        let found = self.look_up(generation).await?;
        found.ok_or_else(|| EngineError::NotFound(names::container(generation)))
    }

    /// Changes the service of a generation. The engine refuses a change of a service that changed meanwhile, and it changes
    /// services itself when it allocates resources for them. Then the service is read again.
    async fn update(
        &self,
        generation: &Generation,
        change: impl Fn(&mut ServiceSpec),
    ) -> Result<(), EngineError> {
        const ATTEMPTS: u32 = 20;
        let is_stale = |error: &Error| {
            matches!(error, Error::DockerResponseServerError { message, .. }
                if message.contains("update out of sequence"))
        };
        let mut attempt = 1;
        loop {
            let found = self.get(generation).await?;
            let version = found.version.and_then(|version| version.index);
            let (Some(service), Some(version), Some(mut spec)) = (found.id, version, found.spec)
            else {
                return Err(answer::refused("a service has no version"));
            };
            change(&mut spec);
            let version = i32::try_from(version)
                .map_err(|_| answer::refused("the version of a service is too large"))?;
            let options = UpdateServiceOptionsBuilder::default().version(version);
            let updated = self
                .docker
                .client
                .update_service(&service, spec, options.build(), None)
                .await;
            match updated {
                Ok(_) => return Ok(()),
                Err(error) if is_stale(&error) && attempt < ATTEMPTS => sleep(PAUSE).await,
                Err(error) => return Err(self.error(error)),
            }
            attempt += 1;
        }
    }

    /// Pulls the image on this engine, unless it is there. For a task on another node, that node pulls it.
    async fn ensure_image(&self, image: &str) -> Result<(), EngineError> {
        let Docker {
            client,
            pulls,
            endpoint,
            ..
        } = &self.docker;
        match found_or_none(client.inspect_image(image).await) {
            Ok(Some(_)) => Ok(()),
            Ok(None) => pulls.pull(client, endpoint, image).await,
            Err(error) => Err(self.error(error)),
        }
    }
}

impl Engine for Swarm {
    fn kind(&self) -> EngineKind {
        EngineKind::Swarm
    }

    async fn observe(&self, org: &OrgId) -> Result<Vec<Observed>, EngineError> {
        self.list(&names::of_org(org)).await
    }

    async fn find(&self, id: &WorkspaceId) -> Result<Vec<Observed>, EngineError> {
        self.list(&names::of_id(id)).await
    }

    async fn volumes(&self, org: &OrgId) -> Result<Vec<ObservedVolume>, EngineError> {
        let mut volumes = self.docker.volumes(org).await?;
        volumes.extend(self.list_seeds(&names::of_org(org)).await?);
        Ok(volumes)
    }

    async fn everything(&self, instance: &InstanceId) -> Result<Vec<Resource>, EngineError> {
        let wanted = names::of_instance(instance);
        let services = self.services(&wanted).await?;
        let services = services.iter().filter_map(|found| {
            let kind = ResourceKind::Container(names::generation(labels(found))?);
            names::resource(labels(found), instance, kind)
        });
        let files = self.files(&wanted).await?;
        let seeds = files.iter().filter_map(|found| {
            let seed = ResourceKind::Volume(Volume::Configs(names::generation(found)?));
            names::resource(found, instance, seed)
        });
        let seeds: HashSet<_> = seeds.collect();
        // The agents' own work is in ordinary volumes of the engine.
        let volumes = self.docker.everything(instance).await?.into_iter();
        let volumes = volumes
            .filter(|found| matches!(found.thing, ResourceKind::Volume(Volume::Workspace(_))));
        Ok(services.chain(seeds).chain(volumes).collect())
    }

    async fn prepare(&self, org: &OrgId) -> Result<(), EngineError> {
        self.docker.ensure_network(org, "overlay").await
    }

    async fn dismantle(&self, org: &OrgId) -> Result<(), EngineError> {
        // The endpoint of the last task may take a while to be removed.
        let deadline = Instant::now() + limits::CLEANUP;
        loop {
            match self.docker.dismantle(org).await {
                Err(EngineError::Refused(_)) if Instant::now() < deadline => sleep(PAUSE).await,
                dismantled => return dismantled,
            }
        }
    }

    async fn create_volume(
        &self,
        spec: &Spec,
        volume: &Volume,
        operation: &OperationId,
    ) -> Result<VolumeOutcome, EngineError> {
        match volume {
            Volume::Configs(generation) => self.seed_outcome(generation, operation).await,
            Volume::Workspace(_) => self.docker.create_volume(spec, volume, operation).await,
        }
    }

    async fn seeds_first(&self) -> bool {
        false
    }

    async fn create(
        &self,
        spec: &Spec,
        generation: &Generation,
        operation: &OperationId,
        _: Option<&Verified>,
    ) -> Result<(), EngineError> {
        let Some(image) = spec.runtime.image.as_deref() else {
            return Err(EngineError::RuntimeUnsuited {
                runtime: spec.runtime_name.clone(),
                wanted: "image",
                engine: "swarm",
            });
        };
        if matches!(spec.tier, Tier::Three | Tier::Four) {
            return Err(EngineError::TierUnsuited {
                tier: spec.tier.into(),
                engine: "swarm",
            });
        }
        let context = Context {
            generation,
            image,
            operation,
            bind: mount::bind(spec).await?,
            node: &self.node,
        };
        self.ensure_image(image).await?;
        let body = service::body(spec, &context);
        match self.docker.client.create_service(body, None).await {
            Ok(_) => Ok(()),
            Err(error) if answer::status(&error) == Some(409) => {
                match self.look_up(generation).await {
                    // Another operation is working on this workspace.
                    Ok(Some(_)) => Err(EngineError::Refused(format!(
                        "another operation made the service {} first: run the same command again",
                        names::container(generation)
                    ))),
                    Ok(None) => Err(self.error(error)),
                    Err(error) => Err(error),
                }
            }
            Err(error) => Err(self.error(error)),
        }
    }

    async fn put_seed(&self, generation: &Generation, archive: Vec<u8>) -> Result<(), EngineError> {
        self.write_seed(generation, &archive).await
    }

    async fn read_seed(&self, generation: &Generation) -> Result<ReadBack, EngineError> {
        self.read_back(generation).await
    }

    async fn start(&self, verified: Verified) -> Result<(), EngineError> {
        self.update(verified.generation(), |spec| {
            let labels = spec.labels.get_or_insert_default();
            labels.insert(service::STARTED.to_owned(), "true".to_owned());
            spec.mode = Some(service::replicas(1));
        })
        .await?;
        self.wait_until_started(verified.generation()).await
    }

    async fn inspect(&self, generation: &Generation) -> Result<Observed, EngineError> {
        let service = self.get(generation).await?;
        let tasks = self.tasks_of(generation).await?;
        let tasks: Vec<&Task> = tasks.iter().collect();
        let addresses = self.addresses().await?;
        let observed = self.observed(&service, &tasks, &addresses);
        let observed =
            observed.ok_or_else(|| EngineError::NotFound(names::container(generation)))?;
        // Without an address it would count as a task that cannot be asked, and so as ready.
        if observed.state == State::Running && observed.url.is_none() && self.is_here(&tasks) {
            return Err(answer::refused(
                "its task has no address on this machine yet",
            ));
        }
        Ok(observed)
    }

    async fn last_lines(
        &self,
        generation: &Generation,
        lines: usize,
    ) -> Result<Vec<String>, EngineError> {
        answer::last_lines(self.logs(generation, Some(lines), false), lines).await
    }

    fn logs(
        &self,
        generation: &Generation,
        tail: Option<usize>,
        follow: bool,
    ) -> impl Stream<Item = Result<Bytes, EngineError>> + Send + use<> {
        let name = names::container(generation);
        let options = Some(logs_options(tail, follow));
        let log = self.docker.client.service_logs(&name, options);
        let log = answer::printed(log, name, self.docker.endpoint.clone());
        // The log of a service does not end when the service has ended, so it is ended here.
        let (swarm, generation) = (self.clone(), generation.clone());
        let ended = async move {
            loop {
                sleep(Duration::from_secs(1)).await;
                let service = swarm.look_up(&generation).await;
                if let Ok(None) = service {
                    return;
                }
                if let Ok(Some(service)) = service
                    && service::wanted(&service) == 0
                {
                    return;
                }
            }
        };
        log.take_until(Box::pin(ended))
    }

    async fn stop(&self, generation: &Generation) -> Result<(), EngineError> {
        let Some(service) = self.look_up(generation).await? else {
            return Ok(());
        };
        if service::wanted(&service) > 0 {
            self.update(generation, |spec| spec.mode = Some(service::replicas(0)))
                .await?;
        }
        let ended = async {
            while !self
                .tasks_of(generation)
                .await?
                .iter()
                .all(service::is_over)
            {
                sleep(PAUSE).await;
            }
            Ok(())
        };
        let limit = limits::STOP_GRACE + limits::CLEANUP;
        let late = EngineError::TimedOut(limit.as_secs());
        timeout(limit, ended).await.unwrap_or(Err(late))
    }

    async fn remove(&self, generation: &Generation) -> Result<(), EngineError> {
        if let Some(service) = self.look_up(generation).await? {
            // By its identity, because the name may belong to another service by now.
            let service = service.id.unwrap_or_else(|| names::container(generation));
            let removed = self.docker.client.delete_service(&service).await;
            found_or_none(removed).map_err(|e| self.error(e))?;
        }
        let late = EngineError::TimedOut(limits::CLEANUP.as_secs());
        timeout(limits::CLEANUP, self.wait_until_gone(generation))
            .await
            .unwrap_or(Err(late))
    }

    async fn remove_volume(&self, volume: &Volume) -> Result<(), EngineError> {
        match volume {
            Volume::Configs(generation) => self.remove_seed(generation).await,
            Volume::Workspace(_) => self.docker.remove_volume(volume).await,
        }
    }
}

/// The labels of a service.
fn labels(service: &Service) -> &Labels {
    static NONE: std::sync::LazyLock<Labels> = std::sync::LazyLock::new(Labels::new);
    let labels = service.spec.as_ref().and_then(|spec| spec.labels.as_ref());
    labels.unwrap_or(&NONE)
}
