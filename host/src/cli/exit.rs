//! The documented exit codes.

use std::process::ExitCode;

use crate::problem::Class;

/// The documented exit codes.
#[derive(Debug, Clone, Copy)]
pub enum Exit {
    /// 0
    Done,
    /// 1: the engine, the store, the machine.
    Failed,
    /// 2: usage, or an invalid template or plugin.
    Invalid,
    /// 3: refused by policy.
    Refused,
    /// 4: some workspaces failed.
    Partly,
    /// 130 or 143: somebody interrupted it, and it ended in order.
    Interrupted(Interrupt),
    /// A hidden command's own.
    Other(ExitCode),
}

impl From<Class> for Exit {
    fn from(class: Class) -> Self {
        match class {
            Class::Failed | Class::Busy => Self::Failed,
            Class::Invalid | Class::NotFound | Class::Conflict | Class::MissingEnv => Self::Invalid,
            Class::Refused => Self::Refused,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::SUCCESS,
            Exit::Failed => Self::from(1),
            Exit::Invalid => Self::from(2),
            Exit::Refused => Self::from(3),
            Exit::Partly => Self::from(4),
            Exit::Interrupted(interrupt) => Self::from(interrupt.exit_code()),
            Exit::Other(code) => code,
        }
    }
}

/// Which signal it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupt {
    /// INT: Ctrl-C.
    Int,
    /// TERM.
    Term,
}

impl Interrupt {
    /// 128 and the signal's number, as shells say it.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Int => 130,
            Self::Term => 143,
        }
    }
}
