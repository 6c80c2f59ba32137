//! Who may ask a server, and for what. Knows tokens only as their digests; speaks no HTTP and no SQL.

use sha2::{Digest as _, Sha256};

use crate::model::digest::hex;
use crate::random::{NoRandomness, random};

/// What a token may do; each scope may also do what those before it may.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
    clap::ValueEnum,
    utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Look at orgs, workspaces, templates, plugins and events.
    Read,
    /// Plan templates.
    Plan,
    /// Import, change and remove orgs, and call their workspaces.
    Write,
    /// Install and remove plugins, read the audit.
    Admin,
}

impl Scope {
    /// The scope as a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Plan => "plan",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }

    /// A scope's word; `None` for every other one.
    pub fn parse(word: &str) -> Option<Self> {
        let all = [Self::Read, Self::Plan, Self::Write, Self::Admin];
        all.into_iter().find(|scope| scope.as_str() == word)
    }
}

/// What every token begins with, so that people and scanners of leaked secrets know what it is.
const PREFIX: &str = "orgh_";
const BYTES: usize = 32;

/// The sha-256 of a token's text: all that is kept of it. The text has 256 random bits, so a fast digest is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenDigest(pub(crate) [u8; 32]);

impl TokenDigest {
    /// The digest of what somebody presents; `None` when it does not look like a token.
    pub fn of(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(PREFIX)?;
        let is_one = digits.len() == 2 * BYTES && digits.bytes().all(|b| b.is_ascii_hexdigit());
        is_one.then(|| Self(Sha256::digest(text.as_bytes()).into()))
    }
}

/// A new token's text, which nobody can guess, and its digest.
///
/// # Errors
/// [`NoRandomness`].
pub fn mint() -> Result<(String, TokenDigest), NoRandomness> {
    let text = format!("{PREFIX}{}", hex(&random::<BYTES>()?));
    let digest = TokenDigest(Sha256::digest(text.as_bytes()).into());
    Ok((text, digest))
}

/// Who asks, after it was found out. A handler that gets none was asked by a workspace, or needs nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The token's id, or `loopback`.
    pub id: String,
    /// Whose token it is.
    pub name: String,
    /// What they may do.
    pub scope: Scope,
}

impl Caller {
    /// Whoever asks from this machine while no token was ever made: the operator.
    pub fn loopback() -> Self {
        Self {
            id: "loopback".to_owned(),
            name: String::new(),
            scope: Scope::Admin,
        }
    }
}
