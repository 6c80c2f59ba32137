//! What an engine reports: containers, volumes, and every resource with this host's labels.

use std::fmt;

use super::generation::Generation;
use crate::model::ids::WorkspaceId;

/// A container as an engine reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Its workspace, and the number of its generation.
    pub generation: Generation,
    /// The workspace's key when the container was made, from its label.
    pub key: String,
    /// The digest of the spec that it was made from, from its label.
    pub spec: String,
    /// Whether it runs.
    pub state: State,
    /// Its address from this machine: `http://127.0.0.1:PORT`, or on a swarm `http://IP:PORT`. `None`: it does not run, or
    /// cannot be reached from here.
    pub url: Option<String>,
}

/// The state of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Made and never started. It may or may not be seeded.
    Created,
    /// It runs.
    Running,
    /// Its program ended, and the engine is about to restart it.
    Restarting {
        /// How often it was restarted.
        restarts: u32,
        /// The last exit code; `None` when a signal ended it, or it is unknown.
        exit_code: Option<i32>,
    },
    /// Its program ended.
    Exited {
        /// The exit code; `None` when a signal ended it, or it is unknown.
        exit_code: Option<i32>,
    },
}

/// A volume as an engine reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedVolume {
    /// Its workspace, and what it is for.
    pub volume: Volume,
    /// The identity of the operation that made it, from its label.
    pub operation: String,
    /// The engine's name for it, for messages.
    pub name: String,
}

/// A container, volume or service with this host's labels.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Resource {
    /// The slug of its org, from its label.
    pub org: String,
    /// What it is, and its workspace.
    pub thing: ResourceKind,
    /// The engine's name for it, for messages.
    pub name: String,
}

/// What a resource is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ResourceKind {
    /// A container (or service) in any state.
    Container(Generation),
    /// A volume.
    Volume(Volume),
}

/// A volume of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Volume {
    /// The seed of one generation, at `/configs`. Made from the plan, and removed with its container.
    Configs(Generation),
    /// The agent's own work, at `/workspace`. The generations of a workspace use the same volume one after the other, and
    /// only a removal with volumes removes it.
    Workspace(WorkspaceId),
}

/// What a volume is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VolumeKind {
    /// The seed of one generation.
    Configs,
    /// The agent's own work.
    Workspace,
}

/// The result of [`Engine::create_volume`](super::engine::Engine::create_volume).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VolumeOutcome {
    /// This operation made it, so this operation may remove it when it fails.
    Created,
    /// It was there already, and belongs to this workspace.
    Existing,
}

impl Observed {
    /// Whether it runs, or is about to be restarted.
    pub fn runs(&self) -> bool {
        matches!(self.state, State::Running | State::Restarting { .. })
    }
}

impl ResourceKind {
    /// The workspace that it belongs to.
    pub fn id(&self) -> &WorkspaceId {
        match self {
            Self::Container(generation) => &generation.id,
            Self::Volume(volume) => volume.id(),
        }
    }
}

impl Volume {
    /// The workspace that it belongs to.
    pub fn id(&self) -> &WorkspaceId {
        match self {
            Self::Configs(generation) => &generation.id,
            Self::Workspace(id) => id,
        }
    }

    /// What the volume is for.
    pub fn kind(&self) -> VolumeKind {
        match self {
            Self::Configs(_) => VolumeKind::Configs,
            Self::Workspace(_) => VolumeKind::Workspace,
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
