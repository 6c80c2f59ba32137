//! Keys of workspaces: paths of slugs, unique where names repeat. A key depends on names alone.

use std::collections::{BTreeMap, BTreeSet};

use super::limits;

/// The slugs of siblings, in their order. The first of several equal ones keeps its slug; later ones get the first
/// of `-2`, `-3`, … that no sibling has.
pub(crate) fn slugs<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let natural: Vec<String> = names.map(slug).collect();
    let mut taken: BTreeSet<String> = natural.iter().cloned().collect();
    let mut seen = BTreeSet::new();
    // By what stands before the number, the number to try next: nothing is tried twice.
    let mut next: BTreeMap<&str, usize> = BTreeMap::new();
    let mut unique = Vec::with_capacity(natural.len());
    for slug in &natural {
        if seen.insert(slug) {
            unique.push(slug.clone());
            continue;
        }
        let stem = shortened(slug, limits::SLUG_BYTES - NUMBER_BYTES);
        let number = next.entry(stem).or_insert(2);
        let candidate = loop {
            let candidate = format!("{stem}-{number}");
            *number += 1;
            if taken.insert(candidate.clone()) {
                break candidate;
            }
        };
        unique.push(candidate);
    }
    unique
}

/// Bytes of `-10000`, the last that [`limits::WORKSPACES`] allows.
const NUMBER_BYTES: usize = 6;

/// The letters and digits of ASCII in lower case; `-` for whatever is between them.
fn slug(name: &str) -> String {
    let words = name
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    let slug = words.collect::<Vec<_>>().join("-").to_ascii_lowercase();
    if slug.is_empty() {
        "workspace".to_owned()
    } else {
        shortened(&slug, limits::SLUG_BYTES).to_owned()
    }
}

/// A slug is ASCII.
fn shortened(slug: &str, bytes: usize) -> &str {
    slug.get(..bytes).unwrap_or(slug).trim_end_matches('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_unique_and_plain() {
        let long = "x".repeat(80);
        let (x63, x57) = ("x".repeat(63), format!("{}-2", "x".repeat(57)));
        for (names, expected) in [
            (&["Dev Lead"][..], &["dev-lead"][..]),
            (&["A11y + SEO  Auditor!"], &["a11y-seo-auditor"]),
            (&["--a--"], &["a"]),
            (
                &["Führung", "東京", "é"],
                &["f-hrung", "workspace", "workspace-2"],
            ),
            (&["A", "a", "A"], &["a", "a-2", "a-3"]),
            (&["x", "x", "x-2"], &["x", "x-3", "x-2"]),
            (
                &["x", "x-2", "x", "x-2", "x"],
                &["x", "x-2", "x-3", "x-2-2", "x-4"],
            ),
            (&[&long, &long], &[&x63, &x57]),
        ] {
            assert_eq!(slugs(names.iter().copied()), expected, "{names:?}");
        }
    }

    #[test]
    fn many_equal_names_are_all_different() {
        let slugs = slugs(std::iter::repeat_n("same", 20_000));
        let unique: BTreeSet<&String> = slugs.iter().collect();
        assert_eq!(unique.len(), 20_000);
    }
}
