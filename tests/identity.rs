//! Tests of identity: a workspace is the one that its path of names says, whatever changes around it.

use std::collections::{BTreeMap, BTreeSet};

use orghost::model::identity::{Claim, Identities, Known, Presence, Unclear};
use orghost::model::ids::{InstanceId, OrgId, WorkspaceId};
use orghost::model::keys::keys;
use orghost::model::names::NamePath;
use orghost::model::plan::Former;
use proptest::prelude::*;
use proptest::sample::Index;

fn org() -> OrgId {
    OrgId::known(InstanceId::new("0123456789abcdef"), "acme")
}

fn path(names: &[&str]) -> NamePath {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    NamePath::try_from(names).unwrap()
}

/// Names that are easily confused: by slug, case, Unicode spelling or first letters.
const NAMES: [&str; 12] = [
    "C++ Dev",
    "C# Dev",
    "C Dev",
    "日本",
    "中国",
    "Аналитик",
    "Dev",
    "dev",
    "Dev 2",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxa",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxb",
    "Café",
];

/// An edit of a template. An index chooses one of the existing workspaces.
#[derive(Debug, Clone)]
enum Edit {
    Add {
        below: Index,
        name: usize,
        at: Index,
    },
    Remove(Index),
    Swap {
        a: Index,
        b: Index,
    },
    /// The author renames a workspace and adds `renamed_from`.
    Rename {
        who: Index,
        name: usize,
    },
    /// The author renames a workspace without `renamed_from`: one is removed, another is added.
    Replace {
        who: Index,
        name: usize,
    },
    /// The same name in another Unicode spelling.
    Respell(Index),
    /// The operator removes the workspaces that left the template.
    Prune,
}

fn edit() -> impl Strategy<Value = Edit> {
    let index = any::<Index>;
    let name = 0..NAMES.len();
    prop_oneof![
        5 => (index(), name.clone(), index()).prop_map(|(below, name, at)| Edit::Add { below, name, at }),
        2 => index().prop_map(Edit::Remove),
        3 => (index(), index()).prop_map(|(a, b)| Edit::Swap { a, b }),
        2 => (index(), name.clone()).prop_map(|(who, name)| Edit::Rename { who, name }),
        1 => (index(), name).prop_map(|(who, name)| Edit::Replace { who, name }),
        1 => index().prop_map(Edit::Respell),
        1 => Just(Edit::Prune),
    ]
}

/// A workspace of a template. Only the test knows its number, which stays the same through all edits.
#[derive(Debug, Clone)]
struct Node {
    parent: Option<u32>,
    name: String,
    former: Vec<Former>,
}

/// A template, and a host that brings it up after every edit.
#[derive(Default)]
struct World {
    nodes: BTreeMap<u32, Node>,
    /// The workspaces in the order of the template.
    order: Vec<u32>,
    next: u32,
    known: Vec<Known>,
    ids: BTreeMap<u32, WorkspaceId>,
}

impl World {
    fn path(&self, who: u32) -> NamePath {
        let node = &self.nodes[&who];
        let parent = node.parent.map(|parent| self.path(parent));
        NamePath::below(parent.as_ref(), &node.name)
    }

    /// Whether no sibling below this parent has the name.
    fn is_free(&self, parent: Option<u32>, name: &str) -> bool {
        let wanted = NamePath::root(name);
        let mut siblings = self.nodes.values().filter(|node| node.parent == parent);
        siblings.all(|node| NamePath::root(&node.name) != wanted)
    }

    fn below(&self, who: u32) -> Vec<u32> {
        let mut found = vec![who];
        let mut seen = 0;
        while let Some(parent) = found.get(seen).copied() {
            let children = self
                .nodes
                .iter()
                .filter(|(_, node)| node.parent == Some(parent));
            found.extend(children.map(|(who, _)| *who));
            seen += 1;
        }
        found
    }

    fn forget(&mut self, who: u32) {
        for gone in self.below(who) {
            self.ids.remove(&gone);
        }
    }

    fn add(&mut self, parent: Option<u32>, name: &str, at: Index) {
        let node = Node {
            parent,
            name: name.to_owned(),
            former: Vec::new(),
        };
        self.nodes.insert(self.next, node);
        let at = at.index(self.order.len() + 1);
        self.order.insert(at, self.next);
        self.next += 1;
    }

    /// Applies an edit when it is possible.
    fn edit(&mut self, edit: Edit) {
        let some = |index: Index, world: &Self| {
            (!world.order.is_empty()).then(|| world.order[index.index(world.order.len())])
        };
        match edit {
            Edit::Add { below, name, at } => {
                let parents = self.order.len() + 1;
                let parent = self.order.get(below.index(parents)).copied();
                let parent = parent.filter(|parent| self.path(*parent).depth() < 3);
                if self.is_free(parent, NAMES[name]) {
                    self.add(parent, NAMES[name], at);
                }
            }
            Edit::Remove(who) => {
                let Some(who) = some(who, self) else { return };
                for gone in self.below(who) {
                    self.nodes.remove(&gone);
                    self.ids.remove(&gone);
                    self.order.retain(|other| *other != gone);
                }
            }
            Edit::Swap { a, b } => {
                if !self.order.is_empty() {
                    let length = self.order.len();
                    self.order.swap(a.index(length), b.index(length));
                }
            }
            Edit::Rename { who, name } => {
                let Some(who) = some(who, self) else { return };
                let parent = self.nodes[&who].parent;
                // A name that the host still knows would be taken over, so it is not chosen.
                let wanted = NamePath::below(parent.map(|p| self.path(p)).as_ref(), NAMES[name]);
                let is_known = self.known.iter().any(|known| known.path == wanted);
                if !is_known && self.is_free(parent, NAMES[name]) {
                    let node = self.nodes.get_mut(&who).unwrap();
                    node.former.insert(0, Former::Name(node.name.clone()));
                    node.name = NAMES[name].to_owned();
                }
            }
            Edit::Replace { who, name } => {
                let Some(who) = some(who, self) else { return };
                let parent = self.nodes[&who].parent;
                if self.is_free(parent, NAMES[name]) {
                    self.forget(who);
                    let node = self.nodes.get_mut(&who).unwrap();
                    node.name = NAMES[name].to_owned();
                    node.former.clear();
                }
            }
            Edit::Respell(who) => {
                let Some(who) = some(who, self) else { return };
                let node = self.nodes.get_mut(&who).unwrap();
                if node.name == "Café" {
                    node.name = "Cafe\u{301}".to_owned();
                }
            }
            Edit::Prune => self.known.retain_mut(|known| {
                if known.presence == Presence::Left {
                    known.presence = Presence::Gone;
                }
                true
            }),
        }
    }

    fn assign(&self, order: &[u32]) -> Result<Identities, Unclear> {
        let paths: Vec<NamePath> = order.iter().map(|who| self.path(*who)).collect();
        let claims: Vec<Claim<'_>> = order
            .iter()
            .zip(&paths)
            .map(|(who, path)| Claim {
                path,
                former: &self.nodes[who].former,
            })
            .collect();
        Identities::assign(&org(), &claims, &self.known)
    }

    /// Brings the template up as the store does: workspaces that left stay known, and a path has one identity.
    fn up(&mut self) {
        let identities = self.assign(&self.order).unwrap();
        let mut backwards = self.order.clone();
        backwards.reverse();
        assert_eq!(
            self.assign(&backwards).unwrap(),
            identities,
            "order matters"
        );

        let ids: BTreeSet<&WorkspaceId> = self
            .order
            .iter()
            .map(|who| identities.id(&self.path(*who)).unwrap())
            .collect();
        assert_eq!(
            ids.len(),
            self.order.len(),
            "two workspaces have one identity"
        );
        for (who, id) in &self.ids {
            let now = identities.id(&self.path(*who)).unwrap();
            assert_eq!(now, id, "{} has another identity", self.path(*who));
        }
        self.remember(&identities);
    }

    fn remember(&mut self, identities: &Identities) {
        let mut now = Vec::new();
        for who in &self.order {
            let path = self.path(*who);
            let id = identities.id(&path).unwrap().clone();
            self.ids.insert(*who, id.clone());
            now.push(Known {
                path,
                id,
                presence: Presence::Planned,
            });
        }
        for known in &mut self.known {
            if known.presence == Presence::Planned {
                known.presence = Presence::Left;
            }
        }
        let is_taken = |old: &Known| {
            now.iter()
                .any(|new| new.id == old.id || new.path == old.path)
        };
        self.known.retain(|old| !is_taken(old));
        self.known.extend(now);
    }
}

proptest! {
    // 500 templates of 20 edits each.
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn no_edit_of_a_template_exchanges_identities(edits in proptest::collection::vec(edit(), 20)) {
        let mut world = World::default();
        for edit in edits {
            world.edit(edit);
            world.up();
        }
    }

    #[test]
    fn sibling_keys_differ_and_do_not_depend_on_order(
        here in proptest::collection::btree_set(0..NAMES.len(), 0..8),
        left in proptest::collection::btree_set(0..NAMES.len(), 0..4),
    ) {
        let paths: Vec<NamePath> = here.iter().map(|name| NamePath::root(NAMES[*name])).collect();
        let beside: Vec<NamePath> = left
            .difference(&here)
            .map(|name| NamePath::root(NAMES[*name]))
            .collect();
        let forwards: Vec<&NamePath> = paths.iter().collect();
        let backwards: Vec<&NamePath> = paths.iter().rev().collect();
        let beside: Vec<&NamePath> = beside.iter().collect();
        let made = keys(&forwards, &beside);
        prop_assert_eq!(&made, &keys(&backwards, &beside));
        let distinct: BTreeSet<_> = made.values().collect();
        prop_assert_eq!(distinct.len(), paths.len() + beside.len());
        // Workspaces that left do not change the key of another one.
        let alone = keys(&forwards, &[]);
        prop_assert!(alone.iter().all(|(path, key)| made.get(path) == Some(key)));
    }
}

#[test]
fn a_name_in_any_alphabet_has_a_readable_key() {
    let readable = |name: &str| {
        let path = NamePath::root(name);
        keys(&[&path], &[])[&path].to_string()
    };
    for (name, key) in [
        ("Dev Lead", "dev-lead"),
        ("Führung", "fuhrung"),
        ("Аналитик", "analitik"),
        ("日本", "ri-ben"),
        ("🦄", "unicorn"),
        ("…", "workspace"),
    ] {
        assert_eq!(readable(name), key, "{name}");
    }
    assert_eq!(readable(&"x".repeat(80)), "x".repeat(63));
}

#[test]
fn siblings_with_equal_slugs_get_suffixes_from_their_names() {
    let (cpp, csharp, other) = (path(&["C++ Dev"]), path(&["C# Dev"]), path(&["QA"]));
    let both = keys(&[&cpp, &csharp, &other], &[]);
    for (path, stem) in [(&cpp, "c-dev-"), (&csharp, "c-dev-")] {
        let key = both[path].as_str();
        assert!(
            key.starts_with(stem) && key.len() == stem.len() + 8,
            "{key}"
        );
    }
    assert_ne!(both[&cpp], both[&csharp]);
    assert_eq!(both[&other].as_str(), "qa");
    assert_eq!(keys(&[&csharp], &[])[&csharp].as_str(), "c-dev");
    // A sibling can have the name that another one's suffix produces.
    let imposter = path(&[both[&cpp].as_str()]);
    let three = keys(&[&cpp, &csharp, &imposter], &[]);
    assert_eq!(three.values().collect::<BTreeSet<_>>().len(), 3);
}

/// The host's knowledge of these paths, all of them in the template.
fn known(paths: &[NamePath]) -> Vec<Known> {
    let ids = assigned(paths, &[], &[]).unwrap();
    paths
        .iter()
        .map(|path| Known {
            path: path.clone(),
            id: ids.id(path).unwrap().clone(),
            presence: Presence::Planned,
        })
        .collect()
}

fn assigned(
    paths: &[NamePath],
    former: &[(&NamePath, Former)],
    known: &[Known],
) -> Result<Identities, Unclear> {
    let words: Vec<Vec<Former>> = paths
        .iter()
        .map(|path| {
            let of = former.iter().filter(|(who, _)| *who == path);
            of.map(|(_, former)| former.clone()).collect()
        })
        .collect();
    let claims: Vec<Claim<'_>> = paths
        .iter()
        .zip(&words)
        .map(|(path, former)| Claim { path, former })
        .collect();
    Identities::assign(&org(), &claims, known)
}

#[test]
fn moving_a_workspace_moves_its_descendants() {
    let (lead, dev) = (path(&["Lead"]), path(&["Lead", "Dev"]));
    let before = known(&[lead.clone(), dev.clone()]);
    let (boss, same) = (path(&["Boss"]), path(&["Boss", "Dev"]));
    let renamed = Former::Name("Lead".to_owned());
    let after = assigned(&[boss.clone(), same.clone()], &[(&boss, renamed)], &before).unwrap();
    assert_eq!(after.id(&boss), Some(&before[0].id));
    assert_eq!(after.id(&same), Some(&before[1].id));
    assert_eq!(after.moved().len(), 2);
    // A move to another parent, named by its whole path.
    let other = path(&["QA", "Dev"]);
    let paths = [path(&["QA"]), other.clone(), lead.clone()];
    let moved = Former::Path(vec!["Lead".to_owned(), "Dev".to_owned()]);
    let after = assigned(&paths, &[(&other, moved)], &before).unwrap();
    assert_eq!(after.id(&other), Some(&before[1].id));
}

#[test]
fn a_rename_without_renamed_from_is_a_removal_and_an_addition() {
    let (old, new) = (path(&["Old"]), path(&["New"]));
    let before = known(&[old]);
    let after = assigned(std::slice::from_ref(&new), &[], &before).unwrap();
    assert_ne!(after.id(&new), Some(&before[0].id));
    assert!(after.moved().is_empty() && after.added().contains(&new));
}

#[test]
fn renamed_from_cannot_take_over_a_workspace_of_the_template() {
    let (old, new) = (path(&["Old"]), path(&["New"]));
    let before = known(std::slice::from_ref(&old));
    let word = Former::Name("Old".to_owned());
    let both = [old.clone(), new.clone()];
    let error = assigned(&both, &[(&new, word.clone())], &before).unwrap_err();
    assert!(matches!(error, Unclear::StillThere { .. }), "{error}");
    let (first, second) = (path(&["First"]), path(&["Second"]));
    let claims = [(&first, word.clone()), (&second, word)];
    let error = assigned(&[first.clone(), second.clone()], &claims, &before).unwrap_err();
    assert!(matches!(error, Unclear::TwoClaims { .. }), "{error}");
}

#[test]
fn a_new_workspace_of_a_renamed_ones_old_name_has_a_new_identity() {
    let (old, new) = (path(&["Old"]), path(&["New"]));
    let before = known(std::slice::from_ref(&old));
    let word = (&new, Former::Name("Old".to_owned()));
    let renamed = assigned(
        std::slice::from_ref(&new),
        std::slice::from_ref(&word),
        &before,
    )
    .unwrap();
    let now = [Known {
        path: new.clone(),
        id: renamed.id(&new).unwrap().clone(),
        presence: Presence::Planned,
    }];
    assert_eq!(now[0].id, before[0].id);
    // `renamed_from` may stay in the template after the rename.
    let both = assigned(&[new.clone(), old.clone()], &[word], &now).unwrap();
    assert_eq!(both.id(&new), Some(&now[0].id));
    assert_ne!(both.id(&old), Some(&now[0].id));
}
