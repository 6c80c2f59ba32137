//! Makes the keys of workspaces: readable paths of slugs, unique in the plan. A key depends on the names of a
//! workspace, its siblings and its ancestors, and not on their order. The host makes the keys that people see by the
//! same rule, so that a key in a plugin's message means the same workspace to people.
//!
//! # The rule
//!
//! 1. A name is taken in Unicode's normalisation form C.
//! 2. Its slug is the name transliterated to ASCII (`deunicode`), in small letters. Every run of other characters than
//!    letters and digits becomes one `-`. A slug without letters and digits is `workspace`. It is cut to 63 bytes.
//! 3. When siblings have equal slugs, each of these slugs is followed by `-` and the first 8 hex digits of the SHA-256
//!    of its name. The slug is cut so that the whole has at most 63 bytes. Slugs that are still equal take 8 more
//!    digits, until all are different.

use std::collections::BTreeMap;

use deunicode::deunicode_with_tofu;

use super::limits;
use super::name::{self, Name};

/// How many hex digits are added to equal slugs at a time.
const STEP: usize = 8;

/// The slugs of siblings, in their order. Different names have different slugs.
pub(crate) fn slugs(names: &[Name]) -> Vec<String> {
    let mut digits = vec![0; names.len()];
    loop {
        let slugs: Vec<String> = names
            .iter()
            .zip(&digits)
            .map(|(name, digits)| slug(name, *digits))
            .collect();
        let mut equal: BTreeMap<&str, usize> = BTreeMap::new();
        for slug in &slugs {
            *equal.entry(slug).or_default() += 1;
        }
        let mut longer = false;
        for (slug, digits) in slugs.iter().zip(&mut digits) {
            let shared = equal.get(slug.as_str()).is_some_and(|count| *count > 1);
            if shared && *digits < MOST_DIGITS {
                *digits += STEP;
                longer = true;
            }
        }
        if !longer {
            return slugs;
        }
    }
}

/// The most hex digits of a slug. No two names are known whose digests have this many equal digits.
const MOST_DIGITS: usize = 48;

/// The slug of a name, followed by the first digits of the name's digest. 0 digits leave the digest out.
fn slug(name: &Name, digits: usize) -> String {
    let plain = deunicode_with_tofu(name.as_str(), " ");
    let words = plain
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    let mut slug = words.collect::<Vec<_>>().join("-").to_ascii_lowercase();
    if slug.is_empty() {
        slug.push_str("workspace");
    }
    if digits == 0 {
        return shortened(&slug, limits::SLUG_BYTES).to_owned();
    }
    let stem = shortened(&slug, limits::SLUG_BYTES - 1 - digits);
    format!("{stem}-{}", name::hex(&name.digest(), digits))
}

/// Cuts a slug, which is ASCII, to at most `bytes`.
fn shortened(slug: &str, bytes: usize) -> &str {
    slug.get(..bytes).unwrap_or(slug).trim_end_matches('-')
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn of(names: &[&str]) -> Vec<String> {
        let names: Vec<Name> = names.iter().map(|name| Name::new(name)).collect();
        slugs(&names)
    }

    #[test]
    fn a_name_in_any_alphabet_has_a_readable_ascii_slug() {
        for (name, slug) in [
            ("Dev Lead", "dev-lead"),
            ("A11y + SEO  Auditor!", "a11y-seo-auditor"),
            ("--a--", "a"),
            ("Führung", "fuhrung"),
            // The same letters, once with a combining character.
            ("Fu\u{308}hrung", "fuhrung"),
            ("東京", "dong-jing"),
            ("Аналитик", "analitik"),
            ("🦄 Team", "unicorn-team"),
            ("…!", "workspace"),
        ] {
            assert_eq!(of(&[name]), [slug], "{name:?}");
        }
        assert_eq!(of(&["x".repeat(80).as_str()]), ["x".repeat(63)]);
    }

    // The digits are the first ones that `printf '%s' NAME | sha256sum` prints.
    #[test]
    fn equal_slugs_get_the_digests_of_their_names() {
        assert_eq!(
            of(&["C++ Dev", "C# Dev", "Lead"]),
            ["c-dev-86b0173d", "c-dev-1ad8b15c", "lead"]
        );
        let (a, b) = (
            format!("{}a", "x".repeat(70)),
            format!("{}b", "x".repeat(70)),
        );
        let slugs = of(&[&a, &b]);
        assert!(slugs.iter().all(|slug| slug.len() == 63), "{slugs:?}");
        assert_ne!(slugs[0], slugs[1]);
    }

    #[test]
    fn a_name_that_reads_like_a_slug_with_a_digest_gets_another_slug() {
        let names = ["C++ Dev", "C# Dev", "c dev 86b0173d"];
        let slugs = of(&names);
        let unique: BTreeSet<&String> = slugs.iter().collect();
        assert_eq!(unique.len(), 3, "{slugs:?}");
        assert_eq!(slugs[1], "c-dev-1ad8b15c");
        assert!(slugs[0].starts_with("c-dev-86b0173d") && slugs[0].len() == 22);
    }

    proptest! {
        /// The names have few different letters, so that slugs are often equal.
        #[test]
        fn slugs_of_siblings_are_unique_and_do_not_depend_on_their_order(
            names in prop::collection::btree_set("[aA+ #äé東\u{308}-]{0,6}|x{62,66}", 1..12),
            seed in any::<u64>(),
        ) {
            let names: BTreeSet<Name> = names.iter().map(|name| Name::new(name)).collect();
            let names: Vec<Name> = names.into_iter().collect();
            let mut moved = names.clone();
            let length = moved.len();
            for place in 0..length {
                moved.swap(place, (seed as usize).wrapping_mul(place + 7) % length);
            }
            let by_name = |names: &[Name]| -> BTreeMap<Name, String> {
                names.iter().cloned().zip(slugs(names)).collect()
            };
            let first = by_name(&names);
            prop_assert_eq!(&first, &by_name(&moved));
            let unique: BTreeSet<&String> = first.values().collect();
            prop_assert_eq!(unique.len(), names.len());
            for slug in first.values() {
                let word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
                prop_assert!(slug.len() <= 63 && slug.split('-').all(word), "{:?}", slug);
            }
        }
    }
}
