//! What is to run: an approved workspace, its runtime and its seed, with a
//! digest that decides whether a re-run has anything to do. Pure but for
//! reading the template's files once, to know their digests.

use sha2::{Digest as _, Sha256};

use super::seed::{Programs, Seed, SeedError};
use crate::config::Runtime;
use crate::model::digest::hex;
use crate::model::env_map::EnvMap;
pub use crate::model::ids::{InstanceId, OperationId, OrgId, WorkspaceId};
use crate::model::plan::WorkspaceKey;
use crate::planning::policy::{Mount, Tier, Workspace};
use crate::template::directory::TemplateDir;

/// One workspace, ready to be provisioned.
#[derive(Debug)]
pub struct Spec {
    /// Its identity for an engine.
    pub id: WorkspaceId,
    /// Its org.
    pub org: OrgId,
    /// Its key in the org.
    pub key: WorkspaceKey,
    /// What people call it.
    pub name: String,
    /// Its parent's identity.
    pub parent: Option<WorkspaceId>,
    /// What the template calls its runtime.
    pub runtime_name: String,
    /// How it runs.
    pub runtime: Runtime,
    /// How much of the machine it gets.
    pub tier: Tier,
    /// Its own variables.
    pub env: EnvMap,
    /// A directory of the operator's.
    pub mount: Option<Mount>,
    /// What stands under `/configs`.
    pub seed: Seed,
    /// The sha-256 of all of the above, as hexadecimal digits.
    pub digest: String,
}

impl Spec {
    /// Puts together what is to run, and reads the seed's files for their digests.
    ///
    /// # Errors
    /// [`SeedError`] names the file.
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

    /// Every part with its length before it, so that no two specs share a text.
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
        // After what is always there, so that specs without them keep their digests.
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
        hex(&hash.finalize())
    }
}
