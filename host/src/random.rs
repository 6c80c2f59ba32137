//! Random bytes from the operating system, for keys, tokens and identifiers.

use crate::model::diagnostic::Diagnostic;
use crate::problem::{Class, Problem};

/// The operating system gave no random bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no random bytes: {0}")]
pub struct NoRandomness(String);

/// `N` random bytes that cannot be guessed.
///
/// # Errors
/// [`NoRandomness`] when the system call fails.
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
