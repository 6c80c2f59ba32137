//! The installed plugins: content-addressed files, and a lock that pins each
//! name to one of them. Never runs what is not pinned, and moves a pin only
//! to a plugin that met all that the operator demands of its name.

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

/// A plugin file on its way in, and where it comes from.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The file.
    pub bytes: Vec<u8>,
    /// The text of its signature, where it has one.
    pub signature: Option<String>,
    /// As the operator wrote it: a path or a reference.
    pub source: String,
    /// The digest of the registry's manifest: what a tag stood for.
    pub manifest: Option<String>,
}

/// The folder of installed plugins in a state folder. Opening it touches nothing.
#[derive(Debug, Clone)]
pub struct Catalog {
    folder: PathBuf,
}

/// Why the catalog does not have a plugin, or does not work.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// Nothing of that name is installed.
    #[error("there is no installed plugin {0}")]
    NotInstalled(PluginName),
    /// The bytes on the disk are not those that were installed.
    #[error("the installed file of {digest} was altered: its bytes are {found}")]
    Altered {
        /// What its name says.
        digest: PluginDigest,
        /// What its bytes say.
        found: PluginDigest,
    },
    /// Only the built-in plugin has this name.
    #[error("the name {BUILT_IN} is the built-in plugin's")]
    Reserved,
    /// The lock is not what orghost wrote.
    #[error("the lock {file} cannot be understood: {reason}")]
    Lock {
        /// Its path.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The disk.
    #[error("{file} cannot be used: {reason}")]
    Disk {
        /// A file or a folder.
        file: PathBuf,
        /// The operating system's words.
        reason: std::io::Error,
    },
}

const LOCK: &str = "orghost.lock";
const LOCK_VERSION: u32 = 1;
const HEADER: &str = "# The installed plugins of this state folder, pinned by digest.\n\
                      # Written by `orghost plugin add` and `remove`, not by hand; what each may do is in orghost.toml.\n\n";

impl Catalog {
    /// The catalog of a state folder.
    pub fn of(state: &Path) -> Self {
        Self {
            folder: state.join("plugins"),
        }
    }

    /// Reads the lock; without one nothing is installed.
    ///
    /// # Errors
    /// [`CatalogError::Lock`] and [`CatalogError::Disk`].
    pub fn lock(&self) -> Result<Lock, CatalogError> {
        let file = self.folder.join(LOCK);
        let text = match read(&file, limits::PLUGIN_LOCK_BYTES) {
            Ok(bytes) => String::from_utf8(bytes).map_err(|error| error.to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Lock::default());
            }
            Err(reason) => return Err(CatalogError::Disk { file, reason }),
        };
        let parsed = text.and_then(|text| {
            let lock: Lock = toml::from_str(&text).map_err(|error| error.message().to_owned())?;
            if lock.version == LOCK_VERSION {
                Ok(lock)
            } else {
                let found = lock.version;
                Err(format!(
                    "it has version {found}, and this orghost knows version {LOCK_VERSION}"
                ))
            }
        });
        parsed.map_err(|reason| CatalogError::Lock { file, reason })
    }

    /// What runs under a name.
    ///
    /// # Errors
    /// [`CatalogError::NotInstalled`], and those of [`Catalog::lock`].
    pub fn pin(&self, name: &PluginName) -> Result<Pin, CatalogError> {
        let mut lock = self.lock()?;
        lock.plugins
            .remove(name)
            .ok_or_else(|| CatalogError::NotInstalled(name.clone()))
    }

    /// The file that runs under a name, and its signature; the bytes are held against the digest.
    ///
    /// # Errors
    /// [`CatalogError::NotInstalled`], [`CatalogError::Altered`], [`CatalogError::Disk`], [`CatalogError::Lock`].
    pub fn fetch(&self, name: &PluginName) -> Result<Fetched, CatalogError> {
        let pin = self.pin(name)?;
        match self.fetch_pinned(&pin) {
            // The pin moved meanwhile, and its file is gone.
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

    /// Stores a plugin that was examined, and moves the pin to it. What was refused before under the name is forgotten.
    ///
    /// # Errors
    /// [`CatalogError::Reserved`], [`CatalogError::Disk`], [`CatalogError::Lock`].
    pub fn install(
        &self,
        name: &PluginName,
        fetched: &Fetched,
        met: VerifiedPlugin,
        description: Description,
    ) -> Result<Pin, CatalogError> {
        if name.is_built_in() {
            return Err(CatalogError::Reserved);
        }
        let pin = Pin {
            source: fetched.source.clone(),
            manifest: fetched.manifest.clone(),
            version: description.version,
            digest: met.digest,
            signed_by: met.signed_by,
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

    /// Remembers why a newer file of an installed plugin was refused. Says whether there is such a plugin.
    ///
    /// # Errors
    /// [`CatalogError::Disk`] and [`CatalogError::Lock`].
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
            let there = lock.plugins.contains_key(name);
            if there {
                lock.quarantine.insert(name.clone(), refused);
            }
            Ok(there)
        })
    }

    /// Forgets a name, and removes its file when no other name has it.
    ///
    /// # Errors
    /// [`CatalogError::NotInstalled`], [`CatalogError::Disk`], [`CatalogError::Lock`].
    pub fn remove(&self, name: &PluginName) -> Result<Pin, CatalogError> {
        self.pin(name)?;
        self.change(|lock| {
            lock.quarantine.remove(name);
            lock.plugins
                .remove(name)
                .ok_or_else(|| CatalogError::NotInstalled(name.clone()))
        })
    }

    /// Changes the lock as its one writer, and removes files that it no longer names.
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
        // Held until the end: closing it unlocks. The wait is short, since nothing is fetched or compiled meanwhile.
        let writer = self.folder.join("writer");
        let writing = File::create(&writer).map_err(|reason| disk(&writer, reason))?;
        writing.lock().map_err(|reason| disk(&writer, reason))?;
        let mut lock = self.lock()?;
        lock.version = LOCK_VERSION;
        let done = body(&mut lock)?;
        let file = self.folder.join(LOCK);
        let text = toml::to_string(&lock).map_err(|error| CatalogError::Lock {
            file: file.clone(),
            reason: error.to_string(),
        })?;
        self.write(&file, format!("{HEADER}{text}").as_bytes())?;
        sweep(&blobs, &lock);
        Ok(done)
    }

    fn blob(&self, digest: &PluginDigest, extension: &str) -> PathBuf {
        let name = format!("{}.{extension}", digest.as_str());
        self.folder.join("sha256").join(name)
    }

    fn write(&self, file: &Path, bytes: &[u8]) -> Result<(), CatalogError> {
        write_atomically(file, bytes, 0o600).map_err(|reason| disk(file, reason))
    }
}

/// Removes files that no pin names. What stays is found the next time.
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

/// The text of a signature, where there is one.
///
/// # Errors
/// [`CatalogError::Disk`], also when it is larger than [`limits::SIGNATURE_BYTES`].
pub fn read_signature(file: &Path) -> Result<Option<String>, CatalogError> {
    match read(file, limits::SIGNATURE_BYTES as u64) {
        // What is not UTF-8 is no signature, and is told as such.
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(reason) => Err(disk(file, reason)),
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
        let (exit, code, help) = match &error {
            CatalogError::NotInstalled(_) => (
                Class::Invalid,
                "plugin-not-installed",
                "`orghost plugin list` shows the installed ones; `orghost plugin add FILE|REF` installs one",
            ),
            CatalogError::Altered { .. } => (
                Class::Refused,
                "plugin-altered",
                "install it again with orghost plugin add, and find out who wrote to the state folder",
            ),
            CatalogError::Reserved => (
                Class::Invalid,
                "plugin-name",
                "give it another name with --name",
            ),
            CatalogError::Lock { .. } => (
                Class::Failed,
                "plugin-lock",
                "repair it, or remove it and install the plugins again",
            ),
            CatalogError::Disk { .. } => (
                Class::Failed,
                "plugin-store",
                "see to its permissions and the disk's space; a plugin whose file is gone is mended by installing it again",
            ),
        };
        Self::one(exit, Diagnostic::new(code, error.to_string()).help(help))
    }
}
