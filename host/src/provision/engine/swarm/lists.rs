//! Lists the services, tasks, configs and secrets of a swarm by their labels. Changes nothing.

use std::collections::HashSet;

use bollard::models::{Config, Secret, Service, Task};
use bollard::query_parameters::{
    ListConfigsOptionsBuilder, ListContainersOptionsBuilder, ListSecretsOptionsBuilder,
    ListServicesOptionsBuilder, ListTasksOptionsBuilder,
};

use super::{Swarm, labels};
use crate::provision::engine::docker::names::{self, Labels};
use crate::provision::engine::error::EngineError;
use crate::provision::generation::Generation;

/// The label that the engine itself sets on the container of a task.
const SERVICE_NAME: &str = "com.docker.swarm.service.name";

impl Swarm {
    /// The services that have these labels and the name of their generation.
    pub(super) async fn services(&self, wanted: &Labels) -> Result<Vec<Service>, EngineError> {
        let options = ListServicesOptionsBuilder::default().filters(&names::filter_by(wanted));
        let found = self
            .docker
            .client
            .list_services(Some(options.build()))
            .await;
        let mut found = found.map_err(|e| self.error(e))?;
        found.retain(|service| {
            let name = service.spec.as_ref().and_then(|spec| spec.name.as_ref());
            let own = names::generation(labels(service)).map(|g| names::container(&g));
            names::carries(labels(service), wanted) && own.as_ref() == name
        });
        Ok(found)
    }

    /// The tasks of services with these labels, including services that were just removed.
    pub(super) async fn tasks(&self, wanted: &Labels) -> Result<Vec<Task>, EngineError> {
        let options = ListTasksOptionsBuilder::default().filters(&names::filter_by(wanted));
        let found = self.docker.client.list_tasks(Some(options.build())).await;
        found.map_err(|e| self.error(e))
    }

    /// The tasks of one generation, also when its service was just removed. Tasks are labelled with their workspace and their
    /// service, and not with their generation.
    pub(super) async fn tasks_of(&self, generation: &Generation) -> Result<Vec<Task>, EngineError> {
        let own = names::of_id(&generation.id);
        let (mut tasks, services) = (self.tasks(&own).await?, self.services(&own).await?);
        let others = services
            .into_iter()
            .filter(|found| !names::is_of_generation(labels(found), generation));
        let others: HashSet<_> = others.filter_map(|service| service.id).collect();
        tasks.retain(|task| {
            let service = task.service_id.as_ref();
            service.is_none_or(|service| !others.contains(service))
        });
        Ok(tasks)
    }

    /// The configs with these labels.
    pub(super) async fn configs(&self, wanted: &Labels) -> Result<Vec<Config>, EngineError> {
        let options = ListConfigsOptionsBuilder::default().filters(&names::filter_by(wanted));
        let found = self.docker.client.list_configs(Some(options.build())).await;
        let mut found = found.map_err(|e| self.error(e))?;
        found.retain(|found| {
            let labels = found.spec.as_ref().and_then(|spec| spec.labels.as_ref());
            labels.is_some_and(|labels| names::carries(labels, wanted))
        });
        Ok(found)
    }

    /// The secrets with these labels.
    pub(super) async fn secrets(&self, wanted: &Labels) -> Result<Vec<Secret>, EngineError> {
        let options = ListSecretsOptionsBuilder::default().filters(&names::filter_by(wanted));
        let found = self.docker.client.list_secrets(Some(options.build())).await;
        let mut found = found.map_err(|e| self.error(e))?;
        found.retain(|found| {
            let labels = found.spec.as_ref().and_then(|spec| spec.labels.as_ref());
            labels.is_some_and(|labels| names::carries(labels, wanted))
        });
        Ok(found)
    }

    /// The configs of a generation.
    pub(super) async fn configs_of(
        &self,
        generation: &Generation,
    ) -> Result<Vec<Config>, EngineError> {
        let mut found = self.configs(&names::of_id(&generation.id)).await?;
        found.retain(|found| {
            let labels = found.spec.as_ref().and_then(|spec| spec.labels.as_ref());
            labels.is_some_and(|labels| names::is_of_generation(labels, generation))
        });
        Ok(found)
    }

    /// The secrets of a generation.
    pub(super) async fn secrets_of(
        &self,
        generation: &Generation,
    ) -> Result<Vec<Secret>, EngineError> {
        let mut found = self.secrets(&names::of_id(&generation.id)).await?;
        found.retain(|found| {
            let labels = found.spec.as_ref().and_then(|spec| spec.labels.as_ref());
            labels.is_some_and(|labels| names::is_of_generation(labels, generation))
        });
        Ok(found)
    }

    /// The labels of every config and secret that has these labels.
    pub(super) async fn files(&self, wanted: &Labels) -> Result<Vec<Labels>, EngineError> {
        let configs = self.configs(wanted).await?.into_iter();
        let configs = configs.filter_map(|found| found.spec?.labels);
        let secrets = self.secrets(wanted).await?.into_iter();
        let secrets = secrets.filter_map(|found| found.spec?.labels);
        Ok(configs.chain(secrets).collect())
    }

    /// The containers of a generation's tasks on this machine.
    pub(super) async fn containers(
        &self,
        generation: &Generation,
    ) -> Result<Vec<String>, EngineError> {
        let name = names::container(generation);
        let filter = Labels::from([(SERVICE_NAME.to_owned(), name.clone())]);
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&names::filter_by(&filter));
        let found = self
            .docker
            .client
            .list_containers(Some(options.build()))
            .await;
        let found = found.map_err(|e| self.error(e))?.into_iter();
        let own = format!("/{name}.");
        let is_own = |names: &Vec<String>| names.iter().any(|name| name.starts_with(&own));
        let found = found.filter(|container| container.names.as_ref().is_some_and(is_own));
        Ok(found.filter_map(|container| container.id).collect())
    }
}
