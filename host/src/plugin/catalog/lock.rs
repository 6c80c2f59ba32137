//! The lock of the installed plugins. It pins each name to one file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::plugin::{PluginDigest, PluginName, PublicKey};

/// The lock's entry for one installed plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The digest of the file that runs.
    pub digest: PluginDigest,
    /// The path or the registry reference that it was installed from, as the operator wrote it.
    pub source: String,
    /// The digest of the registry's manifest. Absent when it was installed from a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// The plugin's version, as `describe` returned it.
    pub version: String,
    /// The key that signed it. Absent when no signature was required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<PublicKey>,
}

/// A newer file of an installed plugin that was refused. The pin was not changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// The digest of the refused file. The file was not kept.
    pub digest: PluginDigest,
    /// The path or the registry reference that it came from.
    pub source: String,
    /// Why it was refused.
    pub reason: String,
}

/// The installed plugins, and the newer files of them that were refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    pub(super) version: u32,
    /// The installed plugins, by name.
    #[serde(default)]
    pub plugins: BTreeMap<PluginName, Pin>,
    /// The last refused file of a plugin, by the plugin's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub quarantine: BTreeMap<PluginName, Quarantined>,
}
