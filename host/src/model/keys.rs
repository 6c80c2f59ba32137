//! The keys by which people address workspaces, made of their names alone.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

use super::digest::hex;
use super::names::{NamePath, readable};
use super::plan::WorkspaceKey;

/// The longest slug in bytes (RFC 1123's length of a label).
const SLUG_BYTES: usize = 63;

/// Digits of a name's digest that tell it from its siblings.
const SUFFIX_DIGITS: usize = 8;

/// The keys by which people address workspaces, in the order of `paths`. `left` are workspaces beside them that are no
/// longer in the template: where a key would be equal, those give way. Every parent of a path is a path itself.
///
/// A slug is the name in ASCII's lower-case letters and digits, transliterated, cut to 63 bytes. Siblings whose slugs
/// would be equal each get a suffix of their own name's sha-256. The result also has the parents of those that are left.
pub fn keys(paths: &[&NamePath], left: &[&NamePath]) -> BTreeMap<NamePath, WorkspaceKey> {
    // Somebody who is left may have had a parent who is not.
    let gone: Vec<NamePath> = left.iter().flat_map(|path| path.ancestors()).collect();
    let left: Vec<&NamePath> = left.iter().copied().chain(&gone).collect();
    let mut families: BTreeMap<Option<NamePath>, Family<'_>> = BTreeMap::new();
    for path in paths {
        let family = families.entry(path.parent()).or_default();
        family.here.insert(path.name());
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
        let above = parent.as_ref().and_then(|parent| keys.get(parent));
        if let Some(slug) = slug {
            keys.insert(path.clone(), WorkspaceKey::below(above, slug));
        }
    }
    keys
}

/// The names of siblings.
#[derive(Default)]
struct Family<'a> {
    here: BTreeSet<&'a str>,
    left: BTreeSet<&'a str>,
}

impl<'a> Family<'a> {
    fn slugs(&self) -> BTreeMap<&'a str, String> {
        let mut slugs = BTreeMap::new();
        let mut taken = BTreeSet::new();
        for names in [&self.here, &self.left] {
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

/// Slugs that differ from each other and from those that are `taken`; each depends on the set of names, not on an order.
fn distinct<'a>(names: &BTreeSet<&'a str>, taken: &BTreeSet<String>) -> BTreeMap<&'a str, String> {
    // By name: how many digits of its digest its slug ends in.
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
        // 48 digits: two names with one digest of so many do not exist.
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

/// A name's slug, which ends in so many digits of the name's digest.
fn slug(name: &str, digits: usize) -> String {
    let digest = hex(&Sha256::digest(name));
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
