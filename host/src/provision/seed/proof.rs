//! The proof that a seed was written correctly: manifests, what an engine read back, and the comparison.
//!
//! A [`Verified`] comes from a [`ReadBack`] that matched, or from a container that already ran and so had one before. A
//! [`ReadBack`] comes only from an engine that read the files. `tests/compile_fail/` shows that code outside this module
//! cannot make either without them.

use std::collections::BTreeMap;
use std::io::{self, Read};

use cap_std::fs::{Dir, PermissionsExt as _};
use sha2::{Digest as _, Sha256};

use crate::limits;
use crate::model::digest::hex;
use crate::planning::policy::CONFIG;
use crate::provision::generation::Generation;
use crate::provision::observed::{Observed, State};

/// The files under `/configs`, as they are or should be: the path, mode, size and SHA-256 of each regular file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    pub(super) files: BTreeMap<String, FileFacts>,
}

/// The manifest of what an engine found under `/configs`. Only engines can make one, and only by reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadBack(Manifest);

/// The facts of one file in a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFacts {
    /// The permission bits, such as `0o644`.
    pub mode: u32,
    /// The size in bytes.
    pub size: u64,
    /// The SHA-256 of its bytes, as 64 hexadecimal digits.
    pub sha256: String,
}

/// The SHA-256 of a manifest. Equal digests mean equal files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestDigest(String);

/// Proof that the seed of one container was read back and matched. An engine starts nothing without one.
#[derive(Debug)]
pub struct Verified {
    generation: Generation,
    /// Whether the container was made with its restart policy, because an earlier proof came before the container.
    restarts: bool,
}

/// What was read back differs from what was written. Names the first three differences.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the files under /configs are not those that were put there: {0}")]
pub struct Mismatch(String);

impl ReadBack {
    /// Reads the files of an archive, below its folder `root`.
    ///
    /// # Errors
    /// The archive is broken, or has an entry that is neither a regular file nor a folder.
    pub(in crate::provision) fn of_archive(archive: impl Read, root: &str) -> io::Result<Self> {
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

    /// The facts of every file that an engine itself mounts under `/configs`, as the engine reports them.
    pub(in crate::provision) fn of_files(
        files: impl IntoIterator<Item = (String, FileFacts)>,
    ) -> Self {
        Self(Manifest {
            files: files.into_iter().collect(),
        })
    }

    /// Reads the files of a folder. Follows no symbolic link.
    ///
    /// # Errors
    /// The folder cannot be read, has more than [`limits::SEED_ARCHIVE_BYTES`], or contains something that is neither a
    /// regular file nor a folder.
    pub(in crate::provision) fn of_folder(root: Dir) -> io::Result<Self> {
        let mut manifest = Manifest::default();
        let mut left = limits::SEED_ARCHIVE_BYTES;
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
                let file = entry.open()?;
                let mode = file.metadata()?.permissions().mode() & 0o777;
                let mut bytes = Vec::new();
                // The file can grow while it is read, so the limit applies to the bytes that were read.
                file.take(left + 1).read_to_end(&mut bytes)?;
                left = left.checked_sub(bytes.len() as u64).ok_or_else(|| {
                    let limit = limits::SEED_ARCHIVE_BYTES >> 20;
                    io::Error::other(format!("its files have more than {limit} MiB"))
                })?;
                manifest.insert(&path, &bytes, mode);
            }
        }
        Ok(Self(manifest))
    }

    /// The files that were found.
    pub fn manifest(&self) -> &Manifest {
        &self.0
    }
}

impl Manifest {
    pub(super) fn insert(&mut self, path: &str, bytes: &[u8], mode: u32) {
        self.files
            .insert(path.to_owned(), FileFacts::of(bytes, mode));
    }

    /// The SHA-256 over the path, mode, size and digest of every file.
    pub fn digest(&self) -> ManifestDigest {
        let mut hash = Sha256::new();
        for (path, facts) in &self.files {
            hash.update(format!(
                "{path}\0{:o}\0{}\0{}\n",
                facts.mode, facts.size, facts.sha256
            ));
        }
        ManifestDigest(hex(hash.finalize()))
    }

    /// Compares with what was read back; the result is the proof that a start needs.
    ///
    /// # Errors
    /// [`Mismatch`] when a file is missing, extra or different, or `config.yaml` is missing or empty.
    pub fn verify(
        &self,
        read_back: &ReadBack,
        generation: &Generation,
    ) -> Result<Verified, Mismatch> {
        let ReadBack(found) = read_back;
        // A runtime reads this file as soon as it starts (spec/provisioning.md §8).
        if self.files.get(CONFIG).is_none_or(|config| config.size == 0) {
            return Err(Mismatch(format!("{CONFIG} is missing or empty")));
        }
        if self == found {
            return Ok(Verified {
                generation: generation.clone(),
                restarts: false,
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
    /// The facts of a file with these bytes and this mode.
    pub(in crate::provision) fn of(bytes: &[u8], mode: u32) -> Self {
        Self {
            mode,
            size: bytes.len() as u64,
            sha256: hex(Sha256::digest(bytes)),
        }
    }
}

impl ManifestDigest {
    /// The digest as 64 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Verified {
    /// The proof of a container that runs or ran: its seed was read back and matched before its first start, because
    /// nothing is started without this proof. The seed is not read back again, because agents write under `/configs`, and
    /// a comparison would refuse to start them again.
    pub(in crate::provision) fn earlier(found: &Observed) -> Option<Self> {
        (found.state != State::Created).then(|| Self {
            generation: found.generation.clone(),
            restarts: false,
        })
    }

    /// This proof, for a container that was made with its restart policy because the same seed was proven before.
    pub(in crate::provision) fn after(self, before: &Self) -> Self {
        Self {
            restarts: self.generation == before.generation,
            ..self
        }
    }

    /// Whether the container has its restart policy already.
    pub(in crate::provision) fn restarts(&self) -> bool {
        self.restarts
    }

    /// The generation whose container may be started.
    pub fn generation(&self) -> &Generation {
        &self.generation
    }
}
