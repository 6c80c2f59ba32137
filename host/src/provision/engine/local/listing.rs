//! Lists what the local engine has: the folders of generations, and their volumes. Changes nothing.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::container::Container;
use super::disk::{self, WorkspaceFolder, unusable};
use super::{Local, blocking};
use crate::model::ids::{OrgId, WorkspaceId};
use crate::model::isolation::Isolation;
use crate::provision::engine::error::EngineError;
use crate::provision::generation::Generation;
use crate::provision::observed::Volume;

impl Local {
    /// The weakest isolation among the workspaces of an org. `None`: it has no workspace.
    ///
    /// # Errors
    /// [`EngineError::Folder`] when a container cannot be read.
    pub async fn isolation_of(&self, org: &OrgId) -> Result<Option<Isolation>, EngineError> {
        let (engine, org) = (self.clone(), org.clone());
        blocking(move || {
            let mut weakest: Option<Isolation> = None;
            for (_, folder) in engine.folders()? {
                let container: Option<Container> = disk::read(&folder.container())?;
                if let Some(container) = container.filter(|c| c.belongs_to(&org)) {
                    let own = container.isolation();
                    weakest = Some(match weakest {
                        Some(weakest) => weakest.weaker(own),
                        None => own,
                    });
                }
            }
            Ok(weakest)
        })
        .await
    }

    /// The folders of all generations. A folder of a first generation may not be there.
    pub(super) fn folders(&self) -> Result<Vec<(Generation, WorkspaceFolder)>, EngineError> {
        let listing = match fs::read_dir(&self.root) {
            Ok(listing) => listing,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(unusable(&self.root, &e)),
        };
        let mut folders = Vec::new();
        for entry in listing {
            let name = entry.map_err(|e| unusable(&self.root, &e))?.file_name();
            if let Some(id) = name.to_str().and_then(WorkspaceId::parse) {
                folders.extend(self.folders_of(&id)?);
            }
        }
        Ok(folders)
    }

    /// The folders of the generations of one workspace. That of the first generation may not be there.
    pub(super) fn folders_of(
        &self,
        id: &WorkspaceId,
    ) -> Result<Vec<(Generation, WorkspaceFolder)>, EngineError> {
        let first = Generation::first(id);
        let later = self.folder(&first).later()?.into_iter();
        let later = later.map(|number| Generation {
            id: id.clone(),
            number,
        });
        let all = std::iter::once(first.clone()).chain(later);
        Ok(all.map(|g| (g.clone(), self.folder(&g))).collect())
    }

    /// All volumes that are there, with their paths and facts.
    pub(super) fn all_volumes(&self) -> Result<Vec<(Volume, PathBuf, disk::Volume)>, EngineError> {
        let mut volumes = Vec::new();
        for (generation, folder) in self.folders()? {
            let work = (generation.number == 0).then(|| Volume::Workspace(generation.id.clone()));
            for volume in std::iter::once(Volume::Configs(generation)).chain(work) {
                let facts: Option<disk::Volume> = disk::read(&folder.volume_facts(volume.kind()))?;
                let path = folder.volume(volume.kind());
                if let Some(facts) = facts
                    && path.is_dir()
                {
                    volumes.push((volume, path, facts));
                }
            }
        }
        Ok(volumes)
    }
}
