//! The kinds of engines that run workspaces.

/// An engine that runs workspaces.
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
    /// A child process of the host for each workspace. It needs no Docker.
    Local,
    /// A Docker container for each workspace.
    Docker,
    /// A service of a Docker swarm for each workspace.
    Swarm,
}

impl EngineKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Local, Self::Docker, Self::Swarm];

    /// Whether a workspace is a process of this machine that uses the machine's loader and programs.
    pub fn runs_on_the_machine_itself(self) -> bool {
        match self {
            Self::Local => true,
            Self::Docker | Self::Swarm => false,
        }
    }

    /// The name of the engine in flags, JSON and the configuration file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Docker => "docker",
            Self::Swarm => "swarm",
        }
    }
}
