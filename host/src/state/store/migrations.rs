//! The versions of the store, and the migrations between them. A migration needs the write lock, except in a new store.
//!
//! By hand, with SQLite's `user_version`: `rusqlite_migration` needs an older rusqlite than 0.43.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::orgs::migrate_to_indexes;
use super::version_3::migrate_to_names;

/// Entry N migrates a store of version N to version N + 1. Released entries never change.
const MIGRATIONS: [Migration; 5] = [
    Migration::Sql(FIRST),
    Migration::Sql(SECOND),
    Migration::Code(migrate_to_names),
    Migration::Sql(FOURTH),
    Migration::Code(migrate_to_indexes),
];

/// One step of [`MIGRATIONS`].
enum Migration {
    Sql(&'static str),
    Code(fn(&Transaction<'_>) -> rusqlite::Result<()>),
}

const FIRST: &str = "
    CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    INSERT INTO meta VALUES ('instance', lower(hex(randomblob(8))));
    CREATE TABLE orgs (
        slug TEXT PRIMARY KEY, name TEXT NOT NULL, engine TEXT NOT NULL, template TEXT NOT NULL
    ) STRICT;
    CREATE TABLE workspaces (
        org TEXT NOT NULL REFERENCES orgs(slug) ON DELETE CASCADE, key TEXT NOT NULL,
        position INTEGER NOT NULL, name TEXT NOT NULL, runtime TEXT NOT NULL, tier INTEGER NOT NULL,
        external INTEGER NOT NULL, url TEXT, outcome TEXT NOT NULL, reason TEXT,
        PRIMARY KEY (org, key)
    ) STRICT;
    CREATE TABLE operations (
        id TEXT PRIMARY KEY DEFAULT (lower(hex(randomblob(8)))),
        org TEXT NOT NULL, kind TEXT NOT NULL, began_ms INTEGER NOT NULL, ended_ms INTEGER
    ) STRICT;
    CREATE INDEX operations_of_org ON operations(org, ended_ms);
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, operation TEXT NOT NULL, at_ms INTEGER NOT NULL,
        workspace TEXT, step TEXT, body TEXT NOT NULL
    ) STRICT;
    CREATE INDEX events_of_operation ON events(operation, workspace);
";

const SECOND: &str = "
    ALTER TABLE operations ADD COLUMN state TEXT NOT NULL DEFAULT 'running';
    UPDATE operations SET state = 'done' WHERE ended_ms IS NOT NULL;
    ALTER TABLE operations ADD COLUMN workspace TEXT;
    ALTER TABLE operations ADD COLUMN request TEXT NOT NULL DEFAULT 'null';
    ALTER TABLE operations ADD COLUMN failed INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE operations ADD COLUMN errors TEXT NOT NULL DEFAULT '[]';
    ALTER TABLE events ADD COLUMN org TEXT NOT NULL DEFAULT '';
    UPDATE events SET org = coalesce(json_extract(body, '$.org'), '');
    CREATE INDEX events_of_org ON events(org, seq);
    ALTER TABLE workspaces ADD COLUMN id TEXT;
    ALTER TABLE workspaces ADD COLUMN wanted TEXT NOT NULL DEFAULT 'running';
    CREATE UNIQUE INDEX workspaces_by_id ON workspaces(id);
    CREATE TABLE sources (
        org TEXT PRIMARY KEY REFERENCES orgs(slug) ON DELETE CASCADE,
        snapshot TEXT NOT NULL, request TEXT NOT NULL, at_ms INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE sealed (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
    CREATE TABLE tokens (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, scope TEXT NOT NULL, hash BLOB NOT NULL UNIQUE,
        created_ms INTEGER NOT NULL, expires_ms INTEGER, revoked_ms INTEGER, used_ms INTEGER
    ) STRICT;
    CREATE TABLE answers (
        caller TEXT NOT NULL, key TEXT NOT NULL, digest TEXT NOT NULL, at_ms INTEGER NOT NULL,
        status INTEGER, headers TEXT, body BLOB, PRIMARY KEY (caller, key)
    ) STRICT;
    CREATE TABLE audit (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, caller TEXT NOT NULL, name TEXT NOT NULL,
        address TEXT NOT NULL, action TEXT NOT NULL, target TEXT NOT NULL, status INTEGER, request TEXT NOT NULL
    ) STRICT;
    CREATE INDEX audit_refused ON audit(seq) WHERE status IN (401, 403);
";

const FOURTH: &str = "
    ALTER TABLE operations ADD COLUMN cancel_ms INTEGER;
    CREATE INDEX operations_unended ON operations(ended_ms) WHERE ended_ms IS NULL;
    INSERT INTO meta VALUES ('events_gone', '0');
";

/// The version of the store that this orghost uses.
pub(super) fn newest() -> u32 {
    u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX)
}

/// Migrates a store to the newest version in one transaction.
pub(super) fn migrate(db: &mut Connection) -> rusqlite::Result<()> {
    /// The mode of `PRAGMA auto_vacuum` in which [`Store::prune`](super::Store::prune) decides when the file shrinks.
    const INCREMENTAL: u32 = 2;
    let mode: u32 = db.pragma_query_value(None, "auto_vacuum", |row| row.get(0))?;
    if mode != INCREMENTAL {
        db.pragma_update(None, "auto_vacuum", INCREMENTAL)?;
        // The mode takes effect when the file is written again.
        db.execute_batch("VACUUM")?;
    }
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: u32 = tx.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for (version, migration) in (1_u32..).zip(MIGRATIONS).skip(found as usize) {
        match migration {
            Migration::Sql(sql) => tx.execute_batch(sql)?,
            Migration::Code(change) => change(&tx)?,
        }
        tx.pragma_update(None, "user_version", version)?;
    }
    tx.commit()
}
