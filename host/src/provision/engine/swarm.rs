//! Docker's swarm mode: a service of one replica for each workspace. Speaks through the connection of
//! [`docker`](super::docker), and keeps its rules: it touches nothing without this host's labels, and starts nothing
//! that [`provision`](super) has not verified. Never makes an engine a part of a swarm.
//!
//! **The seed** is made of swarm configs and, for files that only their owner may read, swarm secrets. The service names
//! them, and the swarm mounts them before a task's first instruction. [`create`](Engine::create) makes the service with
//! no replica and no seed; [`put_seed`](Engine::put_seed) makes the configs and secrets and has the service name them;
//! [`read_seed`](Engine::read_seed) reads what the service itself names, by identity; [`start`](Engine::start) changes
//! the number of replicas and nothing else. So what was verified is what is mounted, at every later restart too: a
//! config and a secret cannot be changed, nor removed while a service names them. The bytes of a config are read back.
//! Those of a secret never leave a swarm: what is verified there is the digest that travelled and was stored with them
//! in one request, as one piece. The configs and secrets of a generation together are its volume
//! [`Volume::Configs`]: who removes that removes them all. The files are read-only for the workspace; what it writes
//! beside them, at the top of `/configs`, is gone with its task.
//!
//! **A swarm binds no port to an address**: whatever it publishes is open to everybody who reaches the machine. So
//! nothing is published. Other workspaces reach a task by its service's name, in the org's own network; this machine
//! reaches it by its address on the bridge `docker_gwbridge`, which is its URL. A task on another machine, or behind
//! an engine that is reached through TCP, has no URL here, and counts as ready when it runs.
//!
//! **Several nodes**: volumes and the operator's directories are on one machine, so a workspace that has one stays on the
//! node whose engine is spoken to. Only what has none (tier 1) goes where the swarm likes, and pulls its image there.
//!
//! **What a swarm cannot**: tiers 3 and 4 (no task is privileged), files as large as [`limits::SWARM_CONFIG_BYTES`] say,
//! and more than about 250 workspaces in one org, with the addresses that a swarm gives a network unless told otherwise.

mod files;
mod lists;
mod service;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::{LocalNodeState, Service, ServiceSpec, Task, TaskState};
use bollard::query_parameters::{
    InspectNetworkOptions, InspectServiceOptions, RemoveContainerOptionsBuilder,
    UpdateServiceOptionsBuilder,
};
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
    Observed, ObservedVolume, Resource, ResourceKind, State, Volume, VolumeKind, VolumeOutcome,
};
use crate::provision::seed::{ReadBack, Verified};
use crate::provision::spec::Spec;
use service::Around;

/// The bridge through which the tasks of every swarm reach their machine.
const GATEWAY: &str = "docker_gwbridge";
/// Between two looks at something that takes a while.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection to a manager of a swarm.
#[derive(Debug, Clone)]
pub struct Swarm {
    docker: Docker,
    /// The node whose engine it is.
    node: String,
}

/// The addresses of tasks on this machine, by container.
type Addresses = HashMap<String, String>;

impl Swarm {
    /// Connects as [`Docker::connect`] does.
    ///
    /// # Errors
    /// [`EngineError::Away`]; [`EngineError::NoSwarm`] where the engine manages none.
    pub async fn connect(endpoint: Option<&str>) -> Result<Self, EngineError> {
        let docker = Docker::connect(endpoint).await?;
        let info = docker.client.info().await.map_err(|e| docker.error(e))?;
        let swarm = info.swarm.unwrap_or_default();
        let reason = match swarm.local_node_state {
            Some(LocalNodeState::ACTIVE) if swarm.control_available == Some(true) => None,
            Some(LocalNodeState::ACTIVE) => Some("it is a worker of one"),
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
            // All that an engine has to say about its swarm when it is in none any more.
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

    async fn get(&self, generation: &Generation) -> Result<Service, EngineError> {
        let found = self.look_up(generation).await?;
        found.ok_or_else(|| EngineError::NotFound(names::container(generation)))
    }

    async fn addresses(&self) -> Result<Addresses, EngineError> {
        if !self.docker.endpoint.starts_with("unix://") {
            return Ok(Addresses::new());
        }
        let gateway = self
            .docker
            .client
            .inspect_network(GATEWAY, None::<InspectNetworkOptions>)
            .await;
        let gateway = found_or_none(gateway).map_err(|e| self.error(e))?;
        let containers = gateway.and_then(|gateway| gateway.containers);
        let address = |(id, endpoint): (String, bollard::models::EndpointResource)| {
            let address = endpoint.ipv4_address?;
            Some((id, address.split('/').next()?.to_owned()))
        };
        Ok(containers
            .into_iter()
            .flatten()
            .filter_map(address)
            .collect())
    }

    fn observed(
        &self,
        service: &Service,
        tasks: &[&Task],
        addresses: &Addresses,
    ) -> Option<Observed> {
        let labels = labels(service);
        let address = service::running(tasks).and_then(|task| {
            let status = task.status.as_ref()?.container_status.as_ref()?;
            addresses.get(status.container_id.as_ref()?)
        });
        let port = labels.get(service::PORT);
        Some(Observed {
            generation: names::generation(labels)?,
            key: labels.get(names::WORKSPACE)?.clone(),
            spec: labels.get(names::SPEC).cloned().unwrap_or_default(),
            state: service::state(service, tasks),
            url: address
                .zip(port)
                .map(|(host, port)| format!("http://{host}:{port}")),
        })
    }

    /// Whether its address must be known: it runs here, and so do we.
    fn is_here(&self, tasks: &[&Task]) -> bool {
        let running = service::running(tasks).and_then(|task| task.node_id.as_ref());
        running == Some(&self.node) && self.docker.endpoint.starts_with("unix://")
    }

    /// Every workspace whose service carries these labels.
    async fn list(&self, wanted: &Labels) -> Result<Vec<Observed>, EngineError> {
        let services = self.services(wanted).await?;
        if services.is_empty() {
            return Ok(Vec::new());
        }
        let tasks = self.tasks(wanted).await?;
        let addresses = self.addresses().await?;
        let observed = services.iter().filter_map(|service| {
            let own: Vec<&Task> = tasks
                .iter()
                .filter(|task| task.service_id == service.id)
                .collect();
            self.observed(service, &own, &addresses)
        });
        Ok(observed.collect())
    }

    /// The configs and secrets of every generation that carry these labels, as a volume each.
    async fn list_seeds(&self, wanted: &Labels) -> Result<Vec<ObservedVolume>, EngineError> {
        let mut volumes = BTreeMap::new();
        for labels in self.files(wanted).await? {
            let Some(generation) = names::generation(&labels) else {
                continue;
            };
            let volume = Volume::Configs(generation);
            volumes
                .entry(volume.clone())
                .or_insert_with(|| ObservedVolume {
                    name: names::volume(&volume),
                    operation: labels.get(names::OPERATION).cloned().unwrap_or_default(),
                    volume,
                });
        }
        Ok(volumes.into_values().collect())
    }

    /// Changes the service of a generation. The engine refuses when it has changed since it was looked at, and it changes
    /// services itself while it gives them what they need: then it is looked at again.
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

    /// The image on this engine. A task elsewhere makes its own engine pull it.
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

    /// Waits until the first task runs, or has run. A swarm tries again for ever; this start does not.
    async fn has_started(&self, generation: &Generation) -> Result<(), EngineError> {
        /// A node may have to make room first.
        const PATIENCE: Duration = Duration::from_secs(10);
        let began = Instant::now();
        loop {
            let tasks = self.tasks_of(generation).await?;
            let is = |state| {
                tasks
                    .iter()
                    .any(|task| service::status(task) == Some(state))
            };
            if is(TaskState::RUNNING) || tasks.iter().any(service::has_run) {
                return Ok(());
            }
            let complaint = tasks.iter().find_map(service::complaint);
            if let Some(words) = complaint
                && (is(TaskState::REJECTED) || began.elapsed() > PATIENCE)
            {
                return Err(answer::refused(words));
            }
            sleep(PAUSE).await;
        }
    }

    /// Waits until there is no task, and removes what containers are left on this machine.
    async fn is_gone(&self, generation: &Generation) -> Result<(), EngineError> {
        let force = RemoveContainerOptionsBuilder::default().force(true);
        loop {
            let containers = self.containers(generation).await?;
            for container in &containers {
                let options = Some(force.clone().build());
                let removed = self
                    .docker
                    .client
                    .remove_container(container, options)
                    .await;
                match removed {
                    // The swarm is at it, too.
                    Err(error) if !matches!(answer::status(&error), Some(404 | 409)) => {
                        return Err(self.error(error));
                    }
                    _ => {}
                }
            }
            if containers.is_empty() && self.tasks_of(generation).await?.is_empty() {
                return Ok(());
            }
            sleep(PAUSE).await;
        }
    }

    async fn remove_config(&self, id: &str) -> Result<(), EngineError> {
        let removed = self.docker.client.delete_config(id).await;
        found_or_none(removed).map(drop).map_err(|e| self.error(e))
    }

    async fn remove_secret(&self, id: &str) -> Result<(), EngineError> {
        let removed = self.docker.client.delete_secret(id).await;
        found_or_none(removed).map(drop).map_err(|e| self.error(e))
    }

    /// What a failed create of a config or a secret means.
    fn not_made(&self, error: Error, name: &str, what: &'static str) -> EngineError {
        match answer::status(&error) {
            Some(409) => EngineError::NameInUse {
                name: name.to_owned(),
                what,
            },
            _ => self.error(error),
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
            let thing = ResourceKind::Container(names::generation(labels(found))?);
            names::resource(labels(found), instance, thing)
        });
        let files = self.files(&wanted).await?;
        let seeds = files.iter().filter_map(|found| {
            let seed = ResourceKind::Volume(Volume::Configs(names::generation(found)?));
            names::resource(found, instance, seed)
        });
        let seeds: HashSet<_> = seeds.collect();
        // The agents' own work is in volumes of the engine's.
        let volumes = self.docker.everything(instance).await?.into_iter();
        let volumes = volumes
            .filter(|found| matches!(found.thing, ResourceKind::Volume(Volume::Workspace(_))));
        Ok(services.chain(seeds).chain(volumes).collect())
    }

    async fn prepare(&self, org: &OrgId) -> Result<(), EngineError> {
        self.docker.ensure_network(org, "overlay").await
    }

    async fn dismantle(&self, org: &OrgId) -> Result<(), EngineError> {
        // Its last task's endpoint may take a while to go.
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
        let Volume::Configs(generation) = volume else {
            return self.docker.create_volume(spec, volume, operation).await;
        };
        // Nothing to make yet: `put_seed` does. Only what an older operation left is in the way.
        let mut found = self.files(&names::of_id(&spec.id)).await?;
        found.retain(|labels| names::is_of_generation(labels, generation));
        let own = Labels::from([(names::OPERATION.to_owned(), operation.as_str().to_owned())]);
        Ok(if found.iter().all(|labels| names::carries(labels, &own)) {
            VolumeOutcome::Created
        } else {
            VolumeOutcome::Existing
        })
    }

    async fn create(
        &self,
        spec: &Spec,
        generation: &Generation,
        operation: &OperationId,
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
        let around = Around {
            generation,
            image,
            operation,
            bind: mount::bind(spec).await?,
            node: &self.node,
        };
        self.ensure_image(image).await?;
        let body = service::body(spec, &around);
        match self.docker.client.create_service(body, None).await {
            Ok(_) => Ok(()),
            Err(error) if answer::status(&error) == Some(409) => {
                match self.look_up(generation).await {
                    // Whoever made it is at work on this very workspace.
                    Ok(Some(_)) => Err(EngineError::Refused(format!(
                        "the service {} appeared while it was about to be made: run the same command again",
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
        let service = self.get(generation).await?;
        if service::wanted(&service) > 0 {
            return Err(answer::refused(
                "a seed is put before the start, or after a stop",
            ));
        }
        let files = files::unpack(&archive)?;
        let mut labels = labels(&service).clone();
        labels.retain(|name, _| {
            ![names::SPEC, service::PORT, service::STARTED].contains(&name.as_str())
        });
        labels.insert(names::VOLUME.to_owned(), VolumeKind::Configs.to_string());
        // By name, and so by content: what is there already stays, what is not wanted any more goes.
        let mut old_configs: HashMap<_, _> = self
            .configs_of(generation)
            .await?
            .into_iter()
            .filter_map(|found| Some((found.spec?.name?, found.id?)))
            .collect();
        let mut old_secrets: HashMap<_, _> = self
            .secrets_of(generation)
            .await?
            .into_iter()
            .filter_map(|found| Some((found.spec?.name?, found.id?)))
            .collect();
        let client = &self.docker.client;
        let (mut configs, mut secrets) = (Vec::new(), Vec::new());
        for file in &files {
            let name = file.name(generation);
            if file.is_secret() {
                let secret = match old_secrets.remove(&name) {
                    Some(old) => old,
                    None => {
                        let made = client.create_secret(file.secret(generation, &labels)).await;
                        made.map_err(|e| self.not_made(e, &name, "a secret"))?.id
                    }
                };
                secrets.push(file.mount_secret(generation, secret));
            } else {
                let config = match old_configs.remove(&name) {
                    Some(old) => old,
                    None => {
                        let made = client.create_config(file.config(generation, &labels)).await;
                        made.map_err(|e| self.not_made(e, &name, "a config"))?.id
                    }
                };
                configs.push(file.mount_config(generation, config));
            }
        }
        self.update(generation, |spec| {
            let task = spec.task_template.get_or_insert_default();
            let container = task.container_spec.get_or_insert_default();
            container.configs = Some(configs.clone());
            container.secrets = Some(secrets.clone());
        })
        .await?;
        for config in old_configs.into_values() {
            self.remove_config(&config).await?;
        }
        for secret in old_secrets.into_values() {
            self.remove_secret(&secret).await?;
        }
        Ok(())
    }

    async fn read_seed(&self, generation: &Generation) -> Result<ReadBack, EngineError> {
        let service = self.get(generation).await?;
        let configs = self.configs_of(generation).await?.into_iter();
        let configs: HashMap<_, _> = configs.filter_map(|c| Some((c.id?, c.spec?))).collect();
        let secrets = self.secrets_of(generation).await?.into_iter();
        let secrets: HashMap<_, _> = secrets.filter_map(|s| Some((s.id?, s.spec?))).collect();
        let container = service
            .spec
            .and_then(|spec| spec.task_template?.container_spec)
            .unwrap_or_default();
        let mut found = Vec::new();
        for named in container.configs.into_iter().flatten() {
            let file = named.file.unwrap_or_default();
            let held = named.config_id.and_then(|id| configs.get(&id));
            let facts = held.and_then(|held| files::config_facts(held, file.mode? & 0o777));
            found.push((file.name.unwrap_or_default(), facts));
        }
        for named in container.secrets.into_iter().flatten() {
            let file = named.file.unwrap_or_default();
            let held = named.secret_id.and_then(|id| secrets.get(&id));
            let facts = held.and_then(|held| files::secret_facts(held, file.mode? & 0o777));
            found.push((file.name.unwrap_or_default(), facts));
        }
        let read = found.into_iter().map(|(target, facts)| {
            let path = files::seed_path(&target).map(str::to_owned);
            path.zip(facts).ok_or_else(|| {
                answer::refused(&format!(
                    "what it mounts at {target:?} is not of this host's making"
                ))
            })
        });
        let read: Vec<_> = read.collect::<Result<_, _>>()?;
        Ok(ReadBack::of_files(read))
    }

    async fn start(&self, verified: Verified) -> Result<(), EngineError> {
        self.update(verified.generation(), |spec| {
            let labels = spec.labels.get_or_insert_default();
            labels.insert(service::STARTED.to_owned(), "true".to_owned());
            spec.mode = Some(service::replicas(1));
        })
        .await?;
        self.has_started(verified.generation()).await
    }

    async fn inspect(&self, generation: &Generation) -> Result<Observed, EngineError> {
        let service = self.get(generation).await?;
        let tasks = self.tasks_of(generation).await?;
        let tasks: Vec<&Task> = tasks.iter().collect();
        let addresses = self.addresses().await?;
        let observed = self.observed(&service, &tasks, &addresses);
        let observed =
            observed.ok_or_else(|| EngineError::NotFound(names::container(generation)))?;
        // It would pass for one that cannot be asked, and so for ready.
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
        // A swarm goes on until it is told to stop, and does not say when a service has ended.
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
            // By its own identity: the name may be another's by now.
            let service = service.id.unwrap_or_else(|| names::container(generation));
            let removed = self.docker.client.delete_service(&service).await;
            found_or_none(removed).map_err(|e| self.error(e))?;
        }
        let late = EngineError::TimedOut(limits::CLEANUP.as_secs());
        timeout(limits::CLEANUP, self.is_gone(generation))
            .await
            .unwrap_or(Err(late))
    }

    async fn remove_volume(&self, volume: &Volume) -> Result<(), EngineError> {
        let Volume::Configs(generation) = volume else {
            return self.docker.remove_volume(volume).await;
        };
        let configs = self.configs_of(generation).await?.into_iter();
        let configs: HashSet<_> = configs.filter_map(|config| config.id).collect();
        for config in configs {
            self.remove_config(&config).await?;
        }
        let secrets = self.secrets_of(generation).await?.into_iter();
        let secrets: HashSet<_> = secrets.filter_map(|secret| secret.id).collect();
        for secret in secrets {
            self.remove_secret(&secret).await?;
        }
        Ok(())
    }
}

fn labels(service: &Service) -> &Labels {
    static NONE: std::sync::LazyLock<Labels> = std::sync::LazyLock::new(Labels::new);
    let labels = service.spec.as_ref().and_then(|spec| spec.labels.as_ref());
    labels.unwrap_or(&NONE)
}
