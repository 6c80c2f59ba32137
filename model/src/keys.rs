//! The keys of workspaces, made from their names.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

use super::digest::hex;
use super::names::{NamePath, readable};
use super::plan::WorkspaceKey;

/// Bytes of a slug, as of a label in RFC 1123.
const SLUG_BYTES: usize = 63;

/// Digits of a name's digest in the slug of a name whose slug a sibling also has.
const SUFFIX_DIGITS: usize = 8;

/// The keys of the workspaces of a plan (`paths`) and of workspaces that left their template (`left`). The parent of each
/// path must be one of the paths.
///
/// A slug is the name transliterated to lower-case ASCII letters and digits, cut to 63 bytes. Siblings whose slugs would be
/// equal each get a suffix of the sha-256 of their own name. Only the slug of a workspace that left changes when it equals
/// the slug of a workspace of the plan. The result also has the keys of the ancestors of the workspaces that left.
pub fn keys(paths: &[&NamePath], left: &[&NamePath]) -> BTreeMap<NamePath, WorkspaceKey> {
    // The parent of a workspace that left can be gone.
    let gone: Vec<NamePath> = left.iter().flat_map(|path| path.ancestors()).collect();
    let left: Vec<&NamePath> = left.iter().copied().chain(&gone).collect();
    let mut families: BTreeMap<Option<NamePath>, Family<'_>> = BTreeMap::new();
    for path in paths {
        let family = families.entry(path.parent()).or_default();
        family.planned.insert(path.name());
    }
    for path in &left {
        let family = families.entry(path.parent()).or_default();
        family.left.insert(path.name());
    }
    let slugs: BTreeMap<&Option<NamePath>, BTreeMap<&str, String>> = families
        .iter()
        .map(|(parent, family)| (parent, family.slugs()))
        .collect();
    let mut all: Vec<&NamePath> = paths.iter().chain(&left).copied().collect();
    all.sort_by_key(|path| path.depth());
    let mut keys: BTreeMap<NamePath, WorkspaceKey> = BTreeMap::new();
    for path in all {
        let parent = path.parent();
        let slug = slugs
            .get(&parent)
            .and_then(|family| family.get(path.name()));
        let parent_key = parent.as_ref().and_then(|parent| keys.get(parent));
        if let Some(slug) = slug {
            keys.insert(path.clone(), WorkspaceKey::below(parent_key, slug));
        }
    }
    keys
}

/// The names of the children of one parent: those of the plan, and those that left the template.
#[derive(Default)]
struct Family<'a> {
    planned: BTreeSet<&'a str>,
    left: BTreeSet<&'a str>,
}

impl<'a> Family<'a> {
    fn slugs(&self) -> BTreeMap<&'a str, String> {
        let mut slugs = BTreeMap::new();
        let mut taken = BTreeSet::new();
        for names in [&self.planned, &self.left] {
            let fresh: BTreeSet<&str> = names
                .iter()
                .copied()
                .filter(|name| !slugs.contains_key(name))
                .collect();
            let made = distinct(&fresh, &taken);
            taken.extend(made.values().cloned());
            slugs.extend(made);
        }
        slugs
    }
}

/// Gives each name a slug that differs from the others and from those in `taken`. The result does not depend on an order.
fn distinct<'a>(names: &BTreeSet<&'a str>, taken: &BTreeSet<String>) -> BTreeMap<&'a str, String> {
    // By name: the number of digits of its digest at the end of its slug.
    let mut digits: BTreeMap<&str, usize> = names.iter().map(|name| (*name, 0)).collect();
    loop {
        let slugs: BTreeMap<&str, String> = digits
            .iter()
            .map(|(name, digits)| (*name, slug(name, *digits)))
            .collect();
        let mut count: BTreeMap<&str, usize> = BTreeMap::new();
        for slug in slugs.values() {
            *count.entry(slug).or_default() += 1;
        }
        let is_equal = |slug: &String| {
            taken.contains(slug) || count.get(slug.as_str()).is_some_and(|count| *count > 1)
        };
        let equal: Vec<&str> = slugs
            .iter()
            .filter(|(_, slug)| is_equal(slug))
            .map(|(name, _)| *name)
            .collect();
        // Two different names never have the same 48 digits.
        if equal.is_empty() || digits.values().any(|digits| *digits >= 48) {
            return slugs;
        }
        for name in equal {
            if let Some(digits) = digits.get_mut(name) {
                *digits += SUFFIX_DIGITS;
            }
        }
    }
}

/// The slug of a name, with this number of digits of the name's digest at its end.
fn slug(name: &str, digits: usize) -> String {
    let digest = hex(Sha256::digest(name));
    let suffix = digest.get(..digits).unwrap_or(&digest);
    let readable = readable(name).unwrap_or_else(|| "workspace".to_owned());
    if suffix.is_empty() {
        return cut(&readable, SLUG_BYTES).to_owned();
    }
    let stem = cut(&readable, SLUG_BYTES - suffix.len() - 1);
    if stem.is_empty() {
        return suffix.to_owned();
    }
    format!("{stem}-{suffix}")
}

fn cut(slug: &str, bytes: usize) -> &str {
    slug.get(..bytes).unwrap_or(slug).trim_end_matches('-')
}
