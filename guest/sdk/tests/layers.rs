//! The modules of `standard` form layers: none of them uses, directly or through others, a module that uses it.
#![allow(missing_docs, reason = "tests")]
#![allow(
    clippy::unwrap_used,
    reason = "a test fails by a panic, and so do its helpers"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

#[test]
fn modules_of_standard_use_each_other_in_one_direction() {
    let mut uses = uses();
    assert!(uses.values().any(|used| !used.is_empty()));
    // A module is a layer once everything that it uses is in the layers below.
    while !uses.is_empty() {
        let layer: Vec<String> = uses
            .iter()
            .filter(|(_, used)| used.iter().all(|name| !uses.contains_key(name)))
            .map(|(name, _)| name.clone())
            .collect();
        assert!(!layer.is_empty(), "these modules form a circle: {uses:#?}");
        uses.retain(|name, _| !layer.contains(name));
    }
}

/// The modules that each module of `standard` uses.
fn uses() -> BTreeMap<String, BTreeSet<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/standard");
    let mut texts = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        texts.insert(name, std::fs::read_to_string(path).unwrap());
    }
    let uses = |(name, text): (&String, &String)| (name.clone(), used(text, &texts));
    texts.iter().map(uses).collect()
}

fn used(text: &str, modules: &BTreeMap<String, String>) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let mut used = BTreeSet::new();
    for after in code.split("super::").skip(1) {
        // `super::{a, b::C}` names several modules, `super::a::C` one.
        let names = match after.strip_prefix('{') {
            Some(group) => group.split_once("};").unwrap().0,
            None => after.split_once(';').unwrap().0,
        };
        let group = after.starts_with('{');
        let words = names.split(|c: char| !c.is_alphanumeric() && c != '_');
        let words = words.filter(|word| modules.contains_key(*word));
        used.extend(
            words
                .take(if group { usize::MAX } else { 1 })
                .map(str::to_owned),
        );
    }
    used
}
