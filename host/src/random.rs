//! Random bytes of the operating system, for keys, tokens and identifiers.

use crate::model::diagnostic::Diagnostic;
use crate::problem::{Class, Problem};

/// The operating system has no randomness.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this machine has no randomness: {0}")]
pub struct NoRandomness(String);

/// `N` bytes that nobody can guess.
///
/// # Errors
/// [`NoRandomness`]: the system call failed.
pub fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| NoRandomness(error.to_string()))?;
    Ok(bytes)
}

impl From<NoRandomness> for Problem {
    fn from(error: NoRandomness) -> Self {
        Self::one(
            Class::Failed,
            Diagnostic::new("no-randomness", error.to_string()),
        )
    }
}
