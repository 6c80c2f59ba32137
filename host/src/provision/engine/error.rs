//! The errors of the engines, with their codes and what to do about them.

use crate::model::diagnostic::Diagnostic;
use crate::problem::{Class, Problem};

/// Why an engine did not do what was requested.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// No engine answers at the endpoint.
    #[error("the {engine} engine at {endpoint} does not answer: {reason}")]
    Away {
        /// The kind of engine.
        engine: &'static str,
        /// The address at which it was expected.
        endpoint: String,
        /// The message of the transport.
        reason: String,
    },
    /// It did not answer within so many seconds. The request may still be carried out.
    #[error("the engine did not answer within {0} seconds")]
    TimedOut(u64),
    /// The engine does not have the image, and cannot pull it.
    #[error("the image {image} is not on this engine: {reason}")]
    ImageMissing {
        /// The reference of the image.
        image: String,
        /// Why it could not be pulled.
        reason: String,
    },
    /// The runtime has no image (Docker, swarm) or no command (local).
    #[error("the runtime {runtime:?} has no {wanted}, which the {engine} engine needs")]
    RuntimeUnsuited {
        /// The name of the runtime.
        runtime: String,
        /// The missing key: `image` or `command`.
        wanted: &'static str,
        /// The kind of engine.
        engine: &'static str,
    },
    /// The engine is not the manager of a swarm.
    #[error("the engine at {endpoint} manages no swarm: {reason}")]
    NoSwarm {
        /// The address of the engine.
        endpoint: String,
        /// Why it is not a manager.
        reason: String,
    },
    /// The engine cannot give a workspace the privileges of its tier.
    #[error("tier {tier} needs privileges that the {engine} engine cannot give")]
    TierUnsuited {
        /// The number of the tier.
        tier: u8,
        /// The kind of engine.
        engine: &'static str,
    },
    /// A file of the seed is larger than the engine can hold.
    #[error("{path} has {size} bytes, and a swarm's {what} holds at most {limit}")]
    FileTooLarge {
        /// Its path under `/configs`.
        path: String,
        /// Its size in bytes.
        size: usize,
        /// What would hold it: `config` or `secret`.
        what: &'static str,
        /// The most bytes that this can hold.
        limit: usize,
    },
    /// The seed has more files than the engine can hold.
    #[error("the seed has {files} files, and a swarm's service holds at most {limit}")]
    TooManyFiles {
        /// The number of files in the seed.
        files: usize,
        /// The most files that the engine can hold.
        limit: usize,
    },
    /// The name is in use by a resource that does not belong to this host.
    #[error("the name {name} is in use by {what} that does not belong to this host")]
    NameInUse {
        /// The name that is in use.
        name: String,
        /// What uses it, such as `a container` or `a volume`.
        what: &'static str,
    },
    /// There is no container of this name.
    #[error("there is no container {0}")]
    NotFound(String),
    /// The disk is full.
    #[error("there is no space left on the disk: {0}")]
    NoSpace(String),
    /// A program cannot be started.
    #[error("{program:?} cannot be started: {reason}")]
    NotExecutable {
        /// The program.
        program: String,
        /// The message of the operating system.
        reason: String,
    },
    /// The operator's directory cannot be mounted.
    #[error("{path} cannot be mounted: {reason}")]
    Mount {
        /// The directory.
        path: String,
        /// Why it cannot be mounted.
        reason: String,
    },
    /// A folder of the local engine cannot be used.
    #[error("{path} cannot be used: {reason}")]
    Folder {
        /// The path of the folder or file.
        path: String,
        /// The message of the operating system.
        reason: String,
    },
    /// The engine refused the request, with this message.
    #[error("the engine refused: {0}")]
    Refused(String),
}

impl EngineError {
    /// A stable, lower-case code such as `engine-away`.
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

    /// What to do about the error.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Away { .. } => "start the engine, point DOCKER_HOST to it, or use --engine local",
            Self::TimedOut(_) => {
                "check the engine's own log, and run the same command again: it resumes where this one stopped"
            }
            Self::ImageMissing { .. } => {
                "pull or build it, or correct the runtime's image in the configuration file; for --demo run scripts/demo-image"
            }
            Self::RuntimeUnsuited { .. } => {
                "add it to the runtime in the configuration file, or use another engine"
            }
            Self::NoSwarm { .. } => {
                "run `docker swarm init` on its machine (with --advertise-addr 127.0.0.1 for that machine alone), or point DOCKER_HOST to a manager"
            }
            Self::TierUnsuited { .. } => "lower the workspace's tier, or use --engine docker",
            Self::FileTooLarge { .. } | Self::TooManyFiles { .. } => {
                "make the seed smaller, or use --engine docker, which has no such limit"
            }
            Self::NameInUse { .. } => {
                "remove or rename it: orghost does not touch what is not its own"
            }
            Self::NotFound(_) => {
                "it was removed by something other than orghost; run `orghost up` again"
            }
            Self::NoSpace(_) => "free some space and run the same command again",
            Self::NotExecutable { .. } => "correct the runtime's command in the configuration file",
            Self::Mount { .. } => "create the directory, or change workspace_dir in the template",
            Self::Folder { .. } => {
                "make it readable and writable for this user, or choose another state folder with ORGHOST_STATE"
            }
            Self::Refused(_) => "check the engine's own log",
        }
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        let diagnostic = Diagnostic::new(error.code(), error.to_string()).help(error.help());
        Self::one(Class::Failed, diagnostic)
    }
}
