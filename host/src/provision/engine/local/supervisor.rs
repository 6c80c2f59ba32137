//! The process that keeps one workspace running, and lives exactly as long as
//! it should run. It is `orghost` itself, started again with a hidden command;
//! it never reads the process environment, never speaks to the store, and
//! knows of the plan only what stands in `container.json`.
//!
//! It holds the workspace's lock from before its first instruction (the host
//! takes it and hands it over as descriptor 0) to its end, so that whoever
//! looks knows without a race whether it lives. It keeps the program running
//! until it gets TERM (the program gets TERM, and KILL after its grace) or QUIT
//! (KILL at once). Everything that the program starts ends with it: the
//! supervisor is what orphans are handed to. Should the supervisor itself be
//! killed, the kernel kills the program.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, PipeWriter, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::pin::pin;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, getpid, getppid, kill_process,
    kill_process_group, set_child_subreaper, set_parent_process_death_signal, setsid, waitid,
    waitpid,
};
use rustix::stdio::dup2_stdout;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::signal::unix::{self, SignalKind};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::disk::{self, Container, Phase, RunState, VERSION, WorkspaceFolder};
use super::log::Log;
use crate::limits;
use crate::provision::engine::error::EngineError;

/// The hidden command that runs [`supervise`].
pub const SUPERVISE: &str = "supervise";

/// The hidden command that runs [`exec_child`].
pub const EXEC_CHILD: &str = "exec-child";

/// A program that cannot be started again counts as ended with this.
const NOT_EXECUTABLE: i32 = 127;

/// Ports that are tried before giving up.
const PORTS: usize = 64;

/// Output is read in blocks of this size, so many in a row: more than a pipe holds.
const BLOCK: usize = 16 << 10;
/// See [`BLOCK`].
const BLOCKS: usize = 16;

/// What a supervisor says to the host that started it: one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// The program runs.
    Started,
    /// See [`EngineError::NotExecutable`].
    NotExecutable {
        /// The program.
        program: String,
        /// The operating system's words.
        reason: String,
    },
    /// See [`EngineError::Folder`].
    Folder {
        /// The folder, or what is in it.
        path: String,
        /// The operating system's words.
        reason: String,
    },
    /// See [`EngineError::NoSpace`].
    NoSpace(String),
    /// Something else.
    Refused(String),
}

/// How the supervisor was told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// TERM first.
    Grace,
    /// KILL.
    AtOnce,
}

/// Why the program did not start.
enum NotStarted {
    Failed(Report),
    Stopped,
}

struct Supervisor {
    place: WorkspaceFolder,
    container: Container,
    run_state: RunState,
    log: Log,
    /// What the program prints. One pipe for all its lives.
    output: pipe::Receiver,
    input: PipeWriter,
    port: Option<Port>,
    term: unix::Signal,
    quit: unix::Signal,
    child_ended: unix::Signal,
}

/// A port, promised to this supervisor as long as it lives.
struct Port {
    number: u16,
    _promise: UnixListener,
}

/// The program, in one of its lives.
struct Program {
    child: Child,
    /// Its number, and its group's. Both stay its own until it is reaped.
    pid: Pid,
    /// Some child ended: perhaps this one.
    perhaps: unix::Signal,
}

/// Keeps the workspace in `folder` running. Called by the local engine alone,
/// which hands over the lock and waits for a line; before any runtime or
/// thread is made, because the program dies with the thread that started it.
pub fn supervise(folder: &Path) -> ExitCode {
    // Away from the terminal: whoever ends the host there does not mean the workspaces.
    let _ = setsid();
    let mut host = match take_over_stdout() {
        Ok(host) => host,
        Err(_) => return ExitCode::FAILURE,
    };
    let place = WorkspaceFolder::at(folder);
    let kept = take_over(&place).and_then(|container| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Report::Refused(e.to_string()))?;
        runtime.block_on(async {
            let supervisor = Supervisor::new(place, container)?;
            supervisor.live(&mut host).await
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

/// Becomes the program of a workspace: `SUPERVISOR FOLDER PORT`. Exists
/// because a process can only ask for its own death with its parent, and
/// confine itself, between being made and being the program. Its own
/// environment is empty: the program's is in the folder, and steers nothing
/// of orghost. Descriptor 0 is a pipe to the supervisor: it closes when the
/// program runs, or else says why it does not.
pub fn exec_child(arguments: &[OsString]) -> ExitCode {
    let [supervisor, folder, port] = arguments else {
        return ExitCode::FAILURE;
    };
    let Ok(report) = io::stdin().as_fd().try_clone_to_owned() else {
        return ExitCode::FAILURE;
    };
    let asked = set_parent_process_death_signal(Some(Signal::KILL));
    let parent = getppid().map(|pid| pid.as_raw_pid().to_string());
    if asked.is_err() || parent.as_deref() != supervisor.to_str() {
        return ExitCode::FAILURE;
    }
    let why = become_program(&WorkspaceFolder::at(Path::new(folder)), port);
    let _ = File::from(report).write_all(why.as_bytes());
    ExitCode::FAILURE
}

/// Returns only when it does not, and says why.
fn become_program(place: &WorkspaceFolder, port: &OsStr) -> String {
    let container: Container = match disk::read(&place.container()) {
        Ok(Some(container)) => container,
        Ok(None) => return "its container was removed".to_owned(),
        Err(error) => return error.to_string(),
    };
    let Some((program, arguments)) = container.command.split_first() else {
        return "its container names no program".to_owned();
    };
    // A name would be searched for in the program's own PATH.
    if !Path::new(program).is_absolute() {
        return "its path is not absolute".to_owned();
    }
    let Some(confinement) = &container.confinement else {
        return "an earlier orghost made its container, without confining it".to_owned();
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

impl Report {
    fn send(&self, host: &mut File) {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        // The host may be gone; the workspace runs on.
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
    /// What it means for the host.
    ///
    /// # Errors
    /// Everything but [`Report::Started`].
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

impl Supervisor {
    fn new(place: WorkspaceFolder, container: Container) -> Result<Self, Report> {
        let refused = |e: io::Error| Report::Refused(e.to_string());
        let failed = |e: io::Error| Report::from(disk::unusable(&place.log(), &e));
        // A program's orphans become the supervisor's children, and so cannot escape it.
        set_child_subreaper(Some(getpid())).map_err(|e| refused(e.into()))?;
        disk::make_folder(&place.scratch())?;
        let (output, input) = io::pipe().map_err(refused)?;
        let supervisor = Self {
            log: Log::open(&place).map_err(failed)?,
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
            place,
            container,
        };
        supervisor.note()?;
        Ok(supervisor)
    }

    /// The whole life. An error is the first start's, and was not yet reported.
    async fn live(mut self, host: &mut File) -> Result<(), Report> {
        let mut pause = limits::RESTART_FIRST;
        loop {
            let began = Instant::now();
            let is_first = self.run_state.phase == Phase::Starting;
            match self.start().await {
                Ok(mut program) => {
                    self.run_state.phase = Phase::Running;
                    if is_first {
                        if let Err(report) = self.note() {
                            self.end(program, Some(Stop::AtOnce)).await;
                            return Err(report);
                        }
                        Report::Started.send(host);
                    }
                    let _ = self.note();
                    let stop = self.until(program.ended()).await.err();
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
            let _ = self.note();
            if began.elapsed() >= limits::RESTART_SETTLED {
                pause = limits::RESTART_FIRST;
            }
            let stopped = self.until(sleep(pause)).await.is_err();
            // Without its folder there is no workspace any more.
            if stopped || !self.place.container().exists() {
                return self.finish();
            }
            pause = (pause * 2).min(limits::RESTART_SLOWEST);
            self.run_state.restarts = self.run_state.restarts.saturating_add(1);
        }
    }

    fn finish(mut self) -> Result<(), Report> {
        self.run_state.child = None;
        self.run_state.phase = Phase::Ended;
        let _ = self.note();
        Ok(())
    }

    fn note(&self) -> Result<(), Report> {
        let path = self.place.run_state();
        disk::write(&path, &self.run_state).map_err(|e| disk::unusable(&path, &e).into())
    }

    async fn start(&mut self) -> Result<Program, NotStarted> {
        let refused = |e: io::Error| NotStarted::Failed(Report::Refused(e.to_string()));
        let port = Port::choose(self.port.take()).map_err(refused)?;
        let perhaps = unix::signal(SignalKind::child()).map_err(refused)?;
        let (report, to_report) = io::pipe().map_err(refused)?;
        let mut report = pipe::Receiver::from_owned_fd(OwnedFd::from(report)).map_err(refused)?;
        let mut command = Command::new("/proc/self/exe");
        command
            .args([EXEC_CHILD, "--", &self.run_state.supervisor.to_string()])
            .arg(self.place.path())
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
        // Its copy of the pipe: the end of the report is seen when the program's own is closed.
        drop(command);
        let pid = Pid::from_child(&child);
        self.run_state.child = Some(pid.as_raw_pid());
        let mut program = Program {
            pid,
            child,
            perhaps,
        };
        let mut why = String::new();
        match self.until(report.read_to_string(&mut why)).await {
            Err(stop) => {
                self.end(program, Some(stop)).await;
                Err(NotStarted::Stopped)
            }
            Ok(_) if why.is_empty() => Ok(program),
            Ok(_) => {
                let _ = program.child.wait();
                Err(NotStarted::Failed(self.not_executable(why)))
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

    /// Does what a supervisor does all the time, until `work` is done or somebody wants it to end.
    async fn until<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Stop> {
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

    /// Ends what is left of a program and of everything that it started; says how it ended.
    async fn end(&mut self, mut program: Program, stop: Option<Stop>) -> Option<i32> {
        let pid = program.pid;
        let signal = |signal| {
            let _ = kill_process_group(pid, signal);
        };
        if stop == Some(Stop::Grace) {
            signal(Signal::TERM);
            let deadline = Instant::now() + Duration::from_millis(self.container.grace_ms);
            // A second TERM changes nothing.
            while let Ok(Err(Stop::Grace)) = timeout_at(deadline, self.until(program.ended())).await
            {
            }
        }
        signal(Signal::KILL);
        while self.until(program.ended()).await.is_err() {}
        let status = program.child.wait();
        self.run_state.child = None;
        self.end_orphans().await;
        self.keep_last_output();
        status.ok().and_then(|status| status.code())
    }

    /// Kills what left the program's group. Unlike others, a child's number stays its own until it is reaped.
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

    /// Lets go of orphans that ended.
    fn reap(&mut self) {
        for child in children() {
            if Some(child.as_raw_pid()) != self.run_state.child {
                let _ = waitpid(Some(child), WaitOptions::NOHANG);
            }
        }
    }

    /// Takes what came through the pipe, and leaves time for other things.
    fn keep_output(&mut self) {
        let mut block = [0; BLOCK];
        for _ in 0..BLOCKS {
            match self.output.try_read(&mut block) {
                Ok(length) => self.log.write(block.get(..length).unwrap_or_default()),
                Err(_) => return,
            }
        }
    }

    /// Takes what is still in the pipe, whether or not the runtime has noticed
    /// it; not for ever, because a process that nothing can kill may write on.
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
    /// Waits until it has ended; does not reap it.
    async fn ended(&mut self) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        while let Ok(None) = waitid(WaitId::Pid(self.pid), options) {
            self.perhaps.recv().await;
        }
    }
}

impl Port {
    /// The port of before when nobody has taken it, or else a free one. Between
    /// this and the program's own bind anybody could take it, but no other
    /// supervisor: each promises its port to itself with a name that the kernel
    /// gives only once, and forgets with the process.
    fn choose(before: Option<Self>) -> io::Result<Self> {
        if let Some(before) = before
            && TcpListener::bind((Ipv4Addr::LOCALHOST, before.number)).is_ok()
        {
            return Ok(before);
        }
        let mut passed_over = Vec::new();
        for _ in 0..PORTS {
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let number = free.local_addr()?.port();
            let name = SocketAddr::from_abstract_name(format!("orghost-port-{number}"))?;
            match UnixListener::bind_addr(&name) {
                Ok(_promise) => return Ok(Self { number, _promise }),
                Err(e) if e.kind() == io::ErrorKind::AddrInUse => passed_over.push(free),
                Err(e) => return Err(e),
            }
        }
        Err(io::Error::other("there is no free port"))
    }
}

/// This process's children. They are this thread's: there is no other.
fn children() -> Vec<Pid> {
    let children = fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    let pid = |text: &str| Pid::from_raw(text.parse().ok()?);
    children.split_whitespace().filter_map(pid).collect()
}

/// Keeps the pipe to the host, and gives nobody else a descriptor for it.
fn take_over_stdout() -> io::Result<File> {
    let host = io::stdout().as_fd().try_clone_to_owned()?;
    dup2_stdout(File::options().write(true).open("/dev/null")?)?;
    Ok(host.into())
}

/// Checks that the lock was handed over, and reads what to run.
fn take_over(place: &WorkspaceFolder) -> Result<Container, Report> {
    let is_ours = || -> io::Result<bool> {
        // Descriptor 0 stays open, and with it the lock, for the life of the process.
        let handed = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let (handed_over, wanted) = (handed.metadata()?, fs::metadata(place.lock())?);
        let is_same = (handed_over.dev(), handed_over.ino()) == (wanted.dev(), wanted.ino());
        Ok(is_same && handed.try_lock().is_ok())
    };
    if !is_ours().is_ok_and(|ours| ours) {
        let reason = "a supervisor is started by orghost, which hands it a lock";
        return Err(Report::Refused(reason.to_owned()));
    }
    let container = disk::read(&place.container())?;
    container.ok_or_else(|| Report::Refused("its container was removed".to_owned()))
}
