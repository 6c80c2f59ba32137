//! The migration to version 3 of the store, in which workspaces are identified by their path of names. Before, they were
//! identified by keys, which a plugin had made.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::types::Type;
use rusqlite::{Transaction, params};
use sha2::{Digest as _, Sha256};

use super::words::word_at;
use super::workspaces::{insert, parsed, path_json};
use crate::model::digest::hex;
use crate::model::ids::WorkspaceId;
use crate::model::names::NamePath;
use crate::model::plan::WorkspaceKey;
use crate::model::status::{Desired, LastOutcome, WorkspaceRow};

/// Gives every workspace a path of names and an identity.
pub(super) fn migrate_to_names(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    tx.execute_batch(
        "CREATE TABLE identities (
             org TEXT NOT NULL REFERENCES orgs(slug) ON DELETE CASCADE, path TEXT NOT NULL, id TEXT NOT NULL UNIQUE,
             PRIMARY KEY (org, path)
         ) STRICT;
         ALTER TABLE workspaces RENAME TO keyed;
         DROP INDEX workspaces_by_id;
         CREATE TABLE workspaces (
             id TEXT PRIMARY KEY, org TEXT NOT NULL REFERENCES orgs(slug) ON DELETE CASCADE, path TEXT NOT NULL,
             key TEXT NOT NULL, position INTEGER NOT NULL, name TEXT NOT NULL, runtime TEXT NOT NULL,
             tier INTEGER NOT NULL, external INTEGER NOT NULL, url TEXT, outcome TEXT NOT NULL, reason TEXT,
             wanted TEXT NOT NULL, planned INTEGER NOT NULL
         ) STRICT;
         CREATE INDEX workspaces_of_org ON workspaces(org, position);
         ALTER TABLE operations ADD COLUMN workspace_id TEXT;
         ALTER TABLE events ADD COLUMN workspace_id TEXT;",
    )?;
    let instance: String = tx.query_row(
        "SELECT value FROM meta WHERE name = 'instance'",
        [],
        |row| row.get(0),
    )?;
    let orgs: Vec<String> = tx
        .prepare("SELECT slug FROM orgs")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for org in orgs {
        for (position, row) in named(tx, &instance, &org)? {
            tx.execute(
                "INSERT INTO identities VALUES (?1, ?2, ?3)",
                params![org, path_json(&row.path), row.id.as_str()],
            )?;
            insert(tx, &org, position, &row)?;
            for table in ["operations", "events"] {
                tx.execute(
                    &format!(
                        "UPDATE {table} SET workspace_id = ?3 WHERE org = ?1 AND workspace = ?2"
                    ),
                    params![org, row.key.as_str(), row.id.as_str()],
                )?;
            }
        }
    }
    tx.execute_batch("DROP TABLE keyed;")
}

/// The workspaces of an org of an older store. Siblings could share a name there. All but the first become `NAME (2)`,
/// `NAME (3)` and so on, until the next import of their template.
fn named(
    tx: &Transaction<'_>,
    instance: &str,
    org: &str,
) -> rusqlite::Result<Vec<(i64, WorkspaceRow)>> {
    let mut paths: BTreeMap<String, NamePath> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut query = tx.prepare(
        "SELECT coalesce(id, ''), key, name, runtime, tier, external, url, outcome, reason, wanted, position
         FROM keyed WHERE org = ?1 ORDER BY length(key) - length(replace(key, '/', '')), position, key",
    )?;
    let rows = query.query_map([org], |row| {
        let key = parsed(row, 1, |text| WorkspaceKey::new(&text))?;
        let name: String = row.get(2)?;
        let parent = key.parent().and_then(|parent| paths.get(parent));
        let mut path = NamePath::below(parent, &name);
        let mut number = 1;
        while !seen.insert(path.clone()) {
            number += 1;
            path = NamePath::below(parent, &format!("{name} ({number})"));
        }
        paths.insert(key.as_str().to_owned(), path.clone());
        let position = row.get(10)?;
        let known = WorkspaceId::parse(&row.get::<_, String>(0)?);
        // How older versions computed identities.
        let by_key = || hex(Sha256::digest(format!("{instance}\0{org}\0{key}")));
        let id = known.or_else(|| WorkspaceId::parse(by_key().get(..32)?));
        let wrong = || rusqlite::Error::InvalidColumnType(0, "id".to_owned(), Type::Text);
        let row = WorkspaceRow {
            id: id.ok_or_else(wrong)?,
            key,
            path,
            name,
            runtime: row.get(3)?,
            tier: row.get(4)?,
            external: row.get(5)?,
            url: row.get(6)?,
            outcome: word_at(row, 7, &LastOutcome::ALL, LastOutcome::as_str)?,
            reason: row.get(8)?,
            wanted: word_at(row, 9, &Desired::ALL, Desired::as_str)?,
            planned: true,
        };
        Ok((position, row))
    })?;
    rows.collect()
}
