//! Forwards each call to the engine that an org runs on. The enum is needed because the engine is chosen at run time, and
//! [`Engine`] has async methods, so there can be no `dyn Engine`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::StreamExt as _;

use super::docker::Docker;
use super::local::{self, Local};
use super::swarm::Swarm;
use crate::model::engine_kind::EngineKind;
use crate::model::ids::{InstanceId, OperationId, OrgId, WorkspaceId};
use crate::model::isolation::{Isolation, Target};
use crate::provision::engine::Engine;
use crate::provision::engine::error::EngineError;
use crate::provision::generation::Generation;
use crate::provision::observed::{Observed, ObservedVolume, Resource, Volume, VolumeOutcome};
use crate::provision::seed::{ReadBack, Verified};
use crate::provision::spec::Spec;

/// One of the engines, connected: Docker and swarm have answered.
#[derive(Debug)]
pub enum Backend {
    /// A process for each workspace.
    Local(Local),
    /// A container for each workspace.
    Docker(Docker),
    /// A swarm service for each workspace.
    Swarm(Swarm),
}

/// The engines that a host can use. Connects to each when it is first needed, and again at the next use until it has
/// answered.
#[derive(Debug)]
pub struct Engines {
    docker_host: Option<String>,
    local: PathBuf,
    program: PathBuf,
    home: Option<PathBuf>,
    /// Whether a Docker engine has answered that nobody named.
    has_docker: AtomicBool,
    connected: Mutex<BTreeMap<EngineKind, Arc<Backend>>>,
}

impl Engines {
    /// `docker_host` is as in `DOCKER_HOST`, `local` is the folder of the local engine, and `program` is the `orghost` program.
    pub fn new(docker_host: Option<String>, local: PathBuf, program: PathBuf) -> Self {
        Self {
            docker_host,
            local,
            program,
            home: None,
            has_docker: AtomicBool::new(false),
            connected: Mutex::default(),
        }
    }

    /// Sets the operator's home for the local engine, as [`Local::with_home`] does.
    #[must_use]
    pub fn with_home(mut self, home: Option<PathBuf>) -> Self {
        self.home = home;
        self
    }

    /// The engine of a kind, connected.
    ///
    /// # Errors
    /// [`EngineError::Away`] when it does not answer, and [`EngineError::NoSwarm`] when it is not the manager of a swarm.
    pub async fn get(&self, kind: EngineKind) -> Result<Arc<Backend>, EngineError> {
        let connected = || {
            self.connected
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(known) = connected().get(&kind) {
            return Ok(known.clone());
        }
        let endpoint = self.docker_host.as_deref();
        let backend = match kind {
            EngineKind::Local => {
                let local = Local::new(self.local.clone(), self.program.clone());
                Backend::Local(local.with_home(self.home.clone()))
            }
            EngineKind::Docker => Backend::Docker(Docker::connect(endpoint).await?),
            EngineKind::Swarm => Backend::Swarm(Swarm::connect(endpoint).await?),
        };
        Ok(connected().entry(kind).or_insert(Arc::new(backend)).clone())
    }

    /// The requested kind. By default Docker, if `DOCKER_HOST` is set or a Docker engine answers, and else local.
    pub async fn choose(&self, requested: Option<EngineKind>) -> EngineKind {
        match requested {
            Some(kind) => kind,
            // An engine that is named must be used, also when it does not answer.
            None if self.docker_host.is_some() => EngineKind::Docker,
            None if self.has_docker().await => EngineKind::Docker,
            None => EngineKind::Local,
        }
    }

    /// Whether a Docker engine answers. It is asked until it has answered.
    async fn has_docker(&self) -> bool {
        let has = self.has_docker.load(Ordering::Relaxed) || Docker::answers().await;
        self.has_docker.store(has, Ordering::Relaxed);
        has
    }

    /// The `orghost` program: the supervisor of the local engine, and the demonstration runtime.
    pub fn program(&self) -> &std::path::Path {
        &self.program
    }
}

/// An engine as the target of a plan, with the isolation that it gives to workspaces that are made now.
pub fn target(engine: EngineKind) -> Target {
    let isolation = match engine {
        EngineKind::Local => local::isolation(),
        EngineKind::Docker | EngineKind::Swarm => Isolation::Container,
    };
    Target { engine, isolation }
}

impl Backend {
    /// The weakest isolation among the workspaces of an org. `None`: it has no workspace.
    ///
    /// # Errors
    /// [`EngineError::Folder`] when the local engine cannot read a container.
    pub async fn isolation(&self, org: &OrgId) -> Result<Option<Isolation>, EngineError> {
        match self {
            Self::Local(local) => local.isolation_of(org).await,
            Self::Docker(_) | Self::Swarm(_) => Ok(Some(Isolation::Container)),
        }
    }
}

/// Makes the same call to the engine, whichever it is.
macro_rules! forward {
    ($self:ident, $engine:ident => $call:expr) => {
        match $self {
            Backend::Local($engine) => $call,
            Backend::Docker($engine) => $call,
            Backend::Swarm($engine) => $call,
        }
    };
}

impl Engine for Backend {
    fn kind(&self) -> EngineKind {
        forward!(self, engine => engine.kind())
    }

    async fn observe(&self, org: &OrgId) -> Result<Vec<Observed>, EngineError> {
        forward!(self, engine => engine.observe(org).await)
    }

    async fn find(&self, id: &WorkspaceId) -> Result<Vec<Observed>, EngineError> {
        forward!(self, engine => engine.find(id).await)
    }

    async fn volumes(&self, org: &OrgId) -> Result<Vec<ObservedVolume>, EngineError> {
        forward!(self, engine => engine.volumes(org).await)
    }

    async fn everything(&self, instance: &InstanceId) -> Result<Vec<Resource>, EngineError> {
        forward!(self, engine => engine.everything(instance).await)
    }

    async fn prepare(&self, org: &OrgId) -> Result<(), EngineError> {
        forward!(self, engine => engine.prepare(org).await)
    }

    async fn dismantle(&self, org: &OrgId) -> Result<(), EngineError> {
        forward!(self, engine => engine.dismantle(org).await)
    }

    async fn create_volume(
        &self,
        spec: &Spec,
        volume: &Volume,
        operation: &OperationId,
    ) -> Result<VolumeOutcome, EngineError> {
        forward!(self, engine => engine.create_volume(spec, volume, operation).await)
    }

    async fn seeds_first(&self) -> bool {
        forward!(self, engine => engine.seeds_first().await)
    }

    async fn create(
        &self,
        spec: &Spec,
        generation: &Generation,
        operation: &OperationId,
        verified: Option<&Verified>,
    ) -> Result<(), EngineError> {
        forward!(self, engine => engine.create(spec, generation, operation, verified).await)
    }

    async fn put_seed(&self, generation: &Generation, archive: Vec<u8>) -> Result<(), EngineError> {
        forward!(self, engine => engine.put_seed(generation, archive).await)
    }

    async fn read_seed(&self, generation: &Generation) -> Result<ReadBack, EngineError> {
        forward!(self, engine => engine.read_seed(generation).await)
    }

    async fn start(&self, verified: Verified) -> Result<(), EngineError> {
        forward!(self, engine => engine.start(verified).await)
    }

    async fn inspect(&self, generation: &Generation) -> Result<Observed, EngineError> {
        forward!(self, engine => engine.inspect(generation).await)
    }

    async fn last_lines(
        &self,
        generation: &Generation,
        lines: usize,
    ) -> Result<Vec<String>, EngineError> {
        forward!(self, engine => engine.last_lines(generation, lines).await)
    }

    fn logs(
        &self,
        generation: &Generation,
        tail: Option<usize>,
        follow: bool,
    ) -> impl futures_util::Stream<Item = Result<Bytes, EngineError>> + Send + use<> {
        match self {
            Self::Local(local) => local.logs(generation, tail, follow).left_stream(),
            Self::Docker(docker) => docker
                .logs(generation, tail, follow)
                .left_stream()
                .right_stream(),
            Self::Swarm(swarm) => swarm
                .logs(generation, tail, follow)
                .right_stream()
                .right_stream(),
        }
    }

    async fn stop(&self, generation: &Generation) -> Result<(), EngineError> {
        forward!(self, engine => engine.stop(generation).await)
    }

    async fn remove(&self, generation: &Generation) -> Result<(), EngineError> {
        forward!(self, engine => engine.remove(generation).await)
    }

    async fn remove_volume(&self, volume: &Volume) -> Result<(), EngineError> {
        forward!(self, engine => engine.remove_volume(volume).await)
    }
}
