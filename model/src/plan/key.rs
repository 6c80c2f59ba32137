//! The key of a workspace, and the slugs of which it is made.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits;

/// A path of slugs, one for each ancestor and one for the workspace itself, such as `pm/dev-lead/core-lead`. A slug is
/// `[a-z0-9]+(-[a-z0-9]+)*` and has at most 63 bytes. People address a workspace by its key. The key is not the workspace's
/// identity, because adding or removing a sibling can change it; the identity is made from the [`NamePath`](crate::names::NamePath).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WorkspaceKey(String);

/// The text is not a [`WorkspaceKey`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a workspace key, which is slugs of [a-z0-9-] joined by `/`")]
pub struct InvalidKey(pub String);

impl WorkspaceKey {
    /// Parses a path of slugs.
    ///
    /// # Errors
    /// [`InvalidKey`], with the text, when it is not a path of slugs or is longer than [`limits::KEY_BYTES`].
    pub fn new(text: &str) -> Result<Self, InvalidKey> {
        if text.len() <= limits::KEY_BYTES && text.split('/').all(is_slug) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidKey(text.to_owned()))
        }
    }

    /// The key of a child of `parent`, or of a workspace at the top. `slug` must be a slug.
    pub fn below(parent: Option<&Self>, slug: &str) -> Self {
        Self(match parent {
            Some(parent) => format!("{parent}/{slug}"),
            None => slug.to_owned(),
        })
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last slug.
    pub fn slug(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The key without its last slug.
    pub fn parent(&self) -> Option<&str> {
        self.0.rsplit_once('/').map(|(parent, _)| parent)
    }

    /// The number of ancestors.
    pub fn depth(&self) -> usize {
        self.0.matches('/').count()
    }
}

impl TryFrom<String> for WorkspaceKey {
    type Error = InvalidKey;

    fn try_from(text: String) -> Result<Self, InvalidKey> {
        Self::new(&text)
    }
}

impl From<WorkspaceKey> for String {
    fn from(key: WorkspaceKey) -> Self {
        key.0
    }
}

impl fmt::Display for WorkspaceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a text is a slug: `[a-z0-9]+(-[a-z0-9]+)*` of at most 63 bytes, as a label in RFC 1123.
pub fn is_slug(text: &str) -> bool {
    text.len() <= 63
        && text.split('-').all(|part| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        })
}
