//! What an engine reports: containers, volumes, and everything that carries a host's labels.

use std::fmt;

use super::generation::Generation;
use crate::model::ids::WorkspaceId;

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
pub struct Resource {
    /// The slug of its org, from the label.
    pub org: String,
    /// What it is, and of which workspace.
    pub thing: ResourceKind,
    /// What its engine calls it: for messages.
    pub name: String,
}

/// See [`Resource`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ResourceKind {
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

impl Observed {
    /// Whether it runs, or is about to be started again.
    pub fn runs(&self) -> bool {
        matches!(self.state, State::Running | State::Restarting { .. })
    }
}

impl ResourceKind {
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

impl fmt::Display for VolumeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Configs => "configs",
            Self::Workspace => "workspace",
        })
    }
}
