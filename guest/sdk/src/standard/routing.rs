//! Category routing (org-template.md §5): merges a workspace's routes with the defaults, and checks their roles.

use std::collections::{BTreeMap, BTreeSet};

use super::problems::{Problems, quoted};
use super::schema::{Org, Route, Workspace};
use crate::Diagnostic;

/// The roles for each category. A category of the workspace replaces the same category of the defaults, and an empty
/// list of roles removes the category.
pub(crate) fn merge(defaults: &[Route], own: &[Route]) -> BTreeMap<String, Vec<String>> {
    let mut merged = BTreeMap::new();
    for route in defaults.iter().chain(own) {
        let category = &*route.category;
        if route.roles.is_empty() {
            merged.remove(category);
        } else {
            let roles = route.roles.iter().map(|role| role.text.clone());
            merged.insert(category.to_owned(), roles.collect());
        }
    }
    merged
}

/// Warns of roles that are not the name of a workspace.
pub(crate) fn check(org: &Org, problems: &mut Problems) {
    let mut all = Vec::new();
    let mut open: Vec<&Workspace> = org.workspaces.iter().rev().collect();
    while let Some(workspace) = open.pop() {
        all.push(workspace);
        open.extend(workspace.children.iter().rev());
    }
    let mut known: BTreeSet<&str> = all.iter().map(|workspace| &*workspace.name).collect();
    let own = all.iter().flat_map(|workspace| &workspace.routing);
    for role in org
        .defaults
        .routing
        .iter()
        .chain(own)
        .flat_map(|route| &route.roles)
    {
        if known.insert(role.text.trim()) {
            let message = format!(
                "`category_routing` names the workspace {}, which does not exist",
                quoted(&role.text)
            );
            problems.warn(Diagnostic::new("routing-target-unknown", message).about(&role.at));
        }
    }
}
