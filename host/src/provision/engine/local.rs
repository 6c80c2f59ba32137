//! The local engine: a folder and a child process for each workspace, for machines without Docker.
//!
//! The process runs as the operator's user on this machine, and is confined as far as the kernel allows
//! (`local/confine.rs` says how far, and what remains possible). The tier of a workspace decides which volumes it has, as
//! with every engine, and is passed to it as `TIER`; it has no other effect here.
//!
//! Needs Linux 5.3 or newer with `/proc`. Workspaces are kept from all files of the operator with Linux 6.2 or newer.
//!
//! # What a process gets
//! - a program that the host found (`local/program.rs`). It is not a file of the seed, because those are not executable
//!   unless `executable_seed` is set for the runtime.
//! - an environment: the variables of [`process_env`](crate::provision::engine::process_env); defaults for `PATH`, `HOME`
//!   and `TMPDIR`; `WORKSPACE_DIR` and `WORKSPACE_ACCESS`. Nothing of the host's own environment, and no variable of a
//!   template that steers a program (`policy/steering.rs`).
//! - a working directory: the workspace volume, the operator's directory, or in tier 1 the scratch folder
//! - `HOME`: the workspace volume, or else the scratch folder; never the operator's directory
//! - no standard input. Its output goes to the log, which has a limited size.
//! - its own process group, and a supervisor that restarts it whenever it ends (`local/supervisor.rs`)
//!
//! # On disk
//! ```text
//! <state>/local/<workspace id>/
//!   container.json   the container, which exists exactly as long as this file
//!   configs/  configs.json   workspace/  workspace.json      the volumes, and whose they are
//!   run.json  lock  log  log.1  scratch/                     from the first start to the removal
//!   1/  2/  …        later generations: the same files, without a workspace volume of their own
//! ```

mod confine;
mod container;
mod disk;
mod grants;
mod listing;
mod log;
mod process;
mod program;
mod start;
mod supervisor;
mod volume;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use rustix::process::Signal;

use super::{folder, mount};
use crate::limits;
use crate::model::engine_kind::EngineKind;
use crate::model::ids::{InstanceId, OperationId, OrgId, WorkspaceId};
use crate::provision::engine::Engine;
use crate::provision::engine::error::EngineError;
use crate::provision::generation::Generation;
use crate::provision::observed::{
    Observed, ObservedVolume, Resource, ResourceKind, Volume, VolumeKind, VolumeOutcome,
};
use crate::provision::seed::{ReadBack, Verified};
use crate::provision::spec::Spec;
pub use confine::isolation;
use container::Container;
use disk::{VERSION, WorkspaceFolder, unusable};
pub use supervisor::{EXEC_CHILD, SUPERVISE, exec_child, supervise};

/// The local engine of one state folder. Holds only paths and the grace period: everything else is on disk.
#[derive(Debug, Clone)]
pub struct Local {
    /// The folder of all workspaces.
    root: PathBuf,
    /// The `orghost` program.
    supervisor: PathBuf,
    /// The operator's home.
    home: Option<PathBuf>,
    grace: Duration,
}

impl Local {
    /// Keeps workspaces in the folder `root`, and starts them with `supervisor`, which is the `orghost` program.
    pub fn new(root: PathBuf, supervisor: PathBuf) -> Self {
        Self {
            // The paths that a process is given must hold in every working directory.
            root: std::path::absolute(&root).unwrap_or(root),
            supervisor,
            home: None,
            grace: limits::STOP_GRACE,
        }
    }

    /// Sets the operator's home. When a program is in that folder, only the program is granted, and not the folder.
    #[must_use]
    pub fn with_home(mut self, home: Option<PathBuf>) -> Self {
        self.home = home;
        self
    }

    /// Sets the time between TERM and KILL for containers that are made from now on. Default: [`limits::STOP_GRACE`].
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// The folder of a generation.
    fn folder(&self, generation: &Generation) -> WorkspaceFolder {
        WorkspaceFolder::new(&self.root, generation)
    }

    /// The folder that contains a volume. The agent's work is in that of the first generation.
    fn folder_of(&self, volume: &Volume) -> WorkspaceFolder {
        match volume {
            Volume::Configs(generation) => self.folder(generation),
            Volume::Workspace(id) => self.folder(&Generation::first(id)),
        }
    }
}

impl Engine for Local {
    fn kind(&self) -> EngineKind {
        EngineKind::Local
    }

    async fn observe(&self, org: &OrgId) -> Result<Vec<Observed>, EngineError> {
        let (engine, org) = (self.clone(), org.clone());
        blocking(move || {
            let mut observed = Vec::new();
            for (generation, folder) in engine.folders()? {
                let container: Option<Container> = disk::read(&folder.container())?;
                if let Some(container) = container.filter(|c| c.belongs_to(&org)) {
                    observed.push(inspect(generation, &folder, container)?);
                }
            }
            Ok(observed)
        })
        .await
    }

    async fn find(&self, id: &WorkspaceId) -> Result<Vec<Observed>, EngineError> {
        let (engine, id) = (self.clone(), id.clone());
        blocking(move || {
            let mut observed = Vec::new();
            for (generation, folder) in engine.folders_of(&id)? {
                if let Some(container) = disk::read(&folder.container())? {
                    observed.push(inspect(generation, &folder, container)?);
                }
            }
            Ok(observed)
        })
        .await
    }

    async fn volumes(&self, org: &OrgId) -> Result<Vec<ObservedVolume>, EngineError> {
        let (engine, org) = (self.clone(), org.clone());
        blocking(move || {
            let volumes = engine.all_volumes()?.into_iter();
            let own = volumes.filter(|(_, _, facts)| facts.belongs_to(&org));
            let observed = own.map(|(volume, path, facts)| ObservedVolume {
                volume,
                operation: facts.operation,
                name: path.display().to_string(),
            });
            Ok(observed.collect())
        })
        .await
    }

    async fn everything(&self, instance: &InstanceId) -> Result<Vec<Resource>, EngineError> {
        let (engine, instance) = (self.clone(), instance.clone());
        blocking(move || {
            let mut seen = Vec::new();
            for (generation, folder) in engine.folders()? {
                let container: Option<Container> = disk::read(&folder.container())?;
                if let Some(found) = container.filter(|c| c.instance == instance.as_str()) {
                    seen.push(Resource {
                        org: found.org,
                        thing: ResourceKind::Container(generation),
                        name: folder.path().display().to_string(),
                    });
                }
            }
            for (volume, path, found) in engine.all_volumes()? {
                if found.instance == instance.as_str() {
                    seen.push(Resource {
                        org: found.org,
                        thing: ResourceKind::Volume(volume),
                        name: path.display().to_string(),
                    });
                }
            }
            Ok(seen)
        })
        .await
    }

    async fn prepare(&self, _: &OrgId) -> Result<(), EngineError> {
        let root = self.root.clone();
        blocking(move || disk::make_folder(&root)).await
    }

    /// Removes what an unfinished removal left, and the engine's own folder if it is empty.
    async fn dismantle(&self, org: &OrgId) -> Result<(), EngineError> {
        let (engine, org) = (self.clone(), org.clone());
        blocking(move || {
            for (_, folder) in engine.folders()? {
                for kind in [VolumeKind::Configs, VolumeKind::Workspace] {
                    let volume: Option<disk::Volume> = disk::read(&folder.volume_facts(kind))?;
                    if volume.is_some_and(|v| v.belongs_to(&org)) && !folder.volume(kind).exists() {
                        disk::remove_file(&folder.volume_facts(kind))?;
                    }
                }
                folder.remove_if_empty();
            }
            let _ = fs::remove_dir(&engine.root);
            Ok(())
        })
        .await
    }

    async fn create_volume(
        &self,
        spec: &Spec,
        volume: &Volume,
        operation: &OperationId,
    ) -> Result<VolumeOutcome, EngineError> {
        let (folder, org) = (self.folder_of(volume), spec.org.clone());
        let kind = volume.kind();
        let facts = disk::Volume {
            version: VERSION,
            instance: org.instance().as_str().to_owned(),
            org: org.slug().to_owned(),
            operation: operation.as_str().to_owned(),
        };
        blocking(move || {
            let (path, facts_path) = (folder.volume(kind), folder.volume_facts(kind));
            folder.make()?;
            let found: Option<disk::Volume> = disk::read(&facts_path)?;
            let is_there = path.symlink_metadata().is_ok();
            match found {
                Some(volume) if !volume.belongs_to(&org) => Err(in_use(&path, "a volume")),
                Some(_) if is_there => Ok(VolumeOutcome::Existing),
                None if is_there => Err(in_use(&path, "a volume")),
                // There is no such volume, or only a part of one that was being removed.
                _ => {
                    disk::write_durably(&facts_path, &facts)
                        .map_err(|e| unusable(&facts_path, &e))?;
                    fs::create_dir(&path).map_err(|e| unusable(&path, &e))?;
                    Ok(VolumeOutcome::Created)
                }
            }
        })
        .await
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
        let (folder, org) = (self.folder(generation), spec.org.clone());
        let bind = mount::bind(spec).await?;
        let container = self.container(spec, generation, bind, operation)?;
        blocking(move || {
            let path = folder.container();
            let found: Option<Container> = disk::read(&path)?;
            match found {
                Some(found) if !found.belongs_to(&org) => {
                    return Err(in_use(folder.path(), "a container"));
                }
                Some(_) => {
                    let path = path.display();
                    return Err(EngineError::Refused(format!("{path} exists already")));
                }
                None => folder.make()?,
            }
            disk::write_durably(&path, &container).map_err(|e| unusable(&path, &e))
        })
        .await
    }

    async fn put_seed(&self, generation: &Generation, archive: Vec<u8>) -> Result<(), EngineError> {
        let folder = self.folder(generation);
        blocking(move || {
            existing(&folder)?;
            let configs = folder.volume(VolumeKind::Configs);
            let unpacked =
                folder::open(&configs, &[]).and_then(|root| folder::unpack(&root, &archive, None));
            unpacked.map_err(|e| unusable(&configs, &e))
        })
        .await
    }

    async fn read_seed(&self, generation: &Generation) -> Result<ReadBack, EngineError> {
        let folder = self.folder(generation);
        blocking(move || {
            existing(&folder)?;
            let configs = folder.volume(VolumeKind::Configs);
            let read_back = folder::open(&configs, &[]).and_then(ReadBack::of_folder);
            read_back.map_err(|e| unusable(&configs, &e))
        })
        .await
    }

    async fn start(&self, verified: Verified) -> Result<(), EngineError> {
        let folder = self.folder(verified.generation());
        let here = folder.clone();
        blocking(move || existing(&here).map(drop)).await?;
        self.start_supervisor(&folder).await
    }

    async fn inspect(&self, generation: &Generation) -> Result<Observed, EngineError> {
        let (generation, folder) = (generation.clone(), self.folder(generation));
        blocking(move || {
            let container = existing(&folder)?;
            inspect(generation, &folder, container)
        })
        .await
    }

    async fn last_lines(
        &self,
        generation: &Generation,
        lines: usize,
    ) -> Result<Vec<String>, EngineError> {
        let folder = self.folder(generation);
        blocking(move || {
            existing(&folder)?;
            log::last_lines(&folder, lines)
        })
        .await
    }

    fn logs(
        &self,
        generation: &Generation,
        tail: Option<usize>,
        follow: bool,
    ) -> impl Stream<Item = Result<Bytes, EngineError>> + Send + use<> {
        log::follow(self.folder(generation), tail, follow)
    }

    async fn stop(&self, generation: &Generation) -> Result<(), EngineError> {
        let folder = self.folder(generation);
        let here = folder.clone();
        let container: Option<Container> = blocking(move || disk::read(&here.container())).await?;
        let grace = container.map_or(self.grace, |c| Duration::from_millis(c.grace_ms));
        let patience = grace.saturating_add(limits::SUPERVISOR_END);
        process::end(&folder, &generation.id, Signal::TERM, patience).await
    }

    async fn remove(&self, generation: &Generation) -> Result<(), EngineError> {
        let folder = self.folder(generation);
        process::end(
            &folder,
            &generation.id,
            Signal::QUIT,
            limits::SUPERVISOR_END,
        )
        .await?;
        blocking(move || {
            let scratch = folder.scratch();
            volume::remove(&scratch).map_err(|e| unusable(&scratch, &e))?;
            // `container.json` is removed last, so that an unfinished removal is found and repeated.
            for file in [
                folder.log(),
                folder.old_log(),
                folder.lock(),
                folder.run_state(),
                folder.container(),
            ] {
                disk::remove_file(&file)?;
            }
            folder.remove_if_empty();
            Ok(())
        })
        .await
    }

    async fn remove_volume(&self, volume: &Volume) -> Result<(), EngineError> {
        let (folder, kind) = (self.folder_of(volume), volume.kind());
        blocking(move || {
            let path = folder.volume(kind);
            volume::remove(&path).map_err(|e| unusable(&path, &e))?;
            disk::remove_file(&folder.volume_facts(kind))?;
            folder.remove_if_empty();
            Ok(())
        })
        .await
    }
}

/// Runs work with files on a thread where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<T, EngineError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|e| Err(EngineError::Refused(e.to_string())))
}

/// The container in a folder; an error when there is none.
fn existing(folder: &WorkspaceFolder) -> Result<Container, EngineError> {
    let container = disk::read(&folder.container())?;
    container.ok_or_else(|| EngineError::NotFound(folder.path().display().to_string()))
}

/// A container as the engine reports it.
fn inspect(
    generation: Generation,
    folder: &WorkspaceFolder,
    container: Container,
) -> Result<Observed, EngineError> {
    let (state, port) = folder.state()?;
    Ok(Observed {
        generation,
        key: container.key,
        spec: container.spec,
        state,
        url: port.map(|port| format!("http://127.0.0.1:{port}")),
    })
}

fn in_use(path: &Path, what: &'static str) -> EngineError {
    EngineError::NameInUse {
        name: path.display().to_string(),
        what,
    }
}
