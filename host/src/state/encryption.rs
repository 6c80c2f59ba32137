//! Secrets at rest: sealed with a key that is not in the store. Knows neither where the key is kept nor what is sealed,
//! and prints neither.
//!
//! XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha) with a random nonce of 24 bytes for each text. What a text is for is
//! authenticated with it, so that one sealed text cannot stand in for another.

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use sha2::{Digest as _, Sha256};

use crate::model::diagnostic::Diagnostic;
use crate::model::digest::hex;
use crate::problem::{Class, Problem};

const VERSION: u8 = 1;
const KEY: usize = 32;
const ID: usize = 8;
const NONCE: usize = 24;

/// Keys: the first one seals, each one opens what it sealed.
pub struct Vault {
    keys: Vec<SecretKey>,
}

/// 32 random bytes; as text, 64 hexadecimal digits.
pub struct SecretKey {
    cipher: XChaCha20Poly1305,
    /// The beginning of the key's sha-256: which key sealed a text.
    id: [u8; ID],
}

/// Version, key, nonce, text and tag. Safe to keep and to copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed(pub(crate) Vec<u8>);

/// Why a secret stays one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// The key's text is none.
    #[error("a secret key is 64 hexadecimal digits, one key on each line")]
    NotAKey,
    /// It was sealed with a key that is not here.
    #[error("it was sealed with the key {0}, which is not among the secret keys")]
    OtherKey(String),
    /// The key fits, the text does not.
    #[error("it was altered, or is not what it should be")]
    Altered,
    /// The operating system has no randomness.
    #[error("this machine has no randomness: {0}")]
    NoRandomness(String),
}

impl Vault {
    /// A vault of one key or more.
    ///
    /// # Errors
    /// [`VaultError::NotAKey`] when there is none, or a line is none. Empty lines and those that begin with `#` do not count.
    pub fn of_text(text: &str) -> Result<Self, VaultError> {
        let lines = text.lines().map(str::trim);
        let keys = lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(SecretKey::parse)
            .collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err(VaultError::NotAKey);
        }
        Ok(Self { keys })
    }

    /// A new key as text.
    ///
    /// # Errors
    /// [`VaultError::NoRandomness`].
    pub fn new_key() -> Result<String, VaultError> {
        Ok(hex(&random::<KEY>()?))
    }

    /// Seals a text; `purpose` must be given again to open it.
    ///
    /// # Errors
    /// [`VaultError::NoRandomness`].
    pub fn seal(&self, purpose: &str, text: &[u8]) -> Result<Sealed, VaultError> {
        let key = self.keys.first().ok_or(VaultError::NotAKey)?;
        let nonce = random::<NONCE>()?;
        let payload = Payload {
            msg: text,
            aad: purpose.as_bytes(),
        };
        let sealed = key.cipher.encrypt(&XNonce::from(nonce), payload);
        let sealed = sealed.map_err(|_| VaultError::Altered)?;
        Ok(Sealed([&[VERSION][..], &key.id, &nonce, &sealed].concat()))
    }

    /// Opens what was sealed for this purpose.
    ///
    /// # Errors
    /// [`VaultError::OtherKey`], [`VaultError::Altered`].
    pub fn open(&self, purpose: &str, sealed: &Sealed) -> Result<Vec<u8>, VaultError> {
        let rest = match sealed.0.split_first() {
            Some((&VERSION, rest)) => rest,
            _ => return Err(VaultError::Altered),
        };
        let (id, rest) = rest.split_first_chunk::<ID>().ok_or(VaultError::Altered)?;
        let (nonce, text) = rest
            .split_first_chunk::<NONCE>()
            .ok_or(VaultError::Altered)?;
        let key = self.keys.iter().find(|key| key.id == *id);
        let key = key.ok_or_else(|| VaultError::OtherKey(hex(id)))?;
        let payload = Payload {
            msg: text,
            aad: purpose.as_bytes(),
        };
        key.cipher
            .decrypt(&XNonce::from(*nonce), payload)
            .map_err(|_| VaultError::Altered)
    }

    /// Whether one of the keys sealed it; its beginning is enough to tell.
    ///
    /// # Errors
    /// [`VaultError::OtherKey`], [`VaultError::Altered`].
    pub fn knows(&self, sealed: &Sealed) -> Result<(), VaultError> {
        let id = sealed.0.get(1..=ID).ok_or(VaultError::Altered)?;
        match self.keys.iter().any(|key| key.id == *id) {
            true => Ok(()),
            false => Err(VaultError::OtherKey(hex(id))),
        }
    }

    /// How many keys there are.
    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    /// Whether the first key sealed it: otherwise it is to be sealed anew before an old key is dropped.
    pub fn is_current(&self, sealed: &Sealed) -> bool {
        let id = sealed.0.get(1..=ID);
        self.keys.first().is_some_and(|key| id == Some(&key.id[..]))
    }
}

impl Sealed {
    /// The key that sealed it, as errors name it.
    pub fn key(&self) -> Option<String> {
        self.0.get(1..=ID).map(hex)
    }
}

impl SecretKey {
    fn parse(text: &str) -> Result<Self, VaultError> {
        let digit = |c: u8| {
            char::from(c)
                .to_digit(16)
                .and_then(|d| u8::try_from(d).ok())
        };
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != KEY || !rest.is_empty() {
            return Err(VaultError::NotAKey);
        }
        let mut bytes = [0; KEY];
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            let (Some(high), Some(low)) = (digit(*high), digit(*low)) else {
                return Err(VaultError::NotAKey);
            };
            *byte = high << 4 | low;
        }
        let digest = Sha256::digest(bytes);
        let (id, _) = digest
            .split_first_chunk::<ID>()
            .ok_or(VaultError::NotAKey)?;
        Ok(Self {
            cipher: XChaCha20Poly1305::new(&Key::from(bytes)),
            id: *id,
        })
    }
}

/// Bytes that nobody can guess.
///
/// # Errors
/// [`VaultError::NoRandomness`].
pub fn random<const N: usize>() -> Result<[u8; N], VaultError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| VaultError::NoRandomness(e.to_string()))?;
    Ok(bytes)
}

/// Where the secret key comes from, for messages.
pub(super) const KEY_HELP: &str = "the secret key is the one of ORGHOST_SECRET_KEY, else of `secret_key_file` under [server], else of secret.key in the state folder";

impl From<VaultError> for Problem {
    fn from(error: VaultError) -> Self {
        Self::one(
            Class::Failed,
            Diagnostic::new("secret-key", error.to_string()).help(KEY_HELP),
        )
    }
}
