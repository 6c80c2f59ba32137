//! Why a step of provisioning failed, and the report of it. Pure.

use super::seed::{Mismatch, SeedError};
use crate::model::event::{Failure, Step};
use crate::provision::engine::error::EngineError;
use crate::provision::observed::State;
use crate::state::store::StoreError;

/// Why a step of provisioning failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The engine failed or refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The seed could not be made.
    #[error(transparent)]
    Seed(#[from] SeedError),
    /// What was read back is not the seed that was written.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// The step could not be journalled, so it was not taken.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The operation was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// Its program ended before it was ready, with this exit code; `None` after a signal.
    #[error("it ended before it was ready")]
    Ended(Option<i32>),
    /// It was not ready within so many seconds, for this reason.
    #[error("it was not ready within {0} seconds: {1}")]
    NotReady(u64, String),
}

impl StepError {
    /// Whether the engine did not answer, so that the step may have been taken, or may still be taken.
    pub(super) fn is_unanswered(&self) -> bool {
        matches!(
            self,
            Self::Engine(EngineError::TimedOut(_) | EngineError::Away { .. })
        )
    }

    /// The report of this error at a step.
    pub(super) fn at(&self, step: Step) -> Failure {
        let (code, help, exit_code) = match self {
            Self::Engine(error) => (error.code(), error.help(), None),
            Self::Seed(_) => (
                "seed",
                "correct the file in the template and run the same command again",
                None,
            ),
            Self::Mismatch(_) => (
                "seed-mismatch",
                "the engine did not store what it was given (the disk is full, or something else wrote there too): run the same command again",
                None,
            ),
            Self::Store(_) => (
                "store",
                "free or repair the state folder and run the same command again",
                None,
            ),
            Self::Cancelled => ("cancelled", "run the same command again to resume", None),
            Self::Ended(exit_code) => (
                "ended",
                "correct the program or its settings and run the same command again",
                *exit_code,
            ),
            Self::NotReady(..) => ("not-ready", "to wait longer, pass --timeout SECONDS", None),
        };
        Failure {
            step,
            code: code.into(),
            reason: self.to_string(),
            help: help.to_owned(),
            last_lines: Vec::new(),
            is_cancelled: matches!(self, Self::Cancelled),
            exit_code,
            left_behind: Vec::new(),
            before: None,
        }
    }
}

/// The exit code of a container that has ended. `None`: it has not ended, or a signal ended it.
pub(super) fn exit_code(state: State) -> Option<i32> {
    match state {
        State::Exited { exit_code } | State::Restarting { exit_code, .. } => exit_code,
        State::Created | State::Running => None,
    }
}
