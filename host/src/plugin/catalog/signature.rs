//! Signatures of plugin files, in minisign's format. Says whether a key signed
//! some bytes, and never whether that is enough: that is policy.

use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minisign::{KeyPair, SecretKeyBox, SignatureBox};

use crate::model::plugin::{PublicKey, key_id};

/// A secret key that can sign: it was decrypted where it had a password.
pub struct SecretKey(minisign::SecretKey);

/// Why a signature proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The signature is not in minisign's format.
    #[error("the signature is not in minisign's format: {0}")]
    Format(String),
    /// None of the keys is the one that signed.
    #[error("it is signed by the key {signer}, and only {} may sign it", .allowed.join(", "))]
    OtherKey {
        /// The identifier of the key that the signature names.
        signer: String,
        /// The identifiers of the keys that count.
        allowed: Vec<String>,
    },
    /// One of the keys is named as the signer, but these are not the bytes that it signed.
    #[error("the file or its signature was altered: the key {0} did not sign these bytes")]
    Altered(String),
}

/// Why there is no secret key, or no signature by it.
#[derive(Debug, thiserror::Error)]
pub enum SecretKeyError {
    /// The text is no secret key.
    #[error("this is no minisign secret key")]
    NotAKey,
    /// It has a password, and none was given.
    #[error("the secret key has a password")]
    PasswordNeeded,
    /// It has another password, or was altered.
    #[error("the secret key does not open: {0}")]
    Locked(String),
    /// The machine has no randomness.
    #[error("no key or signature can be made: {0}")]
    Machine(String),
}

/// minisign's algorithm name, key identifier and signature.
const SIGNATURE_BYTES: usize = 2 + 8 + 64;

impl SecretKey {
    /// Makes a key pair. Gives the text of the secret key's file, encrypted where there is a password.
    ///
    /// # Errors
    /// [`SecretKeyError::Machine`].
    pub fn generate(password: Option<String>) -> Result<(String, PublicKey), SecretKeyError> {
        let (comment, pair) = match password {
            Some(password) => (
                "minisign encrypted secret key",
                KeyPair::generate_encrypted_keypair(Some(password)),
            ),
            None => (
                "minisign secret key",
                KeyPair::generate_unencrypted_keypair(),
            ),
        };
        let machine = |error: minisign::PError| SecretKeyError::Machine(error.to_string());
        let pair = pair.map_err(machine)?;
        let secret = pair.sk.to_box(Some(comment)).map_err(machine)?;
        Ok((secret.into_string(), PublicKey::known(pair.pk.to_base64())))
    }

    /// Opens the text of a secret key's file.
    ///
    /// # Errors
    /// See [`SecretKeyError`]; [`SecretKeyError::PasswordNeeded`] when there is none and one is needed.
    pub fn open(text: &str, password: Option<String>) -> Result<Self, SecretKeyError> {
        let encoded = text.lines().nth(1).ok_or(SecretKeyError::NotAKey)?;
        let bytes = STANDARD
            .decode(encoded.trim())
            .map_err(|_| SecretKeyError::NotAKey)?;
        let file = SecretKeyBox::from_string(text).map_err(|_| SecretKeyError::NotAKey)?;
        let opened = match bytes.get(2..4) {
            // minisign itself writes no checksum without a password, and the library would want one: a key that was
            // altered is found when it signs.
            Some(b"\0\0") if bytes.starts_with(b"Ed") => minisign::SecretKey::from_bytes(&bytes),
            Some(b"Sc") => {
                let password = password.ok_or(SecretKeyError::PasswordNeeded)?;
                file.into_secret_key(Some(password))
            }
            _ => return Err(SecretKeyError::NotAKey),
        };
        opened
            .map(Self)
            .map_err(|error| SecretKeyError::Locked(error.to_string()))
    }

    /// Signs some bytes: the text of a `.minisig` file. `file` is named in the comment that the signature covers.
    ///
    /// # Errors
    /// [`SecretKeyError::Machine`].
    pub fn sign(&self, bytes: &[u8], file: &str) -> Result<String, SecretKeyError> {
        let now = std::time::UNIX_EPOCH
            .elapsed()
            .unwrap_or_default()
            .as_secs();
        // A line break would end the comment.
        let file = file.replace(|c: char| c.is_control(), " ");
        let comment = format!("timestamp:{now}\tfile:{file}\thashed");
        let about = "signature of an orghost plugin";
        let public = minisign::PublicKey::from_secret_key(&self.0);
        public
            .and_then(|public| {
                minisign::sign(Some(&public), &self.0, bytes, Some(&comment), Some(about))
            })
            .map(|signature| signature.into_string())
            .map_err(|error| SecretKeyError::Machine(error.to_string()))
    }

    /// The key that verifies what this one signs.
    ///
    /// # Errors
    /// [`SecretKeyError::Machine`].
    pub fn public(&self) -> Result<PublicKey, SecretKeyError> {
        minisign::PublicKey::from_secret_key(&self.0)
            .map(|key| PublicKey::known(key.to_base64()))
            .map_err(|error| SecretKeyError::Machine(error.to_string()))
    }
}

/// Which of the keys signed these bytes.
///
/// # Errors
/// See [`SignatureError`].
pub fn verify<'a>(
    keys: &'a [PublicKey],
    signature: &str,
    bytes: &[u8],
) -> Result<&'a PublicKey, SignatureError> {
    let parsed = parse(signature)?;
    let signer = key_id(parsed.keynum());
    let named: Vec<_> = keys.iter().filter(|key| key.id() == signer).collect();
    if named.is_empty() {
        let allowed = keys.iter().map(PublicKey::id).collect();
        return Err(SignatureError::OtherKey { signer, allowed });
    }
    named
        .into_iter()
        .find(|key| verifies(key, &parsed, bytes))
        .ok_or(SignatureError::Altered(signer))
}

fn verifies(key: &PublicKey, signature: &SignatureBox, bytes: &[u8]) -> bool {
    minisign::PublicKey::from_base64(key.as_str())
        .and_then(|key| minisign::verify(&key, signature, Cursor::new(bytes), true, false, false))
        .is_ok()
}

fn parse(text: &str) -> Result<SignatureBox, SignatureError> {
    let lines: Vec<&str> = text.lines().collect();
    // The library takes these lengths for granted.
    for (line, length) in [(1, SIGNATURE_BYTES), (3, 64)] {
        let decoded = lines
            .get(line)
            .and_then(|line| STANDARD.decode(line.trim()).ok());
        if decoded.is_none_or(|bytes| bytes.len() != length) {
            let message = format!("line {} is not {length} bytes in base64", line + 1);
            return Err(SignatureError::Format(message));
        }
    }
    SignatureBox::from_string(text).map_err(|error| SignatureError::Format(error.to_string()))
}
