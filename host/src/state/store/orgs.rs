//! Orgs: reading them, and writing or removing one together with its workspaces.

use std::collections::BTreeSet;

use rusqlite::{Connection, Row, Transaction, params};
use unicode_normalization::UnicodeNormalization as _;

use super::error::of_row;
use super::words::word_at;
use super::workspaces::{insert, path, path_json};
use super::{Label, LastOutcome, Store, StoreError, WorkspaceRow};
use crate::model::engine_kind::EngineKind;
use crate::model::keys;
use crate::model::names::NamePath;

/// An org in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrgRow {
    /// Its identity in this state folder.
    pub slug: String,
    /// Its name in the template.
    pub name: String,
    /// The engine of its workspaces. Chosen at the first import, and never changed.
    pub engine: EngineKind,
    /// The folder of the template that it was last brought up from.
    pub template: String,
}

/// An org in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedOrg {
    /// The org.
    pub org: OrgRow,
    /// How many of its workspaces have each outcome. An outcome that no workspace has is missing.
    pub outcomes: Vec<(LastOutcome, usize)>,
}

impl OrgRow {
    /// Whether a person means this org: by its slug or by its full name.
    pub fn is_called(&self, name: &str) -> bool {
        self.slug == name || self.name == name
    }
}

impl Store {
    /// Every org, ordered by slug.
    ///
    /// # Errors
    /// [`StoreError::Database`] when the store cannot be read, as for every method of this file.
    pub async fn orgs(&self) -> Result<Vec<OrgRow>, StoreError> {
        self.read(|db| {
            let mut query =
                db.prepare("SELECT slug, name, engine, template FROM orgs ORDER BY slug")?;
            query.query_map([], org)?.collect()
        })
        .await
    }

    /// The orgs that have this slug, or this name after Unicode normalisation (NFC); ordered by slug.
    pub async fn orgs_called(&self, slug: &str, name: &str) -> Result<Vec<OrgRow>, StoreError> {
        let (slug, name) = (slug.to_owned(), normal(name));
        self.read(move |db| called(db, &slug, &name)).await
    }

    /// As [`Store::orgs_called`], on this thread, which may wait for the disk.
    pub fn orgs_called_here(&self, slug: &str, name: &str) -> Result<Vec<OrgRow>, StoreError> {
        self.read_here(|db| called(db, slug, &normal(name)))
    }

    /// At most `limit` orgs after a slug, ordered by slug.
    pub async fn list_orgs(&self, after: &str, limit: usize) -> Result<Vec<ListedOrg>, StoreError> {
        let after = after.to_owned();
        self.read(move |db| {
            let mut query = db.prepare_cached(
                "SELECT slug, page.name, engine, template, outcome, count(id)
                 FROM (SELECT * FROM orgs WHERE slug > ?1 ORDER BY slug LIMIT ?2) AS page
                 LEFT JOIN workspaces ON workspaces.org = slug GROUP BY slug, outcome ORDER BY slug",
            )?;
            let mut rows = query.query(params![after, limit as i64])?;
            let mut orgs: Vec<ListedOrg> = Vec::new();
            while let Some(row) = rows.next()? {
                let org = org(row)?;
                let count = row.get::<_, i64>(5)?;
                // An org without workspaces has one row, without an outcome.
                let outcome = match count {
                    0 => None,
                    _ => Some(of_row(
                        format_args!("a workspace of {}", org.slug),
                        word_at(row, 4, &LastOutcome::ALL, LastOutcome::as_str),
                    )?),
                };
                if orgs.last().is_none_or(|last| last.org != org) {
                    let outcomes = Vec::new();
                    orgs.push(ListedOrg { org, outcomes });
                }
                if let (Some(last), Some(outcome)) = (orgs.last_mut(), outcome) {
                    let count = usize::try_from(count).unwrap_or(usize::MAX);
                    last.outcomes.push((outcome, count));
                }
            }
            Ok(orgs)
        })
        .await
    }

    /// Forgets an org, its workspaces, its source and its encrypted variables; its events are kept. Does nothing while an
    /// accepted import of the org is queued, because that import needs all of them.
    pub async fn forget_org(&self, org: &str) -> Result<(), StoreError> {
        let org = org.to_owned();
        self.write(move |db| {
            let gone = db.execute(
                "DELETE FROM orgs WHERE slug = ?1 AND NOT EXISTS
                 (SELECT 1 FROM operations WHERE org = ?1 AND kind = 'up' AND state = 'queued')",
                [&org],
            )?;
            if gone > 0 {
                db.execute(
                    "DELETE FROM sealed WHERE name = ?1",
                    [Label::vars(&org).as_str()],
                )?;
            }
            Ok(())
        })
        .await
    }
}

fn called(db: &Connection, slug: &str, normal_name: &str) -> rusqlite::Result<Vec<OrgRow>> {
    let mut query = db.prepare_cached(
        "SELECT slug, name, engine, template FROM orgs WHERE slug = ?1 OR normal_name = ?2 ORDER BY slug",
    )?;
    query.query_map([slug, normal_name], org)?.collect()
}

/// A name in its normal form (NFC), in which equal names are equal texts.
fn normal(name: &str) -> String {
    name.nfc().collect()
}

/// Adds the indexes by which orgs and workspaces are found and listed in pages.
pub(super) fn migrate_to_indexes(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    tx.execute_batch(
        "ALTER TABLE orgs ADD COLUMN normal_name TEXT NOT NULL DEFAULT '';
         CREATE INDEX orgs_by_name ON orgs(normal_name);
         DROP INDEX workspaces_of_org;
         CREATE INDEX workspaces_of_org ON workspaces(org, planned DESC, position, key);",
    )?;
    let names: Vec<(String, String)> = tx
        .prepare("SELECT slug, name FROM orgs")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (slug, name) in names {
        tx.execute(
            "UPDATE orgs SET normal_name = ?2 WHERE slug = ?1",
            [slug, normal(&name)],
        )?;
    }
    Ok(())
}

fn org(row: &Row<'_>) -> rusqlite::Result<OrgRow> {
    let slug: String = row.get(0)?;
    let read = || {
        Ok(OrgRow {
            slug: slug.clone(),
            name: row.get(1)?,
            engine: word_at(row, 2, &EngineKind::ALL, EngineKind::as_str)?,
            template: row.get(3)?,
        })
    };
    of_row(format_args!("org {slug}"), read())
}

/// Stores an org and its planned workspaces with their identities. Workspaces that are known keep their outcome.
pub(super) fn write_org(
    tx: &Connection,
    org: &OrgRow,
    workspaces: &[WorkspaceRow],
) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO orgs (slug, name, engine, template, normal_name) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (slug)
         DO UPDATE SET name = excluded.name, engine = excluded.engine, template = excluded.template,
                       normal_name = excluded.normal_name",
    )?
    .execute(params![
        org.slug,
        org.name,
        org.engine.as_str(),
        org.template,
        normal(&org.name)
    ])?;
    tx.prepare_cached("UPDATE workspaces SET planned = FALSE WHERE org = ?1")?
        .execute([&org.slug])?;
    for row in workspaces {
        tx.prepare_cached("DELETE FROM identities WHERE org = ?1 AND (id = ?2 OR path = ?3)")?
            .execute(params![org.slug, row.id.as_str(), path_json(&row.path)])?;
    }
    for (position, row) in (0_i64..).zip(workspaces) {
        tx.prepare_cached("INSERT INTO identities VALUES (?1, ?2, ?3)")?
            .execute(params![org.slug, path_json(&row.path), row.id.as_str()])?;
        insert(tx, &org.slug, position, row)?;
    }
    rename_left(tx, &org.slug, workspaces)
}

/// Renames the keys of workspaces that left the template, so that each key means one workspace.
fn rename_left(tx: &Connection, org: &str, workspaces: &[WorkspaceRow]) -> rusqlite::Result<()> {
    let left: Vec<(String, NamePath)> = tx
        .prepare_cached("SELECT id, path FROM workspaces WHERE org = ?1 AND planned = FALSE")?
        .query_map([org], |row| Ok((row.get(0)?, path(row, 1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    if left.is_empty() {
        return Ok(());
    }
    let here: BTreeSet<&NamePath> = workspaces.iter().map(|row| &row.path).collect();
    let beside: Vec<&NamePath> = left.iter().map(|(_, path)| path).collect();
    let keys = keys::keys(&Vec::from_iter(here.iter().copied()), &beside);
    for (id, path) in &left {
        let Some(key) = keys.get(path) else {
            continue;
        };
        let mut key = key.as_str().to_owned();
        if here.contains(path) {
            // Another workspace has this path of names now.
            key = format!("{key}-{}", id.get(..8).unwrap_or(id));
        }
        tx.execute(
            "UPDATE workspaces SET key = ?2 WHERE id = ?1",
            params![id, key],
        )?;
    }
    Ok(())
}
