//! Why an engine did not do what it was asked.

use crate::model::diagnostic::Diagnostic;
use crate::problem::{Class, Problem};

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
                "remove or rename it: orghost never touches what is not its own"
            }
            Self::NotFound(_) => "somebody removed it; run `orghost up` again",
            Self::NoSpace(_) => "free some space and run the same command again",
            Self::NotExecutable { .. } => "correct the runtime's command in the configuration file",
            Self::Mount { .. } => "create the directory, or change workspace_dir in the template",
            Self::Folder { .. } => {
                "make it readable and writable for this user, or choose another state folder with ORGHOST_STATE"
            }
            Self::Refused(_) => "the engine's own log says more",
        }
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        let diagnostic = Diagnostic::new(error.code(), error.to_string()).help(error.help());
        Self::one(Class::Failed, diagnostic)
    }
}
