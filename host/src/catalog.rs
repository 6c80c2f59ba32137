//! The installed plugins: content-addressed files, and a lock that pins each
//! name to one of them. Never runs what is not pinned, and moves a pin only
//! to a plugin that met all that the operator demands of its name.

pub mod oci;
pub mod signature;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{DirBuilder, File, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::limits;
use crate::plan::is_slug;
use crate::plugin::{CallError, Description, LoadError, Plugin, PluginDigest, Sandbox, Terms};
use signature::{PublicKey, SignatureError};

/// What the built-in plugin is called; no other can have the name.
pub const BUILT_IN: &str = "org-import";

/// What the SDK is called: a project of that name could not depend on it.
const SDK: &str = "orghost-plugin";

/// What templates, operators and `--plugin` call a plugin, and what its author calls its project: 1 to 63 lower-case letters
/// and digits with single `-` between them, beginning with a letter; and not the SDK's name. Each language's packages may
/// have such a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PluginName(String);

/// A text that is no [`PluginName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no name of a plugin: that begins with a letter, has at most 63 lower-case letters and digits with single `-` \
     between them, and is not {SDK}, the name of the SDK"
)]
pub struct NotAName(String);

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

/// What the operator demands of a plugin, and grants it.
#[derive(Debug, Clone, Default)]
pub struct Demands {
    /// Only this file.
    pub digest: Option<PluginDigest>,
    /// One of these keys signed it; when there are none, it needs no signature.
    pub keys: Vec<PublicKey>,
    /// What it is granted.
    pub terms: Terms,
}

/// What is known of a plugin that met its [`Demands`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Met {
    /// Of its file.
    pub digest: PluginDigest,
    /// The key that signed it, when one was demanded.
    pub signed_by: Option<PublicKey>,
}

/// Why a plugin may not run, or cannot.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A signature is demanded.
    #[error(
        "the plugin is not signed, and the operator's file demands a signature (require_signature)"
    )]
    Unsigned,
    /// The signature proves nothing.
    #[error("the plugin's signature does not count: {0}")]
    Signature(#[from] SignatureError),
    /// The operator's file names another file.
    #[error("the plugin is {found}, and the operator's file pins {pinned}")]
    Pinned {
        /// What `[plugins.NAME]` says.
        pinned: PluginDigest,
        /// What was found.
        found: PluginDigest,
    },
    /// It does not keep the contract.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It does not say what it is.
    #[error("the plugin does not describe itself: {0}")]
    Describe(#[from] CallError),
}

/// What the lock says of one installed plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The file that runs.
    pub digest: PluginDigest,
    /// Where it came from, as the operator wrote it.
    pub source: String,
    /// The digest of the registry's manifest, for a reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// Its own version, as it describes itself.
    pub version: String,
    /// The key that signed it, when one was demanded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<PublicKey>,
}

/// A newer file of an installed plugin that was refused; the pin did not move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// The file that was refused. It was not kept.
    pub digest: PluginDigest,
    /// Where it came from.
    pub source: String,
    /// Why.
    pub reason: String,
}

/// The installed plugins, and what was refused in the place of one, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    version: u32,
    /// What runs.
    #[serde(default)]
    pub plugins: BTreeMap<PluginName, Pin>,
    /// What does not.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub quarantine: BTreeMap<PluginName, Quarantined>,
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

impl PluginName {
    /// Whether it is the built-in plugin's.
    pub fn is_built_in(&self) -> bool {
        self.0 == BUILT_IN
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PluginName {
    type Error = NotAName;

    fn try_from(text: String) -> Result<Self, NotAName> {
        let begins = text.starts_with(|c: char| c.is_ascii_lowercase());
        if begins && is_slug(&text) && text != SDK {
            Ok(Self(text))
        } else {
            Err(NotAName(text))
        }
    }
}

impl From<PluginName> for String {
    fn from(name: PluginName) -> Self {
        name.0
    }
}

impl fmt::Display for PluginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Demands {
    /// What the operator demands of an installed plugin.
    pub fn of(config: &Config, name: &PluginName) -> Self {
        let keys = config.plugins.get(name).cloned().unwrap_or_default();
        Self {
            terms: keys.terms(),
            digest: keys.digest,
            keys: if keys.require_signature.is_empty() {
                config.policy.require_signature.clone()
            } else {
                keys.require_signature
            },
        }
    }

    /// What the operator demands of a file that is installed under no name.
    pub fn of_file(config: &Config, terms: Terms) -> Self {
        Self {
            digest: None,
            keys: config.policy.require_signature.clone(),
            terms,
        }
    }

    /// Holds a file against the pinned digest and the keys; runs nothing.
    ///
    /// # Errors
    /// [`Refusal::Pinned`], [`Refusal::Unsigned`], [`Refusal::Signature`].
    pub fn admit(&self, bytes: &[u8], signature: Option<&str>) -> Result<Met, Refusal> {
        let digest = PluginDigest::of(bytes);
        if let Some(pinned) = self.digest.as_ref().filter(|pinned| **pinned != digest) {
            return Err(Refusal::Pinned {
                pinned: pinned.clone(),
                found: digest,
            });
        }
        let signed_by = match signature {
            _ if self.keys.is_empty() => None,
            None => return Err(Refusal::Unsigned),
            Some(signature) => Some(signature::verify(&self.keys, signature, bytes)?.clone()),
        };
        Ok(Met { digest, signed_by })
    }

    /// Admits a file, then loads it with what it is granted.
    ///
    /// # Errors
    /// All of [`Refusal`] but [`Refusal::Describe`].
    pub fn load(
        &self,
        sandbox: &Sandbox,
        bytes: &[u8],
        signature: Option<&str>,
    ) -> Result<(Plugin, Met), Refusal> {
        let met = self.admit(bytes, signature)?;
        Ok((sandbox.load(bytes, &self.terms)?, met))
    }

    /// All that must hold before a pin moves: admitted, loaded, and it says what it is.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn examine(
        &self,
        sandbox: &Sandbox,
        bytes: &[u8],
        signature: Option<&str>,
    ) -> Result<(Plugin, Met, Description), Refusal> {
        let (plugin, met) = self.load(sandbox, bytes, signature)?;
        let description = plugin.describe()?;
        Ok((plugin, met, description))
    }
}

impl Refusal {
    /// Whether it is the operator's policy that refuses, not the plugin that is broken.
    pub fn is_policy(&self) -> bool {
        matches!(
            self,
            Self::Unsigned | Self::Signature(_) | Self::Pinned { .. }
        )
    }
}

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
        met: Met,
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

/// Replaces a file as a whole: whoever reads it finds the old bytes or the new ones. `mode` is subject to the umask.
///
/// # Errors
/// The operating system's.
pub fn write_atomically(file: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut new = tempfile::Builder::new()
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(folder)?;
    new.write_all(bytes)?;
    new.as_file().sync_all()?;
    new.persist(file)?;
    // The new name too, so that a power cut brings no older file back.
    File::open(folder)?.sync_all()
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
