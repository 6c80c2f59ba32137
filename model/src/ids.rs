//! Identities of a host, an org, an operation and a workspace. No I/O.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use unicode_normalization::UnicodeNormalization as _;

use super::digest::hex;
use super::names::{NamePath, readable};

/// The identity of an org: the host's instance and the org's slug.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OrgId {
    instance: InstanceId,
    slug: String,
}

/// The random identity of a state folder. It separates the workspaces of two hosts on one engine.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct InstanceId(pub String);

/// The identity of one operation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct OperationId(pub String);

/// The identity of a workspace: 32 hexadecimal digits. It is assigned once to a path of names in an org of a host, and the
/// store keeps it. It is never shortened (`spec/provisioning.md` §2).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WorkspaceId(String);

/// The text is not a [`WorkspaceId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a workspace identity, which has 32 lower-case hexadecimal digits")]
pub struct InvalidId(String);

impl OrgId {
    /// The identity of an org that the host does not know yet. Its slug is made from its name.
    pub fn new(instance: InstanceId, name: &str) -> Self {
        Self {
            instance,
            slug: slug(name),
        }
    }

    /// The identity of an org that the store knows by this slug.
    pub fn known(instance: InstanceId, slug: &str) -> Self {
        Self {
            instance,
            slug: slug.to_owned(),
        }
    }

    /// The instance of the host.
    pub fn instance(&self) -> &InstanceId {
        &self.instance
    }

    /// The org's name as a slug.
    pub fn slug(&self) -> &str {
        &self.slug
    }
}

impl InstanceId {
    /// An instance that is already known: 16 hexadecimal digits.
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
    /// The identity of a new workspace. `number` is 0, or higher when an earlier workspace with this path already has the
    /// identities of the lower numbers.
    pub fn of(org: &OrgId, path: &NamePath, number: u32) -> Self {
        let mut hash = Sha256::new();
        // The length of each part is hashed before it, so that two different paths never hash the same text.
        let mut part = |text: &str| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        };
        part("orghost workspace 1");
        part(&org.instance.0);
        part(&org.slug);
        part(&number.to_string());
        for name in path.names() {
            part(name);
        }
        let mut digits = hex(hash.finalize());
        digits.truncate(32);
        Self(digits)
    }

    /// Parses exactly 32 lower-case hexadecimal digits. `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        (text.len() == 32 && digits).then(|| Self(text.to_owned()))
    }

    /// The identity as text.
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

/// The slug of an org's name, for labels, commands and folders. A name with letters outside ASCII is transliterated and a
/// long name is cut. Both get eight digits of the name's digest, so that two such names do not become one org.
fn slug(name: &str) -> String {
    const LONGEST: usize = 48;
    let name: String = name.nfc().collect();
    let mut slug = readable(&name).unwrap_or_default();
    if slug.is_empty() || slug.len() > LONGEST || !name.is_ascii() {
        let digest = hex(Sha256::digest(&name));
        slug.truncate(LONGEST);
        let digits = digest.get(..8).unwrap_or_default();
        slug = [slug.trim_end_matches('-'), digits].join("-");
    }
    slug.trim_start_matches('-').to_owned()
}
