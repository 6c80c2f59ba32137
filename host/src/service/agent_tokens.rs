//! The tokens with which workspaces authenticate. Each is derived from one encrypted secret and the workspace's id, so no
//! token is stored, and a workspace has the same token on every run. Never prints one.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::model::digest::hex;
use crate::model::ids::WorkspaceId;
use crate::problem::Problem;
use crate::random::random;
use crate::state::encryption::{EncryptionError, Keyring};
use crate::state::store::{Label, Store};

/// The secret from which the tokens of one host's workspaces are derived. It has no `Debug`, so it is not printed by
/// accident; it lives as long as the process, so erasing it (`secrecy`) would gain nothing.
pub struct AgentTokens([u8; 32]);

impl AgentTokens {
    /// Loads the secret from the store, or makes and stores one. Needs the write lock.
    ///
    /// # Errors
    /// The store does not work, the secret cannot be decrypted, or there are no random bytes.
    pub async fn of(store: &Store, keyring: &Keyring) -> Result<Self, Problem> {
        let label = Label::workspace_tokens();
        if let Some(encrypted) = store.encrypted(&label).await? {
            let decrypted = keyring.decrypt(label.as_str(), &encrypted)?;
            let secret = decrypted.try_into().map_err(|_| EncryptionError::Altered)?;
            return Ok(Self(secret));
        }
        let secret = random::<32>()?;
        let encrypted = keyring.encrypt(label.as_str(), &secret)?;
        store.put_encrypted(&label, encrypted).await?;
        Ok(Self(secret))
    }

    /// The token of a workspace: HMAC-SHA-256 (RFC 2104) of its id, in hexadecimal.
    pub fn token(&self, id: &WorkspaceId) -> String {
        self.mac(id)
            .map(|mac| hex(mac.finalize().into_bytes()))
            .unwrap_or_default()
    }

    /// Whether a token is that of a workspace. Takes the same time for right and wrong tokens of the right form.
    pub fn is_of(&self, id: &WorkspaceId, token: &str) -> bool {
        let (pairs, rest) = token.as_bytes().as_chunks::<2>();
        // By hand: `model::digest` only encodes, and a few lines are no reason for another dependency.
        let digit = |c: u8| {
            char::from(c)
                .to_digit(16)
                .and_then(|d| u8::try_from(d).ok())
        };
        let bytes: Option<Vec<u8>> = pairs
            .iter()
            .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
            .collect();
        match (bytes, self.mac(id)) {
            (Some(bytes), Some(mac)) if rest.is_empty() => mac.verify_slice(&bytes).is_ok(),
            _ => false,
        }
    }

    fn mac(&self, id: &WorkspaceId) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        mac.update(id.as_str().as_bytes());
        Some(mac)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_valid_for_one_workspace_of_one_host_only() {
        let (here, there) = (AgentTokens([1; 32]), AgentTokens([2; 32]));
        let (a, b) = ("a".repeat(32), "b".repeat(32));
        let (a, b) = (WorkspaceId::parse(&a), WorkspaceId::parse(&b));
        let (a, b) = (a.unwrap(), b.unwrap());
        let token = here.token(&a);
        assert_eq!(token.len(), 64);
        assert!(here.is_of(&a, &token));
        assert!(!here.is_of(&b, &token) && !there.is_of(&a, &token));
        for wrong in ["", &token[..62], &format!("{token}00"), "zz"] {
            assert!(!here.is_of(&a, wrong), "{wrong}");
        }
    }
}
