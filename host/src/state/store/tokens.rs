//! API tokens: their digests, scopes and lifetimes. `orghost token` may add one while a server runs.

use std::collections::HashMap;
use std::sync::PoisonError;

use rusqlite::{OptionalExtension as _, Row, params};

use super::{Store, StoreError};
use crate::state::token::{Scope, TokenDigest};

/// A token, without its text and its digest.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TokenRow {
    /// Its id, which is no secret.
    pub id: String,
    /// Whose it is, or what for.
    pub name: String,
    /// Its scope. `None` for a scope that this version does not know; such a token is rejected.
    pub scope: Option<Scope>,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: i64,
    /// When it expires, in milliseconds since 1970. Absent: never.
    pub expires_ms: Option<i64>,
    /// When it was revoked, in milliseconds since 1970.
    pub revoked_ms: Option<i64>,
    /// When it was last used, in milliseconds since 1970, accurate to a minute.
    pub used_ms: Option<i64>,
}

/// What the store knows of a presented token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// Whether a token was ever made on this host.
    pub any: bool,
    /// The presented token, if it is known and valid.
    pub token: Option<TokenRow>,
}

/// The tokens that were presented since the last commit to the database. The key is the digest.
#[derive(Debug, Default)]
pub(super) struct KnownTokens {
    /// The version of the database that this is known of. `None`: nothing is known.
    version: Option<i64>,
    any: bool,
    tokens: HashMap<TokenDigest, TokenRow>,
}

/// The shortest time between two stored uses of a token, in milliseconds.
const USED_MS: i64 = 60_000;

const COLUMNS: &str = "id, name, scope, created_ms, expires_ms, revoked_ms, used_ms";

impl TokenRow {
    fn is_valid(&self, now: i64) -> bool {
        self.revoked_ms.is_none() && self.expires_ms.is_none_or(|expires| now < expires)
    }
}

impl Store {
    /// Stores a new token. It is valid for `lifetime_ms` milliseconds, or until it is revoked.
    pub async fn put_token(
        &self,
        id: &str,
        name: &str,
        scope: Scope,
        lifetime_ms: Option<i64>,
        digest: TokenDigest,
    ) -> Result<TokenRow, StoreError> {
        let created_ms = self.clock.now_ms();
        let row = TokenRow {
            id: id.to_owned(),
            name: name.to_owned(),
            scope: Some(scope),
            created_ms,
            expires_ms: lifetime_ms.map(|ms| created_ms.saturating_add(ms)),
            revoked_ms: None,
            used_ms: None,
        };
        let kept = row.clone();
        self.write(move |db| {
            db.execute(
                "INSERT INTO tokens (id, name, scope, hash, created_ms, expires_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![row.id, row.name, scope.as_str(), digest.0, row.created_ms, row.expires_ms],
            )
        })
        .await?;
        Ok(kept)
    }

    /// Every token, oldest first, including expired and revoked ones.
    pub async fn tokens(&self) -> Result<Vec<TokenRow>, StoreError> {
        self.read(|db| {
            db.prepare(&format!(
                "SELECT {COLUMNS} FROM tokens ORDER BY created_ms, id"
            ))?
            .query_map([], token)?
            .collect()
        })
        .await
    }

    /// Whether any token is valid now.
    pub async fn has_token(&self) -> Result<bool, StoreError> {
        let now = self.clock.now_ms();
        Ok(self.tokens().await?.iter().any(|token| token.is_valid(now)))
    }

    /// Revokes a token. Returns whether there is such a token.
    pub async fn revoke_token(&self, id: &str) -> Result<bool, StoreError> {
        let (id, now) = (id.to_owned(), self.clock.now_ms());
        self.write(move |db| {
            let revoked = db.execute(
                "UPDATE tokens SET revoked_ms = coalesce(revoked_ms, ?2) WHERE id = ?1",
                params![id, now],
            );
            revoked.map(|rows| rows > 0)
        })
        .await
    }

    /// Looks up a presented token, and stores that it was used.
    pub async fn admission(&self, presented: Option<TokenDigest>) -> Result<Admission, StoreError> {
        let (any, found) = self.look_up(presented).await?;
        let now = self.clock.now_ms();
        let token = found.filter(|token| token.is_valid(now));
        let is_new_use = |used: i64| now - used >= USED_MS;
        if let Some(token) = token.as_ref().filter(|t| t.used_ms.is_none_or(is_new_use)) {
            let id = token.id.clone();
            let used = self.write(move |db| {
                let used = "UPDATE tokens SET used_ms = ?2 WHERE id = ?1";
                db.execute(used, params![id, now]).map(drop)
            });
            // A full disk must not lock callers out.
            let _ = used.await;
        }
        Ok(Admission { any, token })
    }

    /// Whether a token was ever made, and the presented one. `orghost token` is another process, so what is known here is
    /// only used while nobody has committed anything.
    async fn look_up(
        &self,
        presented: Option<TokenDigest>,
    ) -> Result<(bool, Option<TokenRow>), StoreError> {
        // Before the read, so that a commit between them is noticed the next time.
        let version = self.database.version();
        let known_tokens = || {
            self.known_tokens
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if version.is_some() {
            let known = known_tokens();
            let token = presented.map(|digest| known.tokens.get(&digest));
            if known.version == version && token != Some(None) {
                return Ok((known.any, token.flatten().cloned()));
            }
        }
        let lookup = self.read(move |db| {
            let any = "SELECT EXISTS (SELECT 1 FROM tokens)";
            let any = db.prepare_cached(any)?.query_row([], |row| row.get(0))?;
            let query = format!("SELECT {COLUMNS} FROM tokens WHERE hash = ?1");
            let found = match presented {
                Some(digest) => db
                    .prepare_cached(&query)?
                    .query_row([digest.0], token)
                    .optional()?,
                None => None,
            };
            Ok((any, found))
        });
        let (any, found) = lookup.await?;
        if version.is_none() {
            return Ok((any, found));
        }
        let mut known = known_tokens();
        if known.version != version {
            *known = KnownTokens {
                version,
                any,
                tokens: HashMap::new(),
            };
        }
        if let (Some(digest), Some(token)) = (presented, &found) {
            known.tokens.insert(digest, token.clone());
        }
        Ok((any, found))
    }
}

fn token(row: &Row<'_>) -> rusqlite::Result<TokenRow> {
    Ok(TokenRow {
        id: row.get(0)?,
        name: row.get(1)?,
        scope: Scope::parse(&row.get::<_, String>(2)?),
        created_ms: row.get(3)?,
        expires_ms: row.get(4)?,
        revoked_ms: row.get(5)?,
        used_ms: row.get(6)?,
    })
}
