//! Finds the encryption key: in the environment, in the file that the configuration file names, or in the state folder.
//! A new key is made only while nothing in the state folder is encrypted.

use std::path::Path;

use crate::atomic_file::write_atomically;
use crate::cli::Host;
use crate::model::diagnostic::Diagnostic;
use crate::problem::{Class, Problem};
use crate::state::encryption::Keyring;
use crate::state::key_rotation;
use crate::state::snapshots::Snapshots;
use crate::state::store::Store;

/// The environment variable that can hold the text of a key file.
pub const VARIABLE: &str = "ORGHOST_SECRET_KEY";

impl Host {
    /// Reads the encryption keys, or makes the first one, and checks that they decrypt the values in the state folder.
    /// Only the holder of the write lock may call it.
    ///
    /// # Errors
    /// `secret-key`: the key's file is missing, cannot be read or cannot be written. Or a key is invalid, or a value was
    /// encrypted with another key.
    pub async fn keyring(&self, store: &Store) -> Result<Keyring, Problem> {
        let keyring = match self.environment.text(VARIABLE) {
            Some(key) => Keyring::of_text(key)?,
            None => self.keyring_of_file(store).await?,
        };
        let snapshots = Snapshots::of(&self.folders.state);
        key_rotation::check(store, &snapshots, &keyring).await?;
        Ok(keyring)
    }

    /// The path of the key's file, which is used if the key is not in the environment.
    pub fn key_file(&self) -> std::path::PathBuf {
        let named = self.config.server.secret_key_file.clone();
        named.unwrap_or_else(|| self.folders.state.join("secret.key"))
    }

    async fn keyring_of_file(&self, store: &Store) -> Result<Keyring, Problem> {
        let file = self.key_file();
        match std::fs::read_to_string(&file) {
            Ok(text) => Ok(Keyring::of_text(&text)?),
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(unusable(&file, &error))
            }
            Err(_) if key_rotation::has_encrypted_values(store).await? => {
                let message = format!(
                    "the encryption key {} is missing, and the state folder holds secrets that were encrypted with it",
                    file.display()
                );
                let help = "put the key back; without it the secrets cannot be decrypted. A new key is made only if nothing is encrypted yet";
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
        "the encryption key {} cannot be read or written: {error}",
        file.display()
    );
    Problem::one(Class::Failed, Diagnostic::new("secret-key", message))
}
