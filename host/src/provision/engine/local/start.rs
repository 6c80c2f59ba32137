//! Starts the supervisor of a workspace, and hands it the lock of the workspace's folder.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::disk::{self, Lock, WorkspaceFolder, unusable};
use super::supervisor::{Report, SUPERVISE};
use super::{Local, blocking, log, process};
use crate::limits;
use crate::provision::engine::error::EngineError;

impl Local {
    /// Starts a supervisor, and waits for its report. Succeeds also when one is running already.
    pub(super) async fn start_supervisor(
        &self,
        folder: &WorkspaceFolder,
    ) -> Result<(), EngineError> {
        let here = folder.clone();
        let prepared = blocking(move || {
            let Some(lock) = take_lock(&here)? else {
                return Ok(None);
            };
            // Left by an earlier supervisor.
            disk::remove_file(&here.run_state())?;
            let log = log::append_to(&here).map_err(|e| unusable(&here.log(), &e))?;
            Ok(Some((lock, log)))
        });
        let Some((Lock(lock), log)) = prepared.await? else {
            return Ok(());
        };
        let not_executable = |e: &io::Error| EngineError::NotExecutable {
            program: self.supervisor.display().to_string(),
            reason: e.to_string(),
        };
        let mut command = tokio::process::Command::new(&self.supervisor);
        command
            .arg(SUPERVISE)
            .arg(folder.path())
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(lock))
            .stdout(Stdio::piped())
            .stderr(Stdio::from(log));
        let mut supervisor = command.spawn().map_err(|e| not_executable(&e))?;
        // `command` holds the lock too, and must release it now that the supervisor has it.
        drop(command);
        let mut line = String::new();
        if let Some(pipe) = supervisor.stdout.take() {
            let mut report = BufReader::new(pipe);
            let limit = limits::SUPERVISOR_START;
            match tokio::time::timeout(limit, report.read_line(&mut line)).await {
                Ok(read) => read.map_err(|e| not_executable(&e))?,
                Err(_) => {
                    let _ = supervisor.start_kill();
                    return Err(EngineError::TimedOut(limit.as_secs()));
                }
            };
        }
        match serde_json::from_str::<Report>(&line) {
            Ok(report) => report.into_result(),
            Err(_) => Err(EngineError::Refused(format!(
                "the supervisor of {} ended before it started the program",
                folder.path().display()
            ))),
        }
    }
}

/// Takes the lock for a new supervisor. `None`: a supervisor lives already, and its program runs.
fn take_lock(folder: &WorkspaceFolder) -> Result<Option<Lock>, EngineError> {
    /// How long to wait for the lock. A process that checks, starts or ends a supervisor holds it only briefly; one that
    /// holds it longer was stopped meanwhile.
    const PATIENCE: Duration = Duration::from_secs(5);
    let path = folder.lock();
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    let file = options.mode(0o600).open(&path);
    let file = file.map_err(|e| unusable(&path, &e))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(Lock(file))),
            Err(TryLockError::Error(e)) => return Err(unusable(&path, &e)),
            Err(TryLockError::WouldBlock) if process::is_running(folder)? => return Ok(None),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                return Err(EngineError::Refused(format!(
                    "another process holds the lock {} and does not release it",
                    path.display()
                )));
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(process::PAUSE),
        }
    }
}
