//! One generation of a workspace: a container, and the seed that goes with it.

use crate::model::ids::WorkspaceId;

/// One container of a workspace, and the seed that goes with it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation {
    /// Whose it is.
    pub id: WorkspaceId,
    /// 0 for the first one, whose container has no number in its name; each replacement counts on.
    pub number: u32,
}

impl Generation {
    /// The first one of a workspace.
    pub fn first(id: &WorkspaceId) -> Self {
        Self {
            id: id.clone(),
            number: 0,
        }
    }

    /// The one that replaces it.
    #[must_use]
    pub fn next(&self) -> Self {
        Self {
            id: self.id.clone(),
            number: self.number.saturating_add(1),
        }
    }
}
