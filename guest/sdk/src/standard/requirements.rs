//! Lists the variables that a template needs, and the workspaces that lack them (org-template.md §8). It checks whether
//! a variable has a value, and never reads the value.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::expand::Variables;
use super::problems::{Problems, quoted};
use super::schema::{Need, Needs};
use crate::{Diagnostic, Requirement};

/// The org, or one workspace: its needs, and its variables.
pub(crate) struct Scope<'a> {
    pub needs: &'a Needs,
    /// `None` for a workspace that is not spawned, which lacks nothing.
    pub has: Option<Has>,
}

/// The variables of a scope.
pub(crate) struct Has {
    /// The key of the workspace; empty for the org.
    pub key: String,
    pub vars: Rc<Variables>,
}

/// The required and the recommended variables. `scopes` are the org, and then the workspaces in the order of the plan.
pub(crate) fn collect(
    scopes: &[Scope<'_>],
    granted: &Variables,
    problems: &mut Problems,
) -> (Vec<Requirement>, Vec<Requirement>) {
    let mut required = Tier::default();
    let mut recommended = Tier::default();
    for (scope, number) in scopes.iter().zip(0..) {
        for (needs, tier) in [
            (&scope.needs.required, &mut required),
            (&scope.needs.recommended, &mut recommended),
        ] {
            for need in needs {
                tier.add(names(need, problems), number);
            }
        }
    }
    required.fold_groups();
    recommended.fold_groups();
    recommended.entries.retain(|set, _| {
        !required.entries.contains_key(set) && !set.iter().any(|name| required.is_strict(name))
    });
    (
        required.finish(scopes, granted),
        recommended.finish(scopes, granted),
    )
}

/// The valid names of a need, each once.
fn names(need: &Need, problems: &mut Problems) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(need.names.len());
    let mut seen = BTreeSet::new();
    for name in &need.names {
        if !is_valid(&name.text) {
            let message = format!(
                "{} is left out: it is not a valid name of a required variable",
                quoted(&name.text)
            );
            let help =
                "a name has at most 128 capital letters, digits and `_`, and begins with a letter";
            problems.warn(
                Diagnostic::new("env-name-invalid", message)
                    .about(&name.at)
                    .help(help),
            );
        } else if seen.insert(name.text.as_str()) {
            names.push(name.text.clone());
        }
    }
    names
}

/// `[A-Z][A-Z0-9_]{0,127}`
fn is_valid(name: &str) -> bool {
    name.len() <= 128
        && name.starts_with(|first: char| first.is_ascii_uppercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

/// The required variables, or the recommended ones, by set of names.
#[derive(Default)]
struct Tier {
    entries: BTreeMap<BTreeSet<String>, Entry>,
}

struct Entry {
    /// The names, in the order of the first declaration.
    names: Vec<String>,
    /// The scopes that declared it, by number.
    scopes: BTreeSet<usize>,
}

impl Tier {
    fn add(&mut self, names: Vec<String>, scope: usize) {
        if names.is_empty() {
            return;
        }
        let entry = self
            .entries
            .entry(names.iter().cloned().collect())
            .or_insert(Entry {
                names,
                scopes: BTreeSet::new(),
            });
        entry.scopes.insert(scope);
    }

    fn is_strict(&self, name: &str) -> bool {
        self.entries
            .contains_key(&BTreeSet::from([name.to_owned()]))
    }

    /// Replaces each group that contains a name which is also needed alone by that name. The scopes of the group then
    /// need the name.
    fn fold_groups(&mut self) {
        let groups: Vec<(BTreeSet<String>, String)> = self
            .entries
            .iter()
            .filter(|(set, _)| set.len() > 1)
            .filter_map(|(set, entry)| {
                let strict = entry.names.iter().find(|name| self.is_strict(name))?;
                Some((set.clone(), strict.clone()))
            })
            .collect();
        for (set, strict) in groups {
            let Some(group) = self.entries.remove(&set) else {
                continue;
            };
            if let Some(entry) = self.entries.get_mut(&BTreeSet::from([strict])) {
                entry.scopes.extend(group.scopes);
            }
        }
    }

    /// Single names come first, and then groups, both sorted.
    fn finish(self, scopes: &[Scope<'_>], granted: &Variables) -> Vec<Requirement> {
        let (single, groups): (Vec<_>, Vec<_>) = self
            .entries
            .into_values()
            .partition(|entry| entry.names.len() == 1);
        let requirement = |entry: Entry| {
            let lacking = |number: &usize| {
                let has = scopes.get(*number)?.has.as_ref()?;
                let is_set = |vars: &Variables, name: &String| {
                    vars.get(name).is_some_and(|value| !value.text.is_empty())
                };
                let met = entry
                    .names
                    .iter()
                    .any(|name| is_set(&has.vars, name) || is_set(granted, name));
                (!met).then(|| has.key.clone())
            };
            let missing_for = entry.scopes.iter().filter_map(lacking).collect();
            Requirement {
                any_of: entry.names,
                missing_for,
            }
        };
        single.into_iter().chain(groups).map(requirement).collect()
    }
}
