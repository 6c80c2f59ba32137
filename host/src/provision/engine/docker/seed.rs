//! The seed of a workspace on a Docker engine: written into the folder of its volume where the engine's volumes are on this
//! machine's disk, and otherwise sent and read back as an archive.
//!
//! Where the volumes are is found out and never assumed: a file of random bytes that is written on this machine must be in
//! the archive of the first container, with its owner. It is not there, or has another owner, when the engine runs on
//! another machine, in a virtual machine or without root, when it maps users, or when this user may not write to its
//! folder. An engine that labels files for SELinux is sent an archive too, because it does not label what others write.
//!
//! The first seed of an operation in each org is read back as an archive in any case. So every operation has the engine's
//! own word that it sees what this machine wrote.

use std::collections::HashSet;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bollard::query_parameters::{
    DownloadFromContainerOptionsBuilder, UploadToContainerOptionsBuilder,
};
use bytes::Bytes;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _};
use futures_util::TryStreamExt as _;

use super::body::CONFIGS;
use super::{Docker, answer, names};
use crate::limits;
use crate::model::digest::hex;
use crate::model::ids::OrgId;
use crate::provision::engine::error::EngineError;
use crate::provision::engine::folder::{self, unusable};
use crate::provision::generation::Generation;
use crate::provision::observed::Volume;
use crate::provision::seed::{OWNER, ReadBack};
use crate::random::random;

/// The owner of seeded files, as the operating system's calls take it.
const USER: u32 = OWNER as u32;

/// What is known about where an engine keeps its volumes, and which seeds are read back as archives. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk {
    place: Arc<tokio::sync::Mutex<Place>>,
    samples: Arc<Mutex<Samples>>,
}

/// Where an engine keeps its volumes.
#[derive(Debug, Default)]
enum Place {
    /// Not known yet.
    #[default]
    Unknown,
    /// The engine says in this folder. Nothing has shown that this machine has the same one.
    Claimed(PathBuf),
    /// In this folder of this machine.
    Here(PathBuf),
    /// Nowhere that this machine can write to as the engine would.
    Elsewhere,
}

/// Which seeds are read back as archives.
#[derive(Debug, Default)]
struct Samples {
    /// The orgs in which the next container is one of them.
    orgs: HashSet<OrgId>,
    /// The generations whose next read-back is one.
    generations: HashSet<Generation>,
}

impl Disk {
    /// Takes note of a volume that was made: where an engine at `endpoint` says that it is, and that what is in it is new.
    pub(super) async fn note(&self, endpoint: &str, made: &Volume, folder: &str) {
        if let Volume::Configs(generation) = made {
            self.samples().generations.remove(generation);
        }
        let mut place = self.place.lock().await;
        if matches!(*place, Place::Unknown) {
            // An engine on another machine must not choose where this one writes.
            let is_local = endpoint.starts_with("unix://");
            let root = is_local.then(|| root_of(folder, &names::volume(made)));
            *place = root.flatten().map_or(Place::Elsewhere, Place::Claimed);
        }
    }

    /// The folder of the volumes, when it is known to be on this machine.
    pub(super) async fn root(&self) -> Option<PathBuf> {
        match &*self.place.lock().await {
            Place::Here(root) => Some(root.clone()),
            _ => None,
        }
    }

    /// Asks for the archive of the next seed of this org.
    pub(super) fn sample_next_of(&self, org: &OrgId) {
        self.samples().orgs.insert(org.clone());
    }

    /// Has this generation's seed read back as an archive, if it is the next of its org. Its container is there.
    pub(super) fn sample_if_next(&self, org: &OrgId, generation: &Generation) {
        let mut samples = self.samples();
        if samples.orgs.remove(org) {
            samples.generations.insert(generation.clone());
        }
    }

    fn samples(&self) -> MutexGuard<'_, Samples> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Docker {
    /// Writes a seed. Finds out first where the engine keeps its volumes, unless that is known.
    pub(super) async fn write_seed(
        &self,
        generation: &Generation,
        archive: Vec<u8>,
    ) -> Result<(), EngineError> {
        let Some(root) = self.find_root(generation).await? else {
            return self.upload(generation, archive).await;
        };
        self.in_volume(root, generation, move |volume| {
            folder::unpack(volume, &archive, Some(USER))?;
            folder::sync(volume)
        })
        .await
    }

    /// Reads a seed back.
    pub(super) async fn read_back(&self, generation: &Generation) -> Result<ReadBack, EngineError> {
        let is_sample = self.disk.samples().generations.remove(generation);
        let Some(root) = self.disk.root().await else {
            return self.download_seed(generation).await;
        };
        let here = self.in_volume(root, generation, |volume| {
            ReadBack::of_folder(volume.try_clone()?)
        });
        if !is_sample {
            return here.await;
        }
        let there = self.download_seed(generation).await?;
        if here.await.as_ref() != Ok(&there) {
            // Another engine may answer at this endpoint by now.
            *self.disk.place.lock().await = Place::Elsewhere;
        }
        Ok(there)
    }

    /// The folder of the engine's volumes. `None`: it is not on this machine's disk.
    async fn find_root(&self, generation: &Generation) -> Result<Option<PathBuf>, EngineError> {
        let mut place = self.disk.place.lock().await;
        if let Place::Claimed(root) = &*place {
            let root = root.clone();
            *place = match self.is_here(&root, generation).await? {
                true => Place::Here(root),
                false => Place::Elsewhere,
            };
        }
        Ok(match &*place {
            Place::Here(root) => Some(root.clone()),
            _ => None,
        })
    }

    /// Whether a file that this machine writes below `root` is in the engine's own archive of the same volume. Leaves nothing
    /// behind.
    async fn is_here(&self, root: &Path, generation: &Generation) -> Result<bool, EngineError> {
        if !root.is_dir() {
            return Ok(false);
        }
        match answered(self.facts().await)? {
            Some(facts) if !facts.maps_or_labels => {}
            _ => return Ok(false),
        }
        let (Ok(name), Ok(content)) = (random::<8>(), random::<32>()) else {
            return Ok(false);
        };
        let name = format!(".orghost-{}", hex(name));
        let file = name.clone();
        let write = self.in_volume(root.to_owned(), generation, move |volume| {
            write_probe(volume, &file, &content)
        });
        let seen = match write.await {
            Ok(()) => {
                self.download(generation, &format!("{CONFIGS}/{name}"))
                    .await
            }
            // This user may not write there.
            Err(_) => return Ok(false),
        };
        let remove = self.in_volume(root.to_owned(), generation, move |volume| {
            volume.remove_file(&name)
        });
        remove.await?;
        let archive = answered(seen)?;
        Ok(archive.is_some_and(|archive| is_probe(&archive, &content).unwrap_or(false)))
    }

    /// Does work in the folder of a seed's volume, below `root` on this machine.
    async fn in_volume<T: Send + 'static>(
        &self,
        root: PathBuf,
        generation: &Generation,
        work: impl FnOnce(&Dir) -> io::Result<T> + Send + 'static,
    ) -> Result<T, EngineError> {
        let name = names::volume(&Volume::Configs(generation.clone()));
        let work = move || {
            let opened = folder::open(&root, &[&name, DATA]);
            let path = root.join(&name).join(DATA);
            opened
                .and_then(|volume| work(&volume))
                .map_err(|e| unusable(&path, &e))
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.unwrap_or_else(|error| Err(answer::refused(&error.to_string())))
    }

    async fn upload(&self, generation: &Generation, archive: Vec<u8>) -> Result<(), EngineError> {
        // Not at `/`: some engines then write to the container's layer below the volume instead of into the volume.
        let options = UploadToContainerOptionsBuilder::default().path(CONFIGS);
        let body = bollard::body_full(Bytes::from(archive));
        self.client
            .upload_to_container(&names::container(generation), Some(options.build()), body)
            .await
            .map_err(|e| self.error(e))
    }

    async fn download_seed(&self, generation: &Generation) -> Result<ReadBack, EngineError> {
        let archive = self.download(generation, CONFIGS).await?;
        let root = CONFIGS.trim_start_matches('/');
        let read_back =
            tokio::task::spawn_blocking(move || ReadBack::of_archive(archive.as_slice(), root));
        match read_back.await {
            Ok(Ok(read_back)) => Ok(read_back),
            Ok(Err(error)) => Err(answer::refused(&format!(
                "the archive that it sent is broken: {error}"
            ))),
            Err(error) => Err(answer::refused(&error.to_string())),
        }
    }

    /// The archive of a path in a container.
    async fn download(&self, generation: &Generation, path: &str) -> Result<Vec<u8>, EngineError> {
        let options = DownloadFromContainerOptionsBuilder::default().path(path);
        let mut download = self
            .client
            .download_from_container(&names::container(generation), Some(options.build()));
        let mut archive = Vec::new();
        while let Some(chunk) = download.try_next().await.map_err(|e| self.error(e))? {
            archive.extend_from_slice(&chunk);
            if archive.len() as u64 > limits::SEED_ARCHIVE_BYTES {
                return Err(EngineError::Refused(format!(
                    "the files under {CONFIGS} have more than {} MiB",
                    limits::SEED_ARCHIVE_BYTES >> 20
                )));
            }
        }
        Ok(archive)
    }
}

/// The folder with the content of a volume, in the folder of that volume.
const DATA: &str = "_data";

/// The folder of all volumes, from that of one. `None`: an engine does not lay them out in this way.
fn root_of(folder: &str, volume: &str) -> Option<PathBuf> {
    let root = Path::new(folder).parent()?.parent()?;
    let is_as_usual = root.is_absolute() && root.join(volume).join(DATA) == Path::new(folder);
    is_as_usual.then(|| root.to_owned())
}

/// `None`: the engine refused. Only an engine that does not answer is an error.
fn answered<T>(answer: Result<T, EngineError>) -> Result<Option<T>, EngineError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error @ (EngineError::Away { .. } | EngineError::TimedOut(_))) => Err(error),
        Err(_) => Ok(None),
    }
}

fn write_probe(volume: &Dir, name: &str, content: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = volume.open_with(name, &options)?;
    let written = std::os::unix::fs::fchown(&file, Some(USER), Some(USER));
    let written = written.and_then(|()| file.write_all(content));
    if written.is_err() {
        volume.remove_file(name)?;
    }
    written
}

/// Whether an archive holds only the file that [`write_probe`] wrote, with its owner and mode.
fn is_probe(archive: &[u8], content: &[u8]) -> io::Result<bool> {
    let mut archive = tar::Archive::new(archive);
    let mut entries = archive.entries()?;
    let Some(entry) = entries.next() else {
        return Ok(false);
    };
    let mut entry = entry?;
    let header = entry.header();
    let is_owned = header.uid()? == OWNER && header.gid()? == OWNER;
    let is_as_written = is_owned && header.mode()? & 0o777 == 0o600;
    let mut found = Vec::new();
    entry.read_to_end(&mut found)?;
    Ok(is_as_written && found == content && entries.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_all_volumes_is_two_above_that_of_one() {
        let root = root_of("/var/lib/docker/volumes/ws-1-configs/_data", "ws-1-configs");
        assert_eq!(root.unwrap(), Path::new("/var/lib/docker/volumes"));
        for folder in [
            "",
            "/nowhere",
            "/etc/cron.d",
            "ws-1-configs/_data",
            "/v/other/_data",
            "/v/ws-1-configs/_data/../_data",
            "/v/ws-1-configs/data",
        ] {
            assert_eq!(root_of(folder, "ws-1-configs"), None, "{folder}");
        }
    }
}
