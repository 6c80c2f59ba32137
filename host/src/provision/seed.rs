//! The seed: what stands under `/configs` before a runtime's first
//! instruction. Makes the archive, and the only proof that a container was
//! seeded: a [`Verified`] comes from a [`ReadBack`] that matched, or from a
//! container that already ran, which had one before; and a [`ReadBack`] comes
//! from nothing but an engine that looked. `tests/compile_fail/` shows that no code outside can forge one.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, PermissionsExt as _};
use sha2::{Digest as _, Sha256};

use crate::config::Runtime;
use crate::limits;
use crate::model::digest::hex;
use crate::model::engine_kind::EngineKind;
use crate::planning::policy::{CONFIG, SeedContent, SeedPath, SeedSource};
use crate::provision::generation::Generation;
use crate::provision::observed::{Observed, State};
use crate::template::directory::TemplateDir;
use crate::template::path::FileError;

/// Files and folders of the seed belong to this user and group: what agent images run as.
pub const OWNER: u64 = 1000;

/// The seed of one workspace: its manifest, and where the bytes come from.
/// The bytes of template files are read again when the archive is made, so
/// that only the archives under way are in memory.
#[derive(Debug)]
pub struct Seed {
    sources: BTreeMap<SeedPath, SeedSource>,
    template: TemplateDir,
    programs: Programs,
    manifest: Manifest,
}

/// Whether a seed's files may be programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Programs {
    /// What may be run in the template may be run in the seed.
    Kept,
    /// Nothing of the seed may be run.
    Dropped,
}

/// What stands, or should stand, under `/configs`: each regular file's path, mode, size and sha-256.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    files: BTreeMap<String, FileFacts>,
}

/// The manifest of what an engine found under `/configs`. Only reading makes
/// one, and only the engines can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadBack(Manifest);

/// What a manifest says about one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFacts {
    /// Permission bits.
    pub mode: u32,
    /// Bytes.
    pub size: u64,
    /// Hexadecimal digits.
    pub sha256: String,
}

/// The sha-256 of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestDigest(String);

/// Proof that the seed of one container was read back and matched. An engine
/// starts nothing without one.
#[derive(Debug)]
pub struct Verified {
    generation: Generation,
}

/// Why there is no seed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SeedError {
    /// A template file cannot be had.
    #[error("the template file {path} cannot be read: {reason}")]
    Unreadable {
        /// Its path in the template.
        path: String,
        /// Why.
        reason: FileError,
    },
    /// All files together are too large.
    #[error("the files of this workspace have more than {} MiB", limits::SEED_BYTES >> 20)]
    TooLarge,
    /// A template file is not what it was when the seed was planned.
    #[error("the template file {0} changed while the org was provisioned")]
    Changed(String),
    /// The archive could not be made.
    #[error("the archive cannot be made: {0}")]
    Archive(String),
}

/// What was read back is not what was put: the first differences.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("what stands under /configs is not what was put there: {0}")]
pub struct Mismatch(String);

impl Seed {
    /// Reads every file once, for the manifest.
    ///
    /// # Errors
    /// [`SeedError::Unreadable`] and [`SeedError::TooLarge`].
    pub fn read(
        sources: &BTreeMap<SeedPath, SeedSource>,
        template: &TemplateDir,
        programs: Programs,
    ) -> Result<Self, SeedError> {
        let mut seed = Self {
            sources: sources.clone(),
            template: template.clone(),
            programs,
            manifest: Manifest::default(),
        };
        let mut total = 0;
        for (path, source) in &seed.sources {
            let (bytes, mode) = seed.bytes(source)?;
            total += bytes.len() as u64;
            if total > limits::SEED_BYTES {
                return Err(SeedError::TooLarge);
            }
            seed.manifest.insert(path.as_str(), &bytes, mode);
        }
        Ok(seed)
    }

    /// What should stand under `/configs`.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Every file with its bytes and its mode, in the order of their paths.
    ///
    /// # Errors
    /// [`SeedError`]; a file that changed since [`Seed::read`] is one.
    pub fn files(&self) -> impl Iterator<Item = Result<(&str, Vec<u8>, u32), SeedError>> {
        self.sources.iter().map(|(path, source)| {
            let (bytes, mode) = self.bytes(source)?;
            if self.manifest.files.get(path.as_str()) != Some(&FileFacts::of(&bytes, mode)) {
                return Err(SeedError::Changed(path.as_str().to_owned()));
            }
            Ok((path.as_str(), bytes, mode))
        })
    }

    /// The same bytes for the same seed: a tar archive of regular files and
    /// folders only, parents first, without times.
    ///
    /// # Errors
    /// As [`Seed::files`].
    pub fn archive(&self) -> Result<Vec<u8>, SeedError> {
        let mut tar = tar::Builder::new(Vec::new());
        let failed = |e: io::Error| SeedError::Archive(e.to_string());
        // The folder itself: agents run as OWNER and may write beside their
        // seed. Docker's engines skip an entry `.` and take `/` for the folder
        // that the archive is unpacked to.
        let mut header = header(tar::EntryType::Directory, 0o755, 0);
        if let Some(first) = header.as_mut_bytes().first_mut() {
            *first = b'/';
        }
        header.set_cksum();
        tar.append(&header, io::empty()).map_err(failed)?;
        let mut folders = std::collections::BTreeSet::new();
        for file in self.files() {
            let (path, bytes, mode) = file?;
            for (end, _) in path.match_indices('/') {
                let folder = path.get(..=end).unwrap_or_default();
                if folders.insert(folder.to_owned()) {
                    append(&mut tar, folder, tar::EntryType::Directory, 0o755, &[])
                        .map_err(failed)?;
                }
            }
            append(&mut tar, path, tar::EntryType::Regular, mode, &bytes).map_err(failed)?;
        }
        tar.into_inner().map_err(failed)
    }

    fn bytes(&self, source: &SeedSource) -> Result<(Vec<u8>, u32), SeedError> {
        let (bytes, executable) = match &source.content {
            SeedContent::Inline(bytes) => (bytes.clone(), false),
            SeedContent::Template { path, text } => {
                let file = self
                    .template
                    .read(path)
                    .map_err(|reason| SeedError::Unreadable {
                        path: path.as_str().to_owned(),
                        reason,
                    })?;
                let bytes = if *text {
                    without_cr(file.bytes)
                } else {
                    file.bytes
                };
                (bytes, file.executable && self.programs == Programs::Kept)
            }
        };
        let mode = match (source.secret, executable) {
            (true, _) => 0o600,
            (false, true) => 0o755,
            (false, false) => 0o644,
        };
        Ok((bytes, mode))
    }
}

impl Programs {
    /// Where a workspace is a process of this machine, a template brings no programs to it unless the operator's runtime
    /// says so.
    pub fn of(engine: EngineKind, runtime: &Runtime) -> Self {
        match engine.runs_on_the_machine_itself() && !runtime.executable_seed {
            true => Self::Dropped,
            false => Self::Kept,
        }
    }
}

impl ReadBack {
    /// Reads what an archive holds, below its folder `root`.
    ///
    /// # Errors
    /// The archive's own, and one for any entry that is neither a regular file nor a folder.
    pub(super) fn of_archive(archive: impl Read, root: &str) -> io::Result<Self> {
        let mut manifest = Manifest::default();
        for entry in tar::Archive::new(archive).entries()? {
            let mut entry = entry?;
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            if entry.header().entry_type().is_dir() {
                continue;
            }
            if !entry.header().entry_type().is_file() {
                return Err(io::Error::other(format!(
                    "{path} is neither a file nor a folder"
                )));
            }
            let mode = entry.header().mode()?;
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            let below = path.strip_prefix("./").unwrap_or(&path);
            let below = below
                .strip_prefix(root)
                .unwrap_or(below)
                .trim_start_matches('/');
            manifest.insert(below, &bytes, mode & 0o777);
        }
        Ok(Self(manifest))
    }

    /// What an engine reports of every file that it will put under `/configs`, where it does so itself.
    pub(super) fn of_files(files: impl IntoIterator<Item = (String, FileFacts)>) -> Self {
        Self(Manifest {
            files: files.into_iter().collect(),
        })
    }

    /// Reads what stands in a folder. Follows no symbolic link.
    ///
    /// # Errors
    /// The operating system's; something that is neither a regular file nor a folder is one.
    pub(super) fn of_folder(folder: &Path) -> io::Result<Self> {
        let root = Dir::open_ambient_dir(folder, ambient_authority())?;
        let mut manifest = Manifest::default();
        let mut folders = vec![(root, String::new())];
        while let Some((dir, prefix)) = folders.pop() {
            for entry in dir.entries()? {
                let entry = entry?;
                let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
                let kind = entry.file_type()?;
                if kind.is_dir() {
                    folders.push((entry.open_dir()?, format!("{path}/")));
                    continue;
                }
                if !kind.is_file() {
                    let what = format!("{path} is neither a file nor a folder");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, what));
                }
                let mut file = entry.open()?;
                let mode = file.metadata()?.permissions().mode() & 0o777;
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes)?;
                manifest.insert(&path, &bytes, mode);
            }
        }
        Ok(Self(manifest))
    }

    /// What was found.
    pub fn manifest(&self) -> &Manifest {
        &self.0
    }
}

impl Manifest {
    fn insert(&mut self, path: &str, bytes: &[u8], mode: u32) {
        self.files
            .insert(path.to_owned(), FileFacts::of(bytes, mode));
    }

    /// The sha-256 over every path, mode, size and digest.
    pub fn digest(&self) -> ManifestDigest {
        let mut hash = Sha256::new();
        for (path, facts) in &self.files {
            hash.update(format!(
                "{path}\0{:o}\0{}\0{}\n",
                facts.mode, facts.size, facts.sha256
            ));
        }
        ManifestDigest(hex(&hash.finalize()))
    }

    /// Turns what was read back into the proof that a start needs.
    ///
    /// # Errors
    /// [`Mismatch`] names the first files that are missing, extra or different.
    pub fn verify(
        &self,
        read_back: &ReadBack,
        generation: &Generation,
    ) -> Result<Verified, Mismatch> {
        let ReadBack(found) = read_back;
        // A runtime reads this file the moment it boots (spec/provisioning.md §8).
        if self.files.get(CONFIG).is_none_or(|config| config.size == 0) {
            return Err(Mismatch(format!("{CONFIG} is missing or empty")));
        }
        if self == found {
            return Ok(Verified {
                generation: generation.clone(),
            });
        }
        let missing_or_changed =
            self.files
                .iter()
                .filter_map(|(path, facts)| match found.files.get(path) {
                    None => Some(format!("{path} is missing")),
                    Some(found) if found.size != facts.size => Some(format!(
                        "{path} has {} bytes instead of {}",
                        found.size, facts.size
                    )),
                    Some(found) if found.mode != facts.mode => Some(format!(
                        "{path} has mode {:o} instead of {:o}",
                        found.mode, facts.mode
                    )),
                    Some(found) if found != facts => Some(format!("{path} has other bytes")),
                    Some(_) => None,
                });
        let extra = found
            .files
            .keys()
            .filter(|path| !self.files.contains_key(*path));
        let differences: Vec<String> = missing_or_changed
            .chain(extra.map(|path| format!("{path} was not put there")))
            .take(3)
            .collect();
        Err(Mismatch(differences.join("; ")))
    }
}

impl FileFacts {
    /// Of one file.
    pub(super) fn of(bytes: &[u8], mode: u32) -> Self {
        Self {
            mode,
            size: bytes.len() as u64,
            sha256: hex(&Sha256::digest(bytes)),
        }
    }
}

impl ManifestDigest {
    /// Hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Verified {
    /// Of a container that an engine saw run, or have run: it was read back and matched before its first start, because
    /// nothing is started without this proof. It is not read back again. What stands under its `/configs` since then is
    /// its own: agents write there, and a comparison would refuse to go back to exactly those that did something.
    pub(super) fn earlier(found: &Observed) -> Option<Self> {
        (found.state != State::Created).then(|| Self {
            generation: found.generation.clone(),
        })
    }

    /// The container that may be started now.
    pub fn generation(&self) -> &Generation {
        &self.generation
    }
}

fn append(
    tar: &mut tar::Builder<Vec<u8>>,
    path: &str,
    kind: tar::EntryType,
    mode: u32,
    bytes: &[u8],
) -> io::Result<()> {
    tar.append_data(&mut header(kind, mode, bytes.len() as u64), path, bytes)
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(OWNER);
    header.set_gid(OWNER);
    header.set_mtime(0);
    header.set_size(size);
    header
}

fn without_cr(bytes: Vec<u8>) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes.len());
    let mut rest = bytes.into_iter().peekable();
    while let Some(byte) = rest.next() {
        if byte != b'\r' || rest.peek() != Some(&b'\n') {
            text.push(byte);
        }
    }
    text
}
