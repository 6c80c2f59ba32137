//! The report of a supervisor to the host that started it: one line of JSON that says whether the program runs.

use std::fs::File;
use std::io::Write as _;

use serde::{Deserialize, Serialize};

use crate::provision::engine::error::EngineError;

/// The report of a supervisor about the first start of its program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// The program runs.
    Started,
    /// The program cannot be started: [`EngineError::NotExecutable`].
    NotExecutable {
        /// The program.
        program: String,
        /// The message of the operating system.
        reason: String,
    },
    /// A folder cannot be used: [`EngineError::Folder`].
    Folder {
        /// The path of the folder or file.
        path: String,
        /// The message of the operating system.
        reason: String,
    },
    /// The disk is full: [`EngineError::NoSpace`].
    NoSpace(String),
    /// Any other error, as a sentence.
    Refused(String),
}

impl Report {
    /// Writes the report as one line.
    pub(super) fn send(&self, host: &mut File) {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        // The host may be gone. The workspace keeps running all the same.
        let _ = host.write_all(&line);
    }
}

impl From<EngineError> for Report {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Folder { path, reason } => Self::Folder { path, reason },
            EngineError::NoSpace(path) => Self::NoSpace(path),
            EngineError::NotExecutable { program, reason } => {
                Self::NotExecutable { program, reason }
            }
            other => Self::Refused(other.to_string()),
        }
    }
}

impl Report {
    /// The result for the host.
    ///
    /// # Errors
    /// The [`EngineError`] of every report except [`Report::Started`].
    pub fn into_result(self) -> Result<(), EngineError> {
        Err(match self {
            Self::Started => return Ok(()),
            Self::NotExecutable { program, reason } => {
                EngineError::NotExecutable { program, reason }
            }
            Self::Folder { path, reason } => EngineError::Folder { path, reason },
            Self::NoSpace(path) => EngineError::NoSpace(path),
            Self::Refused(reason) => EngineError::Refused(reason),
        })
    }
}
