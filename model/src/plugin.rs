//! Data about plugins: names, digests of files, limits of calls, and public keys.

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

/// The name of the built-in plugin. No other plugin can have it.
pub const BUILT_IN: &str = "org-import";

/// The name of the SDK. A project with this name could not depend on the SDK.
const SDK: &str = "orghost-plugin";

/// The name of a plugin in templates, in the configuration file and in `--plugin`, and of its author's project: 1 to 63
/// lower-case letters and digits with single `-` between them. It begins with a letter and is not the SDK's name. All
/// supported languages allow such a package name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PluginName(String);

/// The text is not a [`PluginName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a plugin name, which begins with a letter, has at most 63 lower-case letters and digits with single `-` \
     between them, and is not {SDK}, the name of the SDK"
)]
pub struct NotAName(String);

impl NotAName {
    /// The error as a diagnostic.
    pub fn diagnostic(&self) -> Diagnostic {
        Diagnostic::new("plugin-name", self.to_string()).help(
            "write a plugin file with a `/`, such as ./acme.wasm; `orghost plugin list` shows the installed plugins",
        )
    }
}

impl PluginName {
    /// Whether it is the name of the built-in plugin.
    pub fn is_built_in(&self) -> bool {
        self.0 == BUILT_IN
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PluginName {
    type Error = NotAName;

    fn try_from(text: String) -> Result<Self, NotAName> {
        let has_letter_first = text.starts_with(|c: char| c.is_ascii_lowercase());
        if has_letter_first && is_slug(&text) && text != SDK {
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

/// The limits of calls into one plugin, and what it may import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginLimits {
    /// Wall clock for one call. Default: [`limits::CALL_DEADLINE`].
    pub deadline: Duration,
    /// Bytes of linear memory for one call, over all its memories. Default: [`limits::PLUGIN_MEMORY`].
    pub memory: usize,
    /// What the plugin may import in addition to the contract's own interfaces. Default: nothing.
    pub wasi: Wasi,
}

/// The part of WASI that a plugin may import.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wasi {
    /// Nothing. A component that imports WASI is refused.
    #[default]
    None,
    /// A closed WASI without environment, arguments, files and sockets. Output becomes log lines, the clock stands still, and
    /// random bytes are derived from the input, so that plans stay reproducible.
    Closed,
}

/// The sha-256 of a plugin file. As text it is `sha256:` and 64 lower-case hexadecimal digits.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct PluginDigest(String);

/// The text is not a [`PluginDigest`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a digest, which is `sha256:` and 64 lower-case hexadecimal digits")]
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
            _ => Err("expected `none` or `closed`"),
        }
    }
}

impl PluginDigest {
    /// The digest of the bytes of a plugin file.
    pub fn of(bytes: &[u8]) -> Self {
        Self(hex(Sha256::digest(bytes)))
    }

    /// A digest that is already known as 64 hexadecimal digits.
    pub fn known(digits: &str) -> Self {
        Self(digits.to_owned())
    }

    /// The 64 hexadecimal digits, without `sha256:`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits, which are enough to distinguish plugins.
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

/// A public key in minisign's format: the base64 text in the second line of a `.pub` file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey(String);

/// The text is not a public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a public key, which is the text in the second line of a minisign .pub file, 56 characters"
)]
pub struct NotAKey(String);

/// Bytes of a public key: minisign's algorithm name, the key's identifier and the key.
const KEY_BYTES: usize = 2 + 8 + 32;

impl PublicKey {
    /// Parses the base64 text of a key, or the content of a `.pub` file.
    ///
    /// # Errors
    /// [`NotAKey`], with the first 100 characters of the text, when it is neither.
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

    /// A key from the cryptographic library.
    pub fn known(text: String) -> Self {
        Self(text)
    }

    /// The base64 text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key's identifier as minisign shows it: 16 hexadecimal digits.
    pub fn id(&self) -> String {
        let bytes = STANDARD.decode(&self.0).unwrap_or_default();
        key_id(bytes.get(2..10).unwrap_or_default())
    }

    /// The content of a `.pub` file.
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

/// The text of a key's identifier. The bytes are a little-endian number, and minisign writes its highest byte first.
pub fn key_id(bytes: &[u8]) -> String {
    let reversed: Vec<u8> = bytes.iter().rev().copied().collect();
    hex::encode_upper(reversed)
}
