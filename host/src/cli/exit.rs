//! The exit codes of the program.

use std::process::ExitCode;

use crate::problem::Class;

/// How the program ended, as its exit code.
#[derive(Debug, Clone, Copy)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: an error of the engine, the store or this machine.
    Failed,
    /// 2: usage, or an invalid template or plugin.
    Invalid,
    /// 3: refused by policy.
    Refused,
    /// 4: some workspaces failed.
    Partly,
    /// 130 or 143: a signal interrupted the command, and it stopped in order.
    Interrupted(Interrupt),
    /// The exit code of a hidden command.
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

/// The signal that interrupted the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupt {
    /// INT: Ctrl-C.
    Int,
    /// TERM.
    Term,
}

impl Interrupt {
    /// 128 plus the number of the signal, as in shells.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Int => 130,
            Self::Term => 143,
        }
    }
}
