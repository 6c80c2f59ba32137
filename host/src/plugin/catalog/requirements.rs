//! What the configuration file requires of a plugin, and whether a plugin file meets it.

use super::signature::{self, SignatureError};
use crate::config::Config;
use crate::model::diagnostic::Diagnostic;
use crate::model::plugin::{PluginDigest, PluginLimits, PluginName, PublicKey};
use crate::plugin::sandbox::{CallError, Description, LoadError, Plugin, Sandbox};
use crate::problem::{Class, Problem};

/// What the operator demands of a plugin, and grants it.
#[derive(Debug, Clone, Default)]
pub struct PluginRequirements {
    /// Only this file.
    pub digest: Option<PluginDigest>,
    /// One of these keys signed it; when there are none, it needs no signature.
    pub keys: Vec<PublicKey>,
    /// What it is granted.
    pub terms: PluginLimits,
}

/// What is known of a plugin that met its [`PluginRequirements`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedPlugin {
    /// Of its file.
    pub digest: PluginDigest,
    /// The key that signed it, when one was demanded.
    pub signed_by: Option<PublicKey>,
}

/// Why a plugin may not run, or cannot.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A signature is demanded.
    #[error(
        "the plugin is not signed, and the configuration file demands a signature (require_signature)"
    )]
    Unsigned,
    /// The signature proves nothing.
    #[error("the plugin's signature does not count: {0}")]
    Signature(#[from] SignatureError),
    /// The configuration file names another file.
    #[error("the plugin is {found}, and the configuration file pins {pinned}")]
    Pinned {
        /// What `[plugins.NAME]` says.
        pinned: PluginDigest,
        /// What was found.
        found: PluginDigest,
    },
    /// It does not keep the contract.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It does not say what it is.
    #[error("the plugin does not describe itself: {0}")]
    Describe(#[from] CallError),
}

impl PluginRequirements {
    /// What the operator demands of an installed plugin.
    pub fn of(config: &Config, name: &PluginName) -> Self {
        let keys = config.plugins.get(name).cloned().unwrap_or_default();
        Self {
            terms: keys.terms(),
            digest: keys.digest,
            keys: if keys.require_signature.is_empty() {
                config.policy.require_signature.clone()
            } else {
                keys.require_signature
            },
        }
    }

    /// What the operator demands of a file that is installed under no name.
    pub fn of_file(config: &Config, terms: PluginLimits) -> Self {
        Self {
            digest: None,
            keys: config.policy.require_signature.clone(),
            terms,
        }
    }

    /// Holds a file against the pinned digest and the keys; runs nothing.
    ///
    /// # Errors
    /// [`Refusal::Pinned`], [`Refusal::Unsigned`], [`Refusal::Signature`].
    pub fn admit(&self, bytes: &[u8], signature: Option<&str>) -> Result<VerifiedPlugin, Refusal> {
        let digest = PluginDigest::of(bytes);
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

    /// Admits a file, then loads it with what it is granted.
    ///
    /// # Errors
    /// All of [`Refusal`] but [`Refusal::Describe`].
    pub fn load(
        &self,
        sandbox: &Sandbox,
        bytes: &[u8],
        signature: Option<&str>,
    ) -> Result<(Plugin, VerifiedPlugin), Refusal> {
        let met = self.admit(bytes, signature)?;
        Ok((sandbox.load(bytes, &self.terms)?, met))
    }

    /// All that must hold before a pin moves: admitted, loaded, and it says what it is.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn examine(
        &self,
        sandbox: &Sandbox,
        bytes: &[u8],
        signature: Option<&str>,
    ) -> Result<(Plugin, VerifiedPlugin, Description), Refusal> {
        let (plugin, met) = self.load(sandbox, bytes, signature)?;
        let description = plugin.describe()?;
        Ok((plugin, met, description))
    }
}

impl Refusal {
    /// Whether it is the operator's policy that refuses, not the plugin that is broken.
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
                "its author signs it: orghost plugin sign FILE --key KEY",
            ),
            Refusal::Signature(_) => (
                "plugin-signature",
                "get the plugin and its signature from its author again; trust a key only when you know whose it is",
            ),
            Refusal::Pinned { .. } => (
                "plugin-digest",
                "install that file, or change `digest` under [plugins.NAME]",
            ),
        };
        Self::one(Class::Refused, Diagnostic::new(code, message).help(help))
    }
}
