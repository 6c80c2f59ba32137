//! The supervisor: the process that keeps the program of one workspace running, for as long as the workspace should run.
//!
//! It is `orghost` itself, started with a hidden command. It does not read the process environment or use the store, and
//! all that it knows of the plan is in `container.json`.
//!
//! It holds the lock of the workspace's folder for its whole life: the host takes the lock before it starts the supervisor,
//! and hands it over as descriptor 0. So other processes can check without a race whether it lives. It restarts the program
//! until it gets TERM (then the program gets TERM, and KILL after the grace period) or QUIT (then the program gets KILL at
//! once). Everything that the program started ends with it, because the kernel makes orphaned processes children of the
//! supervisor. If the supervisor itself is killed, the kernel kills the program.

mod child;
mod port;
mod report;

use std::fs::{self, File};
use std::io::{self, PipeWriter};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::pin::pin;
use std::process::{Child, Command, ExitCode};
use std::time::Duration;

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, getpid, kill_process, kill_process_group,
    set_child_subreaper, setsid, waitid, waitpid,
};
use rustix::stdio::dup2_stdout;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::signal::unix::{self, SignalKind};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::container::Container;
use super::disk::{self, Phase, RunState, VERSION, WorkspaceFolder};
use super::log::Log;
use crate::limits;
pub use child::{EXEC_CHILD, exec_child};
use port::Port;
pub use report::Report;

/// The hidden command that runs [`supervise`].
pub const SUPERVISE: &str = "supervise";

/// The exit code of a program that cannot be started again.
const NOT_EXECUTABLE: i32 = 127;

/// The size of the blocks in which output is read, in bytes.
const BLOCK: usize = 16 << 10;
/// The most blocks that are read at a time: more than a pipe holds.
const BLOCKS: usize = 16;

/// How the supervisor was asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// By TERM: the program gets TERM first, and KILL after the grace period.
    Grace,
    /// By QUIT: the program gets KILL.
    AtOnce,
}

/// Why the program did not start.
enum NotStarted {
    Failed(Report),
    /// The supervisor was asked to end meanwhile.
    Stopped,
}

struct Supervisor {
    folder: WorkspaceFolder,
    container: Container,
    run_state: RunState,
    log: Log,
    /// The reading end of the pipe that the program prints to. It stays the same when the program is restarted.
    output: pipe::Receiver,
    /// The writing end of that pipe.
    input: PipeWriter,
    port: Option<Port>,
    term: unix::Signal,
    quit: unix::Signal,
    child_ended: unix::Signal,
}

/// The running program.
struct Program {
    child: Child,
    /// Its process id, and that of its group. They are not given to another process before it is reaped.
    pid: Pid,
    /// Signals that some child ended, which may be this one.
    some_child_ended: unix::Signal,
}

/// Runs the hidden command `supervise FOLDER`, which keeps the workspace of that folder running.
///
/// Only the local engine starts it: it hands over the lock and waits for the report. It must be called before any other
/// thread exists, because the kernel kills the program when the thread that started it ends.
pub fn supervise(path: &Path) -> ExitCode {
    // Leaves the terminal, so that Ctrl-C there ends the host and not the workspaces.
    let _ = setsid();
    let mut host = match take_stdout() {
        Ok(host) => host,
        Err(_) => return ExitCode::FAILURE,
    };
    let folder = WorkspaceFolder::at(path);
    let kept = take_lock_and_container(&folder).and_then(|container| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Report::Refused(e.to_string()))?;
        runtime.block_on(async {
            let supervisor = Supervisor::new(folder, container)?;
            supervisor.run(&mut host).await
        })
    });
    match kept {
        Ok(()) => ExitCode::SUCCESS,
        Err(report) => {
            report.send(&mut host);
            ExitCode::FAILURE
        }
    }
}

impl Supervisor {
    fn new(folder: WorkspaceFolder, container: Container) -> Result<Self, Report> {
        let refused = |e: io::Error| Report::Refused(e.to_string());
        let failed = |e: io::Error| Report::from(disk::unusable(&folder.log(), &e));
        // Orphaned processes of the program become children of the supervisor, so that it can end them.
        set_child_subreaper(Some(getpid())).map_err(|e| refused(e.into()))?;
        disk::make_folder(&folder.scratch())?;
        let (output, input) = io::pipe().map_err(refused)?;
        let supervisor = Self {
            log: Log::open(&folder).map_err(failed)?,
            output: pipe::Receiver::from_owned_fd(OwnedFd::from(output)).map_err(refused)?,
            input,
            term: unix::signal(SignalKind::terminate()).map_err(refused)?,
            quit: unix::signal(SignalKind::quit()).map_err(refused)?,
            child_ended: unix::signal(SignalKind::child()).map_err(refused)?,
            port: None,
            run_state: RunState {
                version: VERSION,
                supervisor: getpid().as_raw_pid(),
                child: None,
                port: None,
                restarts: 0,
                exit_code: None,
                phase: Phase::Starting,
            },
            folder,
            container,
        };
        supervisor.write_run_state()?;
        Ok(supervisor)
    }

    /// Runs until the supervisor is asked to end. An error is that of the first start, and was not reported yet.
    async fn run(mut self, host: &mut File) -> Result<(), Report> {
        let mut pause = limits::RESTART_FIRST;
        loop {
            let began = Instant::now();
            let is_first = self.run_state.phase == Phase::Starting;
            match self.start().await {
                Ok(mut program) => {
                    self.run_state.phase = Phase::Running;
                    if is_first {
                        if let Err(report) = self.write_run_state() {
                            self.end(program, Some(Stop::AtOnce)).await;
                            return Err(report);
                        }
                        Report::Started.send(host);
                    }
                    let _ = self.write_run_state();
                    let stop = self.wait_for(program.ended()).await.err();
                    self.run_state.exit_code = self.end(program, stop).await;
                    if stop.is_some() {
                        return self.finish();
                    }
                }
                Err(NotStarted::Stopped) => return self.finish(),
                Err(NotStarted::Failed(report)) if is_first => return Err(report),
                Err(NotStarted::Failed(report)) => {
                    self.log
                        .write(format!("orghost: not started: {report:?}\n").as_bytes());
                    self.run_state.exit_code = Some(NOT_EXECUTABLE);
                }
            }
            self.run_state.child = None;
            self.run_state.phase = Phase::Waiting;
            let _ = self.write_run_state();
            if began.elapsed() >= limits::RESTART_SETTLED {
                pause = limits::RESTART_FIRST;
            }
            let stopped = self.wait_for(sleep(pause)).await.is_err();
            // Without its container there is no workspace any more.
            if stopped || !self.folder.container().exists() {
                return self.finish();
            }
            pause = (pause * 2).min(limits::RESTART_SLOWEST);
            self.run_state.restarts = self.run_state.restarts.saturating_add(1);
        }
    }

    fn finish(mut self) -> Result<(), Report> {
        self.run_state.child = None;
        self.run_state.phase = Phase::Ended;
        let _ = self.write_run_state();
        Ok(())
    }

    fn write_run_state(&self) -> Result<(), Report> {
        let path = self.folder.run_state();
        disk::write(&path, &self.run_state).map_err(|e| disk::unusable(&path, &e).into())
    }

    async fn start(&mut self) -> Result<Program, NotStarted> {
        let refused = |e: io::Error| NotStarted::Failed(Report::Refused(e.to_string()));
        let port = Port::choose(self.port.take()).map_err(refused)?;
        let some_child_ended = unix::signal(SignalKind::child()).map_err(refused)?;
        let (report, to_report) = io::pipe().map_err(refused)?;
        let mut report = pipe::Receiver::from_owned_fd(OwnedFd::from(report)).map_err(refused)?;
        let mut command = Command::new("/proc/self/exe");
        command
            .args([EXEC_CHILD, "--", &self.run_state.supervisor.to_string()])
            .arg(self.folder.path())
            .arg(port.number.to_string())
            .env_clear()
            .current_dir(&self.container.directory)
            .stdin(to_report)
            .stdout(self.input.try_clone().map_err(refused)?)
            .stderr(self.input.try_clone().map_err(refused)?)
            .process_group(0);
        self.run_state.port = Some(port.number);
        self.port = Some(port);
        let child = command.spawn().map_err(|e| {
            let directory = &self.container.directory;
            NotStarted::Failed(if directory.is_dir() {
                self.not_executable(e.to_string())
            } else {
                disk::unusable(directory, &e).into()
            })
        })?;
        // Closes its copy of the pipe, so that the report ends when the program closes the other copy.
        drop(command);
        let pid = Pid::from_child(&child);
        self.run_state.child = Some(pid.as_raw_pid());
        let mut program = Program {
            pid,
            child,
            some_child_ended,
        };
        let mut reason = String::new();
        match self.wait_for(report.read_to_string(&mut reason)).await {
            Err(stop) => {
                self.end(program, Some(stop)).await;
                Err(NotStarted::Stopped)
            }
            Ok(_) if reason.is_empty() => Ok(program),
            Ok(_) => {
                let _ = program.child.wait();
                Err(NotStarted::Failed(self.not_executable(reason)))
            }
        }
    }

    fn not_executable(&self, reason: String) -> Report {
        let program = self.container.command.first().cloned();
        Report::NotExecutable {
            program: program.unwrap_or_default(),
            reason,
        }
    }

    /// Waits for `work` while it reaps orphans and keeps the output; an error when the supervisor was asked to end first.
    async fn wait_for<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Stop> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                _ = self.quit.recv() => return Err(Stop::AtOnce),
                _ = self.term.recv() => return Err(Stop::Grace),
                _ = self.child_ended.recv() => self.reap(),
                _ = self.output.readable() => self.keep_output(),
            }
        }
    }

    /// Ends the program and everything that it started. Returns its exit code.
    async fn end(&mut self, mut program: Program, stop: Option<Stop>) -> Option<i32> {
        let pid = program.pid;
        let signal = |signal| {
            let _ = kill_process_group(pid, signal);
        };
        if stop == Some(Stop::Grace) {
            signal(Signal::TERM);
            let deadline = Instant::now() + Duration::from_millis(self.container.grace_ms);
            // A second TERM is ignored.
            while let Ok(Err(Stop::Grace)) =
                timeout_at(deadline, self.wait_for(program.ended())).await
            {}
        }
        signal(Signal::KILL);
        while self.wait_for(program.ended()).await.is_err() {}
        let status = program.child.wait();
        self.run_state.child = None;
        self.end_orphans().await;
        self.keep_last_output();
        status.ok().and_then(|status| status.code())
    }

    /// Kills the processes that left the group of the program. Their process ids are safe to use, because the ids of children
    /// are not given to others before the children are reaped.
    async fn end_orphans(&mut self) {
        let deadline = Instant::now() + limits::SUPERVISOR_END / 2;
        while Instant::now() < deadline {
            let orphans = children();
            if orphans.is_empty() {
                return;
            }
            for orphan in orphans {
                let _ = kill_process(orphan, Signal::KILL);
            }
            self.reap();
            let _ = timeout(Duration::from_millis(10), self.child_ended.recv()).await;
            self.reap();
        }
    }

    /// Reaps orphans that ended.
    fn reap(&mut self) {
        for child in children() {
            if Some(child.as_raw_pid()) != self.run_state.child {
                let _ = waitpid(Some(child), WaitOptions::NOHANG);
            }
        }
    }

    /// Logs some of what is in the pipe, and not more, so that the supervisor also does its other work.
    fn keep_output(&mut self) {
        let mut block = [0; BLOCK];
        for _ in 0..BLOCKS {
            match self.output.try_read(&mut block) {
                Ok(length) => self.log.write(block.get(..length).unwrap_or_default()),
                Err(_) => return,
            }
        }
    }

    /// Logs what is left in the pipe, whether or not tokio has noticed it. Stops after a number of blocks, because a process
    /// that cannot be killed may keep writing.
    fn keep_last_output(&mut self) {
        let mut block = [0; BLOCK];
        for _ in 0..BLOCKS {
            match rustix::io::read(&self.output, &mut block) {
                Ok(length) => self.log.write(block.get(..length).unwrap_or_default()),
                Err(_) => return,
            }
        }
    }
}

impl Program {
    /// Waits until it has ended, without reaping it.
    async fn ended(&mut self) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        while let Ok(None) = waitid(WaitId::Pid(self.pid), options) {
            self.some_child_ended.recv().await;
        }
    }
}

/// The children of this process, which has only one thread.
fn children() -> Vec<Pid> {
    let children = fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    let pid = |text: &str| Pid::from_raw(text.parse().ok()?);
    children.split_whitespace().filter_map(pid).collect()
}

/// Takes the pipe to the host from descriptor 1, so that no child inherits it.
fn take_stdout() -> io::Result<File> {
    let host = io::stdout().as_fd().try_clone_to_owned()?;
    dup2_stdout(File::options().write(true).open("/dev/null")?)?;
    Ok(host.into())
}

/// Checks that the lock was handed over, and reads the container.
fn take_lock_and_container(folder: &WorkspaceFolder) -> Result<Container, Report> {
    let is_ours = || -> io::Result<bool> {
        // Descriptor 0 stays open for the life of the process, and so the lock stays held.
        let handed = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let (handed_over, wanted) = (handed.metadata()?, fs::metadata(folder.lock())?);
        let is_same = (handed_over.dev(), handed_over.ino()) == (wanted.dev(), wanted.ino());
        Ok(is_same && handed.try_lock().is_ok())
    };
    if !is_ours().is_ok_and(|ours| ours) {
        let reason = "only orghost starts a supervisor, and hands it a lock";
        return Err(Report::Refused(reason.to_owned()));
    }
    let container = disk::read(&folder.container())?;
    container.ok_or_else(|| Report::Refused("its container was removed".to_owned()))
}
