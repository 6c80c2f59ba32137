//! The JSON form of a plan. Values that are flagged secret are always redacted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::{ConfigEntry, Content, EnvVar, Plan, REDACTED, Requirement, SeedFile};

impl Serialize for Plan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let missing: Vec<_> = self
            .required_env
            .iter()
            .filter(|requirement| !requirement.missing_for.is_empty())
            .map(|requirement| {
                serde_json::json!({"any_of": requirement.any_of, "missing_for": requirement.missing_for})
            })
            .collect();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("schema", &1)?;
        map.serialize_entry("org", &self.org)?;
        map.serialize_entry("workspaces", &self.workspaces)?;
        map.serialize_entry("required_env", &self.required_env)?;
        map.serialize_entry("recommended_env", &self.recommended_env)?;
        map.serialize_entry("missing_env", &missing)?;
        map.serialize_entry("warnings", &self.warnings)?;
        map.end()
    }
}

/// A requirement has the same form as in a template: a name, or `{any_of: […]}`.
impl Serialize for Requirement {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let [name] = self.any_of.as_slice() {
            return serializer.serialize_str(name);
        }
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("any_of", &self.any_of)?;
        map.end()
    }
}

impl Serialize for SeedFile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("path", &self.path)?;
        match &self.content {
            Content::Inline(_) if self.secret => map.serialize_entry("redacted", &true)?,
            Content::Inline(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => map.serialize_entry("inline", text)?,
                Err(_) => map.serialize_entry("inline_base64", &BASE64.encode(bytes))?,
            },
            Content::Template { path, text } => {
                map.serialize_entry("template", path)?;
                if *text {
                    map.serialize_entry("text", &true)?;
                }
            }
        }
        map.end()
    }
}

impl Serialize for EnvVar {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("name", &self.name)?;
        if self.secret {
            map.serialize_entry("redacted", &true)?;
        } else {
            map.serialize_entry("value", &self.value)?;
        }
        map.end()
    }
}

/// The configuration of a channel, with secret values replaced by [`REDACTED`].
pub(super) fn redacted_map<S: Serializer>(
    config: &[ConfigEntry],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(config.len()))?;
    for entry in config {
        let value = if entry.secret { REDACTED } else { &entry.value };
        map.serialize_entry(&entry.name, value)?;
    }
    map.end()
}
