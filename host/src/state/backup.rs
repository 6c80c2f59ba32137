//! Writes a state folder into one file and restores it: the database, the snapshots that it needs, and the installed
//! plugins. Never the encryption key, and never the folders in which the workspaces of the local engine work.
//!
//! The file is a tar archive. Its last entry lists the other entries with their digests, so that a truncated or altered
//! file is detected.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::model::diagnostic::Diagnostic;
use crate::model::digest::hex;
use crate::problem::{Class, Problem};
use crate::state::key_rotation::{self, EncryptedValueError};
use crate::state::snapshots::Snapshots;
use crate::state::store::{Store, StoreError};

const FORMAT: u32 = 1;
const LIST: &str = "backup.json";
const SNAPSHOTS: &str = "snapshots";
const PLUGINS: &str = "plugins";
/// The most bytes that are read of the list. It has about a hundred for each file.
const LIST_BYTES: u64 = 16 << 20;

/// The list of what a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// The version of the backup's format.
    format: u32,
    /// The identity of the state folder. The labels of its resources on an engine carry it.
    pub instance: String,
    /// The slugs of its orgs.
    pub orgs: Vec<String>,
    /// The ids of the encryption keys that its encrypted values need. More than one when a key rotation was not finished.
    pub keys: BTreeSet<String>,
    /// The SHA-256 of each file, in hexadecimal, by its name in the archive.
    files: BTreeMap<String, String>,
    /// Digests of snapshots that the store names but that were not in the state folder.
    pub missing: Vec<String>,
}

/// Why a backup was not written or not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file or a folder cannot be read or written.
    #[error("{path}: {reason}")]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        reason: io::Error,
    },
    /// The file exists already.
    #[error("{0} exists already")]
    Exists(PathBuf),
    /// The state folder is in use.
    #[error("the state folder {folder} is not empty: it has {found}")]
    NotEmpty {
        /// The state folder.
        folder: PathBuf,
        /// The name of the first entry in it.
        found: String,
    },
    /// A newer orghost wrote the backup.
    #[error("the backup has format {0}; this orghost knows formats up to {FORMAT}")]
    Newer(u32),
    /// The file is truncated, altered, or not a backup.
    #[error("the backup is damaged, or the file is not a backup: {0}")]
    Damaged(String),
    /// The encrypted values cannot be read.
    #[error(transparent)]
    Encrypted(#[from] EncryptedValueError),
    /// The store does not work.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn disk_error(path: &Path) -> impl Fn(io::Error) -> BackupError {
    move |reason| BackupError::Disk {
        path: path.to_owned(),
        reason,
    }
}

/// Writes a backup. Other processes may use the state folder meanwhile.
///
/// # Errors
/// [`BackupError::Exists`] when `file` exists, [`BackupError::Disk`], [`BackupError::Store`] or
/// [`BackupError::Encrypted`] when something cannot be read or written. No file is left then.
pub async fn write(store: &Store, state: &Path, file: &Path) -> Result<Backup, BackupError> {
    if file.try_exists().map_err(disk_error(file))? {
        return Err(BackupError::Exists(file.to_owned()));
    }
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let work = tempfile::Builder::new()
        .prefix(".backup-")
        .permissions(std::fs::Permissions::from_mode(0o700))
        .tempdir_in(folder)
        .map_err(disk_error(folder))?;
    let copied = store.copy_to(&work.path().join(Store::FILE)).await;
    copied.map_err(|error| match error {
        // The full disk is the one that the backup is written to, not the store's.
        StoreError::Full(_) => disk_error(file)(io::ErrorKind::StorageFull.into()),
        other => other.into(),
    })?;
    // Read the copy: the store may have changed since.
    let copy = Store::open(work.path())?;
    let used = copy.snapshots().await?;
    let snapshots = Snapshots::of(state);
    let mut backup = Backup {
        format: FORMAT,
        instance: copy.instance().as_str().to_owned(),
        orgs: copy.orgs().await?.into_iter().map(|org| org.slug).collect(),
        keys: key_rotation::keys(&copy, &snapshots).await?,
        files: BTreeMap::new(),
        missing: Vec::new(),
    };
    drop(copy);

    let path = work.path().join("backup.tar");
    let failed = disk_error(&path);
    let mut options = std::fs::OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let new = options.write(true).create_new(true).open(&path);
    let mut tar = tar::Builder::new(io::BufWriter::new(new.map_err(&failed)?));
    let mut add = |name: String, from: &Path| -> io::Result<()> {
        let file = File::open(from)?;
        let size = file.metadata()?.len();
        let mut digest = HashingReader::new(file);
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o600);
        header.set_size(size);
        tar.append_data(&mut header, &name, &mut digest)?;
        backup.files.insert(name, digest.end());
        Ok(())
    };
    let database = work.path().join(Store::FILE);
    add(Store::FILE.to_owned(), &database).map_err(disk_error(&database))?;
    for digest in used {
        let path = snapshots.file(&digest);
        match add(format!("{SNAPSHOTS}/{digest}.sealed"), &path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => backup.missing.push(digest),
            added => added.map_err(disk_error(&path))?,
        }
    }
    for (name, path) in plugin_files(&state.join(PLUGINS))? {
        add(format!("{PLUGINS}/{name}"), &path).map_err(disk_error(&path))?;
    }
    let list = serde_json::to_vec_pretty(&backup).unwrap_or_default();
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o600);
    header.set_size(list.len() as u64);
    let written = tar
        .append_data(&mut header, LIST, &*list)
        .and_then(|()| tar.into_inner())
        .and_then(|mut file| {
            file.flush()?;
            file.get_ref().sync_all()
        });
    written.map_err(&failed)?;
    rename_new(&path, file)?;
    Ok(backup)
}

/// Makes a state folder from a backup. The folder must be empty, except for `secret.key`.
///
/// # Errors
/// [`BackupError::NotEmpty`] for any other folder, [`BackupError::Damaged`] and [`BackupError::Newer`] for a file that
/// cannot be restored, [`BackupError::Disk`] and [`BackupError::Store`]. The folder has no store then.
pub async fn restore(file: &Path, state: &Path) -> Result<Backup, BackupError> {
    let failed = disk_error(state);
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state)
        .map_err(&failed)?;
    for entry in std::fs::read_dir(state).map_err(&failed)? {
        let name = entry.map_err(&failed)?.file_name();
        if name != "secret.key" {
            return Err(BackupError::NotEmpty {
                folder: state.to_owned(),
                found: name.to_string_lossy().into_owned(),
            });
        }
    }
    let work = tempfile::Builder::new()
        .prefix(".restore-")
        .permissions(std::fs::Permissions::from_mode(0o700))
        .tempdir_in(state)
        .map_err(&failed)?;
    let backup = unpack(file, work.path())?;
    let store = Store::open_sound(work.path())?;
    if store.instance().as_str() != backup.instance {
        return Err(BackupError::Damaged("it is put together of two".to_owned()));
    }
    for digest in store.snapshots().await? {
        let name = format!("{SNAPSHOTS}/{digest}.sealed");
        if !backup.files.contains_key(&name) && !backup.missing.contains(&digest) {
            return Err(BackupError::Damaged(format!("{name} is missing")));
        }
    }
    drop(store);
    // The database comes last: a folder without it has no store, so a partial restore is never used.
    for name in [SNAPSHOTS, PLUGINS, Store::FILE] {
        let from = work.path().join(name);
        if from.exists() {
            rename_new(&from, &state.join(name))?;
            #[cfg(feature = "fault-injection")]
            crate::fault::after_write();
        }
    }
    Ok(backup)
}

/// Renames a file or a folder without replacing anything.
fn rename_new(from: &Path, to: &Path) -> Result<(), BackupError> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::EXIST) => Err(BackupError::Exists(to.to_owned())),
        Err(error) => Err(disk_error(to)(error.into())),
    }
}

/// Writes every file of an archive below a folder, and compares them with the archive's list.
fn unpack(file: &Path, folder: &Path) -> Result<Backup, BackupError> {
    let damaged = |error: io::Error| BackupError::Damaged(error.to_string());
    let opened = File::open(file).map_err(disk_error(file))?;
    let mut archive = tar::Archive::new(io::BufReader::new(opened));
    let mut found = BTreeMap::new();
    let mut list = None;
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let path = entry.path().map_err(damaged)?.into_owned();
        let name = path.to_string_lossy().into_owned();
        if name == LIST {
            let mut text = Vec::new();
            let mut text_of = entry.by_ref().take(LIST_BYTES);
            text_of.read_to_end(&mut text).map_err(damaged)?;
            list = Some(parse(&text)?);
            continue;
        }
        if !is_ours(&path) || !entry.header().entry_type().is_file() {
            return Err(BackupError::Damaged(format!("unexpected entry {name:?}")));
        }
        let to = folder.join(&path);
        let written = || -> io::Result<String> {
            if let Some(parent) = to.parent() {
                std::fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(parent)?;
            }
            let mut options = std::fs::OpenOptions::new();
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut new = options.write(true).create_new(true).open(&to)?;
            let mut digest = HashingReader::new(entry);
            io::copy(&mut digest, &mut new)?;
            new.sync_all()?;
            Ok(digest.end())
        };
        found.insert(name, written().map_err(disk_error(&to))?);
    }
    let list: Backup =
        list.ok_or_else(|| BackupError::Damaged("it ends before its list of files".to_owned()))?;
    if list.files != found {
        let differs = |(name, digest): &(&String, &String)| found.get(*name) != Some(*digest);
        let first = list.files.iter().find(differs);
        let first = first.map_or("a file that is not listed", |(name, _)| name.as_str());
        return Err(BackupError::Damaged(format!(
            "{first} differs from the list of files"
        )));
    }
    if !found.contains_key(Store::FILE) {
        return Err(BackupError::Damaged("it has no database".to_owned()));
    }
    Ok(list)
}

fn parse(list: &[u8]) -> Result<Backup, BackupError> {
    /// The part that every format has.
    #[derive(Deserialize)]
    struct Form {
        format: u32,
    }
    let damaged = |error: serde_json::Error| BackupError::Damaged(error.to_string());
    let form: Form = serde_json::from_slice(list).map_err(damaged)?;
    if form.format > FORMAT {
        return Err(BackupError::Newer(form.format));
    }
    serde_json::from_slice(list).map_err(damaged)
}

fn is_ours(path: &Path) -> bool {
    let plain = path
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    let parts = path.components().count();
    let is_in = |folder| path.starts_with(folder) && parts > 1;
    plain && (path == Path::new(Store::FILE) || is_in(SNAPSHOTS) || is_in(PLUGINS))
}

/// The files of the plugin catalog, by their names below its folder.
fn plugin_files(folder: &Path) -> Result<BTreeMap<String, PathBuf>, BackupError> {
    let mut files = BTreeMap::new();
    let mut folders = vec![(String::new(), folder.to_owned())];
    while let Some((prefix, folder)) = folders.pop() {
        let failed = disk_error(&folder);
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries.map_err(&failed)?,
        };
        for entry in entries {
            let entry = entry.map_err(&failed)?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            let kind = entry.file_type().map_err(&failed)?;
            if kind.is_dir() {
                folders.push((format!("{name}/"), entry.path()));
            } else if kind.is_file() && name != "writer" {
                files.insert(name, entry.path());
            }
        }
    }
    Ok(files)
}

/// Computes the digest of everything that is read through it.
struct HashingReader<R> {
    inner: R,
    digest: Sha256,
}

impl<R> HashingReader<R> {
    fn new(inner: R) -> Self {
        Self {
            inner,
            digest: Sha256::new(),
        }
    }

    fn end(self) -> String {
        hex(self.digest.finalize())
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.digest.update(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}

impl From<BackupError> for Problem {
    fn from(error: BackupError) -> Self {
        let message = error.to_string();
        let (class, code, help) = match error {
            BackupError::Store(error) => return error.into(),
            BackupError::Encrypted(error) => return error.into(),
            BackupError::Disk { .. } => (
                Class::Failed,
                "backup-file",
                "check its permissions and the free space of its disk",
            ),
            BackupError::Exists(_) => (
                Class::Invalid,
                "backup-exists",
                "name another file; nothing is overwritten",
            ),
            BackupError::NotEmpty { .. } => (
                Class::Invalid,
                "state-not-empty",
                "name an empty folder with --state; only secret.key may be in it",
            ),
            BackupError::Newer(_) => (
                Class::Invalid,
                "backup-newer",
                "use the newer orghost; nothing was restored",
            ),
            BackupError::Damaged(_) => (
                Class::Invalid,
                "backup-damaged",
                "use another backup; nothing was restored",
            ),
        };
        Self::one(class, Diagnostic::new(code, message).help(help))
    }
}
