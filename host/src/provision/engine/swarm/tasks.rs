//! The tasks of a service: what they say about a workspace, its address, and waiting until they start or are gone.

use std::collections::HashMap;
use std::time::Duration;

use bollard::models::{Service, Task, TaskState};
use bollard::query_parameters::{InspectNetworkOptions, RemoveContainerOptionsBuilder};
use tokio::time::{Instant, sleep};

use super::{PAUSE, Swarm, labels, service};
use crate::provision::engine::docker::names::{self, Labels};
use crate::provision::engine::docker::{answer, found_or_none};
use crate::provision::engine::error::EngineError;
use crate::provision::generation::Generation;
use crate::provision::observed::Observed;

/// The bridge through which the tasks of every swarm reach their machine.
const GATEWAY: &str = "docker_gwbridge";

/// The addresses of tasks on this machine, by container.
pub(super) type Addresses = HashMap<String, String>;

impl Swarm {
    /// The addresses of the tasks on this machine; empty when the engine is reached through TCP.
    pub(super) async fn addresses(&self) -> Result<Addresses, EngineError> {
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

    /// A service and its tasks, as the engine reports a workspace.
    pub(super) fn observed(
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

    /// Whether its task runs on this machine, so that it must have an address here.
    pub(super) fn is_here(&self, tasks: &[&Task]) -> bool {
        let running = service::running(tasks).and_then(|task| task.node_id.as_ref());
        running == Some(&self.node) && self.docker.endpoint.starts_with("unix://")
    }

    /// The workspaces whose services have these labels.
    pub(super) async fn list(&self, wanted: &Labels) -> Result<Vec<Observed>, EngineError> {
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

    /// Waits until a task runs or has run. The swarm would try for ever; this fails when a task is rejected, or still cannot run
    /// after a while.
    pub(super) async fn wait_until_started(
        &self,
        generation: &Generation,
    ) -> Result<(), EngineError> {
        /// How long to wait while the swarm complains: a node may have to free resources first.
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
            if let Some(message) = complaint
                && (is(TaskState::REJECTED) || began.elapsed() > PATIENCE)
            {
                return Err(answer::refused(message));
            }
            sleep(PAUSE).await;
        }
    }

    /// Removes the containers that are left on this machine, and waits until no task is left.
    pub(super) async fn wait_until_gone(&self, generation: &Generation) -> Result<(), EngineError> {
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
                    // The swarm removes them too.
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
}
