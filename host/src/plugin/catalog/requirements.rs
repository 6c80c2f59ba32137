//! The configuration file's requirements for plugins (digest, signature, limits), and the check of a plugin file against
//! them.

use super::signature::{self, SignatureError};
use crate::config::Config;
use crate::model::diagnostic::Diagnostic;
use crate::model::plugin::{PluginDigest, PluginLimits, PluginName, PublicKey};
use crate::plugin::sandbox::{CallError, Description, LoadError, Plugin, Sandbox, digest_of};
use crate::problem::{Class, Problem};

/// What the operator requires of a plugin, and the limits of its calls.
#[derive(Debug, Clone, Default)]
pub struct PluginRequirements {
    /// The digest of the only file that may run. `None`: any file.
    pub digest: Option<PluginDigest>,
    /// Keys of which one must have signed the file. When there are none, it needs no signature.
    pub keys: Vec<PublicKey>,
    /// The limits of its calls, and what it may import.
    pub limits: PluginLimits,
}

/// A plugin file that met its [`PluginRequirements`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedPlugin {
    /// The digest of the file.
    pub digest: PluginDigest,
    /// The key that signed it. `None` when no signature was required.
    pub signed_by: Option<PublicKey>,
}

/// Why a plugin is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It has no signature, and one is required.
    #[error(
        "the plugin is not signed, and the configuration file requires a signature (require_signature)"
    )]
    Unsigned,
    /// Its signature is not valid or not by an accepted key.
    #[error("the plugin's signature is not accepted: {0}")]
    Signature(#[from] SignatureError),
    /// The configuration file names another file.
    #[error("the plugin is {found}, and the configuration file pins {pinned}")]
    Pinned {
        /// The digest under `[plugins.NAME]`.
        pinned: PluginDigest,
        /// The digest of the file.
        found: PluginDigest,
    },
    /// The sandbox does not load it.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Its `describe` fails.
    #[error("the plugin's `describe` failed: {0}")]
    Describe(#[from] CallError),
}

impl PluginRequirements {
    /// The requirements for an installed plugin.
    pub fn of(config: &Config, name: &PluginName) -> Self {
        let keys = config.plugins.get(name).cloned().unwrap_or_default();
        Self {
            limits: keys.limits(),
            digest: keys.digest,
            keys: if keys.require_signature.is_empty() {
                config.policy.require_signature.clone()
            } else {
                keys.require_signature
            },
        }
    }

    /// The requirements for a plugin file that is not installed.
    pub fn of_file(config: &Config, limits: PluginLimits) -> Self {
        Self {
            digest: None,
            keys: config.policy.require_signature.clone(),
            limits,
        }
    }

    /// Checks the digest and the signature of a file, without running it.
    ///
    /// # Errors
    /// [`Refusal::Pinned`] when the digest is another one, [`Refusal::Unsigned`] and [`Refusal::Signature`] when a required
    /// signature is missing or not accepted.
    pub fn admit(&self, bytes: &[u8], signature: Option<&str>) -> Result<VerifiedPlugin, Refusal> {
        let digest = digest_of(bytes);
        if let Some(pinned) = self.digest.as_ref().filter(|pinned| **pinned != digest) {
            return Err(Refusal::Pinned {
                pinned: pinned.clone(),
                found: digest,
            });
        }
        let signed_by = match signature {
            _ if self.keys.is_empty() => None,
            None => return Err(Refusal::Unsigned),
            Some(signature) => Some(signature::verify(&self.keys, signature, bytes)?.clone()),
        };
        Ok(VerifiedPlugin { digest, signed_by })
    }

    /// Checks the digest and the signature of a file, and loads it.
    ///
    /// # Errors
    /// Those of [`PluginRequirements::admit`], and [`Refusal::Load`] when the sandbox does not load it.
    pub fn load(
        &self,
        sandbox: &Sandbox,
        bytes: &[u8],
        signature: Option<&str>,
    ) -> Result<(Plugin, VerifiedPlugin), Refusal> {
        let verified = self.admit(bytes, signature)?;
        Ok((sandbox.load(bytes, &self.limits)?, verified))
    }

    /// Makes all checks that come before an installation: digest, signature, loading and `describe`.
    ///
    /// # Errors
    /// Those of [`PluginRequirements::load`], and [`Refusal::Describe`] when `describe` fails.
    pub fn examine(
        &self,
        sandbox: &Sandbox,
        bytes: &[u8],
        signature: Option<&str>,
    ) -> Result<(Plugin, VerifiedPlugin, Description), Refusal> {
        let (plugin, verified) = self.load(sandbox, bytes, signature)?;
        let description = plugin.describe()?;
        Ok((plugin, verified, description))
    }
}

impl Refusal {
    /// Whether the operator's requirements refuse the plugin, rather than the plugin being defective.
    pub fn is_policy(&self) -> bool {
        matches!(
            self,
            Self::Unsigned | Self::Signature(_) | Self::Pinned { .. }
        )
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        let (code, help) = match refusal {
            Refusal::Load(error) => return error.into(),
            Refusal::Describe(error) => return error.into_problem(None),
            Refusal::Unsigned => (
                "plugin-unsigned",
                "ask its author to sign it: orghost plugin sign FILE --key KEY",
            ),
            Refusal::Signature(_) => (
                "plugin-signature",
                "get the plugin and its signature from its author again; accept a key only when you know who owns it",
            ),
            Refusal::Pinned { .. } => (
                "plugin-digest",
                "install that file, or change `digest` under [plugins.NAME]",
            ),
        };
        Self::one(Class::Refused, Diagnostic::new(code, message).help(help))
    }
}
