//! Ends the processes of a workspace from the host's process.
//!
//! The kernel may give a process id to another process at any time, so nothing here sends a signal to an id. A process is
//! first held by a descriptor, then recognised, and then signalled through the descriptor.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::blocking;
use super::disk::{Phase, RunState, WorkspaceFolder, read, unusable};
use crate::limits;
use crate::model::ids::WorkspaceId;
use crate::provision::engine::error::EngineError;
use crate::provision::observed::VolumeKind;

/// The time between two checks of a folder whose lock is held by a process that did not write `run.json` yet.
pub const PAUSE: Duration = Duration::from_millis(5);

/// A process that is held by a descriptor, so that its id cannot come to mean another process.
#[derive(Debug)]
pub struct Process(OwnedFd);

impl Process {
    /// Opens the process with this id. `None`: there is none.
    ///
    /// # Errors
    /// The error of the operating system when it cannot be opened.
    pub fn open(pid: i32) -> io::Result<Option<Self>> {
        let Some(pid) = Pid::from_raw(pid) else {
            return Ok(None);
        };
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(descriptor) => Ok(Some(Self(descriptor))),
            Err(Errno::SRCH) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Sends a signal. Succeeds also when the process has ended.
    ///
    /// # Errors
    /// The error of the operating system when the signal cannot be sent.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.0, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Waits until it has ended or the deadline has passed. `true`: it has ended.
    ///
    /// # Errors
    /// The error of the operating system when it cannot be watched.
    pub async fn ended(&self, deadline: Instant) -> io::Result<bool> {
        let descriptor = self.0.try_clone()?;
        let wait = move || {
            loop {
                let left = deadline.saturating_duration_since(Instant::now());
                // The descriptor becomes readable when the process ends.
                let mut watched = [PollFd::new(&descriptor, PollFlags::IN)];
                match poll(&mut watched, Timespec::try_from(left).ok().as_ref()) {
                    Ok(ready) => return Ok(ready > 0),
                    Err(Errno::INTR) => {}
                    Err(e) => return Err(e.into()),
                }
            }
        };
        let waited = tokio::task::spawn_blocking(wait).await;
        waited.unwrap_or_else(|e| Err(io::Error::other(e)))
    }
}

/// Ends the supervisor of a workspace, and with it everything that runs there: sends `signal`, waits for `patience`, and then
/// kills it. Succeeds also when there is no supervisor.
///
/// # Errors
/// [`EngineError::Folder`] when the folder cannot be read, [`EngineError::Refused`] when the supervisor cannot be
/// identified, and [`EngineError::TimedOut`] when it does not even end by KILL.
pub async fn end(
    folder: &WorkspaceFolder,
    id: &WorkspaceId,
    signal: Signal,
    patience: Duration,
) -> Result<(), EngineError> {
    let failed = |e: io::Error| unusable(folder.path(), &e);
    let deadline = Instant::now() + patience;
    if let Some(supervisor) = find_supervisor(folder, deadline).await? {
        supervisor.signal(signal).map_err(failed)?;
        if !supervisor.ended(deadline).await.map_err(failed)? {
            supervisor.signal(Signal::KILL).map_err(failed)?;
            let last = Instant::now() + limits::SUPERVISOR_END;
            if !supervisor.ended(last).await.map_err(failed)? {
                return Err(EngineError::TimedOut(patience.as_secs()));
            }
        }
    }
    let here = folder.clone();
    let run_state: Option<RunState> = blocking(move || read(&here.run_state())).await?;
    if run_state.is_some_and(|run_state| run_state.phase != Phase::Ended) {
        // The supervisor was killed before it could end its children.
        end_survivors(folder, id).await?;
    }
    Ok(())
}

/// Whether a supervisor lives and has started its program.
///
/// # Errors
/// [`EngineError::Folder`] when the folder cannot be read.
pub fn is_running(folder: &WorkspaceFolder) -> Result<bool, EngineError> {
    let holder = lock_holder(folder)?;
    Ok(matches!(
        holder,
        LockHolder::Supervisor(_, Phase::Running | Phase::Waiting)
    ))
}

/// The supervisor that holds the lock. `None`: the lock is free.
async fn find_supervisor(
    folder: &WorkspaceFolder,
    deadline: Instant,
) -> Result<Option<Process>, EngineError> {
    loop {
        let here = folder.clone();
        match blocking(move || lock_holder(&here)).await? {
            LockHolder::Supervisor(process, _) => return Ok(Some(process)),
            LockHolder::None => return Ok(None),
            LockHolder::Unknown if Instant::now() < deadline => tokio::time::sleep(PAUSE).await,
            LockHolder::Unknown => {
                return Err(EngineError::Refused(format!(
                    "the supervisor of {} does not write its process id",
                    folder.path().display()
                )));
            }
        }
    }
}

/// The process that holds the lock of a folder.
enum LockHolder {
    /// The lock is free.
    None,
    /// A process that has not written `run.json` yet: it was started just now, or is writing.
    Unknown,
    /// The supervisor, and what it is doing.
    Supervisor(Process, Phase),
}

fn lock_holder(folder: &WorkspaceFolder) -> Result<LockHolder, EngineError> {
    let Some(run_state) = read::<RunState>(&folder.run_state())? else {
        return Ok(match folder.is_supervised()? {
            true => LockHolder::Unknown,
            false => LockHolder::None,
        });
    };
    let found = Process::open(run_state.supervisor).map_err(|e| unusable(folder.path(), &e))?;
    // If the lock is held and `run.json` still names the same process, that process lived when it was opened.
    if !folder.is_supervised()? {
        return Ok(LockHolder::None);
    }
    let now: Option<RunState> = read(&folder.run_state())?;
    let now = now.filter(|now| now.supervisor == run_state.supervisor);
    Ok(match found.zip(now) {
        Some((process, now)) => LockHolder::Supervisor(process, now.phase),
        None => LockHolder::Unknown,
    })
}

/// Kills the processes of a workspace that survived its supervisor. They are recognised by the environment that they were
/// started with.
async fn end_survivors(folder: &WorkspaceFolder, id: &WorkspaceId) -> Result<(), EngineError> {
    /// The most searches: processes may start others while they are searched for.
    const ROUNDS: usize = 20;
    let configs = folder.volume(VolumeKind::Configs);
    let marks = [
        format!("WORKSPACE_ID={id}"),
        format!("WORKSPACE_CONFIG_PATH={}", configs.display()),
    ];
    let deadline = Instant::now() + limits::SUPERVISOR_END;
    for _ in 0..ROUNDS {
        let (here, marks) = (folder.clone(), marks.clone());
        let survivors =
            blocking(move || kill_marked(&marks).map_err(|e| unusable(here.path(), &e)));
        let survivors = survivors.await?;
        if survivors.is_empty() {
            return Ok(());
        }
        for survivor in survivors {
            let _ = survivor.ended(deadline).await;
        }
    }
    Err(EngineError::Refused(format!(
        "processes of {} do not end",
        folder.path().display()
    )))
}

/// Kills every process whose environment has these variables, and returns them.
fn kill_marked(marks: &[String]) -> io::Result<Vec<Process>> {
    let is_marked = |pid: i32| {
        fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
            let has = |mark: &String| environment.split(|b| *b == 0).any(|v| v == mark.as_bytes());
            marks.iter().all(has)
        })
    };
    let mut survivors = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if is_marked(pid)
            && let Some(process) = Process::open(pid)?
            && is_marked(pid)
        {
            process.signal(Signal::KILL)?;
            survivors.push(process);
        }
    }
    Ok(survivors)
}
