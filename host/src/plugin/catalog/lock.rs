//! The lock of the installed plugins: it pins each name to one file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::plugin::{PluginDigest, PluginName, PublicKey};

/// What the lock says of one installed plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The file that runs.
    pub digest: PluginDigest,
    /// Where it came from, as the operator wrote it.
    pub source: String,
    /// The digest of the registry's manifest, for a reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// Its own version, as it describes itself.
    pub version: String,
    /// The key that signed it, when one was demanded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<PublicKey>,
}

/// A newer file of an installed plugin that was refused; the pin did not move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// The file that was refused. It was not kept.
    pub digest: PluginDigest,
    /// Where it came from.
    pub source: String,
    /// Why.
    pub reason: String,
}

/// The installed plugins, and what was refused in the place of one, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    pub(super) version: u32,
    /// What runs.
    #[serde(default)]
    pub plugins: BTreeMap<PluginName, Pin>,
    /// What does not.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub quarantine: BTreeMap<PluginName, Quarantined>,
}
