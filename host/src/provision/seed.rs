//! The seed of a workspace: the files that it finds under `/configs` when it starts. Reads them and makes the archive.

mod proof;

use std::collections::BTreeMap;
use std::io;

use crate::config::Runtime;
use crate::limits;
use crate::model::engine_kind::EngineKind;
use crate::planning::policy::{SeedContent, SeedPath, SeedSource};
use crate::template::directory::TemplateDir;
use crate::template::path::FileError;
pub use proof::{FileFacts, Manifest, ManifestDigest, Mismatch, ReadBack, Verified};

/// The user and group that own the files and folders of a seed. Agent images run as this user.
pub const OWNER: u64 = 1000;

/// The seed of one workspace: its manifest, and where the bytes come from. The bytes of template files are not kept: they
/// are read again when the archive is made, so that only the archives in use are in memory.
#[derive(Debug)]
pub struct Seed {
    sources: BTreeMap<SeedPath, SeedSource>,
    template: TemplateDir,
    programs: Programs,
    manifest: Manifest,
}

/// Whether the files of a seed may be executable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Programs {
    /// A file that is executable in the template is executable in the seed.
    Kept,
    /// No file of the seed is executable.
    Dropped,
}

/// Why a seed cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SeedError {
    /// A template file cannot be read.
    #[error("the template file {path} cannot be read: {reason}")]
    Unreadable {
        /// Its path in the template.
        path: String,
        /// Why it cannot be read.
        reason: FileError,
    },
    /// All files together have more than [`limits::SEED_BYTES`].
    #[error("the files of this workspace have more than {} MiB", limits::SEED_BYTES >> 20)]
    TooLarge,
    /// A template file changed after its digest was computed.
    #[error("the template file {0} changed while the org was provisioned")]
    Changed(String),
    /// The archive could not be made.
    #[error("the archive cannot be made: {0}")]
    Archive(String),
}

impl Seed {
    /// Reads every file once, for the manifest.
    ///
    /// # Errors
    /// [`SeedError::Unreadable`] when a template file cannot be read, and [`SeedError::TooLarge`].
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

    /// The files that should be under `/configs`.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Every file with its bytes and its mode, sorted by path.
    ///
    /// # Errors
    /// [`SeedError::Unreadable`], and [`SeedError::Changed`] when a file changed since [`Seed::read`].
    pub fn files(&self) -> impl Iterator<Item = Result<(&str, Vec<u8>, u32), SeedError>> {
        self.sources.iter().map(|(path, source)| {
            let (bytes, mode) = self.bytes(source)?;
            if self.manifest.files.get(path.as_str()) != Some(&FileFacts::of(&bytes, mode)) {
                return Err(SeedError::Changed(path.as_str().to_owned()));
            }
            Ok((path.as_str(), bytes, mode))
        })
    }

    /// Makes a tar archive of regular files and folders, parents first, without times. The same seed always gives the same
    /// bytes.
    ///
    /// # Errors
    /// Those of [`Seed::files`], and [`SeedError::Archive`].
    pub fn archive(&self) -> Result<Vec<u8>, SeedError> {
        let mut tar = tar::Builder::new(Vec::new());
        let failed = |e: io::Error| SeedError::Archive(e.to_string());
        // The folder `/configs` itself belongs to OWNER, because agents may write beside their seed. Docker skips an entry
        // `.`, and takes `/` for the folder that the archive is unpacked to.
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
    /// Drops them on an engine without containers, unless `executable_seed` is set for the runtime: there, a template must
    /// not bring programs to this machine by default.
    pub fn of(engine: EngineKind, runtime: &Runtime) -> Self {
        match engine.runs_on_the_machine_itself() && !runtime.executable_seed {
            true => Self::Dropped,
            false => Self::Kept,
        }
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
