//! One made instance of a workspace: a container and its seed.

use crate::model::ids::WorkspaceId;

/// Names one made instance of a workspace: a container and its seed. Proves nothing about whether it is there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation {
    /// The workspace.
    pub id: WorkspaceId,
    /// 0 for the first generation, whose container has no number in its name; one more for each replacement.
    pub number: u32,
}

impl Generation {
    /// The first generation of a workspace.
    pub fn first(id: &WorkspaceId) -> Self {
        Self {
            id: id.clone(),
            number: 0,
        }
    }

    /// The generation that replaces this one.
    #[must_use]
    pub fn next(&self) -> Self {
        Self {
            id: self.id.clone(),
            number: self.number.saturating_add(1),
        }
    }
}
