//! `ARCHITECTURE.md` is a map of the sources: what it names is there, and what is there it names.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::root;

fn document() -> String {
    std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap()
}

/// The lines of a section's table, without its head.
fn rows<'a>(document: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let (_, section) = document.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    let rows: Vec<Vec<&str>> = rows
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert!(!rows.is_empty(), "{heading} has no table");
    rows
}

/// What stands in backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_room_and_every_module_of_a_room_is_named() {
    let document = document();
    let sources = root().join("host/src");
    let crates = ["model/src", "client/src"];
    let mut rooms = BTreeSet::new();
    for row in rows(&document, "The rooms of the host") {
        let [room, _, modules] = row[..] else {
            panic!("a row without three columns: {row:?}");
        };
        let room = quoted(room).next().unwrap();
        let name = room.trim_end_matches('/').trim_end_matches(".rs");
        rooms.insert(name.to_owned());
        let named: BTreeSet<String> = quoted(modules).map(str::to_owned).collect();
        let folder = match crates.contains(&name) {
            true => root().join(name),
            false => sources.join(name),
        };
        let mut there = listing(&folder);
        there.remove("lib");
        assert_eq!(named, there, "{room}");
    }
    let mut there = listing(&sources);
    there.remove("lib");
    there.remove("main");
    let there: BTreeSet<String> = there
        .iter()
        .map(|name| name.trim_end_matches('/').to_owned())
        .chain(crates.map(str::to_owned))
        .collect();
    assert_eq!(rooms, there);
}

#[test]
fn every_file_that_it_names_is_there() {
    let document = document();
    let folders = [
        root().to_owned(),
        root().join("host/src"),
        root().join("host/src/service"),
    ];
    let mut missing = Vec::new();
    let mut found = 0;
    for path in quoted(&document) {
        let path = path.split([' ', '(']).next().unwrap();
        let is_file = [".rs", ".wit", ".md", ".json", ".wasm"]
            .iter()
            .any(|end| path.ends_with(end) && path.len() > end.len());
        let is_folder = path.ends_with('/') && path.len() > 1;
        if is_file || is_folder {
            found += 1;
            if !folders.iter().any(|folder| folder.join(path).exists()) {
                missing.push(path);
            }
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
    assert!(found > 50, "only {found} paths were found");
}

/// The issue that asked for the document asked these ten questions of it.
#[test]
fn ten_tasks_have_an_answer() {
    let document = document();
    let tasks = [
        "add a policy rule",
        "change how a seed is compared",
        "add an engine",
        "add an HTTP route",
        "add a WIT field",
        "add a metric",
        "change retention",
        "change a plugin limit",
        "add a CLI flag",
        "add a page panel",
    ];
    let rows = rows(&document, "Where to change what");
    let answered: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    assert_eq!(answered, tasks);
    for row in &rows {
        let path = quoted(row[1]).next().unwrap();
        assert!(root().join(path).exists(), "{}: {path}", row[0]);
    }
}

/// The modules of a folder by their names, those that are folders alone with a `/`.
fn listing(folder: &Path) -> BTreeSet<String> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return BTreeSet::new();
    };
    let paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    let files = paths
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "rs"));
    let mut names: BTreeSet<String> = files
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    for path in paths.iter().filter(|path| path.is_dir()) {
        let name = path.file_name().unwrap().to_str().unwrap();
        if !names.contains(name) {
            names.insert(format!("{name}/"));
        }
    }
    names
}
