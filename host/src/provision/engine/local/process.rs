//! Ends processes from the outside, and only a workspace's own. A number of
//! a process may be somebody else's by the time it is used, so that nothing
//! here signals a number: only a process that was pinned by a descriptor and
//! recognised after that.

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

/// How often whoever has the lock, and has not yet said who it is, is looked at again.
pub const LOOK: Duration = Duration::from_millis(5);

/// A process that cannot become another one.
#[derive(Debug)]
pub struct Process(OwnedFd);

impl Process {
    /// Pins a process; `None` when there is none of that number.
    ///
    /// # Errors
    /// The operating system's.
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

    /// Sends a signal. A process that has ended is success.
    ///
    /// # Errors
    /// The operating system's.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.0, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Waits until it has ended, or it is late; says whether it has ended.
    ///
    /// # Errors
    /// The operating system's.
    pub async fn ended(&self, deadline: Instant) -> io::Result<bool> {
        let descriptor = self.0.try_clone()?;
        let wait = move || {
            loop {
                let left = deadline.saturating_duration_since(Instant::now());
                // Readable: it has ended.
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

/// Ends the supervisor of a workspace, and with it everything that runs
/// there: asks with `signal`, waits as long as `patience`, kills. None there
/// is success.
///
/// # Errors
/// The operating system's, and [`EngineError::TimedOut`] when not even that helped.
pub async fn end(
    place: &WorkspaceFolder,
    id: &WorkspaceId,
    signal: Signal,
    patience: Duration,
) -> Result<(), EngineError> {
    let failed = |e: io::Error| unusable(place.path(), &e);
    let deadline = Instant::now() + patience;
    if let Some(supervisor) = find(place, deadline).await? {
        supervisor.signal(signal).map_err(failed)?;
        if !supervisor.ended(deadline).await.map_err(failed)? {
            supervisor.signal(Signal::KILL).map_err(failed)?;
            let last = Instant::now() + limits::SUPERVISOR_END;
            if !supervisor.ended(last).await.map_err(failed)? {
                return Err(EngineError::TimedOut(patience.as_secs()));
            }
        }
    }
    let here = place.clone();
    let run_state: Option<RunState> = blocking(move || read(&here.run_state())).await?;
    if run_state.is_some_and(|run_state| run_state.phase != Phase::Ended) {
        // It could not clean up.
        end_strays(place, id).await?;
    }
    Ok(())
}

/// Whether a supervisor lives that has started its program.
///
/// # Errors
/// The operating system's.
pub fn is_running(place: &WorkspaceFolder) -> Result<bool, EngineError> {
    let seen = look(place)?;
    Ok(matches!(
        seen,
        Seen::Supervisor(_, Phase::Running | Phase::Waiting)
    ))
}

/// The supervisor that holds the lock, or `None` when nobody does.
async fn find(place: &WorkspaceFolder, deadline: Instant) -> Result<Option<Process>, EngineError> {
    loop {
        let here = place.clone();
        match blocking(move || look(&here)).await? {
            Seen::Supervisor(process, _) => return Ok(Some(process)),
            Seen::Nobody => return Ok(None),
            Seen::Somebody if Instant::now() < deadline => tokio::time::sleep(LOOK).await,
            Seen::Somebody => {
                return Err(EngineError::Refused(format!(
                    "the supervisor of {} does not say who it is",
                    place.path().display()
                )));
            }
        }
    }
}

/// Who holds a workspace's lock.
enum Seen {
    Nobody,
    /// It has not said who it is: it was started this moment, or writes just now.
    Somebody,
    /// The supervisor, and what it is at.
    Supervisor(Process, Phase),
}

fn look(place: &WorkspaceFolder) -> Result<Seen, EngineError> {
    let Some(run_state) = read::<RunState>(&place.run_state())? else {
        return Ok(match place.is_supervised()? {
            true => Seen::Somebody,
            false => Seen::Nobody,
        });
    };
    let found = Process::open(run_state.supervisor).map_err(|e| unusable(place.path(), &e))?;
    // Whoever holds the lock now wrote this run_state, and so lived when it was pinned.
    if !place.is_supervised()? {
        return Ok(Seen::Nobody);
    }
    let now: Option<RunState> = read(&place.run_state())?;
    let now = now.filter(|now| now.supervisor == run_state.supervisor);
    Ok(match found.zip(now) {
        Some((process, now)) => Seen::Supervisor(process, now.phase),
        None => Seen::Somebody,
    })
}

/// Kills what outlived its supervisor. A workspace's processes are known by
/// the environment that they were started with.
async fn end_strays(place: &WorkspaceFolder, id: &WorkspaceId) -> Result<(), EngineError> {
    /// A process may start others while it is looked for.
    const ROUNDS: usize = 20;
    let configs = place.volume(VolumeKind::Configs);
    let marks = [
        format!("WORKSPACE_ID={id}"),
        format!("WORKSPACE_CONFIG_PATH={}", configs.display()),
    ];
    let deadline = Instant::now() + limits::SUPERVISOR_END;
    for _ in 0..ROUNDS {
        let (here, marks) = (place.clone(), marks.clone());
        let strays = blocking(move || strays(&marks).map_err(|e| unusable(here.path(), &e)));
        let strays = strays.await?;
        if strays.is_empty() {
            return Ok(());
        }
        for stray in strays {
            let _ = stray.ended(deadline).await;
        }
    }
    Err(EngineError::Refused(format!(
        "processes of {} do not end",
        place.path().display()
    )))
}

fn strays(marks: &[String]) -> io::Result<Vec<Process>> {
    let is_marked = |pid: i32| {
        fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
            let has = |mark: &String| environment.split(|b| *b == 0).any(|v| v == mark.as_bytes());
            marks.iter().all(has)
        })
    };
    let mut strays = Vec::new();
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
            strays.push(process);
        }
    }
    Ok(strays)
}
