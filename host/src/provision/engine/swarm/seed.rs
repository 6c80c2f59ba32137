//! The seed of a workspace on a swarm: makes, reads, lists and removes its configs and secrets.

use std::collections::{BTreeMap, HashMap, HashSet};

use bollard::errors::Error;

use super::{Swarm, files, labels, service};
use crate::model::ids::OperationId;
use crate::provision::engine::docker::names::{self, Labels};
use crate::provision::engine::docker::{answer, found_or_none};
use crate::provision::engine::error::EngineError;
use crate::provision::generation::Generation;
use crate::provision::observed::{ObservedVolume, Volume, VolumeKind, VolumeOutcome};
use crate::provision::seed::ReadBack;

impl Swarm {
    /// The configs and secrets with these labels; those of each generation together are one volume.
    pub(super) async fn list_seeds(
        &self,
        wanted: &Labels,
    ) -> Result<Vec<ObservedVolume>, EngineError> {
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

    /// Whether this operation will have made the seed of a generation. Makes nothing.
    pub(super) async fn seed_outcome(
        &self,
        generation: &Generation,
        operation: &OperationId,
    ) -> Result<VolumeOutcome, EngineError> {
        // `write_seed` makes the configs and secrets. Those that another operation left must be removed first.
        let mut found = self.files(&names::of_id(&generation.id)).await?;
        found.retain(|labels| names::is_of_generation(labels, generation));
        let own = Labels::from([(names::OPERATION.to_owned(), operation.as_str().to_owned())]);
        Ok(if found.iter().all(|labels| names::carries(labels, &own)) {
            VolumeOutcome::Created
        } else {
            VolumeOutcome::Existing
        })
    }

    /// Makes the configs and secrets of a seed, and has the service mount them.
    pub(super) async fn write_seed(
        &self,
        generation: &Generation,
        archive: &[u8],
    ) -> Result<(), EngineError> {
        let service = self.get(generation).await?;
        if service::wanted(&service) > 0 {
            return Err(answer::refused(
                "a seed can only be written before the start or after a stop",
            ));
        }
        let files = files::unpack(archive)?;
        let mut labels = labels(&service).clone();
        labels.retain(|name, _| {
            ![names::SPEC, service::PORT, service::STARTED].contains(&name.as_str())
        });
        labels.insert(names::VOLUME.to_owned(), VolumeKind::Configs.to_string());
        // A name contains a digest of the content. So what exists under a wanted name is kept, and the others are removed.
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

    /// Reads the configs and secrets that the service mounts.
    pub(super) async fn read_back(&self, generation: &Generation) -> Result<ReadBack, EngineError> {
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
            let content = named.config_id.and_then(|id| configs.get(&id));
            let facts =
                content.and_then(|content| files::config_facts(content, file.mode? & 0o777));
            found.push((file.name.unwrap_or_default(), facts));
        }
        for named in container.secrets.into_iter().flatten() {
            let file = named.file.unwrap_or_default();
            let content = named.secret_id.and_then(|id| secrets.get(&id));
            let facts =
                content.and_then(|content| files::secret_facts(content, file.mode? & 0o777));
            found.push((file.name.unwrap_or_default(), facts));
        }
        let read = found.into_iter().map(|(target, facts)| {
            let path = files::seed_path(&target).map(str::to_owned);
            path.zip(facts).ok_or_else(|| {
                answer::refused(&format!(
                    "what it mounts at {target:?} was not made by this host"
                ))
            })
        });
        let read: Vec<_> = read.collect::<Result<_, _>>()?;
        Ok(ReadBack::of_files(read))
    }

    /// Removes the configs and secrets of a seed.
    pub(super) async fn remove_seed(&self, generation: &Generation) -> Result<(), EngineError> {
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

    async fn remove_config(&self, id: &str) -> Result<(), EngineError> {
        let removed = self.docker.client.delete_config(id).await;
        found_or_none(removed).map(drop).map_err(|e| self.error(e))
    }

    async fn remove_secret(&self, id: &str) -> Result<(), EngineError> {
        let removed = self.docker.client.delete_secret(id).await;
        found_or_none(removed).map(drop).map_err(|e| self.error(e))
    }

    /// The error for a config or secret that could not be made.
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
