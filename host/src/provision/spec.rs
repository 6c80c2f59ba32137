//! Everything that an engine needs to make one workspace: the approved workspace, its runtime and its seed.
//!
//! The digest of it decides whether a later run has anything to do. The only I/O is to read the template's files once, for
//! their digests.

use sha2::{Digest as _, Sha256};

use super::seed::{Programs, Seed, SeedError};
use crate::config::Runtime;
use crate::model::digest::hex;
use crate::model::env_map::EnvMap;
pub use crate::model::ids::{InstanceId, OperationId, OrgId, WorkspaceId};
use crate::model::plan::WorkspaceKey;
use crate::planning::policy::{Mount, Tier, Workspace};
use crate::template::directory::TemplateDir;

/// One approved workspace, ready to be provisioned. Only an approved workspace can be made into one.
#[derive(Debug)]
pub struct Spec {
    /// The workspace's identity.
    pub id: WorkspaceId,
    /// Its org.
    pub org: OrgId,
    /// Its key, unique in the org.
    pub key: WorkspaceKey,
    /// Its name for people.
    pub name: String,
    /// The identity of its parent; `None` at the top of the org.
    pub parent: Option<WorkspaceId>,
    /// The name of its runtime in the configuration file, or `demo`.
    pub runtime_name: String,
    /// Its runtime: the image or command, the port and the grants.
    pub runtime: Runtime,
    /// How much of the machine it gets.
    pub tier: Tier,
    /// Its own variables, without those of its runtime and of the host.
    pub env: EnvMap,
    /// The operator's directory that it mounts, if any.
    pub mount: Option<Mount>,
    /// The files that are seeded under `/configs`.
    pub seed: Seed,
    /// The SHA-256 over everything above that decides how it runs, as 64 hexadecimal digits.
    pub digest: String,
}

impl Spec {
    /// Makes the spec of a workspace; reads the files of its seed for their digests.
    ///
    /// # Errors
    /// [`SeedError`] when a file of the seed cannot be read, or all files together are too large.
    pub fn new(
        org: &OrgId,
        (id, parent): (WorkspaceId, Option<WorkspaceId>),
        workspace: &Workspace,
        runtime_name: &str,
        runtime: &Runtime,
        template: &TemplateDir,
        programs: Programs,
    ) -> Result<Self, SeedError> {
        let mut spec = Self {
            id,
            org: org.clone(),
            key: workspace.key.clone(),
            name: workspace.name.clone(),
            parent,
            runtime_name: runtime_name.to_owned(),
            runtime: runtime.clone(),
            tier: workspace.tier,
            env: workspace.env.clone(),
            mount: workspace.mount.clone(),
            seed: Seed::read(&workspace.files, template, programs)?,
            digest: String::new(),
        };
        spec.digest = spec.compute_digest();
        Ok(spec)
    }

    /// Hashes every part with its length before it, so that different specs never give the same text.
    fn compute_digest(&self) -> String {
        let mut hash = Sha256::new();
        let mut part = |text: &str| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        };
        part("orghost spec 1");
        part(&self.name);
        part(self.runtime.image.as_deref().unwrap_or_default());
        for argument in self.runtime.command.iter().flatten() {
            part(argument);
        }
        part(&self.runtime.port.to_string());
        part(&u8::from(self.tier).to_string());
        for env in [&self.runtime.env, &self.env] {
            part(&env.len().to_string());
            for (name, value) in env {
                part(name);
                part(value);
            }
        }
        if let Some(mount) = &self.mount {
            part(&mount.source.to_string_lossy());
            part(if mount.writable { "rw" } else { "ro" });
        }
        part(self.seed.manifest().digest().as_str());
        // Optional parts come last, so that specs without them keep the digest that they had before these parts existed.
        let granted = [("read", &self.runtime.read), ("write", &self.runtime.write)];
        for (what, paths) in granted.iter().filter(|(_, paths)| !paths.is_empty()) {
            part(what);
            part(&paths.len().to_string());
            for path in *paths {
                part(&path.to_string_lossy());
            }
        }
        if self.runtime.unix_sockets {
            part("unix_sockets");
        }
        hex(hash.finalize())
    }
}
