//! Names of workspaces, compared in Unicode's normalisation form C, and the digests of names and texts.

use sha2::{Digest as _, Sha256};
use unicode_normalization::UnicodeNormalization as _;

/// A name in normalisation form C.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name(String);

/// A SHA-256.
pub(crate) type Hash = [u8; 32];

impl Name {
    pub fn new(name: &str) -> Self {
        Self(name.nfc().collect())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn digest(&self) -> Hash {
        digest(&self.0)
    }
}

/// The identity of a workspace: a digest of its path of names, from the org down. Different paths have different
/// identities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Identity(Hash);

impl Identity {
    /// The org, which is the parent of every root.
    pub const ORG: Self = Self([0; 32]);

    /// The identity of the child with this name.
    pub fn below(self, name: &Name) -> Self {
        let mut sha = Sha256::new();
        sha.update(self.0);
        sha.update(name.as_str());
        Self(sha.finalize().into())
    }
}

/// The SHA-256 of a text.
pub(crate) fn digest(text: &str) -> Hash {
    Sha256::digest(text).into()
}

/// The first hex digits of a digest.
pub(crate) fn hex(digest: &Hash, digits: usize) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16);
    let nibbles = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    nibbles.take(digits).filter_map(digit).collect()
}
