//! Signatures of plugin files in minisign's format. It checks which key signed some bytes; `requirements` decides whether
//! that key is accepted.

use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minisign::{KeyPair, SecretKeyBox, SignatureBox};

use crate::model::plugin::{PublicKey, key_id};

/// A secret key, decrypted and ready to sign.
pub struct SecretKey(minisign::SecretKey);

/// Why a signature is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The signature is not in minisign's format.
    #[error("the signature is not in minisign's format: {0}")]
    Format(String),
    /// The signer is not one of the keys.
    #[error("it is signed by the key {signer}, and only {} may sign it", .allowed.join(", "))]
    OtherKey {
        /// The identifier of the key that the signature names.
        signer: String,
        /// The identifiers of the accepted keys.
        allowed: Vec<String>,
    },
    /// The signature names an accepted key, but that key did not sign these bytes.
    #[error("the file or its signature was altered: the key {0} did not sign these bytes")]
    Altered(String),
}

/// Why a secret key cannot be made, opened or used.
#[derive(Debug, thiserror::Error)]
pub enum SecretKeyError {
    /// The text is not a secret key.
    #[error("this is not a minisign secret key")]
    NotAKey,
    /// It is encrypted, and no password was given.
    #[error("the secret key has a password")]
    PasswordNeeded,
    /// The password is wrong, or the key was altered.
    #[error("the secret key cannot be decrypted: {0}")]
    Locked(String),
    /// The cryptographic library failed, such as for lack of random bytes.
    #[error("no key or signature can be made: {0}")]
    Machine(String),
}

/// Bytes of a signature: minisign's algorithm name, the key's identifier and the signature itself.
const SIGNATURE_BYTES: usize = 2 + 8 + 64;

impl SecretKey {
    /// Makes a key pair. The first result is the text of the secret key's file, encrypted if there is a password.
    ///
    /// # Errors
    /// [`SecretKeyError::Machine`] when the cryptographic library fails.
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

    /// Reads the text of a secret key's file.
    ///
    /// # Errors
    /// [`SecretKeyError::NotAKey`] when the text is not a secret key, [`SecretKeyError::PasswordNeeded`] when it is encrypted
    /// and `password` is `None`, and [`SecretKeyError::Locked`] when the password is wrong.
    pub fn open(text: &str, password: Option<String>) -> Result<Self, SecretKeyError> {
        let encoded = text.lines().nth(1).ok_or(SecretKeyError::NotAKey)?;
        let bytes = STANDARD
            .decode(encoded.trim())
            .map_err(|_| SecretKeyError::NotAKey)?;
        let file = SecretKeyBox::from_string(text).map_err(|_| SecretKeyError::NotAKey)?;
        let opened = match bytes.get(2..4) {
            // Without a password minisign writes no checksum, and the library requires one. An altered key is detected when
            // it signs.
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

    /// Signs some bytes. The result is the text of a `.minisig` file. Its comment, which the signature covers, has the name
    /// `file`.
    ///
    /// # Errors
    /// [`SecretKeyError::Machine`] when the cryptographic library fails.
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

    /// The public key that belongs to this secret key.
    ///
    /// # Errors
    /// [`SecretKeyError::Machine`] when the cryptographic library fails.
    pub fn public(&self) -> Result<PublicKey, SecretKeyError> {
        minisign::PublicKey::from_secret_key(&self.0)
            .map(|key| PublicKey::known(key.to_base64()))
            .map_err(|error| SecretKeyError::Machine(error.to_string()))
    }
}

/// Finds the key that signed these bytes.
///
/// # Errors
/// [`SignatureError`], when the signature is malformed, names another key, or does not match the bytes.
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
    // The library assumes these lengths without a check.
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
