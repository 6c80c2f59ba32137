//! Translates the files of a seed into swarm configs and secrets: a secret for a file that only its owner may read, a config
//! for every other. Pure.

use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::models::{
    ConfigSpec, Driver, SecretSpec, TaskSpecContainerSpecConfigs, TaskSpecContainerSpecFile,
    TaskSpecContainerSpecFile1, TaskSpecContainerSpecSecrets,
};
use sha2::{Digest as _, Sha256};

use crate::limits;
use crate::model::digest::hex;
use crate::provision::engine::docker::answer;
use crate::provision::engine::docker::body::CONFIGS;
use crate::provision::engine::docker::names::{self, Labels};
use crate::provision::engine::error::EngineError;
use crate::provision::generation::Generation;
use crate::provision::seed::{FileFacts, OWNER};

/// The label with the digest of a secret, whose bytes the engine never returns.
const SHA256: &str = "orghost.sha256";
const SIZE: &str = "orghost.size";

/// A swarm refuses empty files. This text is a template of the engine's, which becomes an empty file when it is mounted.
const NOTHING: &[u8] = br#"{{""}}"#;
const TEMPLATE: &str = "golang";

/// One file of a seed.
pub(super) struct File {
    path: String,
    mode: u32,
    bytes: Vec<u8>,
}

/// Unpacks an archive, and checks that a swarm can hold its files.
///
/// # Errors
/// [`EngineError::FileTooLarge`], [`EngineError::TooManyFiles`], and [`EngineError::Refused`] for a broken archive.
pub(super) fn unpack(archive: &[u8]) -> Result<Vec<File>, EngineError> {
    let broken =
        |e: std::io::Error| answer::refused(&format!("the archive of the seed is broken: {e}"));
    let mut files = Vec::new();
    for entry in tar::Archive::new(archive).entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let mode = entry.header().mode().map_err(broken)? & 0o777;
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(broken)?;
        let file = File { path, mode, bytes };
        file.check()?;
        files.push(file);
    }
    if files.len() > limits::SWARM_FILES {
        return Err(EngineError::TooManyFiles {
            files: files.len(),
            limit: limits::SWARM_FILES,
        });
    }
    Ok(files)
}

impl File {
    /// Whether only its owner may read it.
    pub(super) fn is_secret(&self) -> bool {
        self.mode & 0o077 == 0
    }

    fn check(&self) -> Result<(), EngineError> {
        let (what, limit) = if self.is_secret() {
            ("secret", limits::SWARM_SECRET_BYTES)
        } else {
            ("config", limits::SWARM_CONFIG_BYTES)
        };
        if self.bytes.len() <= limit {
            return Ok(());
        }
        Err(EngineError::FileTooLarge {
            path: self.path.clone(),
            size: self.bytes.len(),
            what,
            limit,
        })
    }

    /// The name of its config or secret: the name of the generation, with 16 digits of a digest of the file. So a config or
    /// secret in use never has to change. An engine allows 64 characters, and the longest name of a container has 46.
    pub(super) fn name(&self, generation: &Generation) -> String {
        let mut hash = Sha256::new();
        hash.update(format!("{}\0{:o}\0", self.path, self.mode));
        hash.update(&self.bytes);
        let mut digits = hex(hash.finalize());
        digits.truncate(16);
        format!("{}-{digits}", names::container(generation))
    }

    /// The encoded bytes, and the template driver that makes the file from them, if any.
    fn data(&self) -> (String, Option<Driver>) {
        if !self.bytes.is_empty() {
            return (STANDARD.encode(&self.bytes), None);
        }
        let template = Driver {
            name: TEMPLATE.to_owned(),
            ..Driver::default()
        };
        (STANDARD.encode(NOTHING), Some(template))
    }

    /// The request that makes its config.
    pub(super) fn config(&self, generation: &Generation, labels: &Labels) -> ConfigSpec {
        let (data, templating) = self.data();
        ConfigSpec {
            name: Some(self.name(generation)),
            labels: Some(labels.clone()),
            data: Some(data),
            templating,
        }
    }

    /// The request that makes its secret. The digest is a label in the same request, which the engine stores as a whole.
    pub(super) fn secret(&self, generation: &Generation, labels: &Labels) -> SecretSpec {
        let (data, templating) = self.data();
        let facts = FileFacts::of(&self.bytes, self.mode);
        let mut labels = labels.clone();
        labels.insert(SHA256.to_owned(), facts.sha256);
        labels.insert(SIZE.to_owned(), facts.size.to_string());
        SecretSpec {
            name: Some(self.name(generation)),
            labels: Some(labels),
            data: Some(data),
            templating,
            ..SecretSpec::default()
        }
    }

    /// How the service mounts its config.
    pub(super) fn mount_config(
        &self,
        generation: &Generation,
        config: String,
    ) -> TaskSpecContainerSpecConfigs {
        TaskSpecContainerSpecConfigs {
            config_id: Some(config),
            config_name: Some(self.name(generation)),
            file: Some(TaskSpecContainerSpecFile1 {
                name: Some(format!("{CONFIGS}/{}", self.path)),
                uid: Some(OWNER.to_string()),
                gid: Some(OWNER.to_string()),
                mode: Some(self.mode),
            }),
            ..TaskSpecContainerSpecConfigs::default()
        }
    }

    /// How the service mounts its secret.
    pub(super) fn mount_secret(
        &self,
        generation: &Generation,
        secret: String,
    ) -> TaskSpecContainerSpecSecrets {
        TaskSpecContainerSpecSecrets {
            secret_id: Some(secret),
            secret_name: Some(self.name(generation)),
            file: Some(TaskSpecContainerSpecFile {
                name: Some(format!("{CONFIGS}/{}", self.path)),
                uid: Some(OWNER.to_string()),
                gid: Some(OWNER.to_string()),
                mode: Some(self.mode),
            }),
        }
    }
}

/// The facts of the file in a config. `None`: this host did not make it.
pub(super) fn config_facts(config: &ConfigSpec, mode: u32) -> Option<FileFacts> {
    let bytes = STANDARD.decode(config.data.as_deref()?).ok()?;
    match &config.templating {
        None => Some(FileFacts::of(&bytes, mode)),
        Some(driver) if driver.name == TEMPLATE && bytes == NOTHING => {
            Some(FileFacts::of(b"", mode))
        }
        Some(_) => None,
    }
}

/// The facts of the file in a secret, from its labels. `None`: this host did not make it.
pub(super) fn secret_facts(secret: &SecretSpec, mode: u32) -> Option<FileFacts> {
    let labels = secret.labels.as_ref()?;
    Some(FileFacts {
        mode,
        size: labels.get(SIZE)?.parse().ok()?,
        sha256: labels.get(SHA256)?.clone(),
    })
}

/// The path in the seed of a file that is mounted here. `None`: it is mounted outside `/configs`.
pub(super) fn seed_path(target: &str) -> Option<&str> {
    target.strip_prefix(CONFIGS)?.strip_prefix('/')
}
