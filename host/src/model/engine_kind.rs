//! The kinds of engines that run workspaces.

/// What runs workspaces.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Deserialize,
    serde::Serialize,
    clap::ValueEnum,
    utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// A child process for each workspace, where there is no Docker.
    Local,
    /// A container for each workspace.
    Docker,
    /// A service for each workspace, on Docker's swarm mode.
    Swarm,
}

impl EngineKind {
    /// Whether a workspace is a process of this machine, with its loader and its programs.
    pub fn runs_on_the_machine_itself(self) -> bool {
        match self {
            Self::Local => true,
            Self::Docker | Self::Swarm => false,
        }
    }

    /// The engine as a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Docker => "docker",
            Self::Swarm => "swarm",
        }
    }
}
