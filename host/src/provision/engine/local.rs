//! The local engine: a folder and a child process for each workspace, where
//! there is no Docker. A workspace's process runs as the operator, on the
//! operator's machine, and is confined as far as the kernel can
//! (`local/confine.rs` says to what, and what that leaves open). A tier only
//! reaches it as `TIER`, and decides, as in every engine, which volumes there
//! are.
//!
//! Linux 5.3 or newer, with `/proc`; 6.2 or newer for all of its files to be safe from a workspace.
//!
//! # What a process gets
//! - a program that the host found (`local/program.rs`), and that is no file of its seed: those are not executable, unless
//!   the operator's runtime says so
//! - an environment that holds [`process_env`] and, below it, a fixed `PATH`, a `HOME` and a `TMPDIR`, above it
//!   `WORKSPACE_DIR` and `WORKSPACE_ACCESS`; nothing of the host's own, and nothing from a template that steers a program
//!   of this machine (`policy/steering.rs`)
//! - its working directory: the workspace volume, the operator's directory, or
//!   in tier 1 a scratch folder that goes with the container
//! - `HOME`: the workspace volume, else the scratch folder, never the operator's directory
//! - no standard input; its output goes to the log, which is bounded
//! - a group of its own, and a supervisor that starts it again whenever it ends (`local/supervisor.rs`)
//!
//! # On disk
//! ```text
//! <state>/local/<workspace id>/
//!   container.json   the container: exactly as long as this is here, there is one
//!   configs/  configs.json   workspace/  workspace.json      the volumes, and whose they are
//!   run.json  lock  log  log.1  scratch/                     from its start to its removal
//!   1/  2/  …        a later generation: the same but the workspace volume, of which there is one
//! ```

mod confine;
mod disk;
mod grants;
mod log;
mod process;
mod program;
mod supervisor;
mod volume;

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::Stream;
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::mount::{self, Bind};
use crate::limits;
use crate::model::engine_kind::EngineKind;
use crate::model::ids::{InstanceId, OperationId, OrgId, WorkspaceId};
use crate::model::isolation::Isolation;
use crate::planning::policy::Tier;
use crate::provision::engine::error::EngineError;
use crate::provision::engine::{Engine, process_env};
use crate::provision::generation::Generation;
use crate::provision::observed::{
    Observed, ObservedVolume, Resource, ResourceKind, Volume, VolumeKind, VolumeOutcome,
};
use crate::provision::seed::{ReadBack, Verified};
use crate::provision::spec::Spec;
use confine::Confinement;
pub use confine::isolation;
use disk::{Container, Lock, VERSION, WorkspaceFolder, unusable};
use supervisor::Report;
pub use supervisor::{EXEC_CHILD, SUPERVISE, exec_child, supervise};

/// The local engine of one state folder.
#[derive(Debug, Clone)]
pub struct Local {
    folder: PathBuf,
    supervisor: PathBuf,
    home: Option<PathBuf>,
    grace: Duration,
}

impl Local {
    /// Keeps workspaces in `folder`, and starts them with `supervisor`: the `orghost` program.
    pub fn new(folder: PathBuf, supervisor: PathBuf) -> Self {
        Self {
            // What a workspace's process is told must hold wherever it goes.
            folder: std::path::absolute(&folder).unwrap_or(folder),
            supervisor,
            home: None,
            grace: limits::STOP_GRACE,
        }
    }

    /// The operator's home, which no program gets with its own folder.
    #[must_use]
    pub fn with_home(mut self, home: Option<PathBuf>) -> Self {
        self.home = home;
        self
    }

    /// Another time between TERM and KILL, for containers that are made from now on.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    fn place(&self, generation: &Generation) -> WorkspaceFolder {
        WorkspaceFolder::new(&self.folder, generation)
    }

    /// Where a volume is. The agent's work is in the folder of the first generation.
    fn place_of(&self, volume: &Volume) -> WorkspaceFolder {
        match volume {
            Volume::Configs(generation) => self.place(generation),
            Volume::Workspace(id) => self.place(&Generation::first(id)),
        }
    }

    /// Everything that the container of a spec is, with its paths resolved.
    fn container(
        &self,
        spec: &Spec,
        generation: &Generation,
        bind: Option<Bind>,
        operation: &OperationId,
    ) -> Result<Container, EngineError> {
        let place = self.place(generation);
        let text = |path: &Path| {
            path.to_str()
                .map(str::to_owned)
                .ok_or_else(|| EngineError::Folder {
                    path: path.display().to_string(),
                    reason: "its path is not UTF-8".to_owned(),
                })
        };
        let command = spec.runtime.command.clone().filter(|c| !c.is_empty());
        let command = command.ok_or_else(|| EngineError::RuntimeUnsuited {
            runtime: spec.runtime_name.clone(),
            wanted: "command",
            engine: "local",
        })?;
        let command = self.found(command, spec)?;
        let others = [Some(&self.folder), self.home.as_ref()];
        let others: Vec<_> = others.into_iter().flatten().map(PathBuf::as_path).collect();
        let grants = grants::of(&place, spec, bind.as_ref(), &command, &others);
        let confinement = Confinement::new(grants, &spec.runtime);
        // The same workspaces have one as in the Docker engine.
        let (directory, home) = match bind {
            _ if spec.tier == Tier::One => (None, place.scratch()),
            Some(bind) => (Some((bind.source.into(), bind.writable)), place.scratch()),
            None => {
                let volume = place.volume(VolumeKind::Workspace);
                (Some((volume.clone(), true)), volume)
            }
        };
        let mut env = process_env(
            spec,
            &text(&place.volume(VolumeKind::Configs))?,
            "127.0.0.1",
            0,
        );
        // Chosen anew at every start.
        env.remove("PORT");
        for (name, value) in [
            ("PATH", program::PATH.to_owned()),
            ("HOME", text(&home)?),
            ("TMPDIR", text(&place.scratch())?),
        ] {
            env.entry(name.to_owned()).or_insert(value);
        }
        if let Some((directory, writable)) = &directory {
            let access = if *writable { "read_write" } else { "read_only" };
            env.insert("WORKSPACE_DIR".to_owned(), text(directory)?);
            env.insert("WORKSPACE_ACCESS".to_owned(), access.to_owned());
        }
        Ok(Container {
            version: VERSION,
            instance: spec.org.instance().as_str().to_owned(),
            org: spec.org.slug().to_owned(),
            key: spec.key.as_str().to_owned(),
            spec: spec.digest.clone(),
            operation: operation.as_str().to_owned(),
            command,
            confinement: Some(confinement),
            env,
            directory: directory.map_or(home, |(directory, _)| directory),
            grace_ms: u64::try_from(self.grace.as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// The command with its program as an absolute path.
    fn found(&self, mut command: Vec<String>, spec: &Spec) -> Result<Vec<String>, EngineError> {
        if let Some(program) = command.first_mut() {
            let path = spec.runtime.env.get("PATH").map(String::as_str);
            let found = program::find(program, path)?;
            *program = found.display().to_string();
        }
        Ok(command)
    }

    /// The weakest of what the workspaces of an org are kept from; none when there is none.
    ///
    /// # Errors
    /// A container that cannot be read.
    pub async fn isolation_of(&self, org: &OrgId) -> Result<Option<Isolation>, EngineError> {
        let (engine, org) = (self.clone(), org.clone());
        blocking(move || {
            let mut weakest: Option<Isolation> = None;
            for (_, place) in engine.places()? {
                let container: Option<Container> = disk::read(&place.container())?;
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

    /// Starts a supervisor, and returns what it says first.
    async fn supervised(&self, place: &WorkspaceFolder) -> Result<(), EngineError> {
        let here = place.clone();
        let prepared = blocking(move || {
            let Some(lock) = take_lock(&here)? else {
                return Ok(None);
            };
            // Of an earlier life.
            disk::remove_file(&here.run_state())?;
            let log = log::append_to(&here).map_err(|e| unusable(&here.log(), &e))?;
            Ok(Some((lock, log)))
        });
        let Some((Lock(lock), log)) = prepared.await? else {
            return Ok(());
        };
        let not_executable = |e: &io::Error| EngineError::NotExecutable {
            program: self.supervisor.display().to_string(),
            reason: e.to_string(),
        };
        let mut command = tokio::process::Command::new(&self.supervisor);
        command
            .arg(SUPERVISE)
            .arg(place.path())
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(lock))
            .stdout(Stdio::piped())
            .stderr(Stdio::from(log));
        let mut supervisor = command.spawn().map_err(|e| not_executable(&e))?;
        // It holds the lock too, and must not once the supervisor has its own.
        drop(command);
        let mut line = String::new();
        if let Some(pipe) = supervisor.stdout.take() {
            let mut said = BufReader::new(pipe);
            let limit = limits::SUPERVISOR_START;
            match tokio::time::timeout(limit, said.read_line(&mut line)).await {
                Ok(read) => read.map_err(|e| not_executable(&e))?,
                Err(_) => {
                    let _ = supervisor.start_kill();
                    return Err(EngineError::TimedOut(limit.as_secs()));
                }
            };
        }
        match serde_json::from_str::<Report>(&line) {
            Ok(report) => report.into_result(),
            Err(_) => Err(EngineError::Refused(format!(
                "the supervisor of {} ended before it started anything",
                place.path().display()
            ))),
        }
    }

    /// Every folder that may be a generation's.
    fn places(&self) -> Result<Vec<(Generation, WorkspaceFolder)>, EngineError> {
        let listing = match fs::read_dir(&self.folder) {
            Ok(listing) => listing,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(unusable(&self.folder, &e)),
        };
        let mut places = Vec::new();
        for entry in listing {
            let name = entry.map_err(|e| unusable(&self.folder, &e))?.file_name();
            if let Some(id) = name.to_str().and_then(WorkspaceId::parse) {
                places.extend(self.places_of(&id)?);
            }
        }
        Ok(places)
    }

    /// Every folder that may be a generation's of one workspace, whether or not it is there.
    fn places_of(
        &self,
        id: &WorkspaceId,
    ) -> Result<Vec<(Generation, WorkspaceFolder)>, EngineError> {
        let first = Generation::first(id);
        let later = self.place(&first).later()?.into_iter();
        let later = later.map(|number| Generation {
            id: id.clone(),
            number,
        });
        let all = std::iter::once(first.clone()).chain(later);
        Ok(all.map(|g| (g.clone(), self.place(&g))).collect())
    }

    /// Every volume that is there, with its facts.
    fn all_volumes(&self) -> Result<Vec<(Volume, PathBuf, disk::Volume)>, EngineError> {
        let mut volumes = Vec::new();
        for (generation, place) in self.places()? {
            let work = (generation.number == 0).then(|| Volume::Workspace(generation.id.clone()));
            for volume in std::iter::once(Volume::Configs(generation)).chain(work) {
                let facts: Option<disk::Volume> = disk::read(&place.volume_facts(volume.kind()))?;
                let path = place.volume(volume.kind());
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

impl Engine for Local {
    fn kind(&self) -> EngineKind {
        EngineKind::Local
    }

    async fn observe(&self, org: &OrgId) -> Result<Vec<Observed>, EngineError> {
        let (engine, org) = (self.clone(), org.clone());
        blocking(move || {
            let mut observed = Vec::new();
            for (generation, place) in engine.places()? {
                let container: Option<Container> = disk::read(&place.container())?;
                if let Some(container) = container.filter(|c| c.belongs_to(&org)) {
                    observed.push(look(generation, &place, container)?);
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
            for (generation, place) in engine.places_of(&id)? {
                if let Some(container) = disk::read(&place.container())? {
                    observed.push(look(generation, &place, container)?);
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
            for (generation, place) in engine.places()? {
                let container: Option<Container> = disk::read(&place.container())?;
                if let Some(found) = container.filter(|c| c.instance == instance.as_str()) {
                    seen.push(Resource {
                        org: found.org,
                        thing: ResourceKind::Container(generation),
                        name: place.path().display().to_string(),
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
        let folder = self.folder.clone();
        blocking(move || disk::make_folder(&folder)).await
    }

    /// Removes what a removal that was cut off left, and the engine's own folder when nothing is in it.
    async fn dismantle(&self, org: &OrgId) -> Result<(), EngineError> {
        let (engine, org) = (self.clone(), org.clone());
        blocking(move || {
            for (_, place) in engine.places()? {
                for kind in [VolumeKind::Configs, VolumeKind::Workspace] {
                    let volume: Option<disk::Volume> = disk::read(&place.volume_facts(kind))?;
                    if volume.is_some_and(|v| v.belongs_to(&org)) && !place.volume(kind).exists() {
                        disk::remove_file(&place.volume_facts(kind))?;
                    }
                }
                place.tidy();
            }
            let _ = fs::remove_dir(&engine.folder);
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
        let (place, org) = (self.place_of(volume), spec.org.clone());
        let kind = volume.kind();
        let facts = disk::Volume {
            version: VERSION,
            instance: org.instance().as_str().to_owned(),
            org: org.slug().to_owned(),
            operation: operation.as_str().to_owned(),
        };
        blocking(move || {
            let (path, facts_path) = (place.volume(kind), place.volume_facts(kind));
            place.make()?;
            let found: Option<disk::Volume> = disk::read(&facts_path)?;
            let is_there = path.symlink_metadata().is_ok();
            match found {
                Some(volume) if !volume.belongs_to(&org) => Err(in_use(&path, "a volume")),
                Some(_) if is_there => Ok(VolumeOutcome::Existing),
                None if is_there => Err(in_use(&path, "a volume")),
                // Nobody's, or of a removal that was cut off.
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

    async fn create(
        &self,
        spec: &Spec,
        generation: &Generation,
        operation: &OperationId,
    ) -> Result<(), EngineError> {
        let (place, org) = (self.place(generation), spec.org.clone());
        let bind = mount::bind(spec).await?;
        let container = self.container(spec, generation, bind, operation)?;
        blocking(move || {
            let path = place.container();
            let found: Option<Container> = disk::read(&path)?;
            match found {
                Some(found) if !found.belongs_to(&org) => {
                    return Err(in_use(place.path(), "a container"));
                }
                Some(_) => {
                    let path = path.display();
                    return Err(EngineError::Refused(format!("{path} is there already")));
                }
                None => place.make()?,
            }
            disk::write_durably(&path, &container).map_err(|e| unusable(&path, &e))
        })
        .await
    }

    async fn put_seed(&self, generation: &Generation, archive: Vec<u8>) -> Result<(), EngineError> {
        let place = self.place(generation);
        blocking(move || {
            existing(&place)?;
            let configs = place.volume(VolumeKind::Configs);
            volume::unpack(&configs, &archive).map_err(|e| unusable(&configs, &e))
        })
        .await
    }

    async fn read_seed(&self, generation: &Generation) -> Result<ReadBack, EngineError> {
        let place = self.place(generation);
        blocking(move || {
            existing(&place)?;
            let configs = place.volume(VolumeKind::Configs);
            ReadBack::of_folder(&configs).map_err(|e| unusable(&configs, &e))
        })
        .await
    }

    async fn start(&self, verified: Verified) -> Result<(), EngineError> {
        let place = self.place(verified.generation());
        let here = place.clone();
        blocking(move || existing(&here).map(drop)).await?;
        self.supervised(&place).await
    }

    async fn inspect(&self, generation: &Generation) -> Result<Observed, EngineError> {
        let (generation, place) = (generation.clone(), self.place(generation));
        blocking(move || {
            let container = existing(&place)?;
            look(generation, &place, container)
        })
        .await
    }

    async fn last_lines(
        &self,
        generation: &Generation,
        lines: usize,
    ) -> Result<Vec<String>, EngineError> {
        let place = self.place(generation);
        blocking(move || {
            existing(&place)?;
            log::last_lines(&place, lines)
        })
        .await
    }

    fn logs(
        &self,
        generation: &Generation,
        tail: Option<usize>,
        follow: bool,
    ) -> impl Stream<Item = Result<Bytes, EngineError>> + Send + use<> {
        log::follow(self.place(generation), tail, follow)
    }

    async fn stop(&self, generation: &Generation) -> Result<(), EngineError> {
        let place = self.place(generation);
        let here = place.clone();
        let container: Option<Container> = blocking(move || disk::read(&here.container())).await?;
        let grace = container.map_or(self.grace, |c| Duration::from_millis(c.grace_ms));
        let patience = grace.saturating_add(limits::SUPERVISOR_END);
        process::end(&place, &generation.id, Signal::TERM, patience).await
    }

    async fn remove(&self, generation: &Generation) -> Result<(), EngineError> {
        let place = self.place(generation);
        process::end(&place, &generation.id, Signal::QUIT, limits::SUPERVISOR_END).await?;
        blocking(move || {
            let scratch = place.scratch();
            volume::remove(&scratch).map_err(|e| unusable(&scratch, &e))?;
            // The container is there until nothing else of it is: a removal that is cut off is found again.
            for file in [
                place.log(),
                place.old_log(),
                place.lock(),
                place.run_state(),
                place.container(),
            ] {
                disk::remove_file(&file)?;
            }
            place.tidy();
            Ok(())
        })
        .await
    }

    async fn remove_volume(&self, volume: &Volume) -> Result<(), EngineError> {
        let (place, kind) = (self.place_of(volume), volume.kind());
        blocking(move || {
            let path = place.volume(kind);
            volume::remove(&path).map_err(|e| unusable(&path, &e))?;
            disk::remove_file(&place.volume_facts(kind))?;
            place.tidy();
            Ok(())
        })
        .await
    }
}

/// Files block; the async threads must not.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<T, EngineError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|e| Err(EngineError::Refused(e.to_string())))
}

fn existing(place: &WorkspaceFolder) -> Result<Container, EngineError> {
    let container = disk::read(&place.container())?;
    container.ok_or_else(|| EngineError::NotFound(place.path().display().to_string()))
}

fn look(
    generation: Generation,
    place: &WorkspaceFolder,
    container: Container,
) -> Result<Observed, EngineError> {
    let (state, port) = place.state()?;
    Ok(Observed {
        generation,
        key: container.key,
        spec: container.spec,
        state,
        url: port.map(|port| format!("http://127.0.0.1:{port}")),
    })
}

/// The lock for a new supervisor; `None` when one lives already, and its program runs.
fn take_lock(place: &WorkspaceFolder) -> Result<Option<Lock>, EngineError> {
    /// Who only looks has the lock for a moment, and who starts or ends a
    /// supervisor not for long. Whoever has it longer was stopped in between.
    const PATIENCE: Duration = Duration::from_secs(5);
    let path = place.lock();
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    let file = options.mode(0o600).open(&path);
    let file = file.map_err(|e| unusable(&path, &e))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(Lock(file))),
            Err(TryLockError::Error(e)) => return Err(unusable(&path, &e)),
            Err(TryLockError::WouldBlock) if process::is_running(place)? => return Ok(None),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                return Err(EngineError::Refused(format!(
                    "another process holds {} and does not let go",
                    path.display()
                )));
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(process::LOOK),
        }
    }
}

fn in_use(path: &Path, what: &'static str) -> EngineError {
    EngineError::NameInUse {
        name: path.display().to_string(),
        what,
    }
}
