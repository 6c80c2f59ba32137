//! What keeps a workspace from the rest of its machine, as data: judged by policy, shown by `plan` and `status`. Finds out
//! nothing; the engines do.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::engine_kind::EngineKind;

/// Where a plan is to run: what judging must know of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The engine.
    pub engine: EngineKind,
    /// What it keeps its workspaces from.
    pub isolation: Isolation,
}

/// How a workspace is kept from the rest of its machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Isolation {
    /// It has a container of its own.
    Container,
    /// It is a process of this machine that the kernel keeps from what is not its own.
    Confined {
        /// What it is kept from; never empty.
        from: Vec<Barrier>,
    },
    /// It is a process of this machine, and may what this user may.
    None {
        /// Why.
        reason: Unconfined,
    },
}

/// Something that a confined process is kept from.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Barrier {
    /// Files that are not its own: reading, writing, making, running, removing, emptying (Landlock's third version,
    /// Linux 6.2).
    Files,
    /// The same but for emptying them with truncate(2), which Landlock's second version (Linux 5.19) does not know.
    FilesButEmptying,
    /// Signals to processes outside, and the abstract sockets of those (the sixth version, Linux 6.12).
    Signals,
    /// Sockets that have a name in the file system, such as a Docker engine's: those of others from Landlock's ninth
    /// version on, all of them (by a system call filter) before.
    Sockets,
}

/// Why a process is not confined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Unconfined {
    /// The kernel has no Landlock, it is switched off, or its version is the first one, under which no file can be moved
    /// to another folder.
    NoLandlock,
    /// An earlier orghost made the workspace; a restart confines it.
    MadeEarlier,
}

impl Isolation {
    /// Whether files that are not its own are out of its reach, also through a service that would reach them for it.
    pub fn is_enough(&self) -> bool {
        match self {
            Self::Container => true,
            Self::Confined { from } => {
                from.contains(&Barrier::Files) && from.contains(&Barrier::Sockets)
            }
            Self::None { .. } => false,
        }
    }

    /// The one that gives less.
    #[must_use]
    pub fn weaker(self, other: Self) -> Self {
        let barriers = |isolation: &Self| match isolation {
            Self::Container => usize::MAX,
            Self::Confined { from } => from.len(),
            Self::None { .. } => 0,
        };
        match (barriers(&self), barriers(&other)) {
            (one, another) if one <= another => self,
            _ => other,
        }
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container => f.write_str("isolated: a container each"),
            Self::Confined { from } => {
                let words: Vec<_> = from.iter().map(|barrier| barrier.as_str()).collect();
                write!(f, "isolated: {}", words.join(", "))
            }
            Self::None { reason } => write!(f, "not isolated: {reason}"),
        }
    }
}

impl Barrier {
    fn as_str(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::FilesButEmptying => "files (but not emptying them)",
            Self::Signals => "signals",
            Self::Sockets => "sockets",
        }
    }
}

impl fmt::Display for Unconfined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoLandlock => "this kernel has no Landlock, or one that is too old",
            Self::MadeEarlier => "an earlier orghost made it; restart it",
        })
    }
}
