//! What is to run: an approved workspace, its runtime and its seed, with a
//! digest that decides whether a re-run has anything to do. Pure but for
//! reading the template's files once, to know their digests.

use std::fmt;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::seed::{Seed, SeedError};
use crate::config::Runtime;
use crate::digest::hex;
use crate::env_map::EnvMap;
use crate::plan::WorkspaceKey;
use crate::policy::{Mount, Tier, Workspace};
use crate::template::TemplateDir;

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

/// An org on one host: the host's instance and the org's slug.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OrgId {
    instance: InstanceId,
    slug: String,
}

/// A state folder's own random identity: two hosts never touch each other's workspaces.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct InstanceId(pub(crate) String);

/// One `up` or `down`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct OperationId(pub(crate) String);

/// A workspace's identity: 32 hexadecimal digits, the same on every run of
/// the same key in the same org of the same host. Never shortened
/// (`spec/provisioning.md` §2).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct WorkspaceId(String);

impl OrgId {
    /// An org of a host. The slug of its name is its identity there.
    pub fn new(instance: InstanceId, name: &str) -> Self {
        Self {
            instance,
            slug: slug(name),
        }
    }

    /// The host's instance.
    pub fn instance(&self) -> &InstanceId {
        &self.instance
    }

    /// The org's name as a slug.
    pub fn slug(&self) -> &str {
        &self.slug
    }

    /// The identity of one of its workspaces.
    pub fn workspace(&self, key: &WorkspaceKey) -> WorkspaceId {
        let text = format!("{}\0{}\0{}", self.instance.0, self.slug, key);
        let mut digits = hex(&Sha256::digest(text));
        digits.truncate(32);
        WorkspaceId(digits)
    }
}

impl InstanceId {
    /// The identity as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl OperationId {
    /// The identity as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl WorkspaceId {
    /// Accepts exactly 32 lower-case hexadecimal digits: what a label may hold.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        (text.len() == 32 && digits).then(|| Self(text.to_owned()))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkspaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Spec {
    /// Puts together what is to run, and reads the seed's files for their digests.
    ///
    /// # Errors
    /// [`SeedError`] names the file.
    pub fn new(
        org: &OrgId,
        workspace: &Workspace,
        runtime_name: &str,
        runtime: &Runtime,
        template: &TemplateDir,
    ) -> Result<Self, SeedError> {
        let mut spec = Self {
            id: org.workspace(&workspace.key),
            org: org.clone(),
            key: workspace.key.clone(),
            name: workspace.name.clone(),
            parent: workspace.parent.as_ref().map(|key| org.workspace(key)),
            runtime_name: runtime_name.to_owned(),
            runtime: runtime.clone(),
            tier: workspace.tier,
            env: workspace.env.clone(),
            mount: workspace.mount.clone(),
            seed: Seed::read(&workspace.files, template)?,
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
        hex(&hash.finalize())
    }
}

/// A name as a slug: what stands in labels, commands and folders. A name that
/// a slug cannot hold (letters other than ASCII's, too long) gets some digits
/// of its digest, so that two such names do not become one org.
pub fn slug(name: &str) -> String {
    const LONGEST: usize = 48;
    let mut slug = String::new();
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            slug.push(c.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    let mut slug = slug.trim_end_matches('-').to_owned();
    if slug.is_empty() || slug.len() > LONGEST || !name.is_ascii() {
        let digest = hex(&Sha256::digest(name));
        slug.truncate(LONGEST);
        let digits = digest.get(..8).unwrap_or_default();
        slug = [slug.trim_end_matches('-'), digits].join("-");
    }
    slug.trim_start_matches('-').to_owned()
}
