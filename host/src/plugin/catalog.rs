//! The catalog of installed plugins: content-addressed files, and a lock that pins each name to one of them. Only a plugin
//! that met the operator's requirements is pinned, and only pinned files are read.

pub mod lock;
pub mod registry;
pub mod requirements;
pub mod signature;

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File};
use std::io::Read as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::atomic_file::write_atomically;
use crate::limits;
use crate::model::diagnostic::Diagnostic;
use crate::model::plugin::{BUILT_IN, PluginDigest, PluginName};
use crate::plugin::sandbox::Description;
use crate::problem::{Class, Problem};
use lock::{Lock, Pin, Quarantined};
use requirements::{Refusal, VerifiedPlugin};

/// A plugin file that was read from a path, a registry or the catalog.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The bytes of the file.
    pub bytes: Vec<u8>,
    /// The text of its signature, if it has one.
    pub signature: Option<String>,
    /// The path or the registry reference, as the operator wrote it.
    pub source: String,
    /// The digest of the registry's manifest that the tag pointed to. `None` for a file.
    pub manifest: Option<String>,
}

/// The folder of installed plugins in a state folder.
#[derive(Debug, Clone)]
pub struct Catalog {
    folder: PathBuf,
}

/// Why the catalog cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// No plugin of this name is installed.
    #[error("the plugin {0} is not installed")]
    NotInstalled(PluginName),
    /// The file on the disk is not the one that was installed.
    #[error("the installed file of {digest} was altered: its digest is {found}")]
    Altered {
        /// The digest in the lock.
        digest: PluginDigest,
        /// The digest of the file.
        found: PluginDigest,
    },
    /// The name belongs to the built-in plugin.
    #[error("the name {BUILT_IN} is reserved for the built-in plugin")]
    Reserved,
    /// The lock is not valid.
    #[error("the lock {file} is not valid: {reason}")]
    Lock {
        /// The lock's path.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file or a folder of the catalog cannot be read or written.
    #[error("{file} cannot be used: {reason}")]
    Disk {
        /// The path of the file or the folder.
        file: PathBuf,
        /// The error of the operating system.
        reason: std::io::Error,
    },
}

const LOCK: &str = "plugins.lock";

/// Its name in earlier versions, which the write lock of the state folder has, too.
const OLD_LOCK: &str = "orghost.lock";
const LOCK_VERSION: u32 = 1;
const HEADER: &str = "# The installed plugins of this state folder, pinned by digest.\n\
                      # Written by `orghost plugin add` and `remove`, not by hand; what each may do is in orghost.toml.\n\n";

impl Catalog {
    /// The catalog of a state folder. Nothing is read or created yet.
    pub fn of(state: &Path) -> Self {
        Self {
            folder: state.join("plugins"),
        }
    }

    /// Reads the lock. Without a lock file nothing is installed.
    ///
    /// # Errors
    /// [`CatalogError::Disk`] when the file cannot be read, and [`CatalogError::Lock`] when it is not valid.
    pub fn lock(&self) -> Result<Lock, CatalogError> {
        for name in [LOCK, OLD_LOCK] {
            let file = self.folder.join(name);
            match read(&file, limits::PLUGIN_LOCK_BYTES) {
                Ok(bytes) => {
                    return parse(bytes).map_err(|reason| CatalogError::Lock { file, reason });
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(reason) => return Err(CatalogError::Disk { file, reason }),
            }
        }
        Ok(Lock::default())
    }

    /// The pin of a name.
    ///
    /// # Errors
    /// [`CatalogError::NotInstalled`], and those of [`Catalog::lock`].
    pub fn pin(&self, name: &PluginName) -> Result<Pin, CatalogError> {
        let mut lock = self.lock()?;
        lock.plugins
            .remove(name)
            .ok_or_else(|| CatalogError::NotInstalled(name.clone()))
    }

    /// Reads the pinned file of a name and its signature, and checks the file's digest.
    ///
    /// # Errors
    /// [`CatalogError::Altered`] when the digest is another one, [`CatalogError::Disk`] when the file cannot be read, and
    /// those of [`Catalog::pin`].
    pub fn fetch(&self, name: &PluginName) -> Result<Fetched, CatalogError> {
        let pin = self.pin(name)?;
        match self.fetch_pinned(&pin) {
            // Another process changed the pin meanwhile and removed the old file.
            Err(_) if self.pin(name)? != pin => self.fetch_pinned(&self.pin(name)?),
            fetched => fetched,
        }
    }

    fn fetch_pinned(&self, pin: &Pin) -> Result<Fetched, CatalogError> {
        let file = self.blob(&pin.digest, "wasm");
        let bytes = read(&file, limits::PLUGIN_FILE_BYTES)
            .map_err(|reason| CatalogError::Disk { file, reason })?;
        let found = PluginDigest::of(&bytes);
        if found != pin.digest {
            return Err(CatalogError::Altered {
                digest: pin.digest.clone(),
                found,
            });
        }
        let signature = read_signature(&self.blob(&pin.digest, "wasm.minisig"))?;
        Ok(Fetched {
            bytes,
            signature,
            source: pin.source.clone(),
            manifest: pin.manifest.clone(),
        })
    }

    /// Stores a verified plugin and pins its name to it. It also removes the name's entry in the quarantine.
    ///
    /// # Errors
    /// [`CatalogError::Reserved`] for the built-in plugin's name, [`CatalogError::Disk`] when the file cannot be written, and
    /// those of [`Catalog::lock`].
    pub fn install(
        &self,
        name: &PluginName,
        fetched: &Fetched,
        verified: VerifiedPlugin,
        description: Description,
    ) -> Result<Pin, CatalogError> {
        if name.is_built_in() {
            return Err(CatalogError::Reserved);
        }
        let pin = Pin {
            source: fetched.source.clone(),
            manifest: fetched.manifest.clone(),
            version: description.version,
            digest: verified.digest,
            signed_by: verified.signed_by,
        };
        self.change(|lock| {
            self.write(&self.blob(&pin.digest, "wasm"), &fetched.bytes)?;
            if let Some(signature) = &fetched.signature {
                self.write(
                    &self.blob(&pin.digest, "wasm.minisig"),
                    signature.as_bytes(),
                )?;
            }
            lock.plugins.insert(name.clone(), pin.clone());
            lock.quarantine.remove(name);
            Ok(())
        })?;
        Ok(pin)
    }

    /// Records why a newer file of an installed plugin was refused. The result says whether the plugin is installed; if it is
    /// not, nothing is recorded.
    ///
    /// # Errors
    /// [`CatalogError::Disk`] when the lock cannot be written, and those of [`Catalog::lock`].
    pub fn quarantine(
        &self,
        name: &PluginName,
        fetched: &Fetched,
        refusal: &Refusal,
    ) -> Result<bool, CatalogError> {
        if !self.lock()?.plugins.contains_key(name) {
            return Ok(false);
        }
        let refused = Quarantined {
            digest: PluginDigest::of(&fetched.bytes),
            source: fetched.source.clone(),
            reason: refusal.to_string(),
        };
        self.change(|lock| {
            let is_installed = lock.plugins.contains_key(name);
            if is_installed {
                lock.quarantine.insert(name.clone(), refused);
            }
            Ok(is_installed)
        })
    }

    /// Removes a name from the lock, and its file if no other name is pinned to it.
    ///
    /// # Errors
    /// [`CatalogError::NotInstalled`], [`CatalogError::Disk`] when the lock cannot be written, and those of
    /// [`Catalog::lock`].
    pub fn remove(&self, name: &PluginName) -> Result<Pin, CatalogError> {
        self.pin(name)?;
        self.change(|lock| {
            lock.quarantine.remove(name);
            lock.plugins
                .remove(name)
                .ok_or_else(|| CatalogError::NotInstalled(name.clone()))
        })
    }

    /// Changes the lock while no other process does, and then removes the files that it no longer names.
    fn change<T>(
        &self,
        body: impl FnOnce(&mut Lock) -> Result<T, CatalogError>,
    ) -> Result<T, CatalogError> {
        let blobs = self.folder.join("sha256");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&blobs)
            .map_err(|reason| disk(&blobs, reason))?;
        // The file is locked until it is closed at the end. A wait for it is short, because nothing is fetched or compiled
        // under the lock.
        let writer = self.folder.join("writer");
        let writing = File::create(&writer).map_err(|reason| disk(&writer, reason))?;
        writing.lock().map_err(|reason| disk(&writer, reason))?;
        let mut lock = self.lock()?;
        lock.version = LOCK_VERSION;
        let result = body(&mut lock)?;
        let file = self.folder.join(LOCK);
        let text = toml::to_string(&lock).map_err(|error| CatalogError::Lock {
            file: file.clone(),
            reason: error.to_string(),
        })?;
        self.write(&file, format!("{HEADER}{text}").as_bytes())?;
        // The file of the old name holds what was true before. It is not read while the new one is there.
        let _ = std::fs::remove_file(self.folder.join(OLD_LOCK));
        sweep(&blobs, &lock);
        Ok(result)
    }

    fn blob(&self, digest: &PluginDigest, extension: &str) -> PathBuf {
        let name = format!("{}.{extension}", digest.as_str());
        self.folder.join("sha256").join(name)
    }

    fn write(&self, file: &Path, bytes: &[u8]) -> Result<(), CatalogError> {
        write_atomically(file, bytes, 0o600).map_err(|reason| disk(file, reason))
    }
}

/// Removes the files that no pin names. A file that cannot be removed is tried again at the next change.
fn sweep(blobs: &Path, lock: &Lock) {
    let pinned: BTreeSet<&str> = lock
        .plugins
        .values()
        .map(|pin| pin.digest.as_str())
        .collect();
    let entries = std::fs::read_dir(blobs).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let digest = name.to_str().and_then(|name| name.split('.').next());
        if digest.is_none_or(|digest| !pinned.contains(digest)) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Reads the text of a signature file. `None` when there is no such file.
///
/// # Errors
/// [`CatalogError::Disk`] when the file cannot be read or is larger than [`limits::SIGNATURE_BYTES`].
pub fn read_signature(file: &Path) -> Result<Option<String>, CatalogError> {
    match read(file, limits::SIGNATURE_BYTES as u64) {
        // Bytes that are not UTF-8 are refused later, as a malformed signature.
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(reason) => Err(disk(file, reason)),
    }
}

fn parse(bytes: Vec<u8>) -> Result<Lock, String> {
    let text = String::from_utf8(bytes).map_err(|error| error.to_string())?;
    let lock: Lock = toml::from_str(&text).map_err(|error| error.message().to_owned())?;
    match lock.version {
        LOCK_VERSION => Ok(lock),
        found => Err(format!(
            "it has version {found}, and this orghost supports version {LOCK_VERSION}"
        )),
    }
}

fn read(file: &Path, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(std::io::Error::new(
            std::io::ErrorKind::FileTooLarge,
            format!("it is larger than {limit} bytes"),
        ));
    }
    Ok(bytes)
}

fn disk(file: &Path, reason: std::io::Error) -> CatalogError {
    CatalogError::Disk {
        file: file.to_owned(),
        reason,
    }
}

impl From<CatalogError> for Problem {
    fn from(error: CatalogError) -> Self {
        let (class, code, help) = match &error {
            CatalogError::NotInstalled(_) => (
                Class::Invalid,
                "plugin-not-installed",
                "`orghost plugin list` shows the installed plugins; `orghost plugin add FILE|REF` installs one",
            ),
            CatalogError::Altered { .. } => (
                Class::Refused,
                "plugin-altered",
                "install it again with orghost plugin add, and find out who wrote to the state folder",
            ),
            CatalogError::Reserved => (
                Class::Invalid,
                "plugin-name",
                "choose another name with --name",
            ),
            CatalogError::Lock { .. } => (
                Class::Failed,
                "plugin-lock",
                "repair it, or remove it and install the plugins again",
            ),
            CatalogError::Disk { .. } => (
                Class::Failed,
                "plugin-store",
                "check its permissions and the free disk space; if a plugin's file is missing, install the plugin again",
            ),
        };
        Self::one(class, Diagnostic::new(code, error.to_string()).help(help))
    }
}
