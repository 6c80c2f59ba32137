//! What an org is made from, as the state folder keeps it: the template's snapshot, the options and the variables.

use super::ImportOptions;
use crate::model::env_map::EnvMap;
use crate::problem::Problem;
use crate::state::encryption::Keyring;
use crate::state::snapshots::Snapshots;
use crate::state::store::{KeptSource, Label, SourceRow};
use crate::template::bundle::Bundle;

/// Stores the snapshot of a template, and encrypts the variables. It writes to the disk: not for a thread that serves
/// requests.
///
/// # Errors
/// The snapshot cannot be written, or the machine has no randomness.
pub fn keep(
    org: &str,
    bundle: &Bundle,
    vars: &EnvMap,
    options: &ImportOptions,
    (snapshots, keyring): (&Snapshots, &Keyring),
) -> Result<KeptSource, Problem> {
    let vars = serde_json::json!(vars).to_string();
    Ok(KeptSource {
        row: SourceRow {
            snapshot: snapshots.put(bundle, keyring)?,
            request: serde_json::json!(options),
        },
        vars: keyring.encrypt(Label::vars(org).as_str(), vars.as_bytes())?,
    })
}
