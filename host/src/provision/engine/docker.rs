//! The Docker engine: a container for each workspace.
//!
//! Only this module and [`swarm`](super::swarm) use the client library bollard, and none of its types leaves them. The
//! engine touches nothing without this host's labels and starts nothing that was not verified. Volumes and folders are made
//! explicitly, never as a side effect of a bind mount.
//!
//! A container has the restart policy `no` until its seed was verified: it gets `unless-stopped` when it is made after
//! that, and otherwise when it is started. Docker 20.10 does not start a container that never ran when the engine itself
//! restarts, whatever its policy; but Docker does not promise that, so nothing here relies on it.

pub(in crate::provision) mod answer;
pub(in crate::provision) mod body;
mod connect;
pub(in crate::provision) mod names;
mod network;
mod pull;
mod seed;

use bollard::errors::Error;
use bollard::models::{ContainerInspectResponse, ContainerUpdateBody, VolumeCreateRequest};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder,
    ListVolumesOptionsBuilder, LogsOptions, LogsOptionsBuilder, RemoveContainerOptionsBuilder,
    RemoveVolumeOptions, StartContainerOptions, StopContainerOptionsBuilder,
};
use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::mount;
use crate::limits;
use crate::model::engine_kind::EngineKind;
use crate::model::ids::{InstanceId, OperationId, OrgId, WorkspaceId};
use crate::provision::engine::Engine;
use crate::provision::engine::error::EngineError;
use crate::provision::generation::Generation;
use crate::provision::observed::{
    Observed, ObservedVolume, Resource, ResourceKind, Volume, VolumeOutcome,
};
use crate::provision::seed::{ReadBack, Verified};
use crate::provision::spec::Spec;
use body::Context;
use pull::Pulls;

/// A connection to a Docker engine that has answered. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Docker {
    pub(in crate::provision) client: bollard::Docker,
    pub(in crate::provision) endpoint: String,
    pub(in crate::provision) pulls: Pulls,
    facts: OnceCell<Facts>,
    disk: seed::Disk,
}

/// What an engine says about itself when it is asked.
#[derive(Debug, Clone, Copy)]
struct Facts {
    /// The number of its processors.
    cpus: i64,
    /// Whether files have other owners in its containers than on its disk, or labels of SELinux.
    maps_or_labels: bool,
}

impl Docker {
    pub(in crate::provision) fn error(&self, error: Error) -> EngineError {
        answer::error(error, &self.endpoint)
    }

    /// The container with this name. `None`: there is none.
    async fn look_up(&self, name: &str) -> Result<Option<ContainerInspectResponse>, EngineError> {
        let found = self
            .client
            .inspect_container(name, None::<InspectContainerOptions>)
            .await;
        found_or_none(found).map_err(|e| self.error(e))
    }

    /// The container of a generation. `None`: there is none.
    async fn find_container(
        &self,
        generation: &Generation,
    ) -> Result<Option<ContainerInspectResponse>, EngineError> {
        let name = names::container(generation);
        let found = self.look_up(&name).await?;
        let labels = |found: &ContainerInspectResponse| {
            let labels = found.config.as_ref()?.labels.as_ref()?;
            Some(names::is_of_generation(labels, generation))
        };
        match found {
            Some(found) if labels(&found) != Some(true) => Err(EngineError::NameInUse {
                name,
                what: "a container",
            }),
            found => Ok(found),
        }
    }

    /// The containers of workspaces that have these labels.
    async fn list(&self, wanted: &names::Labels) -> Result<Vec<Observed>, EngineError> {
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&names::filter_by(wanted));
        let listed = self.client.list_containers(Some(options.build())).await;
        let listed = listed.map_err(|e| self.error(e))?.into_iter();
        let own = listed.filter(|found| {
            let labels = found.labels.as_ref();
            labels.is_some_and(|labels| names::carries(labels, wanted))
        });
        Ok(own.filter_map(answer::listed).collect())
    }

    async fn create_container(&self, spec: &Spec, context: &Context<'_>) -> Result<(), Error> {
        let name = names::container(context.generation);
        let options = CreateContainerOptionsBuilder::default().name(&name).build();
        self.client
            .create_container(Some(options), body::body(spec, context))
            .await
            .map(drop)
    }

    /// The number of the engine's processors. `None`: the tier's share is at most one, so it is not needed.
    async fn cpus_for(&self, spec: &Spec) -> Result<Option<i64>, EngineError> {
        if body::share(spec.tier).nano_cpus <= 1_000_000_000 {
            return Ok(None);
        }
        Ok(Some(self.facts().await?.cpus))
    }

    async fn facts(&self) -> Result<Facts, EngineError> {
        let ask = || async {
            let info = self.client.info().await.map_err(|e| self.error(e))?;
            let mut options = info.security_options.iter().flatten();
            Ok(Facts {
                cpus: info.ncpu.unwrap_or(1),
                maps_or_labels: options.any(|option| {
                    let name = option.split(',').next().unwrap_or_default();
                    ["name=rootless", "name=userns", "name=selinux"].contains(&name)
                }),
            })
        };
        self.facts.get_or_try_init(ask).await.copied()
    }
}

impl Engine for Docker {
    fn kind(&self) -> EngineKind {
        EngineKind::Docker
    }

    async fn observe(&self, org: &OrgId) -> Result<Vec<Observed>, EngineError> {
        self.list(&names::of_org(org)).await
    }

    async fn find(&self, id: &WorkspaceId) -> Result<Vec<Observed>, EngineError> {
        self.list(&names::of_id(id)).await
    }

    async fn volumes(&self, org: &OrgId) -> Result<Vec<ObservedVolume>, EngineError> {
        let options = ListVolumesOptionsBuilder::default().filters(&names::filter(org));
        let listed = self.client.list_volumes(Some(options.build())).await;
        let listed = listed.map_err(|e| self.error(e))?.volumes;
        let own = listed.into_iter().flatten().filter_map(|volume| {
            let of = names::volume_of(&volume.labels)?;
            let is_own = names::is_of_org(&volume.labels, org) && names::volume(&of) == volume.name;
            is_own.then_some(ObservedVolume {
                volume: of,
                operation: volume
                    .labels
                    .get(names::OPERATION)
                    .cloned()
                    .unwrap_or_default(),
                name: volume.name.clone(),
            })
        });
        Ok(own.collect())
    }

    async fn everything(&self, instance: &InstanceId) -> Result<Vec<Resource>, EngineError> {
        let filter = names::filter_by(&names::of_instance(instance));
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&filter);
        let containers = self.client.list_containers(Some(options.build())).await;
        let containers = containers.map_err(|e| self.error(e))?.into_iter();
        let containers = containers.filter_map(|found| {
            let labels = found.labels.clone()?;
            // A container whose name does not fit its labels is a copy, and not this host's.
            let found = answer::listed(found)?;
            names::resource(&labels, instance, ResourceKind::Container(found.generation))
        });
        let options = ListVolumesOptionsBuilder::default().filters(&filter);
        let volumes = self.client.list_volumes(Some(options.build())).await;
        let volumes = volumes.map_err(|e| self.error(e))?.volumes;
        let volumes = volumes.into_iter().flatten().filter_map(|volume| {
            let of = names::volume_of(&volume.labels)?;
            let resource = names::resource(&volume.labels, instance, ResourceKind::Volume(of))?;
            (resource.name == volume.name).then_some(resource)
        });
        Ok(containers.chain(volumes).collect())
    }

    async fn prepare(&self, org: &OrgId) -> Result<(), EngineError> {
        self.disk.sample_next_of(org);
        self.ensure_network(org, "bridge").await
    }

    async fn dismantle(&self, org: &OrgId) -> Result<(), EngineError> {
        self.remove_networks(org).await
    }

    async fn create_volume(
        &self,
        spec: &Spec,
        volume: &Volume,
        operation: &OperationId,
    ) -> Result<VolumeOutcome, EngineError> {
        let name = names::volume(volume);
        let in_use = || EngineError::NameInUse {
            name: name.clone(),
            what: "a volume",
        };
        let request = VolumeCreateRequest {
            name: Some(name.clone()),
            labels: Some(body::volume_labels(spec, volume, operation)),
            ..VolumeCreateRequest::default()
        };
        // For a name that exists, the engine answers with the volume that is there, with its old labels.
        let created = self.client.create_volume(request).await;
        if let Ok(made) = &created {
            let folder = &made.mountpoint;
            self.disk.note(&self.endpoint, volume, folder).await;
        }
        match created {
            Ok(volume) if !names::is_of_workspace(&volume.labels, &spec.id) => Err(in_use()),
            Ok(volume)
                if volume.labels.get(names::OPERATION).map(String::as_str)
                    == Some(operation.as_str()) =>
            {
                Ok(VolumeOutcome::Created)
            }
            Ok(_) => Ok(VolumeOutcome::Existing),
            Err(error) if answer::status(&error) == Some(409) => Err(in_use()),
            Err(error) => Err(self.error(error)),
        }
    }

    async fn seeds_first(&self) -> bool {
        self.disk.root().await.is_some()
    }

    async fn create(
        &self,
        spec: &Spec,
        generation: &Generation,
        operation: &OperationId,
        verified: Option<&Verified>,
    ) -> Result<(), EngineError> {
        let Some(image) = spec.runtime.image.as_deref() else {
            return Err(EngineError::RuntimeUnsuited {
                runtime: spec.runtime_name.clone(),
                wanted: "image",
                engine: "docker",
            });
        };
        let context = Context {
            generation,
            image,
            operation,
            bind: mount::bind(spec).await?,
            socket: self.socket(),
            cpus: self.cpus_for(spec).await?,
            restarts: verified.is_some_and(|verified| verified.generation() == generation),
        };
        let mut created = self.create_container(spec, &context).await;
        // Of what a create refers to, only the image can be missing.
        if let Err(error) = &created
            && answer::status(error) == Some(404)
        {
            self.pulls.pull(&self.client, &self.endpoint, image).await?;
            created = self.create_container(spec, &context).await;
        }
        match created {
            Ok(()) => {
                self.disk.sample_if_next(&spec.org, generation);
                Ok(())
            }
            Err(error) if answer::status(&error) == Some(404) => Err(EngineError::ImageMissing {
                image: image.to_owned(),
                reason: "it was pulled, and then removed again".to_owned(),
            }),
            Err(error) if answer::status(&error) == Some(409) => {
                match self.find_container(generation).await {
                    // Another operation is working on this workspace.
                    Ok(Some(_)) => Err(EngineError::Refused(format!(
                        "another operation made the container {} first: run the same command again",
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
        self.write_seed(generation, archive).await
    }

    async fn read_seed(&self, generation: &Generation) -> Result<ReadBack, EngineError> {
        self.read_back(generation).await
    }

    async fn start(&self, verified: Verified) -> Result<(), EngineError> {
        let name = names::container(verified.generation());
        if !verified.restarts() {
            let policy = ContainerUpdateBody {
                restart_policy: Some(body::restart_policy(true)),
                ..ContainerUpdateBody::default()
            };
            let updated = self.client.update_container(&name, policy).await;
            updated.map_err(|e| self.error(e))?;
        }
        // The client treats the status 304, already started, as success.
        self.client
            .start_container(&name, None::<StartContainerOptions>)
            .await
            .map_err(|e| self.error(e))
    }

    async fn inspect(&self, generation: &Generation) -> Result<Observed, EngineError> {
        let found = self
            .find_container(generation)
            .await?
            .and_then(answer::inspected);
        found.ok_or_else(|| EngineError::NotFound(names::container(generation)))
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
        let log = self.client.logs(&name, Some(logs_options(tail, follow)));
        answer::printed(log, name, self.endpoint.clone())
    }

    async fn stop(&self, generation: &Generation) -> Result<(), EngineError> {
        let grace = i32::try_from(limits::STOP_GRACE.as_secs()).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::default().t(grace).build();
        let name = names::container(generation);
        // The client treats the status 304, not running, as success.
        let stopped = self.client.stop_container(&name, Some(options)).await;
        found_or_none(stopped).map(drop).map_err(|e| self.error(e))
    }

    async fn remove(&self, generation: &Generation) -> Result<(), EngineError> {
        /// Between two checks whether a removal that is in progress has ended: the engine does not report that.
        const PAUSE: std::time::Duration = std::time::Duration::from_millis(100);
        let Some(found) = self.find_container(generation).await? else {
            return Ok(());
        };
        // By its identity, because the name may belong to another container by now.
        let name = found.id.unwrap_or_else(|| names::container(generation));
        let options = RemoveContainerOptionsBuilder::default()
            .force(true)
            .v(false);
        match self
            .client
            .remove_container(&name, Some(options.build()))
            .await
        {
            Ok(()) => Ok(()),
            Err(error) => match answer::status(&error) {
                Some(404) => Ok(()),
                // Another removal of it is in progress.
                Some(409) => {
                    let gone = async {
                        while self.look_up(&name).await?.is_some() {
                            tokio::time::sleep(PAUSE).await;
                        }
                        Ok(())
                    };
                    let late = EngineError::TimedOut(limits::CLEANUP.as_secs());
                    timeout(limits::CLEANUP, gone).await.unwrap_or(Err(late))
                }
                _ => Err(self.error(error)),
            },
        }
    }

    async fn remove_volume(&self, volume: &Volume) -> Result<(), EngineError> {
        let name = names::volume(volume);
        let found = found_or_none(self.client.inspect_volume(&name).await);
        match found.map_err(|e| self.error(e))? {
            None => return Ok(()),
            Some(found) if !names::is_of_workspace(&found.labels, volume.id()) => {
                return Err(EngineError::NameInUse {
                    name,
                    what: "a volume",
                });
            }
            Some(_) => {}
        }
        let removed = self
            .client
            .remove_volume(&name, None::<RemoveVolumeOptions>)
            .await;
        found_or_none(removed).map(drop).map_err(|e| self.error(e))
    }
}

/// The options of a request for a log.
pub(in crate::provision) fn logs_options(tail: Option<usize>, follow: bool) -> LogsOptions {
    let tail = tail.map_or_else(|| "all".to_owned(), |lines| lines.to_string());
    let options = LogsOptionsBuilder::default().stdout(true).stderr(true);
    options.follow(follow).tail(&tail).build()
}

/// Turns the status 404 into `None`, for requests about something that may be absent.
pub(in crate::provision) fn found_or_none<T>(found: Result<T, Error>) -> Result<Option<T>, Error> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if answer::status(&error) == Some(404) => Ok(None),
        Err(error) => Err(error),
    }
}
