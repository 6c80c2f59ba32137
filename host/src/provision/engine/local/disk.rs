//! The folder of a workspace on disk: the names of its files, and how the files with facts are read and written.
//!
//! Only the local engine uses these files. This module never reads or writes a workspace's own files.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::model::ids::OrgId;
use crate::provision::engine::error::EngineError;
pub(super) use crate::provision::engine::folder::unusable;
use crate::provision::generation::Generation;
use crate::provision::observed::{State, VolumeKind};

/// The version of the formats. A file of another version is an error, and is never changed.
pub const VERSION: u32 = 1;

/// The folder of one generation. The first generation is in the folder of its workspace, and a later one is in a folder
/// inside of that, named by its number. Proves nothing about whether the folder is there.
#[derive(Debug, Clone)]
pub struct WorkspaceFolder {
    path: PathBuf,
    /// The folder of the workspace.
    home: PathBuf,
}

/// `configs.json` and `workspace.json`: whose volume it is. Written before the volume's folder is made; without that folder
/// there is no volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Always [`VERSION`].
    pub version: u32,
    /// The identity of the host's instance.
    pub instance: String,
    /// The org's slug.
    pub org: String,
    /// The identity of the operation that made it.
    pub operation: String,
}

/// `run.json`: the state of a supervisor and its program, replaced at every change. It is current only while a supervisor
/// holds the lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunState {
    /// Always [`VERSION`].
    pub version: u32,
    /// The process id of the supervisor.
    pub supervisor: i32,
    /// The process id of the program, which is also its process group. Absent when it does not run.
    pub child: Option<i32>,
    /// The port that the program was given, on 127.0.0.1.
    pub port: Option<u16>,
    /// How often the program was restarted.
    pub restarts: u32,
    /// Its last exit code; absent when a signal ended it.
    pub exit_code: Option<i32>,
    /// What the supervisor is doing.
    pub phase: Phase,
}

/// What a supervisor is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The program was not started yet.
    Starting,
    /// The program runs.
    Running,
    /// The program ended, and is about to be restarted.
    Waiting,
    /// The program was asked to end, and did.
    Ended,
}

/// The exclusive lock of a folder, which a supervisor holds for as long as it lives.
#[derive(Debug)]
pub struct Lock(pub File);

impl WorkspaceFolder {
    /// The folder of a generation, in the engine's folder.
    pub fn new(engine: &Path, generation: &Generation) -> Self {
        let home = engine.join(generation.id.as_str());
        let path = match generation.number {
            0 => home.clone(),
            number => home.join(number.to_string()),
        };
        Self { path, home }
    }

    /// The folder of a generation at this path.
    pub fn at(path: &Path) -> Self {
        let name = path.file_name().and_then(|name| name.to_str());
        let home = match name.and_then(number) {
            Some(_) => path.parent().unwrap_or(path),
            None => path,
        };
        Self {
            path: path.to_owned(),
            home: home.to_owned(),
        }
    }

    /// The path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `container.json`. While it is there, there is a container.
    pub fn container(&self) -> PathBuf {
        self.path.join("container.json")
    }

    /// `run.json`, which holds a [`RunState`].
    pub fn run_state(&self) -> PathBuf {
        self.path.join("run.json")
    }

    /// `lock`, the file that a supervisor keeps locked.
    pub fn lock(&self) -> PathBuf {
        self.path.join("lock")
    }

    /// `log`, the newest output of the program.
    pub fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// `log.1`, the output before that.
    pub fn old_log(&self) -> PathBuf {
        self.path.join("log.1")
    }

    /// `scratch`, the folder for temporary files, removed with the container.
    pub fn scratch(&self) -> PathBuf {
        self.path.join("scratch")
    }

    /// The folder of a volume: `configs` or `workspace`.
    pub fn volume(&self, kind: VolumeKind) -> PathBuf {
        self.parent_of(kind).join(kind.to_string())
    }

    /// `configs.json` or `workspace.json`, which holds a [`Volume`].
    pub fn volume_facts(&self, kind: VolumeKind) -> PathBuf {
        self.parent_of(kind).join(format!("{kind}.json"))
    }

    /// The folder that contains a volume. Each generation has its own seed; all share the agent's work.
    fn parent_of(&self, kind: VolumeKind) -> &Path {
        match kind {
            VolumeKind::Configs => &self.path,
            VolumeKind::Workspace => &self.home,
        }
    }

    /// The numbers of the later generations that have a folder.
    ///
    /// # Errors
    /// [`EngineError::Folder`] when the folder cannot be listed.
    pub fn later(&self) -> Result<Vec<u32>, EngineError> {
        let listing = match fs::read_dir(&self.home) {
            Ok(listing) => listing,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(unusable(&self.home, &e)),
        };
        let mut numbers = Vec::new();
        for entry in listing {
            let name = entry.map_err(|e| unusable(&self.home, &e))?.file_name();
            numbers.extend(name.to_str().and_then(number));
        }
        Ok(numbers)
    }

    /// Makes the folder, with access only for this user, because it holds secrets.
    ///
    /// # Errors
    /// [`EngineError::Folder`] or [`EngineError::NoSpace`] when it cannot be made.
    pub fn make(&self) -> Result<(), EngineError> {
        make_folder(&self.path)
    }

    /// Removes the folders if nothing is left in them but unfinished writes.
    pub fn remove_if_empty(&self) {
        if self.container().exists() {
            return;
        }
        let facts =
            [VolumeKind::Configs, VolumeKind::Workspace].map(|kind| self.volume_facts(kind));
        for path in facts.iter().chain([&self.container(), &self.run_state()]) {
            let _ = fs::remove_file(new(path));
        }
        let _ = fs::remove_dir(&self.path);
        let _ = fs::remove_dir(&self.home);
    }

    /// Whether a supervisor lives.
    ///
    /// # Errors
    /// [`EngineError::Folder`] when the lock cannot be read.
    pub fn is_supervised(&self) -> Result<bool, EngineError> {
        let path = self.lock();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(unusable(&path, &e)),
        };
        // The lock is shared, so that two processes that check at the same time do not see each other.
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(e)) => Err(unusable(&path, &e)),
        }
    }

    /// The container's state, and the port of its program. The lock is checked before `run.json` is read, because a
    /// supervisor writes that file for the last time before it releases the lock.
    ///
    /// # Errors
    /// [`EngineError::Folder`] when a file cannot be read or understood.
    pub fn state(&self) -> Result<(State, Option<u16>), EngineError> {
        let mut is_supervised = self.is_supervised()?;
        let mut run_state: Option<RunState> = read(&self.run_state())?;
        if !is_supervised && run_state.as_ref().is_some_and(|d| d.phase != Phase::Ended) {
            // Either the supervisor died, or it was started just now.
            is_supervised = self.is_supervised()?;
            run_state = read(&self.run_state())?;
        }
        let Some(run_state) = run_state else {
            return Ok((State::Created, None));
        };
        let exit_code = run_state.exit_code;
        Ok(match run_state.phase {
            Phase::Starting => (State::Created, None),
            Phase::Running if is_supervised => (State::Running, run_state.port),
            Phase::Waiting if is_supervised => {
                let restarts = run_state.restarts;
                let state = State::Restarting {
                    restarts,
                    exit_code,
                };
                (state, run_state.port)
            }
            // The program died with its supervisor, so its exit code is unknown.
            Phase::Running | Phase::Waiting => (State::Exited { exit_code: None }, None),
            Phase::Ended => (State::Exited { exit_code }, None),
        })
    }
}

impl Volume {
    /// Whether it belongs to this org of this host.
    pub fn belongs_to(&self, org: &OrgId) -> bool {
        self.instance == org.instance().as_str() && self.org == org.slug()
    }
}

/// The number of a later generation, from the name of its folder.
fn number(name: &str) -> Option<u32> {
    let number: u32 = name.parse().ok()?;
    (number > 0 && number.to_string() == name).then_some(number)
}

/// Makes a folder, and the folders above it, with access only for this user.
///
/// # Errors
/// [`EngineError::Folder`] or [`EngineError::NoSpace`] when it cannot be made.
pub fn make_folder(path: &Path) -> Result<(), EngineError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(path).map_err(|e| unusable(path, &e))
}

/// Reads a file of facts. `None`: it is not there.
///
/// # Errors
/// [`EngineError::Folder`] when it cannot be read, or has another version or format.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, EngineError> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let invalid = |reason: String| EngineError::Folder {
        path: path.display().to_string(),
        reason,
    };
    let bytes = match fs::read(path) {
        // A power failure may leave an empty `run.json`.
        Ok(bytes) if bytes.is_empty() => return Ok(None),
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(unusable(path, &e)),
    };
    let Versioned { version } =
        serde_json::from_slice(&bytes).map_err(|e| invalid(e.to_string()))?;
    if version != VERSION {
        let reason = format!("it has version {version}; this orghost knows version {VERSION}");
        return Err(invalid(reason));
    }
    let facts = serde_json::from_slice(&bytes).map_err(|e| invalid(e.to_string()))?;
    Ok(Some(facts))
}

/// Writes a file of facts with mode 0600. A reader sees either the old or the new content.
///
/// # Errors
/// The error of the operating system when it cannot be written.
pub fn write(path: &Path, facts: &impl Serialize) -> io::Result<()> {
    write_new(path, facts)?;
    fs::rename(new(path), path)
}

/// Like [`write`], and also after a power failure. For files that say whose a resource is.
///
/// # Errors
/// The error of the operating system when it cannot be written.
pub fn write_durably(path: &Path, facts: &impl Serialize) -> io::Result<()> {
    write_new(path, facts)?.sync_data()?;
    fs::rename(new(path), path)
}

fn write_new(path: &Path, facts: &impl Serialize) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(new(path))?;
    file.write_all(&serde_json::to_vec(facts)?)?;
    Ok(file)
}

/// The path at which the new content of a file is written first.
fn new(path: &Path) -> PathBuf {
    path.with_extension("json.new")
}

/// Removes a file. Succeeds also when it is not there.
///
/// # Errors
/// [`EngineError::Folder`] when it cannot be removed.
pub fn remove_file(path: &Path) -> Result<(), EngineError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(unusable(path, &e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::WorkspaceId;

    #[test]
    fn an_invalid_file_is_an_error() {
        let temp = tempfile::tempdir().unwrap();
        let folder = WorkspaceFolder::at(temp.path());
        let path = folder.run_state();
        assert_eq!(read::<RunState>(&path).unwrap(), None);
        for (text, words) in [
            ("{", "EOF"),
            ("{}", "version"),
            (r#"{"version":2,"new":true}"#, "version 2"),
            (r#"{"version":1}"#, "supervisor"),
        ] {
            fs::write(&path, text).unwrap();
            let error = read::<RunState>(&path).unwrap_err();
            assert_eq!(error.code(), "folder");
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn a_later_generation_has_its_own_folder_and_shares_the_work() {
        let id = WorkspaceId::parse(&"0".repeat(32)).unwrap();
        let engine = Path::new("/e");
        let first = Generation::first(&id);
        let home = engine.join(id.as_str());
        for (generation, path) in [
            (first.clone(), home.clone()),
            (first.next(), home.join("1")),
        ] {
            let folder = WorkspaceFolder::new(engine, &generation);
            assert_eq!(folder.path(), path);
            assert_eq!(folder.volume(VolumeKind::Configs), path.join("configs"));
            for folder in [&folder, &WorkspaceFolder::at(&path)] {
                assert_eq!(folder.volume(VolumeKind::Workspace), home.join("workspace"));
            }
        }
        for name in ["0", "01", "+1", "scratch", "4294967296"] {
            assert_eq!(number(name), None, "{name}");
        }
    }

    #[test]
    fn the_run_state_is_current_only_while_the_lock_is_held() {
        let temp = tempfile::tempdir().unwrap();
        let folder = WorkspaceFolder::at(temp.path());
        assert_eq!(folder.state().unwrap(), (State::Created, None));
        let lock = File::create(folder.lock()).unwrap();
        let mut run_state = RunState {
            version: VERSION,
            supervisor: 1,
            child: None,
            port: Some(80),
            restarts: 2,
            exit_code: Some(3),
            phase: Phase::Starting,
        };
        let exited = |exit_code| State::Exited { exit_code };
        let restarting = State::Restarting {
            restarts: 2,
            exit_code: Some(3),
        };
        for (phase, dead, alive) in [
            (Phase::Starting, State::Created, State::Created),
            (Phase::Running, exited(None), State::Running),
            (Phase::Waiting, exited(None), restarting),
            (Phase::Ended, exited(Some(3)), exited(Some(3))),
        ] {
            run_state.phase = phase;
            write(&folder.run_state(), &run_state).unwrap();
            assert_eq!(folder.state().unwrap().0, dead);
            lock.try_lock().unwrap();
            assert_eq!(folder.state().unwrap().0, alive);
            lock.unlock().unwrap();
        }
    }
}
