//! Identities: of a host, an org, an operation and a workspace. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use unicode_normalization::UnicodeNormalization as _;

use super::names::{NamePath, readable};
use crate::model::digest::hex;

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

/// A workspace's identity: 32 hexadecimal digits, given once for a path of
/// names in an org of a host, and kept by the store. Never shortened
/// (`spec/provisioning.md` §2).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WorkspaceId(String);

/// A text is no [`WorkspaceId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an identity of a workspace: 32 lower-case hexadecimal digits")]
pub struct InvalidId(String);

impl OrgId {
    /// An org that the host does not know yet: the slug of its name will be its identity there.
    pub fn new(instance: InstanceId, name: &str) -> Self {
        Self {
            instance,
            slug: slug(name),
        }
    }

    /// An org that the store knows by this slug.
    pub fn known(instance: InstanceId, slug: &str) -> Self {
        Self {
            instance,
            slug: slug.to_owned(),
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
}

impl InstanceId {
    /// A known instance: 16 hexadecimal digits.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

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
    /// The identity of a workspace that was never known. `generation` is above 0 when one who was called so before has
    /// the identities below it.
    pub fn of(org: &OrgId, path: &NamePath, generation: u32) -> Self {
        let mut hash = Sha256::new();
        // Every part with its length before it, so that no two paths share a text.
        let mut part = |text: &str| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        };
        part("orghost workspace 1");
        part(&org.instance.0);
        part(&org.slug);
        part(&generation.to_string());
        for name in path.names() {
            part(name);
        }
        let mut digits = hex(&hash.finalize());
        digits.truncate(32);
        Self(digits)
    }

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

impl TryFrom<String> for WorkspaceId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        Self::parse(&text).ok_or(InvalidId(text))
    }
}

impl From<WorkspaceId> for String {
    fn from(id: WorkspaceId) -> Self {
        id.0
    }
}

impl fmt::Display for WorkspaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name as a slug: what stands in labels, commands and folders. A name that
/// a slug cannot hold (letters other than ASCII's, too long) is transliterated
/// or cut, and gets some digits of its digest, so that two such names do not
/// become one org.
fn slug(name: &str) -> String {
    const LONGEST: usize = 48;
    let name: String = name.nfc().collect();
    let mut slug = readable(&name).unwrap_or_default();
    if slug.is_empty() || slug.len() > LONGEST || !name.is_ascii() {
        let digest = hex(&Sha256::digest(&name));
        slug.truncate(LONGEST);
        let digits = digest.get(..8).unwrap_or_default();
        slug = [slug.trim_end_matches('-'), digits].join("-");
    }
    slug.trim_start_matches('-').to_owned()
}
