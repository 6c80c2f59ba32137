//! The process between the supervisor and the program: it confines itself, and then becomes the program.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use crate::provision::engine::local::container::Container;
use crate::provision::engine::local::disk::{self, WorkspaceFolder};

/// The hidden command that runs [`exec_child`].
pub const EXEC_CHILD: &str = "exec-child";

/// Runs the hidden command `exec-child SUPERVISOR FOLDER PORT`, which becomes the program of a workspace.
///
/// It exists because only the process itself can ask to die with its parent and can confine itself, and only before it
/// becomes the program. Its own environment is empty; the program's environment is in the folder, so that it cannot steer
/// orghost. Descriptor 0 is a pipe to the supervisor: it closes when the program runs, and otherwise carries the reason why
/// it does not.
pub fn exec_child(arguments: &[OsString]) -> ExitCode {
    let [supervisor, folder, port] = arguments else {
        return ExitCode::FAILURE;
    };
    let Ok(report) = io::stdin().as_fd().try_clone_to_owned() else {
        return ExitCode::FAILURE;
    };
    let requested = set_parent_process_death_signal(Some(Signal::KILL));
    let parent = getppid().map(|pid| pid.as_raw_pid().to_string());
    if requested.is_err() || parent.as_deref() != supervisor.to_str() {
        return ExitCode::FAILURE;
    }
    let reason = become_program(&WorkspaceFolder::at(Path::new(folder)), port);
    let _ = File::from(report).write_all(reason.as_bytes());
    ExitCode::FAILURE
}

/// Returns only if this fails, with the reason.
fn become_program(folder: &WorkspaceFolder, port: &OsStr) -> String {
    let container: Container = match disk::read(&folder.container()) {
        Ok(Some(container)) => container,
        Ok(None) => return "its container was removed".to_owned(),
        Err(error) => return error.to_string(),
    };
    let Some((program, arguments)) = container.command.split_first() else {
        return "its container names no program".to_owned();
    };
    // A bare name would be searched for in the PATH of the program.
    if !Path::new(program).is_absolute() {
        return "its path is not absolute".to_owned();
    }
    let Some(confinement) = &container.confinement else {
        return "its container was made by an earlier orghost, without confinement".to_owned();
    };
    if let Err(error) = confinement.apply() {
        return error.to_string();
    }
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(&container.env);
    command
        .env("PORT", port)
        .stdin(Stdio::null())
        .exec()
        .to_string()
}
