//! What an engine can do. An engine only obeys: the order of the steps, the
//! journal and the undoing are [`provision`](super)'s. It cannot start what
//! was not seeded, because [`Engine::start`] takes a [`Verified`].

use std::fmt;
use std::future::Future;

use bytes::Bytes;
use futures_util::Stream;

use super::generations::Generation;
use super::seed::{ReadBack, Verified};
use super::spec::{InstanceId, OperationId, OrgId, Spec, WorkspaceId};
use crate::config::EngineKind;
use crate::env_map::EnvMap;

/// Runs workspaces. Three engines implement it, and one suite of tests holds for all of them.
pub trait Engine: Send + Sync {
    /// Which one it is.
    fn kind(&self) -> EngineKind;

    /// Every container of an org: as many requests for a large org as for a small one (Docker: one), nothing is changed.
    fn observe(
        &self,
        org: &OrgId,
    ) -> impl Future<Output = Result<Vec<Observed>, EngineError>> + Send;

    /// Every container of one workspace: as [`Engine::observe`].
    fn find(
        &self,
        id: &WorkspaceId,
    ) -> impl Future<Output = Result<Vec<Observed>, EngineError>> + Send;

    /// Every volume of an org: as [`Engine::observe`].
    fn volumes(
        &self,
        org: &OrgId,
    ) -> impl Future<Output = Result<Vec<ObservedVolume>, EngineError>> + Send;

    /// Every container and every volume that carries this host's labels, whatever its org; nothing is changed.
    fn everything(
        &self,
        instance: &InstanceId,
    ) -> impl Future<Output = Result<Vec<Sighting>, EngineError>> + Send;

    /// What the workspaces of an org share, such as a network. Idempotent.
    fn prepare(&self, org: &OrgId) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Undoes [`Engine::prepare`]. Nothing there is success.
    fn dismantle(&self, org: &OrgId) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Makes one volume of a workspace, unless it exists and is this host's own.
    fn create_volume(
        &self,
        spec: &Spec,
        volume: &Volume,
        operation: &OperationId,
    ) -> impl Future<Output = Result<VolumeOutcome, EngineError>> + Send;

    /// Makes a generation's container, whether or not an older one runs. It is not started and nothing may start it: no
    /// restart policy yet.
    fn create(
        &self,
        spec: &Spec,
        generation: &Generation,
        operation: &OperationId,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Unpacks an archive of regular files and folders under `/configs`.
    fn put_seed(
        &self,
        generation: &Generation,
        archive: Vec<u8>,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// What really stands under `/configs` now.
    fn read_seed(
        &self,
        generation: &Generation,
    ) -> impl Future<Output = Result<ReadBack, EngineError>> + Send;

    /// Starts the container whose seed was verified, and keeps it running from now on.
    fn start(&self, verified: Verified) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// How a container is now.
    fn inspect(
        &self,
        generation: &Generation,
    ) -> impl Future<Output = Result<Observed, EngineError>> + Send;

    /// The last lines that it printed, oldest first.
    fn last_lines(
        &self,
        generation: &Generation,
        lines: usize,
    ) -> impl Future<Output = Result<Vec<String>, EngineError>> + Send;

    /// What it printed, as it printed it: the last `tail` lines or all of it,
    /// and with `follow` also what comes until it ends.
    fn logs(
        &self,
        generation: &Generation,
        tail: Option<usize>,
        follow: bool,
    ) -> impl Stream<Item = Result<Bytes, EngineError>> + Send + use<Self>;

    /// Asks a container to end, waits for the grace, kills it. Not there is success.
    fn stop(&self, generation: &Generation)
    -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Removes a container at once, running or not. Not there is success. Volumes stay.
    fn remove(
        &self,
        generation: &Generation,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Removes one volume and what is in it. Not there is success.
    fn remove_volume(
        &self,
        volume: &Volume,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;
}

/// A container, as an engine reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Which one it is, and of which workspace.
    pub generation: Generation,
    /// The workspace's key, from the label.
    pub key: String,
    /// [`Spec::digest`] of what it was made from, from the label.
    pub spec: String,
    /// How it is.
    pub state: State,
    /// Where it can be reached from this machine: `http://127.0.0.1:PORT`, or (swarm) its own address here.
    pub url: Option<String>,
}

/// How a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Made, and never started: nobody can tell whether it is seeded.
    Created,
    /// It runs.
    Running,
    /// It ended, and its engine is about to start it again; `restarts` counts.
    Restarting {
        /// How often it was started again.
        restarts: u32,
        /// How it ended the last time.
        exit_code: Option<i32>,
    },
    /// It ended.
    Exited {
        /// How; absent when a signal ended it or nobody knows.
        exit_code: Option<i32>,
    },
}

/// A volume, as an engine reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedVolume {
    /// Which one.
    pub volume: Volume,
    /// The operation that made it.
    pub operation: String,
    /// What its engine calls it: for messages.
    pub name: String,
}

/// Something that carries a host's labels.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sighting {
    /// The slug of its org, from the label.
    pub org: String,
    /// What it is, and of which workspace.
    pub thing: Thing,
    /// What its engine calls it: for messages.
    pub name: String,
}

/// See [`Sighting`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Thing {
    /// A container, in whatever state.
    Container(Generation),
    /// A volume.
    Volume(Volume),
}

/// A volume of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Volume {
    /// `/configs` of one generation: made from the plan, and goes with its container.
    Configs(Generation),
    /// `/workspace`: the agent's own work. All generations use the same, one after the other; it survives everything but
    /// `down --volumes`.
    Workspace(WorkspaceId),
}

/// What a volume is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VolumeKind {
    /// See [`Volume::Configs`].
    Configs,
    /// See [`Volume::Workspace`].
    Workspace,
}

/// What [`Engine::create_volume`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VolumeOutcome {
    /// This very operation made it, so a failure of this operation may remove it.
    Created,
    /// It was there, and belongs to this workspace.
    Existing,
}

/// Why an engine did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// It does not answer.
    #[error("the {engine} engine at {endpoint} does not answer: {reason}")]
    Away {
        /// Its kind.
        engine: &'static str,
        /// Where it was looked for.
        endpoint: String,
        /// The transport's words.
        reason: String,
    },
    /// It answered too late; what was asked may still happen.
    #[error("the engine did not answer within {0} seconds")]
    TimedOut(u64),
    /// The image is not there.
    #[error("the image {image} is not on this engine: {reason}")]
    ImageMissing {
        /// Its reference.
        image: String,
        /// Why it could not be pulled.
        reason: String,
    },
    /// The runtime has no image (Docker) or no command (local).
    #[error("the runtime {runtime:?} has no {wanted}, which the {engine} engine needs")]
    RuntimeUnsuited {
        /// Its name.
        runtime: String,
        /// `image` or `command`.
        wanted: &'static str,
        /// The engine's kind.
        engine: &'static str,
    },
    /// The engine manages no swarm.
    #[error("the engine at {endpoint} manages no swarm: {reason}")]
    NoSwarm {
        /// Where it is.
        endpoint: String,
        /// What it is instead.
        reason: String,
    },
    /// It cannot give a workspace what its tier says.
    #[error("tier {tier} needs privileges that the {engine} engine cannot give")]
    TierUnsuited {
        /// The tier.
        tier: u8,
        /// The engine's kind.
        engine: &'static str,
    },
    /// It cannot hold a file of the seed.
    #[error("{path} has {size} bytes, and a swarm's {what} holds at most {limit}")]
    FileTooLarge {
        /// Its path under `/configs`.
        path: String,
        /// Its bytes.
        size: usize,
        /// `config`, `secret`.
        what: &'static str,
        /// The most that it may have.
        limit: usize,
    },
    /// It cannot hold so many files.
    #[error("the seed has {files} files, and a swarm's service holds at most {limit}")]
    TooManyFiles {
        /// How many there are.
        files: usize,
        /// How many there may be.
        limit: usize,
    },
    /// Something of the same name belongs to somebody else.
    #[error("the name {name} is in use by {what} that is not this host's")]
    NameInUse {
        /// The name.
        name: String,
        /// `a container`, `a volume`.
        what: &'static str,
    },
    /// It has no such container.
    #[error("there is no container {0}")]
    NotFound(String),
    /// The disk is full.
    #[error("there is no space left for it: {0}")]
    NoSpace(String),
    /// A program cannot be started.
    #[error("{program:?} cannot be started: {reason}")]
    NotExecutable {
        /// The program.
        program: String,
        /// The operating system's words.
        reason: String,
    },
    /// The operator's directory cannot be mounted.
    #[error("{path} cannot be mounted: {reason}")]
    Mount {
        /// The directory.
        path: String,
        /// Why.
        reason: String,
    },
    /// A folder of the local engine cannot be used.
    #[error("{path} cannot be used: {reason}")]
    Folder {
        /// The folder, or what is in it.
        path: String,
        /// The operating system's words.
        reason: String,
    },
    /// It refused for a reason of its own.
    #[error("the engine refused: {0}")]
    Refused(String),
}

impl Observed {
    /// Whether it runs, or is about to be started again.
    pub fn runs(&self) -> bool {
        matches!(self.state, State::Running | State::Restarting { .. })
    }
}

impl Thing {
    /// Whose it is.
    pub fn id(&self) -> &WorkspaceId {
        match self {
            Self::Container(generation) => &generation.id,
            Self::Volume(volume) => volume.id(),
        }
    }
}

impl Volume {
    /// Whose it is.
    pub fn id(&self) -> &WorkspaceId {
        match self {
            Self::Configs(generation) => &generation.id,
            Self::Workspace(id) => id,
        }
    }

    /// What it is for.
    pub fn kind(&self) -> VolumeKind {
        match self {
            Self::Configs(_) => VolumeKind::Configs,
            Self::Workspace(_) => VolumeKind::Workspace,
        }
    }
}

impl EngineError {
    /// A stable, lower-case code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Away { .. } => "engine-away",
            Self::TimedOut(_) => "engine-timeout",
            Self::ImageMissing { .. } => "image-missing",
            Self::RuntimeUnsuited { .. } => "runtime-unsuited",
            Self::NoSwarm { .. } => "no-swarm",
            Self::TierUnsuited { .. } => "tier-unsuited",
            Self::FileTooLarge { .. } => "file-too-large",
            Self::TooManyFiles { .. } => "too-many-files",
            Self::NameInUse { .. } => "name-in-use",
            Self::NotFound(_) => "not-found",
            Self::NoSpace(_) => "no-space",
            Self::NotExecutable { .. } => "not-executable",
            Self::Mount { .. } => "mount",
            Self::Folder { .. } => "folder",
            Self::Refused(_) => "engine-refused",
        }
    }

    /// What to do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Away { .. } => "start the engine, point DOCKER_HOST to it, or use --engine local",
            Self::TimedOut(_) => {
                "look at the engine's own log; running the same command again picks up where this one stopped"
            }
            Self::ImageMissing { .. } => {
                "pull or build it, or correct the runtime's image in the operator's file; for --demo run scripts/demo-image"
            }
            Self::RuntimeUnsuited { .. } => {
                "add it to the runtime in the operator's file, or use another engine"
            }
            Self::NoSwarm { .. } => {
                "run `docker swarm init` on its machine (with --advertise-addr 127.0.0.1 for that machine alone), or point DOCKER_HOST to a manager"
            }
            Self::TierUnsuited { .. } => "lower the workspace's tier, or use --engine docker",
            Self::FileTooLarge { .. } | Self::TooManyFiles { .. } => {
                "make the seed smaller, or use --engine docker, which has no such limit"
            }
            Self::NameInUse { .. } => {
                "remove or rename it: orghost never touches what is not its own"
            }
            Self::NotFound(_) => "somebody removed it; run `orghost up` again",
            Self::NoSpace(_) => "free some space and run the same command again",
            Self::NotExecutable { .. } => "correct the runtime's command in the operator's file",
            Self::Mount { .. } => "create the directory, or change workspace_dir in the template",
            Self::Folder { .. } => {
                "make it readable and writable for this user, or choose another state folder with ORGHOST_STATE"
            }
            Self::Refused(_) => "the engine's own log says more",
        }
    }
}

impl fmt::Display for VolumeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Configs => "configs",
            Self::Workspace => "workspace",
        })
    }
}

/// The variables that a workspace's process gets: its own, above its
/// runtime's, below the host's (`spec/provisioning.md` §5).
pub fn process_env(spec: &Spec, configs: &str, host: &str, port: u16) -> EnvMap {
    let mut env = spec.runtime.env.clone();
    env.extend(spec.env.clone());
    let reserved = [
        ("HOST", host.to_owned()),
        ("ORGHOST_ORG", spec.org.slug().to_owned()),
        ("PORT", port.to_string()),
        ("TIER", u8::from(spec.tier).to_string()),
        ("WORKSPACE_CONFIG_PATH", configs.to_owned()),
        ("WORKSPACE_ID", spec.id.as_str().to_owned()),
        ("WORKSPACE_KEY", spec.key.as_str().to_owned()),
    ];
    env.extend(reserved.map(|(name, value)| (name.to_owned(), value)));
    if let Some(parent) = &spec.parent {
        env.insert("PARENT_ID".to_owned(), parent.as_str().to_owned());
    }
    env
}
