//! Names of workspaces: paths of exact names, and the transliteration of a name to ASCII.

use std::fmt;

use deunicode::deunicode_with_tofu;
use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization as _;

/// The names of a workspace's ancestors, outermost first, then its own name. Never empty. Each name is in Unicode's
/// normalisation form C (UAX #15), so that two spellings of one name are equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct NamePath(Vec<String>);

/// The path has no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a workspace's path has at least one name")]
pub struct EmptyPath;

impl NamePath {
    /// The path of a workspace without a parent.
    pub fn root(name: &str) -> Self {
        Self(vec![name.nfc().collect()])
    }

    /// The path of a child of this workspace.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        let mut names = self.0.clone();
        names.push(name.nfc().collect());
        Self(names)
    }

    /// The path of a child of `parent`, or of a workspace without one.
    pub fn below(parent: Option<&Self>, name: &str) -> Self {
        parent.map_or_else(|| Self::root(name), |parent| parent.child(name))
    }

    /// The path of the parent, if there is one.
    pub fn parent(&self) -> Option<Self> {
        let (_, ancestors) = self.0.split_last()?;
        (!ancestors.is_empty()).then(|| Self(ancestors.to_vec()))
    }

    /// Whether it is a descendant of `ancestor`.
    pub fn is_below(&self, ancestor: &Self) -> bool {
        self.0.len() > ancestor.0.len() && self.0.starts_with(&ancestor.0)
    }

    pub(super) fn ancestors(&self) -> impl Iterator<Item = Self> {
        std::iter::successors(self.parent(), Self::parent)
    }

    /// The workspace's own name.
    pub fn name(&self) -> &str {
        self.0.last().map_or("", String::as_str)
    }

    /// The number of ancestors.
    pub fn depth(&self) -> usize {
        self.0.len().saturating_sub(1)
    }

    /// All names, outermost first.
    pub fn names(&self) -> &[String] {
        &self.0
    }
}

impl TryFrom<Vec<String>> for NamePath {
    type Error = EmptyPath;

    fn try_from(names: Vec<String>) -> Result<Self, EmptyPath> {
        let names: Vec<String> = names.iter().map(|name| name.nfc().collect()).collect();
        if names.is_empty() {
            return Err(EmptyPath);
        }
        Ok(Self(names))
    }
}

impl From<NamePath> for Vec<String> {
    fn from(path: NamePath) -> Self {
        path.0
    }
}

impl fmt::Display for NamePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" / "))
    }
}

/// The name transliterated to lower-case ASCII letters and digits, with `-` between them. `None` when the name has no letter
/// and no digit.
pub fn readable(name: &str) -> Option<String> {
    let ascii = deunicode_with_tofu(name, " ");
    let words = ascii
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    let slug = words.collect::<Vec<_>>().join("-").to_ascii_lowercase();
    (!slug.is_empty()).then_some(slug)
}
