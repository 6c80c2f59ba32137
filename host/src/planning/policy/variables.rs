//! The checks of the variables that a plan gives to a workspace: their number, names and sizes.

use super::violation::WorkspaceViolations;
use crate::limits;
use crate::model::env_map::EnvMap;
use crate::model::plan::{self, EnvVar};

/// The names of variables that the host itself sets for a workspace.
pub const RESERVED_ENV: [&str; 10] = [
    "HOST",
    "ORGHOST_ORG",
    "PARENT_ID",
    "PORT",
    "TIER",
    "WORKSPACE_ACCESS",
    "WORKSPACE_CONFIG_PATH",
    "WORKSPACE_DIR",
    "WORKSPACE_ID",
    "WORKSPACE_KEY",
];

/// Checks the variables; returns those that are allowed.
pub(super) fn variables(vars: &[EnvVar], violations: &mut WorkspaceViolations<'_>) -> EnvMap {
    if vars.len() > limits::ENV_VARS {
        violations.add(
            "too-many-variables",
            format!(
                "it has {} variables; at most {} are allowed",
                vars.len(),
                limits::ENV_VARS
            ),
            "set fewer variables",
        );
        return EnvMap::default();
    }
    let mut approved = EnvMap::default();
    for EnvVar { name, value, .. } in vars {
        let wrong = if !plan::is_identifier(name) {
            Some("env-name")
        } else if RESERVED_ENV.contains(&name.as_str()) {
            Some("reserved-env")
        } else if value.len() > limits::ENV_VALUE_BYTES || value.contains('\0') {
            Some("env-value")
        } else if approved.insert(name.clone(), value.clone()).is_some() {
            Some("env-twice")
        } else {
            None
        };
        // The message never shows the value, which may be a secret.
        let (message, help) = match wrong {
            None => continue,
            Some("env-name") => (
                format!("{name:?} is not a valid name of a variable"),
                "use letters, digits and `_`, and do not begin with a digit",
            ),
            Some("reserved-env") => (
                format!("{name} is reserved: the host sets it itself"),
                "choose another name",
            ),
            Some("env-twice") => (
                format!("{name} is set twice"),
                "this is a defect of the plugin",
            ),
            Some(_) => (
                format!(
                    "the value of {name} contains a NUL byte, or has more than {} bytes",
                    limits::ENV_VALUE_BYTES
                ),
                "put large values into a file",
            ),
        };
        violations.add(wrong.unwrap_or_default(), message, help);
    }
    approved
}
