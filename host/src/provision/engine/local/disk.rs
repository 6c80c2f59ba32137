//! What the local engine keeps on disk, and nothing else does: the names of
//! the files of a workspace's folder, and the formats of those that hold facts.
//! Never reads or writes a workspace's own files.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::confine::Confinement;
use crate::model::env_map::EnvMap;
use crate::model::ids::OrgId;
use crate::model::isolation::{Isolation, Unconfined};
use crate::provision::engine::error::EngineError;
use crate::provision::generation::Generation;
use crate::provision::observed::{State, VolumeKind};

/// The version of everything here. A file of another version is not understood, and never touched.
pub const VERSION: u32 = 1;

/// The folder of one generation, and that of its workspace: the same for the
/// first generation, and for a later one its number in it.
#[derive(Debug, Clone)]
pub struct WorkspaceFolder {
    folder: PathBuf,
    home: PathBuf,
}

/// `container.json`: what was made, and everything that its supervisor needs.
/// It is there exactly as long as the container is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// See [`VERSION`].
    pub version: u32,
    /// The host's instance.
    pub instance: String,
    /// The org's slug.
    pub org: String,
    /// The workspace's key.
    pub key: String,
    /// The spec's digest.
    pub spec: String,
    /// The operation that made it.
    pub operation: String,
    /// The program, an absolute path, and its arguments; never empty.
    pub command: Vec<String>,
    /// What the program is kept from; absent in a container that an earlier orghost made, which confined nothing.
    #[serde(default)]
    pub confinement: Option<Confinement>,
    /// The whole environment of the program but `PORT`.
    pub env: EnvMap,
    /// Where the program is started.
    pub directory: PathBuf,
    /// Milliseconds between TERM and KILL.
    pub grace_ms: u64,
}

/// `configs.json` and `workspace.json`: whose volume it is. Written before
/// the volume's folder is made; without the folder it means nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// See [`VERSION`].
    pub version: u32,
    /// The host's instance.
    pub instance: String,
    /// The org's slug.
    pub org: String,
    /// The operation that made it.
    pub operation: String,
}

/// `run.json`: the supervisor's run_state, replaced at every change. Whether it
/// still holds, the lock says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunState {
    /// See [`VERSION`].
    pub version: u32,
    /// The supervisor's process.
    pub supervisor: i32,
    /// The program's process, and its group.
    pub child: Option<i32>,
    /// The port that the program was given.
    pub port: Option<u16>,
    /// How often the program was started again.
    pub restarts: u32,
    /// How it ended the last time; absent for a signal.
    pub exit_code: Option<i32>,
    /// What the supervisor is at.
    pub phase: Phase,
}

/// See [`RunState`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The program was not started yet.
    Starting,
    /// The program runs.
    Running,
    /// The program ended and is about to be started again.
    Waiting,
    /// Somebody wanted it to end, and it did.
    Ended,
}

/// Held for as long as a supervisor lives.
#[derive(Debug)]
pub struct Lock(pub File);

impl WorkspaceFolder {
    /// The folder of a generation below the engine's folder.
    pub fn new(engine: &Path, generation: &Generation) -> Self {
        let home = engine.join(generation.id.as_str());
        let folder = match generation.number {
            0 => home.clone(),
            number => home.join(number.to_string()),
        };
        Self { folder, home }
    }

    /// A generation's folder whose path is known.
    pub fn at(folder: &Path) -> Self {
        let name = folder.file_name().and_then(|name| name.to_str());
        let home = match name.and_then(number) {
            Some(_) => folder.parent().unwrap_or(folder),
            None => folder,
        };
        Self {
            folder: folder.to_owned(),
            home: home.to_owned(),
        }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// See [`Container`].
    pub fn container(&self) -> PathBuf {
        self.folder.join("container.json")
    }

    /// See [`RunState`].
    pub fn run_state(&self) -> PathBuf {
        self.folder.join("run.json")
    }

    /// The file that a supervisor locks.
    pub fn lock(&self) -> PathBuf {
        self.folder.join("lock")
    }

    /// What the program prints.
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// What it printed before that.
    pub fn old_log(&self) -> PathBuf {
        self.folder.join("log.1")
    }

    /// A home for programs that have no workspace of their own; goes with the container.
    pub fn scratch(&self) -> PathBuf {
        self.folder.join("scratch")
    }

    /// The folder of a volume.
    pub fn volume(&self, kind: VolumeKind) -> PathBuf {
        self.above(kind).join(kind.to_string())
    }

    /// See [`Volume`].
    pub fn volume_facts(&self, kind: VolumeKind) -> PathBuf {
        self.above(kind).join(format!("{kind}.json"))
    }

    /// Each generation has a seed of its own; the agent's work is the workspace's.
    fn above(&self, kind: VolumeKind) -> &Path {
        match kind {
            VolumeKind::Configs => &self.folder,
            VolumeKind::Workspace => &self.home,
        }
    }

    /// The numbers of the later generations that have a folder here.
    ///
    /// # Errors
    /// The operating system's.
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

    /// Makes the folder. Nobody else may look into it: it holds secrets.
    ///
    /// # Errors
    /// The operating system's.
    pub fn make(&self) -> Result<(), EngineError> {
        make_folder(&self.folder)
    }

    /// Removes the folders when nothing is left in them but writes that were cut off.
    pub fn tidy(&self) {
        if self.container().exists() {
            return;
        }
        let facts =
            [VolumeKind::Configs, VolumeKind::Workspace].map(|kind| self.volume_facts(kind));
        for path in facts.iter().chain([&self.container(), &self.run_state()]) {
            let _ = fs::remove_file(new(path));
        }
        let _ = fs::remove_dir(&self.folder);
        let _ = fs::remove_dir(&self.home);
    }

    /// Whether a supervisor lives.
    ///
    /// # Errors
    /// The operating system's.
    pub fn is_supervised(&self) -> Result<bool, EngineError> {
        let path = self.lock();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(unusable(&path, &e)),
        };
        // Shared, so that two who look do not see each other.
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(e)) => Err(unusable(&path, &e)),
        }
    }

    /// The container's state. The lock is looked at before the run_state: a
    /// supervisor writes its last words before it lets go.
    ///
    /// # Errors
    /// The operating system's, and a file that is not understood.
    pub fn state(&self) -> Result<(State, Option<u16>), EngineError> {
        let mut is_supervised = self.is_supervised()?;
        let mut run_state: Option<RunState> = read(&self.run_state())?;
        if !is_supervised && run_state.as_ref().is_some_and(|d| d.phase != Phase::Ended) {
            // Either it died, or it was started just now.
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
            // It went down with its supervisor, and nobody saw how.
            Phase::Running | Phase::Waiting => (State::Exited { exit_code: None }, None),
            Phase::Ended => (State::Exited { exit_code }, None),
        })
    }
}

impl Container {
    /// What its program is kept from.
    pub fn isolation(&self) -> Isolation {
        let unconfined = || Isolation::None {
            reason: Unconfined::MadeEarlier,
        };
        let confinement = self.confinement.as_ref();
        confinement.map_or_else(unconfined, Confinement::isolation)
    }

    /// Whether it is of this org of this host.
    pub fn belongs_to(&self, org: &OrgId) -> bool {
        self.instance == org.instance().as_str() && self.org == org.slug()
    }
}

impl Volume {
    /// Whether it is of this org of this host.
    pub fn belongs_to(&self, org: &OrgId) -> bool {
        self.instance == org.instance().as_str() && self.org == org.slug()
    }
}

/// The number of a later generation, from its folder's name.
fn number(name: &str) -> Option<u32> {
    let number: u32 = name.parse().ok()?;
    (number > 0 && number.to_string() == name).then_some(number)
}

/// Makes a folder that only this user may look into, and those above it.
///
/// # Errors
/// The operating system's.
pub fn make_folder(path: &Path) -> Result<(), EngineError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(path).map_err(|e| unusable(path, &e))
}

/// Reads one file of facts; `None` when it is not there.
///
/// # Errors
/// The operating system's, and a file that is not understood.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, EngineError> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let not_understood = |reason: String| EngineError::Folder {
        path: path.display().to_string(),
        reason,
    };
    let bytes = match fs::read(path) {
        // A power cut may leave this of a run_state.
        Ok(bytes) if bytes.is_empty() => return Ok(None),
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(unusable(path, &e)),
    };
    let Versioned { version } =
        serde_json::from_slice(&bytes).map_err(|e| not_understood(e.to_string()))?;
    if version != VERSION {
        let reason = format!("it has version {version}; this orghost knows version {VERSION}");
        return Err(not_understood(reason));
    }
    let facts = serde_json::from_slice(&bytes).map_err(|e| not_understood(e.to_string()))?;
    Ok(Some(facts))
}

/// Writes one file of facts, mode 0600, so that a reader sees the old or the new one.
///
/// # Errors
/// The operating system's.
pub fn write(path: &Path, facts: &impl Serialize) -> io::Result<()> {
    write_new(path, facts)?;
    fs::rename(new(path), path)
}

/// As [`write`], and also after a power cut: for what says whose something is.
///
/// # Errors
/// The operating system's.
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

/// Where the next version of a file of facts is written.
fn new(path: &Path) -> PathBuf {
    path.with_extension("json.new")
}

/// Removes a file. Not there is success.
///
/// # Errors
/// The operating system's.
pub fn remove_file(path: &Path) -> Result<(), EngineError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(unusable(path, &e)),
        _ => Ok(()),
    }
}

/// An error of the operating system in the engine's terms: the one place that knows which is which.
pub fn unusable(path: &Path, error: &io::Error) -> EngineError {
    let path = path.display().to_string();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => EngineError::NoSpace(path),
        _ => EngineError::Folder {
            path,
            reason: error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::WorkspaceId;

    #[test]
    fn what_is_not_understood_is_not_guessed_at() {
        let folder = tempfile::tempdir().unwrap();
        let place = WorkspaceFolder::at(folder.path());
        let path = place.run_state();
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
    fn a_later_generation_has_a_folder_of_its_own_and_shares_the_work() {
        let id = WorkspaceId::parse(&"0".repeat(32)).unwrap();
        let engine = Path::new("/e");
        let first = Generation::first(&id);
        let home = engine.join(id.as_str());
        for (generation, folder) in [
            (first.clone(), home.clone()),
            (first.next(), home.join("1")),
        ] {
            let place = WorkspaceFolder::new(engine, &generation);
            assert_eq!(place.path(), folder);
            assert_eq!(place.volume(VolumeKind::Configs), folder.join("configs"));
            for place in [&place, &WorkspaceFolder::at(&folder)] {
                assert_eq!(place.volume(VolumeKind::Workspace), home.join("workspace"));
            }
        }
        for name in ["0", "01", "+1", "scratch", "4294967296"] {
            assert_eq!(number(name), None, "{name}");
        }
    }

    #[test]
    fn a_full_disk_has_its_own_name() {
        let full = unusable(Path::new("/x"), &io::ErrorKind::StorageFull.into());
        assert_eq!(full, EngineError::NoSpace("/x".to_owned()));
    }

    #[test]
    fn the_lock_says_whether_the_diary_still_holds() {
        let folder = tempfile::tempdir().unwrap();
        let place = WorkspaceFolder::at(folder.path());
        assert_eq!(place.state().unwrap(), (State::Created, None));
        let lock = File::create(place.lock()).unwrap();
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
            write(&place.run_state(), &run_state).unwrap();
            assert_eq!(place.state().unwrap().0, dead);
            lock.try_lock().unwrap();
            assert_eq!(place.state().unwrap().0, alive);
            lock.unlock().unwrap();
        }
    }
}
