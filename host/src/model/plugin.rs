//! What is known of a plugin without running it: its name, its digest, its limits, and the keys that sign it.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::diagnostic::Diagnostic;
use super::digest::hex;
use super::plan::is_slug;
use crate::limits;

/// What the built-in plugin is called; no other can have the name.
pub const BUILT_IN: &str = "org-import";

/// What the SDK is called: a project of that name could not depend on it.
const SDK: &str = "orghost-plugin";

/// What templates, operators and `--plugin` call a plugin, and what its author calls its project: 1 to 63 lower-case letters
/// and digits with single `-` between them, beginning with a letter; and not the SDK's name. Each language's packages may
/// have such a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PluginName(String);

/// A text that is no [`PluginName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no name of a plugin: that begins with a letter, has at most 63 lower-case letters and digits with single `-` \
     between them, and is not {SDK}, the name of the SDK"
)]
pub struct NotAName(String);

impl NotAName {
    /// The text is no name of a plugin, as a diagnostic.
    pub fn diagnostic(&self) -> Diagnostic {
        Diagnostic::new("plugin-name", self.to_string()).help(
            "a plugin file is written with a `/`, such as ./acme.wasm; `orghost plugin list` shows the installed ones",
        )
    }
}

impl PluginName {
    /// Whether it is the built-in plugin's.
    pub fn is_built_in(&self) -> bool {
        self.0 == BUILT_IN
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PluginName {
    type Error = NotAName;

    fn try_from(text: String) -> Result<Self, NotAName> {
        let begins = text.starts_with(|c: char| c.is_ascii_lowercase());
        if begins && is_slug(&text) && text != SDK {
            Ok(Self(text))
        } else {
            Err(NotAName(text))
        }
    }
}

impl From<PluginName> for String {
    fn from(name: PluginName) -> Self {
        name.0
    }
}

impl fmt::Display for PluginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the operator grants one plugin, and how much of the machine a call may take. The default is safe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginLimits {
    /// Wall clock for one call.
    pub deadline: Duration,
    /// Bytes of linear memory for one call, all its memories together.
    pub memory: usize,
    /// What it may import beside the contract's own interfaces.
    pub wasi: Wasi,
}

/// What a plugin gets of WASI.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wasi {
    /// Nothing: a component that imports any of it is refused.
    #[default]
    None,
    /// A closed one: no environment, arguments, files or sockets; output is captured as log lines, the clock stands
    /// still, and randomness is made of the input's digest, so that plans stay reproducible.
    Closed,
}

/// The sha-256 of a plugin file. As text it is `sha256:` and 64 lower-case hexadecimal digits.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct PluginDigest(String);

/// A text that is no [`PluginDigest`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no digest: it is `sha256:` and 64 lower-case hexadecimal digits")]
pub struct NotADigest(String);

impl Default for PluginLimits {
    fn default() -> Self {
        Self {
            deadline: limits::CALL_DEADLINE,
            memory: limits::PLUGIN_MEMORY,
            wasi: Wasi::None,
        }
    }
}

impl std::str::FromStr for Wasi {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::None),
            "closed" => Ok(Self::Closed),
            _ => Err("it is `none` or `closed`"),
        }
    }
}

impl PluginDigest {
    /// Of the bytes of a plugin file.
    pub fn of(bytes: &[u8]) -> Self {
        Self(hex(&Sha256::digest(bytes)))
    }

    /// A digest whose 64 hexadecimal digits are known without hashing.
    pub(crate) fn known(digits: &str) -> Self {
        Self(digits.to_owned())
    }

    /// 64 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Enough of it to tell plugins apart: the first twelve digits.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl fmt::Display for PluginDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

impl TryFrom<String> for PluginDigest {
    type Error = NotADigest;

    fn try_from(text: String) -> Result<Self, NotADigest> {
        let digits = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        match text.strip_prefix("sha256:") {
            Some(hex) if hex.len() == 64 && hex.bytes().all(digits) => Ok(Self(hex.to_owned())),
            _ => Err(NotADigest(text)),
        }
    }
}

impl From<PluginDigest> for String {
    fn from(digest: PluginDigest) -> Self {
        digest.to_string()
    }
}

/// A public key in minisign's form: the base64 text on the second line of a `.pub` file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey(String);

/// A text that is no public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no public key: it is the text on the second line of a minisign .pub file, 56 characters"
)]
pub struct NotAKey(String);

/// minisign's algorithm name, key identifier and key.
const KEY_BYTES: usize = 2 + 8 + 32;

impl PublicKey {
    /// Reads the base64 text of a key, or a whole `.pub` file.
    ///
    /// # Errors
    /// [`NotAKey`], with the text.
    pub fn parse(text: &str) -> Result<Self, NotAKey> {
        let wrong = || NotAKey(text.chars().take(100).collect());
        let key = text
            .lines()
            .map(str::trim)
            .find(|line| !line.is_empty() && !line.starts_with("untrusted comment:"))
            .ok_or_else(wrong)?;
        let bytes = STANDARD.decode(key).map_err(|_| wrong())?;
        if bytes.len() != KEY_BYTES || !bytes.starts_with(b"Ed") {
            return Err(wrong());
        }
        minisign::PublicKey::from_base64(key).map_err(|_| wrong())?;
        Ok(Self(key.to_owned()))
    }

    /// A key that the cryptographic library gave.
    pub(crate) fn known(text: String) -> Self {
        Self(text)
    }

    /// The base64 text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its identifier, as minisign shows it: 16 hexadecimal digits.
    pub fn id(&self) -> String {
        let bytes = STANDARD.decode(&self.0).unwrap_or_default();
        key_id(bytes.get(2..10).unwrap_or_default())
    }

    /// A whole `.pub` file.
    pub fn to_file(&self) -> String {
        format!(
            "untrusted comment: minisign public key {}\n{}\n",
            self.id(),
            self.0
        )
    }
}

impl TryFrom<String> for PublicKey {
    type Error = NotAKey;

    fn try_from(text: String) -> Result<Self, NotAKey> {
        Self::parse(&text)
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.0
    }
}

/// minisign shows the little-endian number.
pub(crate) fn key_id(bytes: &[u8]) -> String {
    bytes
        .iter()
        .rev()
        .map(|byte| format!("{byte:02X}"))
        .collect()
}
