//! How workspaces are isolated from the rest of their machine. The engines find it out, the policy judges it, and `plan` and
//! `status` show it.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::engine_kind::EngineKind;

/// Where a plan is to run, as far as the policy needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The engine.
    pub engine: EngineKind,
    /// How it isolates its workspaces.
    pub isolation: Isolation,
}

/// How a workspace is isolated from the rest of its machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Isolation {
    /// Each workspace has its own container.
    Container,
    /// Each workspace is a process of this machine that the kernel confines.
    Confined {
        /// What the process has no access to. Never empty.
        from: Vec<Barrier>,
    },
    /// Each workspace is a process of this machine with all permissions of its user.
    None {
        /// Why it is not confined.
        reason: Unconfined,
    },
}

/// Something that a confined process has no access to.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Barrier {
    /// Files of others: it cannot read, write, create, execute, remove or truncate them (Landlock version 3, Linux 6.2).
    Files,
    /// Files of others, except that it can empty them with truncate(2) (Landlock version 2, Linux 5.19).
    FilesButEmptying,
    /// Processes outside: it cannot send them signals or use their abstract sockets (Landlock version 6, Linux 6.12).
    Signals,
    /// Unix sockets in the file system, such as a Docker engine's: those of others from Landlock version 9 on, and all of
    /// them before, by a system call filter.
    Sockets,
}

/// Why a process is not confined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Unconfined {
    /// The kernel has no Landlock, or Landlock is disabled, or its version is 1, under which a process cannot move a file to
    /// another folder.
    NoLandlock,
    /// An earlier version of orghost created the workspace. A restart confines it.
    MadeEarlier,
}

impl Isolation {
    /// Whether the workspace cannot reach files of others, neither itself nor through a service such as a Docker engine.
    pub fn is_enough(&self) -> bool {
        match self {
            Self::Container => true,
            Self::Confined { from } => {
                from.contains(&Barrier::Files) && from.contains(&Barrier::Sockets)
            }
            Self::None { .. } => false,
        }
    }

    /// The weaker of two isolations.
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
                let barriers: Vec<_> = from.iter().map(|barrier| barrier.as_str()).collect();
                write!(f, "isolated: {}", barriers.join(", "))
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
