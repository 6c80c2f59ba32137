//! Secrets at rest: encrypted with a key that is not in the store. Knows neither where the key is kept nor what is encrypted,
//! and prints neither.
//!
//! XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha) with a random nonce of 24 bytes for each text. What a text is for is
//! authenticated with it, so that one encrypted text cannot stand in for another.

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

/// Keys: the first one encrypts, each one opens what it encrypted.
pub struct Keyring {
    keys: Vec<SecretKey>,
}

/// 32 random bytes; as text, 64 hexadecimal digits.
pub struct SecretKey {
    cipher: XChaCha20Poly1305,
    /// The beginning of the key's sha-256: which key encrypted a text.
    id: [u8; ID],
}

/// Version, key, nonce, text and tag. Safe to keep and to copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encrypted(pub(crate) Vec<u8>);

/// Why a secret stays one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncryptionError {
    /// The key's text is none.
    #[error("a secret key is 64 hexadecimal digits, one key on each line")]
    NotAKey,
    /// It was encrypted with a key that is not here.
    #[error("it was encrypted with the key {0}, which is not among the secret keys")]
    OtherKey(String),
    /// The key fits, the text does not.
    #[error("it was altered, or is not what it should be")]
    Altered,
    /// The operating system has no randomness.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

impl Keyring {
    /// A keyring of one key or more.
    ///
    /// # Errors
    /// [`EncryptionError::NotAKey`] when there is none, or a line is none. Empty lines and those that begin with `#` do not count.
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

    /// A new key as text.
    ///
    /// # Errors
    /// [`EncryptionError::NoRandomness`].
    pub fn new_key() -> Result<String, EncryptionError> {
        Ok(hex(&random::<KEY>()?))
    }

    /// Encrypts a text; `purpose` must be given again to open it.
    ///
    /// # Errors
    /// [`EncryptionError::NoRandomness`].
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

    /// Opens what was encrypted for this purpose.
    ///
    /// # Errors
    /// [`EncryptionError::OtherKey`], [`EncryptionError::Altered`].
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

    /// Whether one of the keys encrypted it; its beginning is enough to tell.
    ///
    /// # Errors
    /// [`EncryptionError::OtherKey`], [`EncryptionError::Altered`].
    pub fn knows(&self, encrypted: &Encrypted) -> Result<(), EncryptionError> {
        let id = encrypted.0.get(1..=ID).ok_or(EncryptionError::Altered)?;
        match self.keys.iter().any(|key| key.id == *id) {
            true => Ok(()),
            false => Err(EncryptionError::OtherKey(hex(id))),
        }
    }

    /// How many keys there are.
    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    /// Whether the first key encrypted it: otherwise it is to be encrypted anew before an old key is dropped.
    pub fn is_current(&self, encrypted: &Encrypted) -> bool {
        let id = encrypted.0.get(1..=ID);
        self.keys.first().is_some_and(|key| id == Some(&key.id[..]))
    }
}

impl Encrypted {
    /// The key that encrypted it, as errors name it.
    pub fn key(&self) -> Option<String> {
        self.0.get(1..=ID).map(hex)
    }
}

impl SecretKey {
    fn parse(text: &str) -> Result<Self, EncryptionError> {
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

/// Where the secret key comes from, for messages.
pub(super) const KEY_HELP: &str = "the secret key is the one of ORGHOST_SECRET_KEY, else of `secret_key_file` under [server], else of secret.key in the state folder";

impl From<EncryptionError> for Problem {
    fn from(error: EncryptionError) -> Self {
        Self::one(
            Class::Failed,
            Diagnostic::new("secret-key", error.to_string()).help(KEY_HELP),
        )
    }
}
