//! Where the secret key is: in the environment, in the configuration file, or in the state folder, made when nothing needs an
//! older one.

use std::path::Path;

use crate::atomic_file::write_atomically;
use crate::cli::Host;
use crate::model::diagnostic::Diagnostic;
use crate::problem::{Class, Problem};
use crate::state::encryption::Keyring;
use crate::state::key_rotation;
use crate::state::snapshots::Snapshots;
use crate::state::store::Store;

/// The variable with the text of a key file.
pub const VARIABLE: &str = "ORGHOST_SECRET_KEY";

impl Host {
    /// The key that opens everything that is sealed in the state folder. Only for its one writer.
    pub async fn keyring(&self, store: &Store) -> Result<Keyring, Problem> {
        let keyring = match self.environment.text(VARIABLE) {
            Some(key) => Keyring::of_text(key)?,
            None => self.vault_of_file(store).await?,
        };
        let snapshots = Snapshots::of(&self.folders.state);
        key_rotation::check(store, &snapshots, &keyring).await?;
        Ok(keyring)
    }

    /// The file of the key, when it is not in the environment.
    pub fn key_file(&self) -> std::path::PathBuf {
        let named = self.config.server.secret_key_file.clone();
        named.unwrap_or_else(|| self.folders.state.join("secret.key"))
    }

    async fn vault_of_file(&self, store: &Store) -> Result<Keyring, Problem> {
        let file = self.key_file();
        match std::fs::read_to_string(&file) {
            Ok(text) => Ok(Keyring::of_text(&text)?),
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(unusable(&file, &error))
            }
            Err(_) if key_rotation::has_encrypted_values(store).await? => {
                let message = format!(
                    "the secret key {} is not there, and there are secrets that it sealed",
                    file.display()
                );
                let help = "put the key back; without it nobody opens them, and a new one is made in an empty state folder only";
                let diagnostic = Diagnostic::new("secret-key", message).help(help);
                Err(Problem::one(Class::Failed, diagnostic))
            }
            Err(error) if self.config.server.secret_key_file.is_some() => {
                Err(unusable(&file, &error))
            }
            Err(_) => {
                let key = Keyring::new_key()?;
                write_atomically(&file, format!("{key}\n").as_bytes(), 0o600)
                    .map_err(|error| unusable(&file, &error))?;
                Ok(Keyring::of_text(&key)?)
            }
        }
    }
}

fn unusable(file: &Path, error: &std::io::Error) -> Problem {
    let message = format!(
        "the secret key {} cannot be read or made: {error}",
        file.display()
    );
    Problem::one(Class::Failed, Diagnostic::new("secret-key", message))
}
