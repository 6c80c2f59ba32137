//! Why a step did not succeed, and what a report says of it. Pure.

use super::seed::{Mismatch, SeedError};
use crate::model::event::{Failure, Step};
use crate::provision::engine::error::EngineError;
use crate::provision::observed::State;
use crate::state::store::StoreError;

/// Why a step did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The engine's part.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The seed's part.
    #[error(transparent)]
    Seed(#[from] SeedError),
    /// The seed is not what was put.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// The step could not be journalled, and so was not taken.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Somebody cancelled.
    #[error("cancelled")]
    Cancelled,
    /// It ended before it was ready.
    #[error("it ended before it was ready")]
    Ended(Option<i32>),
    /// It does not answer.
    #[error("it was not ready within {0} seconds: {1}")]
    NotReady(u64, String),
}

impl StepError {
    /// What was asked for may have happened, or may still happen.
    pub(super) fn is_silence(&self) -> bool {
        matches!(
            self,
            Self::Engine(EngineError::TimedOut(_) | EngineError::Away { .. })
        )
    }

    /// The report of it.
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
                "the engine did not store what it was given (a full disk, or two writers): run the same command again",
                None,
            ),
            Self::Store(_) => (
                "store",
                "free or repair the state folder and run the same command again",
                None,
            ),
            Self::Cancelled => ("cancelled", "run the same command again to go on", None),
            Self::Ended(exit_code) => (
                "ended",
                "correct its program or its settings and run the same command again",
                *exit_code,
            ),
            Self::NotReady(..) => ("not-ready", "--timeout SECONDS gives it longer", None),
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

/// How it ended, when it did.
pub(super) fn exit_code(state: State) -> Option<i32> {
    match state {
        State::Exited { exit_code } | State::Restarting { exit_code, .. } => exit_code,
        State::Created | State::Running => None,
    }
}
