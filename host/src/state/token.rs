//! API tokens and their scopes: who may call a server, and what for. Keeps only the digest of a token; no HTTP, no SQL.

use sha2::{Digest as _, Sha256};

use crate::model::digest::hex;
use crate::random::{NoRandomness, random};

/// What a token allows. Each scope includes the scopes before it.
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
    /// The scope as it is written in the store, in JSON and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Plan => "plan",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }

    /// Reads a scope; `None` for an unknown word.
    pub fn parse(word: &str) -> Option<Self> {
        let all = [Self::Read, Self::Plan, Self::Write, Self::Admin];
        all.into_iter().find(|scope| scope.as_str() == word)
    }
}

/// The prefix of every token, by which people and scanners for leaked secrets recognise one.
const PREFIX: &str = "orgh_";
const BYTES: usize = 32;

/// The SHA-256 of a token's text; the text is not kept. It has 256 random bits, so a fast digest is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest(pub(crate) [u8; 32]);

impl TokenDigest {
    /// The digest of a presented text; `None` when the text does not have the form of a token.
    pub fn of(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(PREFIX)?;
        let is_one = digits.len() == 2 * BYTES && digits.bytes().all(|b| b.is_ascii_hexdigit());
        is_one.then(|| Self(Sha256::digest(text.as_bytes()).into()))
    }
}

/// Makes a new token of 256 random bits, and returns its text and digest.
///
/// # Errors
/// [`NoRandomness`] when the operating system gives no random bytes.
pub fn mint() -> Result<(String, TokenDigest), NoRandomness> {
    let text = format!("{PREFIX}{}", hex(random::<BYTES>()?));
    let digest = TokenDigest(Sha256::digest(text.as_bytes()).into());
    Ok((text, digest))
}

/// The authenticated caller of a request. Requests of workspaces, and routes without authentication, have none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The id of the token, or `loopback`.
    pub id: String,
    /// The name of the token.
    pub name: String,
    /// What the caller is allowed to do.
    pub scope: Scope,
}

impl Caller {
    /// The operator, on a host without tokens: requests from this machine then need none.
    pub fn loopback() -> Self {
        Self {
            id: "loopback".to_owned(),
            name: String::new(),
            scope: Scope::Admin,
        }
    }
}
