//! Encrypts secrets at rest with keys that are not in the store. Does not know where keys or encrypted values are kept, and
//! prints neither.
//!
//! XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha) with a random nonce of 24 bytes for each value. The purpose of a value is
//! authenticated with it, so that one encrypted value cannot replace another.

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use sha2::{Digest as _, Sha256};

use crate::model::diagnostic::Diagnostic;
use crate::model::digest::hex;
use crate::problem::{Class, Problem};
use crate::random::{NoRandomness, random};

const VERSION: u8 = 1;
const KEY: usize = 32;
const ID: usize = 8;
const NONCE: usize = 24;

/// One or more keys. The first encrypts; every key decrypts what it encrypted.
pub struct Keyring {
    keys: Vec<SecretKey>,
}

/// A key of 32 random bytes, written as 64 hexadecimal digits. It has no `Debug`, and the cipher erases its key when it
/// is dropped (feature `zeroize`), so it needs no wrapper of the `secrecy` crate.
pub struct SecretKey {
    cipher: XChaCha20Poly1305,
    /// The first 8 bytes of the key's SHA-256. Every encrypted value names its key by them.
    id: [u8; ID],
}

/// An encrypted value: version, key id, nonce, ciphertext and tag. Safe to store and to copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encrypted(pub(crate) Vec<u8>);

/// Why a value was not encrypted or not decrypted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncryptionError {
    /// The text is not a key.
    #[error("an encryption key is 64 hexadecimal digits, one key on each line")]
    NotAKey,
    /// No key of the keyring encrypted the value.
    #[error("it was encrypted with the key {0}, which is not among the encryption keys")]
    OtherKey(String),
    /// The key is right, but the authentication failed: the value was altered, or it has another purpose.
    #[error("it was altered, or belongs to something else")]
    Altered,
    /// The operating system gave no random bytes.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

impl Keyring {
    /// Reads one key for each line. Ignores empty lines and lines that begin with `#`.
    ///
    /// # Errors
    /// [`EncryptionError::NotAKey`] when a line is not a key, or there is no key.
    pub fn of_text(text: &str) -> Result<Self, EncryptionError> {
        let lines = text.lines().map(str::trim);
        let keys = lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(SecretKey::parse)
            .collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err(EncryptionError::NotAKey);
        }
        Ok(Self { keys })
    }

    /// Makes a new key and returns its text.
    ///
    /// # Errors
    /// [`EncryptionError::NoRandomness`] when the operating system gives no random bytes.
    pub fn new_key() -> Result<String, EncryptionError> {
        Ok(hex(random::<KEY>()?))
    }

    /// Encrypts a text with the first key. [`Keyring::decrypt`] needs the same `purpose`.
    ///
    /// # Errors
    /// [`EncryptionError::NoRandomness`] when the operating system gives no random bytes.
    pub fn encrypt(&self, purpose: &str, text: &[u8]) -> Result<Encrypted, EncryptionError> {
        let key = self.keys.first().ok_or(EncryptionError::NotAKey)?;
        let nonce = random::<NONCE>()?;
        let payload = Payload {
            msg: text,
            aad: purpose.as_bytes(),
        };
        let encrypted = key.cipher.encrypt(&XNonce::from(nonce), payload);
        let encrypted = encrypted.map_err(|_| EncryptionError::Altered)?;
        Ok(Encrypted(
            [&[VERSION][..], &key.id, &nonce, &encrypted].concat(),
        ))
    }

    /// Decrypts a value that was encrypted for this purpose.
    ///
    /// # Errors
    /// [`EncryptionError::OtherKey`] when none of the keys encrypted it, [`EncryptionError::Altered`] when its bytes or its
    /// purpose differ.
    pub fn decrypt(
        &self,
        purpose: &str,
        encrypted: &Encrypted,
    ) -> Result<Vec<u8>, EncryptionError> {
        let rest = match encrypted.0.split_first() {
            Some((&VERSION, rest)) => rest,
            _ => return Err(EncryptionError::Altered),
        };
        let (id, rest) = rest
            .split_first_chunk::<ID>()
            .ok_or(EncryptionError::Altered)?;
        let (nonce, text) = rest
            .split_first_chunk::<NONCE>()
            .ok_or(EncryptionError::Altered)?;
        let key = self.keys.iter().find(|key| key.id == *id);
        let key = key.ok_or_else(|| EncryptionError::OtherKey(hex(id)))?;
        let payload = Payload {
            msg: text,
            aad: purpose.as_bytes(),
        };
        key.cipher
            .decrypt(&XNonce::from(*nonce), payload)
            .map_err(|_| EncryptionError::Altered)
    }

    /// Checks that one of the keys encrypted a value. The first bytes of the value are enough.
    ///
    /// # Errors
    /// [`EncryptionError::OtherKey`] when none of the keys encrypted it, [`EncryptionError::Altered`] when it is too short.
    pub fn has_key_of(&self, encrypted: &Encrypted) -> Result<(), EncryptionError> {
        let id = encrypted.0.get(1..=ID).ok_or(EncryptionError::Altered)?;
        match self.keys.iter().any(|key| key.id == *id) {
            true => Ok(()),
            false => Err(EncryptionError::OtherKey(hex(id))),
        }
    }

    /// The number of keys.
    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    /// Whether the first key encrypted a value. Any other value must be encrypted again before its key is dropped.
    pub fn is_current(&self, encrypted: &Encrypted) -> bool {
        let id = encrypted.0.get(1..=ID);
        self.keys.first().is_some_and(|key| id == Some(&key.id[..]))
    }
}

impl Encrypted {
    /// The id of the key that encrypted it, as error messages show it.
    pub fn key(&self) -> Option<String> {
        self.0.get(1..=ID).map(hex)
    }
}

impl SecretKey {
    fn parse(text: &str) -> Result<Self, EncryptionError> {
        // By hand: `model::digest` only encodes, and a few lines are no reason for another dependency.
        let digit = |c: u8| {
            char::from(c)
                .to_digit(16)
                .and_then(|d| u8::try_from(d).ok())
        };
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != KEY || !rest.is_empty() {
            return Err(EncryptionError::NotAKey);
        }
        let mut bytes = [0; KEY];
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            let (Some(high), Some(low)) = (digit(*high), digit(*low)) else {
                return Err(EncryptionError::NotAKey);
            };
            *byte = high << 4 | low;
        }
        let digest = Sha256::digest(bytes);
        let (id, _) = digest
            .split_first_chunk::<ID>()
            .ok_or(EncryptionError::NotAKey)?;
        Ok(Self {
            cipher: XChaCha20Poly1305::new(&Key::from(bytes)),
            id: *id,
        })
    }
}

/// Says where the encryption key is read from. The help of every error about keys.
pub(super) const KEY_HELP: &str = "the encryption key is the one of ORGHOST_SECRET_KEY, else of `secret_key_file` under [server], else of secret.key in the state folder";

impl From<EncryptionError> for Problem {
    fn from(error: EncryptionError) -> Self {
        Self::one(
            Class::Failed,
            Diagnostic::new("secret-key", error.to_string()).help(KEY_HELP),
        )
    }
}
